//! Links of approvals to clients of sessions that declare `elicitation.url` (2025-11-25): asked on the stream of the held call.

use keepgate_tests::{Events, client::field};

use super::*;

fn hello(revision: &str, capabilities: &Value) -> String {
    let info = json!({"name": "a", "version": "1"});
    let params =
        json!({"protocolVersion": revision, "capabilities": capabilities, "clientInfo": info});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

/// A client in a session that it began with these capabilities.
async fn session(gateway: &TestGateway, revision: &str, capabilities: &Value) -> Client {
    let client = Client::new(gateway.addr);
    let answer = client.post(hello(revision, capabilities)).await;
    let session = answer.header("mcp-session-id").expect("a session");
    let client = client.header("mcp-session-id", session);
    client.header("mcp-protocol-version", revision)
}

fn delete(id: u64) -> String {
    let params = json!({"name": "delete", "arguments": {"id": id}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// Whatever a client answers to a question.
fn answer(question: &Value, result: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": result}).to_string()
}

/// The question of a link to this approval.
fn assert_asks(question: &Value, id: &str) {
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let params = &question["params"];
    assert_eq!(params["mode"], "url", "{question}");
    let link = format!("https://console.example/console/approvals/{id}");
    assert_eq!(params["url"], link, "{question}");
    assert!(
        params["message"]
            .as_str()
            .is_some_and(|text| text.contains(id)),
        "{question}"
    );
    assert_eq!(params["elicitationId"], question["id"], "{question}");
}

#[tokio::test]
async fn a_user_gets_the_link_while_the_call_is_held() {
    let server = server().await;
    let gateway = holding(&server, Duration::from_secs(50)).start().await;
    let approvals = gateway.approvals();
    let declared = json!({"elicitation": {"url": {}}});
    let client = session(&gateway, "2025-11-25", &declared).await;

    for (number, verdict) in [(1, Verdict::Approve), (2, Verdict::Deny)] {
        let mut events = Events::of(client.open("POST", delete(number)).await);
        let question = events.message().await.expect("a question");
        let id = waiting(&approvals).await;
        assert_asks(&question, &id);
        let accepted = client
            .post(answer(&question, &json!({"action": "accept"})))
            .await;
        assert_eq!(accepted.status, 202, "{accepted:?}");
        // Once, as any question.
        let again = client
            .post(answer(&question, &json!({"action": "accept"})))
            .await;
        assert_eq!(
            again.code().as_deref(),
            Some("response_foreign"),
            "{again:?}"
        );
        assert_eq!(approvals.held(), 1, "it goes on waiting");
        decide(&approvals, &id, verdict).await;
        let messages = events.messages().await;
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert_eq!(messages[0]["method"], "notifications/elicitation/complete");
        assert_eq!(
            messages[0]["params"]["elicitationId"], question["id"],
            "{messages:?}"
        );
        assert_eq!(messages[1]["id"], number, "{messages:?}");
    }
    assert_eq!(server.heard_of("tools/call").len(), 1);
    assert!(
        server
            .heard()
            .iter()
            .all(|heard| heard.json()["result"].is_null()),
        "no server hears of an answer"
    );
}

#[tokio::test]
async fn who_declines_the_link_does_not_wait_and_who_cannot_show_it_does() {
    let server = server().await;
    let gateway = holding(&server, Duration::from_secs(50)).start().await;
    let approvals = gateway.approvals();
    let declared = json!({"elicitation": {"url": {}}});
    let client = session(&gateway, "2025-11-25", &declared).await;
    for (number, action) in [(3, "decline"), (4, "cancel")] {
        let mut events = Events::of(client.open("POST", delete(number)).await);
        let question = events.message().await.expect("a question");
        client
            .post(answer(&question, &json!({"action": action})))
            .await;
        let messages = tokio::time::timeout(SOON, events.messages()).await;
        let messages = messages.expect("an answer long before its time is over");
        let refusal = &messages[0]["result"]["_meta"]["dev.keepgate/refusal"];
        assert_eq!(refusal["code"], "approval_pending", "{messages:?}");
    }
    let mut events = Events::of(client.open("POST", delete(5)).await);
    let question = events.message().await.expect("a question");
    let error = json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32600, "message": "no browser"}});
    assert_eq!(client.post(error.to_string()).await.status, 202);
    let id = waiting(&approvals).await;
    assert_asks(&question, &id);
    decide(&approvals, &id, Verdict::Approve).await;
    let messages = events.messages().await;
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1]["result"]["content"][0]["text"], "did it");
}

#[tokio::test]
async fn a_link_goes_to_nobody_who_cannot_show_it_and_its_answer_may_come_late() {
    let server = server().await;
    let gateway = holding(&server, Duration::from_millis(500)).start().await;
    let url = json!({"elicitation": {"url": {}}});
    for (revision, capabilities) in [
        ("2025-11-25", json!({})),
        ("2025-11-25", json!({"elicitation": {}})),
        ("2025-11-25", json!({"elicitation": {"form": {}}})),
        ("2025-11-25", json!({"elicitation": {"url": true}})),
        ("2025-06-18", url.clone()),
    ] {
        let client = session(&gateway, revision, &capabilities).await;
        let messages = Events::of(client.open("POST", delete(1)).await)
            .messages()
            .await;
        assert_eq!(messages.len(), 1, "{revision} {capabilities}: {messages:?}");
    }
    let client = session(&gateway, "2025-11-25", &url).await;
    let messages = Events::of(client.open("POST", delete(1)).await)
        .messages()
        .await;
    // Undecided: it waits, and nothing is complete.
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(messages[1]["id"], 1, "{messages:?}");
    let other = session(&gateway, "2025-11-25", &url).await;
    let late = answer(&messages[0], &json!({"action": "accept"}));
    let foreign = other.post(late.clone()).await;
    assert_eq!(
        foreign.code().as_deref(),
        Some("response_foreign"),
        "{foreign:?}"
    );
    assert_eq!(client.post(late).await.status, 202);
}

#[tokio::test]
async fn a_link_comes_on_the_one_stream_of_older_transports() {
    let server = server().await;
    let gateway = holding(&server, Duration::from_secs(50))
        .with(|settings| {
            let servers = settings.servers.values_mut();
            servers.for_each(|server| server.listen_sse = true);
        })
        .start()
        .await;
    let approvals = gateway.approvals();
    let client = Client::new(gateway.addr);
    let mut events = Events::of(client.clone().path("/up/sse").open("GET", "").await);
    let block = events.block().await.expect("an address");
    let posts = client.path(field(&block, "data").expect("an address"));
    let hello = hello("2025-11-25", &json!({"elicitation": {"url": {}}}));
    assert_eq!(posts.post(hello).await.status, 202);
    assert_eq!(events.message().await.expect("an answer")["id"], 0);
    assert_eq!(posts.post(delete(1)).await.status, 202);
    let question = events.message().await.expect("a question");
    let id = waiting(&approvals).await;
    assert_asks(&question, &id);
    let accepted = posts
        .post(answer(&question, &json!({"action": "accept"})))
        .await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    decide(&approvals, &id, Verdict::Approve).await;
    let completed = events.message().await.expect("a notice");
    assert_eq!(
        completed["method"], "notifications/elicitation/complete",
        "{completed}"
    );
    assert_eq!(events.message().await.expect("an answer")["id"], 1);
}
