//! Reading from the beginning, from the end, and along with a writer.

use std::fs;
use std::thread;
use std::time::SystemTime;

use super::*;
use crate::{Kind, Log, Record, Settings};

fn log(directory: &Path) -> Log {
    let settings = Settings::new(directory, "gate.example/test", "node-1");
    Log::open(Settings {
        min_free_bytes: 0,
        append_timeout: std::time::Duration::from_secs(30),
        ..settings
    })
    .unwrap()
}

fn record(id: &str) -> Record<'_> {
    Record {
        decision_id: Some(id),
        ..Record::new(Kind::CallIntent, SystemTime::UNIX_EPOCH)
    }
}

fn indexes(directory: &Path, start: Start) -> Vec<u64> {
    let mut reader = Reader::open(directory, start).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| entry.index)
        .collect()
}

#[test]
fn looks_back_as_far_as_it_has_to() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let records = 2 * WINDOW + 300;
    let appended: Vec<_> = (0..records)
        .map(|number| {
            let record = Record::new(Kind::CallIntent, at(number));
            log.append(&record)
        })
        .collect();
    for append in appended {
        append.wait().unwrap();
    }
    let seen = |since, max| {
        let mut count = 0;
        look_back(directory.path(), since, max, |json| {
            assert!(moment(json).is_some(), "{json}");
            count += 1;
        })
        .unwrap();
        count
    };
    // The first record is that of the log itself.
    assert_eq!(seen(at(0), u64::MAX), records + 1, "each once");
    let window = WINDOW..WINDOW + 256;
    assert!(window.contains(&seen(at(records + 1), u64::MAX)));
    assert!(window.contains(&seen(at(0), 10)), "at most about so many");
}

#[test]
fn begins_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    for _ in 0..700 {
        log.append(&record("d")).wait().unwrap();
    }
    for closed in [false, true] {
        if closed {
            log.close();
        }
        let size = 701 + u64::from(closed);
        for start in [0, 1, 255, 256, 257, 512, 700] {
            assert_eq!(
                indexes(directory.path(), Start::Index(start)),
                (start..size).collect::<Vec<u64>>()
            );
        }
        for count in [0, 1, 2, 189, 300, 5000] {
            let expected = size.saturating_sub(count)..size;
            assert_eq!(
                indexes(directory.path(), Start::Last(count)),
                expected.collect::<Vec<u64>>()
            );
        }
        assert_eq!(
            indexes(directory.path(), Start::Index(size + 300)),
            Vec::<u64>::new()
        );
    }
}

#[test]
fn follows_a_log_that_grows() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    thread::scope(|scope| {
        let mut reader = Reader::open(directory.path(), Start::Index(0)).unwrap();
        let writing = scope.spawn(|| {
            for number in 0..2000 {
                log.append(&record(&number.to_string())).wait().unwrap();
            }
            log.close();
        });
        let mut expected = 0;
        while expected < 2002 {
            // Asked first: what is written between the two is there for the next look.
            let is_over = writing.is_finished();
            match reader.next_entry().unwrap() {
                Some(entry) => {
                    assert_eq!(entry.index, expected);
                    assert!(entry.json.contains(&format!("\"seq\":{expected},")));
                    expected += 1;
                }
                None => assert!(!is_over, "stopped at {expected}"),
            }
        }
    });
}

#[test]
fn a_torn_record_is_waited_for_and_a_damaged_bundle_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let log = log(directory.path());
    for _ in 0..300 {
        log.append(&record("d")).wait().unwrap();
    }
    log.close();
    let tail = directory.path().join("tail.1");
    let whole = fs::read(&tail).unwrap();
    fs::write(&tail, &whole[..whole.len() - 5]).unwrap();
    let mut reader = Reader::open(directory.path(), Start::Index(300)).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().index, 300);
    assert_eq!(reader.next_entry().unwrap(), None);
    fs::write(&tail, &whole).unwrap();
    assert_eq!(reader.next_entry().unwrap().unwrap().index, 301);

    let bundle = directory.path().join("tile/entries/000");
    let whole = fs::read(&bundle).unwrap();
    fs::write(&bundle, &whole[..whole.len() - 5]).unwrap();
    let mut reader = Reader::open(directory.path(), Start::Index(255)).unwrap();
    assert!(matches!(
        reader.next_entry(),
        Err(ReadError::Damaged { .. })
    ));
}

#[test]
fn an_empty_directory_has_no_records() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        indexes(directory.path(), Start::Index(0)),
        Vec::<u64>::new()
    );
    assert_eq!(indexes(directory.path(), Start::Last(5)), Vec::<u64>::new());
}
