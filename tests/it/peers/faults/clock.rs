//! The wall clock is set while the gateway runs, and while it does not: nothing that had expired becomes valid again.

use keepgate_tests::Client;
use serde_json::json;

use super::super::gate::{Gate, Home, of_kind};
use super::super::process::until;
use super::Shim;

const HOUR: i64 = 3_600;

/// Status of a request with this key.
async fn status(gate: &Gate, key: &str) -> u16 {
    let client = gate.client("up");
    let client = client.header("authorization", &format!("Bearer {key}"));
    let (client, message) = (client, json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}));
    client.post(message.to_string()).await.status
}

/// The answer of `/readyz`.
async fn readiness(gate: &Gate) -> String {
    let answer = Client::new(gate.admin)
        .path("/readyz")
        .send("GET", "")
        .await;
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// A key that lasts two hours.
async fn key(home: &Home) -> String {
    let words = ["keys", "create", "--subject", "a", "--expires", "2h"];
    let made = home.keepgate(&words).await.json();
    made["key"].as_str().expect("a key").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_expired_becomes_valid_when_the_clock_goes_back() {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let key = key(&home).await;
    let mut gate = home.serve_with(&[(name, &library)]).await;
    let known = status(&gate, &key).await;
    assert_ne!(known, 401, "the key is valid");
    // Half way, and over the end.
    shim.set_clock(HOUR);
    gate.says("the clock has jumped", 1).await;
    assert_eq!(status(&gate, &key).await, known);
    assert!(!readiness(&gate).await.contains("clock"));
    shim.set_clock(3 * HOUR);
    assert_eq!(status(&gate, &key).await, 401);
    // Without waiting for anybody to notice, and after it was noticed.
    shim.set_clock(0);
    assert_eq!(status(&gate, &key).await, 401);
    gate.says("the clock has jumped", 2).await;
    until("readiness", async || {
        readiness(&gate).await.contains("clock: BEHIND")
    })
    .await;
    assert_eq!(status(&gate, &key).await, 401);
    let shown = gate.metrics().await;
    let counted = "keepgate_clock_jumps_total{keepgate_direction=\"back\"} 1";
    assert!(shown.contains(counted), "{shown}");
    assert!(shown.contains("keepgate_clock_behind_seconds"), "{shown}");
    let gate = gate.end_keeping().await;
    let home = gate.home;
    let records = home.records().await;
    let jumps = of_kind(&records, "clock.jumped");
    assert!(jumps.len() >= 2, "{jumps:?}");
    let last = jumps.last().expect("a jump");
    let by = last["reasons"][0]["message"].as_str().expect("seconds");
    assert!(by.starts_with('-'), "{last}");
    // Over a restart too, until an operator declares that time wrong.
    let gate = home.serve().await;
    assert_eq!(gate.said("the clock is behind the last time"), 1);
    assert!(readiness(&gate).await.contains("clock: BEHIND"));
    assert_eq!(status(&gate, &key).await, 401);
    let home = gate.end_keeping().await.home;
    std::fs::remove_file(home.path("state/clock")).expect("removed");
    let gate = home.serve().await;
    assert_eq!(status(&gate, &key).await, known);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_whose_time_was_over_does_not_begin_again() {
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let mut gate = home.serve_with(&[(name, &library)]).await;
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token").display().to_string();
    let killed = async |gate: &Gate| {
        let answer = gate.client("up").call_modern("echo", json!({})).await;
        answer.code().as_deref() == Some("killed")
    };
    let words = [
        "kill",
        "set",
        "server",
        "up",
        "--reason",
        "why",
        "--expires",
        "2s",
    ];
    let words = [&words[..], &["--url", &url, "--token-file", &token]].concat();
    assert_eq!(gate.home.keepgate(&words).await.code, Some(0));
    assert!(killed(&gate).await);
    gate.says("kill is over", 1).await;
    assert!(!killed(&gate).await);
    let home = gate.end_keeping().await.home;
    shim.set_clock(-HOUR);
    let gate = home.serve_with(&[(name, &library)]).await;
    assert!(!killed(&gate).await, "it cuts off again");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_before_the_last_record_is_reported() {
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let gate = home.serve_with(&[(name, &library)]).await;
    let home = gate.end_keeping().await.home;
    shim.set_clock(-2 * HOUR);
    for is_kept in [true, false] {
        if !is_kept {
            std::fs::remove_file(home.path("state/clock")).expect("removed");
        }
        let mut gate = home.start(&[(name, &library)]);
        let line = "the clock is behind the last time";
        gate.says(line, |said| said.contains(line).then_some(()))
            .await;
        gate.signal(nix::sys::signal::Signal::SIGKILL);
        gate.ended(std::time::Duration::from_secs(30)).await;
    }
}
