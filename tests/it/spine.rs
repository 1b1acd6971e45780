//! A call through the whole gate, in both eras.

use keepgate_tests::{Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::json;

const POLICY: &str = r#"
package mcp.authz

allow contains "echo" if input.tool.name == "echo"

deny contains {"code": "no_shouting", "message": "do not shout"} if {
    input.tool.name == "echo"
    input.arguments.text == upper(input.arguments.text)
}
"#;

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

#[tokio::test]
async fn a_stateful_client_lists_and_calls() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(POLICY)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let list = client
        .post(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string())
        .await;
    let names: Vec<_> = list.json()["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names, ["echo"]);
    let allowed = client.call("echo", json!({"text": "hello"})).await;
    assert_eq!(allowed.json()["result"]["content"][0]["text"], "hello");
    let denied = client.call("echo", json!({"text": "HELLO"})).await;
    assert_eq!(
        (denied.status, denied.code().as_deref()),
        (200, Some("policy_denied"))
    );
    assert_eq!(denied.json()["result"]["isError"], true);
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_stateless_client_calls() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(POLICY)
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let allowed = client.call_modern("echo", json!({"text": "hello"})).await;
    assert_eq!(allowed.json()["result"]["content"][0]["text"], "hello");
    let denied = client.call_modern("echo", json!({"text": "HELLO"})).await;
    assert_eq!(denied.code().as_deref(), Some("policy_denied"));
    assert!(allowed.header("mcp-session-id").is_none());
}

#[tokio::test]
async fn hidden_and_unknown_tools_are_refused_alike() {
    let server = server().await;
    for policy in [
        POLICY,
        "package mcp.authz\nallow contains \"all\"\ndeny contains \"no\" if input.tool.name == \"delete\"\n",
    ] {
        let gateway = TestGateway::http(&server.url())
            .policy(policy)
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let hidden = client.call("delete", json!({})).await;
        let unknown = client.call("absent", json!({})).await;
        let alike = |answer: &keepgate_tests::Answer, name: &str| {
            (answer.status, answer.masked().replace(name, "X"))
        };
        assert_eq!(alike(&hidden, "delete"), alike(&unknown, "absent"));
        assert_eq!(hidden.json()["error"]["code"], -32602);
    }
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn every_call_leaves_an_intent_and_an_outcome() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(POLICY)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    client.call("echo", json!({"text": "hello"})).await;
    client.call("echo", json!({"text": "HELLO"})).await;
    let records = gateway.records().await;
    let of = |kind: &str, decision: &serde_json::Value| {
        records
            .iter()
            .filter(|record| record["kind"] == kind && record["decision_id"] == *decision)
            .count()
    };
    let intents: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "call.intent")
        .collect();
    assert!(intents.iter().any(|record| record["tool_name"] == "echo"));
    for intent in &intents {
        assert_eq!(of("call.outcome", &intent["decision_id"]), 1, "{intent}");
    }
    let refused: Vec<_> = records
        .iter()
        .filter(|record| record["kind"] == "call.refused")
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["reasons"][0]["code"], "no_shouting");
}
