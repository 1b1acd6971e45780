//! Clients of the official SDKs and of rmcp, in every era they speak, through the gateway: over HTTP and in front of a
//! child process. Each goes through tools, resources, prompts, completion, progress, sampling, elicitation, cancelling,
//! listening and resuming.

use serde_json::Value;

use super::gate::{Gate, Home, of_kind};
use super::process::{PATIENCE, Running, command, peer, program, run, serve};

/// What a driver that has done its steps has passed at least: fewer means that it left out what it should have tried.
const LEAST: usize = 20;
/// The one thing a child process cannot do.
const NO_RESUME: [&str; 2] = ["--skip", "resume: a child process has no stream to resume"];

/// Runs all drivers of `ONLY_DRIVERS` against a server behind the gateway, and checks that as many reports came.
async fn drive(
    gate: &Gate,
    server: &str,
    more: &[&str],
    environment: &[(&str, &str)],
    reports: usize,
) {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().display().to_string();
    let environment: Vec<_> = environment
        .iter()
        .copied()
        .chain([("OUT", folder.as_str())])
        .collect();
    let url = gate.url(server);
    let words: Vec<_> = std::iter::once(url.as_str())
        .chain(more.iter().copied())
        .collect();
    println!("{}", run("drivers.sh", &words, &environment).await.good());
    all_passed(out.path(), reports);
}

/// Asserts that a folder has so many reports, each of work done.
pub(super) fn all_passed(folder: &std::path::Path, reports: usize) {
    let files = std::fs::read_dir(folder).expect("reports");
    let files: Vec<_> = files.map(|file| file.expect("a report").path()).collect();
    assert_eq!(files.len(), reports, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a report");
        passed(&file.display().to_string(), &text);
    }
}

/// Asserts that a driver's report is one of work done.
pub(super) fn passed(name: &str, report: &str) {
    let steps: serde_json::Map<String, Value> = serde_json::from_str(report).expect("a report");
    let failed = steps.iter().filter(|(_, step)| step["ok"] == false);
    let failed: Vec<_> = failed.collect();
    assert!(failed.is_empty(), "{name}: {failed:?}");
    let done = steps
        .values()
        .filter(|step| step["ok"] == true && step["skipped"].is_null());
    let done = done.count();
    assert!(done >= LEAST, "{name} passed {done} steps only: {report}");
}

/// Ends the gateway and asserts that each call it sent was announced and has an outcome.
async fn end(gate: Gate) {
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert!(intents.len() > LEAST, "{} intents", intents.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_work_over_http() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new().url("up", &upstream).serve().await;
    drive(&gate, "up", &[], &[], 7).await;
    end(gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_work_with_a_child_process() {
    let gate = Home::new().child("child", &["fixture-stdio"]).serve().await;
    drive(&gate, "child", &NO_RESUME, &[], 7).await;
    end(gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_revisions_work() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let gate = Home::new()
        .url("up", &upstream)
        .child("child", &["fixture-stdio"])
        .serve()
        .await;
    let only = [("ONLY_DRIVERS", "ts-client2"), ("ONLY_ERAS", "stateful")];
    for revision in ["2025-06-18", "2025-03-26"] {
        let words = ["--revision", revision];
        drive(&gate, "up", &words, &only, 1).await;
        drive(&gate, "child", &[words, NO_RESUME].concat(), &only, 1).await;
    }
    end(gate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rmcp_clients_work_over_http_and_with_a_child_process() {
    let demo = program("keepgate-demo");
    let mut fixture = Running::start("rmcp fixture", command(&demo, &["fixture", "--http", "0"]));
    let url = |said: &str| {
        let word = said
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        word.map(str::to_owned)
    };
    let upstream = fixture.says("its address", url).await;
    // Only for its message where the peers are missing: all tests of this module need the same set-up.
    peer("server.sh");
    let child = serde_json::json!({"command": [demo, "fixture", "--stdio"]});
    let home = Home::new()
        .url("up", &upstream)
        .with(|it| it["servers"]["child"] = child);
    let gate = home.serve().await;
    for (server, era, revision) in [
        ("up", "stateful", None),
        ("up", "stateless", None),
        ("child", "stateful", None),
        ("child", "stateless", None),
        ("up", "stateful", Some("2025-06-18")),
        ("up", "stateful", Some("2025-03-26")),
    ] {
        let url = gate.url(server);
        let mut words = vec!["rmcp-client", "--url", &url, "--era", era];
        words.extend(
            revision
                .iter()
                .flat_map(|revision| ["--revision", revision]),
        );
        let client = Running::start("rmcp client", command(&demo, &words));
        let report = client.finished(PATIENCE).await;
        passed(&format!("rmcp {server} {era} {revision:?}"), &report.stdout);
        assert_eq!(report.code, Some(0), "{}", report.stderr);
    }
    end(gate).await;
}
