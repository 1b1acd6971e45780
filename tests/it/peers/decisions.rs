//! The decision log, taken by a receiver that is not ours, explained by id and replayed.

use keepgate_tests::{FakeServer, Gate as Door};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::operations::server;
use super::process::{PATIENCE, Running, command, peer, until};

/// `echo` for everybody, but not of everything.
const RULES: &str = r#"package mcp.authz

allow contains "echo" if input.tool.name == "echo"

# METADATA
# title: Nothing loud
deny contains {"code": "too_loud", "message": "no shouting"} if {
	input.tool.name == "echo"
	upper(input.arguments.text) == input.arguments.text
}
"#;
/// The token of the receiver.
const TOKEN: &str = "decision-log-canary";

/// The receiver and its port.
async fn receiver() -> (Running, u64) {
    let script = peer("decision_log.py").display().to_string();
    let mut receiver = Running::start("decision_log.py", command("python3", &[&*script, TOKEN]));
    let port = |said: &str| {
        let first: Value = serde_json::from_str(said.lines().next()?).ok()?;
        first["port"].as_u64()
    };
    let port = receiver.says("a port", port).await;
    (receiver, port)
}

/// The events in a text of lines.
fn events(text: &str) -> Vec<Value> {
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|event: &Value| event["decision_id"].is_string())
        .collect()
}

fn logged(gate: &Gate) -> Vec<Value> {
    let log = gate.home.path("state/decisions.jsonl");
    events(&std::fs::read_to_string(log).unwrap_or_default())
}

fn home(server: &FakeServer, decisions: Value) -> Home {
    let home = Home::new().url("up", &server.url());
    home.policy(RULES);
    home.env("LOG_TOKEN", TOKEN)
        .with(|it| it["decisions"] = decisions)
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_logged_sent_explained_and_replayed() {
    let server = server(&Door::default()).await;
    let (receiver, port) = receiver().await;
    let home = home(
        &server,
        json!({
            "content": true,
            "file": {"max_size": "1MiB"},
            "upload": {"url": format!("http://127.0.0.1:{port}/opa"), "token": "env:LOG_TOKEN", "interval": "50ms"},
        }),
    );
    let gate = home.serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let calm = client
        .call("echo", json!({"text": "hello", "password": "hunter2"}))
        .await;
    assert_eq!(
        calm.json()["result"]["content"][0]["text"],
        "done",
        "{calm:?}"
    );
    let loud = client.call("echo", json!({"text": "HELLO"})).await.json();
    let refusal = &loud["result"]["_meta"]["dev.keepgate/refusal"];
    let id = refusal["decision_id"]
        .as_str()
        .expect("a decision")
        .to_owned();

    until("both events in the file", async || logged(&gate).len() >= 2).await;
    until("both events at the receiver", async || {
        events(&receiver.stdout()).len() >= 2
    })
    .await;
    let file = gate.home.path("state/decisions.jsonl");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&file).expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let sent = events(&receiver.stdout());
    assert_eq!(sent, logged(&gate));
    let denied = sent
        .iter()
        .find(|event| event["decision_id"] == *id)
        .expect("the denial");
    assert_eq!(denied["result"]["effect"], "deny");
    assert_eq!(denied["result"]["reasons"][0]["code"], "too_loud");
    assert_eq!(denied["input"]["arguments"]["text"], "HELLO");
    let allowed = sent
        .iter()
        .find(|event| event["result"]["effect"] == "allow")
        .expect("the call");
    assert_eq!(allowed["input"]["arguments"]["password"], "[masked]");
    let metrics = gate.metrics().await;
    for line in [
        "keepgate_decision_log_events_total{keepgate_result=\"whole\"} 2",
        "keepgate_decision_log_uploaded_total 2",
        "keepgate_decision_log_upload_failures_total 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    explained_and_replayed(&gate, &id).await;
    gate.end().await;
}

async fn explained_and_replayed(gate: &Gate, id: &str) {
    let told = gate.home.keepgate(&["policy", "explain", id]).await.json();
    let summary = told["summary"].as_str().expect("a summary");
    assert!(
        summary.starts_with("Denied: no shouting (too_loud), at "),
        "{summary}"
    );
    assert_eq!(told["recorded"]["notes"], json!([]), "{told}");
    let rules = told["layers"][0]["rules"].as_array().expect("rules");
    let held: Vec<&Value> = rules
        .iter()
        .filter(|rule| rule["outcome"] == "held")
        .collect();
    assert_eq!(held[0]["title"], "Nothing loud", "{told}");

    for (name, rules, code) in [
        ("same", RULES.to_owned(), 0),
        (
            "wider",
            RULES.replace("upper(input.arguments.text)", "\"nothing\""),
            15,
        ),
        (
            "narrower",
            format!("{RULES}\ndeny contains \"closed\" if input.tool.name == \"echo\"\n"),
            16,
        ),
        (
            "unsure",
            format!("{RULES}\ndeny contains \"pw\" if input.arguments.password == \"1\"\n"),
            17,
        ),
    ] {
        let folder = gate.home.path(name);
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("rules.rego"), rules).expect("a file");
        let folder = folder.display().to_string();
        let done = gate.home.keepgate(&["policy", "replay", &folder]).await;
        assert_eq!(
            done.code,
            Some(code),
            "{name}: {}\n{}",
            done.stdout,
            done.stderr
        );
        assert_eq!(done.json()["total"], 2, "{}", done.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_holds_up_no_call_and_what_is_dropped_is_counted() {
    let server = server(&Door::default()).await;
    let (mut receiver, port) = receiver().await;
    receiver.signal(Signal::SIGKILL);
    receiver.ended(PATIENCE).await;
    let home = home(
        &server,
        json!({
            "buffer": "16KiB",
            "upload": {"url": format!("http://127.0.0.1:{port}/opa"), "token": "env:LOG_TOKEN", "interval": "50ms"},
        }),
    );
    let gate = home.serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let text = "a".repeat(2_000);
    for _ in 0..60 {
        let answer = client.call("echo", json!({"text": text})).await;
        assert_eq!(
            answer.json()["result"]["content"][0]["text"],
            "done",
            "{answer:?}"
        );
    }
    let lost = async || {
        let metrics = gate.metrics().await;
        let counted = |reason: &str| {
            let start =
                format!("keepgate_decision_log_dropped_total{{keepgate_reason=\"{reason}\"}} ");
            let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
            value
                .and_then(|value| value.parse::<f64>().ok())
                .unwrap_or_default()
        };
        counted("buffer_full") + counted("queue_full") > 0.0
    };
    until("decisions to be dropped", lost).await;
    let records = gate.end().await;
    let ended = records
        .iter()
        .filter(|record| record["kind"] == "call.outcome");
    assert!(ended.count() >= 60);
}
