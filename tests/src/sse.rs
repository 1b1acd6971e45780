//! A scripted server of HTTP+SSE (2024-11-05): `GET /sse` opens a stream that names an address, messages are posted there, and
//! what answers them comes on the stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::upstream::{FakeServer, Heard, Piped, Say, behave, said};

/// Writes to a stream.
type Stream = UnboundedSender<Vec<u8>>;

/// The streams of a server, the first to open first.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<Vec<Option<Stream>>>>);

impl Streams {
    fn all(&self) -> MutexGuard<'_, Vec<Option<Stream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes text to the stream that a message belongs to.
    pub fn write(&self, heard: &Heard, text: &str) {
        if let Some(Some(stream)) = self.all().get(number(heard)) {
            // A stream that is gone hears nothing.
            stream.send(text.as_bytes().to_vec()).ok();
        }
    }

    /// Sends a message on the stream that another belongs to.
    pub fn send(&self, heard: &Heard, message: &Value) {
        self.write(heard, &format!("event: message\ndata: {message}\n\n"));
    }

    /// Closes the stream that a message belongs to.
    pub fn close(&self, heard: &Heard) {
        if let Some(stream) = self.all().get_mut(number(heard)) {
            *stream = None;
        }
    }

    /// Opens a stream that begins with `early` and the address of its own.
    pub fn open(&self, early: &str) -> Vec<Say> {
        let (sender, piped) = Piped::new();
        let mut all = self.all();
        let address = format!("/messages?sessionId={}", all.len());
        all.push(Some(sender));
        let begin = format!("{early}event: endpoint\ndata: {address}\n\n");
        vec![Say::sse(), Say::text(&begin), Say::Piped(piped)]
    }
}

/// The number of the stream that a message belongs to.
fn number(heard: &Heard) -> usize {
    let target = heard.head.split(' ').nth(1).unwrap_or_default();
    let id = target.split_once("sessionId=").map(|(_, id)| id);
    let digits = id.and_then(|id| id.split('&').next());
    digits.and_then(|id| id.parse().ok()).unwrap_or(usize::MAX)
}

/// A success whose body means nothing.
pub fn accepted() -> Vec<Say> {
    Say::http("202 Accepted", "text/plain", "Accepted")
}

/// Behaves as a server with the tools `echo` and `delete`, whose answer is a hello.
pub fn behaves(heard: &Heard, streams: &Streams) -> Vec<Say> {
    if heard.verb == "GET" {
        return streams.open("");
    }
    let message = heard.json();
    if message["method"].is_string() && message["id"] != Value::Null {
        let answer = match behave(heard) {
            None => said(&message["id"], "hello"),
            Some(said) => body(&said),
        };
        streams.send(heard, &answer);
    }
    accepted()
}

/// The body of an answer in one piece.
fn body(said: &[Say]) -> Value {
    let Some(Say::Bytes(bytes)) = said.first() else {
        return Value::Null;
    };
    let text = String::from_utf8_lossy(bytes);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    body.and_then(|body| serde_json::from_str(body).ok())
        .unwrap_or_default()
}

/// The server.
#[derive(Debug, Clone)]
pub struct SseServer(FakeServer);

impl SseServer {
    /// A server that behaves but for what `script` has otherwise.
    pub async fn start(
        script: impl Fn(&Heard, &Streams) -> Option<Vec<Say>> + Send + Sync + 'static,
    ) -> Self {
        let streams = Streams::default();
        let server = FakeServer::start(move |heard| {
            script(heard, &streams).unwrap_or_else(|| behaves(heard, &streams))
        });
        Self(server.await)
    }

    /// The URL of its stream.
    pub fn url(&self) -> String {
        format!("http://{}/sse", self.0.addr)
    }
}

impl std::ops::Deref for SseServer {
    type Target = FakeServer;

    fn deref(&self) -> &FakeServer {
        &self.0
    }
}
