//! The servers people run: each behind the gateway, with a policy that hides tools and looks at arguments, asked by two
//! SDKs. What is denied does not happen, and the session goes on.

use std::path::Path;
use std::process::Stdio;

use keepgate_tests::{TestGateway, installed};
use serde_json::{Value, json};

use super::gate::{Home, of_kind};
use super::process::{command, peer, run, serve};
use super::vault::postgres::Postgres;

/// Tools by server, and what their arguments may not be.
const POLICY: &str = r#"
package mcp.authz

visible_tools := {
    "everything": {"echo", "get-sum"},
    "files": {"list_directory", "read_text_file", "write_file"},
    "time": {"convert_time", "get_current_time"},
    "git": {"git_create_branch", "git_log", "git_status"},
    "memory": {"create_entities", "read_graph"},
    "postgres": {"query"},
}

allow contains "a tool of daily use" if input.tool.name in visible_tools[input.server.name]

deny contains {"code": "drafts_only", "message": "files are written in drafts/ alone"} if {
    input.tool.name == "write_file"
    not into_drafts
}

into_drafts if contains(input.arguments.path, "/drafts/")

deny contains {"code": "own_branches", "message": "branches begin with agent/"} if {
    input.tool.name == "git_create_branch"
    not own_branch
}

own_branch if startswith(input.arguments.branch_name, "agent/")

deny contains {"code": "no_admin", "message": "admins are not made here"} if {
    some entity in input.arguments.entities
    entity.name == "admin"
}

deny contains {"code": "no_passwords", "message": "passwords stay in the database"} if {
    contains(input.arguments.sql, "pg_authid")
}

deny contains {"code": "no_moon", "message": "not on this planet"} if {
    input.tool.name == "convert_time"
    input.arguments.target_timezone == "Etc/GMT+12"
}

deny contains {"code": "no_shouting", "message": "do not shout"} if {
    input.tool.name == "echo"
    input.arguments.message == upper(input.arguments.message)
}
"#;

/// What is asked of one server.
struct Visit {
    server: &'static str,
    tools: &'static [&'static str],
    /// A call that is allowed, and words its answer has.
    allowed: (&'static str, Value, &'static str),
    /// A call that is denied by its arguments, and the rule's code.
    denied: (&'static str, Value, &'static str),
    /// A write that is allowed; its answer is no error.
    then: (&'static str, Value),
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// Lists and calls with both SDKs, then reads what the log says of it.
async fn visit(home: Home, visit: &Visit) {
    home.policy(POLICY);
    let gate = home.serve().await;
    let words: Vec<String> = [
        (visit.allowed.0, &visit.allowed.1),
        (visit.denied.0, &visit.denied.1),
        (visit.then.0, &visit.then.1),
    ]
    .into_iter()
    .flat_map(|(tool, arguments)| [tool.to_owned(), arguments.to_string()])
    .collect();
    let clients = ["ts-client2.mjs", "py_mcp.py"];
    for (turn, client) in clients.into_iter().enumerate() {
        let url = gate.url(visit.server);
        let words: Vec<_> = words
            .iter()
            .map(|word| word.replace("TURN", &turn.to_string()))
            .collect();
        let words: Vec<_> = [url.as_str(), "--list-and-call"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let report = run(client, &words, &[]).await.json();
        assert_eq!(report["failed"], false, "{client}: {report}");
        assert_eq!(report["tools"], json!(visit.tools), "{client}");
        assert_eq!(report["tools_after"], report["tools"], "{client}");
        let result = |call: usize| &report["calls"][call]["result"];
        assert!(
            text(result(0)).contains(visit.allowed.2),
            "{client}: {report}"
        );
        assert_eq!(result(1)["isError"], true, "{client}: {report}");
        let refusal = &result(1)["_meta"]["dev.keepgate/refusal"];
        assert_eq!(refusal["code"], "policy_denied", "{client}: {report}");
        assert!(
            result(2).is_object() && result(2)["isError"] != true,
            "{client}: {report}"
        );
    }
    recorded(&gate.end().await, visit, clients.len());
}

/// Asserts that the log has an intent and an outcome of each call that was sent, and a refusal of each that was not.
fn recorded(records: &[Value], visit: &Visit, clients: usize) {
    let of_tools = |kind: &str| -> Vec<&Value> {
        let all = of_kind(records, kind).into_iter();
        all.filter(|record| record["method"] == "tools/call")
            .collect()
    };
    let intents = of_tools("call.intent");
    assert_eq!(intents.len(), 2 * clients, "{intents:?}");
    for intent in intents {
        assert_eq!(intent["decision"], "allow");
        let outcomes = of_kind(records, "call.outcome").into_iter();
        let outcomes: Vec<_> = outcomes
            .filter(|outcome| outcome["decision_id"] == intent["decision_id"])
            .collect();
        assert_eq!(outcomes.len(), 1, "{intent}");
        assert_eq!(outcomes[0]["result"]["status"], "ok", "{}", outcomes[0]);
    }
    let refused = of_tools("call.refused");
    assert_eq!(refused.len(), clients, "{refused:?}");
    for refusal in refused {
        assert_eq!(refusal["tool_name"], visit.denied.0);
        assert_eq!(refusal["reasons"][0]["code"], visit.denied.2, "{refusal}");
    }
}

/// A repository with one commit.
async fn repository(git: &Path, folder: &Path) {
    for words in [
        &["init", "-q", "-b", "main"][..],
        &[
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.com",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "First light",
        ],
    ] {
        let mut git = command(git, words);
        git.current_dir(folder).stdin(Stdio::null());
        assert!(git.status().await.expect("git").success());
    }
}

fn everything() -> Visit {
    Visit {
        server: "everything",
        tools: &["echo", "get-sum"],
        allowed: ("get-sum", json!({"a": 2, "b": 40}), "42"),
        denied: ("echo", json!({"message": "HELLO"}), "no_shouting"),
        then: ("echo", json!({"message": "hello TURN"})),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_over_http() {
    let (_server, upstream) = serve("everything-http", &[]).await;
    visit(Home::new().url("everything", &upstream), &everything()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_over_http_and_sse() {
    let (_server, upstream) = serve("everything-sse", &[]).await;
    visit(Home::new().sse("everything", &upstream), &everything()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_over_http_and_sse() {
    python_over_http_and_sse("py-sse").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fastmcp_over_http_and_sse() {
    python_over_http_and_sse("fastmcp-sse").await;
}

/// Clients of both eras find out that the server has sessions.
async fn python_over_http_and_sse(server: &str) {
    let (_server, upstream) = serve(server, &[]).await;
    let gateway = TestGateway::sse(&upstream).start().await;
    let url = format!("http://{}/up/mcp", gateway.addr);
    for (client, era) in [
        ("ts-client2.mjs", "stateful"),
        ("ts-sdk1.mjs", "stateful"),
        ("py_mcp.py", "stateful"),
        ("py_mcp.py", "stateless"),
    ] {
        let call = [r#"{"message":"hi"}"#, r#"{"to":3}"#];
        let words = [
            &*url,
            "--era",
            era,
            "--list-and-call",
            "echo",
            call[0],
            "count",
            call[1],
        ];
        let report = run(client, &words, &[]).await.json();
        assert_eq!(
            report["tools"],
            json!(["count", "echo"]),
            "{client}: {report}"
        );
        let texts = [0, 1].map(|call| text(&report["calls"][call]["result"]).to_owned());
        assert_eq!(texts, ["hi", "counted to 3"], "{client}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_as_a_child_process() {
    visit(
        Home::new().child("everything", &["everything"]),
        &everything(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filesystem() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a folder");
    std::fs::create_dir(root.join("drafts")).expect("a folder");
    std::fs::write(root.join("plan.txt"), "the plan").expect("a file");
    let file = |name: &str| root.join(name).display().to_string();
    let home = Home::new().child("files", &["filesystem", &root.display().to_string()]);
    let asked = Visit {
        server: "files",
        tools: &["list_directory", "read_text_file", "write_file"],
        allowed: (
            "read_text_file",
            json!({"path": file("plan.txt")}),
            "the plan",
        ),
        denied: (
            "write_file",
            json!({"path": file("plan.txt"), "content": "no plan"}),
            "drafts_only",
        ),
        then: (
            "write_file",
            json!({"path": file("drafts/TURN.txt"), "content": "a draft"}),
        ),
    };
    visit(home, &asked).await;
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file");
    assert_eq!(read("plan.txt"), "the plan");
    assert_eq!(
        (read("drafts/0.txt"), read("drafts/1.txt")),
        ("a draft".into(), "a draft".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn time() {
    let convert =
        |zone: &str| json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": zone});
    let asked = Visit {
        server: "time",
        tools: &["convert_time", "get_current_time"],
        allowed: ("convert_time", convert("Asia/Tokyo"), "21:00"),
        denied: ("convert_time", convert("Etc/GMT+12"), "no_moon"),
        then: ("get_current_time", json!({"timezone": "UTC"})),
    };
    visit(Home::new().child("time", &["time"]), &asked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git() {
    // mcp-server-git starts it, too.
    let Some(git) = installed("git") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    repository(&git, folder.path()).await;
    let path = folder.path().display().to_string();
    let branch = |name: &str| json!({"repo_path": path, "branch_name": name});
    let asked = Visit {
        server: "git",
        tools: &["git_create_branch", "git_log", "git_status"],
        allowed: ("git_log", json!({"repo_path": path}), "First light"),
        denied: ("git_create_branch", branch("release"), "own_branches"),
        then: ("git_create_branch", branch("agent/TURN")),
    };
    visit(Home::new().child("git", &["git", &path]), &asked).await;
    let heads = folder.path().join(".git/refs/heads");
    assert!(!heads.join("release").exists());
    assert!(heads.join("agent/0").exists() && heads.join("agent/1").exists());
}

/// Servers whose latest release on npm answers 2024-11-05, whatever it is asked for. Clients of both SDKs list and call.
#[tokio::test(flavor = "multi_thread")]
async fn servers_of_2024_as_child_processes() {
    for (server, tool) in [
        ("gitlab", "search_repositories"),
        ("slack", "slack_list_channels"),
        ("github", "search_repositories"),
        ("brave-search", "brave_web_search"),
    ] {
        let script = peer("server.sh").display().to_string();
        let gateway = TestGateway::child(&script, &[server], false).start().await;
        let url = format!("http://{}/up/mcp", gateway.addr);
        for client in ["ts-client2.mjs", "py_mcp.py"] {
            let words = [url.as_str(), "--list-and-call", "none", "{}"];
            let report = run(client, &words, &[]).await.json();
            let tools = report["tools"].as_array().expect("tools");
            assert!(tools.contains(&json!(tool)), "{client} {server}: {report}");
        }
        let opened =
            |record: &Value| record["kind"] == "call.outcome" && record["method"] == "initialize";
        gateway.record(opened).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("memory.jsonl").display().to_string();
    let home = Home::new()
        .child("memory", &["memory"])
        .with(|it| it["servers"]["memory"]["env"] = json!({"MEMORY_FILE_PATH": file}));
    let entity = |name: &str| json!({"entities": [{"name": name, "entityType": "ship", "observations": []}]});
    let asked = Visit {
        server: "memory",
        tools: &["create_entities", "read_graph"],
        allowed: ("create_entities", entity("Beagle TURN"), "Beagle"),
        denied: ("create_entities", entity("admin"), "no_admin"),
        then: ("read_graph", json!({})),
    };
    visit(home, &asked).await;
    let kept = std::fs::read_to_string(file).expect("a file");
    assert!(kept.contains("Beagle") && !kept.contains("admin"), "{kept}");
}

/// A server of 2024-11-05 in front of a real database: what policy denies does not reach it.
#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let Some(database) = Postgres::start().await else {
        return;
    };
    let sql = |text: &str| json!({"sql": text});
    let asked = Visit {
        server: "postgres",
        tools: &["query"],
        allowed: ("query", sql("SELECT 6 * 7 AS answer"), "42"),
        denied: (
            "query",
            sql("SELECT rolpassword FROM pg_authid"),
            "no_passwords",
        ),
        then: ("query", sql("SELECT 1")),
    };
    let home = Home::new().child("postgres", &["postgres", &database.url()]);
    visit(home, &asked).await;
    database.stop().await;
}
