//! The last moment of an approved call: whoever takes the approval back before anything has left stops it, over every way to a
//! server; whoever comes later learns that it was sent; and a call that never left gives its use back.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use keepgate_tests::{Answer, Client, FakeServer, Say, SseServer, upstream, upstream::said};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

use super::super::{
    approvals::{self, People, agent, decide, keepgate, ran, waits},
    gate::Gate,
    process::until,
};
use super::sent;

/// State of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Tunnels are made.
    Open,
    /// They are asked for, and not made yet.
    Waiting,
    /// They are refused.
    Closed,
}

/// A proxy whose tunnels all lead to one address, and are made when the test lets them.
struct Tunnels {
    url: String,
    mood: watch::Sender<Mood>,
    asked: watch::Receiver<usize>,
    cut: Arc<Notify>,
}

impl Tunnels {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (mood, moods) = watch::channel(Mood::Open);
        let (count, asked) = watch::channel(0);
        let cut = Arc::new(Notify::new());
        let ends = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let (moods, ends) = (moods.clone(), Arc::clone(&ends));
                tokio::spawn(async move {
                    tokio::select! {
                        _done = tunnel(stream, server, moods) => {}
                        () = ends.notified() => {}
                    }
                });
            }
        });
        Self {
            url,
            mood,
            asked,
            cut,
        }
    }

    /// Ends all tunnels, so that the next call needs another.
    fn end(&self) {
        self.cut.notify_waiters();
    }

    /// Waits until another tunnel is asked for.
    async fn asks(&mut self) {
        let asked = tokio::time::timeout(Duration::from_secs(30), self.asked.changed());
        asked.await.expect("a connection").expect("a proxy");
    }
}

async fn tunnel(
    mut stream: TcpStream,
    server: SocketAddr,
    mut moods: watch::Receiver<Mood>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let mood = moods.wait_for(|mood| *mood != Mood::Waiting).await;
    if mood.is_ok_and(|mood| *mood == Mood::Closed) {
        return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut onward = TcpStream::connect(server).await?;
    copy_bidirectional(&mut stream, &mut onward).await?;
    Ok(())
}

/// A gateway that reaches its server through a proxy of the test.
async fn behind(server: &FakeServer) -> (Gate, People, Tunnels) {
    let tunnels = Tunnels::to(server.addr).await;
    let (gate, people) = approvals::holding_with(server, json!("off"), |it| {
        it["egress"] = json!({"proxy": tunnels.url});
        it["servers"]["up"] = json!({"url": format!("http://up.test:{}/mcp", server.addr.port())});
    })
    .await;
    (gate, people, tunnels)
}

/// Asks for a call, and has it approved.
async fn approved(gate: &Gate, people: &People, client: &Client, number: u64) -> String {
    let id = waits(&call(client, number).await);
    let done = decide(gate, &people.ann, "approve", &id).await;
    assert_eq!(done.json()["state"], "approved", "{}", done.stderr);
    id
}

async fn call(client: &Client, number: u64) -> Answer {
    client.call_modern("delete", json!({"id": number})).await
}

async fn state(gate: &Gate, people: &People, id: &str) -> Value {
    let shown = keepgate(gate, &people.ann, &["approvals", "show", id]).await;
    shown.json()["state"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_before_it_left_never_reaches_the_server() {
    let server = approvals::server().await;
    let (gate, people, mut tunnels) = behind(&server).await;
    let client = agent(&gate, &people.key);
    let id = approved(&gate, &people, &client, 1).await;
    tunnels.end();
    tunnels.mood.send_replace(Mood::Waiting);
    tunnels.asked.mark_unchanged();
    let running = tokio::spawn({
        let client = client.clone();
        async move { call(&client, 1).await }
    });
    tunnels.asks().await;
    assert_eq!(state(&gate, &people, &id).await, "consumed");
    let words = ["grants", "revoke", &id, "--reason", "too early"];
    let done = keepgate(&gate, &people.ann, &words).await;
    assert_eq!(done.json()["state"], "revoked", "{}", done.stderr);
    tunnels.mood.send_replace(Mood::Open);
    let answer = running.await.expect("a task");
    assert_eq!(
        answer.code().as_deref(),
        Some("approval_ended"),
        "{answer:?}"
    );
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("it was withdrawn"), "{text}");
    assert_eq!(sent(&server), 0);
    assert_eq!(state(&gate, &people, &id).await, "revoked");
    // The next one asks a person.
    assert_ne!(waits(&call(&client, 1).await), id);
    let records = gate.end().await;
    let ended = super::super::gate::of_kind(&records, "approval.ended");
    assert_eq!(ended[0]["approval"], *id, "{ended:?}");
    assert_eq!(ended[0]["reasons"][0]["code"], "operator", "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_connection_took_gives_its_use_back() {
    let server = approvals::server().await;
    let (gate, people, tunnels) = behind(&server).await;
    let client = agent(&gate, &people.key);
    let id = approved(&gate, &people, &client, 1).await;
    tunnels.end();
    tunnels.mood.send_replace(Mood::Closed);
    let answer = call(&client, 1).await;
    assert_eq!(
        answer.code().as_deref(),
        Some("upstream_unreachable"),
        "{answer:?}"
    );
    until("the use to come back", async || {
        state(&gate, &people, &id).await == "approved"
    })
    .await;
    tunnels.mood.send_replace(Mood::Open);
    assert!(ran(&call(&client, 1).await), "nobody was asked again");
    assert_eq!(sent(&server), 1);
    assert_ne!(waits(&call(&client, 1).await), id, "it is used up");
    gate.end().await;
}

/// A server on standard streams whose tool ends when the file it is given is there.
const CHILD: &str = r#"
import json, os, sys, time
for line in sys.stdin:
    call = json.loads(line)
    if "id" not in call: continue
    method, result = call["method"], {"resultType": "complete"}
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "a", "version": "1"}}
    elif method == "tools/list":
        result.update(ttlMs=0, cacheScope="private", tools=[{"name": "delete", "inputSchema": {"type": "object"}}])
    elif method == "tools/call":
        open(sys.argv[1] + ".begun", "w").close()
        while not os.path.exists(sys.argv[1]): time.sleep(0.02)
        result["content"] = [{"type": "text", "text": "did delete"}]
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": result}), flush=True)
"#;

/// Whether the server has the call.
type Begun = Box<dyn Fn() -> bool + Send>;
/// Lets the server answer.
type Answers = Box<dyn FnOnce() + Send>;

/// A way to a server whose tool takes until the test lets it end.
async fn slow(kind: &str, folder: &std::path::Path) -> (Value, Begun, Answers) {
    let may_answer = upstream::Gate::default();
    let (inner, answers) = (may_answer.clone(), Box::new(move || may_answer.open()));
    let has = |server: FakeServer| -> Begun { Box::new(move || sent(&server) > 0) };
    match kind {
        "http" => {
            let server = FakeServer::with_tools(move |heard| {
                let answer = Say::json(&said(&heard.json()["id"], "did delete"));
                [vec![Say::Until(inner.clone())], answer].concat()
            })
            .await;
            (json!({"url": server.url()}), has(server), answers)
        }
        "sse" => {
            let server = SseServer::start(move |heard, streams| {
                if heard.method() != "tools/call" {
                    return None;
                }
                let (heard, streams, inner) = (heard.clone(), streams.clone(), inner.clone());
                tokio::spawn(async move {
                    inner.passed().await;
                    streams.send(&heard, &said(&heard.json()["id"], "did delete"));
                });
                Some(Say::http("202 Accepted", "text/plain", "Accepted"))
            })
            .await;
            (
                json!({"sse": server.url()}),
                has((*server).clone()),
                answers,
            )
        }
        _ => {
            let file = folder.join("go");
            let begun = folder.join("go.begun");
            let command = json!(["python3", "-c", CHILD, file]);
            let answers = Box::new(move || std::fs::write(file, "").expect("a file"));
            let begun = Box::new(move || begun.exists());
            (json!({"command": command}), begun, answers)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_too_late_learns_that_the_call_was_sent() {
    for (kind, session) in [
        ("http", None),
        ("http", Some("2025-11-25")),
        ("sse", Some("2024-11-05")),
        ("child", None),
        ("child", Some("2025-11-25")),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (server, begun, answers) = slow(kind, folder.path()).await;
        let none = approvals::server().await;
        let (gate, people) = approvals::holding_with(&none, json!("off"), |it| {
            it["servers"]["up"] = server;
        })
        .await;
        let mut client = agent(&gate, &people.key);
        if let Some(revision) = session {
            client = client.initialize(revision).await;
        }
        let call = async |client: &Client| match session {
            Some(_) => client.call("delete", json!({"id": 1})).await,
            None => client.call_modern("delete", json!({"id": 1})).await,
        };
        let what = format!("{kind} {session:?}");
        let id = waits(&call(&client).await);
        let done = decide(&gate, &people.ann, "approve", &id).await;
        assert_eq!(done.json()["state"], "approved", "{what}: {}", done.stderr);
        let words = ["grants", "revoke", &id, "--reason", "too late"];
        let revoked = async {
            until("the server to have the call", async || begun()).await;
            let revoked = keepgate(&gate, &people.ann, &words).await;
            answers();
            revoked
        };
        let (answer, revoked) = tokio::join!(call(&client), revoked);
        assert_ne!(revoked.code, Some(0), "{what}: {}", revoked.stdout);
        let message = "its call was sent to the server already";
        assert!(
            revoked.stderr.contains(message),
            "{what}: {}",
            revoked.stderr
        );
        assert!(ran(&answer), "{what}: {answer:?}");
        assert_eq!(state(&gate, &people, &id).await, "consumed", "{what}");
        gate.end().await;
    }
}
