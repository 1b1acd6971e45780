//! Hostile clients over HTTP+SSE.

use std::num::NonZeroUsize;

use super::*;

fn bearer(gateway: &TestGateway, key: &str) -> Client {
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

#[tokio::test]
async fn an_address_of_another_caller_is_as_unknown_as_one_that_never_was() {
    let server = server().await;
    let gateway = in_front_of(&server).keys().start().await;
    let tenant = keepgate_authn::KeyRequest {
        subject: "alice".to_owned(),
        tenant: "other".to_owned(),
        ..Default::default()
    };
    let alice = bearer(&gateway, &gateway.key("alice", &[]));
    let mut opened = Legacy::initialized(&alice, OPENED).await;
    let waiting = Legacy::open(&alice).await;
    let guessed = format!("/up/sse/{}", "A".repeat(43));
    for key in [gateway.key("bob", &[]), gateway.key_for(tenant)] {
        let other = bearer(&gateway, &key);
        for body in [
            call(1, "echo"),
            opening(OPENED),
            note("notifications/cancelled"),
            json!({"jsonrpc": "2.0", "id": "q", "result": {}}).to_string(),
        ] {
            let ask = |path: &str| {
                let at = other.clone().path(path);
                let body = body.clone();
                async move { at.post(body).await }
            };
            let unknown = ask(&guessed).await;
            assert_eq!(unknown.status, 404, "{unknown:?}");
            assert_eq!(unknown.code().as_deref(), Some("session_unknown"));
            for address in [&opened.address, &waiting.address] {
                let answer = ask(address).await;
                assert_eq!(answer.status, unknown.status, "{body}");
                assert_eq!(answer.masked(), unknown.masked(), "{body}");
            }
        }
    }
    // Nobody, and somebody with a wrong key, learns less.
    for client in [Client::new(gateway.addr), bearer(&gateway, "kg_wrong")] {
        let answer = client.path(&opened.address).post(call(1, "echo")).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        let text = format!("{answer:?}");
        assert!(!text.contains(opened.id()), "{text}");
    }
    assert!(server.heard_of("tools/call").is_empty());
    let ids = [opened.id().to_owned(), waiting.id().to_owned()];
    assert_ne!(ids[0], ids[1]);
    // The stream brought nothing of all that.
    assert_eq!(opened.ask(call(2, "echo")).await["id"], 2);
    let records = format!("{:?}", gateway.records().await);
    assert!(ids.iter().all(|id| !records.contains(id)), "{records}");
}

#[tokio::test]
async fn sessions_of_one_transport_are_unknown_to_the_other() {
    let server = server().await;
    let gateway = in_front_of(&server).start().await;
    let client = Client::new(gateway.addr);
    let mut legacy = Legacy::initialized(&client, "2025-11-25").await;
    let streamable = client.initialize("2025-11-25").await;
    let with = |id: &str| client.clone().header("mcp-session-id", id);
    for verb in ["POST", "GET", "DELETE"] {
        let answer = with(legacy.id()).send(verb, call(1, "echo")).await;
        assert_eq!(answer.status, 404, "{verb}: {answer:?}");
    }
    let id = streamable.sent("mcp-session-id").expect("a session");
    let at = client.clone().path(&format!("/up/sse/{id}"));
    assert_eq!(at.post(call(1, "echo")).await.status, 404);
    // An id in the header means nothing where there is one in the address.
    legacy.client = legacy.client.header("mcp-session-id", id);
    assert_eq!(legacy.ask(call(2, "echo")).await["id"], 2);
    assert_eq!(streamable.call("echo", json!({})).await.status, 200);
    assert_eq!(server.heard_of("tools/call").len(), 2);
}

/// Bodies, who posts them, and how they are refused.
#[rustfmt::skip]
fn bodies(plain: &Client) -> Vec<(&'static str, Client, String, u16, &'static str)> {
    let modern = keepgate_tests::client::modern_call("echo", &json!({})).to_string();
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping"}"#.to_owned();
    let typed = |media: &str| plain.clone().header("content-type", media);
    let versioned = plain.clone().header("mcp-protocol-version", "2026-07-28");
    let mirrored = versioned.clone().header("mcp-method", "tools/call").header("mcp-name", "echo");
    let long = format!("{}{}", call(1, "echo"), " ".repeat(4096));
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
    vec![
        ("a batch", plain.clone(), format!("[{}]", call(1, "echo")), 400, "message_invalid"),
        ("an empty batch", plain.clone(), "[]".to_owned(), 400, "message_invalid"),
        ("2026-07-28 in the body", plain.clone(), modern.clone(), 400, "header_mismatch"),
        ("2026-07-28 in both", mirrored, modern, 400, "revision_unsupported"),
        ("2026-07-28 in the header", versioned, call(1, "echo"), 400, "meta_missing"),
        ("no JSON", plain.clone(), "hello".to_owned(), 400, "json_invalid"),
        ("a key twice", plain.clone(), twice, 400, "json_invalid"),
        ("too much", plain.clone(), long, 413, "body_too_large"),
        ("another type", typed("text/plain"), call(1, "echo"), 415, "media_type"),
        ("another charset", typed("application/json; charset=utf-16"), call(1, "echo"), 415, "media_type"),
        ("an unknown notification", plain.clone(), note("notifications/other"), 400, "method_unknown"),
        ("an answer to nothing", plain.clone(), answer, 400, "response_foreign"),
    ]
}

#[tokio::test]
async fn bodies_that_have_no_place_on_the_transport_reach_no_server() {
    let server = server().await;
    let gateway = in_front_of(&server)
        .with(|settings| settings.limits.body = 4096)
        .start()
        .await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), "2025-03-26").await;
    server.hears(|heard| heard.verb == "GET").await;
    let heard = server.heard().len();
    for (what, client, body, status, code) in bodies(&legacy.client) {
        let answer = client.post(body).await;
        let got = (answer.status, answer.code());
        assert_eq!(got, (status, Some(code.to_owned())), "{what}: {answer:?}");
    }
    for (what, body, refused) in [
        ("a second `initialize`", opening(OPENED), "message_invalid"),
        (
            "an unknown method",
            request(3, "other/method", &json!({})),
            "method_unknown",
        ),
    ] {
        let answer = legacy.ask(body).await;
        assert_eq!(code(&answer), Some(refused), "{what}: {answer}");
    }
    assert_eq!(server.heard().len(), heard);
    assert_eq!(legacy.ask(call(2, "echo")).await["id"], 2);
}

#[tokio::test]
async fn a_session_begins_with_one_initialize() {
    let gate = Gate::default();
    let opened = gate.clone();
    let server = FakeServer::start(move |heard| {
        let mut said =
            behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")));
        if heard.method() == "initialize" {
            said.insert(0, Say::Until(opened.clone()));
        }
        said
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::open(&Client::new(gateway.addr)).await;
    let early = legacy.ask(call(1, "echo")).await;
    assert_eq!(code(&early), Some("session_missing"), "{early}");
    let stray = legacy.post(note("notifications/cancelled"), 400).await;
    assert_eq!(stray.code().as_deref(), Some("session_missing"));
    legacy.post(opening(OPENED), 202).await;
    server.hears(|heard| heard.method() == "initialize").await;
    let second = legacy.ask(opening(OPENED)).await;
    assert_eq!(code(&second), Some("message_invalid"), "{second}");
    gate.open();
    assert!(legacy.next().await["result"].is_object());
    assert_eq!(server.heard_of("initialize").len(), 1);
    assert_eq!(gateway.gateway.shared().sessions.count(), 1);
    assert_eq!(legacy.ask(call(2, "echo")).await["id"], 2);
}

#[tokio::test]
async fn an_initialize_that_fails_ends_its_stream() {
    let server = FakeServer::start(|_| Say::http("500 Oh", "text/plain", "no")).await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::open(&Client::new(gateway.addr)).await;
    let failed = legacy.ask(opening(OPENED)).await;
    assert_eq!(code(&failed), Some("upstream_refused"), "{failed}");
    let (client, address) = (legacy.client.clone(), legacy.address.clone());
    assert!(legacy.rest().await.is_empty());
    let sessions = &gateway.gateway.shared().sessions;
    until("the place is given back", || sessions.count() == 0).await;
    let again = client.path(&address).post(opening(OPENED)).await;
    assert_eq!(again.code().as_deref(), Some("session_unknown"));
}

#[tokio::test]
async fn requests_at_once_under_one_id_are_each_answered() {
    let asked = Asked::default();
    let noted = asked.clone();
    let gate = Gate::default();
    let opened = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        noted.note(heard);
        let mut said = Say::json(&said(&heard.json()["id"], "hello"));
        said.insert(0, Say::Until(opened.clone()));
        said
    })
    .await;
    let gateway = in_front_of(&server).start().await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    let posts = (0..8).map(|_| legacy.client.post(call("same", "echo")));
    let accepted = futures_util::future::join_all(posts).await;
    assert!(accepted.iter().all(|answer| answer.status == 202));
    until("eight calls", || asked.all().len() == 8).await;
    gate.open();
    for _ in 0..8 {
        let answer = legacy.next().await;
        assert_eq!(answer["id"], "same", "{answer}");
        assert_eq!(code(&answer), None, "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_stream_is_bounded() {
    const RUNNING: usize = 4;
    let text = "x".repeat(1 << 20);
    let server =
        FakeServer::with_tools(move |heard| Say::json(&said(&heard.json()["id"], &text))).await;
    let gateway = in_front_of(&server)
        .with(|settings| settings.limits.concurrency.session = NonZeroUsize::new(RUNNING))
        .start()
        .await;
    let mut legacy = Legacy::initialized(&Client::new(gateway.addr), OPENED).await;
    // What the sockets take besides.
    let mut accepted = 0;
    let refused = loop {
        let answer = legacy.client.post(call(accepted, "echo")).await;
        match answer.status {
            202 => accepted += 1,
            _ => break answer,
        }
        assert!(accepted < 200, "{accepted} answers wait");
    };
    assert_eq!(refused.status, 429, "{refused:?}");
    assert_eq!(refused.code().as_deref(), Some("concurrency_limited"));
    let data = &refused.json()["error"]["data"];
    assert_eq!(data["limit"], "limits.concurrency.session");
    assert!(refused.header("retry-after").is_some());
    // As soon as it reads, everything comes, and more is taken.
    let mut ids = Vec::new();
    for _ in 0..accepted {
        ids.push(legacy.next().await["id"].as_u64().expect("an id"));
    }
    ids.sort_unstable();
    assert!(ids.iter().copied().eq(0..accepted as u64), "{ids:?}");
    assert_eq!(legacy.ask(call(1000, "echo")).await["id"], 1000);
}

#[tokio::test]
async fn each_opening_is_charged_to_its_caller_and_a_refused_one_recorded() {
    let two = std::num::NonZeroU32::new(2).expect("2");
    let rate = keepgate_gateway::limit::Rate::new(
        std::num::NonZeroU32::MIN,
        std::time::Duration::from_secs(86_400),
        two,
    );
    let server = server().await;
    let gateway = in_front_of(&server)
        .keys()
        .with(|settings| settings.limits.rate.caller = rate)
        .start()
        .await;
    let alice = bearer(&gateway, &gateway.key("alice", &[]));
    let bob = bearer(&gateway, &gateway.key("bob", &[]));
    // A stream that was closed has been opened all the same.
    for _ in 0..2 {
        drop(Legacy::open(&alice).await);
    }
    let third = alice.clone().path("/up/sse").open("GET", "").await;
    assert_eq!(third.status(), 429, "{third:?}");
    let refused = alice.clone().path("/up/sse").send("GET", "").await;
    assert_eq!(refused.code().as_deref(), Some("rate_limited"));
    assert!(refused.header("retry-after").is_some());
    let data = refused.json()["error"]["data"].clone();
    assert_eq!(data["limit"], "limits.rate.caller");
    // It is the rate of all that the caller asks for, and nobody else's.
    let other = alice.call_modern("echo", json!({})).await;
    assert_eq!(other.code().as_deref(), Some("rate_limited"));
    let _other = Legacy::open(&bob).await;
    let shared = gateway.gateway.shared();
    until("nothing is held", || shared.sessions.count() == 1).await;
    let records = gateway.records().await;
    // Its record, and its number among those that share it.
    let id = data["decision_id"]
        .as_str()
        .and_then(|id| id.split_once('.'));
    let (id, _number) = id.expect("a number");
    let record = records.iter().find(|record| record["decision_id"] == id);
    let record = record.unwrap_or_else(|| panic!("{data}: {records:#?}"));
    assert_eq!(record["kind"], "call.refused", "{record}");
    assert_eq!(record["refusal"], "rate_limited", "{record}");
    assert!(record.to_string().contains("alice"), "{record}");
}

#[tokio::test]
async fn streams_take_the_places_of_sessions() {
    let server = server().await;
    let gateway = in_front_of(&server)
        .keys()
        .with(|settings| settings.limits.sessions_per_caller = NonZeroUsize::new(2).expect("2"))
        .start()
        .await;
    let alice = bearer(&gateway, &gateway.key("alice", &[]));
    let bob = bearer(&gateway, &gateway.key("bob", &[]));
    let idle = alice.initialize("2025-11-25").await;
    let first = Legacy::open(&alice).await;
    // The session nobody uses makes room, an open stream does not.
    let second = Legacy::initialized(&alice, OPENED).await;
    assert_eq!(idle.call("echo", json!({})).await.status, 404);
    let full = alice.clone().path("/up/sse").send("GET", "").await;
    assert_eq!(full.status, 429, "{full:?}");
    assert_eq!(full.code().as_deref(), Some("session_limit"));
    let data = &full.json()["error"]["data"];
    assert_eq!(data["limit"], "limits.sessions_per_caller");
    let other = Legacy::initialized(&bob, OPENED).await;
    let sessions = &gateway.gateway.shared().sessions;
    assert_eq!(sessions.count(), 3);
    drop(first);
    until("a stream that is gone gives its place back", || {
        sessions.count() == 2
    })
    .await;
    let third = Legacy::initialized(&alice, OPENED).await;
    drop((second, other, third));
    until("all places are given back", || sessions.count() == 0).await;
    assert_eq!(gateway.gateway.shared().load.streams(), 0);
}

#[tokio::test]
async fn pages_of_other_origins_open_no_stream_and_post_nothing() {
    let server = server().await;
    let gateway = in_front_of(&server)
        .with(|settings| settings.origins = vec!["https://app.example".to_owned()])
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let legacy = Legacy::open(&client.clone().header("origin", "https://app.example")).await;
    let evil = client.clone().header("origin", "https://evil.example");
    let open = evil.clone().path("/up/sse").send("GET", "").await;
    let post = evil.path(&legacy.address).post(opening(OPENED)).await;
    for answer in [open, post] {
        assert_eq!(answer.code().as_deref(), Some("origin_refused"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let accepted = legacy.post(opening(OPENED), 202).await;
    let origin = accepted.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example"));
    let rebound = client.path("/up/sse").header("host", "evil.example");
    let answer = rebound.send("GET", "").await;
    assert_eq!(answer.code().as_deref(), Some("host_refused"));
}
