//! A server that does as it is told: for faults no honest server makes. It speaks plain sockets, so that it can lie.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

/// A request as the server heard it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// `POST`, `GET`, `DELETE`.
    pub verb: String,
    /// The whole head, as it came.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Heard {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The MCP method.
    pub fn method(&self) -> String {
        self.json()["method"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Progress of this request, under the token it came with.
    pub fn progress(&self, step: u64) -> Value {
        let token = &self.json()["params"]["_meta"]["progressToken"];
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
    }

    /// The body with the gateway's own id of the request, wherever it stands, as the client wrote its own.
    pub fn under(&self, id: &str) -> String {
        self.body.replace(&self.json()["id"].to_string(), id)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The ids under which a server was asked for tools, the latest last; for servers that answer elsewhere and later.
#[derive(Debug, Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<Value>>>);

impl Asked {
    /// Notes the id of a request.
    pub fn note(&self, heard: &Heard) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(heard.json()["id"].clone());
    }

    /// All of them.
    pub fn all(&self) -> Vec<Value> {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.clone()
    }

    /// The id of the latest request but `back`.
    ///
    /// # Panics
    /// When there were not so many.
    pub fn id(&self, back: usize) -> Value {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ids.len().checked_sub(back + 1).expect("a request");
        ids.get(at).cloned().expect("a request")
    }
}

/// A gate the test opens, so that one thing happens after another without waiting for time to pass.
#[derive(Debug, Clone)]
pub struct Gate(Arc<tokio::sync::Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets whoever waits pass, now and later.
    pub fn open(&self) {
        self.0.add_permits(1 << 16);
    }

    /// Lets one pass.
    pub fn open_once(&self) {
        self.0.add_permits(1);
    }

    /// Waits until the gate is open.
    pub async fn passed(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// Bytes that are given later.
#[derive(Debug, Clone)]
pub struct Piped(Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<u8>>>>);

impl Piped {
    /// A pipe and what fills it.
    pub fn new() -> (mpsc::UnboundedSender<Vec<u8>>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(Arc::new(tokio::sync::Mutex::new(receiver))))
    }

    /// Writes what comes. `None` when the other side hung up.
    async fn relay(&self, stream: &mut TcpStream) -> Option<()> {
        let mut receiver = self.0.lock().await;
        loop {
            let mut byte = [0];
            let bytes = tokio::select! {
                bytes = receiver.recv() => bytes,
                _gone = stream.peek(&mut byte) => return None,
            };
            let Some(bytes) = bytes else { return Some(()) };
            stream.write_all(&bytes).await.ok()?;
        }
    }
}

/// What the server says, step by step.
#[derive(Debug, Clone)]
pub enum Say {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing, for a while.
    Wait(Duration),
    /// Nothing, until the gate is open.
    Until(Gate),
    /// These bytes again and again, as fast as they are taken, until the other side hangs up.
    Flood(Vec<u8>),
    /// Bytes that are given to it, as they come; the connection is closed when nothing can come any more.
    Piped(Piped),
    /// Nothing any more: the connection is closed.
    Close,
    /// Nothing any more, and the connection stays open.
    Hang,
}

impl Say {
    /// A JSON body with its head.
    pub fn json(body: &Value) -> Vec<Self> {
        Self::http("200 OK", "application/json", &body.to_string())
    }

    /// Any body with its head.
    pub fn http(status: &str, media: &str, body: &str) -> Vec<Self> {
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        vec![Self::Bytes(format!("{head}{body}").into_bytes())]
    }

    /// The head of an event stream that ends with the connection.
    pub fn sse() -> Self {
        Self::Bytes(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                .to_vec(),
        )
    }

    /// A whole event stream.
    pub fn sse_whole(events: &[Value]) -> Vec<Self> {
        let body: String = events
            .iter()
            .map(|data| format!("data: {data}\n\n"))
            .collect();
        Self::http("200 OK", "text/event-stream", &body)
    }

    /// One event.
    pub fn event(data: &Value) -> Self {
        Self::Bytes(format!("data: {data}\n\n").into_bytes())
    }

    /// Text as it is.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

type Script = dyn Fn(&Heard) -> Vec<Say> + Send + Sync;

/// The server.
#[derive(Clone)]
pub struct FakeServer {
    /// Where it listens.
    pub addr: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    closed: Arc<Mutex<usize>>,
}

impl std::fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeServer")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

impl FakeServer {
    /// A server that answers each request by `script`.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start(script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            addr: listener.local_addr().expect("an address"),
            heard: Arc::default(),
            closed: Arc::default(),
        };
        let script: Arc<Script> = Arc::new(script);
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&script), serving.clone()));
            }
        });
        server
    }

    /// A server that behaves, but for the tool calls, which `script` answers. It has the tools `echo` and `delete`.
    pub async fn with_tools(script: impl Fn(&Heard) -> Vec<Say> + Send + Sync + 'static) -> Self {
        Self::start(move |heard| match behave(heard) {
            Some(said) => said,
            None => script(heard),
        })
        .await
    }

    /// The URL of its endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.addr)
    }

    /// Everything heard so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What was heard of one MCP method.
    pub fn heard_of(&self, method: &str) -> Vec<Heard> {
        self.heard()
            .into_iter()
            .filter(|heard| heard.method() == method)
            .collect()
    }

    /// Waits until something was heard that `is` what the test waits for, and gives it.
    ///
    /// # Panics
    /// When it is not heard within ten seconds.
    pub async fn hears(&self, is: impl Fn(&Heard) -> bool) -> Heard {
        let heard = async {
            loop {
                if let Some(heard) = self.heard().into_iter().find(|heard| is(heard)) {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, heard)
            .await
            .unwrap_or_else(|_| panic!("not heard; heard: {:?}", self.heard()))
    }

    /// Waits until `count` connections were hung up on.
    ///
    /// # Panics
    /// When that does not happen within ten seconds.
    pub async fn is_hung_up_on(&self, count: usize) {
        let hung_up = async {
            while self.hung_up() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(crate::PATIENCE, hung_up)
            .await
            .expect("nobody hung up");
    }

    /// How many connections the other side has closed while the server was saying something.
    pub fn hung_up(&self) -> usize {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The result of a tool that says `text`.
pub fn said(id: &Value, text: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
}

/// What any server says to all but tool calls. `None` for a tool call.
pub fn behave(heard: &Heard) -> Option<Vec<Say>> {
    let message = heard.json();
    let id = &message["id"];
    let result = match (
        heard.verb.as_str(),
        message["method"].as_str().unwrap_or_default(),
    ) {
        ("GET", _) => return Some(Say::http("405 Method Not Allowed", "text/plain", "")),
        ("DELETE", _) => return Some(Say::http("200 OK", "text/plain", "")),
        (_, "initialize") => {
            let version = message["params"]["protocolVersion"]
                .as_str()
                .unwrap_or("2025-11-25");
            let body = json!({"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": version,
                "capabilities": {"tools": {"listChanged": true}, "resources": {}, "tasks": {}}, "serverInfo": {"name": "fake", "version": "1"}}}).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nmcp-session-id: upstream-secret-session\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            return Some(vec![Say::Bytes(format!("{head}{body}").into_bytes())]);
        }
        (_, "tools/list") => json!({"tools": [
            {"name": "echo", "inputSchema": {"type": "object"}},
            {"name": "delete", "inputSchema": {"type": "object"}, "annotations": {"destructiveHint": true}},
        ]}),
        (_, "ping") => json!({}),
        (_, "tools/call") => return None,
        (_, "") => return Some(Say::http("202 Accepted", "text/plain", "")),
        (_, method) if method.starts_with("notifications/") => {
            return Some(Say::http("202 Accepted", "text/plain", ""));
        }
        _ => return None,
    };
    Some(Say::json(
        &json!({"jsonrpc": "2.0", "id": id, "result": result}),
    ))
}

async fn connection(mut stream: TcpStream, script: Arc<Script>, server: FakeServer) {
    let mut buffer = Vec::new();
    while let Some(heard) = hear(&mut stream, &mut buffer).await {
        server
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(heard.clone());
        for say in script(&heard) {
            let went = match say {
                Say::Bytes(bytes) => stream.write_all(&bytes).await.is_ok(),
                Say::Flood(bytes) => {
                    while stream.write_all(&bytes).await.is_ok() {}
                    false
                }
                Say::Wait(time) => {
                    let mut byte = [0];
                    // A peer that hangs up is noticed while we wait.
                    !matches!(
                        tokio::time::timeout(time, stream.peek(&mut byte)).await,
                        Ok(Ok(0) | Err(_))
                    )
                }
                Say::Until(gate) => {
                    let mut byte = [0];
                    // A peer that hangs up is noticed while we wait.
                    tokio::select! {
                        () = gate.passed() => true,
                        peeked = stream.peek(&mut byte) => match peeked {
                            Ok(0) | Err(_) => false,
                            Ok(_) => {
                                gate.passed().await;
                                true
                            }
                        },
                    }
                }
                Say::Piped(piped) => match piped.relay(&mut stream).await {
                    Some(()) => return,
                    None => false,
                },
                Say::Close => return,
                Say::Hang => {
                    let mut byte = [0];
                    let _gone = stream.peek(&mut byte).await;
                    false
                }
            };
            if !went {
                *server.closed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                return;
            }
        }
    }
}

async fn hear(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Heard> {
    let mut chunk = [0; 16 * 1024];
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(str::trim)
                    .map(str::to_owned)
            });
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if rest.len() >= length {
                let body = rest.get(..length).unwrap_or_default().to_owned();
                buffer.drain(..head.len() + 4 + length);
                let verb = head.split(' ').next().unwrap_or_default().to_owned();
                return Some(Heard {
                    verb,
                    head: head.to_owned(),
                    body,
                });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(read) => buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
}
