//! Overload: slow peers, too many calls, and messages too large to be held all at once.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use keepgate_tests::{Client, FakeServer, Gate as Door, Say, installed, upstream::said};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::gate::{Gate, Home};
use super::operations::server;
use super::process::{PATIENCE, Running, command, until};

const MIB: usize = 1024 * 1024;

/// The most memory the gateway has taken since it started, in bytes.
fn peak(gate: &Gate) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gate.process.pid()));
    let status = status.expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a line");
    let kib: usize = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib * 1024
}

/// The ways of `slowhttptest` to be slow that are tried, each with the verb it needs: in the head, in the body, in reading.
const MODES: [(&str, &str); 3] = [("-H", "GET"), ("-B", "POST"), ("-X", "POST")];

/// A `slowhttptest` that opens connections to the URL and is slow on them.
fn attack(slowhttptest: &Path, mode: &str, verb: &str, url: &str) -> Running {
    const CONNECTIONS: &str = "150";
    let seconds = if mode == "-X" { "8" } else { "40" };
    let media = "application/json";
    let both = "application/json, text/event-stream";
    let words = [
        [mode, "-c", CONNECTIONS, "-r", "150", "-i", "1"],
        ["-l", seconds, "-p", "5", "-s", "8192", "-u"],
        [url, "-t", verb, "-f", media, "-m", both],
    ];
    let command = command(slowhttptest, words.as_flattened());
    Running::start(&format!("slowhttptest {mode}"), command)
}

/// `slowhttptest` in its three modes at once; Debian's package of that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_peers_lose_their_connections_and_nobody_else_notices() {
    let Some(slowhttptest) = installed("slowhttptest") else {
        return;
    };
    let server = server(&Door::default()).await;
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| it["limits"] = json!({"header_timeout": "2s", "read_deadline": "3s"}))
        .serve()
        .await;
    let url = gate.url("up");
    let mut attacks = MODES.map(|(mode, verb)| attack(&slowhttptest, mode, verb, &url));
    let client = gate.client("up").initialize("2025-11-25").await;
    for attack in &mut attacks {
        attack
            .says("connections", |said| {
                said.contains("slow HTTP test status").then_some(())
            })
            .await;
        assert_eq!(client.call("echo", json!({})).await.status, 200);
    }
    for ((mode, _), attack) in MODES.into_iter().zip(attacks) {
        let said = attack.finished(PATIENCE).await.stdout;
        assert!(!said.contains("service available:   NO"), "{mode}: {said}");
        // What is answered to the slow reader fits into the kernel's buffers: its connections rest, and cost nothing.
        let left = said.contains("No open connections left");
        assert!(left || mode == "-X", "{mode}: {said}");
    }
    assert_eq!(client.call("echo", json!({})).await.status, 200);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_too_much_is_shed_at_once() {
    const ROOM: usize = 8;
    let door = Door::default();
    let server = server(&door).await;
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| it["limits"] = json!({"in_flight": ROOM}))
        .serve()
        .await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let running: Vec<_> = (0..ROOM)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call("delete", json!({})).await })
        })
        .collect();
    until("all places to be taken", async || {
        server.heard_of("tools/call").len() == ROOM
    })
    .await;
    // While they run, nine times as many are told to come back, and none of them is read.
    let shed = join_all((0..9 * ROOM).map(|_| client.call("delete", json!({})))).await;
    for answer in shed {
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (503, Some("overloaded"))
        );
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(server.heard_of("tools/call").len(), ROOM);
    door.open();
    for call in running {
        assert_eq!(call.await.expect("an answer").status, 200);
    }
    gate.end().await;
}

/// Connections that never send a byte.
async fn silent(gate: &Gate, count: usize) -> Vec<TcpStream> {
    let connected = join_all((0..count).map(|_| TcpStream::connect(gate.addr))).await;
    let connected: Result<Vec<_>, _> = connected.into_iter().collect();
    connected.expect("connections")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_stop_neither_calls_nor_operators_nor_kills() {
    const DESCRIPTORS: usize = 512;
    let server = server(&Door::default()).await;
    let gate = Home::new()
        .url("up", &server.url())
        .descriptors(DESCRIPTORS)
        .serve()
        .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.process.pid()));
    let limits = limits.expect("limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words[3..5], ["512", "512"], "the soft limit is raised");

    let client = gate.client("up").initialize("2025-11-25").await;
    let held = silent(&gate, DESCRIPTORS).await;
    for _ in 0..3 {
        assert_eq!(client.call("echo", json!({})).await.status, 200);
    }
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token");
    let token = token.to_str().expect("a path");
    let words = ["kill", "set", "everything", "--reason", "x", "--url", &url];
    let set = gate
        .home
        .keepgate(&[&words[..], &["--token-file", token]].concat())
        .await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let set = set.json();
    assert_eq!(
        set["stored"],
        json!({"file": true, "database": true}),
        "{set}"
    );
    // The kill has ended the session; a call without one is refused by name.
    let refused = gate.client("up").call_modern("echo", json!({})).await;
    assert_eq!(refused.code().as_deref(), Some("killed"));
    let open = std::fs::read_dir(format!("/proc/{}/fd", gate.process.pid()));
    let open = open.expect("descriptors").count();
    assert!(
        open < DESCRIPTORS - 128,
        "{open} descriptors, a reserve is left"
    );
    drop(held);
    gate.end().await;
}

/// Sends requests of 1 MiB whose last byte does not come, one after the other, and gives how many were refused.
async fn refused_of_unfinished(gate: &Gate, count: usize) -> usize {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(gate.addr).await.expect("a connection");
        let head = format!(
            "POST /up/mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {MIB}\r\n\r\n",
            gate.addr
        );
        stream.write_all(head.as_bytes()).await.expect("a head");
        // A gateway that refuses hangs up in the middle of this.
        let body = vec![b' '; MIB - 1];
        let sent = tokio::time::timeout(PATIENCE, stream.write_all(&body)).await;
        held.push((stream, matches!(sent, Ok(Ok(())))));
    }
    let mut refused = 0;
    for (stream, _) in &mut held {
        let mut status = [0; 12];
        let read = stream.read_exact(&mut status);
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(20), read).await {
            refused += usize::from(&status == b"HTTP/1.1 503");
        } else {
            refused += usize::from(stream.peek(&mut status).await.is_err());
        }
    }
    refused
}

/// Asks for answers of 7 MiB at once, reads none of them, and gives how many came whole.
async fn whole_of_unread(client: &Client, count: usize) -> usize {
    let body = || {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "delete", "arguments": {}}}).to_string()
    };
    let unread = join_all((0..count).map(|_| client.open("POST", body()))).await;
    let whole = unread.iter().filter(|answer| {
        answer
            .headers()
            .get("content-length")
            .is_some_and(|length| length.len() >= 7)
    });
    whole.count()
}

/// The bound that `docs/operations.md` states: what an idle gateway takes, twice `limits.memory` (a buffer that grows
/// stands twice for a moment, where its length is not announced), and 256 KiB of connection buffers for each call that may run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_under_its_bound() {
    const MEMORY: usize = 24 * MIB;
    const ROOM: usize = 64;
    let large = "x".repeat(7 * MIB);
    let server = FakeServer::with_tools(move |heard| {
        let call = heard.json();
        match call["params"]["name"].as_str() {
            Some("delete") => Say::json(&said(&call["id"], &large)),
            _ => Say::json(&said(&call["id"], "done")),
        }
    })
    .await;
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| it["limits"] = json!({"memory": "24MiB", "in_flight": ROOM}))
        .serve()
        .await;
    let client = gate.client("up").initialize("2025-11-25").await;
    assert_eq!(client.call("echo", json!({})).await.status, 200);
    let bound = peak(&gate) + 2 * MEMORY + ROOM * 256 * 1024;

    // 120 MiB, if they were held.
    let refused = refused_of_unfinished(&gate, 120).await;
    assert!(refused >= 90, "{refused} of 120 were refused");

    // 280 MiB, if they were held.
    let whole = whole_of_unread(&client, 40).await;
    let taken = peak(&gate);
    assert!(
        taken <= bound,
        "{taken} bytes were taken, {bound} is the bound"
    );
    assert!((1..40).contains(&whole), "{whole} answers were held");
    // All of it is given back.
    until("the memory to be free", async || {
        let answer = client.call("delete", json!({})).await;
        answer.json()["result"]["isError"].is_null()
    })
    .await;
    eprintln!(
        "peak {} KiB, bound {} KiB, {whole} of 40 answers held",
        taken / 1024,
        bound / 1024
    );
    gate.end().await;
}
