//! The hostile server: answers that bring no message, and bodies that are dear to mask.

use std::convert::Infallible;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::error::{Error, io};

/// The credential the gateway sends; the body's answers repeat the beginning of its base64.
pub(super) const SECRET: &str = "keepgate-bench-secret-0123456789-abcdefghijklmnop";
/// One tool per kind of answer.
pub(super) const TOOLS: [&str; 4] = ["blank", "comments", "events", "body"];
/// Size of one chunk of a stream, in bytes.
const CHUNK: usize = 64 * 1024;
/// Size of the large body's text, in bytes.
const BODY: usize = 7 * 1024 * 1024;

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Listens on a loopback port and answers until the runtime ends.
pub(super) async fn listen() -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(io("listen on a loopback port"))?;
    let address = listener.local_addr().map_err(io("read the own address"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Connections end badly here: the gateway cuts them.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(respond))
                    .await;
            });
        }
    });
    Ok(address)
}

async fn respond(request: Request<Incoming>) -> Result<Reply, Infallible> {
    let message = crate::body::read(request.into_body(), 1 << 20).await;
    let message: Value = message
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
    let id = message.get("id").cloned().unwrap_or_default();
    if text("/method") != Some("tools/call") {
        let tools = TOOLS.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        let result = json!({"resultType": "complete", "tools": tools, "ttlMs": 60_000, "cacheScope": "private"});
        return Ok(whole(
            &json!({"jsonrpc": "2.0", "id": id, "result": result}),
        ));
    }
    Ok(match text("/params/name") {
        Some("blank") => endless("\n"),
        Some("comments") => endless(": \n"),
        Some("events") => endless("event: x\n\n"),
        Some(_) | None => whole(&body(&id)),
    })
}

/// A result whose text repeats the first bytes of the credential's base64 and never completes it.
fn body(id: &Value) -> Value {
    let encoded = STANDARD.encode(SECRET);
    let beginning = encoded.get(..12).unwrap_or_default();
    let text = beginning.repeat(BODY / beginning.len());
    let content = json!([{"type": "text", "text": text}]);
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": content}})
}

/// A stream of events without end that repeats `unit`.
fn endless(unit: &str) -> Reply {
    let chunk = Bytes::from(unit.repeat(CHUNK / unit.len()));
    let frames = stream::repeat_with(move || Ok(Frame::data(chunk.clone())));
    typed(StreamBody::new(frames).boxed_unsync(), "text/event-stream")
}

fn whole(message: &Value) -> Reply {
    let body = Full::new(Bytes::from(message.to_string())).boxed_unsync();
    typed(body, "application/json")
}

fn typed(body: UnsyncBoxBody<Bytes, Infallible>, media: &'static str) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(media),
    );
    reply
}
