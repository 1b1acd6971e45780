//! Kills whose gateway ends at any moment, and whose disk fails: each act is on record once, and none is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use keepgate_store::kill::{Clear, Entry, Kill, KillFile, Scope, Set, Wish};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::super::gate::{Gate, Home};
use super::super::process::{Finished, PATIENCE, until};
use super::{Shim, each};

/// Home of a gateway that reaches no server: kills need none.
fn home() -> Home {
    Home::new().url("up", "http://127.0.0.1:9/mcp")
}

async fn serve(home: Home, shim: &Shim) -> Gate {
    let (name, value) = shim.environment();
    home.serve_with(&[(name, &value)]).await
}

/// Works the kill switch of the gateway, which alone writes: the command does not know its state directory.
pub(super) async fn kill(gate: &Gate, words: &[&str]) -> Finished {
    let url = format!("http://{}", gate.admin);
    let token = gate.home.path("state/admin-token").display().to_string();
    let words = [&["kill"], words, &["--url", &url, "--token-file", &token]].concat();
    gate.home.keepgate(&words).await
}

const SET: [&str; 5] = ["set", "server", "up", "--reason", "test"];

/// Number of records of each kind and kill, and whether one of them is marked as late.
pub(super) async fn records(home: &Home) -> BTreeMap<(String, String), (usize, bool)> {
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
        "orderly, and a command clears the kill then" => {
            let id = set(&gate).await;
            gate = gate.end_keeping().await;
            let state = gate.home.path("state").display().to_string();
            let words = ["kill", "clear", &id, "--reason", "over", "--state", &state];
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
        "orderly, and a command clears the kill then",
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

/// Works the switch: sets a kill, or clears the one of this id.
async fn act(gate: &Gate, cleared: Option<&str>) -> Finished {
    match cleared {
        None => kill(gate, &SET).await,
        Some(id) => kill(gate, &["clear", id, "--reason", "over"]).await,
    }
}

/// A gateway, and the kill that is to be cleared if that is the act.
async fn before(clears: bool) -> (Gate, Shim, Option<String>) {
    let home = home();
    let shim = Shim::new(&home);
    let gate = serve(home, &shim).await;
    let id = match clears {
        true => Some(set(&gate).await),
        false => None,
    };
    (gate, shim, id)
}

/// Operations of an act, and of what is written of it afterwards.
async fn operations(clears: bool) -> Vec<String> {
    let (gate, shim, id) = before(clears).await;
    shim.trace();
    assert_eq!(act(&gate, id.as_deref()).await.code, Some(0));
    // The database learns of the record at the next look.
    let writes = || {
        let traced = shim.traced();
        traced
            .iter()
            .filter(|it| it.contains("keepgate.db"))
            .count()
    };
    let first = writes();
    until("the note of the record", async || writes() > first).await;
    shim.traced()
}

/// Cuts an act off by `rule`: the next starts have it on record once, or it did not happen and nobody was answered.
async fn cut_off(clears: bool, rule: String) {
    let (mut gate, shim, id) = before(clears).await;
    shim.obey(&rule);
    let answered = act(&gate, id.as_deref()).await.code == Some(0);
    gate.process.signal(Signal::SIGKILL);
    gate.process.ended(PATIENCE).await;
    let mut home = gate.home;
    for start in 1..=2 {
        let gate = home.serve().await;
        let list = kill(&gate, &["list", "--all"]).await.json();
        let kills = list["kills"].as_array().expect("kills").clone();
        home = gate.end_keeping().await.home;
        let mut acts = BTreeSet::new();
        for kill in &kills {
            let id = kill["id"].as_str().expect("an id").to_owned();
            acts.insert(("kill.set".to_owned(), id.clone()));
            if kill["state"] != "active" {
                acts.insert(("kill.cleared".to_owned(), id));
            }
        }
        let at = format!("clears: {clears}, `{rule}`, start {start}");
        let expected = if clears { 2 } else { 1 };
        assert!(!answered || acts.len() == expected, "{at}: {kills:?}");
        let found = records(&home).await;
        assert!(
            found.values().all(|(count, _)| *count == 1),
            "{at}: {found:?}"
        );
        assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), acts, "{at}");
    }
    home.verified().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_cut_off_at_any_operation_is_on_record_once_or_did_not_happen() {
    for clears in [false, true] {
        let operations = operations(clears).await;
        for file in ["kill.log", "keepgate.db", "audit/tail"] {
            let is_there = operations.iter().any(|it| it.contains(file));
            assert!(is_there, "{file}: {operations:?}");
        }
        let rules = operations.iter().enumerate().map(|(index, operation)| {
            let torn = operation.starts_with("write") && index % 2 == 0;
            let action = if torn { "tear" } else { "kill" };
            format!("any state {} {action}\n", index + 1)
        });
        each(rules.collect(), move |rule| cut_off(clears, rule)).await;
    }
}

/// An entry of a kill that somebody set while no gateway ran.
fn entry(number: usize) -> Set {
    let wish = Wish {
        scope: Scope::parse("caller", Some(&format!("c{number}"))).expect("a scope"),
        tenant: None,
        reason: "test".to_owned(),
        by: "local:test".to_owned(),
        lasts: None,
    };
    Set::of(&Kill::new(wish, SystemTime::now()).expect("a kill"))
}

/// Ids of all kills that operators see as active.
pub(super) async fn active(gate: &Gate) -> BTreeSet<String> {
    let list = kill(gate, &["list"]).await.json();
    let kills = list["kills"].as_array().expect("kills").iter();
    kills
        .map(|kill| kill["id"].as_str().expect("an id").to_owned())
        .collect()
}

fn length(state: &Path) -> u64 {
    std::fs::metadata(state.join(KillFile::FILE)).map_or(0, |file| file.len())
}

/// A home whose file has five kills in many lines, and their ids.
fn many_lines() -> (Home, BTreeSet<String>) {
    let home = home();
    let sets: Vec<Set> = (0..5).map(entry).collect();
    let lines: Vec<Entry> = (0..400)
        .flat_map(|_| sets.iter().cloned().map(Entry::Set))
        .collect();
    KillFile::new(&home.path("state"))
        .append(&lines)
        .expect("a file");
    (home, sets.into_iter().map(|set| set.id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_survive_a_compaction_that_is_cut_off_anywhere() {
    // Unlink, create, write, sync and rename of the new file; the sixth is not reached, and the file is compacted.
    let kills = (1..=6).map(|nth| (nth, "kill"));
    for (nth, action) in kills.chain([(3, "tear")]) {
        let (home, ids) = many_lines();
        let state = home.path("state");
        let before = length(&state);
        let shim = Shim::new(&home);
        shim.obey(&format!("any state/kill.log {nth} {action}\n"));
        let (name, value) = shim.environment();
        let mut process = home.start(&[(name, &value)]);
        if nth < 6 {
            process.ended(PATIENCE).await;
        } else {
            until("a compacted file", async || length(&state) < before / 100).await;
            process.signal(Signal::SIGKILL);
            process.ended(PATIENCE).await;
        }
        // The file alone has to hold them.
        for part in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(
                state.join(format!("keepgate.db{part}")),
            ));
        }
        let gate = home.serve().await;
        assert_eq!(active(&gate).await, ids, "{nth} {action}");
        until("a compacted file", async || length(&state) < before / 100).await;
        assert_eq!(active(&gate).await, ids, "{nth} {action}");
        let gate = gate.end_keeping().await.home.serve().await;
        assert_eq!(active(&gate).await, ids, "{nth} {action}");
        gate.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_fails_leaves_the_file_as_it_was() {
    for fault in ["create", "write", "sync", "rename"] {
        let (home, ids) = many_lines();
        let state = home.path("state");
        let before = length(&state);
        let shim = Shim::new(&home);
        shim.obey(&format!("{fault} state/kill.log 1+ ENOSPC\n"));
        let mut gate = serve(home, &shim).await;
        gate.says("kill.log cannot be written again", 1).await;
        assert_eq!(length(&state), before, "{fault}");
        shim.obey("");
        let added = set(&gate).await;
        let gate = gate.kill().await.serve().await;
        let expected: BTreeSet<String> = ids.into_iter().chain([added]).collect();
        assert_eq!(active(&gate).await, expected, "{fault}");
        gate.end().await;
    }
}

/// A disk that hangs under the database alone, from the start and later: kills are set in time, and the gateway ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_holds_up_neither_kills_nor_the_end() {
    const HANGS: &str = "any,open state/keepgate.db 1+ delay=600000\n";
    for from_the_start in [true, false] {
        let home = home();
        let shim = Shim::new(&home);
        if from_the_start {
            shim.obey(HANGS);
        }
        let gate = serve(home, &shim).await;
        shim.obey(HANGS);
        for _ in 0..3 {
            let done = kill(&gate, &SET).await;
            let answer = done.json();
            assert_eq!(answer["kill"]["state"], "active", "{answer}");
            assert_eq!(done.code, Some(0), "{answer}");
        }
        let mut process = gate.process;
        process.signal(Signal::SIGTERM);
        process.ended(PATIENCE / 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_kills_are_listed_on_many_pages() {
    let count = if std::env::var_os("SOAK").is_some() {
        100_000
    } else {
        5_000
    };
    let home = home();
    let acts: Vec<Entry> = (0..count)
        .flat_map(|number| {
            let set = entry(number);
            // So many callers are not cut off at once.
            let clear = (number >= 3_000).then(|| Clear {
                id: set.id.clone(),
                reason: "over".to_owned(),
                by: "local:test".to_owned(),
                at: set.at.clone(),
            });
            std::iter::once(Entry::Set(set)).chain(clear.map(Entry::Clear))
        })
        .collect();
    KillFile::new(&home.path("state"))
        .append(&acts)
        .expect("a file");
    let gate = home.serve().await;
    assert_eq!(active(&gate).await.len(), 3_000);
    let list = kill(&gate, &["list", "--all"]).await.json();
    let kills = list["kills"].as_array().expect("kills");
    let ids: BTreeSet<_> = kills.iter().map(|kill| kill["id"].to_string()).collect();
    assert_eq!((kills.len(), ids.len()), (count, count));
    assert!(list["next"].is_null(), "the command reads every page");
    gate.kill().await;
}
