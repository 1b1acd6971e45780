//! Headers that mirror the body, and lie about it.

use keepgate_tests::{Client, TestGateway, client::modern_call};
use serde_json::json;

use super::{open_gate, refused, server, session, unheard};

#[tokio::test]
async fn trap_02_headers_that_differ_from_the_body_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = Client::new(gateway.addr);
    let honest = client.modern("tools/call", Some("delete"));
    let body = modern_call("delete", &json!({})).to_string();
    let liars = [
        honest.clone().header("mcp-name", "echo"),
        honest.clone().header("mcp-name", "Delete"),
        honest.clone().header("mcp-method", "tools/list"),
        honest.clone().header("mcp-method", "TOOLS/CALL"),
        honest.clone().header("mcp-protocol-version", "2025-11-25"),
        honest.clone().without("mcp-name"),
        honest.clone().without("mcp-method"),
        honest.clone().without("mcp-protocol-version"),
    ];
    for liar in &liars {
        let answer = liar.post(body.clone()).await;
        assert_eq!(answer.status, 400, "{liar:?}");
        assert_eq!(answer.json()["error"]["code"], -32020, "{liar:?}");
        assert_eq!(answer.json()["id"], 7);
    }
    assert!(server.heard().is_empty(), "{:#?}", server.heard());
    assert_eq!(
        gateway.refusals().await,
        vec!["header_mismatch"; liars.len()]
    );
}

#[tokio::test]
async fn trap_02_doubled_lines_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let honest = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    for (name, value) in [
        ("mcp-name", "echo"),
        ("mcp-name", "delete"),
        ("mcp-method", "tools/call"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-session-id", "a"),
    ] {
        let twice = honest.clone().line(name, value).line(name, value);
        let answer = twice
            .post(modern_call("echo", &json!({})).to_string())
            .await;
        refused(&answer, 400, "header_invalid");
        assert_eq!(answer.json()["error"]["code"], -32020);
    }
    let params = honest
        .line("mcp-param-region", "eu")
        .line("mcp-param-region", "us");
    let answer = params
        .post(modern_call("echo", &json!({})).to_string())
        .await;
    refused(&answer, 400, "header_invalid");
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn trap_02_the_base64_form_is_decoded_before_it_is_compared() {
    let (server, gateway) = open_gate().await;
    let honest = Client::new(gateway.addr).modern("tools/call", None);
    let encoded = honest.clone().header("mcp-name", "=?base64?ZWNobw==?=");
    let same = encoded
        .post(modern_call("echo", &json!({})).to_string())
        .await;
    assert_eq!(same.status, 200, "{same:?}");
    assert_eq!(server.heard_of("tools/call").len(), 1);
    // It says "echo", and the body says something else.
    let lie = encoded
        .post(modern_call("delete", &json!({})).to_string())
        .await;
    assert_eq!(
        (lie.status, &lie.json()["error"]["code"]),
        (400, &json!(-32020))
    );
    // A tool of that very name is not the tool it spells.
    let literal = encoded
        .post(modern_call("=?base64?ZWNobw==?=", &json!({})).to_string())
        .await;
    assert_eq!(literal.status, 400);
    for broken in ["=?base64?ZWNobw=?=", "=?base64?!!?=", "=?base64?/w==?="] {
        let answer = honest
            .clone()
            .header("mcp-name", broken)
            .post(modern_call("echo", &json!({})).to_string())
            .await;
        refused(&answer, 400, "header_invalid");
    }
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn trap_02_the_server_hears_mirrors_of_the_body_not_the_clients_lines() {
    let (server, gateway) = open_gate().await;
    Client::new(gateway.addr)
        .modern("tools/call", Some("=?base64?ZWNobw==?="))
        .header("mcp-param-region", "eu-1")
        .header("mcp-session-id", "stale")
        .header("last-event-id", "stale")
        .post(modern_call("echo", &json!({"region": "eu-1"})).to_string())
        .await;
    let heard = server.heard_of("tools/call").remove(0);
    assert_eq!(heard.header("mcp-name"), Some("echo"));
    assert_eq!(heard.header("mcp-method"), Some("tools/call"));
    assert_eq!(heard.header("mcp-protocol-version"), Some("2026-07-28"));
    // Its tool declares no such header; see `arguments.rs` for those that are declared.
    assert_eq!(heard.header("mcp-param-region"), None);
    assert_eq!(heard.header("mcp-session-id"), None);
    assert_eq!(heard.header("last-event-id"), None);
}

#[tokio::test]
async fn trap_02_mirrored_headers_mean_nothing_before_2026() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy("package mcp.authz\nallow contains \"a\" if input.tool.name == \"echo\"\n")
        .start()
        .await;
    let client = session(&gateway).await;
    let liar = client
        .header("mcp-name", "echo")
        .header("mcp-method", "tools/list")
        .header("mcp-param-name", "echo");
    // The body decides, and what it asks for is hidden.
    let answer = liar.call("delete", json!({})).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
    assert_eq!(liar.call("echo", json!({})).await.status, 200);
    let heard = server.heard_of("tools/call");
    assert_eq!(heard.len(), 1);
    for name in ["mcp-name", "mcp-method", "mcp-param-name"] {
        assert_eq!(heard[0].header(name), None);
    }
}

#[tokio::test]
async fn header_values_that_are_none_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for (name, value) in [
        ("mcp-session-id", "two words"),
        ("mcp-protocol-version", "2025 11 25"),
        ("mcp-session-id", ""),
    ] {
        let answer = client
            .clone()
            .header(name, value)
            .call("echo", json!({}))
            .await;
        refused(&answer, 400, "header_invalid");
    }
    unheard(&server);
}
