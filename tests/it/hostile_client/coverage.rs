//! Tools: what is hidden, unknown, a task, or needs an approval.

use keepgate_tests::{Answer, Client, TestGateway};
use serde_json::{Value, json};

use super::{open_gate, server, session, unheard};

const ECHO_ONLY: &str = "package mcp.authz\nallow contains \"a\" if input.tool.name == \"echo\"\n";

fn names(answer: &Answer) -> Vec<Value> {
    let list = answer.json();
    let tools = list["result"]["tools"].as_array().unwrap();
    tools.iter().map(|tool| tool["name"].clone()).collect()
}

#[tokio::test]
async fn trap_08_a_hidden_tool_cannot_be_called_in_any_revision() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(ECHO_ONLY)
        .start()
        .await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = Client::new(gateway.addr).initialize(revision).await;
        assert_eq!(names(&client.ask("tools/list", json!({})).await), ["echo"]);
        let hidden = client.call("delete", json!({})).await;
        assert_eq!(
            (hidden.status, &hidden.json()["error"]["code"]),
            (200, &json!(-32602))
        );
        assert_eq!(hidden.json()["error"]["message"], "Unknown tool: delete");
    }
    let client = Client::new(gateway.addr);
    assert_eq!(
        names(&client.ask_modern("tools/list", None, json!({})).await),
        ["echo"]
    );
    let hidden = client.call_modern("delete", json!({})).await;
    assert_eq!(hidden.json()["error"]["code"], -32602);
    assert!(server.heard_of("tools/call").is_empty());
    assert_eq!(gateway.refusals().await, vec!["not_found"; 4]);
}

#[tokio::test]
async fn trap_08_names_are_compared_as_they_are() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy(ECHO_ONLY)
        .start()
        .await;
    let client = session(&gateway).await;
    for name in [
        "Echo",
        "echo ",
        " echo",
        "echo\0",
        "e\u{200b}cho",
        "\u{435}cho",
        "up__echo",
        "",
    ] {
        let answer = client.call(name, json!({})).await;
        assert!(
            answer.json()["error"]["code"] == -32602,
            "{name:?} {answer:?}"
        );
    }
    for params in [
        json!({}),
        json!({"name": ["echo"]}),
        json!({"name": 1}),
        json!({"name": null}),
    ] {
        let answer = client.ask("tools/call", params).await;
        assert_eq!(answer.code().as_deref(), Some("params_invalid"));
    }
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn trap_10_unknown_methods_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let unknown = [
        "tools/exec",
        "vendor/anything",
        "Tools/call",
        "tools/call ",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "sampling/createMessage",
        "elicitation/create",
        "roots/list",
        "server/discover",
        "subscriptions/listen",
        "notifications/initialized",
        "rpc.discover",
    ];
    for method in unknown {
        let answer = client
            .ask(
                method,
                json!({"name": "echo", "taskId": "t", "uri": "file:///a"}),
            )
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (200, &json!(-32601)),
            "{method:?} {answer:?}"
        );
        assert_eq!(answer.json()["id"], 7);
    }
    let modern = Client::new(gateway.addr);
    for method in [
        "vendor/anything",
        "tasks/get",
        "tasks/update",
        "resources/subscribe",
        "logging/setLevel",
        "ping",
        "initialize",
    ] {
        let task = method.starts_with("tasks/").then_some("t");
        let answer = modern
            .ask_modern(method, task, json!({"taskId": "t", "uri": "file:///a"}))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (404, &json!(-32601)),
            "{method:?} {answer:?}"
        );
    }
    unheard(&server);
    let refusals = gateway.refusals().await;
    assert_eq!(refusals, vec!["method_unknown"; unknown.len() + 7]);
}

#[tokio::test]
async fn trap_10_unknown_notifications_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for method in [
        "notifications/vendor",
        "tools/call",
        "notifications/message",
        "notifications/tools/list_changed",
    ] {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": {"name": "echo"}});
        let answer = client.post(body.to_string()).await;
        assert!((400..500).contains(&answer.status), "{method} {answer:?}");
        assert_eq!(
            answer.code().as_deref(),
            Some("method_unknown"),
            "{method} {answer:?}"
        );
    }
    unheard(&server);
}

#[tokio::test]
async fn trap_10_a_call_cannot_become_a_task_and_nobody_declares_that_it_could() {
    let (server, gateway) = open_gate().await;
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
        "capabilities": {"tasks": {"requests": {}}}}});
    // The server offers tasks; the gateway does not, because it would refuse them.
    let opened = Client::new(gateway.addr).post(opening.to_string()).await;
    let capabilities = &opened.json()["result"]["capabilities"];
    assert!(capabilities.get("tasks").is_none() && capabilities.get("tools").is_some());
    let heard = server.heard_of("initialize").pop().unwrap().json();
    assert_eq!(heard["params"]["capabilities"], json!({}));
    let client = session(&gateway).await;
    // As the specification has it: who has not declared tasks ignores that one is asked for.
    let call = json!({"name": "echo", "arguments": {}, "task": {"ttl": 60000}});
    let answer = client.ask("tools/call", call.clone()).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let mut modern = call;
    let mut meta = keepgate_tests::client::modern_meta();
    meta["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}, "x": {}}, "roots": {}});
    modern["_meta"] = meta;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": modern});
    let stateless = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let answer = stateless.post(body.to_string()).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let calls = server.heard_of("tools/call");
    assert_eq!(calls.len(), 2);
    for heard in &calls {
        assert_eq!(heard.json()["params"].get("task"), None);
    }
    let declared =
        &calls[1].json()["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(*declared, json!({"extensions": {"x": {}}, "roots": {}}));
}

#[tokio::test]
async fn a_call_that_needs_an_approval_is_refused_and_visible() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .policy("package mcp.authz\nallow contains \"a\"\napprove contains {\"code\": \"destructive\", \"message\": \"ask first\"} if input.tool.name == \"delete\"\n")
        .start()
        .await;
    let client = session(&gateway).await;
    assert_eq!(
        names(&client.ask("tools/list", json!({})).await),
        ["echo", "delete"]
    );
    let answer = client.call("delete", json!({})).await;
    assert_eq!(answer.code().as_deref(), Some("approval_required"));
    assert_eq!(answer.json()["result"]["isError"], true);
    assert!(server.heard_of("tools/call").is_empty());
    let records = gateway.records().await;
    let refused = records
        .iter()
        .find(|record| record["refusal"] == "approval_required")
        .unwrap();
    assert_eq!(
        (&refused["decision"], &refused["reasons"][0]["code"]),
        (&json!("approve"), &json!("destructive"))
    );
}

#[tokio::test]
async fn trap_30_a_policy_that_fails_refuses() {
    let server = server().await;
    let policy = "package mcp.authz\n\nallow contains \"a\" if to_number(input.arguments.n) > 1\n";
    let gateway = TestGateway::http(&server.url())
        .policy(policy)
        .start()
        .await;
    let client = session(&gateway).await;
    let answer = client.call("echo", json!({"n": "many"})).await;
    assert_eq!(
        answer.code().as_deref(),
        Some("policy_failed"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["result"]["isError"], true);
    assert!(server.heard_of("tools/call").is_empty());
    assert_eq!(gateway.refusals().await, ["policy_failed"]);
}
