//! The phases beside a call itself: who may speak with a server at all, what a server may ask, and what a session did before.

use keepgate_tests::{Client, FakeServer, Heard, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

fn echoes(heard: &Heard) -> Vec<Say> {
    Say::json(&said(&heard.json()["id"], "hello"))
}

async fn judged(
    policy: &str,
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> (FakeServer, TestGateway) {
    let server = FakeServer::with_tools(script).await;
    let policy = format!("package mcp.authz\n\nallow contains \"all\"\n\n{policy}\n");
    let gateway = TestGateway::http(&server.url())
        .policy(&policy)
        .keys()
        .start()
        .await;
    (server, gateway)
}

fn bearing(gateway: &TestGateway, key: &str) -> Client {
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

#[tokio::test]
async fn who_may_not_connect_opens_no_session_and_calls_nothing() {
    let policy = "deny contains {\"code\": \"not_here\", \"message\": \"not for guests\"} if {\n\
        \tinput.phase == \"connect\"\n\t\"guest\" in input.caller.roles\n}\n\
        approve contains \"ask\" if {\n\tinput.phase == \"connect\"\n\t\"new\" in input.caller.roles\n}";
    let (server, gateway) = judged(policy, echoes).await;
    for (role, code) in [("guest", "policy_denied"), ("new", "approval_required")] {
        let client = bearing(&gateway, &gateway.key(role, &[role]));
        let opened = client.post(initialize().to_string()).await;
        assert_eq!(opened.code().as_deref(), Some(code), "{opened:?}");
        assert!(opened.header("mcp-session-id").is_none());
        for answer in [
            client.ask_modern("server/discover", None, json!({})).await,
            client.ask_modern("tools/list", None, json!({})).await,
            client.call_modern("echo", json!({})).await,
        ] {
            assert_eq!(answer.code().as_deref(), Some(code), "{answer:?}");
        }
    }
    for method in ["initialize", "server/discover", "tools/call"] {
        assert!(server.heard_of(method).is_empty(), "{method}");
    }
    let staff = bearing(&gateway, &gateway.key("ann", &["staff"]));
    assert_eq!(staff.call_modern("echo", json!({})).await.code(), None);
    let staff = staff.initialize("2025-11-25").await;
    assert_eq!(staff.call("echo", json!({})).await.code(), None);
    let refused = gateway
        .record(|record| record["refusal"] == "policy_denied" && record["method"] == "initialize")
        .await;
    assert_eq!(refused["reasons"][0]["code"], "not_here");
}

#[tokio::test]
async fn lists_of_2026_do_not_vary_with_what_was_asked_before() {
    // Each hides a tool after a call, or in any session.
    for hides in [
        "input.history.calls > 0",
        "input.history.calls_by_tool.echo > 0",
        "\"seen\" in input.flow.labels",
        "input.session.revision",
        "input.approval.present == false",
    ] {
        let policy = format!(
            "labels contains \"seen\" if input.phase == \"call\"\n\ndeny contains {{\"code\": \"hidden\"}} if {{\n\
             \tinput.phase == \"list\"\n\tinput.tool.name == \"delete\"\n\t{hides}\n}}"
        );
        let (_server, gateway) = judged(&policy, echoes).await;
        let client = bearing(&gateway, &gateway.key("ann", &[]));
        let session = client.initialize("2025-11-25").await;
        assert_eq!(client.call_modern("echo", json!({})).await.code(), None);
        let list = session.ask("tools/list", json!({})).await;
        assert!(!list.masked().contains("delete"), "{hides}: {list:?}");
        let list = client.ask_modern("tools/list", None, json!({})).await;
        assert!(list.masked().contains("delete"), "{hides}: {list:?}");
    }
}

#[tokio::test]
async fn what_connecting_obliges_to_is_done() {
    let policy = "limit contains {\"name\": \"connects\", \"rate\": \"2/1h\", \"by\": \"caller\"} if input.phase == \"connect\"";
    let (_server, gateway) = judged(policy, echoes).await;
    let client = bearing(&gateway, &gateway.key("ann", &[]));
    for _ in 0..2 {
        assert_eq!(client.post(initialize().to_string()).await.code(), None);
    }
    let third = client.post(initialize().to_string()).await;
    assert_eq!(third.code().as_deref(), Some("rate_limited"), "{third:?}");
    let modern = client.call_modern("echo", json!({})).await;
    assert_eq!(modern.code().as_deref(), Some("rate_limited"), "{modern:?}");
}

#[tokio::test]
async fn a_question_that_obliges_to_something_is_not_asked() {
    let policy = "redact contains {\"field\": \"x\"} if input.phase == \"server_request\"";
    let (server, gateway) = judged(policy, |heard| {
        let ask = json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "who are you?",
            "requestedSchema": {"type": "object", "properties": {}}}});
        Say::sse_whole(&[ask, said(&heard.json()["id"], "done")])
    })
    .await;
    let client = bearing(&gateway, &gateway.key("ann", &[]))
        .initialize("2025-11-25")
        .await;
    let answer = client.call("echo", json!({})).await;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains("done") && !text.contains("who are you"),
        "{text}"
    );
    let declined = server.hears(|heard| heard.json()["id"] == "q").await;
    assert_eq!(declined.json()["error"]["code"], -31001);
    let record = gateway
        .record(|record| record["kind"] == "server_request")
        .await;
    assert_eq!(record["reasons"][0]["code"], "obligation_unsupported");
}

/// The code of the nth call of `echo`, each in a session of its own, of one caller.
async fn repeated(
    policy: &str,
    calls: usize,
    script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static,
) -> Vec<Option<String>> {
    let (_server, gateway) = judged(policy, script).await;
    let key = gateway.key("ann", &[]);
    let mut codes = Vec::new();
    for call in 0..calls {
        let client = bearing(&gateway, &key);
        let answer = if call % 2 == 0 {
            client.call_modern("echo", json!({})).await
        } else {
            let client = client.initialize("2025-11-25").await;
            client.call("echo", json!({})).await
        };
        codes.push(answer.code());
    }
    // Somebody else has a history of its own.
    let other = bearing(&gateway, &gateway.key("bob", &[]));
    assert_eq!(other.call_modern("echo", json!({})).await.code(), None);
    codes
}

#[tokio::test]
async fn policy_sees_what_the_session_did_before() {
    let denied = Some("policy_denied".to_owned());
    for (rule, passing) in [
        ("input.history.calls >= 3", 3),
        ("input.history.minute.calls >= 2", 2),
        ("input.history.hour.calls >= 2", 2),
        ("input.history.day.calls >= 2", 2),
        ("input.history.calls_by_tool.echo >= 1", 1),
        ("input.history.records_out >= 4", 2),
        ("input.history.bytes_out > 150", 2),
    ] {
        let policy =
            format!("deny contains \"enough\" if {{\n\tinput.phase == \"call\"\n\t{rule}\n}}");
        let codes = repeated(&policy, 4, |heard| {
            Say::json(
                &json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": {"content": [],
                "structuredContent": {"rows": [{"a": 1}, {"a": 2}]}, "_meta": {"pad": "xxx"}}}),
            )
        })
        .await;
        let mut wanted = vec![None; passing];
        wanted.resize(4, denied.clone());
        assert_eq!(codes, wanted, "{rule}");
    }
}

#[tokio::test]
async fn denials_are_counted() {
    let policy = "deny contains \"bad\" if input.arguments.bad\n\
        deny contains \"locked\" if {\n\tinput.phase == \"call\"\n\tinput.history.denials >= 2\n}";
    let (_server, gateway) = judged(policy, echoes).await;
    let client = bearing(&gateway, &gateway.key("ann", &[]));
    assert_eq!(client.call_modern("echo", json!({})).await.code(), None);
    for _ in 0..2 {
        let denied = client.call_modern("echo", json!({"bad": true})).await;
        assert_eq!(denied.code().as_deref(), Some("policy_denied"));
    }
    let locked = client.call_modern("echo", json!({})).await;
    assert_eq!(
        locked.code().as_deref(),
        Some("policy_denied"),
        "{locked:?}"
    );
}
