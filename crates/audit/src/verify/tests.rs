//! Verification of anything that may lie in a directory: it may find much, but it must end and not panic.

use std::fs;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::{Log, Record, Settings};

fn log(records: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::new(directory.path(), "gate.example/test", "node-1");
    let log = Log::open(Settings {
        min_free_bytes: 0,
        append_timeout: std::time::Duration::from_secs(30),
        ..settings
    })
    .unwrap();
    for number in 0..records {
        let id = number.to_string();
        let intent = Record::new(Kind::CallIntent, std::time::SystemTime::UNIX_EPOCH);
        log.append(&Record {
            decision_id: Some(&id),
            ..intent
        })
        .wait()
        .unwrap();
    }
    log.close();
    directory
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Change {
    Replace(Vec<u8>),
    Flip(usize),
    Cut(usize),
    Insert(usize, Vec<u8>),
    Remove,
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        bytes().prop_map(Change::Replace),
        any::<usize>().prop_map(Change::Flip),
        any::<usize>().prop_map(Change::Cut),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        Just(Change::Remove),
    ]
}

fn apply(change: &Change, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let length = bytes.len().max(1);
    match change {
        Change::Replace(other) => return Some(other.clone()),
        Change::Flip(at) => bytes[at % length] ^= 1 << (at % 8),
        Change::Cut(at) => bytes.truncate(at % length),
        Change::Insert(at, other) => {
            let at = at % length;
            bytes.splice(at..at, other.iter().copied());
        }
        Change::Remove => return None,
    }
    Some(bytes)
}

#[test]
fn bears_anything_and_finds_every_change() {
    let directory = log(300);
    let key = PublicKey::load(&directory.path().join("log.pub")).unwrap();
    let names = [
        "checkpoint",
        "tail.1",
        "tile/0/000",
        "tile/0/001.p/46",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/46",
    ];
    let mut runner = TestRunner::new(Config::with_cases(300));
    let cases = (0..names.len(), change());
    runner
        .run(&cases, |(at, change)| {
            let path = directory.path().join(names[at]);
            let before = fs::read(&path).unwrap();
            let after = apply(&change, before.clone());
            match &after {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let report = verify(directory.path(), &key, &[]).unwrap();
            // Opening must not panic either; it may take the log up or leave it alone.
            let same = after.as_ref() == Some(&before);
            prop_assert_eq!(report.findings.is_empty(), same, "{:?}", report.findings);
            fs::write(&path, before).unwrap();
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_tree_of_rubbish_is_no_log() {
    let directory = tempfile::tempdir().unwrap();
    let key = PublicKey::load(&log(0).path().join("log.pub")).unwrap();
    let verdict = || verify(directory.path(), &key, &[]).unwrap().verdict();
    assert_eq!(verdict(), Verdict::Unsigned);
    fs::create_dir_all(directory.path().join("tile/0/000")).unwrap();
    fs::create_dir_all(directory.path().join("checkpoint")).unwrap();
    fs::create_dir_all(directory.path().join("tail.0")).unwrap();
    assert_eq!(verdict(), Verdict::Unsigned);
}

#[test]
fn findings_are_bounded() {
    let mut report = Report::new("x");
    (0..250).for_each(|_| report.find(Problem::Hash, "place", "what"));
    assert_eq!((report.findings.len(), report.more_findings), (100, 150));
    assert_eq!(report.verdict(), Verdict::Tampered);
}

#[test]
fn the_gravest_finding_decides() {
    let mut report = Report::new("x");
    assert_eq!(report.verdict(), Verdict::Sound);
    report.unsigned = 1;
    assert_eq!(report.verdict(), Verdict::SoundUnsigned);
    for (problem, verdict) in [
        (Problem::Intent, Verdict::Unannounced),
        (Problem::Truncated, Verdict::Truncated),
        (Problem::File, Verdict::Tampered),
        (Problem::Intent, Verdict::Tampered),
        (Problem::Signature, Verdict::Unsigned),
    ] {
        report.find(problem, "place", "what");
        assert_eq!(report.verdict(), verdict);
    }
}
