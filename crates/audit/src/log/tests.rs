//! Opening, putting in order, closing; what is refused.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::health::State;
use crate::reader::{Reader, Start};
use crate::record::Kind;
use crate::settings::Durability;
use crate::verify::{Verdict, verify};

fn settings(directory: &Path) -> Settings {
    Settings {
        min_free_bytes: 0,
        append_timeout: std::time::Duration::from_secs(30),
        ..Settings::new(directory, "gate.example/test", "node-1")
    }
}

fn record(id: &str) -> Record<'_> {
    Record {
        decision_id: Some(id),
        ..Record::new(Kind::CallIntent, SystemTime::UNIX_EPOCH)
    }
}

fn append(log: &Log, id: &str) -> u64 {
    log.append(&record(id)).wait().unwrap().index
}

fn entries(directory: &Path) -> Vec<serde_json::Value> {
    let mut reader = Reader::open(directory, Start::Index(0)).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap())
        .map(|entry| serde_json::from_str(&entry.json).unwrap())
        .collect()
}

fn verdict(directory: &Path) -> Verdict {
    let key = PublicKey::load(&directory.join("log.pub")).unwrap();
    let report = verify(directory, &key, &[]).unwrap();
    assert_eq!(report.findings, []);
    report.verdict()
}

/// What a killed process leaves behind: everything but the lock, taken while the log is open.
fn killed(from: &Path) -> tempfile::TempDir {
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

/// A log of so many records beyond the last checkpoint, as a kill leaves it.
fn killed_log(records: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let log = Log::open(Settings {
        checkpoint_interval: hour,
        ..settings(directory.path())
    })
    .unwrap();
    for number in 0..records {
        append(&log, &format!("d-{number}"));
    }
    // A full bundle is signed at once, but behind the acknowledgement.
    while log.health().size <= records || log.health().signed < log.health().size / 256 * 256 {
        thread::yield_now();
    }
    killed(directory.path())
}

#[test]
fn records_stand_in_the_order_they_were_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let indexes = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for lane in 0..16 {
            let (log, indexes) = (&log, &indexes);
            scope.spawn(move || {
                let mut last = 0;
                for number in 0..50 {
                    let index = append(log, &format!("{lane}-{number}"));
                    assert!(index > last);
                    last = index;
                    assert!(indexes.lock().unwrap().insert(index));
                }
            });
        }
    });
    log.close();
    assert_eq!(log.health().size, 802);
    assert_eq!(verdict(directory.path()), Verdict::Sound);
    let entries = entries(directory.path());
    assert_eq!(entries.len(), 802);
    for (at, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"], at);
    }
    let ids: HashSet<&str> = entries
        .iter()
        .map(|entry| entry["event_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 802);
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut size = 0;
    // Ends in the middle of a bundle, just before, at and just behind its end.
    for records in [0, 1, 250, 1, 252, 253, 600] {
        let log = Log::open(settings(directory.path())).unwrap();
        for number in 0..records {
            append(&log, &format!("{size}-{number}"));
        }
        log.close();
        size += records + 2;
        assert_eq!(log.health().size, size);
        assert_eq!(log.health().signed, size);
        assert_eq!(verdict(directory.path()), Verdict::Sound);
    }
}

#[test]
fn a_killed_log_is_taken_up_and_signed() {
    for records in [0, 1, 254, 255, 256, 300, 511, 512] {
        let directory = killed_log(records);
        // With the log's own first record, which was signed when the log was opened.
        let expected = records + 1;
        let unsigned = if expected < 256 {
            records
        } else {
            expected % 256
        };
        let log = Log::open(settings(directory.path())).unwrap();
        assert_eq!(log.health().size, expected + 1);
        log.close();
        assert_eq!(verdict(directory.path()), Verdict::Sound);
        let entries = entries(directory.path());
        let note = &entries[usize::try_from(expected).unwrap()];
        assert_eq!(note["kind"], "log.opened");
        assert_eq!(
            note["log"]["unsigned"].as_u64().unwrap_or_default(),
            unsigned,
            "{records}"
        );
        assert!(note["log"].get("cut_bytes").is_none());
    }
}

#[test]
fn a_torn_record_is_cut_and_kept_aside() {
    let directory = killed_log(5);
    let tail = directory.path().join("tail.0");
    let bytes = fs::read(&tail).unwrap();
    fs::write(&tail, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(verdict(directory.path()), Verdict::SoundUnsigned);
    let log = Log::open(settings(directory.path())).unwrap();
    assert_eq!(append(&log, "d-new"), 6);
    log.close();
    assert_eq!(verdict(directory.path()), Verdict::Sound);
    let entries = entries(directory.path());
    let cut = entries[5]["log"]["cut_bytes"].as_u64().unwrap();
    assert_eq!(entries[5]["log"]["unsigned"], 4);
    let mode = fs::metadata(directory.path().join("cut.5")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "or no later start takes the directory");
    assert_eq!(
        fs::read(directory.path().join("cut.5")).unwrap(),
        &bytes[bytes.len() - 3 - cut as usize..][..cut as usize]
    );
}

#[test]
fn what_the_writer_did_not_write_is_cut() {
    let misnumbered = text_of(99);
    let length = u16::try_from(misnumbered.len()).unwrap().to_be_bytes();
    let misnumbered = [length.as_slice(), &misnumbered].concat();
    // Zeros are what a power cut leaves of a block that was not written.
    for rubbish in [vec![0; 4096], misnumbered, b"\0\x02{}".to_vec()] {
        let directory = killed_log(5);
        let tail = directory.path().join("tail.0");
        let mut bytes = fs::read(&tail).unwrap();
        bytes.extend_from_slice(&rubbish);
        fs::write(&tail, bytes).unwrap();
        Log::open(settings(directory.path())).unwrap().close();
        assert_eq!(verdict(directory.path()), Verdict::Sound);
        assert_eq!(
            entries(directory.path())[6]["log"]["cut_bytes"],
            rubbish.len()
        );
        assert_eq!(fs::read(directory.path().join("cut.6")).unwrap(), rubbish);
    }
}

#[test]
fn damaged_tiles_are_computed_anew_from_the_records() {
    for (name, missing) in [
        ("tile/0/001.p/45", false),
        ("tile/1/000.p/1", false),
        ("tile/0/001.p/45", true),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(settings(directory.path())).unwrap();
        for number in 0..299 {
            append(&log, &format!("d-{number}"));
        }
        log.close();
        let tile = directory.path().join(name);
        if missing {
            fs::remove_file(tile).unwrap();
        } else {
            let mut bytes = fs::read(&tile).unwrap();
            bytes[7] ^= 1;
            fs::write(&tile, bytes).unwrap();
        }
        Log::open(settings(directory.path())).unwrap().close();
        assert_eq!(entries(directory.path())[301]["log"]["rebuilt"], true);
        assert_eq!(verdict(directory.path()), Verdict::Sound);
    }
}

#[test]
fn a_log_that_does_not_agree_with_its_checkpoint_is_left_alone() {
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 6] = [
        ("is not signed by the key", |at| {
            let text = fs::read_to_string(at.join("checkpoint")).unwrap();
            fs::write(at.join("checkpoint"), text.replace("\n302\n", "\n301\n")).unwrap();
        }),
        ("missing", |at| {
            fs::remove_file(at.join("checkpoint")).unwrap()
        }),
        ("was changed", |at| {
            let tail = at.join("tail.1");
            let text = fs::read(&tail).unwrap();
            let place = text.windows(3).position(|three| three == b"d-2").unwrap();
            let mut text = text;
            text[place] = b'D';
            fs::write(tail, text).unwrap();
        }),
        ("gone", |at| {
            let tail = at.join("tail.1");
            let bytes = fs::read(&tail).unwrap();
            fs::write(tail, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("gone", |at| fs::remove_file(at.join("tail.1")).unwrap()),
        ("beyond the end", |at| {
            fs::write(at.join("tail.7"), b"").unwrap()
        }),
    ];
    for (expected, damage) in damage {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(settings(directory.path())).unwrap();
        for number in 0..300 {
            append(&log, &format!("d-{number}"));
        }
        log.close();
        damage(directory.path());
        let before = killed(directory.path());
        let error = Log::open(settings(directory.path())).unwrap_err();
        assert!(
            matches!(&error, OpenError::Damaged { .. }) && error.to_string().contains(expected),
            "{error}"
        );
        for name in ["checkpoint", "tail.1"] {
            let read = |at: &Path| fs::read(at.join(name)).ok();
            assert_eq!(
                read(before.path()),
                read(directory.path()),
                "{expected}: {name} was written"
            );
        }
    }
}

#[test]
fn records_nobody_could_have_left_unsigned_are_not_signed() {
    let directory = killed_log(200);
    let forge = |seq: u64| {
        let line = text_of(seq);
        [
            &u16::try_from(line.len()).unwrap().to_be_bytes(),
            line.as_slice(),
        ]
        .concat()
    };
    let tail = directory.path().join("tail.0");
    let mut bytes = fs::read(&tail).unwrap();
    (201..256).for_each(|seq| bytes.extend(forge(seq)));
    fs::write(&tail, bytes).unwrap();
    fs::write(
        directory.path().join("tail.1"),
        (256..512).flat_map(forge).collect::<Vec<u8>>(),
    )
    .unwrap();
    fs::write(
        directory.path().join("tail.2"),
        (512..600).flat_map(forge).collect::<Vec<u8>>(),
    )
    .unwrap();
    let error = Log::open(settings(directory.path())).unwrap_err();
    assert!(error.to_string().contains("more records"), "{error}");
}

fn text_of(seq: u64) -> Vec<u8> {
    let stamp = Stamp {
        node: "n".into(),
        boot_id: "b".into(),
    };
    let mut buffer = Vec::new();
    let at = crate::record::write(&record("forged"), None, &stamp, 1, &mut buffer);
    let mut text = buffer[..at].to_vec();
    crate::record::write_number(seq, &mut text);
    text.extend_from_slice(&buffer[at..]);
    text
}

#[test]
fn no_bundle_is_begun_before_the_last_is_signed() {
    let directory = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let log = Log::open(Settings {
        checkpoint_interval: hour,
        ..settings(directory.path())
    })
    .unwrap();
    // Where tiles belong lies a file: records can be written, but not signed.
    let (tiles, aside) = (
        directory.path().join("tile"),
        directory.path().join("aside"),
    );
    fs::rename(&tiles, &aside).unwrap();
    fs::write(&tiles, b"").unwrap();
    let mut kept = 1;
    let error = loop {
        match log.append(&record("d")).wait() {
            Ok(_position) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, kept), (AppendError::Failed, 256));
    assert_eq!(log.health().state, State::Failing);
    fs::remove_file(&tiles).unwrap();
    fs::rename(&aside, &tiles).unwrap();
    assert_eq!(append(&log, "d"), 256);
    log.close();
    assert_eq!(entries(directory.path()).len(), 258);
    let key = PublicKey::load(&directory.path().join("log.pub")).unwrap();
    let report = verify(directory.path(), &key, &[]).unwrap();
    // Intents of the same name were written on purpose.
    assert_eq!(report.verdict(), Verdict::Unannounced);
    assert_eq!((report.signed, report.torn_bytes), (258, 0));
}

#[test]
fn replaced_files_are_used_again_but_not_if_somebody_keeps_them() {
    let directory = tempfile::tempdir().unwrap();
    let soon = Duration::from_millis(1);
    let log = Log::open(Settings {
        checkpoint_interval: soon,
        ..settings(directory.path())
    })
    .unwrap();
    let kept = directory.path().join("kept");
    let mut content = Vec::new();
    for number in 0..120 {
        append(&log, &format!("d-{number}"));
        while log.health().signed < number + 2 {
            thread::yield_now();
        }
        if number == 5 {
            // As `cp --link` does, which is how some make copies.
            fs::hard_link(directory.path().join("checkpoint"), &kept).unwrap();
            content = fs::read(&kept).unwrap();
        }
    }
    assert_eq!(fs::read(&kept).unwrap(), content);
    let private = fs::read_dir(directory.path().join("private"))
        .unwrap()
        .count();
    assert!(private < 60, "{private} files are kept");
    log.close();
    assert_eq!(verdict(directory.path()), Verdict::Sound);
    Log::open(settings(directory.path())).unwrap().close();
    assert_eq!(verdict(directory.path()), Verdict::Sound);
}

#[test]
fn a_second_writer_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    assert!(matches!(
        Log::open(settings(directory.path())),
        Err(OpenError::Locked { .. })
    ));
    log.close();
    Log::open(settings(directory.path())).unwrap().close();
}

#[test]
fn another_origin_a_bad_name_or_a_lost_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    Log::open(settings(directory.path())).unwrap().close();
    let other = Settings::new(directory.path(), "gate.example/other", "node-1");
    assert!(matches!(Log::open(other), Err(OpenError::Origin { .. })));
    for origin in ["", "a b", "a+b", "a\nb"] {
        let named = Settings::new(directory.path(), origin, "node-1");
        assert!(
            matches!(Log::open(named), Err(OpenError::Name { .. })),
            "{origin}"
        );
    }
    fs::remove_file(directory.path().join("private/signing.key")).unwrap();
    assert!(matches!(
        Log::open(settings(directory.path())),
        Err(OpenError::Key(KeyError::Gone { .. }))
    ));
}

#[test]
fn a_closed_log_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    append(&log, "d-1");
    log.close();
    log.close();
    assert_eq!(log.append(&record("d-2")).wait(), Err(AppendError::Closed));
    log.post(&record("d-3"));
    assert_eq!((log.health().state, log.health().lost), (State::Closed, 1));
    assert_eq!(entries(directory.path()).len(), 3);
}

#[test]
fn what_is_queued_when_the_log_closes_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let waits: Vec<Append> = (0..1000)
        .map(|number| log.append(&record(&format!("d-{number}"))))
        .collect();
    log.post(&record("posted"));
    log.close();
    let indexes: Vec<u64> = waits
        .into_iter()
        .map(|wait| wait.wait().unwrap().index)
        .collect();
    assert_eq!(indexes, (1..=1000).collect::<Vec<u64>>());
    assert_eq!(entries(directory.path())[1001]["decision_id"], "posted");
    assert_eq!(verdict(directory.path()), Verdict::Sound);
}

#[test]
fn the_last_handle_to_go_ends_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let other = log.clone();
    drop(log);
    append(&other, "d-1");
    drop(other);
    let began = Instant::now();
    let again = loop {
        match Log::open(settings(directory.path())) {
            Ok(log) => break log,
            Err(error) => assert!(matches!(error, OpenError::Locked { .. }), "{error}"),
        }
        assert!(began.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(1));
    };
    again.close();
    assert_eq!(entries(directory.path())[2]["kind"], "log.closed");
}

#[test]
fn a_quiet_log_signs_in_time_and_says_that_it_is_alive() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(Settings {
        checkpoint_interval: Duration::from_millis(50),
        heartbeat: Duration::from_millis(100),
        durability: Durability::Synced,
        ..settings(directory.path())
    })
    .unwrap();
    append(&log, "d-1");
    let began = Instant::now();
    while log.health().signed < 4 {
        assert!(began.elapsed() < Duration::from_secs(120));
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(log.health().state, State::Ok);
    assert!(log.health().checkpoint_age < Duration::from_secs(120));
    log.close();
    let beats = entries(directory.path())
        .iter()
        .filter(|entry| entry["kind"] == "heartbeat")
        .count();
    assert!(beats >= 2, "{beats}");
    assert_eq!(verdict(directory.path()), Verdict::Sound);
}

#[test]
fn digests_are_keyed_and_apart_for_each_tenant_and_domain() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let digest = log.digest("acme", "args", b"{}");
    assert_eq!(digest.len(), 46);
    assert!(digest.starts_with("b3:"));
    assert_eq!(log.digest("acme", "args", b"{}"), digest);
    for (tenant, domain, bytes) in [
        ("acm", "eargs", "{}"),
        ("acme", "arg", "s{}"),
        ("acme", "session", "{}"),
        ("evil", "args", "{}"),
    ] {
        assert_ne!(log.digest(tenant, domain, bytes.as_bytes()), digest);
    }
    log.close();
    let again = Log::open(settings(directory.path())).unwrap();
    assert_eq!(again.digest("acme", "args", b"{}"), digest);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(
        Log::open(settings(other.path()))
            .unwrap()
            .digest("acme", "args", b"{}"),
        digest
    );
}

#[test]
fn nothing_of_the_keys_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(settings(directory.path())).unwrap();
    let shown = format!("{log:?}");
    let secret = fs::read_to_string(directory.path().join("private/digest.key")).unwrap();
    assert!(!shown.contains(secret.trim()) && shown.contains("DigestKey"));
    assert!(!shown.contains("PRIVATE+KEY"));
}
