//! Processes of servers: counted before they start, and the one idle longest makes room.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use futures_util::future::join_all;
use keepgate_call::ServerName;
use keepgate_gateway::settings::Settings;
use keepgate_tests::{Answer, Client, TestGateway};
use serde_json::json;

const CHILD: &str = env!("CARGO_BIN_EXE_keepgate-fake-child");

/// So many processes of the server, and of each caller.
fn places(server: usize, caller: usize) -> impl FnOnce(&mut Settings) {
    move |settings| {
        let many = |number| NonZeroUsize::new(number).expect("not zero");
        settings.limits.processes.server = many(server);
        settings.limits.processes.caller = many(caller);
    }
}

fn bearer(gateway: &TestGateway, subject: &str) -> Client {
    let key = gateway.key(subject, &[]);
    Client::new(gateway.addr).header("authorization", &format!("Bearer {key}"))
}

async fn pid(client: &Client) -> String {
    let answer = client.call("pid", json!({})).await;
    text(&answer)
}

fn text(answer: &Answer) -> String {
    answer.json()["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer:?}"))
        .to_owned()
}

fn runs(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waiting = tokio::time::timeout(Duration::from_secs(20), waiting);
    waiting.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_started_at_once_exactly_the_limit_starts() {
    for (limit, server, caller) in [
        ("limits.processes.server", 2, 60),
        ("limits.processes.caller", 60, 2),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let started = directory.path().join("started");
        // It never answers, so every process that started is in use.
        let script = format!("echo x >> {}; exec cat >/dev/null", started.display());
        let gateway = TestGateway::child("/bin/sh", &["-c", &script], false)
            .with(places(server, caller))
            .timeouts(|timeouts| timeouts.request = Duration::from_secs(3))
            .start()
            .await;
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {}}})
        .to_string();
        let openings = (0..60).map(|_| {
            let (client, body) = (Client::new(gateway.addr), body.clone());
            async move { client.post(body).await }
        });
        let answers = join_all(openings).await;
        let refused = answers
            .iter()
            .filter(|answer| answer.code().as_deref() == Some("process_limit"));
        for answer in refused.clone() {
            assert_eq!(answer.json()["error"]["data"]["limit"], limit);
            assert!(answer.json()["error"]["data"]["retry_after_s"].as_u64() > Some(0));
        }
        assert_eq!(refused.count(), 58, "{limit}");
        let lines = std::fs::read_to_string(&started).expect("started");
        assert_eq!(lines.lines().count(), 2, "{limit}");
        // Those that never answered are gone, and with them their places.
        let processes = &gateway.gateway.shared().processes;
        until("the places are given back", || processes.all().is_empty()).await;
    }
}

#[tokio::test]
async fn the_process_idle_longest_makes_room_and_one_in_use_never() {
    // What keeps the first of two sessions' processes in use, and which of them then goes.
    for (holds, goes) in [("nothing", 0), ("call", 1), ("stream", 1)] {
        let gateway = TestGateway::child(CHILD, &[], false)
            .with(places(2, 9))
            .start()
            .await;
        let client = Client::new(gateway.addr);
        let mut sessions = Vec::new();
        let mut pids = Vec::new();
        for _ in 0..2 {
            let session = client.initialize("2025-11-25").await;
            pids.push(pid(&session).await);
            sessions.push(session);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        let held = sessions[0].clone();
        let holding = match holds {
            "call" => Some(tokio::spawn(async move {
                held.call("hang", json!({})).await;
            })),
            "stream" => Some(tokio::spawn(async move {
                let _stream = held.open("GET", "").await;
                std::future::pending::<()>().await;
            })),
            _ => None,
        };
        if holding.is_some() {
            let processes = &gateway.gateway.shared().processes;
            let busy = || processes.all().iter().any(|one| one.idle.is_none());
            until("one in use", busy).await;
        }
        let third = client.initialize("2025-11-25").await;
        assert!(runs(&pid(&third).await));
        assert!(!runs(&pids[goes]), "{holds}: it still runs");
        assert!(runs(&pids[1 - goes]), "{holds}: the wrong one has gone");
        // The process was the session: the client begins again.
        let gone = sessions[goes].call("pid", json!({})).await;
        assert_eq!(gone.status, 404, "{holds}");
        assert!(gateway.gateway.shared().processes.all().len() <= 2);
        if let Some(holding) = holding {
            holding.abort();
        }
    }
}

#[tokio::test]
async fn a_caller_without_sessions_gets_a_new_process_at_once() {
    let gateway = TestGateway::child(CHILD, &[], false)
        .keys()
        .with(places(1, 1))
        .start()
        .await;
    let (alice, bob) = (bearer(&gateway, "alice"), bearer(&gateway, "bob"));
    let mut known = std::collections::HashSet::new();
    for _ in 0..3 {
        for client in [&alice, &bob] {
            let pid = text(&client.call_modern("pid", json!({})).await);
            assert!(known.insert(pid), "a process that had to make room");
        }
    }
    assert_eq!(gateway.gateway.shared().processes.all().len(), 1);
}

#[tokio::test]
async fn a_caller_at_its_limit_makes_room_among_its_own() {
    let gateway = TestGateway::child(CHILD, &[], false)
        .keys()
        .with(places(9, 2))
        .start()
        .await;
    let bob = bearer(&gateway, "bob").initialize("2025-11-25").await;
    let of_bob = pid(&bob).await;
    let alice = bearer(&gateway, "alice");
    for _ in 0..5 {
        let session = alice.initialize("2025-11-25").await;
        pid(&session).await;
    }
    assert!(runs(&of_bob), "another's process paid for it");
    assert_eq!(pid(&bob).await, of_bob);
    assert_eq!(gateway.gateway.shared().processes.all().len(), 3);
}

#[tokio::test]
async fn a_program_that_does_not_start_gives_its_place_back() {
    let gateway = TestGateway::child("/nonexistent/server", &[], false)
        .with(places(1, 1))
        .with(|settings| settings.limits.breaker = None)
        .start()
        .await;
    for _ in 0..3 {
        let answer = Client::new(gateway.addr)
            .call_modern("pid", json!({}))
            .await;
        assert_ne!(
            answer.code().as_deref(),
            Some("process_limit"),
            "{answer:?}"
        );
    }
    assert!(gateway.gateway.shared().processes.all().is_empty());
}

#[tokio::test]
async fn only_a_server_with_a_timer_ends_idle_processes() {
    let name = ServerName::parse("up").expect("a name");
    let gateway = TestGateway::child(CHILD, &[], false).start().await;
    let client = Client::new(gateway.addr);
    let session = client.initialize("2025-11-25").await;
    let own = pid(&session).await;
    let processes = &gateway.gateway.shared().processes;
    processes.expire(&name, Duration::from_secs(3600));
    assert_eq!(pid(&session).await, own);
    processes.expire(&name, Duration::ZERO);
    until("it ends", || processes.all().is_empty()).await;
    assert!(!runs(&own));
}

#[tokio::test]
async fn processes_of_before_a_reload_count_after_it() {
    let mut settings = None;
    let gateway = TestGateway::child(CHILD, &[], false)
        .with(places(1, 9))
        .with(|all| settings = Some(all.clone()))
        .start()
        .await;
    let client = Client::new(gateway.addr);
    let session = client.initialize("2025-11-25").await;
    let own = pid(&session).await;
    let mut settings = settings.expect("settings");
    settings.limits.body += 1;
    gateway.gateway.reload(&settings).expect("a reload");
    let second = client.initialize("2025-11-25").await;
    assert!(runs(&pid(&second).await) && !runs(&own));
    assert_eq!(gateway.gateway.shared().processes.all().len(), 1);
}
