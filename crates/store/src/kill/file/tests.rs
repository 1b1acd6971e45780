//! What survives in the file, and what is told to be damage.

use std::{fs, os::unix::fs::MetadataExt};

use proptest::prelude::*;

use super::*;
use crate::kill::{Clear, Set};

fn set(number: u64) -> Entry {
    Entry::Set(Set {
        id: format!("k_{number:016x}"),
        scope: "tool".to_owned(),
        target: Some("crm/delete \"all\" \u{2028}".to_owned()),
        tenant: None,
        reason: "why — ünïcode".to_owned(),
        by: "op".to_owned(),
        at: "2026-11-20T10:00:00Z".to_owned(),
        expires: Some("2026-11-20T11:00:00.000000001Z".to_owned()),
    })
}

fn clear(number: u64) -> Entry {
    Entry::Clear(Clear {
        id: format!("k_{number:016x}"),
        reason: "over".to_owned(),
        by: "other".to_owned(),
        at: "2026-11-20T10:30:00Z".to_owned(),
    })
}

fn lines(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        write(entry, &mut bytes).unwrap();
    }
    bytes
}

#[test]
fn acts_are_read_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = KillFile::new(directory.path());
    let mut reader = KillFile::new(directory.path());
    assert_eq!(reader.read_on().unwrap(), Content::default());
    writer.append(&[set(1), clear(1)]).unwrap();
    assert_eq!(fs::metadata(writer.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(reader.read_on().unwrap().entries, [set(1), clear(1)]);
    assert_eq!(reader.read_on().unwrap().entries, []);
    writer.append(&[set(2)]).unwrap();
    assert_eq!(
        reader.read_on().unwrap().entries,
        [set(2)],
        "only what is new"
    );
}

#[test]
fn a_torn_last_line_is_cut_away_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = KillFile::new(directory.path());
    let whole = lines(&[set(1)]);
    let mut torn = whole;
    torn.extend_from_slice(&lines(&[set(2)])[..40]);
    fs::write(file.path(), &torn).unwrap();
    let content = file.read_on().unwrap();
    assert_eq!((content.entries, content.torn), (vec![set(1)], 40));
    assert_eq!(content.damage, None);
    file.append(&[set(3)]).unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), lines(&[set(1), set(3)]));
    assert_eq!(file.read_on().unwrap().entries, [set(3)]);
}

#[test]
fn damage_is_told_with_its_line() {
    let good = lines(&[set(1), set(2), clear(1)]);
    let text = String::from_utf8(good).unwrap();
    for (changed, line) in [
        (text.replacen("why", "who", 1), 1),
        (
            text.replacen("k_0000000000000002", "k_0000000000000009", 1),
            2,
        ),
        (text.replacen("other", "nobody", 1), 3),
        (format!("\n{text}"), 1),
        (format!("{text}what is this\n"), 4),
        (text.replacen("{\"entry\"", "{\"more\":1,\"entry\"", 1), 1),
    ] {
        let content = parse(changed.as_bytes(), &mut 0);
        assert_eq!(content.damage.unwrap().line, line, "{changed}");
    }
    // A line that is sound as bytes but says what no version writes.
    let mut odd = set(1);
    if let Entry::Set(set) = &mut odd {
        set.scope = "galaxy".to_owned();
    }
    let content = parse(&lines(&[odd, set(2)]), &mut 0);
    assert_eq!(content.damage.unwrap().what, "scope or target");
    assert_eq!(content.entries, [set(2)], "the rest is read");
}

#[test]
fn a_file_that_was_replaced_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = KillFile::new(directory.path());
    file.append(&[set(1), set(2)]).unwrap();
    file.read_on().unwrap();
    fs::remove_file(file.path()).unwrap();
    assert!(file.read_on().unwrap().replaced);
    // One that takes its place at once, and is longer.
    let mut other = KillFile::new(directory.path());
    file.append(&[set(1)]).unwrap();
    file.read_on().unwrap();
    fs::remove_file(file.path()).unwrap();
    other.append(&[set(4), set(5)]).unwrap();
    let content = file.read_on().unwrap();
    assert!(content.replaced && content.damage.is_none());
    assert_eq!(content.entries, [set(4), set(5)]);
    file.append(&[set(3)]).unwrap();
    assert_eq!(file.read_on().unwrap().entries, [set(3)]);
}

#[test]
fn a_file_that_vanishes_before_it_was_read_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    for remove in [
        (|state| fs::remove_file(state.join(KillFile::FILE)).unwrap()) as fn(&std::path::Path),
        |state| fs::remove_dir_all(state).unwrap(),
    ] {
        let mut file = KillFile::new(&state);
        assert!(!file.read_on().unwrap().replaced);
        file.append(&[set(1)]).unwrap();
        remove(&state);
        assert!(file.read_on().unwrap().replaced);
    }
}

#[test]
fn a_compacted_file_holds_what_it_was_given_and_is_read_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = KillFile::new(directory.path());
    let mut command = KillFile::new(directory.path());
    file.append(&[set(1), clear(1), set(2)]).unwrap();
    assert!(!file.compact(&[set(2)]).unwrap(), "not read yet");
    file.read_on().unwrap();
    command.append(&[set(3)]).unwrap();
    assert!(!file.compact(&[set(2)]).unwrap(), "a command was first");
    assert_eq!(file.read_on().unwrap().entries, [set(3)]);
    assert_eq!(file.lines(), 4);
    assert!(file.compact(&[set(2), set(3)]).unwrap());
    assert_eq!(fs::read(file.path()).unwrap(), lines(&[set(2), set(3)]));
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        (
            file.lines(),
            fs::read_dir(directory.path()).unwrap().count()
        ),
        (2, 1)
    );
    assert_eq!(
        file.read_on().unwrap(),
        Content::default(),
        "it is no other file"
    );
    command.append(&[clear(3)]).unwrap();
    assert_eq!(file.read_on().unwrap().entries, [clear(3)]);
    assert!(file.compact(&[]).unwrap());
    assert_eq!(fs::metadata(file.path()).unwrap().len(), 0);
    file.append(&[set(5)]).unwrap();
    assert_eq!(file.read_on().unwrap().entries, [set(5)]);
}

#[test]
fn a_writer_that_waited_while_the_file_was_replaced_writes_into_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = KillFile::new(directory.path());
    file.append(&[set(1), clear(1), set(2)]).unwrap();
    file.read_on().unwrap();
    let old = file.locked(false).unwrap();
    let mut command = KillFile::new(directory.path());
    let waits = std::thread::spawn(move || command.append(&[set(3)]));
    // It has opened the old file by then, almost always.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mut new = keepgate_files::Replacement::begin(file.path()).unwrap();
    new.write(&lines(&[set(2)])).unwrap();
    new.commit().unwrap();
    drop(old);
    waits.join().unwrap().unwrap();
    assert_eq!(fs::read(file.path()).unwrap(), lines(&[set(2), set(3)]));
}

#[test]
fn a_file_of_any_size_is_read_and_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = KillFile::new(directory.path());
    let long = |number| {
        let mut entry = set(number);
        if let Entry::Set(set) = &mut entry {
            set.reason = "x".repeat(1024);
        }
        entry
    };
    // More than the 64 MiB that used to be the most.
    let count = 56_000;
    let mut number = 0;
    while number < count {
        let some: Vec<_> = (number..number + 1000).map(long).collect();
        file.append(&some).unwrap();
        number += 1000;
    }
    assert!(fs::metadata(file.path()).unwrap().len() > 64 << 20);
    let (mut read, mut parts) = (0, 0);
    loop {
        let content = file.read_on().unwrap();
        assert_eq!((content.damage, content.replaced), (None, false));
        assert!(
            content
                .entries
                .iter()
                .cloned()
                .eq((read..).map(long).take(content.entries.len()))
        );
        read += content.entries.len() as u64;
        parts += 1;
        if !content.more {
            break;
        }
    }
    assert_eq!(read, count);
    assert!(parts > 10, "{parts}");
    file.append(&[set(count)]).unwrap();
    assert_eq!(file.read_on().unwrap().entries, [set(count)]);
    // A line without end is damage, and does not take all memory.
    let mut endless = fs::read(file.path()).unwrap();
    endless.extend(std::iter::repeat_n(b'x', 3 << 20));
    fs::write(file.path(), endless).unwrap();
    assert_eq!(
        file.read_on().unwrap().damage.unwrap().what,
        "longer than any line"
    );
}

proptest! {
    /// No bytes make the reader panic, and no single changed byte goes unnoticed, but for one that tears the last line.
    #[test]
    fn a_changed_byte_is_damage(at in 0_usize..1000, to in any::<u8>()) {
        let entries = [set(1), set(2), clear(2)];
        let mut bytes = lines(&entries);
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to);
        let last = at == bytes.len() - 1;
        bytes[at] = to;
        let content = parse(&bytes, &mut 0);
        prop_assert!(content.damage.is_some() || (last && content.torn > 0));
        prop_assert!(content.entries.iter().all(|entry| entries.contains(entry)));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut line = 0;
        let content = parse(&bytes, &mut line);
        let ends = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        prop_assert_eq!(line, ends);
        prop_assert!(content.entries.is_empty() || content.damage.is_none());
    }

    /// A file cut anywhere gives the acts that were whole.
    #[test]
    fn a_file_cut_anywhere_gives_its_beginning(at in 0_usize..1000) {
        let entries = [set(1), set(2), clear(2)];
        let bytes = lines(&entries);
        let content = parse(&bytes[..at % bytes.len()], &mut 0);
        prop_assert_eq!(&content.damage, &None);
        prop_assert!(entries.starts_with(&content.entries));
    }
}
