//! Tricks below JSON: encodings, framing, paths, methods, hosts, slow and huge bodies.

use std::{num::NonZeroUsize, time::Duration};

use keepgate_tests::{Client, FakeServer, Gate, Say, TestGateway, upstream::said};
use serde_json::json;

use super::{open_gate, refused, server, session, unheard};

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#;
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn trap_06_bodies_policy_could_not_read_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let strange = [
        client.clone().header("content-encoding", "gzip"),
        client.clone().header("content-encoding", "identity, br"),
        client.clone().header("content-type", "text/plain"),
        client
            .clone()
            .header("content-type", "application/json; charset=utf-16"),
        client
            .clone()
            .header("content-type", "multipart/form-data; boundary=x"),
        client
            .clone()
            .header("content-type", "application/x-www-form-urlencoded"),
        client.clone().line("content-type", "application/json"),
        client.clone().without("content-type"),
    ];
    for client in &strange {
        refused(&client.post(CALL).await, 415, "media_type");
    }
    unheard(&server);
    assert_eq!(gateway.refusals().await, vec!["media_type"; strange.len()]);
}

#[tokio::test]
async fn a_body_that_is_no_chunks_is_refused_for_that_and_not_for_time() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for body in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "-1\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}XX0\r\n\r\n",
    ] {
        let request = format!(
            "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-session-id: {}\r\nmcp-protocol-version: 2025-11-25\r\ntransfer-encoding: chunked\r\n\r\n{body}",
            gateway.addr,
            client.sent("mcp-session-id").unwrap(),
        );
        let answer = client.raw(request.as_bytes(), LONG).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer}");
        assert!(answer.contains("message_invalid"), "{body:?}: {answer}");
        assert!(answer.contains("chunked framing"), "{body:?}: {answer}");
    }
    unheard(&server);
}

/// Header lines and bodies that two readers take for requests of different lengths, each with the end of its head.
fn framed_in_two_ways(smuggled: &str) -> [String; 12] {
    let length = CALL.len();
    let chunk = format!("{length:x}\r\n{CALL}\r\n0\r\n\r\n");
    [
        format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{smuggled}"),
        format!("content-length: {length}\r\ncontent-length: {length}\r\n\r\n{CALL}"),
        format!("transfer-encoding: gzip, chunked\r\n\r\n{chunk}{smuggled}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n{chunk}{smuggled}"),
        format!("content-length: {length}\r\ncontent-length: 4\r\n\r\n{CALL}{smuggled}"),
        format!("content-length: {length}, 4\r\n\r\n{CALL}{smuggled}"),
        format!("content-length: +{length}\r\n\r\n{CALL}"),
        format!("transfer-encoding: xchunked\r\n\r\n{chunk}{smuggled}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n{chunk}{smuggled}"),
        format!("transfer-encoding : chunked\r\n\r\n{chunk}{smuggled}"),
        format!("x-folded: a\r\n content-length: 4\r\ncontent-length: {length}\r\n\r\n{CALL}"),
        format!("x-bare: a\nmcp-session-id: b\r\ncontent-length : {length}\r\n\r\n{CALL}"),
    ]
}

#[tokio::test]
async fn trap_06_requests_framed_in_two_ways_reach_no_server() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    let session = client.sent("mcp-session-id").unwrap();
    let head = format!(
        "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n",
        gateway.addr
    );
    let smuggled = format!(
        "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        gateway.addr
    );
    let length = CALL.len();
    let chunk = format!("{length:x}\r\n{CALL}\r\n0\r\n\r\n");
    // Framed in one way, the very same request is answered: what is refused below is refused for its framing.
    for framing in [
        format!("connection: close\r\ncontent-length: {length}\r\n\r\n{CALL}"),
        format!("connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"),
        format!(
            "content-length: {length}\r\n\r\n{CALL}{head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}"
        ),
    ] {
        let answer = client
            .raw(format!("{head}{framing}").as_bytes(), LONG)
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{framing:?}: {answer}");
    }
    let honest = server.heard_of("tools/call").len();
    assert_eq!(honest, 4);
    for framing in framed_in_two_ways(&smuggled) {
        let answer = client
            .raw(format!("{head}{framing}").as_bytes(), LONG)
            .await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{framing:?}: {answer}"
        );
        // The same as the second request of a connection.
        let first = format!("{head}content-length: {length}\r\n\r\n{CALL}");
        let answer = client
            .raw(format!("{first}{head}{framing}").as_bytes(), LONG)
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{framing:?}: {answer}");
        assert!(answer.contains("HTTP/1.1 400 "), "{framing:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            2,
            "{framing:?}: {answer}"
        );
    }
    // Of the hostile connections only what came before the lie was heard.
    assert_eq!(server.heard_of("tools/call").len(), honest + 12);
}

#[tokio::test]
async fn trap_07_only_the_exact_path_is_the_endpoint() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for path in [
        "//up/mcp",
        "/up//mcp",
        "/up/mcp/",
        "/up/./mcp",
        "/x/../up/mcp",
        "/up/%6dcp",
        "/%75p/mcp",
        "/up/mcp%2f",
        "/up%2Fmcp",
        "/UP/mcp",
        "/up/MCP",
        "/up/mcp?",
        "/up/mcp?server=up",
        "/up/mcp;a=b",
        "/mcp",
        "/",
        "/up",
        "/other/mcp",
        "/up/mcp%00",
        "/t/default/up/mcp",
    ] {
        let answer = client.clone().path(path).post(CALL).await;
        refused(&answer, 404, "path_unknown");
    }
    unheard(&server);
}

#[tokio::test]
async fn trap_07_no_header_changes_the_method() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "PURGE", "post"] {
        let answer = client.send(method, CALL).await;
        refused(&answer, 405, "http_method");
        assert_eq!(answer.header("allow"), Some("POST, GET, DELETE"));
    }
    unheard(&server);
    let disguised = client
        .clone()
        .header("x-http-method-override", "DELETE")
        .header("x-http-method", "DELETE")
        .header("x-method-override", "DELETE");
    assert_eq!(disguised.post(CALL).await.status, 200);
    assert_eq!(client.post(CALL).await.status, 200);
    assert_eq!(server.heard_of("tools/call").len(), 2);
    assert!(server.heard().iter().all(|heard| heard.verb == "POST"));
}

#[tokio::test]
async fn clients_must_take_both_kinds_of_answer() {
    let (server, gateway) = open_gate().await;
    let client = session(&gateway).await;
    for accept in ["application/json", "text/event-stream", "text/html", ""] {
        let answer = client.clone().header("accept", accept).post(CALL).await;
        refused(&answer, 406, "not_acceptable");
    }
    let listening = client.clone().header("accept", "application/json");
    refused(&listening.send("GET", "").await, 406, "not_acceptable");
    unheard(&server);
}

#[tokio::test]
async fn a_body_over_the_cap_reaches_no_server() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.body = 1000)
        .start()
        .await;
    let client = session(&gateway).await;
    let long = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"a": "x".repeat(1000)}}});
    refused(&client.post(long.to_string()).await, 413, "body_too_large");
    // Nor one that never says how long it is.
    let head = format!(
        "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: */*\r\ntransfer-encoding: chunked\r\n\r\n",
        gateway.addr
    );
    let chunks = "100\r\n".to_owned() + &" ".repeat(256) + "\r\n";
    let answer = client
        .raw((head + &chunks.repeat(5)).as_bytes(), LONG)
        .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    unheard(&server);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.read_deadline = Duration::from_millis(100))
        .start()
        .await;
    let client = session(&gateway).await;
    let head = format!(
        "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: */*\r\ncontent-length: 500\r\n\r\n{{\"jsonrpc\"",
        gateway.addr
    );
    let answer = client.raw(head.as_bytes(), LONG).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body_incomplete"), "{answer}");
    unheard(&server);
    assert_eq!(gateway.refusals().await, ["body_incomplete"]);
}

#[tokio::test]
async fn trap_27_what_belongs_to_one_hop_or_to_the_gateway_stays_here() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.origins = vec!["https://app.example".to_owned()])
        .start()
        .await;
    let client = Client::new(gateway.addr)
        .header("authorization", "Bearer stays-here")
        .header("proxy-authorization", "Basic stays-here")
        .header("cookie", "stays=here")
        .header("origin", "https://app.example")
        .header("forwarded", "for=stays-here")
        .header("x-forwarded-for", "stays-here")
        .header("x-forwarded-host", "stays-here")
        .header("connection", "keep-alive, x-listed, mcp-param-listed")
        .header("x-listed", "stays-here")
        .header("keep-alive", "timeout=5, stays-here")
        .header("te", "trailers, stays-here")
        .header("referer", "https://stays-here.example")
        .header("x-api-key", "stays-here");
    let stateful = client.initialize("2025-11-25").await;
    assert_eq!(stateful.call("echo", json!({})).await.status, 200);
    assert_eq!(client.call_modern("echo", json!({})).await.status, 200);
    let heard = server.heard();
    assert!(heard.len() >= 4);
    for heard in heard {
        let head = heard.head.to_ascii_lowercase();
        for word in [
            "stays",
            "authorization",
            "cookie",
            "app.example",
            "x-listed",
            "forwarded",
            "referer",
        ] {
            assert!(!head.contains(word), "{word}: {head}");
        }
        assert_eq!(heard.header("host"), Some(server.addr.to_string().as_str()));
    }
}

#[tokio::test]
async fn trap_27_hosts_and_origins_are_ours_to_check() {
    let server = server().await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| {
            settings.hosts = vec!["gw.example".to_owned()];
            settings.origins = vec!["https://app.example".to_owned()];
        })
        .start()
        .await;
    let client = session(&gateway).await;
    for host in [
        "evil.example",
        "gw.example.evil.example",
        "gw.example@evil.example",
        "169.254.169.254",
    ] {
        let answer = client.clone().header("host", host).post(CALL).await;
        refused(&answer, 403, "host_refused");
    }
    let twice = client
        .clone()
        .line("host", "gw.example")
        .line("host", "evil.example");
    let twice = twice.post(CALL).await;
    assert!([400, 403].contains(&twice.status), "{twice:?}");
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
    ] {
        let answer = client.clone().header("origin", origin).post(CALL).await;
        refused(&answer, 403, "origin_refused");
    }
    let rest = format!(
        "content-type: application/json\r\naccept: */*\r\ncontent-length: {}\r\n\r\n{CALL}",
        CALL.len()
    );
    for head in [
        // None at all, and two that differ (RFC 9112 §3.2.2).
        "POST /up/mcp HTTP/1.0\r\n".to_owned(),
        "POST http://evil.example/up/mcp HTTP/1.1\r\nhost: gw.example\r\n".to_owned(),
        format!(
            "POST http://gw.example/up/mcp HTTP/1.1\r\nhost: {}\r\n",
            gateway.addr
        ),
    ] {
        let answer = client
            .raw(
                format!("{head}connection: close\r\n{rest}").as_bytes(),
                LONG,
            )
            .await;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(["400", "403"].contains(&status), "{head}: {answer}");
    }
    unheard(&server);
    for (name, value) in [
        ("host", "gw.example"),
        ("host", "localhost:1"),
        ("origin", "https://app.example"),
        ("origin", "http://localhost:3000"),
    ] {
        assert_eq!(
            client.clone().header(name, value).post(CALL).await.status,
            200,
            "{value}"
        );
    }
}

#[tokio::test]
async fn a_full_or_draining_gateway_refuses_at_once() {
    let gate = Gate::default();
    let held = gate.clone();
    let server = FakeServer::with_tools(move |heard| {
        let mut said_later = vec![Say::Until(held.clone())];
        said_later.extend(Say::json(&said(&heard.json()["id"], "late")));
        said_later
    })
    .await;
    let gateway = TestGateway::http(&server.url())
        .with(|settings| settings.limits.in_flight = NonZeroUsize::MIN)
        .start()
        .await;
    let client = session(&gateway).await;
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.call("echo", json!({})).await }
    });
    server.hears(|heard| heard.method() == "tools/call").await;
    let answer = client.call("echo", json!({})).await;
    refused(&answer, 503, "overloaded");
    assert!(answer.header("retry-after").is_some());
    gateway.gateway.drain();
    refused(&client.call("echo", json!({})).await, 503, "draining");
    gate.open();
    // What ran goes on to its end.
    assert_eq!(
        running.await.unwrap().json()["result"]["content"][0]["text"],
        "late"
    );
    assert_eq!(server.heard_of("tools/call").len(), 1);
}

#[tokio::test]
async fn refusals_at_the_door_cannot_fill_the_log() {
    let (_server, gateway) = open_gate().await;
    let began = std::time::Instant::now();
    let stranger = Client::new(gateway.addr).path("/absent/mcp");
    for _ in 0..100 {
        assert_eq!(stranger.post("").await.status, 404);
    }
    let most = 10 * (began.elapsed().as_secs() + 2);
    let records = gateway.records().await;
    let written = records.iter().filter(|record| !record["refusal"].is_null());
    let written = written.count() as u64;
    assert!((1..=most).contains(&written), "{written}");
    // What is not written is counted.
    let meters = gateway.gateway.shared().meters.text();
    assert!(
        meters.contains("rejected_requests_total{keepgate_code=\"path_unknown\"} 100"),
        "{meters}"
    );
}
