//! Calls that cannot be recorded, and what records must not hold.

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Say, TestGateway, client::whole, upstream::said,
};
use serde_json::json;

use super::{open_gate, session};

#[tokio::test]
async fn trap_30_without_a_log_no_call_is_made() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    assert_eq!(client.call("echo", json!({})).await.code(), None);
    let before = server.heard().len();
    gateway.close_log();
    let tool = client.call("echo", json!({})).await;
    assert_eq!(
        (tool.status, tool.code().as_deref()),
        (200, Some("audit_unavailable"))
    );
    assert_eq!(tool.json()["result"]["isError"], true);
    let resource = client
        .ask("resources/read", json!({"uri": "file:///a"}))
        .await;
    assert_eq!(resource.json()["error"]["code"], -31004);
    let list = client.ask("tools/list", json!({})).await;
    assert_eq!(list.code().as_deref(), Some("audit_unavailable"));
    let modern = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(modern.code().as_deref(), Some("audit_unavailable"));
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let opening = Client::new(gateway.addr).post(opening.to_string()).await;
    assert_eq!(opening.code().as_deref(), Some("audit_unavailable"));
    assert!(opening.header("mcp-session-id").is_none());
    assert_eq!(server.heard().len(), before);
}

#[tokio::test]
async fn trap_30_an_answer_that_cannot_be_recorded_is_withheld() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let id = heard.json()["id"].clone();
        let mut says = vec![Say::Until(held.clone())];
        says.extend(Say::json(&said(&id, "the secret")));
        says
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = session(&gateway).await;
    let running = tokio::spawn(async move { client.call("echo", json!({})).await });
    server.hears(|heard| heard.method() == "tools/call").await;
    gateway.close_log();
    gate.open();
    let answer = running.await.unwrap();
    assert_eq!(answer.code().as_deref(), Some("outcome_unrecorded"));
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains("the call may have had its effect"), "{text}");
    assert!(text.contains("\"effect\":\"possible\""), "{text}");
    assert!(!text.contains("secret"));
}

#[tokio::test]
async fn trap_30_a_stream_whose_answer_cannot_be_recorded_ends_with_an_error_for_its_id() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let id = heard.json()["id"].clone();
        vec![
            Say::sse(),
            Say::event(&heard.progress(1)),
            Say::Until(held.clone()),
            Say::event(&said(&id, "the secret")),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = session(&gateway).await;
    let call = json!({"jsonrpc": "2.0", "id": "q", "method": "tools/call", "params": {"name": "echo", "_meta": {"progressToken": 1}}});
    let mut events = Events::of(client.open("POST", call.to_string()).await);
    assert_eq!(
        events.message().await.unwrap()["method"],
        "notifications/progress"
    );
    gateway.close_log();
    gate.open();
    let last = events.message().await.unwrap();
    assert_eq!(last["id"], "q");
    assert_eq!(
        last["result"]["_meta"]["dev.keepgate/refusal"]["code"], "outcome_unrecorded",
        "{last}"
    );
    assert!(!last.to_string().contains("secret"));
    assert_eq!(events.message().await, None);
}

#[tokio::test]
async fn trap_31_records_hold_no_arguments_results_tokens_or_session_ids() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "result-secret")))
            .await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let key = gateway.key("alice", &[]);
    let client = Client::new(gateway.addr)
        .header("authorization", &format!("Bearer {key}"))
        .initialize("2025-11-25")
        .await;
    let answer = client
        .call("echo", json!({"text": "argument-secret"}))
        .await;
    assert!(answer.body.windows(13).any(|part| part == b"result-secret"));
    let id = whole(
        client
            .open(
                "POST",
                json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string(),
            )
            .await,
    )
    .await;
    assert_eq!(id.status, 200);
    let log: String = gateway
        .records()
        .await
        .iter()
        .map(ToString::to_string)
        .collect();
    let session = format!("{client:?}");
    let session = session
        .split("\"mcp-session-id\", \"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    for secret in [
        "argument-secret",
        "result-secret",
        &key,
        &session,
        "upstream-secret-session",
    ] {
        assert!(!log.contains(secret), "{secret}");
    }
    assert!(log.contains("args_digest"));
}

#[tokio::test]
async fn arguments_stand_in_clear_only_where_the_operator_said_so() {
    let server = super::server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            let name = settings.servers.keys().next().unwrap().clone();
            settings.clear_arguments = vec![(name, "echo".to_owned())];
        })
        .start()
        .await;
    let client = session(&gateway).await;
    client.call("echo", json!({"text": "shown"})).await;
    client.call("delete", json!({"text": "hidden"})).await;
    let log: String = gateway
        .records()
        .await
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(log.contains("shown") && !log.contains("hidden"));
}
