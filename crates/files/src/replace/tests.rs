//! Whole files, whatever happens on the way.

use std::{os::unix::fs::chown, time::SystemTime};

use super::*;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_replacement_is_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("keys");
    replace(&path, b"old").unwrap();
    let mut dropped = Replacement::begin(&path).unwrap();
    dropped.write(b"half").unwrap();
    assert_eq!(names(home.path()).len(), 2);
    drop(dropped);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    replace_public(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    replace(&path, b"private").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(names(home.path()), ["keys"]);
    // Nothing can be put in the place of a directory.
    fs::create_dir(home.path().join("folder")).unwrap();
    assert!(replace(&home.path().join("folder"), b"new").is_err());
    assert_eq!(names(home.path()), ["folder", "keys"]);
}

#[test]
fn files_that_ended_processes_left_behind_are_removed() {
    let home = tempfile::tempdir().unwrap();
    let left = |name: &str, age: u64| {
        let path = home.path().join(name);
        let file = File::create(path).unwrap();
        let at = SystemTime::now() - Duration::from_secs(age);
        file.set_modified(at).unwrap();
    };
    let us = format!("keys.{}.new", std::process::id());
    let alive = "keys.1.new";
    for (name, age) in [
        ("keys.4194305.new", 120),
        ("keys.4194306.new", 1),
        (alive, 120),
        ("keys.more.new", 120),
        ("other.4194305.new", 120),
        (&us, 1),
    ] {
        left(name, age);
    }
    replace(&home.path().join("keys"), b"new").unwrap();
    assert_eq!(
        names(home.path()),
        [
            "keys",
            alive,
            "keys.4194306.new",
            "keys.more.new",
            "other.4194305.new"
        ]
    );
}

#[test]
fn a_file_root_makes_belongs_to_the_user_of_its_directory() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(4242), Some(4243)).unwrap();
    let _lock = crate::lock(home.path()).unwrap();
    replace(&home.path().join("keys"), b"new").unwrap();
    for name in ["keys", ".lock"] {
        let found = fs::metadata(home.path().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (4242, 4243), "{name}");
    }
}
