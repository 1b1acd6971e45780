//! A reload that hangs.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use keepgate_tests::{FakeServer, Say, upstream::said};
use nix::sys::signal::Signal;
use serde_json::json;

use super::super::{gate::Home, process::until};
use super::Shim;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_hangs_does_not_hold_up_the_end() {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let _key = home.key("a").await;
    let mut gate = home.serve_with(&[(name, &library)]).await;
    // Longer than anybody waits.
    shim.obey("open state/keys 1+ delay=600000\n");
    gate.process.signal(Signal::SIGHUP);
    gate.says("reload asked for by SIGHUP", 1).await;
    let gate = gate.end_keeping().await;
    assert_eq!(gate.said("keys reloaded"), 0);
}

/// A revoked key does not wait for policies on a disk that does not answer, and readiness shows that those are stale.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_hangs_holds_up_no_revocation() {
    let server =
        FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await;
    let home = Home::new().keys().url("up", &server.url());
    let shim = Shim::new(&home);
    let (name, library) = shim.environment();
    let policies = home.path("state/policies");
    std::fs::create_dir_all(&policies).expect("a folder");
    for file in std::fs::read_dir(home.path("policies")).expect("policies") {
        let file = file.expect("a file");
        std::fs::copy(file.path(), policies.join(file.file_name())).expect("a copy");
    }
    let home = home.with(|it| it["policies"] = json!([policies]));
    let (id, key) = home.key("ada").await;
    let mut gate = home.serve_with(&[(name, &library)]).await;
    let client = gate.client("up");
    let client = client.header("authorization", &format!("Bearer {key}"));
    assert_eq!(client.call_modern("echo", json!({})).await.status, 200);

    shim.obey("open state/policies 1+ delay=600000\n");
    std::fs::write(policies.join("more.rego"), "package more\n").expect("a file");
    gate.says("a reload is not over after", 1).await;
    assert!(gate.part("policy").await.starts_with("stale"));
    gate.home.keepgate(&["keys", "revoke", &id]).await.good();
    until("the revoked key to be refused", async || {
        client.call_modern("echo", json!({})).await.status == 401
    })
    .await;
    drop(gate.end_keeping().await);
}

/// A path that is no plain file is not waited for, and the last good one stays active.
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_in_place_of_a_file_is_a_bad_file() {
    let gate = Home::new()
        .url("up", "http://127.0.0.1:9/mcp")
        .serve()
        .await;
    for (file, part) in [
        ("policies/pipe.rego", "policy"),
        ("keepgate.yaml", "configuration"),
    ] {
        let path = gate.home.path(file);
        let kept = std::fs::read(&path).ok();
        drop(std::fs::remove_file(&path));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).expect("a pipe");
        until("the part to be stale", async || {
            gate.part(part).await != "ok"
        })
        .await;
        std::fs::remove_file(&path).expect("removed");
        if let Some(kept) = kept {
            std::fs::write(&path, kept).expect("a file");
        }
        until("the part to be good again", async || {
            gate.part(part).await == "ok"
        })
        .await;
    }
    for report in ["policies not taken", "configuration not taken"] {
        assert_eq!(gate.said(report), 1, "{report}");
    }
    gate.end().await;
}

/// Nobody writes to the file again when its mode is corrected.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_whose_mode_is_corrected_is_loaded() {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let _key = home.key("ada").await;
    let gate = home.serve().await;
    let path = gate.home.path("state/keys.json");
    let set = |mode| std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
    for (mode, is_good) in [(0o666, false), (0o600, true)] {
        set(mode);
        until("the keys to be looked at", async || {
            (gate.part("keys").await == "ok") == is_good
        })
        .await;
    }
    gate.end().await;
}
