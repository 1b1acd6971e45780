//! Calls that are held on an open stream: comments, progress, and clients that go.

use std::time::Duration;

use keepgate_tests::{
    Events, FakeServer, Say,
    client::field,
    upstream::{Heard, said},
};
use serde_json::{Value, json};

use super::super::{
    approvals::{agent, decide, ran, server, waiting, waits},
    bridge::scripted::Bridge,
    process::until,
};
use super::{GRACE, gate, sent};

/// A call that wants progress, under the id 7.
fn call(number: u64, token: Option<&str>) -> String {
    let mut params = json!({"name": "delete", "arguments": {"id": number}});
    if let Some(token) = token {
        params["_meta"] = json!({"progressToken": token});
    }
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).to_string()
}

/// A server that reports progress, from nothing up, before it answers.
async fn reporting() -> FakeServer {
    FakeServer::with_tools(|heard: &Heard| {
        let call = heard.json();
        let report = |value: f64| {
            let token = &call["params"]["_meta"]["progressToken"];
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": value}})
        };
        Say::sse_whole(&[report(0.0), report(0.5), said(&call["id"], "did delete")])
    })
    .await
}

/// Values of progress under this token.
fn values(messages: &[Value], token: &str) -> Vec<f64> {
    let of = messages
        .iter()
        .filter(|it| it["method"] == "notifications/progress")
        .map(|it| &it["params"]);
    of.filter(|params| params["progressToken"] == token)
        .map(|params| params["progress"].as_f64().expect("a number"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_shows_that_it_lives() {
    let server = reporting().await;
    let (gate, people) = gate(&server, json!({"stream": "50s"})).await;
    for (number, revision) in [(1, "2025-11-25"), (2, "2025-06-18"), (3, "2025-03-26")] {
        let client = agent(&gate, &people.key).initialize(revision).await;
        let mut events = Events::of(client.open("POST", call(number, Some("mine"))).await);
        let first = events.message().await.expect("progress");
        assert_eq!(first["params"]["progressToken"], "mine", "{first}");
        let id = waiting(&gate, &people.ann).await;
        let message = first["params"]["message"].as_str().expect("a message");
        assert!(message.contains(&id), "{message}");
        let second = events.message().await.expect("progress");
        decide(&gate, &people.ann, "approve", &id).await;
        let more = events.messages().await;
        let all = [&[first, second][..], &more].concat();
        let values = values(&all, "mine");
        assert!(values.len() >= 3, "{values:?}");
        assert!(values.is_sorted_by(|a, b| a < b), "it rises: {values:?}");
        assert_eq!(values.last(), Some(&0.5), "the server's own goes on");
        let answer = all.last().expect("an answer");
        assert_eq!(answer["id"], 7, "{answer}");
        assert_eq!(answer["result"]["content"][0]["text"], "did delete");
    }
    // Without a token: comments, and nothing else.
    let client = agent(&gate, &people.key).initialize("2025-11-25").await;
    let mut events = Events::of(client.open("POST", call(4, None)).await);
    let block = events.block().await.expect("a comment");
    assert!(block.starts_with(':'), "{block}");
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "deny", &id).await;
    let messages = events.messages().await;
    assert_eq!(messages.len(), 1, "{messages:?}");
    let refusal = &messages[0]["result"]["_meta"]["dev.keepgate/refusal"];
    assert_eq!(refusal["code"], "approval_denied", "{messages:?}");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_ends_with_its_client_and_waits_for_the_next_equal_one() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"stream": "50s", "round": "50s"})).await;
    // A closed connection is no cancellation here, and yet nothing runs that nobody would hear of.
    let client = agent(&gate, &people.key).initialize("2025-11-25").await;
    let mut events = Events::of(client.open("POST", call(1, None)).await);
    events.block().await.expect("a comment");
    let id = waiting(&gate, &people.ann).await;
    drop(events);
    let ended = until("the held call to end", async || {
        let metrics = gate.metrics().await;
        metrics.contains("keepgate_approvals{keepgate_state=\"held\"} 0")
    });
    // Long before its time is over.
    tokio::time::timeout(Duration::from_secs(40), ended)
        .await
        .expect("it ended with its client");
    let done = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
    tokio::time::sleep(GRACE).await;
    assert_eq!(sent(&server), 0, "nobody was there");
    assert!(ran(&client.call("delete", json!({"id": 1})).await));
    assert_eq!(sent(&server), 1);

    // Here it is a cancellation: what comes of the approval is another call's.
    let client = agent(&gate, &people.key);
    let left = tokio::spawn({
        let client = client.clone();
        async move { client.call_modern("delete", json!({"id": 2})).await }
    });
    let id = waiting(&gate, &people.ann).await;
    left.abort();
    let done = decide(&gate, &people.ann, "approve", &id).await;
    assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
    tokio::time::sleep(GRACE).await;
    assert_eq!(sent(&server), 1);
    assert!(ran(&client.call_modern("delete", json!({"id": 2})).await));
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_answered_when_its_time_is_over() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"stream": "1s", "round": "1s"})).await;
    let client = agent(&gate, &people.key).initialize("2025-11-25").await;
    let answer = client.post(call(1, Some("mine"))).await;
    let last = answer.messages().pop().expect("an answer");
    let refusal = &last["result"]["_meta"]["dev.keepgate/refusal"];
    assert_eq!(refusal["code"], "approval_pending", "{answer:?}");
    // The answers of a batch go out together, so none of them is held.
    let client = agent(&gate, &people.key).initialize("2025-03-26").await;
    let batch = format!("[{}]", call(2, Some("mine")));
    let answer = client.post(batch).await;
    let refusal = &answer.json()[0]["result"]["_meta"]["dev.keepgate/refusal"];
    assert_eq!(refusal["code"], "approval_pending", "{answer:?}");
    assert_eq!(sent(&server), 0);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_shows_that_it_lives_to_older_transports() {
    let server = reporting().await;
    let (gate, people) = gate(&server, json!({"stream": "50s"})).await;
    // HTTP+SSE: on the client's one stream.
    let at = agent(&gate, &people.key);
    let mut events = Events::of(at.clone().path("/up/sse").open("GET", "").await);
    let block = events.block().await.expect("an address");
    let posts = at.path(field(&block, "data").expect("an address"));
    let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
    assert_eq!(posts.post(hello.to_string()).await.status, 202);
    assert_eq!(events.message().await.expect("an answer")["id"], 0);
    assert_eq!(posts.post(call(1, Some("mine"))).await.status, 202);
    let first = events.message().await.expect("progress");
    assert_eq!(first["params"]["progressToken"], "mine", "{first}");
    assert!(first["params"]["message"].is_null(), "{first}");
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    let mut all = vec![first];
    while all.last().is_some_and(|last| last["id"] != 7) {
        all.push(events.message().await.expect("a message"));
    }
    let risen = values(&all, "mine");
    assert!(risen.is_sorted_by(|a, b| a < b), "{risen:?}");
    assert_eq!(risen.last(), Some(&0.5), "{all:?}");

    // stdio: progress through the bridge.
    let key = gate.home.path("agent.key");
    keepgate_files::replace(&key, people.key.as_bytes()).expect("a file");
    let key = format!("file:{}", key.display());
    let mut bridge = Bridge::at(&gate.url("up"), &["--key", &key]);
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}});
    bridge
        .send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}))
        .await;
    assert_eq!(bridge.hear().await["id"], 0);
    let asked: Value = serde_json::from_str(&call(2, Some("mine"))).expect("JSON");
    bridge.send(&asked).await;
    let first = bridge.hear().await;
    assert_eq!(first["params"]["progressToken"], "mine", "{first}");
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    let mut last = first;
    while last["id"] != 7 {
        last = bridge.hear().await;
    }
    assert_eq!(last["result"]["content"][0]["text"], "did delete", "{last}");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_takes_back_a_call_that_is_held() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"stream": "50s"})).await;
    let client = agent(&gate, &people.key).initialize("2025-11-25").await;
    let mut events = Events::of(client.open("POST", call(1, None)).await);
    events.block().await.expect("a comment");
    let id = waiting(&gate, &people.ann).await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(client.post(cancel.to_string()).await.status, 202);
    let messages = events.messages().await;
    assert_eq!(
        messages[0]["error"]["data"]["code"], "cancelled",
        "{messages:?}"
    );
    decide(&gate, &people.ann, "approve", &id).await;
    tokio::time::sleep(GRACE).await;
    assert_eq!(sent(&server), 0);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_without_a_hold_where_it_is_off() {
    let server = server().await;
    let (gate, people) = gate(&server, json!("off")).await;
    let client = agent(&gate, &people.key).initialize("2025-11-25").await;
    waits(&client.post(call(1, Some("mine"))).await);
    gate.end().await;
}
