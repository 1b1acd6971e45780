//! The state a first start leaves when it is cut off at any of its operations, or meets a full volume there: a state directory
//! that the next start goes on from.

use nix::sys::signal::Signal;

use super::super::gate::Home;
use super::super::process::PATIENCE;
use super::{NEED_ROOM, Shim, each};

/// An address where nothing listens: the first start needs no server.
const NOWHERE: &str = "http://127.0.0.1:9/mcp";

fn home() -> Home {
    Home::new().keys().url("up", NOWHERE)
}

/// Operations below the state directory from nothing until the gateway is ready.
async fn operations() -> Vec<String> {
    let home = home();
    let shim = Shim::new(&home);
    shim.trace();
    let (name, value) = shim.environment();
    let gate = home.serve_with(&[(name, &value)]).await;
    let operations = shim.traced();
    gate.end().await;
    operations
}

/// Starts a new home under `rule`, then once more without it; the second start must be in order and its log sound.
async fn recovers(rule: String) {
    let home = home();
    let shim = Shim::new(&home);
    shim.obey(&rule);
    let (name, value) = shim.environment();
    let mut first = home.start(&[(name, &value)]);
    let ready = |text: &str| text.contains("\"message\":\"ready\"").then_some(());
    // One that a fault late in its start does not hinder is cut off while it serves.
    if first.says_or_ends("its end", ready).await.is_ok() {
        first.signal(Signal::SIGKILL);
        first.ended(PATIENCE).await;
    }
    drop(first);
    println!("after `{rule}`");
    let made = std::fs::read_to_string(home.path("state/audit/log.pub")).ok();
    let gate = home.serve().await;
    let key = std::fs::read_to_string(gate.home.path("state/audit/log.pub")).expect("a key");
    if let Some(made) = made {
        assert_eq!(made, key, "{rule}: the log got another key");
    }
    assert_eq!(gate.admin("/readyz").await, 200, "{rule}");
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_killed_at_any_operation_is_resumed() {
    let operations = operations().await;
    assert!(operations.len() > 60, "{operations:?}");
    let rules = operations.iter().enumerate().map(|(index, operation)| {
        // Every other write is torn instead.
        let torn = operation.starts_with("write") && index % 2 == 0;
        let action = if torn { "tear" } else { "kill" };
        format!("any state {} {action}\n", index + 1)
    });
    each(rules.collect(), recovers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_volume_that_fills_up_is_resumed() {
    let needs = |operation: &&String| {
        let kind = operation.split(' ').next().unwrap_or_default();
        NEED_ROOM.split(',').any(|known| known == kind)
    };
    let count = operations().await.iter().filter(needs).count();
    // The volume is full from the nth operation on; one fault in passing is met at every third.
    let rules = (1..=count).map(|nth| {
        let later = if nth % 3 == 0 { "" } else { "+" };
        format!("{NEED_ROOM} state {nth}{later} ENOSPC\n")
    });
    let step = if std::env::var_os("SOAK").is_some() {
        1
    } else {
        2
    };
    each(rules.step_by(step).collect(), recovers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_public_key_is_written_again() {
    let home = home().serve().await.end_keeping().await.home;
    let path = home.path("state/audit/log.pub");
    let key = std::fs::read_to_string(&path).expect("a key");
    std::fs::remove_file(&path).expect("removed");
    let gate = home.serve().await;
    assert_eq!(std::fs::read_to_string(&path).expect("a key"), key);
    gate.end().await;
}
