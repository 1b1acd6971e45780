//! The audit log from outside: written, killed, filled up, tampered with, and verified.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::too_many_lines,
    clippy::indexing_slicing,
    reason = "everything here is a test or serves one"
)]

mod disk;
mod format;
mod independent;
mod kill;
mod repeat;
mod tamper;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keepgate_audit::{
    Against, Caller, Decision, Kind, Log, Outcome, Problem, PublicKey, Record, Report, Settings,
    Status, verify,
};

/// Settings for tests: no reserve, quick to sign, patient on a busy machine.
fn settings(directory: &Path) -> Settings {
    Settings {
        min_free_bytes: 0,
        append_timeout: Duration::from_secs(30),
        checkpoint_interval: Duration::from_millis(20),
        ..Settings::new(directory, "gate.example/test", "node-1")
    }
}

/// A fixed time, so that logs differ only where they should.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_157_292 + seconds)
}

fn intent(id: &str) -> Record<'_> {
    Record {
        decision_id: Some(id),
        tenant: Some("acme"),
        caller: Some(Caller {
            kind: "key",
            user_id: "local:ci",
            key_id: Some("k1"),
            issuer: None,
            client_id: None,
        }),
        server: Some("files"),
        method: Some("tools/call"),
        tool_name: Some("read_file"),
        decision: Some(Decision::Allow),
        ..Record::new(Kind::CallIntent, at(0))
    }
}

fn outcome(id: &str) -> Record<'_> {
    Record {
        decision_id: Some(id),
        result: Some(Outcome {
            bytes: Some(250),
            ..Outcome::new(Status::Ok)
        }),
        ..Record::new(Kind::CallOutcome, at(1))
    }
}

/// A call with both its records, acknowledged.
fn call(log: &Log, id: &str) {
    log.append(&intent(id)).wait().unwrap();
    log.append(&outcome(id)).wait().unwrap();
}

/// A closed log of so many calls.
fn closed_log(calls: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    for number in 0..calls {
        call(&log, &format!("d-{number}"));
    }
    log.close();
    directory
}

fn key(directory: &Path) -> PublicKey {
    PublicKey::load(&directory.join("log.pub")).unwrap()
}

fn check(directory: &Path) -> Report {
    verify(directory, &key(directory), &[]).unwrap()
}

fn check_against(directory: &Path, note: Vec<u8>) -> Report {
    verify(
        directory,
        &key(directory),
        &[Against {
            name: "kept".into(),
            note,
        }],
    )
    .unwrap()
}

fn problems(report: &Report) -> Vec<Problem> {
    let mut problems: Vec<Problem> = report
        .findings
        .iter()
        .map(|finding| finding.problem)
        .collect();
    problems.sort_unstable();
    problems.dedup();
    problems
}

/// Every file of a log that its signature covers.
fn signed_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = vec![directory.join("checkpoint")];
    let mut directories = vec![directory.join("tile")];
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("tail.")
        {
            files.push(path);
        }
    }
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path)
            } else {
                files.push(path)
            }
        }
    }
    files.sort();
    files
}
