//! Streams that their clients do not read.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keepgate_tests::client::modern_call;
use tokio::net::TcpStream;

use super::*;

/// Shorter than any time for which a client may read nothing.
const SOON: Duration = Duration::from_secs(20);

/// A server whose answers are streams of messages without end.
async fn flooding() -> FakeServer {
    FakeServer::start(|heard| match heard.verb.as_str() {
        "GET" => Say::http("405 Method Not Allowed", "text/plain", ""),
        _ => behave(heard).unwrap_or_else(|| {
            let text = "x".repeat(64 * 1024);
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": text}});
            let event = format!("data: {note}\n\n");
            vec![Say::sse(), Say::Flood(event.into_bytes())]
        }),
    })
    .await
}

/// A call over HTTP/2, of whose answer only the head is read: the windows of stream and connection fill up.
async fn opened_over_h2(gateway: &TestGateway) -> (SendRequest<Full<Bytes>>, Response<Incoming>) {
    let socket = TcpStream::connect(gateway.addr)
        .await
        .expect("a connection");
    let shaken = http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await;
    let (mut sender, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    let body = modern_call("echo", &json!({}));
    let request = Request::post(format!("http://{}/up/mcp", gateway.addr))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "echo")
        .body(Full::from(body.to_string()))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    (sender, answer)
}

#[tokio::test]
async fn a_kill_does_not_wait_for_a_client_that_reads_nothing() {
    for (transport, word, target) in [
        ("streamable", "tool", Some("up/echo")),
        ("streamable", "server", Some("up")),
        ("h2", "tool", Some("up/echo")),
        ("h2", "server", Some("up")),
        ("sse", "tool", Some("up/echo")),
        ("sse", "server", Some("up")),
    ] {
        let server = flooding().await;
        let gateway = in_front_of(&server).start().await;
        let shared = gateway.gateway.shared();
        let client = Client::new(gateway.addr);
        let (mut legacy, mut unread, mut unread_h2) = (None, None, None);
        match transport {
            "sse" => {
                let opened = Legacy::initialized(&client, OPENED).await;
                opened.post(call(1, "echo"), 202).await;
                legacy = Some(opened);
            }
            "h2" => unread_h2 = Some(opened_over_h2(&gateway).await),
            _ => {
                let session = client.initialize("2025-11-25").await;
                unread = Some(session.open("POST", call(1, "echo")).await);
            }
        }
        server.hears(|heard| heard.method() == "tools/call").await;
        // No more goes on: whatever is between the server and the client is full.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let kill = kill(&gateway, word, target).kill;
        let remains = shared.kill.settled(&kill.id, SOON).await;
        assert!(remains.is_complete(), "{transport} {word}: {remains:?}");
        let there = async {
            while shared.load.running() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if word == "server" {
            let given_back = tokio::time::timeout(SOON, there).await;
            assert!(given_back.is_ok(), "{transport}: places are kept");
        }
        drop((legacy, unread, unread_h2));
    }
}
