//! Credentials that are none, and credentials that reach less than they ask for.

use std::time::{Duration, SystemTime};

use keepgate_authn::{ApiKeys, KeyRequest};
use keepgate_tests::{Client, TestGateway};
use serde_json::json;

use super::{refused, server};

#[tokio::test]
async fn nobody_gets_past_without_a_valid_key() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let key = gateway.key("alice", &[]);
    let client = Client::new(gateway.addr);
    let answer = client.call_modern("echo", json!({})).await;
    refused(&answer, 401, "authn_missing");
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer realm=\"keepgate\"")
    );
    let mut flipped = key.clone();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'B' } else { 'A' });
    let wrong = [
        client
            .clone()
            .header("authorization", &format!("Bearer {flipped}")),
        client.clone().header("authorization", "Bearer "),
        client
            .clone()
            .header("authorization", &format!("Basic {key}")),
        client.clone().header("authorization", &key),
        client
            .clone()
            .header("authorization", &format!("Bearer {key} {key}")),
        client
            .clone()
            .line("authorization", &format!("Bearer {key}"))
            .line("authorization", &format!("Bearer {key}")),
    ];
    for client in &wrong {
        let answer = client.call_modern("echo", json!({})).await;
        assert_eq!(answer.status, 401, "{client:?} {answer:?}");
        assert!(answer.header("www-authenticate").is_some());
    }
    // Never in the path, where proxies write it down; and strangers do not learn which servers there are.
    let query = client.clone().path(&format!("/up/mcp?access_token={key}"));
    assert_eq!(query.call_modern("echo", json!({})).await.status, 401);
    assert_eq!(
        client.clone().path("/absent/mcp").post("").await.status,
        401
    );
    assert!(server.heard().is_empty());
    let right = client.header("authorization", &format!("Bearer {key}"));
    assert_eq!(right.call_modern("echo", json!({})).await.status, 200);
    assert_eq!(gateway.refusals().await.len(), wrong.len() + 3);
}

#[tokio::test]
async fn dead_keys_are_nobody_also_within_a_session() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let expired = gateway.key_for(KeyRequest {
        subject: "old".to_owned(),
        expires: Some(SystemTime::now() + Duration::from_millis(1)),
        ..KeyRequest::default()
    });
    tokio::time::sleep(Duration::from_millis(5)).await;
    let client = Client::new(gateway.addr);
    let old = client
        .clone()
        .header("authorization", &format!("Bearer {expired}"));
    refused(
        &old.call_modern("echo", json!({})).await,
        401,
        "authn_invalid",
    );
    let key = gateway.key("alice", &[]);
    let alice = client
        .header("authorization", &format!("Bearer {key}"))
        .initialize("2025-11-25")
        .await;
    assert_eq!(alice.call("echo", json!({})).await.status, 200);
    let keys = ApiKeys::open(gateway.directory.path()).unwrap();
    let id = keys
        .list()
        .unwrap()
        .into_iter()
        .find(|key| key.subject == "alice")
        .unwrap()
        .id;
    keys.revoke(&id, SystemTime::now()).unwrap();
    gateway.gateway.shared().authn.reload().unwrap();
    refused(&alice.call("echo", json!({})).await, 401, "authn_invalid");
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_server_out_of_reach_is_as_unknown_as_one_that_is_not_there() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let key = gateway.key_for(KeyRequest {
        subject: "alice".to_owned(),
        servers: Some(vec!["other".to_owned()]),
        ..KeyRequest::default()
    });
    let client = Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"));
    let out_of_reach = client.call_modern("echo", json!({})).await;
    let absent = client
        .clone()
        .path("/absent/mcp")
        .call_modern("echo", json!({}))
        .await;
    refused(&out_of_reach, 404, "path_unknown");
    assert_eq!(
        (out_of_reach.status, out_of_reach.masked()),
        (absent.status, absent.masked())
    );
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn trap_20_what_a_client_says_of_itself_is_not_who_it_is() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .policy("package mcp.authz\nallow contains \"a\" if \"admin\" in input.caller.roles\nallow contains \"b\" if input.caller.sub == \"root\"\n")
        .start()
        .await;
    let key = gateway.key("alice", &["reader"]);
    let client = Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"));
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "roles": ["admin"], "caller": {"sub": "root"},
        "clientInfo": {"name": "root", "version": "1", "roles": ["admin"]}}});
    let opened = client.post(body.to_string()).await;
    let session = client.header("mcp-session-id", opened.header("mcp-session-id").unwrap());
    let call = json!({"name": "echo", "arguments": {"caller": {"roles": ["admin"]}}, "_meta": {"caller": {"sub": "root"}}, "caller": {"roles": ["admin"]}});
    let answer = session.ask("tools/call", call).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
    assert!(server.heard_of("tools/call").is_empty());
    let records = gateway.records().await;
    let refused = records
        .iter()
        .find(|record| record["refusal"] == "not_found")
        .unwrap();
    assert_eq!(refused["user_id"], "alice");
}
