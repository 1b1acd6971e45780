//! Policies that want to harm: written over those of a running gateway, which goes on deciding by the old ones, tells what
//! is wrong and where, and stays the same process. What no check of a text can see is ended while it runs.

use std::time::{Duration, Instant};

use keepgate_tests::{Client, Gate as Door};
use serde_json::json;

use super::gate::{Gate, Home};
use super::operations::server;
use super::process::until;

/// Allows `echo` alone.
const GOOD: &str = "package mcp.authz\n\nallow contains \"echo\" if input.tool.name == \"echo\"\n";
/// Allows both; what is hostile follows, and speaks of `delete` alone.
const BOTH: &str =
    "package mcp.authz\n\nallow contains \"both\" if input.tool.name in {\"echo\", \"delete\"}\n";
/// What the log says of a rule that failed, and of one that took too long; of one that denied, nothing.
const FAILED: Option<&str> = Some("policy evaluation failed");
const LATE: Option<&str> = Some("policy evaluation ran out of time");
const DENIED: Option<&str> = None;
/// What a refused call may take, of which the busy machine takes most.
const SOON: Duration = Duration::from_secs(20);

/// Bodies of rules that harm while they run, and what the log says of them.
const HARMFUL: [(&str, Option<&str>); 11] = [
    ("count(numbers.range(1, 100000000)) > 1", FAILED),
    (
        "some a in numbers.range(1, 9999)\n\tsome b in numbers.range(1, 9999)\n\tsome c in numbers.range(1, 9999)\n\ta + b + c == 0",
        LATE,
    ),
    (
        "count({[a, b, c] | some a in data.many; some b in data.many; some c in data.many}) == 0",
        LATE,
    ),
    (
        "x := concat(\",\", [s | some a in data.many; s := sprintf(concat(\"\", [\"%1000000\", \"d\"]), [a])])\n\tcount(x) < 0",
        FAILED,
    ),
    (
        "x := replace(sprintf(concat(\"\", [\"%01000\", \"d\"]), [1]), \"\", \"y\")\n\tcount(x) < 0",
        FAILED,
    ),
    ("count(net.cidr_expand(\"10.0.0.0/8\")) < 0", FAILED),
    ("lower(5) == \"x\"", FAILED),
    ("not startswith(input.tool, \"a\")", FAILED),
    // Harmless here: what made the evaluator panic is an answer, and what goes in a circle has an end.
    ("strings.count(\"abc\", \"\") == 4", DENIED),
    ("count(graph.reachable(data.circle, {\"a\"})) == 2", DENIED),
    ("walk(data.circle, [path, value])\n\tvalue == \"b\"", DENIED),
];

/// Whether the server answered.
async fn allowed(client: &Client, tool: &str) -> bool {
    let answer = client.call_modern(tool, json!({})).await.json();
    answer["result"]["content"][0]["text"] == "done"
}

/// Memory of the gateway's process that is really there, in KiB.
fn resident(gate: &Gate) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", gate.process.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words: Vec<_> = line.expect("a line").split_whitespace().collect();
    words[1].parse().expect("a number")
}

/// A rule whose body begins on line 4.
fn rule(body: &str) -> String {
    format!("package mcp.authz\n\nallow contains \"x\" if {{\n{body}\n}}\n")
}

/// Files of policies that must not come into force, and how the log names the place.
fn refused() -> Vec<(&'static str, String, &'static str)> {
    let policy = "policies/policy.rego";
    let deep = |open: &str, close: &str, depth: usize| {
        rule(&format!(
            "y := {}1{}\ny",
            open.repeat(depth),
            close.repeat(depth)
        ))
    };
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        aliases.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let nested = format!("{{\"a\": {}1{}}}", "[".repeat(200_000), "]".repeat(200_000));
    vec![
        (policy, "package mcp.authz\n\nallow contains \"x\" if f(1)\nf(x) := f(x + 1)\n".to_owned(), "policy.rego:4:"),
        (policy, "package mcp.authz\n\nallow contains \"x\" if f(1)\nf(x) := g(x)\ng(x) := data.mcp.authz[\"f\"](x)\n".to_owned(), "policy.rego:"),
        (policy, "package mcp.authz\n\nallow contains \"x\" if data.mcp.authz.allow\n".to_owned(), "policy.rego:3:"),
        (policy, deep("[", "]", 400), "policy.rego:4:"),
        (policy, deep("[", "]", 100_000), "policy.rego:4:"),
        (policy, deep("{\"a\":", "}", 40), "policy.rego:4:"),
        (policy, deep("[\n", "]\n", 5_000), "policy.rego:"),
        (policy, deep("[a | a := ", "]", 60), "policy.rego:4:"),
        (policy, rule("1e2147483647 > 0"), "policy.rego:4:"),
        (policy, rule(&"some x in [1]\n".repeat(5_000)), "policy.rego:"),
        (policy, rule("http.send({\"url\": \"http://127.0.0.1/\"})"), "policy.rego:4:"),
        (policy, rule("input.tool.nmae == \"x\""), "policy.rego:4:"),
        (policy, format!("package mcp.authz\n#{}\n", "x".repeat(600_000)), "policy.rego: larger than 524288 bytes"),
        (policy, format!("package mcp.authz\n{}", "#\n".repeat(40_000)), "policy.rego"),
        (policy, "package mcp.authz\n\nallow contains \"\u{0}".to_owned(), "policy.rego:3:"),
        ("policies/data.json", nested, "data.json: failed to read: nested too deep"),
        ("policies/data.json", "{\"a\": 1, \"a\": 2}".to_owned(), "data.json: failed to read: duplicate key"),
        ("policies/data.json", " ".repeat(33 << 20), "data.json: larger than 33554432 bytes"),
        ("policies/data.yaml", aliases, "data.yaml: failed to read"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_30_hostile_policies_stop_neither_the_running_ones_nor_the_process() {
    let door = Door::default();
    door.open();
    let up = server(&door).await;
    let home = Home::new().url("up", &up.url());
    home.policy(GOOD);
    let mut gate = home.serve().await;
    let client = gate.client("up");
    assert!(allowed(&client, "echo").await);
    for (turn, (file, text, place)) in refused().into_iter().enumerate() {
        gate.home.replace(file, &text);
        gate.says("policies not taken", turn + 1).await;
        let said = gate.process.stderr();
        let last = said
            .lines()
            .rfind(|line| line.contains("policies not taken"));
        let last = last.expect("a line");
        assert!(last.contains(place), "{place}: {last}");
        assert!(
            allowed(&client, "echo").await && !allowed(&client, "delete").await,
            "{place}"
        );
        if file != "policies/policy.rego" {
            std::fs::remove_file(gate.home.path(file)).expect("a file");
        }
        // As good as the one in force, so that the next one is the only thing wrong.
        gate.home.policy(GOOD);
        until("the policies are in order again", async || {
            gate.metrics()
                .await
                .contains("keepgate_last_reload_successful{keepgate_part=\"policy\"} 1")
        })
        .await;
    }
    assert_eq!(gate.admin("/readyz").await, 200);
    let resident = resident(&gate);
    assert!(resident < 1 << 20, "{resident} KiB");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_30_rules_that_never_end_refuse_their_call_and_no_other() {
    let door = Door::default();
    door.open();
    let up = server(&door).await;
    let home = Home::new().url("up", &up.url());
    // Every line is written, however often it repeats.
    let home = home.with(|it| it["log"]["level"] = json!("info,keepgate_policy=debug"));
    home.policy(BOTH);
    let gate = home.serve().await;
    let client = gate.client("up");
    let harmful = |body: &str| {
        format!(
            "{BOTH}\ndeny contains \"harm\" if {{\n\tinput.tool.name == \"delete\"\n\t{body}\n}}\n"
        )
    };
    for (body, outcome) in HARMFUL {
        let data = json!({
            "many": (0..3_000).collect::<Vec<_>>(),
            "circle": {"a": ["b"], "b": ["a"]},
        });
        gate.home.replace("policies/data.json", &data.to_string());
        gate.home.policy(&harmful(body));
        until(body, async || !allowed(&client, "delete").await).await;
        // By the rule itself: what the log says of it is said for every call.
        let said = |what: Option<&str>| what.map_or(0, |what| gate.said(what));
        let before = [FAILED, LATE].map(said);
        let started = Instant::now();
        assert!(!allowed(&client, "delete").await, "{body}");
        assert!(started.elapsed() < SOON, "{body}: {:?}", started.elapsed());
        let expected = [FAILED, LATE].map(|what| outcome == what && what.is_some());
        // The log has a writer of its own, which may come after the answer.
        until(body, async || {
            let after = [FAILED, LATE].map(said);
            [after[0] > before[0], after[1] > before[1]] == expected
        })
        .await;
        assert!(allowed(&client, "echo").await, "{body}");
        gate.home.policy(BOTH);
        until("the harm is over", async || {
            allowed(&client, "delete").await
        })
        .await;
    }
    assert_eq!(gate.admin("/readyz").await, 200);
    let resident = resident(&gate);
    assert!(resident < 1 << 20, "{resident} KiB");
    gate.end().await;
}
