//! Bodies and headers that speak different revisions.

use keepgate_tests::{
    Client,
    client::{modern_call, modern_meta},
};
use serde_json::json;

use super::{open_gate, refused, session, unheard};

fn call() -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo"}})
        .to_string()
}

#[tokio::test]
async fn trap_03_a_modern_body_under_an_old_header_reaches_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let answer = client
        .post(modern_call("echo", &json!({})).to_string())
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (400, &json!(-32020))
    );
    let bare = Client::new(gateway.addr);
    let answer = bare.post(modern_call("echo", &json!({})).to_string()).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (400, &json!(-32020))
    );
    unheard(&server);
}

#[tokio::test]
async fn trap_03_an_old_body_under_a_modern_header_reaches_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await.modern("tools/call", Some("echo"));
    let answer = client.post(call()).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["code"]),
        (400, &json!(-32602))
    );
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let answer = Client::new(gateway.addr)
        .modern("initialize", None)
        .post(opening.to_string())
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.header("mcp-session-id").is_none());
    unheard(&server);
    assert_eq!(gateway.refusals().await, ["meta_missing", "meta_missing"]);
}

#[tokio::test]
async fn trap_03_revisions_nobody_can_police_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let mut body = modern_call("echo", &json!({}));
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let modern = Client::new(gateway.addr)
        .modern("tools/call", Some("echo"))
        .header("mcp-protocol-version", "2099-01-01");
    let answer = modern.post(body.to_string()).await.json();
    assert_eq!(answer["error"]["code"], -32022);
    assert_eq!(answer["error"]["data"]["requested"], "2099-01-01");
    assert_eq!(answer["error"]["data"]["supported"], json!(["2026-07-28"]));
    let client = session(&gateway).await;
    let old = client
        .header("mcp-protocol-version", "2024-10-07")
        .post(call())
        .await;
    assert_eq!(old.status, 400);
    unheard(&server);
}

#[tokio::test]
async fn trap_03_a_session_keeps_its_revision() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr).initialize("2025-06-18").await;
    for named in ["2024-10-07", "2026-07-28", ""] {
        let other = client.clone().header("mcp-protocol-version", named);
        assert_eq!(other.post(call()).await.status, 400, "{named}");
    }
    unheard(&server);
    // What the server gets is what was agreed on, whatever this one request names or leaves out.
    for named in [None, Some("2025-11-25"), Some("2025-03-26")] {
        let other = client.clone().without("mcp-protocol-version");
        let other = match named {
            Some(named) => other.header("mcp-protocol-version", named),
            None => other,
        };
        assert_eq!(other.post(call()).await.status, 200, "{named:?}");
        let heard = server.heard_of("tools/call").pop().unwrap();
        assert_eq!(heard.header("mcp-protocol-version"), Some("2025-06-18"));
        // Nor has it the batches of a revision it did not begin in.
        let batch = format!("[{}]", call());
        assert_eq!(other.post(batch).await.status, 400, "{named:?}");
    }
}

#[tokio::test]
async fn trap_03_a_modern_body_never_touches_a_session() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let heard = server.heard_of("tools/call");
    assert_eq!(heard[0].header("mcp-session-id"), None);
    // Neither does a modern body open one, whatever the server sends.
    assert!(answer.header("mcp-session-id").is_none());
}

#[tokio::test]
async fn trap_03_modern_requests_must_say_what_they_are() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    for missing in [
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
    ] {
        let mut meta = modern_meta();
        meta.as_object_mut().unwrap().remove(missing);
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "echo", "_meta": meta}});
        let answer = client.post(body.to_string()).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!(-32602))
        );
    }
    unheard(&server);
}

#[tokio::test]
async fn answers_have_no_place_in_2026() {
    let (server, gateway) = open_gate().await;
    let body = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    let client = Client::new(gateway.addr).header("mcp-protocol-version", "2026-07-28");
    assert_eq!(client.post(body.to_string()).await.status, 400);
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn get_and_delete_have_no_place_in_2026() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr).header("mcp-protocol-version", "2026-07-28");
    for method in ["GET", "DELETE"] {
        let answer = client.send(method, "").await;
        refused(&answer, 405, "http_method");
        assert!(answer.header("allow").is_some());
    }
    assert!(server.heard().is_empty());
}
