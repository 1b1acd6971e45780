//! Kills whose gateway ends at any moment, and whose disk fails: each act is on record once, and none is forgotten.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::super::gate::{Gate, Home};
use super::super::process::{Finished, PATIENCE, until};
use super::Shim;

/// Home of a gateway that reaches no server: kills need none.
fn home() -> Home {
    Home::new().url("up", "http://127.0.0.1:9/mcp")
}

async fn serve(home: Home, shim: &Shim) -> Gate {
    let (name, value) = shim.environment();
    home.serve_with(&[(name, &value)]).await
}

/// Works the kill switch of the gateway, which alone writes: the command does not know its state directory.
async fn kill(gate: &Gate, words: &[&str]) -> Finished {
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token").display().to_string();
    let words = [&["kill"], words, &["--url", &url, "--token-file", &token]].concat();
    gate.home.keepgate(&words).await
}

const SET: [&str; 5] = ["set", "server", "up", "--reason", "test"];

/// Number of records of each kind and kill, and whether one of them is marked as late.
async fn records(home: &Home) -> BTreeMap<(String, String), (usize, bool)> {
    let mut found = BTreeMap::new();
    for record in home.records().await {
        let kind = record["kind"].as_str().unwrap_or_default();
        if kind != "kill.set" && kind != "kill.cleared" {
            continue;
        }
        let reasons = record["reasons"].as_array().expect("reasons");
        let id = reasons[0]["code"].as_str().expect("an id").to_owned();
        let late = reasons.iter().any(|reason| reason["code"] == "late");
        let count: &mut (usize, bool) = found.entry((kind.to_owned(), id)).or_default();
        *count = (count.0 + 1, count.1 || late);
    }
    found
}

/// Sets a kill and gives its id.
async fn set(gate: &Gate) -> String {
    let done = kill(gate, &SET).await.json();
    done["kill"]["id"].as_str().expect("an id").to_owned()
}

/// The last kill that operators see, over or not.
async fn listed(gate: &Gate) -> Value {
    let list = kill(gate, &["list", "--all"]).await.json();
    let kills = list["kills"].as_array().expect("kills");
    kills.last().expect("a kill").clone()
}

/// Ends of a gateway: each gives its home, and whether the record of the act has to be marked as late, if that is certain.
async fn ends(end: &str) -> (Home, Option<bool>) {
    let home = home();
    let shim = Shim::new(&home);
    let mut gate = serve(home, &shim).await;
    let late = match end {
        "between a kill and its record" => {
            shim.obey("write audit/tail 1 kill\n");
            kill(&gate, &SET).await;
            Some(true)
        }
        "between a clear and its record" => {
            let id = set(&gate).await;
            shim.obey("write audit/tail 1 kill\n");
            kill(&gate, &["clear", &id, "--reason", "over"]).await;
            Some(true)
        }
        "right after the answer" => {
            set(&gate).await;
            gate.process.signal(Signal::SIGKILL);
            Some(false)
        }
        "before the kill's time is over" => {
            let words = [&SET[..], &["--expires", "2s"]].concat();
            kill(&gate, &words).await.good();
            gate.process.signal(Signal::SIGKILL);
            // By any clock of this machine.
            tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
            Some(true)
        }
        "orderly, and a command sets a kill then" => {
            gate = gate.end_keeping().await;
            let state = gate.home.path("state").display().to_string();
            let words = [&["kill"], &SET[..], &["--state", &state]].concat();
            gate.home.keepgate(&words).await.good();
            return (gate.home, Some(true));
        }
        other => panic!("no such end: {other}"),
    };
    gate.process.ended(PATIENCE).await;
    (gate.home, late)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_is_on_record_once_however_its_gateway_ended() {
    for end in [
        "between a kill and its record",
        "between a clear and its record",
        "right after the answer",
        "before the kill's time is over",
        "orderly, and a command sets a kill then",
    ] {
        let (mut home, late) = ends(end).await;
        // The second start finds nothing to do.
        for start in 1..=2 {
            let gate = home.serve().await;
            let last = listed(&gate).await;
            let id = last["id"].as_str().expect("an id").to_owned();
            home = gate.end_keeping().await.home;
            let records = records(&home).await;
            let mut acts = vec!["kill.set"];
            if last["state"] != "active" {
                acts.push("kill.cleared");
            }
            for act in &acts {
                let found = records.get(&((*act).to_owned(), id.clone()));
                let found = found.unwrap_or_else(|| panic!("{end}, start {start}: no {act}"));
                assert_eq!(found.0, 1, "{end}, start {start}: {act}");
            }
            let marked = records.values().any(|(_, late)| *late);
            assert_eq!(Some(marked), late, "{end}, start {start}");
            assert_eq!(
                records.len(),
                acts.len(),
                "{end}, start {start}: {records:?}"
            );
        }
        home.verified().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_the_log_did_not_take_is_written_later() {
    let home = home();
    let shim = Shim::new(&home);
    let gate = serve(home, &shim).await;
    shim.obey("write audit/tail 1+ ENOSPC\n");
    let mut keys = Vec::new();
    for _ in 0..2 {
        let done = kill(&gate, &SET).await.json();
        assert_eq!(done["recorded"], false, "{done}");
        let id = done["kill"]["id"].as_str().expect("an id").to_owned();
        keys.push(("kill.set".to_owned(), id));
        until("a log that fails", async || {
            gate.part("audit").await != "ok"
        })
        .await;
    }
    shim.obey("");
    until("the records", async || {
        let records = records(&gate.home).await;
        keys.iter().all(|key| records.contains_key(key))
    })
    .await;
    let home = gate.end_keeping().await.home;
    let gate = home.serve().await;
    let records = records(&gate.home).await;
    for key in &keys {
        assert_eq!(
            records.get(key).map(|found| found.0),
            Some(1),
            "{records:?}"
        );
    }
    gate.end().await;
}
