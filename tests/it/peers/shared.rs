//! A child process that serves everybody: two callers at once, each gets what is theirs.

use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::process::run;

/// What works with a process that cannot know whom it serves: it has shaken hands once, so it can ask nobody anything.
const ONE_VOICE: [&str; 10] = [
    "tools_list",
    "tool_call",
    "tool_error",
    "tool_structured",
    "tool_large",
    "tool_parallel",
    "resources_read",
    "prompts_get",
    "completion",
    "progress",
];

/// What works without sessions, where questions travel in answers: all but this.
const NO_LOGGING: [&str; 2] = [
    "--skip",
    "logging: the process does not say whose call a log line is of, so while two callers call, neither gets it",
];

/// The processes the gateway has started.
fn children(gate: &Gate) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.process.pid())).expect("tasks");
    let children = tasks.map(|task| {
        let task = task.expect("a task").path();
        std::fs::read_to_string(task.join("children")).unwrap_or_default()
    });
    // The reaper is no server.
    let is_server = |pid: &&str| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| !command.contains("__reap"))
    };
    children
        .map(|children| children.split_whitespace().filter(is_server).count())
        .sum()
}

async fn drive(gate: &Gate, driver: &str, key: &str, era: &str, more: &[&str]) {
    let header = format!("Authorization: Bearer {key}");
    let url = gate.url("child");
    let mut words = vec![url.as_str(), "--header", &header, "--era", era];
    words.extend(more);
    let report = run(driver, &words, &[]).await;
    assert_eq!(
        report.code,
        Some(0),
        "{driver} {era}: {}\n{}",
        report.stdout,
        report.stderr
    );
    let steps: serde_json::Map<String, Value> =
        serde_json::from_str(&report.stdout).expect("a report");
    let done = steps.values().filter(|step| step["ok"] == true).count();
    assert!(done >= ONE_VOICE.len(), "{}", report.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_callers_share_one_process_of_each_era() {
    let home = Home::new().keys().child("child", &["fixture-stdio"]);
    let home = home.with(|it| it["servers"]["child"]["shared"] = json!(true));
    let one_voice = ONE_VOICE.map(|step| ["--only", step]).concat();
    // Made before the start, so that both are known from the first call on.
    let (ada, bob) = (home.key("ada").await, home.key("bob").await);
    let gate = home.serve().await;
    tokio::join!(
        drive(&gate, "ts-client2.mjs", &ada.1, "stateless", &NO_LOGGING),
        drive(&gate, "py_mcp.py", &bob.1, "stateless", &NO_LOGGING),
    );
    assert_eq!(children(&gate), 1);
    tokio::join!(
        drive(&gate, "ts-client2.mjs", &ada.1, "stateful", &one_voice),
        drive(&gate, "py_mcp.py", &bob.1, "stateful", &one_voice),
    );
    assert_eq!(children(&gate), 2);
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    for (id, _) in [ada, bob] {
        let own = intents
            .iter()
            .filter(|intent| intent["key_id"] == id.as_str())
            .count();
        assert!(own > 2 * ONE_VOICE.len(), "{own} intents of {id}");
    }
}
