//! Files that let callers and operators in, removed while the gateway runs: those who are known stay, and `/readyz`, a
//! metric and the gateway's log report it, also after a restart.

use std::fs;

use keepgate_tests::{Answer, FakeServer, Say, upstream::said};
use serde_json::json;

use super::super::gate::{Gate, Home};
use super::super::process::until;

/// One file: the part of readiness it is in, its name, and the line of the gateway's log at a start without it.
const FILES: [(&str, &str, &str); 2] = [
    ("keys", "keys.json", "keys.json is gone"),
    ("operators", "operators.json", "operators.json is gone"),
];

async fn metric(gate: &Gate, part: &str) -> bool {
    let line = format!("keepgate_last_reload_successful{{keepgate_part=\"{part}\"}} 1");
    gate.metrics().await.lines().any(|found| found == line)
}

async fn call(gate: &Gate, key: &str) -> Answer {
    let client = gate.client("up");
    let client = client.header("authorization", &format!("Bearer {key}"));
    client.call_modern("echo", json!({})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn vanished_keys_and_operators_are_reported() {
    let up = FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let home = Home::new().keys().url("up", &up.url());
    let gate = home.serve().await;
    assert_eq!(gate.part("keys").await, "none, no key lets anybody in");
    let (_, key) = gate.home.key("agent").await;
    until("the key to be known", async || {
        call(&gate, &key).await.status == 200
    })
    .await;
    let mut gate = gate;
    for (name, file, start) in FILES {
        assert_eq!(gate.part(name).await, "ok");
        assert!(metric(&gate, name).await);
        let path = gate.home.path("state").join(file);
        let content = fs::read(&path).expect("a file");
        fs::remove_file(&path).expect("removed");
        assert!(gate.part(name).await.contains("is GONE"), "{name}");
        assert!(!metric(&gate, name).await, "{name}");
        gate.says(&format!("{name} not taken"), 1).await;
        assert_eq!(call(&gate, &key).await.status, 200, "{name}");

        gate = gate.end_keeping().await.home.serve().await;
        assert_eq!(gate.said(start), 1, "{name}");
        assert!(gate.part(name).await.contains("is GONE"), "{name}");
        assert!(!metric(&gate, name).await, "{name}");
        let expected = if name == "keys" { 401 } else { 200 };
        assert_eq!(call(&gate, &key).await.status, expected, "{name}");

        // Nor do commands make another one in passing.
        let create: &[&str] = match name {
            "keys" => &["keys", "create", "--subject", "other"],
            _ => &["operators", "add", "other", "--role", "sre"],
        };
        for words in [create, &[name, "list"]] {
            let refused = gate.home.keepgate(words).await;
            assert_eq!(refused.code, Some(10), "{words:?}: {}", refused.stderr);
            assert!(refused.stderr.contains("--new-file"), "{}", refused.stderr);
            assert!(!path.exists(), "{words:?}");
        }
        gate.home
            .keepgate(&[create, &["--new-file"]].concat())
            .await
            .good();
        let again = gate
            .home
            .keepgate(&[create, &["--new-file"]].concat())
            .await;
        assert_eq!(again.code, Some(2), "{}", again.stderr);

        keepgate_files::replace(&path, &content).expect("a file");
        until("the file to count again", async || {
            gate.part(name).await == "ok" && call(&gate, &key).await.status == 200
        })
        .await;
        assert!(metric(&gate, name).await, "{name}");
    }
    assert_eq!(gate.admin("/readyz").await, 200);
    gate.end().await;
}
