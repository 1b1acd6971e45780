//! Shadow mode: what a candidate would have done is told, and nothing it does is felt.

use keepgate_tests::{Client, Gate as Door};
use serde_json::{Value, json};

use super::gate::{Gate, Home, of_kind};
use super::operations::server;
use super::process::until;

const LIVE: &str = "package mcp.authz\n\nallow contains \"echo\" if input.tool.name == \"echo\"\n";
const ALL: &str = "package mcp.authz\n\nallow contains \"all\"\n";
const STRICTER: &str = "package mcp.authz\n\nallow contains \"all\"\n\ndeny contains {\"code\": \"too_loud\"} if input.arguments.text == \"HELLO\"\n";
const BROKEN: &str = "package mcp.authz\n\nallow contains if {{{\n";
const LOOPS: &str = "package mcp.authz\n\ndeny contains \"x\" if {\n\tsome a in numbers.range(1, 9999)\n\tsome b in numbers.range(1, 9999)\n\ta * b < 0\n}\n";

/// A gateway with a candidate beside its policy.
async fn gate(url: &str, candidate: &str) -> Gate {
    let home = Home::new().url("up", url);
    home.policy(LIVE);
    std::fs::create_dir(home.path("candidate")).expect("a folder");
    home.replace("candidate/rules.rego", candidate);
    let (folder, traces) = (home.path("candidate"), home.path("traces.jsonl"));
    let home = home.with(|it| {
        it["shadow"] = json!({"policies": [folder]});
        it["telemetry"] = json!({"traces": {"file": traces}});
    });
    home.serve().await
}

async fn says(client: &Client, text: &str) -> Value {
    client.call("echo", json!({"text": text})).await.json()
}

/// Whether the call was answered by the server.
fn passed(answer: &Value) -> bool {
    answer["result"]["content"][0]["text"] == "done"
}

async fn counted(gate: &Gate, change: &str) -> u64 {
    let start = format!(
        "keepgate_policy_shadow_total{{keepgate_server_name=\"up\",keepgate_change=\"{change}\"}} "
    );
    let metrics = gate.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&start));
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_default()
}

/// What the last records of calls of a tool say of the candidate.
fn told<'a>(records: &'a [Value], kind: &str, tool: &str) -> Vec<&'a Value> {
    let all = of_kind(records, kind).into_iter();
    all.filter(|record| record["tool_name"] == tool)
        .map(|record| &record["shadow"])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_allows_everything_loosens_nothing() {
    let server = server(&Door::default()).await;
    let gate = gate(&server.url(), ALL).await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    let listed = client.post(list.to_string()).await.json();
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(names, ["echo"]);
    assert!(passed(&says(&client, "hello").await));
    let refused = client.call("delete", json!({})).await.json();
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(server.heard_of("tools/call").len(), 1);

    assert!(counted(&gate, "would_show").await >= 1);
    assert_eq!(counted(&gate, "would_allow").await, 1);
    assert!(counted(&gate, "same").await >= 1);
    assert!(
        gate.metrics()
            .await
            .contains("keepgate_policy_shadow_last_reload_successful 1")
    );
    let records = gate.end().await;
    let shadow = told(&records, "call.refused", "delete");
    assert_eq!(shadow[0]["would"], "would_allow", "{records:#?}");
    assert_eq!(shadow[0]["codes"], "allowed");
    assert_eq!(told(&records, "call.outcome", "echo"), [&Value::Null]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_is_exchanged_while_calls_run_and_a_broken_one_is_told() {
    let server = server(&Door::default()).await;
    let mut gate = gate(&server.url(), BROKEN).await;
    assert_eq!(gate.said("shadow policies not taken"), 1);
    assert!(
        gate.metrics()
            .await
            .contains("keepgate_policy_shadow_last_reload_successful 0")
    );
    let client = gate.client("up").initialize("2025-11-25").await;
    assert!(passed(&says(&client, "HELLO").await));

    gate.home.replace("candidate/rules.rego", STRICTER);
    gate.says("shadow policies are tried", 1).await;
    assert!(passed(&says(&client, "HELLO").await));
    assert_eq!(counted(&gate, "would_deny").await, 1);

    gate.home.replace("candidate/rules.rego", BROKEN);
    gate.says("shadow policies not taken", 2).await;
    assert!(passed(&says(&client, "HELLO").await));
    // The last one that could be read is still tried.
    assert_eq!(counted(&gate, "would_deny").await, 2);
    let traces = gate.home.path("traces.jsonl");
    let traced = async || {
        let text = std::fs::read_to_string(&traces).unwrap_or_default();
        text.contains("keepgate.policy.shadow") && text.contains("would_deny")
    };
    until("a trace of it", traced).await;
    let records = gate.end().await;
    let shadow = told(&records, "call.outcome", "echo");
    assert_eq!(shadow.len(), 3);
    assert_eq!(*shadow[0], Value::Null);
    for shadow in &shadow[1..] {
        assert_eq!(
            (&shadow["would"], &shadow["codes"]),
            (&json!("would_deny"), &json!("too_loud"))
        );
        assert_eq!(shadow["policy_rev"].as_str().map(str::len), Some(32));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_that_loops_costs_no_call() {
    let server = server(&Door::default()).await;
    let gate = gate(&server.url(), LOOPS).await;
    let client = gate.client("up").initialize("2025-11-25").await;
    for _ in 0..10 {
        assert!(passed(&says(&client, "hello").await));
    }
    // It was left alone after a few tries.
    let failed = counted(&gate, "failed").await;
    assert!((1..=6).contains(&failed), "{failed}");
    let records = gate.end().await;
    let outcomes = of_kind(&records, "call.outcome");
    let answered = outcomes
        .iter()
        .filter(|record| record["result"]["status"] == "ok");
    assert!(answered.count() >= 10);
}
