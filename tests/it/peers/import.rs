//! `keepgate import`: a disk that fails leaves no half of it, and `--probe` starts real servers in the sandbox.

use std::path::Path;

use keepgate_tests::{FakeServer, Say, upstream::said};
use serde_json::{Value, json};

use super::faults::{NEED_ROOM, Shim};
use super::gate::Home;
use super::process::{Finished, PATIENCE, Running, command, peer, program};

/// Names and contents below a folder.
fn all(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let content = std::fs::read(&path).unwrap_or_default();
        if let Ok(entries) = std::fs::read_dir(&path) {
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        all.push((path.display().to_string(), content));
    }
    all.sort();
    all
}

async fn import(home: &Home, words: &[&str], environment: &[(&str, &str)]) -> Finished {
    let file = home.path("mcp.json").display().to_string();
    let into = home.path("state/gate").display().to_string();
    let words = [&["import", &file, "--into", &into], words].concat();
    home.keepgate_with(&words, environment).await
}

/// A home with a client's file of two servers, one with a secret.
fn home_of(servers: &Value) -> Home {
    let home = Home::new();
    home.replace("mcp.json", &json!({ "mcpServers": servers }).to_string());
    std::fs::create_dir(home.path("state")).expect("a folder");
    home
}

/// The table of the policy.
fn table(home: &Home) -> Value {
    let text = std::fs::read_to_string(home.path("state/gate/policies/data.json"));
    serde_json::from_str(&text.expect("a table")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_leaves_no_half_of_an_import() {
    let servers = json!({
        "one": { "command": "cat", "env": { "A_TOKEN": "in-clear-until-now" } },
        "two": { "url": "https://two.example/mcp" },
    });
    let needs = |operation: &&String| {
        let kind = operation.split(' ').next().unwrap_or_default();
        NEED_ROOM.split(',').any(|known| known == kind)
    };
    for force in [false, true] {
        let words: &[&str] = if force { &["--force"] } else { &[] };
        let mut nth = 1;
        loop {
            let home = home_of(&servers);
            if force {
                std::fs::create_dir_all(home.path("state/gate/policies")).expect("folders");
                for name in ["keepgate.yaml", "policies/data.json"] {
                    std::fs::write(home.path("state/gate").join(name), "before").expect("a file");
                }
            }
            let before = all(&home.path("state"));
            let shim = Shim::new(&home);
            shim.obey(&format!("{NEED_ROOM} state {nth} ENOSPC\n"));
            shim.trace();
            let (name, value) = shim.environment();
            let done = import(&home, words, &[(name, &value)]).await;
            let operations = shim.traced();
            let after = all(&home.path("state"));
            if operations.iter().filter(needs).count() < nth {
                assert_eq!(done.code, Some(0), "{}", done.stderr);
                assert!(nth > 20, "{operations:?}");
                break;
            }
            assert_eq!(
                done.code,
                Some(10),
                "{nth} of {operations:?}: {}",
                done.stderr
            );
            assert_eq!(after, before, "{nth} of {operations:?}: {}", done.stderr);
            nth += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_names_the_tools_of_servers_it_was_let_start() {
    let script = peer("server.sh").display().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().display().to_string();
    let servers = json!({
        "Files": { "command": script, "args": ["filesystem", folder] },
        "everything": { "command": script, "args": ["everything"], "env": { "SOME_TOKEN": "a-secret-of-mine" } },
        "gone": { "command": "keepgate-no-such-program" },
        "remote": { "url": "https://remote.example/mcp" },
    });
    let home = home_of(&servers);
    let done = import(&home, &["--probe", "--yes"], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!done.stdout.contains("a-secret-of-mine"), "{}", done.stdout);
    let table = table(&home);
    let has = |list: &Value, tool: &str| {
        let list = list.as_array().expect("a list");
        list.iter().any(|name| name == tool)
    };
    let granted = &table["grants"]["user"]["files"];
    let others = &table["not_granted"]["files"];
    assert!(
        has(granted, "list_directory") && has(granted, "read_text_file"),
        "{table}"
    );
    assert!(
        has(others, "write_file") && !has(granted, "write_file"),
        "{table}"
    );
    assert!(
        has(&table["not_granted"]["everything"], "echo")
            || has(&table["grants"]["user"]["everything"], "echo"),
        "{table}"
    );
    assert_eq!(table["grants"]["user"]["gone"], json!([]));
    let report = done.json();
    let notes = |name: &str| {
        let servers = report["servers"].as_array().expect("servers");
        let server = servers
            .iter()
            .find(|server| server["name"] == name)
            .expect("a server");
        server["notes"].to_string()
    };
    assert!(
        notes("gone").contains("its tools are not known"),
        "{report}"
    );
    assert!(notes("remote").contains("on the network"), "{report}");

    // The tests of the policy hold for the table as it is now.
    let config = home.path("state/gate/keepgate.yaml").display().to_string();
    let tested = command(
        program("keepgate"),
        &["policy", "test", "--config", &config],
    );
    let tested = Running::start("policy test", tested)
        .finished(PATIENCE)
        .await;
    assert_eq!(tested.code, Some(0), "{}{}", tested.stdout, tested.stderr);
}

/// A child that answers with the lengths of its two secrets, and with them.
const CHILD: &str = r#"
import json, os, sys
secrets = [os.environ.get(name, "") for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]]
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message: continue
    if message["method"] == "tools/list":
        result = {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    else:
        text = " ".join(str(len(secret)) for secret in secrets) + " " + " ".join(secrets)
        result = {"content": [{"type": "text", "text": text}], "resultType": "complete"}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n"); sys.stdout.flush()
"#;

/// A home with an import of two servers with two secrets each.
async fn home_of_several(server: &FakeServer) -> Home {
    let home = Home::new().url("other", "http://127.0.0.1:9/mcp");
    let script = home.path("server.py").display().to_string();
    home.replace("server.py", CHILD);
    let servers = json!({
        "aws": {
            "command": "python3", "args": [script],
            "env": { "AWS_ACCESS_KEY_ID": "AKIA-canary-of-aws-1", "AWS_SECRET_ACCESS_KEY": "canary-of-aws-2+x" },
        },
        "datadog": {
            "url": server.url(),
            "headers": { "DD-API-KEY": "canary-of-dd-1", "DD-APPLICATION-KEY": "${env:DD_APP}" },
        },
    });
    home.replace("mcp.json", &json!({ "mcpServers": servers }).to_string());
    std::fs::create_dir(home.path("state")).expect("a folder");
    let done = import(&home, &[], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn imported_servers_of_several_secrets_get_each_of_them() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], &heard.head))).await;
    let home = home_of_several(&server).await;
    let config = "state/gate/keepgate.yaml";
    let state = home.path("state").display().to_string();
    let policies = format!("[{}]", home.path("policies").display());
    let variables = [
        ("KEEPGATE_LISTEN", "127.0.0.1:0"),
        ("KEEPGATE_ADMIN__LISTEN", "127.0.0.1:0"),
        ("KEEPGATE_STATE__DIR", &state),
        ("KEEPGATE_AUTH__MODE", "anonymous"),
        ("KEEPGATE_LOG__FORMAT", "json"),
        ("KEEPGATE_LIMITS__DRAIN_DELAY", "1ms"),
        ("KEEPGATE_POLICIES", &policies),
        ("DD_APP", "canary-of-dd-2"),
    ];
    let mut check = command(program("keepgate"), &["check", "--config"]);
    check.arg(home.path(config)).env("DD_APP", "canary-of-dd-2");
    let checked = Running::start("check", check).finished(PATIENCE).await;
    assert_eq!(
        checked.code,
        Some(0),
        "{}{}",
        checked.stdout,
        checked.stderr
    );

    let gate = home.serve_file(config, &variables).await;
    let answer = gate.client("aws").call_modern("echo", json!({})).await;
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    let masked = "[masked by keepgate]";
    assert!(
        shown.contains(&format!("\"20 17 {masked} {masked}\"")),
        "{shown}"
    );
    let answer = gate.client("datadog").call_modern("echo", json!({})).await;
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(shown.matches(masked).count(), 2, "{shown}");
    let heard = server.heard_of("tools/call").pop().expect("a call");
    assert_eq!(heard.header("dd-api-key"), Some("canary-of-dd-1"));
    assert_eq!(heard.header("dd-application-key"), Some("canary-of-dd-2"));
    let records = gate.end().await;
    let references = |name: &str| {
        let mut of_server = records.iter().filter(|record| record["server"] == name);
        let outcome = of_server.rfind(|record| record["kind"] == "call.outcome");
        outcome.expect("an outcome")["cred"]["ref"].to_string()
    };
    assert!(references("datadog").contains("/secrets/datadog-dd-api-key env:DD_APP\""));
    assert_eq!(references("aws").split(' ').count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_starts_nothing_without_consent() {
    let home = home_of(
        &json!({ "touch": { "command": "sh", "args": ["-c", "touch \"$0\"", "started"], "env": {
            "NODE_OPTIONS": "--require ./x.js", "SOME_TOKEN": "a-secret-of-mine",
        } } }),
    );
    // Standard input is at its end: nobody is there to agree.
    let done = import(&home, &["--probe"], &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(table(&home)["grants"]["user"]["touch"], json!([]));
    let notes = done.json()["servers"][0]["notes"].to_string();
    assert!(notes.contains("not asked for its tools"), "{notes}");
    // Whoever agrees has seen what it starts with, but for secrets.
    let mut lines = done.stderr.lines();
    let shown = lines.find_map(|line| line.strip_prefix("  with variables: "));
    let shown: Vec<&str> = shown.expect(&done.stderr).split(", ").collect();
    for name in ["NODE_OPTIONS", "SOME_TOKEN"] {
        assert!(shown.contains(&name), "{shown:?}");
    }
    assert!(!done.stderr.contains("a-secret-of-mine"), "{}", done.stderr);
}
