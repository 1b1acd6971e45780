//! What verification finds.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use keepgate_audit::{Kind, Log, Problem, Record, Verdict};

use super::{
    at, call, check, check_against, closed_log, intent, outcome, problems, settings, signed_files,
};

#[test]
fn a_closed_log_is_sound() {
    let log = closed_log(300);
    let report = check(log.path());
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict(), Verdict::Sound);
    assert_eq!(report.records, 602);
    assert_eq!(
        (
            report.signed,
            report.unsigned,
            report.torn_bytes,
            report.unfinished
        ),
        (602, 0, 0, 0)
    );
    assert_eq!(report.kinds[&Kind::CallIntent], 300);
    assert_eq!(report.kinds[&Kind::LogClosed], 1);
}

/// Flips one bit of a file in place.
fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1 << (at % 8);
    file.write_all_at(&byte, at).unwrap();
}

/// Flips bytes of every file, one at a time, `step` apart; gives how many.
fn flip_all(directory: &Path, files: &[PathBuf], step: impl Fn(u64) -> u64) -> usize {
    let mut flips = 0;
    for path in files {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        let mut at = 0;
        while at < length {
            flip(&file, at);
            let report = check(directory);
            assert!(
                matches!(
                    report.verdict(),
                    Verdict::Tampered | Verdict::Truncated | Verdict::Unsigned
                ),
                "{} byte {at}: {:?}",
                path.display(),
                report.findings
            );
            flip(&file, at);
            flips += 1;
            at += step(length);
        }
    }
    assert_eq!(check(directory).verdict(), Verdict::Sound);
    flips
}

#[test]
fn every_flipped_byte_is_found() {
    let log = closed_log(4);
    let files = signed_files(log.path());
    assert_eq!(
        files.len(),
        4,
        "checkpoint, tail, partial tile, partial bundle: {files:?}"
    );
    let flips = flip_all(log.path(), &files, |_length| 1);
    assert!(flips > 5000, "{flips}");
}

#[test]
fn flipped_bytes_of_full_tiles_and_of_upper_levels_are_found() {
    let log = closed_log(300);
    let files = signed_files(log.path());
    let name = |file: &PathBuf| file.strip_prefix(log.path()).unwrap().display().to_string();
    assert_eq!(
        files.iter().map(name).collect::<Vec<_>>(),
        [
            "checkpoint",
            "tail.2",
            "tile/0/000",
            "tile/0/001",
            "tile/0/002.p/90",
            "tile/1/000.p/2",
            "tile/entries/000",
            "tile/entries/001",
            "tile/entries/002.p/90",
        ]
    );
    flip_all(log.path(), &files, |length| (length / 40).max(1));
}

#[test]
fn a_flipped_byte_names_its_record() {
    let log = closed_log(300);
    let bundle = log.path().join("tile/entries/001");
    let mut bytes = fs::read(&bundle).unwrap();
    let at = bytes.windows(5).rposition(|text| text == b"files").unwrap();
    bytes[at] = b'F';
    fs::write(&bundle, bytes).unwrap();
    let report = check(log.path());
    assert_eq!(problems(&report), [Problem::Hash]);
    assert!(
        report.findings.iter().any(|finding| {
            finding.place == "tile/0/001" && finding.what.starts_with("its hash of record 511")
                || finding.what.starts_with("its hash of record 5")
        }),
        "{:?}",
        report.findings
    );
}

#[test]
fn a_dropped_tail_is_found() {
    let log = closed_log(4);
    let tail = log.path().join("tail.0");
    let bytes = fs::read(&tail).unwrap();
    let mut rest = bytes.as_slice();
    let mut cuts = vec![0];
    while let [high, low, after @ ..] = rest {
        rest = &after[usize::from(u16::from_be_bytes([*high, *low]))..];
        cuts.push(bytes.len() - rest.len());
    }
    for cut in &cuts[..cuts.len() - 1] {
        fs::write(&tail, &bytes[..*cut]).unwrap();
        let report = check(log.path());
        assert_eq!(
            report.verdict(),
            Verdict::Truncated,
            "cut at {cut}: {:?}",
            report.findings
        );
    }
    fs::remove_file(&tail).unwrap();
    assert_eq!(check(log.path()).verdict(), Verdict::Truncated);
}

#[test]
fn a_tail_dropped_with_its_checkpoint_is_found_against_a_kept_one() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    call(&log, "d-1");
    log.close();
    let old = copy(directory.path());

    let log = Log::open(settings(directory.path())).unwrap();
    call(&log, "d-2");
    log.close();
    let kept = fs::read(directory.path().join("checkpoint")).unwrap();

    // The older state is sound in itself: only a checkpoint kept elsewhere tells that something came after it.
    assert_eq!(check(old.path()).verdict(), Verdict::Sound);
    let report = check_against(old.path(), kept);
    assert_eq!(report.verdict(), Verdict::Truncated);
    assert_eq!(report.findings[0].place, "kept");
    // And an older checkpoint agrees with the newer log.
    let older = fs::read(old.path().join("checkpoint")).unwrap();
    assert_eq!(
        check_against(directory.path(), older).verdict(),
        Verdict::Sound
    );
    assert_eq!(
        check_against(directory.path(), b"rubbish".to_vec()).verdict(),
        Verdict::Unsigned
    );
}

#[test]
fn a_log_rewritten_with_its_own_key_is_found_against_a_kept_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    call(&log, "d-1");
    log.close();
    let kept = fs::read(directory.path().join("checkpoint")).unwrap();
    // Who has the signing key writes another history of the same length.
    for name in ["checkpoint", "tail.0"] {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    fs::remove_dir_all(directory.path().join("tile")).unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    call(&log, "d-9");
    log.close();
    assert_eq!(check(directory.path()).verdict(), Verdict::Sound);
    let report = check_against(directory.path(), kept);
    assert_eq!(problems(&report), [Problem::Rewritten]);
    assert_eq!(report.verdict(), Verdict::Tampered);
}

#[test]
fn reordered_records_are_found() {
    let log = closed_log(4);
    let tail = log.path().join("tail.0");
    let bytes = fs::read(&tail).unwrap();
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2;
    let second = usize::from(u16::from_be_bytes([bytes[length], bytes[length + 1]])) + 2;
    let mut swapped = bytes[length..length + second].to_vec();
    swapped.extend_from_slice(&bytes[..length]);
    swapped.extend_from_slice(&bytes[length + second..]);
    fs::write(&tail, swapped).unwrap();
    let report = check(log.path());
    assert_eq!(report.verdict(), Verdict::Tampered);
    assert_eq!(
        problems(&report),
        [Problem::Hash, Problem::Record, Problem::Intent]
    );
}

#[test]
fn a_missing_or_second_intent_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    call(&log, "d-1");
    log.append(&outcome("d-2")).wait().unwrap();
    log.append(&Record {
        decision_id: Some("d-3"),
        ..Record::new(Kind::CallOpen, at(2))
    })
    .wait()
    .unwrap();
    log.append(&outcome("d-1")).wait().unwrap();
    log.append(&Record::new(Kind::CallOutcome, at(2)))
        .wait()
        .unwrap();
    log.append(&intent("d-4")).wait().unwrap();
    log.append(&intent("d-4")).wait().unwrap();
    log.close();
    let report = check(directory.path());
    assert_eq!(report.verdict(), Verdict::Unannounced);
    assert_eq!(problems(&report), [Problem::Intent]);
    let places: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.place.as_str())
        .collect();
    assert_eq!(
        places,
        ["record 3", "record 4", "record 5", "record 6", "record 8"]
    );
    assert_eq!(report.unfinished, 1);
}

#[test]
fn an_intent_without_outcome_is_counted_and_an_outcome_after_a_restart_is_not_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    log.append(&intent("d-1")).wait().unwrap();
    log.close();
    assert_eq!(check(directory.path()).unfinished, 1);
    let log = Log::open(settings(directory.path())).unwrap();
    log.append(&outcome("d-1")).wait().unwrap();
    log.close();
    let report = check(directory.path());
    assert_eq!(report.unfinished, 1);
    assert_eq!(problems(&report), [Problem::Intent]);
}

#[test]
fn files_that_are_gone_or_do_not_belong_are_found() {
    let log = closed_log(300);
    let file = |name: &str| log.path().join(name);
    for name in [
        "tile/0/000",
        "tile/0/002.p/90",
        "tile/1/000.p/2",
        "tile/entries/002.p/90",
    ] {
        let bytes = fs::read(file(name)).unwrap();
        fs::remove_file(file(name)).unwrap();
        assert_eq!(problems(&check(log.path())), [Problem::File], "{name}");
        fs::write(file(name), bytes).unwrap();
    }
    for name in [
        "tile/0/003",
        "tile/entries/003",
        "tile/0/notes.txt",
        "tile/2/000",
        "tile/0/002.p/91",
        "tail.3",
    ] {
        fs::create_dir_all(file(name).parent().unwrap()).unwrap();
        fs::write(file(name), b"x").unwrap();
        assert_eq!(problems(&check(log.path())), [Problem::File], "{name}");
        fs::remove_file(file(name)).unwrap();
    }
    let bundle = fs::read(file("tile/entries/000")).unwrap();
    fs::remove_file(file("tile/entries/000")).unwrap();
    assert!(problems(&check(log.path())).contains(&Problem::Truncated));
    fs::write(file("tile/entries/000"), bundle).unwrap();
    let checkpoint = fs::read(file("checkpoint")).unwrap();
    fs::remove_file(file("checkpoint")).unwrap();
    assert_eq!(check(log.path()).verdict(), Verdict::Unsigned);
    fs::write(file("checkpoint"), checkpoint).unwrap();
    assert_eq!(check(log.path()).verdict(), Verdict::Sound);
}

#[test]
fn records_added_without_the_key_are_reported_as_unsigned() {
    let log = closed_log(2);
    let tail = log.path().join("tail.0");
    let mut bytes = fs::read(&tail).unwrap();
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]])) + 2;
    // A copy of the first record with the number of the next.
    let mut forged = String::from_utf8(bytes[2..length].to_vec()).unwrap();
    forged = forged.replace("\"seq\":0,", "\"seq\":6,");
    bytes.extend_from_slice(&u16::try_from(forged.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(forged.as_bytes());
    fs::write(&tail, &bytes).unwrap();
    let report = check(log.path());
    assert_eq!((report.signed, report.unsigned), (6, 1));
    assert_eq!(report.verdict(), Verdict::SoundUnsigned);
}

#[test]
fn bytes_behind_an_orderly_end_are_found() {
    let log = closed_log(2);
    let tail = log.path().join("tail.0");
    let mut bytes = fs::read(&tail).unwrap();
    bytes.extend_from_slice(b"\0\x10half");
    fs::write(&tail, &bytes).unwrap();
    let report = check(log.path());
    assert_eq!(report.torn_bytes, 6);
    assert_eq!(problems(&report), [Problem::File]);
}

#[test]
fn a_wrong_key_is_not_taken() {
    let log = closed_log(1);
    let other = closed_log(1);
    let report = keepgate_audit::verify(log.path(), &super::key(other.path()), &[]).unwrap();
    assert_eq!(report.verdict(), Verdict::Unsigned);
    assert!(
        keepgate_audit::verify(&log.path().join("nowhere"), &super::key(log.path()), &[]).is_err()
    );
}

#[test]
fn a_log_can_be_verified_while_it_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    std::thread::scope(|scope| {
        let writing =
            scope.spawn(|| (0..3000).for_each(|number| call(&log, &format!("d-{number}"))));
        let mut rounds = 0;
        while !writing.is_finished() {
            let report = check(directory.path());
            assert_eq!(report.findings, [], "after {rounds} rounds");
            rounds += 1;
        }
        assert!(rounds > 1);
    });
    log.close();
    assert_eq!(check(directory.path()).verdict(), Verdict::Sound);
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    let mut directories = vec![from.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let target = to.path().join(path.strip_prefix(from).unwrap());
            if path.is_dir() {
                fs::create_dir_all(&target).unwrap();
                directories.push(path);
            } else {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(&path, &target).unwrap();
            }
        }
    }
    to
}
