//! A verifier that shares no code with ours: a script on Python's standard library.

#![expect(
    clippy::disallowed_methods,
    reason = "the other verifier is another process"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use keepgate_audit::Log;

use super::{call, closed_log, settings, signed_files};

fn independent(directory: &Path) -> std::io::Result<Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent_verify.py");
    Command::new("python3")
        .arg(script)
        .arg(directory)
        .arg(directory.join("log.pub"))
        .output()
}

#[test]
fn an_independent_verifier_agrees() {
    // One record, a full bundle, one more, and a second level of tiles.
    for calls in [0, 1, 127, 128, 600] {
        let log = closed_log(calls);
        let output = independent(log.path()).unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{calls} calls: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            said.starts_with(&format!("verified {} records", 2 * calls + 2)),
            "{said}"
        );
        println!("{}", said.trim());
    }
}

#[test]
fn an_independent_verifier_finds_tampering_too() {
    let log = closed_log(200);
    for file in signed_files(log.path()) {
        // It reads what tlog-tiles defines; the tail is ours.
        if file
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("tail.")
        {
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        fs::write(&file, flipped).unwrap();
        let output = independent(log.path()).unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stdout)
        );
        fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn an_independent_verifier_reads_a_log_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    for number in 0..150 {
        call(&log, &format!("d-{number}"));
    }
    while log.health().signed != log.health().size {
        std::thread::yield_now();
    }
    let output = independent(directory.path()).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    log.close();
}
