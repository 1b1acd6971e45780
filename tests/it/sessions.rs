//! Sessions: whose they are, who may use them, and what is never shared between two.

use std::num::NonZeroUsize;

use keepgate_tests::{
    Answer, Client, Events, FakeServer, Say, TestGateway,
    client::whole,
    upstream::{behave, said},
};
use serde_json::json;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await
}

fn bearer(gateway: &TestGateway, subject: &str) -> Client {
    let key = gateway.key(subject, &[]);
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

/// The session a client is in.
fn session_of(client: &Client) -> String {
    let client = format!("{client:?}");
    let (_, rest) = client
        .split_once("\"mcp-session-id\", \"")
        .expect("a session");
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// All there is to see of an answer, but for what differs every time.
fn seen(answer: &Answer) -> (u16, String) {
    let mut body = answer.json();
    if let Some(data) = body
        .pointer_mut("/error/data")
        .and_then(|data| data.as_object_mut())
    {
        data.remove("decision_id");
    }
    (answer.status, body.to_string())
}

#[tokio::test]
async fn trap_14_a_session_of_another_caller_is_as_unknown_as_one_that_never_was() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let alice = bearer(&gateway, "alice").initialize("2025-11-25").await;
    let bob = bearer(&gateway, "bob").header("mcp-protocol-version", "2025-11-25");
    let stolen = bob.clone().header("mcp-session-id", &session_of(&alice));
    let guessed = bob.header("mcp-session-id", &"A".repeat(43));
    let before = server.heard().len();
    for (method, body) in [("POST", PING), ("GET", ""), ("DELETE", "")] {
        let stolen = stolen.send(method, body).await;
        let guessed = guessed.send(method, body).await;
        assert_eq!(
            (stolen.status, stolen.code().as_deref()),
            (404, Some("session_unknown")),
            "{method}"
        );
        assert_eq!(seen(&stolen), seen(&guessed), "{method}");
    }
    assert_eq!(server.heard().len(), before);
    // The owner notices nothing.
    assert_eq!(alice.post(PING).await.status, 200);
    let refusals = gateway.refusals().await;
    assert_eq!(refusals, vec!["session_unknown"; 6]);
}

#[tokio::test]
async fn another_key_of_the_same_caller_knows_the_same_tools() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    for _ in 0..3 {
        let answer = bearer(&gateway, "alice")
            .call_modern("echo", json!({}))
            .await;
        assert_eq!(answer.code(), None);
    }
    assert_eq!(server.heard_of("tools/list").len(), 1);
    bearer(&gateway, "bob").call_modern("echo", json!({})).await;
    assert_eq!(server.heard_of("tools/list").len(), 2);
}

#[tokio::test]
async fn trap_14_another_key_of_the_same_caller_stays_in_the_session() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let alice = bearer(&gateway, "alice").initialize("2025-11-25").await;
    let renewed = bearer(&gateway, "alice")
        .header("mcp-session-id", &session_of(&alice))
        .header("mcp-protocol-version", "2025-11-25");
    assert_eq!(renewed.post(PING).await.status, 200);
    // But a session is no credential.
    let bare = alice.without("authorization").post(PING).await;
    assert_eq!(
        (bare.status, bare.code().as_deref()),
        (401, Some("authn_missing"))
    );
}

#[tokio::test]
async fn trap_14_no_client_chooses_its_session() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let chosen = Client::new(gateway.addr).header("mcp-session-id", "chosen");
    // The id of a session that is none any more is passed over, as the SDKs' servers do: clients replay old ones.
    let answer = chosen.post(opening.to_string()).await;
    assert_eq!((answer.status, answer.code()), (200, None));
    let given = answer.header("mcp-session-id").expect("an id of ours");
    assert!(given != "chosen" && given.len() >= 43, "{given}");
    assert_eq!(server.heard_of("initialize").len(), 1);
    assert_eq!(chosen.post(PING).await.status, 404);
    // Within one that is alive it means two things.
    let within = Client::new(gateway.addr).header("mcp-session-id", given);
    let answer = within.post(opening.to_string()).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (400, Some("message_invalid"))
    );
    assert_eq!(server.heard_of("initialize").len(), 1);
    // Two sessions have ids of their own, long enough to be beyond guessing.
    let one = session_of(&Client::new(gateway.addr).initialize("2025-11-25").await);
    let two = session_of(&Client::new(gateway.addr).initialize("2025-11-25").await);
    assert_ne!(one, two);
    assert!(one.len() >= 43 && one.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
}

#[tokio::test]
async fn trap_14_the_servers_session_id_never_leaves_and_ours_never_goes_up() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let ours = session_of(&client);
    assert_ne!(ours, "upstream-secret-session");
    for answer in [
        client.call("echo", json!({})).await,
        client.post(PING).await,
        client
            .clone()
            .header("mcp-session-id", "upstream-secret-session")
            .post(PING)
            .await,
    ] {
        let all = format!(
            "{:?} {}",
            answer.headers,
            String::from_utf8_lossy(&answer.body)
        );
        assert!(!all.contains("upstream-secret-session"), "{all}");
    }
    let heard = server.heard();
    assert!(heard.iter().all(|heard| !heard.head.contains(&ours)));
    let within = heard.iter().filter(|heard| heard.method() != "initialize");
    for heard in within {
        assert_eq!(
            heard.header("mcp-session-id"),
            Some("upstream-secret-session")
        );
    }
}

#[tokio::test]
async fn trap_28_no_session_is_made_where_the_revision_has_none() {
    let server = FakeServer::start(|heard| {
        let body = said(&heard.json()["id"], "hello").to_string();
        let body = if heard.method() == "tools/list" {
            json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": {"tools": [{"name": "echo", "inputSchema": {}}]}}).to_string()
        } else {
            body
        };
        vec![Say::text(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: upstream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))]
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let answer = Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("mcp-session-id").is_none());
    Client::new(gateway.addr)
        .call_modern("echo", json!({}))
        .await;
    assert!(
        server
            .heard()
            .iter()
            .all(|heard| heard.header("mcp-session-id").is_none())
    );
    assert_eq!(gateway.gateway.shared().sessions.count(), 0);
}

#[tokio::test]
async fn requests_without_a_session_are_told_so() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = Client::new(gateway.addr).header("mcp-protocol-version", revision);
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (400, Some("session_missing"))
        );
    }
    assert!(server.heard().is_empty());
}

#[tokio::test]
async fn an_ended_session_is_gone_on_both_sides() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    assert_eq!(client.send("DELETE", "").await.status, 200);
    let ended = server.hears(|heard| heard.verb == "DELETE").await;
    assert_eq!(
        ended.header("mcp-session-id"),
        Some("upstream-secret-session")
    );
    let before = server.heard().len();
    for (method, body) in [("POST", PING), ("GET", ""), ("DELETE", "")] {
        let answer = client.send(method, body).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (404, Some("session_unknown")),
            "{method}"
        );
    }
    assert_eq!(server.heard().len(), before);
}

#[tokio::test]
async fn trap_26_a_session_the_server_has_forgotten_is_forgotten_here() {
    let server = FakeServer::with_tools(|_| Say::http("404 Not Found", "text/plain", "gone")).await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for _ in 0..2 {
        let answer = client.call("echo", json!({})).await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (404, Some("session_unknown"))
        );
    }
    // It was not opened anew behind the client's back: its state is gone, and only the client can know what that means.
    assert_eq!(server.heard_of("tools/call").len(), 1);
    assert_eq!(server.heard_of("initialize").len(), 1);
    assert_eq!(gateway.gateway.shared().sessions.count(), 0);
}

#[tokio::test]
async fn a_session_the_server_refuses_or_opens_falsely_is_none() {
    let answers = [
        (json!({"error": {"code": -32602, "message": "no"}}), 200),
        (
            json!({"result": {"protocolVersion": "2099-01-01", "capabilities": {}}}),
            200,
        ),
        (
            json!({"result": {"protocolVersion": "2026-07-28", "capabilities": {}}}),
            200,
        ),
        (json!({"result": {"capabilities": {}}}), 200),
    ];
    for (said, status) in answers {
        let server = FakeServer::start(move |heard| {
            let mut body = said.clone();
            body["jsonrpc"] = json!("2.0");
            body["id"] = heard.json()["id"].clone();
            Say::json(&body)
        })
        .await;
        let gateway = TestGateway::http(&server.url()).start().await;
        let opening = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
        let answer = Client::new(gateway.addr).post(opening.to_string()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["error"].is_object() && answer.header("mcp-session-id").is_none());
        assert_eq!(gateway.gateway.shared().sessions.count(), 0);
    }
}

#[tokio::test]
async fn one_caller_cannot_take_all_sessions() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .keys()
        .with(|settings| settings.limits.sessions_per_caller = NonZeroUsize::MIN)
        .start()
        .await;
    let bob = bearer(&gateway, "bob").initialize("2025-11-25").await;
    let alice = bearer(&gateway, "alice");
    for _ in 0..8 {
        alice.initialize("2025-11-25").await;
    }
    assert_eq!(gateway.gateway.shared().sessions.count(), 2);
    assert_eq!(bob.call("echo", json!({})).await.status, 200);
}

#[tokio::test]
async fn trap_18_two_clients_with_one_id_get_their_own_answers() {
    let server = FakeServer::with_tools(|heard| {
        let message = heard.json();
        Say::json(&said(
            &message["id"],
            message["params"]["arguments"]["who"]
                .as_str()
                .unwrap_or_default(),
        ))
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let mut running = Vec::new();
    for who in 0..16 {
        let client = Client::new(gateway.addr);
        running.push(tokio::spawn(async move {
            let client = client.initialize("2025-11-25").await;
            let who = format!("client {who}");
            let answer = client.call("echo", json!({"who": who})).await;
            assert_eq!(answer.json()["result"]["content"][0]["text"], who);
        }));
    }
    for running in running {
        running.await.expect("its own answer");
    }
}

#[tokio::test]
async fn trap_12_a_changed_list_of_tools_is_asked_for_again() {
    let served = std::sync::atomic::AtomicUsize::new(0);
    let server = FakeServer::start(move |heard| {
        let id = heard.json()["id"].clone();
        match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => Say::sse_whole(&[json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})]),
            (_, "tools/list") => {
                let name = match served.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => "old",
                    _ => "new",
                };
                Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [{"name": name, "inputSchema": {}}]}}))
            }
            (_, "tools/call") => Say::json(&said(&id, "called")),
            _ => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    client.ask("tools/list", json!({})).await;
    client.send("GET", "").await;
    // The tool that was there is not there any more, and the one that is can be called.
    assert_eq!(
        client.call("old", json!({})).await.json()["error"]["code"],
        -32602
    );
    assert_eq!(
        client.call("new", json!({})).await.json()["result"]["content"][0]["text"],
        "called"
    );
}

#[tokio::test]
async fn trap_14_the_end_of_a_session_ends_what_runs_in_it() {
    let server = FakeServer::start(
        |heard| match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => vec![
                Say::sse(),
                Say::event(
                    &json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
                ),
                Say::Hang,
            ],
            (_, "tools/call") => vec![Say::Hang],
            _ => behave(heard).unwrap_or_default(),
        },
    )
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut listening = Events::of(client.open("GET", "").await);
    assert!(listening.message().await.is_some());
    let calling = client.clone();
    let running = tokio::spawn(async move { calling.call("echo", json!({})).await });
    server.hears(|heard| heard.method() == "tools/call").await;
    assert_eq!(client.send("DELETE", "").await.status, 200);
    assert_eq!(listening.message().await, None);
    let cut = running.await.expect("an answer");
    assert_eq!(
        (cut.status, cut.code().as_deref()),
        (404, Some("session_unknown"))
    );
    server.is_hung_up_on(2).await;
    // Cut or not, what was begun has its end on record.
    let records = gateway.records().await;
    let of = |kind: &str| {
        records
            .iter()
            .filter(|record| record["kind"] == kind && record["tool_name"] == "echo")
            .count()
    };
    assert_eq!((of("call.intent"), of("call.outcome")), (1, 1));
}

#[tokio::test]
async fn a_list_without_end_is_given_up() {
    let server = FakeServer::start(|heard| {
        if heard.method() == "tools/list" {
            let page =
                json!({"tools": [{"name": "echo", "inputSchema": {}}], "nextCursor": "more"});
            return Say::json(&json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": page}));
        }
        behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")))
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let absent = client.call("absent", json!({})).await;
    assert_eq!(absent.json()["error"]["code"], -32602);
    assert!(server.heard_of("tools/list").len() <= 50);
    assert_eq!(client.call("echo", json!({})).await.status, 200);
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

/// A server whose own stream stays open and says nothing.
async fn listening_server() -> FakeServer {
    FakeServer::start(|heard| match heard.verb.as_str() {
        "GET" => vec![Say::sse(), Say::Hang],
        _ => behave(heard).unwrap_or_default(),
    })
    .await
}

#[tokio::test]
async fn a_listening_stream_does_not_hold_up_a_drain() {
    let server = listening_server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let stream = client.open("GET", "").await;
    assert_eq!(stream.status(), 200);
    gateway.gateway.drain();
    let ended = tokio::time::timeout(keepgate_tests::PATIENCE, whole(stream)).await;
    assert!(ended.is_ok(), "the stream outlives the drain");
}

#[tokio::test]
async fn a_get_is_in_the_revision_of_its_session() {
    let server = listening_server().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    for named in ["2026-07-28", "2024-10-07"] {
        let other = client.clone().header("mcp-protocol-version", named);
        let answer = other.send("GET", "").await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (400, Some("revision_unsupported")),
            "{named}"
        );
    }
    assert!(server.heard().iter().all(|heard| heard.verb != "GET"));
    let other = client.header("mcp-protocol-version", "2025-06-18");
    let stream = other.open("GET", "").await;
    assert_eq!(stream.status(), 200);
    let heard = server.heard();
    let get = heard.iter().find(|heard| heard.verb == "GET").unwrap();
    assert_eq!(get.header("mcp-protocol-version"), Some("2025-11-25"));
}
