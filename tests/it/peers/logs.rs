//! The log of the program when nobody reads it.

use keepgate_tests::{FakeServer, Say, upstream::said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::process::{PATIENCE, until};

/// The value of a metric without labels.
async fn metric(gate: &Gate, name: &str) -> f64 {
    let metrics = gate.metrics().await;
    let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let value = values.next().expect("the metric");
    value.trim().parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_a_server_that_is_down_are_counted_not_written_one_by_one() {
    const CALLS: usize = 300;
    let home = Home::new().url("up", "http://127.0.0.1:9/mcp");
    let gate = home.serve().await;
    for call in 0..CALLS {
        let client = gate.client("up");
        let refused = client.call_modern(&format!("tool-{call}"), json!({})).await;
        assert!(refused.code().is_some(), "{refused:?}");
    }
    let counted = metric(&gate, "keepgate_log_counted_lines_total").await;
    assert!(counted > 0.0, "every line was written");
    let gate = gate.end_keeping().await;
    let log = gate.process.stderr();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let warnings = lines.iter().filter(|line| line["level"] == "WARN");
    assert!(warnings.count() < 20, "{log}");
    // None is lost at the end.
    let counts = lines.iter().filter_map(|line| line["count"].as_f64());
    assert!(counts.sum::<f64>() >= counted, "{log}");
    assert!(!log.contains("\"cause\":\"\""), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_holds_up_neither_calls_nor_operators() {
    const DROPPED: &str = "keepgate_log_dropped_lines_total";
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "hello"))).await;
    let home = Home::new().url("up", &server.url()).piped();
    let home = home.with(|it| it["log"]["level"] = json!("debug"));
    let mut gate = home.serve().await;
    gate.log_reader(Signal::SIGSTOP);
    let echo = async |gate: &Gate| {
        let client = gate.client("up");
        let answer = tokio::time::timeout(PATIENCE, client.call_modern("echo", json!({})));
        answer.await.expect("an answer")
    };
    // Each is a line of 20 KB: together more than the pipe holds, and the queue.
    let long = format!("/{}", "x".repeat(20_000));
    until("lines to be dropped", async || {
        let refused = tokio::time::timeout(PATIENCE, gate.admin(&long)).await;
        assert_eq!(refused, Ok(401));
        assert_eq!(echo(&gate).await.code(), None);
        metric(&gate, DROPPED).await > 0.0
    })
    .await;
    let kill = ["kill", "set", "server", "up", "--reason", "INC-1", "--url"];
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token");
    let words = [&url, "--token-file", token.to_str().expect("text")];
    let set = gate.home.keepgate(&[&kill[..], &words].concat()).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert_eq!(echo(&gate).await.code().as_deref(), Some("killed"));
    gate.log_reader(Signal::SIGCONT);
    gate.says("log lines were dropped", 1).await;
    gate.end().await;
}
