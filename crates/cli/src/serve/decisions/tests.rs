//! What waits, what is written, and what has to go.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::file::DecisionFile;
use super::{Pace, Pending, upload};
use crate::config::DecisionFile as Wanted;

#[test]
fn the_oldest_make_room_and_messages_are_bounded() {
    let pending = Pending::new(10, true);
    assert_eq!(pending.push("aaaa".into()), 0);
    assert_eq!(pending.push("bbbb".into()), 0);
    assert_eq!(pending.push("cccc".into()), 1);
    // One that is larger than everything that may wait pushes itself out too.
    assert_eq!(pending.push("d".repeat(11)), 3);
    assert!(pending.take(100).is_empty());

    let pending = Pending::new(100, true);
    for event in ["aaaa", "bbbb", "cccc"] {
        pending.push(event.to_owned());
    }
    assert_eq!(pending.take(8), ["aaaa", "bbbb"]);
    // A larger one travels alone.
    assert_eq!(pending.take(1), ["cccc"]);
    assert!(pending.take(8).is_empty());

    let off = Pending::new(100, false);
    off.push("aaaa".into());
    assert!(off.take(upload::BATCH).is_empty());
}

#[test]
fn so_many_a_second_and_no_more() {
    let mut pace = Pace::new(2);
    assert_eq!([(); 4].map(|()| pace.allows()), [true, true, false, false]);
    pace.began -= std::time::Duration::from_secs(1);
    assert_eq!([(); 3].map(|()| pace.allows()), [true, true, false]);
}

#[test]
fn a_full_file_is_put_aside_and_the_oldest_goes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let wanted = Wanted {
        max_size: 10,
        keep: 2,
    };
    // What a crash left without an end does not swallow the next.
    fs::write(&path, "torn").unwrap();
    let mut file = DecisionFile::open(&path, &wanted).unwrap();
    for event in ["1111", "2222", "3333", "4444", "5555", "666666666666"] {
        file.write(event).unwrap();
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("decisions.jsonl"), "666666666666\n");
    assert_eq!(read("decisions.jsonl.1"), "4444\n5555\n");
    assert_eq!(read("decisions.jsonl.2"), "2222\n3333\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
