//! A start on a state directory whose groups and modes somebody changed.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use super::gate::Home;
use super::process::PATIENCE;

/// A file or directory and everything below it.
fn all(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        found.extend(entries.flat_map(|entry| all(&entry.expect("an entry").path())));
    }
    found
}

/// `chmod -R g+rwX`, and `g+s` for directories: Kubernetes does this to the volume of a pod with an `fsGroup`.
fn open_to_group(state: &Path) {
    for path in all(state) {
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        let more = if path.is_dir() { 0o2070 } else { 0o060 };
        fs::set_permissions(&path, Permissions::from_mode(mode | more)).expect("a mode");
    }
}

/// A home whose state holds a key, an operator, a kill, records, and everything a gateway makes.
async fn used() -> (Home, String) {
    let home = Home::new().keys().url("up", "http://127.0.0.1:9/mcp");
    let (_, key) = home.key("alice").await;
    home.keepgate(&["operators", "add", "olga", "--role", "sre"])
        .await
        .good();
    let gate = home.serve().await;
    let words = ["kill", "set", "server", "up", "--reason", "test"];
    gate.home.keepgate(&words).await.good();
    (gate.end_keeping().await.home, key)
}

#[tokio::test]
async fn a_start_after_the_group_of_the_pod_got_the_volume_works() {
    let (home, _) = used().await;
    open_to_group(&home.path("state"));
    let gate = home.serve().await;
    assert_eq!(gate.admin("/readyz").await, 200);
    let kills = gate.home.keepgate(&["kill", "list"]).await.good();
    assert!(kills.contains("\"up\""), "{kills}");
    gate.end().await;
}

#[tokio::test]
async fn a_state_that_others_may_change_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        keepgate_tests::skip("only root gives files to another group");
        return;
    }
    let (home, _) = used().await;
    let state = home.path("state");
    let files = [
        "",
        "keys.json",
        "keys.secret",
        "admin-token",
        "operators.json",
        "keepgate.db",
        "kill.log",
        "clock",
        "audit/checkpoint",
        "audit/tail.0",
        "private/events.key",
        "audit/private/signing.key",
        "audit/private/digest.key",
    ];
    for name in files {
        let path = if name.is_empty() {
            state.clone()
        } else {
            state.join(name)
        };
        let before = fs::metadata(&path).expect("a file").permissions();
        let changes = [(0o066, None, "`chmod o-"), (0o020, Some(4242), "`chmod g-")];
        for (more, group, cure) in changes {
            fs::set_permissions(&path, Permissions::from_mode(before.mode() | more))
                .expect("a mode");
            chown(&path, None, group).expect("a group");
            let mut process = home.start(&[]);
            process.ended(PATIENCE).await;
            let text = process.stderr();
            for part in [cure, &path.display().to_string()] {
                assert!(text.contains(part), "{name}: {text}");
            }
            chown(&path, None, Some(0)).expect("a group");
            fs::set_permissions(&path, before.clone()).expect("a mode");
        }
    }
    home.serve().await.end().await;
}
