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

/// Requests that are refused before they are calls: the code, a client, the method and the body.
fn refused_early(gateway: &TestGateway) -> Vec<(&'static str, Client, &'static str, String)> {
    let key = format!("Bearer {}", gateway.key("alice", &[]));
    let client = || Client::new(gateway.addr).header("authorization", &key);
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list", "params": {}}).to_string();
    let modern = || client().header("mcp-protocol-version", "2026-07-28");
    let table = [
        ("path_unknown", client().path("/down/mcp"), "POST", &*list),
        (
            "host_refused",
            client().header("host", "evil.example"),
            "POST",
            &list,
        ),
        (
            "origin_refused",
            client().header("origin", "https://evil.example"),
            "POST",
            &list,
        ),
        ("authn_missing", Client::new(gateway.addr), "POST", &list),
        (
            "authn_invalid",
            client().header("authorization", "Bearer wrong"),
            "POST",
            &list,
        ),
        (
            "media_type",
            client().header("content-type", "text/plain"),
            "POST",
            &list,
        ),
        (
            "not_acceptable",
            client().header("accept", "text/plain"),
            "POST",
            &list,
        ),
        ("json_invalid", client(), "POST", "{"),
        ("message_invalid", client(), "POST", "{}"),
        ("http_method", client(), "PUT", &list),
        ("http_method", client(), "GET", ""),
        ("meta_missing", modern(), "POST", &list),
        (
            "message_invalid",
            client().header("mcp-protocol-version", "2020-01-01"),
            "POST",
            &list,
        ),
        ("session_missing", client(), "POST", &list),
        (
            "session_unknown",
            client().header("mcp-session-id", "x"),
            "POST",
            &list,
        ),
    ];
    let owned = table.map(|(code, client, verb, body)| (code, client, verb, body.to_owned()));
    owned.into()
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_call_names_its_record_too() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .policy(DENY)
        .start()
        .await;
    let mut answers = Vec::new();
    for (code, client, verb, body) in refused_early(&gateway) {
        let answer = client.send(verb, body).await;
        let data = answer.json()["error"]["data"].clone();
        assert_eq!(data["code"], code, "{data}");
        let id = data["decision_id"].as_str().map(str::to_owned);
        answers.push((code, id.unwrap_or_else(|| panic!("{code}: {data}"))));
    }
    let records = gateway.records().await;
    for (code, id) in answers {
        // Equal ones share the record with the part before the dot.
        let whole = id.split('.').next().unwrap();
        let mut records = records.iter();
        let record = records.find(|record| record["decision_id"] == whole);
        assert_eq!(record.map(|record| &record["refusal"]), Some(&json!(code)));
    }
}
