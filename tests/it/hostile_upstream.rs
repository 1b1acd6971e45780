//! A server that lies, stalls, asks for what it may not have, and breaks off. `docs/threats.md` says where each is caught.

mod answers;
mod child;
mod floods;
mod lives;
mod questions;
mod streams;

use keepgate_tests::{Client, FakeServer, Heard, Say, TestGateway};
use serde_json::{Value, json};

/// A server whose tool calls `script` answers, behind a gateway that allows everything, and a session with it.
async fn hostile(
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> (FakeServer, TestGateway, Client) {
    let server = FakeServer::with_tools(script).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    (server, gateway, client)
}

/// The record of how the tool call ended.
async fn outcome(gateway: &TestGateway) -> Value {
    let ended = |record: &Value| record["kind"] == "call.outcome" && record["tool_name"] == "echo";
    gateway.record(ended).await
}

fn progress(step: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": step}})
}
