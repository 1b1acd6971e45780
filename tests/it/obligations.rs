//! What a decision asks for beyond yes is done, or the call is refused.

mod answers;
mod calls;

use keepgate_tests::{Answer, Client, FakeServer, Heard, Say, TestGateway, client::modern_call};
use serde_json::{Value, json};

/// Allows everything and obliges to what `rules` say.
fn obliging(rules: &str) -> String {
    format!("package mcp.authz\n\nallow contains \"all\"\n\n{rules}\n")
}

/// A server whose tool calls `script` answers, behind a gateway whose policy obliges to `rules`.
async fn obliged(
    rules: &str,
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> (FakeServer, TestGateway) {
    let server = FakeServer::with_tools(script).await;
    let gateway = TestGateway::http(&server.url())
        .policy(&obliging(rules))
        .start()
        .await;
    (server, gateway)
}

/// The answers to one call of `echo` in a session, and in 2026-07-28.
async fn both(gateway: &TestGateway, arguments: Value) -> [Answer; 2] {
    let session = Client::new(gateway.addr).initialize("2025-11-25").await;
    let modern = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "echo", "arguments": arguments, "_meta": {"progressToken": "t"}}});
    let mut stateless = modern_call("echo", &arguments);
    stateless["params"]["_meta"]["progressToken"] = json!("t");
    [
        session.post(call.to_string()).await,
        modern.post(stateless.to_string()).await,
    ]
}

/// Answers with this result.
fn result(heard: &Heard, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": result})
}
