//! A client that sends what it is given, byte for byte, and hides nothing of the answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::PATIENCE;

/// A client of one endpoint.
#[derive(Debug, Clone)]
pub struct Client {
    addr: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The messages of an event stream, or the one message of a JSON body.
    ///
    /// # Panics
    /// When the body is neither.
    pub fn messages(&self) -> Vec<Value> {
        let stream = self
            .header("content-type")
            .is_some_and(|value| value.starts_with("text/event-stream"));
        if !stream {
            return vec![self.json()];
        }
        let text = String::from_utf8(self.body.to_vec()).expect("UTF-8");
        let data = text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(data).expect("JSON"))
            .collect()
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text, with the decision ids of refusals as `ID`: they differ where nothing else does.
    pub fn masked(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.body).into_owned();
        for member in ["\"decision_id\":\"", "\"authorizationContextId\":\""] {
            let mut from = 0;
            while let Some(at) = text.get(from..).and_then(|rest| rest.find(member)) {
                let begin = from + at + member.len();
                let end = text[begin..].find('"').map_or(text.len(), |at| begin + at);
                text.replace_range(begin..end, "ID");
                from = begin;
            }
        }
        text
    }

    /// The stable code of a refusal, wherever it stands.
    pub fn code(&self) -> Option<String> {
        let message = self.messages().pop()?;
        let code = message
            .pointer("/error/data/code")
            .or_else(|| message.pointer("/result/_meta/dev.keepgate~1refusal/code"));
        Some(code?.as_str()?.to_owned())
    }
}

impl Client {
    /// A client of `http://{addr}/up/mcp`, with the headers every client sends.
    pub fn new(addr: SocketAddr) -> Self {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        let headers = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec();
        Self {
            addr,
            path: "/up/mcp".to_owned(),
            headers,
        }
    }

    /// The same client of another address.
    #[must_use]
    pub fn moved(&self, addr: SocketAddr) -> Self {
        Self {
            addr,
            ..self.clone()
        }
    }

    /// With another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// With a header, in place of one of the same name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The value of a header this client sends.
    pub fn sent(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// With one more line of a header.
    #[must_use]
    pub fn line(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Posts `body` and waits for the whole answer.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn post(&self, body: impl Into<Bytes>) -> Answer {
        self.send("POST", body).await
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn send(&self, method: &str, body: impl Into<Bytes>) -> Answer {
        whole(self.open(method, body).await).await
    }

    /// Sends a request and gives the answer as soon as its head is there.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn open(&self, method: &str, body: impl Into<Bytes>) -> hyper::Response<Incoming> {
        let stream = TcpStream::connect(self.addr).await.expect("a connection");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a handshake");
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(&self.path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.addr.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        sender
            .send_request(request.body(Full::new(body.into())).expect("a request"))
            .await
            .expect("an answer")
    }

    /// Opens a stateful session in `revision` and gives a client that is in it.
    ///
    /// # Panics
    /// When the server does not agree.
    pub async fn initialize(&self, revision: &str) -> Self {
        let body = json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}});
        let answer = self.post(body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer
            .header("mcp-session-id")
            .expect("a session")
            .to_owned();
        let client = self
            .clone()
            .header("mcp-session-id", &id)
            .header("mcp-protocol-version", revision);
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(client.post(ready.to_string()).await.status, 202);
        client
    }

    /// A client that speaks 2026-07-28: the mirrored headers of one call.
    #[must_use]
    pub fn modern(&self, method: &str, name: Option<&str>) -> Self {
        let client = self
            .clone()
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        match name {
            Some(name) => client.header("mcp-name", name),
            None => client,
        }
    }

    /// Calls a tool of the stateful revisions.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn call(&self, tool: &str, arguments: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
        self.post(body.to_string()).await
    }

    /// Calls a tool in 2026-07-28.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn call_modern(&self, tool: &str, arguments: Value) -> Answer {
        self.modern("tools/call", Some(tool))
            .post(modern_call(tool, &arguments).to_string())
            .await
    }

    /// Asks `method` with `params` in the stateful revisions, under the id 7.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn ask(&self, method: &str, params: Value) -> Answer {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.post(body.to_string()).await
    }

    /// Asks `method` with `params` in 2026-07-28, under the id 7; `name` goes into `Mcp-Name`.
    ///
    /// # Panics
    /// When the connection breaks, or `params` is no object.
    pub async fn ask_modern(&self, method: &str, name: Option<&str>, mut params: Value) -> Answer {
        params["_meta"] = modern_meta();
        self.modern(method, name).ask(method, params).await
    }

    /// Sends bytes on a fresh connection and reads what comes until the other side closes or `patience` is over.
    ///
    /// # Panics
    /// When there is no connection.
    pub async fn raw(&self, bytes: &[u8], patience: std::time::Duration) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("a connection");
        stream.write_all(bytes).await.expect("written");
        let mut out = Vec::new();
        let _ended = tokio::time::timeout(patience, stream.read_to_end(&mut out)).await;
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A tool call of 2026-07-28.
pub fn modern_call(tool: &str, arguments: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments, "_meta": modern_meta()}})
}

/// The `_meta` every request of 2026-07-28 carries.
pub fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// An event stream that is read as it comes.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The stream of an answer whose head is there.
    pub fn of(answer: hyper::Response<Incoming>) -> Self {
        Self {
            body: answer.into_body(),
            text: String::new(),
        }
    }

    /// The next block of lines, comments too, as it stood on the wire. `None` at the end of the stream.
    ///
    /// # Panics
    /// When nothing comes for ten seconds, or the stream breaks.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame());
            let frame = frame.await.expect("an event in time")?.expect("a frame");
            let data = frame.into_data().expect("data");
            self.text
                .push_str(std::str::from_utf8(&data).expect("UTF-8"));
        }
    }

    /// The next message; comments and events without one are passed over. `None` at the end of the stream.
    ///
    /// # Panics
    /// When nothing comes for ten seconds, or what comes is no JSON.
    pub async fn message(&mut self) -> Option<Value> {
        loop {
            let block = self.block().await?;
            let mut data = block.lines().filter_map(|line| line.strip_prefix("data:"));
            if let Some(data) = data.next().map(str::trim).filter(|data| !data.is_empty()) {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    /// All messages up to the end of the stream.
    ///
    /// # Panics
    /// As [`Self::message`].
    pub async fn messages(mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        messages
    }
}

/// The field `name` of an event block.
pub fn field<'a>(block: &'a str, name: &str) -> Option<&'a str> {
    let mut values = block
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::trim)
}

/// Reads an answer to its end.
///
/// # Panics
/// When the connection breaks.
pub async fn whole(answer: hyper::Response<Incoming>) -> Answer {
    let (head, body) = answer.into_parts();
    #[expect(
        clippy::disallowed_methods,
        reason = "a test reads its own gateway's answers"
    )]
    let body = body.collect().await.expect("a body").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    }
}
