//! Calls that are held for a person, from outside: what they keep from nobody, and what ends them.

mod links;
mod unread;

use std::{
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keepgate_approval::{Approvals, ConsoleUrl, HoldTimes, Settings as Terms, Verdict};
use keepgate_gateway::{limit::Breaker, settings::Settings};
use keepgate_tests::{
    Answer, Client, FakeServer, Gate, Say, TestGateway,
    approvals::{decide, state, waiting},
    gateway::Builder,
    upstream::said,
};
use serde_json::{Value, json};

/// Allows all, and wants a person for `delete`.
const POLICY: &str = r#"package mcp.authz

allow contains "all"

approve contains {"code": "destructive", "message": "deletes an account", "risk": "low"} if input.tool.name == "delete"
"#;

/// Shorter than the time for which calls are held that nobody ends.
const SOON: Duration = Duration::from_secs(20);

/// A gateway before the server that holds calls so long in a round, and on a stream.
fn holding(server: &FakeServer, time: Duration) -> Builder {
    let hold = HoldTimes {
        round: time,
        total: HoldTimes::MAX_TOTAL,
        stream: time,
    };
    let approvals = Terms {
        hold,
        console: Some(ConsoleUrl::new("https://console.example")),
        ..Terms::default()
    };
    TestGateway::http(&server.url())
        .policy(POLICY)
        .approvals(approvals)
}

/// A server whose tools say what they did.
async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "did it"))).await
}

fn ran(answer: &Answer) -> bool {
    answer.json()["result"]["content"][0]["text"] == "did it"
}

/// Waits until a call is held.
async fn is_held(approvals: &Approvals) {
    while approvals.held() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The state of an answer that wants another round.
fn round(answer: &Answer) -> Value {
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    result["requestState"].clone()
}

/// A call of `delete` with a state.
async fn next(client: &Client, state: &Value) -> Answer {
    let params = json!({"name": "delete", "arguments": {}, "requestState": state});
    client
        .ask_modern("tools/call", Some("delete"), params)
        .await
}

#[tokio::test]
async fn a_round_goes_on_at_another_replica_once_the_gateway_drains() {
    let server = server().await;
    let gateway = holding(&server, Duration::from_millis(200)).start().await;
    let client = Client::new(gateway.addr);
    let given = round(&client.call_modern("delete", json!({})).await);
    let approvals = gateway.approvals();
    let id = waiting(&approvals).await;
    gateway.gateway.drain();
    let given = round(&next(&client, &given).await);
    // Also with a yes: nothing begins here any more.
    decide(&approvals, &id, Verdict::Approve).await;
    let mut answer = next(&client, &given).await;
    let mut last = given;
    let mut rounds = 3;
    while answer.json()["result"]["resultType"] == "input_required" {
        last = round(&answer);
        answer = next(&client, &last).await;
        rounds += 1;
    }
    // As many as there are anywhere; then the answer that it waits.
    assert_eq!(rounds, 8);
    assert_eq!(
        answer.code().as_deref(),
        Some("approval_pending"),
        "{answer:?}"
    );
    assert!(server.heard_of("tools/call").is_empty());
    assert_eq!(state(&approvals, &id).await, "approved");
    // Nothing else goes on: no other call, and no state that is none.
    for state in [
        json!(null),
        json!("of the server"),
        json!("keepgate.1.0011223344556677.AAAA"),
    ] {
        let answer = next(&client, &state).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.code().as_deref(), Some("draining"), "{answer:?}");
    }
    let foreign = client.call_modern("echo", json!({})).await;
    assert_eq!(foreign.code().as_deref(), Some("draining"), "{foreign:?}");
    let named = last
        .as_str()
        .expect("a state")
        .rsplit_once('.')
        .expect("a key")
        .0
        .to_owned();
    let answer = next(&client, &json!(format!("{named}.AAAA"))).await;
    assert_eq!(
        answer.code().as_deref(),
        Some("request_state_invalid"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_state_of_a_gateway_behind_this_one_goes_through() {
    const FOREIGN: &str = "keepgate.1.0011223344556677.AAAA";
    let server = FakeServer::with_tools(|heard| {
        let call = heard.json();
        if call["params"]["requestState"] == FOREIGN {
            return Say::json(&said(&call["id"], "did it"));
        }
        let result = json!({"resultType": "input_required", "requestState": FOREIGN});
        Say::json(&json!({"jsonrpc": "2.0", "id": call["id"], "result": result}))
    })
    .await;
    let gateway = holding(&server, Duration::from_millis(200)).start().await;
    let client = Client::new(gateway.addr);
    let given = round(&client.call_modern("echo", json!({})).await);
    assert_eq!(given, FOREIGN);
    let responses = json!({"approval": {"action": "accept"}});
    let params = json!({"name": "echo", "arguments": {}, "requestState": given, "inputResponses": responses});
    let answer = client.ask_modern("tools/call", Some("echo"), params).await;
    assert!(ran(&answer), "{answer:?}");
    let heard = server.heard_of("tools/call").pop().expect("a call").json();
    assert_eq!(heard["params"]["inputResponses"], responses, "{heard}");
}

#[tokio::test]
async fn a_call_whose_place_is_taken_meanwhile_keeps_its_rounds_and_its_yes() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let call = heard.json();
        let mut said_later = Vec::new();
        if call["params"]["name"] == "echo" {
            said_later.push(Say::Until(held.clone()));
        }
        said_later.extend(Say::json(&said(&call["id"], "did it")));
        said_later
    })
    .await;
    let gateway = holding(&server, Duration::from_secs(2))
        .with(|settings| {
            let servers = settings.servers.values_mut();
            servers.for_each(|server| server.limits.concurrency = Some(NonZeroUsize::MIN));
        })
        .start()
        .await;
    let approvals = gateway.approvals();
    let client = Client::new(gateway.addr);
    let call = |tool: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.call_modern(tool, json!({})).await })
    };
    let waits = call("delete");
    let id = waiting(&approvals).await;
    is_held(&approvals).await;
    let other = call("echo");
    server.hears(|heard| heard.method() == "tools/call").await;
    // Nobody has decided: its client goes on waiting, and a place is nothing it needs for that.
    round(&waits.await.expect("a task"));
    gate.open_once();
    assert!(ran(&other.await.expect("a task")));

    let waits = call("delete");
    is_held(&approvals).await;
    let other = call("echo");
    server.hears(|heard| heard.method() == "tools/call").await;
    while server.heard_of("tools/call").len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    decide(&approvals, &id, Verdict::Approve).await;
    let answer = waits.await.expect("a task");
    assert_eq!(
        answer.code().as_deref(),
        Some("concurrency_limited"),
        "{answer:?}"
    );
    let refusal = &answer.json()["result"]["_meta"]["dev.keepgate/refusal"];
    assert_eq!(refusal["approval"]["id"], json!(*id), "{answer:?}");
    assert_eq!(state(&approvals, &id).await, "approved");
    gate.open();
    assert!(ran(&other.await.expect("a task")));
    let again = client.call_modern("delete", json!({})).await;
    assert!(ran(&again), "its yes is there: {again:?}");
    assert_eq!(state(&approvals, &id).await, "consumed");
}

/// One failure opens it, and the next call tries at once.
fn half_open(settings: &mut Settings) {
    settings.limits.breaker = Some(Breaker {
        failures: NonZeroU32::MIN,
        open_for: Duration::ZERO,
    });
    settings.limits.denial_breaker = Some(Breaker {
        failures: NonZeroU32::MIN,
        open_for: Duration::ZERO,
    });
}

#[tokio::test]
async fn a_held_call_keeps_no_trial_of_a_circuit_breaker() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let server = FakeServer::with_tools(move |heard| {
        if failing.load(Ordering::Relaxed) {
            return vec![Say::Close];
        }
        Say::json(&said(&heard.json()["id"], "did it"))
    })
    .await;
    let denying = format!("{POLICY}\ndeny contains \"no\" if input.arguments.no\n");
    let gateway = holding(&server, Duration::from_secs(50))
        .policy(&denying)
        .with(half_open)
        .start()
        .await;
    let approvals = gateway.approvals();
    let client = Client::new(gateway.addr);
    let delete = || {
        let client = client.clone();
        tokio::spawn(async move { client.call_modern("delete", json!({})).await })
    };
    // The server's breaker is open, and the session's too.
    let failed = client.call_modern("echo", json!({})).await;
    assert_eq!(
        failed.code().as_deref(),
        Some("upstream_unreachable"),
        "{failed:?}"
    );
    let denied = client.call_modern("echo", json!({"no": true})).await;
    assert_eq!(
        denied.code().as_deref(),
        Some("policy_denied"),
        "{denied:?}"
    );
    fails.store(false, Ordering::Relaxed);
    let waits = delete();
    let id = waiting(&approvals).await;
    is_held(&approvals).await;
    let other = client.call_modern("echo", json!({})).await;
    assert!(ran(&other), "another call tries meanwhile: {other:?}");
    decide(&approvals, &id, Verdict::Approve).await;
    let answer = waits.await.expect("a task");
    assert!(ran(&answer), "{answer:?}");
}
