//! Arguments that policy reads in one way and the server in another.

use keepgate_gateway::settings::UndeclaredArguments;
use keepgate_tests::{Client, FakeServer, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

use super::session;

/// The schema of the tool `read`.
fn plain() -> Value {
    json!({"type": "object", "properties": {
        "path": {"type": "string"},
        "options": {"type": "object", "properties": {"encoding": {"type": "string"}}},
        "labels": {"type": "object"},
    }})
}

/// A server with one tool, `read`, of this schema, which answers "hello".
async fn server(schema: Value) -> FakeServer {
    let schemas = move || schema.clone();
    changing(schemas).await
}

async fn changing(schema: impl Fn() -> Value + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |heard| {
        let id = &heard.json()["id"];
        if heard.method() == "tools/list" {
            let tools = json!({"tools": [{"name": "read", "inputSchema": schema()}]});
            return Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": tools}));
        }
        keepgate_tests::upstream::behave(heard).unwrap_or_else(|| Say::json(&said(id, "hello")))
    })
    .await
}

const GUARDED: &str = "package mcp.authz\n\nallow contains \"all\"\n\n\
    deny contains {\"code\": \"secret\", \"message\": \"\"} if input.arguments.path == \"/etc/shadow\"\n";

async fn gateway(server: &FakeServer, mode: UndeclaredArguments, policy: &str) -> TestGateway {
    TestGateway::http(&server.url())
        .policy(policy)
        .with(move |settings| {
            for server in settings.servers.values_mut() {
                server.arguments = mode;
            }
        })
        .start()
        .await
}

/// A tool call with `arguments` as they are written.
fn call(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"read","arguments":{arguments}}}}}"#
    )
}

#[tokio::test]
async fn trap_33_names_that_a_reader_takes_for_others_reach_no_server() {
    let server = server(plain()).await;
    let gateway = gateway(&server, UndeclaredArguments::Drop, GUARDED).await;
    let client = session(&gateway).await;
    // In one spelling it passes, or policy sees it.
    let honest = client.post(call(r#"{"path":"/srv/a"}"#)).await;
    assert_eq!(honest.code(), None, "{honest:?}");
    let denied = client.post(call(r#"{"path":"/etc/shadow"}"#)).await;
    assert_eq!(denied.code().as_deref(), Some("policy_denied"));
    let heard = server.heard_of("tools/call").len();
    for arguments in [
        r#"{"PATH":"/etc/shadow"}"#,
        r#"{"path":"/srv/a","PATH":"/etc/shadow"}"#,
        r#"{"Path":"/etc/shadow","path":"/srv/a"}"#,
        r#"{"path":"/srv/a","pat\u0048":"/etc/shadow"}"#,
        r#"{"path":"/srv/a","ｐａｔｈ":"/etc/shadow"}"#,
        r#"{"path":"/srv/a","pa\u200dth":"/etc/shadow"}"#,
        r#"{"path":"/srv/a","option\u017f":{}}"#,
        r#"{"x":"/srv/a","X":"/etc/shadow"}"#,
        r#"{"path":"/srv/a","options":{"encoding":"a","Encoding":"b"}}"#,
        r#"{"path":"/srv/a","options":{"ENCODING":"b"}}"#,
        r#"["/etc/shadow"]"#,
        r#""/etc/shadow""#,
        "7",
        "true",
    ] {
        for client in [&client, &Client::new(gateway.addr)] {
            let answer = match client.sent("mcp-session-id") {
                Some(_) => client.post(call(arguments)).await,
                None => {
                    let mut body: Value = serde_json::from_str(&call(arguments)).unwrap();
                    body["params"]["_meta"] = keepgate_tests::client::modern_meta();
                    client
                        .modern("tools/call", Some("read"))
                        .post(body.to_string())
                        .await
                }
            };
            assert_eq!(
                answer.code().as_deref(),
                Some("params_invalid"),
                "{arguments}: {answer:?}"
            );
        }
    }
    assert_eq!(server.heard_of("tools/call").len(), heard);
    // A map has any names it likes.
    let map = r#"{"path":"/srv/a","labels":{"App":"a","app":"b"}}"#;
    assert_eq!(client.post(call(map)).await.code(), None);
    let sent = server.heard_of("tools/call").pop().unwrap();
    assert!(sent.body.contains(map), "{}", sent.body);
}

#[tokio::test]
async fn trap_33_arguments_of_a_hidden_tool_tell_nothing() {
    let server = server(plain()).await;
    let gateway = gateway(
        &server,
        UndeclaredArguments::Refuse,
        "package mcp.authz\n\nallow contains \"other\" if input.tool.name == \"other\"\n",
    )
    .await;
    let client = session(&gateway).await;
    let words = |name: &str, answer: keepgate_tests::Answer| answer.masked().replace(name, "it");
    for arguments in [
        json!({"PATH": 1}),
        json!([]),
        json!({"unknown": 1}),
        json!({}),
    ] {
        let hidden = words("read", client.call("read", arguments.clone()).await);
        let absent = words("none", client.call("none", arguments).await);
        assert_eq!(hidden, absent);
    }
    assert!(server.heard_of("tools/call").is_empty());
}

#[tokio::test]
async fn trap_33_prompts_take_an_object_of_distinct_names() {
    let server = server(plain()).await;
    let gateway = gateway(&server, UndeclaredArguments::Drop, GUARDED).await;
    let client = session(&gateway).await;
    for arguments in [json!([]), json!("a"), json!({"a": "1", "A": "2"})] {
        let answer = client
            .ask("prompts/get", json!({"name": "p", "arguments": arguments}))
            .await;
        assert_eq!(
            answer.code().as_deref(),
            Some("params_invalid"),
            "{answer:?}"
        );
    }
    assert!(server.heard_of("prompts/get").is_empty());
    for arguments in [json!({"a": "1"}), Value::Null] {
        client
            .ask("prompts/get", json!({"name": "p", "arguments": arguments}))
            .await;
    }
    let heard = server.heard_of("prompts/get");
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].json()["params"]["arguments"], json!({}));
}

/// The setting that helps: leaving an argument out is no help where the schema is closed.
fn names_the_way_out(answer: &keepgate_tests::Answer, schema: &Value) {
    let closed = schema["additionalProperties"] == false;
    let way_out = if closed { "pass" } else { "drop" };
    let way_out = format!("servers.up.arguments: {way_out}");
    let text = String::from_utf8_lossy(&answer.body);
    assert!(text.contains(&way_out), "{text}");
}

#[tokio::test]
async fn undeclared_arguments_are_dropped_refused_or_passed() {
    let with = |more: Value| {
        let mut schema = plain();
        schema
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        schema
    };
    let closed = with(json!({"additionalProperties": false}));
    let open = with(json!({"additionalProperties": true}));
    let typed = with(json!({"additionalProperties": {"type": "string"}}));
    let composed = with(json!({"anyOf": [{"required": ["path"]}]}));
    use UndeclaredArguments::{Drop, Pass, Refuse};
    for (schema, mode, sent) in [
        (plain(), Drop, Some(false)),
        (plain(), Refuse, None),
        (plain(), Pass, Some(true)),
        (closed.clone(), Drop, None),
        (closed.clone(), Refuse, None),
        (closed, Pass, Some(true)),
        (open.clone(), Drop, Some(true)),
        (open, Refuse, Some(true)),
        (typed, Drop, Some(true)),
        (composed.clone(), Drop, Some(true)),
        (composed, Refuse, Some(true)),
        (json!({"type": "object"}), Refuse, Some(true)),
    ] {
        let server = server(schema.clone()).await;
        let gateway = gateway(&server, mode, GUARDED).await;
        let client = session(&gateway).await;
        let answer = client
            .post(call(
                r#"{"toolCallId":"c1","path": "/srv/a" ,"sessionId":"s"}"#,
            ))
            .await;
        let heard = server.heard_of("tools/call").pop();
        match sent {
            None => {
                assert_eq!(
                    answer.code().as_deref(),
                    Some("params_invalid"),
                    "{mode:?} {schema}"
                );
                names_the_way_out(&answer, &schema);
                assert!(heard.is_none());
            }
            Some(whole) => {
                assert_eq!(answer.code(), None, "{mode:?} {schema}: {answer:?}");
                let arguments = heard.unwrap().json()["params"]["arguments"].clone();
                let expected = if whole {
                    json!({"toolCallId": "c1", "path": "/srv/a", "sessionId": "s"})
                } else {
                    json!({"path": "/srv/a"})
                };
                assert_eq!(arguments, expected, "{mode:?} {schema}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_dropped_is_not_judged_but_told_to_policy_and_recorded() {
    let policy = "package mcp.authz\n\n\
        allow contains \"clean\" if {\n    not input.arguments.extra\n    input.tool.undeclared == [\"extra\", \"more\"]\n}\n\n\
        allow contains \"none\" if input.tool.undeclared == []\n";
    let server = server(plain()).await;
    let gateway = gateway(&server, UndeclaredArguments::Drop, policy).await;
    let client = session(&gateway).await;
    let answer = client
        .call("read", json!({"path": "/a", "extra": 1, "more": [2]}))
        .await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let intent = gateway
        .record(|record| record["kind"] == "call.intent" && record["tool_name"] == "read")
        .await;
    assert_eq!(intent["undeclared"], json!(["extra", "more"]));
    let answer = client.call("read", json!({"path": "/a"})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
}

#[tokio::test]
async fn null_arguments_are_none() {
    let policy = "package mcp.authz\n\nallow contains \"none\" if input.arguments == {}\n";
    let server = server(plain()).await;
    let gateway = gateway(&server, UndeclaredArguments::Drop, policy).await;
    let client = session(&gateway).await;
    let answer = client.post(call("null")).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let sent = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(sent.json()["params"]["arguments"], json!({}));
}

fn mirrored() -> Value {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "query": {"type": "string"},
    }})
}

/// A client whose lines agree with `{"region": "eu", "limit": 5}`.
fn honest(gateway: &TestGateway) -> Client {
    Client::new(gateway.addr)
        .header("mcp-param-region", "eu")
        .header("mcp-param-limit", "5.0")
}

#[tokio::test]
async fn trap_34_lines_are_written_from_the_arguments() {
    let server = server(mirrored()).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = honest(&gateway);
    let base64 = client.clone().header("mcp-param-region", "=?base64?ZXU=?=");
    for client in [client, base64] {
        let answer = client
            .call_modern("read", json!({"region": "eu", "limit": 5}))
            .await;
        assert_eq!(answer.code(), None, "{answer:?}");
        let heard = server.heard_of("tools/call").pop().unwrap();
        assert_eq!(heard.header("mcp-param-region"), Some("eu"));
        assert_eq!(heard.header("mcp-param-limit"), Some("5"));
    }
}

#[tokio::test]
async fn trap_34_lines_that_do_not_say_what_the_arguments_say_reach_no_server() {
    let server = server(mirrored()).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let (honest, arguments) = (honest(&gateway), json!({"region": "eu", "limit": 5}));
    let passes = honest.call_modern("read", arguments.clone()).await;
    assert_eq!(passes.code(), None, "{passes:?}");
    let with = |name: &str, value: &str| (honest.clone().header(name, value), arguments.clone());
    for (liar, arguments) in [
        with("mcp-param-region", "us"),
        with("mcp-param-region", "EU"),
        with("mcp-param-region", "=?base64?dXM=?="),
        with("mcp-param-region", "=?base64?!?="),
        with("mcp-param-limit", "6"),
        with("mcp-param-limit", "five"),
        (
            honest.clone().without("mcp-param-region"),
            arguments.clone(),
        ),
        (honest.clone(), json!({"region": "eu"})),
        (honest.clone(), json!({"region": null, "limit": 5})),
        (honest.clone(), json!({})),
    ] {
        let answer = liar.call_modern("read", arguments.clone()).await;
        assert_eq!(answer.status, 400, "{liar:?} {arguments}: {answer:?}");
        assert_eq!(answer.json()["error"]["code"], -32020, "{answer:?}");
        assert_eq!(answer.json()["id"], 7);
    }
    let doubled = honest.line("mcp-param-region", "eu");
    let answer = doubled.call_modern("read", arguments).await;
    assert_eq!(answer.code().as_deref(), Some("header_invalid"));
    assert_eq!(server.heard_of("tools/call").len(), 1);
    // All these lies cost the server one look at its list, not one each.
    assert!(server.heard_of("tools/list").len() <= 2);
}

#[tokio::test]
async fn a_schema_that_has_changed_is_looked_at_once_more() {
    let changed = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let declares = std::sync::Arc::clone(&changed);
    let server = changing(move || {
        if declares.load(std::sync::atomic::Ordering::SeqCst) {
            plain()
        } else {
            mirrored()
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let with = honest(&gateway);
    let call = with.call_modern("read", json!({"region": "eu", "limit": 5}));
    assert_eq!(call.await.code(), None);
    changed.store(true, std::sync::atomic::Ordering::SeqCst);
    // Within five seconds the list is believed; then a call without the lines makes the gateway ask again.
    let client = Client::new(gateway.addr);
    let arguments = json!({"path": "/a", "region": "eu", "limit": 5});
    let early = client.call_modern("read", arguments.clone()).await;
    assert_eq!(early.status, 400, "{early:?}");
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    let late = client.call_modern("read", arguments).await;
    assert_eq!(late.code(), None, "{late:?}");
    assert_eq!(server.heard_of("tools/list").len(), 2);
    let heard = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(heard.json()["params"]["arguments"], json!({"path": "/a"}));
}

#[tokio::test]
async fn trap_34_lines_nobody_declares_stay_here() {
    let server = server(mirrored()).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr)
        .header("mcp-param-query", "other")
        .header("mcp-param-account", "7");
    let answer = client.call_modern("read", json!({"query": "mine"})).await;
    assert_eq!(answer.code(), None, "{answer:?}");
    let heard = server.heard_of("tools/call").pop().unwrap();
    assert_eq!(heard.header("mcp-param-query"), None);
    assert_eq!(heard.header("mcp-param-account"), None);
    let readings = gateway.gateway.shared().meters.registry().read();
    let counted = readings.iter().map(|reading| format!("{reading:?}"));
    let counted = counted.filter(|reading| reading.contains("keepgate.arguments.undeclared"));
    assert!(
        counted
            .into_iter()
            .any(|reading| reading.contains("\"header\""))
    );
}

#[tokio::test]
async fn trap_34_a_tool_with_an_invalid_declaration_is_dropped_in_2026() {
    let server = server(
        json!({"type": "object", "properties": {"a": {"type": "object", "x-mcp-header": "A"}}}),
    )
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let modern = Client::new(gateway.addr);
    let list = modern.ask_modern("tools/list", None, json!({})).await;
    assert_eq!(list.json()["result"]["tools"], json!([]), "{list:?}");
    let answer = modern.call_modern("read", json!({})).await;
    assert_eq!(answer.json()["error"]["code"], -32602, "{answer:?}");
    assert!(server.heard_of("tools/call").is_empty());
    // Before 2026-07-28 the keyword means nothing.
    let list = session(&gateway).await.ask("tools/list", json!({})).await;
    assert_eq!(list.json()["result"]["tools"][0]["name"], "read");
}
