//! `kill -9` in the middle of a load: what was acknowledged is in the log, and the log verifies, before and after the
//! next start.

#![expect(
    clippy::disallowed_methods,
    reason = "a test that kills a process must start one"
)]

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use keepgate_audit::{Durability, Log, Reader, Settings, Start, Verdict};

use super::{check, intent, outcome, settings};

const DIRECTORY: &str = "KEEPGATE_TEST_KILL_DIRECTORY";

/// The process that is killed; started by the tests below.
#[test]
#[ignore = "is started by the other tests of this file"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let durability = if directory.ends_with("synced") {
        Durability::Synced
    } else {
        Durability::Written
    };
    // Once a second, so that most kills find records beyond the last checkpoint.
    let settings = Settings {
        durability,
        checkpoint_interval: Duration::from_secs(1),
        ..settings(&directory)
    };
    let log = Log::open(settings).unwrap();
    let run = log.public_key().as_str().len() + usize::try_from(log.health().size).unwrap();
    thread::scope(|scope| {
        for lane in 0..8 {
            let (log, directory) = (&log, &directory);
            scope.spawn(move || {
                let told = directory.join(format!("told.{lane}"));
                let mut told = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(told)
                    .unwrap();
                for number in 0.. {
                    let id = format!("{run}-{lane}-{number}");
                    let position = log.append(&intent(&id)).wait().unwrap();
                    // What the caller does once it was told; it survives the kill as a file does.
                    told.write_all(format!("{} {id}\n", position.index).as_bytes())
                        .unwrap();
                    if number % 7 != 0 {
                        log.append(&outcome(&id)).wait().unwrap();
                    }
                }
            });
        }
    });
}

/// Runs the child for a while and kills it.
fn run_and_kill(directory: &Path, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "kill::child"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The load must have begun.
    let began = Instant::now();
    let told = directory.join("told.0");
    let before = fs::metadata(&told).map_or(0, |found| found.len());
    while fs::metadata(&told).map_or(0, |found| found.len()) == before {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the child does not write"
        );
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child ended by itself"
        );
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Checks that every acknowledged record stands where its caller was told.
fn check_told(directory: &Path) -> usize {
    let mut ids = HashSet::new();
    let mut reader = Reader::open(directory, Start::Index(0)).unwrap();
    while let Some(entry) = reader.next_entry().unwrap() {
        let value: serde_json::Value = serde_json::from_str(&entry.json).unwrap();
        if value["kind"] == "call.intent" {
            ids.insert(format!(
                "{} {}",
                entry.index,
                value["decision_id"].as_str().unwrap()
            ));
        }
    }
    let mut told = 0;
    for lane in 0..8 {
        let text = fs::read_to_string(directory.join(format!("told.{lane}"))).unwrap_or_default();
        // The kill may have come in the middle of a line.
        for line in text
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
        {
            assert!(
                ids.contains(line),
                "told of `{line}`, but the log does not have it"
            );
            told += 1;
        }
    }
    told
}

fn kill_often(directory: &Path, times: u64, least: usize) {
    fs::create_dir_all(directory).unwrap();
    let (mut unsigned, mut told) = (0, 0);
    for time in 0..times {
        run_and_kill(directory, Duration::from_millis(7 * time + 3));
        // As it was left, with no server to put it in order.
        let report = check(directory);
        assert_eq!(report.findings, [], "after kill {time}");
        assert!(
            report.unsigned <= 256,
            "{} records were not signed",
            report.unsigned
        );
        unsigned += report.unsigned;
        told = check_told(directory);
    }
    assert!(
        unsigned > 0,
        "no kill came between a record and its checkpoint"
    );
    assert!(told > least, "{told} records are no load");
    let log = Log::open(settings(directory)).unwrap();
    log.close();
    let report = check(directory);
    assert_eq!((report.verdict(), report.unsigned), (Verdict::Sound, 0));
    assert!(report.unfinished > 0);
    assert_eq!(check_told(directory), told);
    println!(
        "{times} kills: {} records, {told} acknowledged intents, {unsigned} found unsigned",
        report.records
    );
}

#[test]
fn killed_twenty_times_in_mid_load_every_log_verifies() {
    let directory = tempfile::tempdir().unwrap();
    kill_often(&directory.path().join("written"), 20, 1000);
}

#[test]
fn killed_in_mid_load_with_synced_durability_every_log_verifies() {
    let directory = tempfile::tempdir().unwrap();
    kill_often(&directory.path().join("synced"), 4, 20);
}

/// A kill can come when a bundle has just become full and the tile over it is not written yet, while the partial tile
/// of the last checkpoint still lies there. The log is as sound as any that was killed.
#[test]
fn a_kill_between_a_full_bundle_and_its_tile_leaves_a_sound_log() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(Settings {
        checkpoint_interval: Duration::from_secs(3600),
        ..settings(directory.path())
    })
    .unwrap();
    // With the log's own first record one less than a bundle, so that nothing is signed after it.
    for number in 0..254 {
        log.append(&intent(&format!("d-{number}"))).wait().unwrap();
    }
    let left = tempfile::tempdir().unwrap();
    copy(directory.path(), left.path());
    log.append(&intent("d-254")).wait().unwrap();
    // The bundle with its last record, and of all else what stood before.
    let bundle = directory.path().join("tile/entries/000");
    while !bundle.exists() {
        std::thread::yield_now();
    }
    fs::copy(&bundle, left.path().join("tail.0")).unwrap();
    let report = check(left.path());
    assert_eq!(report.findings, []);
    assert_eq!((report.records, report.signed), (256, 1));
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
