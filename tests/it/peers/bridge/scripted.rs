//! The bridge before a scripted gateway: what it does when connections, streams and sessions end.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keepgate_tests::upstream::{behave, said};
use keepgate_tests::{FakeServer, Heard, Say};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::super::process::{PATIENCE, Running, command, program};

const SESSION: &str = "upstream-secret-session";

/// A bridge and the client's ends of its streams.
pub(in super::super) struct Bridge {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Bridge {
    fn start(server: &FakeServer, more: &[&str]) -> Self {
        Self::at(&server.url(), more)
    }

    pub(in super::super) fn at(url: &str, more: &[&str]) -> Self {
        let words = [&["stdio", url], more].concat();
        let mut child = command(program("keepgate"), &words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        let output = child.stdout.take().expect("its output");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            child,
        }
    }

    /// One with a session.
    async fn open(server: &FakeServer) -> Self {
        let mut bridge = Self::start(server, &[]);
        bridge
            .send(&request(
                0,
                "initialize",
                json!({"protocolVersion": "2025-11-25", "capabilities": {}}),
            ))
            .await;
        assert_eq!(bridge.hear().await["id"], 0);
        bridge
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        server
            .hears(|heard| heard.method() == "notifications/initialized")
            .await;
        bridge
    }

    async fn line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("an open input");
        input.write_all(line.as_bytes()).await.expect("a reader");
        input.write_all(b"\n").await.expect("a reader");
    }

    pub(in super::super) async fn send(&mut self, message: &Value) {
        self.line(&message.to_string()).await;
    }

    /// The next message, which has a line of its own.
    pub(in super::super) async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(PATIENCE, self.output.next_line()).await;
        let line = line
            .expect("a message in time")
            .expect("an output")
            .expect("a message");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Waits for its end; gives its code and standard error.
    async fn ended(mut self) -> (Option<i32>, String) {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let mut errors = String::new();
        let mut stderr = self.child.stderr.take().expect("its errors");
        stderr.read_to_string(&mut errors).await.expect("text");
        (status.expect("an end").expect("a status").code(), errors)
    }
}

pub(super) fn request(id: u64, method: &str, params: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params.into()})
}

/// A server that behaves but for what `script` has otherwise.
async fn server(script: impl Fn(&Heard) -> Option<Vec<Say>> + Send + Sync + 'static) -> FakeServer {
    FakeServer::start(move |heard| {
        let scripted = script(heard).or_else(|| behave(heard));
        scripted.unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")))
    })
    .await
}

/// An event stream that begins with an event of this id, without a message.
fn primed(id: &str) -> Vec<Say> {
    vec![Say::sse(), Say::text(&format!("id: {id}\ndata:\n\n"))]
}

/// Ways in which a call gets no answer.
fn ways() -> Vec<(&'static str, Vec<Say>)> {
    vec![
        ("closed before the head", vec![Say::Close]),
        (
            "closed within the head",
            vec![Say::text("HTTP/1.1 200 OK\r\ncontent-"), Say::Close],
        ),
        (
            "closed within the body",
            vec![
                Say::text(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
                ),
                Say::Close,
            ],
        ),
        ("a stream without an id", vec![Say::sse(), Say::Close]),
        (
            "a stream that cannot be resumed",
            [primed("one"), vec![Say::Close]].concat(),
        ),
        (
            "500",
            Say::http("500 Internal Server Error", "text/plain", ""),
        ),
        (
            "503",
            Say::http("503 Service Unavailable", "application/json", "{}"),
        ),
        ("429", Say::http("429 Too Many Requests", "text/plain", "")),
        ("401", Say::http("401 Unauthorized", "text/plain", "")),
        ("404", Say::http("404 Not Found", "text/plain", "")),
        ("202", Say::http("202 Accepted", "text/plain", "")),
        (
            "a redirect",
            Say::http("307 Temporary Redirect", "text/plain", ""),
        ),
        ("a page", Say::http("200 OK", "text/html", "<html></html>")),
        (
            "no response",
            Say::json(&json!({"jsonrpc": "2.0", "method": "notifications/x"})),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_sent_once_whatever_becomes_of_it() {
    for (way, answer) in ways() {
        let server =
            server(move |heard| (heard.method() == "tools/call").then(|| answer.clone())).await;
        let mut bridge = Bridge::open(&server).await;
        bridge
            .send(&request(7, "tools/call", json!({"name": "delete"})))
            .await;
        let answer = bridge.hear().await;
        assert_eq!(
            (&answer["id"], answer["error"]["code"].is_number()),
            (&json!(7), true),
            "{way}: {answer}"
        );
        // The session lives, or there is another.
        bridge.send(&request(8, "tools/list", json!({}))).await;
        assert!(bridge.hear().await["result"]["tools"].is_array(), "{way}");
        assert_eq!(server.heard_of("tools/call").len(), 1, "{way}");
        assert_eq!(
            server.heard_of("initialize").len(),
            if way == "404" { 2 } else { 1 },
            "{way}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_resumed_where_it_was() {
    let server = server(|heard| match (heard.verb.as_str(), heard.header("last-event-id")) {
        ("POST", _) if heard.method() == "tools/call" => Some([primed("one"), vec![Say::Close]].concat()),
        ("GET", Some("one")) => Some([primed("two"), vec![Say::event(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})), Say::Close]].concat()),
        ("GET", Some("two")) => Some(vec![Say::sse(), Say::event(&said(&json!(7), "at last")), Say::Close]),
        _ => None,
    })
    .await;
    let mut bridge = Bridge::open(&server).await;
    bridge
        .send(&request(7, "tools/call", json!({"name": "echo"})))
        .await;
    assert_eq!(bridge.hear().await["method"], "notifications/message");
    assert_eq!(
        bridge.hear().await["result"]["content"][0]["text"],
        "at last"
    );
    let resumed = server
        .hears(|heard| heard.header("last-event-id") == Some("two"))
        .await;
    assert_eq!(resumed.header("mcp-session-id"), Some(SESSION));
    assert_eq!(resumed.header("mcp-protocol-version"), Some("2025-11-25"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_gone_is_opened_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = server(move |heard| {
        let first = heard.method() == "tools/list" && seen.fetch_add(1, Ordering::SeqCst) == 0;
        first.then(|| Say::http("404 Not Found", "text/plain", ""))
    })
    .await;
    let mut bridge = Bridge::open(&server).await;
    bridge.send(&request(7, "tools/list", json!({}))).await;
    let answer = bridge.hear().await;
    assert!(
        answer["id"] == 7 && answer["result"]["tools"].is_array(),
        "{answer}"
    );
    assert_eq!(server.heard_of("initialize").len(), 2);
    assert_eq!(server.heard_of("notifications/initialized").len(), 2);
    assert_eq!(server.heard_of("tools/list").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_speak_first_and_is_answered() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = server(move |heard| {
        if heard.verb != "GET" {
            return None;
        }
        let ask = |id: &str, number: u64| {
            let ask = json!({"jsonrpc": "2.0", "id": number, "method": "ping"});
            Say::text(&format!("id: {id}\nretry: 10\ndata: {ask}\n\n"))
        };
        Some(match seen.fetch_add(1, Ordering::SeqCst) {
            0 => vec![Say::sse(), ask("a", 70), Say::Close],
            _ => vec![Say::sse(), ask("b", 71), Say::Hang],
        })
    })
    .await;
    let mut bridge = Bridge::open(&server).await;
    for id in [70, 71] {
        assert_eq!(bridge.hear().await["id"], id);
        bridge
            .send(&json!({"jsonrpc": "2.0", "id": id, "result": {}}))
            .await;
        let answer = server
            .hears(|heard| heard.verb == "POST" && heard.json()["id"] == id)
            .await;
        assert_eq!(answer.header("mcp-session-id"), Some(SESSION));
    }
    server
        .hears(|heard| heard.header("last-event-id") == Some("a"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_input_and_a_signal_end_the_session() {
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGINT)] {
        let server =
            server(|heard| (heard.verb == "GET").then(|| vec![Say::sse(), Say::Hang])).await;
        let mut bridge = Bridge::open(&server).await;
        match signal {
            None => drop(bridge.input.take()),
            Some(signal) => {
                let pid = i32::try_from(bridge.child.id().expect("a pid")).expect("a pid");
                kill(Pid::from_raw(pid), signal).expect("a signal");
            }
        }
        let (code, errors) = bridge.ended().await;
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{signal:?}");
        let ends: Vec<Heard> = server
            .heard()
            .into_iter()
            .filter(|heard| heard.verb == "DELETE")
            .collect();
        assert_eq!(ends.len(), 1, "{signal:?}");
        assert_eq!(ends[0].header("mcp-session-id"), Some(SESSION));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_due_is_given_before_the_end() {
    let server = server(|heard| {
        let wait = Say::Wait(std::time::Duration::from_millis(200));
        let answer = Say::json(&said(&heard.json()["id"], "just in time"));
        (heard.method() == "tools/call").then(|| [vec![wait], answer].concat())
    })
    .await;
    let mut bridge = Bridge::open(&server).await;
    bridge
        .send(&request(7, "tools/call", json!({"name": "echo"})))
        .await;
    drop(bridge.input.take());
    assert_eq!(bridge.hear().await["id"], 7);
    assert_eq!(bridge.ended().await.0, Some(0));
}

/// A request of the revision without sessions.
fn stateless(id: u64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "a", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        "progressToken": "mine",
    });
    request(id, method, params)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sessions_lines_repeat_the_body_and_a_cancel_hangs_up() {
    let tools = json!({"tools": [{"name": "mirrored", "inputSchema": {"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"}, "count": {"type": "integer", "x-mcp-header": "Count"}}}}]});
    let server = server(move |heard| match heard.method().as_str() {
        "tools/list" => Some(Say::json(
            &json!({"jsonrpc": "2.0", "id": heard.json()["id"], "result": tools}),
        )),
        "tools/call" if heard.json()["id"] == 8 => {
            Some(vec![Say::sse(), Say::event(&heard.progress(1)), Say::Hang])
        }
        _ => None,
    })
    .await;
    let mut bridge = Bridge::start(&server, &[]);
    // Nothing was listed before: the bridge does so itself, as the client would, and gives the client nothing of it.
    bridge
        .send(&stateless(
            7,
            "tools/call",
            json!({"name": "mirrored", "arguments": {"region": "wést", "count": 4}}),
        ))
        .await;
    assert_eq!(bridge.hear().await["id"], 7);
    let listed = &server.heard_of("tools/list")[0];
    assert_eq!(
        listed.json()["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"],
        "2026-07-28"
    );
    assert!(listed.json()["params"]["_meta"]["progressToken"].is_null());
    let call = &server.heard_of("tools/call")[0];
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "mirrored"),
        ("mcp-param-region", "=?base64?d8Opc3Q=?="),
        ("mcp-param-count", "4"),
    ] {
        assert_eq!(call.header(name), Some(value), "{}", call.head);
    }
    assert_eq!(call.header("mcp-session-id"), None);

    bridge
        .send(&stateless(8, "tools/call", json!({"name": "other"})))
        .await;
    assert_eq!(bridge.hear().await["method"], "notifications/progress");
    bridge.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}})).await;
    server.is_hung_up_on(1).await;
    assert!(server.heard_of("notifications/cancelled").is_empty());
    assert!(server.heard().iter().all(|heard| heard.verb == "POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_message_get_an_error_and_nothing_is_sent() {
    let server = server(|_heard| None).await;
    let mut bridge = Bridge::start(&server, &[]);
    for line in [
        "{",
        "7",
        "{\"jsonrpc\":\"2.0\"}",
        "{\"a\":1,\"a\":2}",
        "\u{0}",
    ] {
        bridge.line(line).await;
        let answer = bridge.hear().await;
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&Value::Null, &json!(-32700)),
            "{line}"
        );
    }
    bridge.line(&format!("\"{}\"", "x".repeat(17 << 20))).await;
    assert_eq!(bridge.hear().await["error"]["code"], -32700);
    assert!(server.heard().is_empty());
    // And what a gateway wrote over several lines is one.
    bridge.send(&request(7, "ping", json!({}))).await;
    assert_eq!(bridge.hear().await["id"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_several_lines_is_one() {
    let server = server(|heard| {
        let body = serde_json::to_string_pretty(&said(&heard.json()["id"], "a\nb")).expect("JSON");
        Some(Say::http(
            "200 OK",
            "application/json",
            &body.replace('\n', "\r\n"),
        ))
    })
    .await;
    let mut bridge = Bridge::start(&server, &[]);
    bridge.send(&request(7, "ping", json!({}))).await;
    assert_eq!(bridge.hear().await["result"]["content"][0]["text"], "a\nb");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_sent_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    keepgate_files::replace(&file, b"kg_secret_key\n").expect("a file");
    let reference = format!("file:{}", file.display());
    let server = server(|_heard| Some(Say::http("401 Unauthorized", "text/plain", ""))).await;
    let mut bridge = Bridge::start(&server, &["--key", &reference]);
    bridge.send(&request(7, "ping", json!({}))).await;
    let answer = bridge.hear().await.to_string();
    assert!(
        answer.contains("refuses the key") && !answer.contains("kg_secret_key"),
        "{answer}"
    );
    assert_eq!(
        server.heard()[0].header("authorization"),
        Some("Bearer kg_secret_key")
    );
    drop(bridge.input.take());
    let (_, errors) = bridge.ended().await;
    assert!(!errors.contains("kg_secret_key"), "{errors}");

    for (url, key) in [
        ("http://127.0.0.1:1/a/mcp", "kg_secret_key"),
        ("http://127.0.0.1:1/a/mcp", "env:KEEPGATE_NO_SUCH_VARIABLE"),
        ("http://127.0.0.1:1/a/mcp", "vault:secret/a#b"),
        ("http://gateway.example/a/mcp", reference.as_str()),
        ("ftp://127.0.0.1/a/mcp", reference.as_str()),
    ] {
        let refused = command(program("keepgate"), &["stdio", url, "--key", key]);
        let refused = Running::start("keepgate stdio", refused)
            .finished(PATIENCE)
            .await;
        assert_eq!(refused.code, Some(2), "{url} {key}: {}", refused.stderr);
        assert!(
            !refused.stderr.contains("kg_secret_key"),
            "{}",
            refused.stderr
        );
    }
}
