//! `keepgate-bench kill`: how long a kill takes from its acknowledgement to the last byte of a thousand running calls.
//!
//! The `keepgate` command stands between clients and a server that are tasks of this process. Half of the calls wait for
//! their first byte, half read a stream. An operator kills the server over the API; each client notes when its connection
//! gives its last byte. What is printed is the time from the operator's answer (and, to be fair, from the operator's
//! request) to that byte, over all calls of all rounds.

use std::convert::Infallible;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, thread};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use keepgate_call::{
    Ask, Call, Caller, CallerKind, DecisionId, Proof, ServerName, Tenant, UpstreamId,
};
use keepgate_mcp::{Body as Decoded, Limits, decode, revision::Revision};
use keepgate_store::kill::{Kill, Running, Scope, Switch, Wish};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::error::{Error, io};
use crate::folder::{Folder, Rules};
use crate::row::command;
use crate::serve;

/// Calls that run when the kill comes.
const CALLS: usize = 1000;
/// How often it is done.
const ROUNDS: usize = 5;
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Measures and prints.
pub(crate) fn run() -> Result<(), Error> {
    serve::say(&check())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(io("start a runtime"))?;
    let folder = Folder::new()?;
    let heard = Arc::new(AtomicUsize::new(0));
    let upstream = runtime.block_on(upstream(Arc::clone(&heard)))?;
    let (_gateway, data, admin) = command::start_open(&folder, Rules::Open, upstream)?;
    let mut tails = Vec::new();
    for round in 0..ROUNDS {
        heard.store(0, Ordering::SeqCst);
        tails.extend(one(&runtime, &folder, data, admin, &heard)?);
        serve::say(&format!("round {} of {ROUNDS} done", round + 1))?;
    }
    serve::say(&report(&tails))
}

/// One client's last byte, from the answer and from the request.
struct Tail {
    streams: bool,
    from_answer: Duration,
    from_request: Duration,
}

fn one(
    runtime: &tokio::runtime::Runtime,
    folder: &Folder,
    data: SocketAddr,
    admin: SocketAddr,
    heard: &AtomicUsize,
) -> Result<Vec<Tail>, Error> {
    let begun = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CALLS)
        .map(|number| {
            let streams = number % 2 == 0;
            let begun = Arc::clone(&begun);
            (streams, runtime.spawn(client(data, streams, begun)))
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    while heard.load(Ordering::SeqCst) < CALLS || begun.load(Ordering::SeqCst) < CALLS / 2 {
        if Instant::now() > end {
            let heard = heard.load(Ordering::SeqCst);
            return Err(Error::Reply(format!("only {heard} calls run")));
        }
        thread::sleep(Duration::from_millis(10));
    }
    let token = fs::read_to_string(folder.path("state-command").join("admin-token"))
        .map_err(io("read the admin token"))?;
    let wish = json!({"scope": "server", "target": "bench", "reason": "bench"});
    let asked = Instant::now();
    let set = operator(admin, "POST", "/api/v1/kills", token.trim(), &wish)?;
    let answered = Instant::now();
    if set.get("cut") != Some(&json!(CALLS)) {
        return Err(Error::Reply(format!("not all were cut: {set}")));
    }
    let mut tails = Vec::new();
    for (streams, client) in clients {
        let last = runtime
            .block_on(client)
            .map_err(|error| Error::Reply(error.to_string()))??;
        tails.push(Tail {
            streams,
            from_answer: last.saturating_duration_since(answered),
            from_request: last.saturating_duration_since(asked),
        });
    }
    let id = set.pointer("/kill/id").and_then(Value::as_str);
    let id = id.unwrap_or_default();
    let path = format!("/api/v1/kills/{id}");
    operator(
        admin,
        "DELETE",
        &path,
        token.trim(),
        &json!({"reason": "bench"}),
    )?;
    Ok(tails)
}

/// Makes one call and gives the moment of its last byte.
async fn client(
    gate: SocketAddr,
    streams: bool,
    begun: Arc<AtomicUsize>,
) -> Result<Instant, Error> {
    let tool = if streams { "stream" } else { "wait" };
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
    }}})
    .to_string();
    let request = format!(
        "POST /bench/mcp HTTP/1.1\r\nhost: {gate}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
         mcp-method: tools/call\r\nmcp-name: {tool}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(gate).await.map_err(io("connect"))?;
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(io("send a call"))?;
    let mut last = Instant::now();
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    let mut counted = false;
    loop {
        let read = stream.read(&mut buffer).await.map_err(io("read a reply"))?;
        if read == 0 {
            break;
        }
        last = Instant::now();
        said.extend_from_slice(buffer.get(..read).unwrap_or_default());
        if streams && !counted && contains(&said, b"begun") {
            counted = true;
            begun.fetch_add(1, Ordering::SeqCst);
        }
    }
    if contains(&said, b"killed") {
        return Ok(last);
    }
    Err(Error::Reply(String::from_utf8_lossy(&said).into_owned()))
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memchr::memmem::find(text, what).is_some()
}

/// One request of an operator.
pub(crate) fn operator(
    admin: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    body: &Value,
) -> Result<Value, Error> {
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = Blocking::connect(admin).map_err(io("connect to the operators' listener"))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(io("limit how long an operator waits"))?;
    stream
        .write_all(request.as_bytes())
        .map_err(io("ask as an operator"))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .map_err(io("read an operator's answer"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(Error::Report)
}

/// The server: says that it has begun where it streams, and then nothing.
async fn upstream(heard: Arc<AtomicUsize>) -> Result<SocketAddr, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(io("listen on a loopback port"))?;
    let address = listener.local_addr().map_err(io("read the own address"))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            let answer = service_fn(move |request| respond(request, Arc::clone(&heard)));
            tokio::spawn(async move {
                // Connections end badly here: that is what is measured.
                let _ended = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    Ok(address)
}

async fn respond(request: Request<Incoming>, heard: Arc<AtomicUsize>) -> Result<Reply, Infallible> {
    let message = crate::body::read(request.into_body(), 1 << 20).await;
    let message: Value = message
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let text = |pointer| message.pointer(pointer).and_then(Value::as_str);
    if text("/method") != Some("tools/call") {
        let id = message.get("id");
        let tools =
            ["wait", "stream"].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
        let result = json!({"resultType": "complete", "tools": tools, "ttlMs": 60_000, "cacheScope": "private"});
        let body = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let body = Full::new(Bytes::from(body)).boxed_unsync();
        return Ok(typed(body, "application/json"));
    }
    heard.fetch_add(1, Ordering::SeqCst);
    if text("/params/name") == Some("wait") {
        return std::future::pending().await;
    }
    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "begun"}});
    let first = Frame::data(Bytes::from(format!("data: {note}\n\n")));
    let events = stream::iter([Ok(first)]).chain(stream::pending());
    Ok(typed(
        StreamBody::new(events).boxed_unsync(),
        "text/event-stream",
    ))
}

fn typed(body: UnsyncBoxBody<Bytes, Infallible>, media: &'static str) -> Reply {
    let mut reply = Response::new(body);
    reply.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(media),
    );
    reply
}

fn report(tails: &[Tail]) -> String {
    let row = |name: &str, of: &dyn Fn(&Tail) -> bool, time: &dyn Fn(&Tail) -> Duration| {
        let mut times: Vec<Duration> = tails.iter().filter(|tail| of(tail)).map(time).collect();
        times.sort_unstable();
        let at = |share: usize| {
            let place = (times.len() * share / 1000).min(times.len().saturating_sub(1));
            let time = times.get(place).copied().unwrap_or_default();
            format!("{:.1}", time.as_secs_f64() * 1000.0)
        };
        format!(
            "| {name} | {} | {} | {} | {} |\n",
            times.len(),
            at(500),
            at(990),
            at(1000)
        )
    };
    let mut text = format!(
        "\n{CALLS} running calls are cut; milliseconds to the last byte at the client\n\n\
         | calls | count | p50 | p99 | most |\n|---|---|---|---|---|\n"
    );
    let answer = |tail: &Tail| tail.from_answer;
    let asked = |tail: &Tail| tail.from_request;
    text += &row(
        "waiting, from the acknowledgement",
        &|tail| !tail.streams,
        &answer,
    );
    text += &row(
        "streaming, from the acknowledgement",
        &|tail| tail.streams,
        &answer,
    );
    text += &row("all, from the operator's request", &|_| true, &asked);
    text
}

/// What the switch costs a call: to register, look and go, with nothing set and with ten thousand kills of others.
fn check() -> String {
    const TIMES: u32 = 2_000_000;
    let call = call();
    let measure = |switch: &Arc<Switch>| {
        let began = Instant::now();
        for _ in 0..TIMES {
            let running = Running {
                call: Arc::clone(&call),
                session: None,
                credentials: None,
            };
            black_box(switch.admit(running).is_ok());
        }
        began.elapsed() / TIMES
    };
    let switch = Switch::new();
    let empty = measure(&switch);
    for number in 0..1000 {
        let wish = Wish {
            scope: Scope::Caller(format!("caller {number}").into()),
            tenant: None,
            reason: "bench".to_owned(),
            by: "bench".to_owned(),
            lasts: None,
        };
        if let Ok(kill) = Kill::new(wish, SystemTime::now()) {
            switch.set(kill);
        }
    }
    let full = measure(&switch);
    format!("one call's check: {empty:?} with nothing set, {full:?} with 1000 kills of others set")
}

fn call() -> Arc<Call> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let ask = match decode(body.into(), &Limits::request()) {
        Ok(Decoded::Single(message)) => Ask::Message(message),
        Ok(Decoded::Batch(_)) | Err(_) => Ask::Listen,
    };
    let proof = Proof::new(Tenant::default(), CallerKind::Machine, "bench");
    Arc::new(Call::new(
        DecisionId::new(0, 0),
        UpstreamId::new(1),
        SystemTime::now(),
        Arc::new(Caller::new(proof)),
        ServerName::parse("bench").unwrap_or_else(|| unreachable!()),
        Revision::LATEST_STATEFUL,
        ask,
    ))
}
