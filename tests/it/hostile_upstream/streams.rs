//! Event streams: when each event comes, what must not be on them, and what the end of one means.

use std::time::Duration;

use keepgate_tests::{
    Client, Events, FakeServer, Gate, Say, TestGateway,
    client::{field, modern_call},
    upstream::{Asked, behave, said},
};
use serde_json::{Value, json};

use super::{hostile, outcome, progress};

const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":"t"}}}"#;

fn modern(gateway: &TestGateway) -> (Client, String) {
    let client = Client::new(gateway.addr).modern("tools/call", Some("echo"));
    let mut call = modern_call("echo", &json!({}));
    call["params"]["_meta"]["progressToken"] = json!("t");
    (client, call.to_string())
}

#[tokio::test]
async fn trap_23_each_event_comes_while_the_stream_is_open() {
    let gate = Gate::default();
    let held = gate.clone();
    let (_server, gateway, client) = hostile(move |heard| {
        let id = heard.json()["id"].clone();
        // The second event is not said before the client has read the first, and so on.
        let mut says = vec![Say::sse()];
        for step in 1..=3 {
            says.extend([Say::event(&heard.progress(step)), Say::Until(held.clone())]);
        }
        says.extend([Say::event(&said(&id, "done")), Say::Close]);
        says
    })
    .await;
    let (stateless, body) = modern(&gateway);
    for (client, body) in [(client, CALL.to_owned()), (stateless, body)] {
        let answer = client.open("POST", body).await;
        let head = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(head("content-type"), "text/event-stream");
        assert_eq!(head("x-accel-buffering"), "no");
        assert_eq!(head("cache-control"), "no-cache, no-transform");
        let mut events = Events::of(answer);
        for step in 1..=3 {
            assert_eq!(events.message().await.unwrap()["params"]["progress"], step);
            gate.open_once();
        }
        assert_eq!(
            events.message().await.unwrap()["result"]["content"][0]["text"],
            "done"
        );
        assert_eq!(events.message().await, None);
    }
}

#[tokio::test]
async fn trap_23_a_silent_stream_carries_comments() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let id = heard.json()["id"].clone();
        vec![
            Say::sse(),
            Say::event(&heard.progress(1)),
            Say::Until(held.clone()),
            Say::event(&said(&id, "done")),
            Say::Close,
        ]
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.keep_alive = Duration::from_millis(20))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut events = Events::of(client.open("POST", CALL).await);
    assert!(events.message().await.is_some());
    for _ in 0..3 {
        let block = events.block().await.unwrap();
        assert!(block.starts_with(':') && !block.contains('\n'), "{block:?}");
    }
    gate.open();
    assert_eq!(events.message().await.unwrap()["id"], 7);
}

/// A server that primes the stream of a call, hangs up, and answers whoever resumes.
async fn primed() -> FakeServer {
    let asked = Asked::default();
    FakeServer::start(
        move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => vec![
                Say::sse(),
                Say::text(&format!(
                    "id: upstream-2\ndata: {}\n\n",
                    said(&asked.id(0), "resumed")
                )),
                Say::Close,
            ],
            (_, "tools/call") => {
                asked.note(heard);
                vec![
                    Say::sse(),
                    Say::text("id: upstream-1\nretry: 15\ndata:\n\n"),
                    Say::Close,
                ]
            }
            _ => behave(heard).unwrap_or_default(),
        },
    )
    .await
}

#[tokio::test]
async fn trap_17_event_ids_are_sealed_and_resume_only_their_own_session() {
    let server = primed().await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let mut events = Events::of(client.open("POST", CALL).await);
    let first = events.block().await.unwrap();
    let sealed = field(&first, "id").unwrap().to_owned();
    assert_eq!(field(&first, "retry"), Some("15"));
    assert_ne!(sealed, "upstream-1");
    // The server closed the connection and not the stream: no error takes the response's place.
    assert_eq!(events.block().await, None);

    let other = Client::new(gateway.addr).initialize("2025-11-25").await;
    let guess = "AAAAAAAAAAAupstream-1".to_owned();
    for (client, id) in [
        (&other, &sealed),
        (&client, &guess),
        (&client, &"upstream-1".to_owned()),
        (&client, &"1".to_owned()),
    ] {
        let answer = client
            .clone()
            .header("last-event-id", id)
            .send("GET", "")
            .await;
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (400, Some("event_unknown")),
            "{id}"
        );
    }
    assert!(server.heard().iter().all(|heard| heard.verb != "GET"));

    let mut resumed = Events::of(
        client
            .clone()
            .header("last-event-id", &sealed)
            .open("GET", "")
            .await,
    );
    assert_eq!(
        resumed.message().await.unwrap()["result"]["content"][0]["text"],
        "resumed"
    );
    let heard = server.hears(|heard| heard.verb == "GET").await;
    assert_eq!(heard.header("last-event-id"), Some("upstream-1"));
}

#[tokio::test]
async fn trap_29_a_list_that_comes_on_a_resumed_stream_is_filtered_too() {
    let asked = Asked::default();
    let server = FakeServer::start(move |heard| match (heard.verb.as_str(), heard.method().as_str()) {
        ("GET", _) => {
            let tools = json!([{"name": "delete", "inputSchema": {}}, {"name": "echo", "inputSchema": {}}]);
            let list = json!({"jsonrpc": "2.0", "id": asked.id(0), "result": {"tools": tools}});
            vec![Say::sse(), Say::text(&format!("id: 2\ndata: {list}\n\n")), Say::Close]
        }
        (_, "tools/list") => {
            asked.note(heard);
            vec![Say::sse(), Say::text("id: 1\ndata:\n\n"), Say::Close]
        }
        _ => behave(heard).unwrap_or_default(),
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy("package mcp.authz\nallow contains \"a\" if input.tool.name == \"echo\"\n")
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}).to_string();
    let primed = Events::of(client.open("POST", list).await)
        .block()
        .await
        .unwrap();
    let resumed = client.header("last-event-id", field(&primed, "id").unwrap());
    let list = Events::of(resumed.open("GET", "").await)
        .message()
        .await
        .unwrap();
    assert_eq!(
        list["result"]["tools"].as_array().unwrap().len(),
        1,
        "{list}"
    );
    assert_eq!(list["result"]["tools"][0]["name"], "echo");
}

#[tokio::test]
async fn trap_21_nothing_the_server_writes_becomes_a_field_of_ours() {
    let (_server, _gateway, client) = hostile(|heard| {
        let id = heard.json()["id"].clone();
        let spread = said(&id, "a\nid: evil\ndata: {}\n\nevent: evil")
            .to_string()
            .replace(',', ",\ndata: ");
        vec![
            Say::sse(),
            Say::text(": comment\nevent: endpoint\ndata: http://evil\n\n"),
            Say::text("event: message\rid: x\rretry: soon\r"),
            Say::text(&format!("unknown: field\rdata: {}\r\r", heard.progress(1))),
            Say::text(&format!("data: {spread}\r\n\r\n")),
            // Never ended, so never an event.
            Say::text(&format!("data: {}", said(&id, "evil"))),
            Say::Close,
        ]
    })
    .await;
    let mut events = Events::of(client.open("POST", CALL).await);
    let mut blocks = Vec::new();
    while let Some(block) = events.block().await {
        blocks.push(block);
    }
    assert_eq!(blocks.len(), 2, "{blocks:#?}");
    for block in &blocks {
        assert!(
            block
                .lines()
                .all(|line| line.starts_with("id:") || line.starts_with("data:")),
            "{block}"
        );
        assert_eq!(
            block
                .lines()
                .filter(|line| line.starts_with("data:"))
                .count(),
            1
        );
        assert!(!block.contains("http://evil"));
    }
    let text = serde_json::from_str::<Value>(field(&blocks[1], "data").unwrap()).unwrap();
    assert_eq!(
        text["result"]["content"][0]["text"],
        "a\nid: evil\ndata: {}\n\nevent: evil"
    );
}

#[tokio::test]
async fn trap_22_a_stream_of_2026_carries_what_answers_the_request_and_nothing_else() {
    let server = FakeServer::with_tools(|heard| {
        let id = heard.json()["id"].clone();
        let sampling =
            json!({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}});
        let posing = json!({"jsonrpc": "2.0", "method": "sampling/createMessage", "params": {}});
        let unknown = json!({"jsonrpc": "2.0", "method": "notifications/vendor"});
        Say::sse_whole(&[
            sampling,
            posing,
            unknown,
            said(&json!(8), "foreign"),
            said(&json!(format!("0{id}")), "foreign"),
            heard.progress(1),
            said(&id, "right"),
            said(&id, "second"),
            heard.progress(2),
        ])
    })
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let (client, body) = modern(&gateway);
    let messages = Events::of(client.open("POST", body).await).messages().await;
    assert_eq!(messages, [progress(1), said(&json!(7), "right")]);
    // Nobody answered the server's question.
    assert_eq!(
        server
            .heard()
            .iter()
            .filter(|heard| heard.method().is_empty())
            .count(),
        0
    );
}

#[tokio::test]
async fn trap_22_a_session_drops_answers_nobody_waits_for() {
    let server = FakeServer::start(
        |heard| match (heard.verb.as_str(), heard.method().as_str()) {
            ("GET", _) => Say::sse_whole(&[
                said(&json!(7), "not asked yet"),
                json!({"jsonrpc": "2.0", "method": "sampling/createMessage", "params": {}}),
                json!({"jsonrpc": "2.0", "method": "notifications/vendor"}),
                json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
            ]),
            (_, "tools/call") => {
                let id = &heard.json()["id"];
                Say::sse_whole(&[
                    said(&json!(8), "foreign"),
                    said(&json!(7), "the client's own id"),
                    said(id, "right"),
                    said(id, "second"),
                ])
            }
            _ => behave(heard).unwrap_or_default(),
        },
    )
    .await;
    let gateway = TestGateway::http(&server.url()).start().await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let listened = Events::of(client.open("GET", "").await).messages().await;
    assert_eq!(
        listened,
        [json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})]
    );
    let called = Events::of(client.open("POST", CALL).await).messages().await;
    assert_eq!(called, [said(&json!(7), "right")]);
}

#[tokio::test]
async fn trap_30_a_stream_that_breaks_ends_with_an_error_for_its_id() {
    let endings: [fn() -> Vec<Say>; 5] = [
        || vec![Say::Close],
        || {
            vec![
                Say::text("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"res\n\n"),
                Say::Hang,
            ]
        },
        || {
            vec![
                Say::text("data: [{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}]\n\n"),
                Say::Hang,
            ]
        },
        || {
            vec![
                Say::text("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{},\"result\":{}}\n\n"),
                Say::Hang,
            ]
        },
        || {
            vec![
                Say::text(&format!("data: {}\n\n", "x".repeat(5000))),
                Say::Hang,
            ]
        },
    ];
    for ending in endings {
        let server = FakeServer::with_tools(move |heard| {
            let mut says = vec![Say::sse(), Say::event(&heard.progress(1))];
            says.extend(ending());
            says
        })
        .await;
        let gateway = TestGateway::http(&server.url())
            .with(|settings| settings.limits.result = 4000)
            .start()
            .await;
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let (stateless, body) = modern(&gateway);
        for answer in [
            client.open("POST", CALL).await,
            stateless.open("POST", body).await,
        ] {
            let messages = Events::of(answer).messages().await;
            assert_eq!(messages.len(), 2, "{messages:?}");
            assert_eq!(
                (&messages[1]["id"], &messages[1]["error"]["data"]["code"]),
                (&json!(7), &json!("upstream_invalid"))
            );
        }
    }
}

#[tokio::test]
async fn trap_30_a_list_on_a_stream_is_filtered_or_withheld() {
    let server = FakeServer::start(|heard| {
        let id = heard.json()["id"].clone();
        let page = heard.json()["params"]["cursor"].is_string();
        match heard.method().as_str() {
            "tools/list" if page => Say::sse_whole(&[json!({"jsonrpc": "2.0", "id": id, "result": {"tools": ["secret"]}})]),
            "tools/list" => Say::sse_whole(&[json!({"jsonrpc": "2.0", "id": id, "result": {"tools": [
                {"name": "secret", "inputSchema": {}}, {"name": "echo", "inputSchema": {}}], "nextCursor": "2"}})]),
            _ => behave(heard).unwrap_or_default(),
        }
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .policy("package mcp.authz\nallow contains \"a\" if input.tool.name == \"echo\"\n")
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let first = client.ask("tools/list", json!({})).await;
    assert!(!String::from_utf8_lossy(&first.body).contains("secret"));
    assert_eq!(first.messages()[0]["result"]["nextCursor"], "2");
    let second = client.ask("tools/list", json!({"cursor": "2"})).await;
    assert_eq!(
        second.code().as_deref(),
        Some("upstream_invalid"),
        "{second:?}"
    );
    assert!(!String::from_utf8_lossy(&second.body).contains("secret"));
}

#[tokio::test]
async fn a_stream_that_says_nothing_is_given_up() {
    let server =
        FakeServer::with_tools(|heard| vec![Say::sse(), Say::event(&heard.progress(1)), Say::Hang])
            .await;
    let gateway = TestGateway::http(&server.url())
        .timeouts(|timeouts| timeouts.idle = Duration::from_millis(100))
        .start()
        .await;
    let client = Client::new(gateway.addr).initialize("2025-11-25").await;
    let messages = Events::of(client.open("POST", CALL).await).messages().await;
    assert_eq!(messages[1]["error"]["data"]["code"], "upstream_invalid");
    server.is_hung_up_on(1).await;
}

#[tokio::test]
async fn trap_25_a_client_of_2026_that_leaves_cancels_its_call() {
    // Once while events come, and once before there is any answer.
    for early in [false, true] {
        let server = FakeServer::with_tools(move |heard| match early {
            true => vec![Say::Hang],
            false => vec![Say::sse(), Say::event(&heard.progress(1)), Say::Hang],
        })
        .await;
        let gateway = TestGateway::http(&server.url()).start().await;
        let (client, body) = modern(&gateway);
        let running = tokio::spawn(async move {
            let mut events = Events::of(client.open("POST", body).await);
            events.message().await;
            events.message().await
        });
        server.hears(|heard| heard.method() == "tools/call").await;
        if !early {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        running.abort();
        server.is_hung_up_on(1).await;
        assert_eq!(outcome(&gateway).await["result"]["status"], "cancelled");
        // Never both: one intent, one end.
        let records = gateway.records().await;
        let of = |kind: &str| {
            records
                .iter()
                .filter(|record| record["kind"] == kind && record["tool_name"] == "echo")
                .count()
        };
        assert_eq!((of("call.intent"), of("call.outcome")), (1, 1));
    }
}

#[tokio::test]
async fn trap_25_a_client_with_a_session_that_leaves_cancels_nothing() {
    // A stream that has begun, a stream that begins when the client has gone, and one message.
    for (streamed, late) in [(true, false), (true, true), (false, false)] {
        let gate = Gate::default();
        let held = gate.clone();
        let (server, gateway, client) = hostile(move |heard| {
            let id = heard.json()["id"].clone();
            let mut says = Vec::new();
            if late {
                says.push(Say::Until(held.clone()));
            }
            if streamed {
                says.extend([Say::sse(), Say::event(&heard.progress(1))]);
                if late {
                    // Long enough for a connection that is given up to be seen.
                    says.push(Say::Wait(Duration::from_millis(200)));
                } else {
                    says.push(Say::Until(held.clone()));
                }
                says.extend([Say::event(&said(&id, "done")), Say::Close]);
            } else {
                says.push(Say::Until(held.clone()));
                says.extend(Say::json(&said(&id, "done")));
            }
            says
        })
        .await;
        let leaving = client.clone();
        let running = tokio::spawn(async move {
            let mut events = Events::of(leaving.open("POST", CALL).await);
            events.message().await;
            events.message().await
        });
        server.hears(|heard| heard.method() == "tools/call").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        running.abort();
        // The client is gone: the session answers on, and the server is still listened to.
        assert_eq!(client.ask("ping", json!({})).await.status, 200);
        assert_eq!(server.hung_up(), 0);
        gate.open();
        let outcome = outcome(&gateway).await;
        assert_eq!(outcome["result"]["status"], "ok", "{outcome}");
        assert_eq!(server.hung_up(), 0);
    }
}

#[tokio::test]
async fn trap_14_a_stream_ends_with_the_key_it_was_opened_with() {
    let server =
        FakeServer::with_tools(|heard| vec![Say::sse(), Say::event(&heard.progress(1)), Say::Hang])
            .await;
    let gateway = TestGateway::http(&server.url()).keys().start().await;
    let key = gateway.key_for(keepgate_authn::KeyRequest {
        subject: "alice".to_owned(),
        expires: Some(std::time::SystemTime::now() + Duration::from_secs(2)),
        ..keepgate_authn::KeyRequest::default()
    });
    let (client, body) = modern(&gateway);
    let client = client.header("authorization", &format!("Bearer {key}"));
    let messages = Events::of(client.open("POST", body).await).messages().await;
    assert_eq!(messages[0], progress(1));
    assert!(messages[1]["error"].is_object(), "{messages:?}");
    server.is_hung_up_on(1).await;
}
