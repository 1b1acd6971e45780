//! Servers over HTTP+SSE, the transport of 2024-11-05: what clients of the gateway see of them, and what hostile ones reach.

use std::time::Duration;

use keepgate_tests::{
    Client, Events, FakeServer, Heard, Say, SseServer, TestGateway,
    sse::{Streams, accepted},
    upstream::said,
};
use serde_json::{Value, json};

const OPENED: &str = "2024-11-05";

async fn session(
    script: impl Fn(&Heard, &Streams) -> Option<Vec<Say>> + Send + Sync + 'static,
) -> (SseServer, TestGateway, Client) {
    let server = SseServer::start(script).await;
    let gateway = TestGateway::sse(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize(OPENED).await;
    (server, gateway, client)
}

async fn works(client: &Client, what: &str) {
    let answer = client.call("echo", json!({})).await;
    assert_eq!((answer.status, answer.code()), (200, None), "{what}");
    assert_eq!(answer.json()["id"], 7, "{what}");
}

fn is_call(heard: &Heard) -> bool {
    heard.method() == "tools/call"
}

fn note(data: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}})
}

#[tokio::test]
async fn a_server_over_http_and_sse_is_fronted() {
    for revision in [OPENED, "2025-03-26", "2025-11-25"] {
        let server = SseServer::start(|_, _| None).await;
        let gateway = TestGateway::sse(&server.url()).start().await;
        let client = Client::new(gateway.addr).initialize(revision).await;
        let listed = client.ask("tools/list", json!({})).await;
        assert_eq!(
            listed.json()["result"]["tools"].as_array().unwrap().len(),
            2
        );
        works(&client, revision).await;
        let opened = server.hears(|heard| heard.verb == "GET").await;
        assert_eq!(opened.header("accept"), Some("text/event-stream"));
        assert!(
            opened.head.starts_with("GET /sse HTTP/1.1"),
            "{}",
            opened.head
        );
        assert!(opened.header("content-type").is_none());
        for posted in server.heard().iter().filter(|heard| heard.verb == "POST") {
            let line = posted.head.lines().next().unwrap();
            assert_eq!(line, "POST /messages?sessionId=0 HTTP/1.1");
            assert!(posted.header("mcp-session-id").is_none());
            let version = posted.header("mcp-protocol-version");
            let expected =
                (revision == "2025-11-25" && posted.method() != "initialize").then_some(revision);
            assert_eq!(version, expected, "{}", posted.method());
        }
        let methods = [
            "initialize",
            "notifications/initialized",
            "tools/list",
            "tools/call",
        ];
        let heard: Vec<String> = server.heard().iter().map(Heard::method).collect();
        for method in methods {
            assert!(
                heard.iter().any(|heard| heard == method),
                "{method}: {heard:?}"
            );
        }
        assert_eq!(client.send("DELETE", "").await.status, 200);
        server.is_hung_up_on(1).await;
        assert_eq!(
            client.call("echo", json!({})).await.status,
            404,
            "{revision}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_not_the_servers_own_is_refused() {
    let other = FakeServer::start(|_| accepted()).await;
    let origin = format!("http://{}/messages", other.addr);
    let network = format!("//{}/messages", other.addr);
    let named = |address: &str| format!("event: endpoint\ndata: {address}\n\n");
    for (begin, code) in [
        (named(&origin), "upstream_endpoint"),
        (named(&network), "upstream_endpoint"),
        (named("https://127.0.0.1/messages"), "upstream_endpoint"),
        (named("http://127.0.0.1@evil.example/"), "upstream_endpoint"),
        (named("/\\evil.example/"), "upstream_endpoint"),
        (named(""), "upstream_endpoint"),
        (named(&"x".repeat(100_000)), "upstream_endpoint"),
        (format!("data: {}\n\n", note("early")), "upstream_endpoint"),
        (String::new(), "upstream_endpoint"),
        ("event: other\ndata: x\n\n".repeat(100), "upstream_endpoint"),
        (
            format!("event: endpoint\ndata: {}\n\n", "x".repeat(20 << 20)),
            "upstream_invalid",
        ),
    ] {
        let what: String = begin.chars().take(100).collect();
        let server = SseServer::start(move |heard, _| {
            (heard.verb == "GET").then(|| vec![Say::sse(), Say::text(&begin), Say::Close])
        })
        .await;
        let gateway = TestGateway::sse(&server.url()).start().await;
        let answer = Client::new(gateway.addr).post(opening()).await;
        assert_eq!(answer.code().as_deref(), Some(code), "{what}");
        assert_eq!(server.heard().len(), 1, "{what}");
        assert!(answer.header("mcp-session-id").is_none(), "{what}");
    }
    assert!(other.heard().is_empty());
}

fn opening() -> String {
    let params = json!({"protocolVersion": OPENED, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string()
}

#[tokio::test]
async fn what_does_not_open_a_stream_is_refused_by_its_kind() {
    let redirect =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    for (said, code) in [
        (
            Say::http("404 Not Found", "text/plain", "no"),
            "upstream_refused",
        ),
        (
            Say::http("401 Unauthorized", "text/plain", "no"),
            "upstream_refused",
        ),
        (Say::http("500 Oh", "text/plain", "no"), "upstream_refused"),
        (vec![Say::text(redirect)], "upstream_refused"),
        (
            Say::http("200 OK", "text/html", "<html></html>"),
            "upstream_invalid",
        ),
        (
            Say::http("200 OK", "application/json", "{}"),
            "upstream_invalid",
        ),
        (vec![Say::Hang], "upstream_timeout"),
        (vec![Say::sse(), Say::Hang], "upstream_timeout"),
        (
            vec![Say::sse(), Say::Flood(b": x\n\n".repeat(1000))],
            "upstream_flood",
        ),
    ] {
        let what = format!("{:?}", said.first())
            .chars()
            .take(100)
            .collect::<String>();
        let server = SseServer::start(move |_, _| Some(said.clone())).await;
        let gateway = TestGateway::sse(&server.url())
            .timeouts(|timeouts| {
                if code == "upstream_timeout" {
                    timeouts.request = Duration::from_millis(200);
                }
            })
            .start()
            .await;
        let answer = Client::new(gateway.addr).post(opening()).await;
        assert_eq!(answer.code().as_deref(), Some(code), "{what}");
        assert_eq!(server.heard().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn an_address_named_again_is_ignored_and_another_ends_the_session() {
    for (again, goes_on) in [
        ("/messages?sessionId=0", true),
        ("messages?sessionId=0", true),
        ("/messages?sessionId=1", false),
        ("http://evil.example/", false),
    ] {
        let (_server, _gateway, client) = session(move |heard, streams| {
            is_call(heard).then(|| {
                streams.write(heard, &format!("event: endpoint\ndata: {again}\n\n"));
                streams.send(heard, &said(&heard.json()["id"], "hello"));
                accepted()
            })
        })
        .await;
        let code = client.call("echo", json!({})).await.code();
        let expected = (!goes_on).then_some("upstream_endpoint");
        assert_eq!(code.as_deref(), expected, "{again}");
        let next = client.call("echo", json!({})).await.status;
        assert_eq!(next, if goes_on { 200 } else { 404 }, "{again}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_accepted_fails_its_call_once() {
    let redirect =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    for (answered, code, goes_on) in [
        (
            Say::http("404 Not Found", "text/plain", "no session"),
            "session_unknown",
            false,
        ),
        (
            Say::http("400 Bad Request", "text/plain", "no"),
            "upstream_refused",
            true,
        ),
        (
            Say::http("401 Unauthorized", "text/plain", "no"),
            "upstream_refused",
            true,
        ),
        (
            Say::http("500 Oh", "text/plain", "no"),
            "upstream_refused",
            true,
        ),
        (
            Say::http("503 Oh", "text/plain", "no"),
            "upstream_refused",
            true,
        ),
        (vec![Say::text(redirect)], "upstream_refused", true),
        (vec![Say::Close], "upstream_unreachable", true),
    ] {
        let what = format!("{answered:?}");
        let (server, gateway, client) = session(move |heard, _| {
            let first = is_call(heard) && heard.json()["params"]["name"] == "delete";
            first.then(|| answered.clone())
        })
        .await;
        let answer = client.call("delete", json!({})).await;
        assert_eq!(answer.code().as_deref(), Some(code), "{what}");
        assert_eq!(server.heard_of("tools/call").len(), 1, "{what}");
        let next = client.call("echo", json!({})).await.status;
        assert_eq!(next, if goes_on { 200 } else { 404 }, "{what}");
        if !goes_on {
            server.is_hung_up_on(1).await;
        }
        let records = gateway.records().await;
        let ended = |record: &&Value| record["refusal"] == code && record["tool_name"] == "delete";
        assert!(records.iter().any(|record| ended(&record)), "{what}");
    }
}

#[tokio::test]
async fn any_2xx_to_a_posted_message_is_acceptance_whenever_it_comes() {
    for (what, response) in [
        ("empty", Say::http("200 OK", "application/json", "")),
        ("text", Say::http("200 OK", "text/plain", "ok")),
        ("a message", Say::json(&said(&json!(1), "evil"))),
        (
            "a stream",
            vec![Say::sse(), Say::event(&said(&json!(1), "evil")), Say::Hang],
        ),
        ("none until the answer", vec![Say::Hang]),
    ] {
        let response = response.clone();
        let (server, _gateway, client) = session(move |heard, streams| {
            is_call(heard).then(|| {
                streams.send(heard, &said(&heard.json()["id"], "hello"));
                response.clone()
            })
        })
        .await;
        let answer = client.call("echo", json!({})).await;
        assert!(
            answer.json()["result"]["content"][0]["text"] == "hello",
            "{what}: {answer:?}"
        );
        works(&client, what).await;
        assert_eq!(server.heard_of("tools/call").len(), 2, "{what}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_fails_its_calls_and_ends_the_session() {
    let (server, gateway, client) = session(|heard, streams| {
        is_call(heard).then(|| {
            streams.close(heard);
            accepted()
        })
    })
    .await;
    let answer = client.call("echo", json!({})).await;
    assert_eq!(answer.code().as_deref(), Some("upstream_unreachable"));
    assert_eq!(client.call("echo", json!({})).await.status, 404);
    assert_eq!(server.heard_of("tools/call").len(), 1);
    let again = Client::new(gateway.addr).initialize(OPENED).await;
    assert_eq!(again.ask("tools/list", json!({})).await.status, 200);
    let records = gateway.records().await;
    let outcome = records
        .iter()
        .find(|record| record["kind"] == "call.outcome" && record["method"] == "tools/call");
    assert_eq!(
        outcome.unwrap()["refusal"],
        "upstream_unreachable",
        "{records:#?}"
    );
}

#[tokio::test]
async fn an_event_over_the_limit_is_named_and_ends_the_session() {
    let (_server, _gateway, client) = session(|heard, streams| {
        is_call(heard).then(|| {
            let id = &heard.json()["id"];
            streams.send(heard, &said(id, &"x".repeat(17 << 20)));
            accepted()
        })
    })
    .await;
    let answer = client.call("echo", json!({})).await;
    assert_eq!(answer.code().as_deref(), Some("upstream_invalid"));
    assert!(String::from_utf8_lossy(&answer.body).contains("limits.result"));
    assert_eq!(client.call("echo", json!({})).await.status, 404);
}

#[tokio::test]
async fn what_answers_nothing_is_dropped_and_what_cannot_be_read_fails_the_only_call() {
    for (text, code) in [
        (Some(said(&json!(1), "foreign").to_string()), None),
        (Some(said(&json!(4711), "foreign").to_string()), None),
        (Some(said(&json!("7"), "foreign").to_string()), None),
        (Some(json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": "x"}}).to_string()), Some("upstream_invalid")),
        (Some(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "x", "progress": 1}}).to_string()), None),
        (Some(note(&"x".repeat(2 << 20)).to_string()), None),
        (Some("not JSON".to_owned()), None),
        // It names no call that runs.
        (Some(r#"{"jsonrpc":"2.0","id":1,"resu"#.to_owned()), None),
        (Some(r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#.to_owned()), None),
        (None, None),
    ] {
        let what = text.clone().map(|text| text.chars().take(80).collect::<String>());
        let (_server, _gateway, client) = session(move |heard, streams| {
            (is_call(heard) && heard.json()["params"]["name"] == "delete").then(|| {
                if let Some(text) = &text {
                    streams.write(heard, &format!("data: {text}\n\n"));
                }
                let answer = said(&heard.json()["id"], "hello");
                streams.send(heard, &answer);
                streams.send(heard, &answer);
                accepted()
            })
        })
        .await;
        let answer = client.call("delete", json!({})).await;
        assert_eq!(answer.code().as_deref(), code, "{what:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("foreign"), "{what:?}");
        works(&client, "after it").await;
    }
}

#[tokio::test]
async fn questions_and_notices_reach_the_listening_client_and_its_answers_the_server() {
    let (server, _gateway, client) = session(|heard, streams| {
        let text = heard.json()["params"]["name"].as_str()? == "delete";
        text.then(|| {
            let question = json!({"jsonrpc": "2.0", "id": "q1", "method": "ping"});
            // The first belongs to the call, which is the only one; what follows the answer to none.
            streams.send(heard, &note("during"));
            streams.send(heard, &said(&heard.json()["id"], "hello"));
            streams.send(heard, &note("hello"));
            streams.send(heard, &question);
            accepted()
        })
    })
    .await;
    let mut events = Events::of(client.open("GET", "").await);
    let messages = client.call("delete", json!({})).await.messages();
    assert_eq!(messages[0]["params"]["data"], "during");
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert_eq!(events.message().await.unwrap()["params"]["data"], "hello");
    let question = events.message().await.unwrap();
    assert_eq!(question["method"], "ping");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {}});
    assert_eq!(client.post(answer.to_string()).await.status, 202);
    let heard = server
        .hears(|heard| heard.json()["result"].is_object())
        .await;
    assert_eq!(heard.json()["id"], "q1");
    assert_eq!(
        client.post(answer.to_string()).await.status,
        400,
        "answered twice"
    );
}

#[tokio::test]
async fn a_client_that_cancels_names_the_servers_own_id() {
    let (server, _gateway, client) = session(|heard, _| {
        (is_call(heard) && heard.json()["params"]["name"] == "delete").then(accepted)
    })
    .await;
    let calling = {
        let client = client.clone();
        tokio::spawn(async move { client.call("delete", json!({})).await })
    };
    let called = server.hears(is_call).await;
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(client.post(cancel.to_string()).await.status, 202);
    let cancelled = server
        .hears(|heard| heard.method() == "notifications/cancelled")
        .await;
    assert_eq!(cancelled.json()["params"]["requestId"], called.json()["id"]);
    assert_eq!(calling.await.unwrap().code().as_deref(), Some("cancelled"));
    works(&client, "after a cancellation").await;
}

#[tokio::test]
async fn clients_without_sessions_are_sent_to_initialize() {
    let server = SseServer::start(|_, _| None).await;
    let gateway = TestGateway::sse(&server.url()).start().await;
    let client = Client::new(gateway.addr);
    for answer in [
        client.ask_modern("server/discover", None, json!({})).await,
        client.ask_modern("tools/list", None, json!({})).await,
        client.call_modern("echo", json!({})).await,
    ] {
        // No error that is only 2026-07-28's, or clients of both eras would not begin with `initialize`.
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (400, &json!(-32600)),
            "{answer:?}"
        );
        assert_eq!(answer.code().as_deref(), Some("session_missing"));
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn sessions_have_streams_of_their_own_and_a_kill_closes_them() {
    use keepgate_store::kill::{Kill, Scope, Wish};
    let server = SseServer::start(|heard, _| {
        (is_call(heard) && heard.json()["params"]["name"] == "delete").then(accepted)
    })
    .await;
    let gateway = TestGateway::sse(&server.url()).start().await;
    let first = Client::new(gateway.addr).initialize(OPENED).await;
    let second = Client::new(gateway.addr).initialize(OPENED).await;
    works(&first, "the first").await;
    works(&second, "the second").await;
    let running = {
        let first = first.clone();
        tokio::spawn(async move { first.call("delete", json!({})).await })
    };
    let called = server
        .hears(|heard| heard.json()["params"]["name"] == "delete")
        .await;
    assert!(called.head.contains("sessionId=0"));
    let wish = Wish {
        scope: Scope::parse("server", Some("up")).unwrap(),
        tenant: None,
        reason: "test".to_owned(),
        by: "alice".to_owned(),
        lasts: None,
    };
    let kill = Kill::new(wish, std::time::SystemTime::now()).unwrap();
    gateway.gateway.shared().kill.set(kill);
    assert_eq!(running.await.unwrap().code().as_deref(), Some("killed"));
    server.is_hung_up_on(2).await;
    assert_eq!(
        second.call("echo", json!({})).await.code().as_deref(),
        Some("killed")
    );
    assert_eq!(server.heard_of("tools/call").len(), 3);
}

#[tokio::test]
async fn a_stream_is_charged_to_the_memory_and_given_back() {
    let server = SseServer::start(|_, _| None).await;
    let gateway = TestGateway::sse(&server.url()).start().await;
    let memory = &gateway.gateway.shared().memory;
    let Some(before) = memory.left() else { return };
    let client = Client::new(gateway.addr).initialize(OPENED).await;
    let during = memory.left().unwrap();
    assert!(
        before - during >= keepgate_transport::http::BUFFER,
        "{before} {during}"
    );
    client.send("DELETE", "").await;
    server.is_hung_up_on(1).await;
    let given_back = async {
        while memory.left() != Some(before) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, given_back)
        .await
        .unwrap();
}
