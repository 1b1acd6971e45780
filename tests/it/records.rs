//! Records that share one: refused calls cost their caller nothing, so they may not cost the log more than a count.

use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

use keepgate_gateway::limit::Rate;
use keepgate_tests::{Answer, Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

const DENY: &str = "package mcp.authz\n\nallow contains \"all\"\n\
    deny contains {\"code\": \"no\", \"message\": \"no\"} if input.arguments.denied\n";

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

fn decision(answer: &Answer) -> String {
    let refusal = &answer.json()["result"]["_meta"]["dev.keepgate/refusal"];
    let id = refusal["decision_id"].as_str();
    id.unwrap_or_else(|| panic!("no refusal: {}", answer.json()))
        .to_owned()
}

/// Refusals in the log: how many records, and how many refusals they stand for.
fn refused(records: &[Value]) -> (usize, u64) {
    let whole = records
        .iter()
        .filter(|record| record["kind"] == "call.refused");
    let counts = records
        .iter()
        .filter_map(|record| record["repeat"]["count"].as_u64());
    let (whole, counts) = (whole.count(), counts.collect::<Vec<_>>());
    (
        whole + counts.len(),
        whole as u64 + counts.iter().sum::<u64>(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_calls_share_records_and_every_decision_id_finds_its_own() {
    const CALLS: usize = 400;
    let server = server().await;
    let five = NonZeroU32::new(5).unwrap();
    for (arguments, passed, most) in [
        // `initialize`, then four; a rate is a count at once.
        (json!({}), 4, 2),
        // Sixty of their own, then a count; five a day are not met by what policy denies after them.
        (json!({"denied": true}), 0, 62),
    ] {
        let gateway = TestGateway::http(&server.url())
            .policy(DENY)
            .with(|settings| {
                settings.limits.rate.session = if passed > 0 {
                    Rate::new(NonZeroU32::MIN, Duration::from_secs(86_400), five)
                } else {
                    None
                };
                settings.limits.denial_breaker = None;
            })
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        for _ in 0..passed {
            client.call("echo", arguments.clone()).await;
        }
        let mut ids = BTreeSet::new();
        for _ in 0..CALLS {
            ids.insert(decision(&client.call("echo", arguments.clone()).await));
        }
        assert_eq!(ids.len(), CALLS, "no two answers have one id");
        let text = gateway.gateway.shared().meters.text();
        let code = if passed > 0 {
            "rate_limited"
        } else {
            "policy_denied"
        };
        let exact = text.lines().any(|line| {
            line.starts_with("keepgate_calls_total")
                && line.contains(code)
                && line.ends_with(&format!(" {CALLS}"))
        });
        assert!(exact, "{text}");
        let records = gateway.records().await;
        let (written, stood_for) = refused(&records);
        assert!(written <= most, "{code}: {written} records");
        assert_eq!(stood_for, CALLS as u64, "{code}");
        let log = gateway.directory.path().join("audit");
        for id in ids {
            let found = keepgate_audit::find(&log, &id).unwrap();
            assert!(!found.is_empty(), "{code}: {id}");
            assert_eq!(
                found.len(),
                if id.contains('.') { 2 } else { found.len() },
                "{id}"
            );
        }
    }
}

#[tokio::test]
async fn a_count_is_written_when_its_time_is_over() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            settings.limits.rate.session = Rate::new(
                NonZeroU32::MIN,
                Duration::from_secs(86_400),
                NonZeroU32::MIN,
            );
        })
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let first = decision(&client.call("echo", json!({})).await);
    let second = decision(&client.call("echo", json!({})).await);
    assert_eq!(second, format!("{first}.1"));
    let swept = tokio::spawn(gateway.gateway.clone().sweep());
    let counted = async {
        loop {
            let found = keepgate_audit::find(&gateway.directory.path().join("audit"), &second);
            if found.unwrap().len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted)
        .await
        .expect("a count");
    swept.abort();
}
