//! Secrets on the way to another machine: refused by `check`, a start and a call of policy, and reported where they are allowed.
//!
//! `0.0.0.0` is another machine to the gateway, and this one to the kernel.

use std::os::unix::fs::PermissionsExt;

use keepgate_tests::{Client, FakeServer, Say, upstream::said};
use serde_json::{Value, json};

use super::gate::{Gate, Home};
use super::process::until;

/// Allows everything, and gives `clear` the credential of `here` for calls of `echo`.
const POLICY: &str = r#"package mcp.authz

allow contains "all"

credential contains {"ref": reference} if {
	input.server.name == "clear"
	input.tool.name == "echo"
	reference := data.reference
}
"#;

async fn world(change: impl FnOnce(&mut Value)) -> (FakeServer, Home) {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let home = Home::new();
    let secret = home.path("secret");
    std::fs::write(&secret, "secret-of-the-server").expect("a file");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("permissions");
    let reference = format!("file:{}", secret.display());
    home.replace(
        "policies/data.json",
        &json!({"reference": reference}).to_string(),
    );
    home.policy(POLICY);
    let clear = format!("http://0.0.0.0:{}/mcp", server.addr.port());
    let home = home.with(|it| {
        it["servers"]["here"] =
            json!({"url": server.url(), "credential": {"ref": reference, "as": "bearer"}});
        it["servers"]["clear"] = json!({"url": clear});
        change(it);
    });
    (server, home)
}

/// Whether the server heard a secret with its last call of this tool.
fn heard(server: &FakeServer, tool: &str) -> bool {
    let calls = server.heard_of("tools/call");
    let mut calls = calls
        .iter()
        .rev()
        .filter(|call| call.json()["params"]["name"] == tool);
    let call = calls.next().expect("a call");
    call.header("authorization") == Some("Bearer secret-of-the-server")
}

/// Whether `/readyz` reports a secret in clear.
async fn is_reported(gate: &Gate) -> bool {
    let answer = Client::new(gate.admin)
        .path("/readyz")
        .send("GET", "")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    String::from_utf8_lossy(&answer.body)
        .contains("plaintext: allowed, a secret travels in clear\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_travels_in_clear_only_where_that_is_allowed() {
    let (server, home) = world(|_| {}).await;
    let mut gate = home.serve().await;
    let clear = gate.client("clear");
    assert_eq!(clear.call_modern("delete", json!({})).await.code(), None);
    assert!(!heard(&server, "delete"));
    // Not by policy either.
    let calls = server.heard_of("tools/call").len();
    let refused = clear.call_modern("echo", json!({})).await;
    assert!(
        String::from_utf8_lossy(&refused.body).contains("obligation_unsupported"),
        "{refused:?}"
    );
    assert_eq!(server.heard_of("tools/call").len(), calls);
    assert!(!is_reported(&gate).await);

    // Nor by a reload.
    let kept = gate.home.configuration();
    let credential = kept["servers"]["here"]["credential"].clone();
    let home = gate.home;
    gate.home = home.with(|it| it["servers"]["clear"]["credential"] = credential);
    gate.says("configuration not taken", 1).await;
    let checked = gate.home.keepgate(&["check"]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    for part in [
        "servers.clear.url: a secret would travel in clear",
        "`servers.clear.plaintext: allowed`",
    ] {
        assert!(checked.stderr.contains(part), "{checked:?}");
    }
    assert_eq!(clear.call_modern("delete", json!({})).await.code(), None);
    assert!(!heard(&server, "delete"));

    let home = gate.home;
    gate.home = home.with(|it| it["servers"]["clear"]["plaintext"] = json!("allowed"));
    until("the credential to be sent", async || {
        clear.call_modern("delete", json!({})).await;
        heard(&server, "delete")
    })
    .await;
    assert!(is_reported(&gate).await);
    let home = gate.home;
    gate.home = home.with(|it| {
        it["servers"]["clear"]["credential"].take();
        it["servers"]["clear"]
            .as_object_mut()
            .expect("a server")
            .remove("credential");
    });
    until("the secret to stay here", async || {
        !is_reported(&gate).await
    })
    .await;
    // Of policy's choice, as that may be sent.
    assert_eq!(clear.call_modern("echo", json!({})).await.code(), None);
    assert!(heard(&server, "echo"));
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credential_of_a_definition_is_not_sent_in_clear() {
    let (_server, home) = world(|it| {
        let vault = json!({"address": "http://127.0.0.1:9", "auth": {"token": "file:/token"}, "mounts": {"secret": "kv2"}});
        it["credentials"] = json!({"providers": {"vault": vault}});
    })
    .await;
    home.keepgate(&["check"]).await.good();
    std::fs::create_dir(home.path("servers.d")).expect("a folder");
    home.replace(
        "servers.d/clear.yaml",
        "mcp_server:\n  name: clear\n  credential: { vault_path: secret/mcp/clear }\n  permissions: { allowed_objects: [\"*\"], allowed_operations: [read] }\n",
    );
    let checked = home.keepgate(&["check"]).await;
    assert_eq!(checked.code, Some(3), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("`servers.clear.plaintext: allowed`"),
        "{checked:?}"
    );
    home.with(|it| it["servers"]["clear"]["plaintext"] = json!("allowed"))
        .keepgate(&["check"])
        .await
        .good();
}
