//! Records that share one: found by the ids that were handed out, and missed when a crash took their count.

use std::time::{Duration, SystemTime};

use keepgate_audit::{Kind, Log, Record, Repeat, Scope, find};

use super::{check, settings};

const WITHIN: Duration = Duration::from_secs(10);

fn first(id: &str, at: SystemTime) -> Record<'_> {
    Record {
        decision_id: Some(id),
        repeat: Some(Repeat::Opened {
            within: WITHIN,
            scope: Scope::Equal,
        }),
        ..Record::new(Kind::CallRefused, at)
    }
}

fn counted(id: &str, count: u64, at: SystemTime) -> Record<'_> {
    Record {
        decision_id: Some(id),
        repeat: Some(Repeat::Counted {
            count,
            first: at,
            last: at,
            scope: Scope::Equal,
        }),
        ..Record::new(Kind::RecordRepeated, at)
    }
}

#[test]
fn shared_ids_find_the_first_record_and_the_count() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let now = SystemTime::now();
    for record in [
        first("counted", now),
        first("open", now),
        Record {
            decision_id: Some("alone"),
            ..Record::new(Kind::CallRefused, now)
        },
        counted("counted", 17, now),
    ] {
        log.append(&record).wait().unwrap();
    }
    for (id, records) in [
        ("counted", 2),
        ("counted.1", 2),
        ("counted.17", 2),
        ("counted.18", 0),
        ("counted.0", 0),
        ("counted.x", 0),
        ("counted.1.1", 0),
        // Its count may still come.
        ("open.5", 1),
        ("alone", 1),
        ("alone.1", 0),
        ("none.1", 0),
    ] {
        assert_eq!(find(directory.path(), id).unwrap().len(), records, "{id}");
    }
    log.close();
}

#[test]
fn verification_says_whose_count_a_crash_took() {
    let directory = tempfile::tempdir().unwrap();
    let start = SystemTime::now() - Duration::from_secs(60);
    let after = |seconds| start + Duration::from_secs(seconds);
    // Whether a log breaks off after these records, and how many counts are missing then.
    let table: [(&[Record<'_>], u64); 4] = [
        (&[first("a", start)], 1),
        (&[first("a", start), counted("a", 3, after(10))], 0),
        // Nothing came within its window, so nothing had to be counted.
        (&[first("a", start), first("b", after(30))], 1),
        (
            &[
                first("a", start),
                first("b", after(1)),
                counted("b", 1, after(11)),
            ],
            1,
        ),
    ];
    for (number, (records, missing)) in table.into_iter().enumerate() {
        let log = Log::open(settings(directory.path())).unwrap();
        for record in records {
            log.append(record).wait().unwrap();
        }
        let report = check(directory.path());
        assert_eq!(report.findings, []);
        assert_eq!(report.uncounted, missing, "case {number}");
        log.close();
        // Closed in order, nothing is missing.
        assert_eq!(check(directory.path()).uncounted, 0, "case {number}");
    }
}
