//! Rounds of 2026-07-28: the client makes the call again by itself, with a sealed state.

use keepgate_tests::{Answer, Client, FakeServer, Heard, Say, client::modern_meta};
use serde_json::{Value, json};

use super::super::approvals::{agent, decide, keepgate, ran, server, waiting, waits};
use super::{gate, sent};

/// A call of `delete` with whatever a client adds.
async fn delete(client: &Client, number: u64, more: &[(&str, Value)]) -> Answer {
    let mut params = json!({"name": "delete", "arguments": {"id": number}});
    for (name, value) in more {
        params[*name] = value.clone();
    }
    client
        .ask_modern("tools/call", Some("delete"), params)
        .await
}

/// The state of an answer that wants another round.
fn state(answer: &Answer) -> String {
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    assert!(result["inputRequests"].is_null(), "{answer:?}");
    let state = result["requestState"].as_str().expect("a state");
    assert!(state.starts_with("keepgate."), "{state}");
    state.to_owned()
}

async fn round(client: &Client, number: u64, state: &str) -> Answer {
    delete(client, number, &[("requestState", json!(state))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_through_rounds_until_somebody_says_yes() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"round": "1s"})).await;
    let client = agent(&gate, &people.key);
    let first = state(&delete(&client, 1, &[]).await);
    let second = state(&round(&client, 1, &first).await);
    assert_ne!(first, second);
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    assert!(ran(&round(&client, 1, &second).await));
    let heard = server.heard_of("tools/call").pop().expect("a call").json();
    assert!(heard["params"]["requestState"].is_null(), "{heard}");
    // Used up: the same state brings nothing more.
    let again = round(&client, 1, &second).await;
    assert_ne!(waits(&again), id);
    assert_eq!(sent(&server), 1);

    // At the end of its rounds it is answered that it waits.
    let mut rounds = 1;
    let mut answer = delete(&client, 2, &[]).await;
    while answer.json()["result"]["resultType"] == "input_required" {
        rounds += 1;
        answer = round(&client, 2, &state(&answer)).await;
    }
    assert_eq!(rounds, 8);
    waits(&answer);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_worth_nothing_but_to_whom_and_for_what_it_was_given() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"round": "1s"})).await;
    let client = agent(&gate, &people.key);
    let given = state(&delete(&client, 1, &[]).await);
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    let refused = |answer: &Answer| {
        assert_eq!(
            answer.code().as_deref(),
            Some("request_state_invalid"),
            "{answer:?}"
        );
    };
    // Another call, another caller, another server's state under our key's id, changed, cut, and of another kind.
    refused(&round(&client, 2, &given).await);
    refused(&round(&agent(&gate, &people.owned), 1, &given).await);
    let (named, _sealed) = given.rsplit_once('.').expect("the id of a key");
    for text in [
        &format!("{named}."),
        &format!("{named}.AAAA"),
        &given[..given.len() - 1],
        &format!("{given}A"),
    ] {
        refused(&round(&client, 1, text).await);
    }
    // Where there are no rounds, a state is none.
    let session = client.initialize("2025-11-25").await;
    let params = json!({"name": "delete", "arguments": {"id": 1}, "requestState": given});
    refused(&session.ask("tools/call", params).await);
    let listed = json!({"name": "echo", "arguments": {}, "requestState": given});
    let answer = client.ask_modern("tools/call", Some("echo"), listed).await;
    assert!(ran(&answer), "a call that needs no approval: {answer:?}");
    let heard = server.heard_of("tools/call").pop().expect("a call").json();
    assert!(heard["params"]["requestState"].is_null(), "{heard}");
    // What else a server made of it is the server's own.
    let own = json!({"name": "echo", "arguments": {}, "requestState": "keepgat", "inputResponses": {"a": {}}});
    let answer = client.ask_modern("tools/call", Some("echo"), own).await;
    assert!(ran(&answer), "{answer:?}");
    let heard = server.heard_of("tools/call").pop().expect("a call").json();
    assert_eq!(heard["params"]["requestState"], "keepgat", "{heard}");
    assert_eq!(heard["params"]["inputResponses"], json!({"a": {}}));
    // The call it was given for runs still.
    assert!(ran(&round(&client, 1, &given).await));
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_is_no_yes_to_what_the_server_asks_for_after() {
    let server = FakeServer::with_tools(|heard: &Heard| {
        let id = &heard.json()["id"];
        let result = json!({"resultType": "input_required", "requestState": "of the server"});
        Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
    })
    .await;
    let (gate, people) = gate(&server, json!({"round": "1s"})).await;
    let client = agent(&gate, &people.key);
    let given = state(&delete(&client, 1, &[]).await);
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    let answer = round(&client, 1, &given).await;
    let result = &answer.json()["result"];
    assert_eq!(result["requestState"], "of the server", "{answer:?}");
    // More than was shown: another request.
    let more = json!({"q": {"action": "accept", "content": {"id": 2}}});
    let more = [
        ("requestState", json!("of the server")),
        ("inputResponses", more),
    ];
    state(&delete(&client, 1, &more).await);
    assert_ne!(waiting(&gate, &people.ann).await, id);
    assert_eq!(sent(&server), 1);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_goes_on_after_a_restart() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"round": "1s"})).await;
    let given = state(&delete(&agent(&gate, &people.key), 1, &[]).await);
    let id = waiting(&gate, &people.ann).await;
    let gate = gate.kill().await.serve().await;
    decide(&gate, &people.ann, "approve", &id).await;
    assert!(ran(&round(&agent(&gate, &people.key), 1, &given).await));
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_the_link_where_the_client_declares_that_it_can() {
    let server = server().await;
    let (gate, people) = gate(&server, json!({"round": "1s"})).await;
    let client = agent(&gate, &people.key);
    let url = |client: Client, more: Value| async move {
        let mut meta = modern_meta();
        meta["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {"url": {}}});
        let mut params = json!({"name": "delete", "arguments": {"id": 1}, "_meta": meta});
        for (name, value) in more.as_object().expect("an object") {
            params[name] = value.clone();
        }
        let client = client.modern("tools/call", Some("delete"));
        client.ask("tools/call", params).await
    };
    // Without a console there is no link.
    state(&url(client.clone(), json!({})).await);
    let id = waiting(&gate, &people.ann).await;
    decide(&gate, &people.ann, "approve", &id).await;
    assert!(ran(&url(client, json!({})).await));
    let home = gate.kill().await;
    let console = json!("https://console.example");
    let home = home.with(|it| it["admin"]["public_url"] = console);
    let gate = home.serve().await;
    let client = agent(&gate, &people.key);
    let answer = url(client.clone(), json!({})).await;
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    let asked = &result["inputRequests"]["approval"];
    assert_eq!(asked["method"], "elicitation/create", "{answer:?}");
    assert_eq!(asked["params"]["mode"], "url");
    let id = waiting(&gate, &people.ann).await;
    let link = asked["params"]["url"].as_str().expect("a link");
    assert_eq!(
        link,
        format!("https://console.example/console/approvals/{id}")
    );
    let envelope = &result["_meta"]["io.modelcontextprotocol/authorization"];
    assert_eq!(envelope["remediation"], "available", "{envelope}");
    assert_eq!(envelope["hints"], json!([{"type": "url"}]));
    let given = &result["requestState"];
    let accept =
        json!({"requestState": given, "inputResponses": {"approval": {"action": "accept"}}});
    let next = url(client.clone(), accept).await;
    let given = state(&next);
    // Who does not want to follow it does not wait here.
    let decline = json!({"requestState": result["requestState"], "inputResponses": {"approval": {"action": "decline"}}});
    waits(&url(client.clone(), decline).await);
    let shown = keepgate(&gate, &people.ann, &["approvals", "show", &id]).await;
    assert_eq!(shown.json()["state"], "pending", "{}", shown.stderr);
    decide(&gate, &people.ann, "approve", &id).await;
    assert!(ran(&url(client, json!({"requestState": given})).await));
    let heard = server.heard_of("tools/call").pop().expect("a call").json();
    assert!(heard["params"]["inputResponses"].is_null(), "{heard}");
    gate.end().await;
}
