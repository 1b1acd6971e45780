//! Servers that are sloppy where nothing depends on it: what is absorbed, and what is not.

mod answers;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock},
};

use keepgate_tests::{
    Client, Events, FakeServer, Heard, Say, TestGateway,
    client::field,
    upstream::{behave, said},
};
use serde_json::{Value, json};

const OPENED: &str = "2025-11-25";

/// A gateway and a client with a session at a server that behaves but for what `script` has otherwise.
async fn session(
    script: impl Fn(&Heard) -> Option<Vec<Say>> + Send + Sync + 'static,
) -> (FakeServer, TestGateway, Client) {
    let server = FakeServer::start(move |heard| {
        let scripted = script(heard).or_else(|| behave(heard));
        scripted.unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")))
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize(OPENED).await;
    (server, gateway, client)
}

async fn works(client: &Client, what: &str) {
    let answer = client.call("echo", json!({})).await;
    assert_eq!((answer.status, answer.code()), (200, None), "{what}");
}

#[tokio::test]
async fn any_2xx_to_a_notification_is_acceptance() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let open = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n";
    let packed = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc";
    for accepted in [
        Say::http("200 OK", "text/plain", "ok"),
        Say::http("200 OK", "text/html", ""),
        Say::http("200 OK", "text/html", "<html></html>"),
        Say::http("200 OK", "application/json", "{}"),
        Say::http("200 OK", "application/json", "not JSON"),
        Say::http("201 Created", "text/plain", ""),
        Say::http("204 No Content", "text/plain", ""),
        vec![Say::text(chunked)],
        vec![Say::text(open), Say::Hang],
        vec![Say::text(packed)],
    ] {
        let what = format!("{accepted:?}");
        let (server, _gateway, client) = session(move |heard| {
            let notified = heard.method().starts_with("notifications/");
            notified.then(|| accepted.clone())
        })
        .await;
        let note = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        assert_eq!(client.post(note).await.status, 202, "{what}");
        server
            .hears(|heard| heard.method() == "notifications/roots/list_changed")
            .await;
        works(&client, &what).await;
    }
}

/// The body of an error under `id`.
fn error(id: &Value, code: i64) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": "no"}}).to_string()
}

type Body = fn(&Value) -> String;

/// Bodies of a 404 by the id of the request: the status and the code the client gets, and whether its session goes on.
const MISSING: [(&str, Body, u16, Option<&str>, bool); 8] = [
    (
        "text",
        |_| "gone".to_owned(),
        404,
        Some("session_unknown"),
        false,
    ),
    (
        "nothing",
        |_| String::new(),
        404,
        Some("session_unknown"),
        false,
    ),
    (
        "as the SDKs",
        |_| error(&Value::Null, -32001),
        404,
        Some("session_unknown"),
        false,
    ),
    (
        "-32001",
        |id| error(id, -32001),
        404,
        Some("session_unknown"),
        false,
    ),
    (
        "an empty id",
        |_| error(&json!(""), -32601),
        404,
        Some("session_unknown"),
        false,
    ),
    (
        "another id",
        |_| error(&json!(12345), -32601),
        404,
        Some("session_unknown"),
        false,
    ),
    ("an unknown method", |id| error(id, -32601), 404, None, true),
    (
        "a result",
        |id| json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string(),
        200,
        None,
        true,
    ),
];

#[tokio::test]
async fn a_404_ends_a_session_only_where_it_means_that() {
    for (what, body, status, code, lives) in MISSING {
        let (_server, _gateway, client) = session(move |heard| {
            let id = &heard.json()["id"];
            (heard.method() == "logging/setLevel")
                .then(|| Say::http("404 Not Found", "application/json", &body(id)))
        })
        .await;
        let answer = client
            .ask("logging/setLevel", json!({"level": "info"}))
            .await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (status, code),
            "{what}: {answer:?}"
        );
        let next = client.call("echo", json!({})).await;
        assert_eq!(next.status == 200, lives, "{what}: {next:?}");
    }
}

#[tokio::test]
async fn a_404_of_a_server_without_sessions_ends_none() {
    let (_server, _gateway, client) = session(|heard| match heard.method().as_str() {
        "initialize" => {
            let id = &heard.json()["id"];
            let result = json!({"protocolVersion": OPENED, "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
            Some(Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": result})))
        }
        "logging/setLevel" => Some(Say::http("404 Not Found", "text/plain", "no such thing")),
        _ => None,
    })
    .await;
    let answer = client
        .ask("logging/setLevel", json!({"level": "info"}))
        .await;
    assert_eq!(
        answer.code().as_deref(),
        Some("upstream_refused"),
        "{answer:?}"
    );
    works(&client, "after a 404").await;
}

#[tokio::test]
async fn a_server_without_a_stream_of_its_own_may_answer_404() {
    let (_server, _gateway, client) = session(|heard| {
        (heard.verb == "GET").then(|| Say::http("404 Not Found", "text/html", "Cannot GET /mcp"))
    })
    .await;
    let listening = client.send("GET", "").await;
    assert_eq!(listening.status, 405, "{listening:?}");
    works(&client, "after a GET").await;
}

#[tokio::test]
async fn an_answered_call_holds_no_place_whatever_its_server_leaves_open() {
    let server = FakeServer::with_tools(|heard| {
        vec![
            Say::text("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"),
            Say::event(&said(&heard.json()["id"], "done")),
            Say::Hang,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            settings.limits.concurrency.session = NonZeroUsize::new(2);
            settings.limits.concurrency.caller = NonZeroUsize::new(2);
        })
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize(OPENED).await;
    const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;
    for round in 0..6 {
        // Read to its end: with the answer the client's stream is over.
        let messages = Events::of(client.open("POST", CALL).await).messages().await;
        assert_eq!(messages.len(), 1, "round {round}");
        assert_eq!(messages[0]["result"]["content"][0]["text"], "done");
    }
    // The server is hung up on as well, the answer read.
    server.is_hung_up_on(6).await;
}

/// Requests for lists that one call of an unknown tool makes, and its refusal.
async fn lists(cursor: Value) -> (usize, Option<String>) {
    let (server, _gateway, client) = session(move |heard| {
        (heard.method() == "tools/list").then(|| {
            let tools =
                json!({"tools": [{"name": "echo", "inputSchema": {}}], "nextCursor": cursor});
            Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": tools}))
        })
    })
    .await;
    let mut code = None;
    for _ in 0..16 {
        code = client.call("none", json!({})).await.code();
    }
    works(&client, "a tool of the list").await;
    (server.heard_of("tools/list").len(), code)
}

#[tokio::test]
async fn a_cursor_that_is_null_or_repeats_ends_a_list() {
    for (cursor, most) in [(Value::Null, 1), (json!("same"), 2), (json!(""), 2)] {
        let (asked, code) = lists(cursor.clone()).await;
        assert!(asked <= most + 1, "{cursor}: asked {asked} times");
        assert_eq!(code.as_deref(), Some("not_found"), "{cursor}");
    }
}

#[tokio::test]
async fn a_list_without_end_is_asked_for_once_in_a_while() {
    let counter = std::sync::atomic::AtomicUsize::new(0);
    let (server, _gateway, client) = session(move |heard| {
        (heard.method() == "tools/list").then(|| {
            let page = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let tools = json!({"tools": [{"name": "echo", "inputSchema": {}}], "nextCursor": page.to_string()});
            Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": tools}))
        })
    })
    .await;
    for _ in 0..16 {
        client.call("none", json!({})).await;
    }
    let asked = server.heard_of("tools/list").len();
    assert!(asked <= 100, "asked {asked} times");
}

/// A server that takes one connection for each call, and refuses another until it knows that the first is gone.
#[tokio::test]
async fn a_stream_that_is_resumed_is_given_up_where_it_was() {
    for is_noticed in [true, false] {
        let known: Arc<OnceLock<FakeServer>> = Arc::default();
        let own = Arc::clone(&known);
        let asked = Arc::new(Mutex::new(Value::Null));
        let (server, _gateway, client) = session(move |heard| {
            let id = heard.json()["id"].clone();
            if heard.method() == "tools/call" {
                *asked.lock().unwrap() = id;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                return Some(vec![
                    Say::text(head),
                    Say::text("id: 1\ndata:\n\n"),
                    Say::Hang,
                ]);
            }
            if heard.verb != "GET" {
                return None;
            }
            if own.get().is_none_or(|server| server.hung_up() == 0) {
                return Some(Say::http("409 Conflict", "text/plain", "a stream is open"));
            }
            Some(Say::sse_whole(&[said(&asked.lock().unwrap(), "done")]))
        })
        .await;
        known.set(server.clone()).expect("once");
        const CALL: &str =
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}"#;
        let mut cut = Events::of(client.open("POST", CALL).await);
        let first = cut.block().await.expect("an event");
        let event_id = field(&first, "id").expect("an id").to_owned();
        // A connection that ends without a word stays open for the gateway.
        let _forgotten = (!is_noticed).then_some(cut);
        let resuming = client.clone().header("last-event-id", &event_id);
        let mut resumed = Events::of(resuming.open("GET", "").await);
        let answer = resumed.message().await.expect("the answer");
        assert_eq!(
            answer["result"]["content"][0]["text"], "done",
            "{is_noticed}"
        );
        server.is_hung_up_on(1).await;
    }
}

/// A server that answers `initialize` with what `chosen` makes of the version it is asked for.
async fn choosing(chosen: fn(&str) -> String) -> (FakeServer, TestGateway) {
    let server = FakeServer::start(move |heard| {
        if heard.method() != "initialize" {
            let said = || Say::json(&said(&heard.json()["id"], "hello"));
            return behave(heard).unwrap_or_else(said);
        }
        let message = heard.json();
        let asked = message["params"]["protocolVersion"].as_str().unwrap_or_default();
        let result = json!({"protocolVersion": chosen(asked), "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
        Say::json(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}))
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    (server, gateway)
}

fn opening(version: &str) -> String {
    let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string()
}

#[tokio::test]
async fn what_goes_up_is_the_revision_that_was_agreed_on() {
    let (server, gateway) = choosing(str::to_owned).await;
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2099-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ] {
        let answer = Client::new(gateway.addr).post(opening(asked)).await;
        assert_eq!(
            answer.json()["result"]["protocolVersion"],
            agreed,
            "{asked}"
        );
        let heard = server.heard_of("initialize").pop().unwrap();
        assert_eq!(heard.json()["params"]["protocolVersion"], agreed, "{asked}");
    }
    let (_server, gateway) = choosing(|_| "2099-01-01".to_owned()).await;
    let answer = Client::new(gateway.addr).post(opening(OPENED)).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["code"], &error["data"]["code"]),
        (&json!(-32602), &json!("upstream_revision"))
    );
}

#[tokio::test]
async fn a_server_of_2024_is_judged_as_one_of_2025_without_batches() {
    let (server, gateway) = choosing(|_| "2024-11-05".to_owned()).await;
    let client = Client::new(gateway.addr).initialize("2024-11-05").await;
    works(&client, "2024-11-05").await;
    assert_eq!(server.heard_of("tools/call").len(), 1);
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#;
    assert_eq!(client.post(batch).await.status, 400);
}

#[tokio::test]
async fn a_tool_that_needs_a_task_is_hidden() {
    let (server, _gateway, client) = session(|heard| {
        (heard.method() == "tools/list").then(|| {
            let tool = |name: &str, support: &str| json!({"name": name, "inputSchema": {}, "execution": {"taskSupport": support}});
            let tools = json!({"tools": [tool("echo", "optional"), tool("slow", "required")]});
            Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": tools}))
        })
    })
    .await;
    let listed = client.ask("tools/list", json!({})).await;
    assert_eq!(
        listed.json()["result"]["tools"].as_array().unwrap().len(),
        1
    );
    assert_eq!(
        client.call("slow", json!({})).await.code().as_deref(),
        Some("not_found")
    );
    works(&client, "optional").await;
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn a_tool_that_cannot_be_read_hides_no_other() {
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let twice = r#"{"properties":{"a":{},"a":{}}}"#;
    for schema in [deep.as_str(), twice] {
        for sse in [false, true] {
            let listed = format!(
                r#"{{"tools":[{{"name":"broken","inputSchema":{schema}}},{{"name":"echo","inputSchema":{{"type":"object"}}}}]}}"#
            );
            let (server, _gateway, client) = session(move |heard| {
                (heard.method() == "tools/list").then(|| {
                    let id = &heard.json()["id"];
                    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{listed}}}"#);
                    if sse {
                        let event = format!("event: message\ndata: {answer}\n\n");
                        Say::http("200 OK", "text/event-stream", &event)
                    } else {
                        Say::http("200 OK", "application/json", &answer)
                    }
                })
            })
            .await;
            let listed = client.ask("tools/list", json!({})).await;
            let message = listed.messages().pop().unwrap();
            let tools = message["result"]["tools"].as_array().unwrap().clone();
            let names: Vec<_> = tools.iter().map(|tool| &tool["name"]).collect();
            assert_eq!(names, ["echo"], "{schema}");
            let refused = client.call("broken", json!({})).await;
            assert_eq!(refused.code().as_deref(), Some("not_found"), "{schema}");
            works(&client, schema).await;
            assert_eq!(server.heard_of("tools/call").len(), 1, "{schema}");
        }
    }
}

#[tokio::test]
async fn an_unknown_notification_of_a_client_ends_no_session() {
    let (server, _gateway, client) = session(|_| None).await;
    let note = r#"{"jsonrpc":"2.0","method":"notifications/acme/hello","params":{}}"#;
    let answer = client.post(note).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (400, Some("method_unknown"))
    );
    works(&client, "after an unknown notification").await;
    assert!(server.heard_of("notifications/acme/hello").is_empty());
}

#[tokio::test]
async fn numbers_are_exact_or_named() {
    let policy = "package mcp.authz\n\nallow contains \"a\" if input.arguments.n\n\nallow contains \"b\" if input.arguments.list\n";
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await;
    let gateway = TestGateway::http(&server.url())
        .policy(policy)
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize(OPENED).await;
    let call = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
        )
    };
    for (number, fault) in [
        ("1", None),
        ("123456789012345678901234567890123456789", None),
        ("-9007199254740993", None),
        ("1e23", None),
        ("0.12345678901234567", None),
        (
            "0.123456789012345678901",
            Some("decimal with more than 17 digits"),
        ),
        ("1E400", Some("number out of range")),
        ("1e-400", Some("number out of range")),
    ] {
        for (arguments, pointer) in [
            (format!(r#"{{"n":{number}}}"#), "/n"),
            (
                format!(r#"{{"list":[{{"a/b":[0,{number}]}}]}}"#),
                "/list/0/a~1b/1",
            ),
        ] {
            let answer = client.post(call(&arguments)).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            match fault {
                None => {
                    assert_eq!(answer.code(), None, "{arguments}: {text}");
                    let heard = server.heard_of("tools/call").pop().unwrap();
                    let sent = heard.body;
                    assert!(sent.contains(&arguments), "{sent}");
                }
                Some(fault) => {
                    assert_eq!(answer.code().as_deref(), Some("params_invalid"), "{text}");
                    let named = format!("`{pointer}` is `{number}`: {fault}");
                    assert!(text.contains(&named), "{named}: {text}");
                }
            }
        }
    }
}
