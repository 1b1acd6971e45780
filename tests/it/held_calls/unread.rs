//! Held calls whose clients read nothing: over HTTP/2, with windows of no bytes, nothing of a body goes out and nothing asks for
//! it.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::*;

/// A call of `delete` in the session of `client`, of whose answer nothing but the head can come.
async fn unread(
    gateway: &TestGateway,
    client: &Client,
) -> (SendRequest<Full<Bytes>>, Response<Incoming>) {
    let socket = TcpStream::connect(gateway.addr)
        .await
        .expect("a connection");
    let shaken = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(socket))
        .await;
    let (mut sender, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "delete", "arguments": {}}});
    let request = Request::post(format!("http://{}/up/mcp", gateway.addr))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .header(
            "mcp-session-id",
            client.sent("mcp-session-id").expect("a session"),
        )
        .body(Full::from(body.to_string()))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    (sender, answer)
}

/// The end of a held call.
#[derive(Debug, Clone, Copy)]
enum End {
    Time,
    Kill,
    Drain,
    Yes,
    Session,
}

#[tokio::test]
async fn a_held_call_ends_also_when_its_client_reads_nothing() {
    for end in [End::Time, End::Kill, End::Drain, End::Yes, End::Session] {
        let server = server().await;
        let time = match end {
            End::Time => Duration::from_secs(1),
            End::Kill | End::Drain | End::Yes | End::Session => Duration::from_secs(50),
        };
        let gateway = holding(&server, time).start().await;
        let (approvals, shared) = (gateway.approvals(), gateway.gateway.shared());
        let client = Client::new(gateway.addr).initialize("2025-11-25").await;
        let answer = unread(&gateway, &client).await;
        let id = waiting(&approvals).await;
        match end {
            End::Time => {}
            End::Kill => {
                crate::kill::kill(&gateway, "server", Some("up"));
            }
            End::Drain => gateway.gateway.drain(),
            End::Yes => decide(&approvals, &id, Verdict::Approve).await,
            End::Session => assert_eq!(client.send("DELETE", "").await.status, 200),
        }
        let ended = async {
            while approvals.held() > 0 || shared.kill.running() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(SOON, ended).await;
        assert!(ended.is_ok(), "{end:?}: it is held still");
        let sent = server.heard_of("tools/call").len();
        assert_eq!(sent, usize::from(matches!(end, End::Yes)), "{end:?}");
        drop(answer);
    }
}
