//! Disks that are full, broken or hang.

#![expect(
    clippy::disallowed_methods,
    reason = "a limit on file sizes holds for a whole process, so a test needs its own"
)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use keepgate_audit::{AppendError, Kind, Log, Record, Settings, State, Verdict};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::{at, call, check, intent, outcome, settings};

const DIRECTORY: &str = "KEEPGATE_TEST_DISK_DIRECTORY";

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(120), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A process whose files may not grow beyond 20,000 bytes: writes are cut short, then fail. Started by the test below.
#[test]
#[ignore = "is started by another test of this file"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    // Blocked here, it is blocked in the threads started from here: the write fails instead of ending the process.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let log = Log::open(settings(&directory)).unwrap();
    let (_soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 20_000, hard).unwrap();

    let mut kept = 0;
    let error = loop {
        match log.append(&intent(&format!("d-{kept}"))).wait() {
            Ok(_position) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 1000, "the limit does not hold");
    };
    assert_eq!(error, AppendError::Full);
    assert_eq!(log.health().state, State::Failing);
    assert!(log.health().failure.is_some());
    assert_eq!(
        log.append(&intent("d-refused")).wait(),
        Err(AppendError::Full)
    );
    log.post(&outcome("d-0"));
    // As long as there is no room, what is on disk is sound and holds what was acknowledged.
    let report = check(&directory);
    assert_eq!(report.findings, []);
    assert_eq!(report.kinds[&Kind::CallIntent], kept);

    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    call(&log, "d-again");
    until("the log is in order", || log.health().state == State::Ok);
    // What ends a call was kept while there was no room, and written first.
    assert_eq!(log.health().lost, 0);
    // What a long record left behind when it was cut short must not stand after a shorter one.
    let length = fs::metadata(directory.join("tail.0")).unwrap().len();
    setrlimit(Resource::RLIMIT_FSIZE, length + 5000, hard).unwrap();
    let long = "x".repeat(15_000);
    let record = Record {
        input_params: Some(&long),
        ..intent("d-long")
    };
    assert_eq!(log.append(&record).wait(), Err(AppendError::Full));
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    log.close();
    let report = check(&directory);
    assert_eq!(report.findings, []);
    assert_eq!(report.kinds[&Kind::CallIntent], kept + 1);
    assert_eq!(report.kinds.get(&Kind::LogLoss), None);
    assert_eq!(report.kinds[&Kind::CallOutcome], 2);
    assert_eq!(report.verdict(), Verdict::Sound);
    fs::write(directory.join("passed"), kept.to_string()).unwrap();
}

#[test]
fn a_write_cut_short_acknowledges_nothing_and_heals_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "disk::child", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let kept: u64 = fs::read_to_string(directory.path().join("passed"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(kept > 20, "{kept}");
}

/// A command with a file system of one mebibyte at `at` that nobody else sees: mounts of its own need root, or a user
/// namespace.
fn on_a_small_disk(at: &Path, command: &[&OsStr]) -> Option<Output> {
    let unshare = keepgate_machine::installed("unshare")?;
    keepgate_machine::installed("mount")?;
    let mut small = Command::new(unshare);
    small.arg("--mount");
    if !nix::unistd::geteuid().is_root() {
        small.args(["--user", "--map-root-user"]);
    }
    let script = r#"mount -t tmpfs -o size=1m none "$0" && exec "$@""#;
    small.args(["sh", "-c", script]).arg(at).args(command);
    small.env(DIRECTORY, at);
    Some(small.output().unwrap())
}

#[test]
fn a_full_disk_refuses_calls_and_heals_when_there_is_room() {
    let base = tempfile::tempdir().unwrap();
    let Some(tried) = on_a_small_disk(base.path(), &["true".as_ref()]) else {
        return;
    };
    if !tried.status.success() {
        let why = String::from_utf8_lossy(&tried.stderr).into_owned();
        keepgate_machine::skip(format_args!(
            "no file system can be mounted: {}",
            why.trim()
        ));
        return;
    }
    let own = std::env::current_exe().unwrap();
    let words = ["--ignored", "--exact", "disk::full", "--nocapture"].map(OsStr::new);
    let command: Vec<&OsStr> = [own.as_os_str()].into_iter().chain(words).collect();
    let output = on_a_small_disk(base.path(), &command).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // Whether it ran at all: a name that is gone would select no test and succeed.
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A process on a small disk of its own. Started by the test above.
#[test]
#[ignore = "is started by another test of this file"]
fn full() {
    let Some(disk) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let directory = disk.join("log");
    let log = Log::open(settings(&directory)).unwrap();
    call(&log, "d-first");
    let ballast = disk.join("ballast");
    // Leaves no block free.
    fs::write(&ballast, vec![0; 1 << 20]).unwrap_err();
    let mut kept = 0;
    let error = loop {
        match log.append(&intent(&format!("d-{kept}"))).wait() {
            Ok(_position) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 10_000, "the disk does not fill up");
    };
    assert_eq!(error, AppendError::Full);
    assert_eq!(log.health().state, State::Failing);

    fs::remove_file(&ballast).unwrap();
    call(&log, "d-last");
    until("the log is well again", || log.health().state == State::Ok);
    log.close();
    let report = check(&directory);
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Sound);
    assert_eq!(report.kinds[&Kind::CallIntent], kept + 2);
}

#[test]
fn below_the_reserve_calls_are_refused_and_running_ones_still_end() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(Settings {
        min_free_bytes: u64::MAX,
        ..settings(directory.path())
    })
    .unwrap();
    assert_eq!(log.health().state, State::Full);
    assert_eq!(log.append(&intent("d-1")).wait(), Err(AppendError::Full));
    assert_eq!(
        log.append(&Record::new(Kind::CallRefused, at(0))).wait(),
        Err(AppendError::Full)
    );
    log.append(&outcome("d-0")).wait().unwrap();
    log.close();
    assert_eq!(check(directory.path()).kinds[&Kind::CallOutcome], 1);
}

#[test]
fn a_disk_that_hangs_refuses_calls_in_time_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let timeout = Duration::from_secs(2);
    let settings = Settings {
        append_timeout: timeout,
        queue_bytes: 4096,
        checkpoint_interval: Duration::from_millis(300),
        ..settings(directory.path())
    };
    let log = Log::open(settings).unwrap();
    call(&log, "d-0");
    until("the checkpoint is written", || {
        log.health().signed == log.health().size
    });
    // Whoever opens such a file to write waits until somebody reads: the next checkpoint hangs in a system call.
    let spare = |number: u32| directory.path().join(format!("private/spare.{number}"));
    let pipes: Vec<PathBuf> = (0..100).map(spare).filter(|path| !path.exists()).collect();
    for pipe in &pipes {
        nix::unistd::mkfifo(pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    }
    log.append(&intent("d-1")).wait().unwrap();
    thread::sleep(Duration::from_millis(600));

    let began = Instant::now();
    assert_eq!(log.append(&intent("d-2")).wait(), Err(AppendError::Slow));
    assert!(began.elapsed() >= timeout, "{:?}", began.elapsed());
    assert_eq!(log.health().state, State::Slow);
    // From now on nobody waits.
    let began = Instant::now();
    assert_eq!(log.append(&intent("d-3")).wait(), Err(AppendError::Slow));
    assert!(began.elapsed() < timeout, "{:?}", began.elapsed());
    // What a vanished client leaves is kept, up to twice the queue.
    log.post(&outcome("d-2"));
    assert_eq!(log.health().lost, 0);
    for _ in 0..100 {
        log.post(&outcome("d-4"));
    }
    let lost = log.health().lost;
    assert!((1..100).contains(&lost), "{lost}");
    assert_eq!(log.health().state, State::Failing);

    // Opened for both, a pipe lets the writer in; it cannot take the write, which fails and is tried again with a file.
    let open = |pipe| fs::OpenOptions::new().read(true).write(true).open(pipe);
    let opened: Vec<_> = pipes.iter().map(open).collect();
    for pipe in &pipes {
        fs::remove_file(pipe).ok();
    }
    until("the log is well again", || log.health().state == State::Ok);
    drop(opened);
    call(&log, "d-5");
    log.close();
    let report = check(directory.path());
    // Each kept outcome of `d-4` has no intent, as it should be found; nothing else is wrong.
    assert_eq!(
        report.verdict(),
        Verdict::Unannounced,
        "{:?}",
        report.findings
    );
    assert_eq!(report.findings.len() as u64, 100 - lost);
    assert_eq!(
        report.kinds[&Kind::CallIntent],
        4,
        "d-2 was refused, but written later"
    );
    assert_eq!(report.kinds[&Kind::LogLoss], 1);
}
