//! Arrays: where they are none, and what is smuggled in them where they are.

use keepgate_tests::{Client, FakeServer, Say, TestGateway, client::modern_call, upstream::said};
use serde_json::{Value, json};

use super::{open_gate, refused, server, unheard};

const ECHO_ONLY: &str = "package mcp.authz\nallow contains \"a\" if input.tool.name == \"echo\"\n\
    visible contains \"v\" if input.tool.name == \"delete\"\n";

fn call(id: &Value, tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool}})
}

#[tokio::test]
async fn trap_04_batches_exist_in_2025_03_26_only() {
    let (server, gateway) = open_gate().await;
    for revision in ["2025-06-18", "2025-11-25"] {
        let client = Client::new(gateway.addr).initialize(revision).await;
        for batch in [json!([call(&json!(1), "echo")]), json!([])] {
            let answer = client.post(batch.to_string()).await;
            assert_eq!(answer.status, 400, "{revision} {answer:?}");
            assert_eq!(answer.json()["error"]["code"], -32600);
        }
    }
    let modern = Client::new(gateway.addr)
        .modern("tools/call", Some("echo"))
        .post(json!([modern_call("echo", &json!({}))]).to_string())
        .await;
    assert_eq!(modern.status, 400);
    unheard(&server);
}

#[tokio::test]
async fn trap_04_batches_smuggle_no_handshake_answer_or_twin() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr).initialize("2025-03-26").await;
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-03-26", "capabilities": {}}});
    let before = server.heard_of("initialize").len();
    for batch in [
        json!([opening, call(&json!(2), "echo")]),
        json!([{"jsonrpc": "2.0", "id": 5, "result": {}}, call(&json!(2), "echo")]),
        json!([call(&json!(2), "echo"), call(&json!(2), "delete")]),
        json!([call(&json!(2), "echo"), [call(&json!(3), "delete")]]),
        json!([call(&json!(2), "echo"), 7]),
        json!([]),
    ] {
        let answer = client.post(batch.to_string()).await;
        assert_eq!(answer.status, 400, "{batch} {answer:?}");
    }
    assert_eq!(server.heard_of("initialize").len(), before);
    unheard(&server);
}

#[tokio::test]
async fn trap_04_each_message_of_a_batch_is_judged_and_answered_by_its_id() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(ECHO_ONLY)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-03-26").await;
    let batch = json!([
        call(&json!(1), "delete"),
        call(&json!("1"), "echo"),
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}},
        call(&json!(2), "absent"),
        {"jsonrpc": "2.0", "id": 3, "method": "vendor/exec"},
    ]);
    let answer = client.post(batch.to_string()).await;
    assert_eq!(answer.status, 200);
    let answers = answer.json();
    assert_eq!(answers.as_array().unwrap().len(), 4);
    let of = |id: Value| {
        let mut answers = answers.as_array().unwrap().iter();
        answers.find(|answer| answer["id"] == id).unwrap().clone()
    };
    assert_eq!(
        of(json!(1))["result"]["_meta"]["dev.keepgate/refusal"]["code"],
        "policy_denied"
    );
    assert_eq!(of(json!("1"))["result"]["content"][0]["text"], "hello");
    assert_eq!(of(json!(2))["error"]["code"], -32602);
    assert_eq!(of(json!(3))["error"]["code"], -32601);
    let called = server.heard_of("tools/call");
    assert_eq!(called.len(), 1);
    assert_eq!(called[0].json()["params"]["name"], "echo");
    assert!(server.heard_of("vendor/exec").is_empty());
    let mut refusals = gateway.refusals().await;
    refusals.sort();
    assert_eq!(refusals, ["method_unknown", "not_found", "policy_denied"]);
}

#[tokio::test]
async fn trap_04_a_batch_in_no_session_is_told_so_by_status() {
    let (server, gateway) = open_gate().await;
    let old = Client::new(gateway.addr).header("mcp-protocol-version", "2025-03-26");
    let batch =
        json!([call(&json!(1), "echo"), {"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    // Clients begin anew on 404 and on nothing else (`basic/transports`, session management).
    let unknown = old
        .clone()
        .header("mcp-session-id", "guessed")
        .post(batch.to_string())
        .await;
    refused(&unknown, 404, "session_unknown");
    refused(&old.post(batch.to_string()).await, 400, "session_missing");
    let quiet = json!([{"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}]);
    refused(&old.post(quiet.to_string()).await, 400, "session_missing");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn trap_19_a_batch_of_answers_nobody_asked_for_is_refused() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr).initialize("2025-03-26").await;
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "result": {}}, {"jsonrpc": "2.0", "id": 2, "result": {}}]);
    refused(
        &client.post(batch.to_string()).await,
        400,
        "response_foreign",
    );
    unheard(&server);
}

#[tokio::test]
async fn trap_22_streams_of_a_batch_carry_its_answers_and_nothing_else() {
    let server = FakeServer::with_tools(|heard| {
        let id = heard.json()["id"].clone();
        match heard.json()["params"]["name"].as_str() {
            Some("echo") => Say::sse_whole(&[
                said(&json!("foreign"), "foreign"),
                said(&id, "streamed"),
                said(&id, "second"),
            ]),
            _ => Say::json(&said(&id, "plain")),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-03-26").await;
    let batch = json!([
        call(&json!(1), "echo"),
        call(&json!(2), "delete"),
        call(&json!(3), "absent")
    ]);
    let answer = client.post(batch.to_string()).await;
    assert_eq!(answer.header("content-type"), Some("text/event-stream"));
    let mut messages = answer.messages();
    messages.sort_by_key(|message| message["id"].as_i64());
    assert_eq!(messages.len(), 3, "{messages:#?}");
    assert_eq!(
        messages[..2],
        [said(&json!(1), "streamed"), said(&json!(2), "plain")]
    );
    assert_eq!(messages[2]["error"]["code"], -32602);
}
