//! Whom a file of keys or secrets may be open to, as a table, and on files as root and as a plain user.

use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
};

use super::*;

const USER: u32 = 1000;
const OURS: u32 = 2000;
const THEIRS: u32 = 4000;
const STATE: Place = Place::State;
const SECRET: Place = Place::Secret { mounted: false };
const MOUNTED: Place = Place::Secret { mounted: true };

fn us(user: u32) -> Us {
    Us {
        user,
        groups: vec![user, OURS],
    }
}

fn words(checked: Result<(), Violation>) -> String {
    match checked {
        Ok(()) => "ok".to_owned(),
        Err(Violation::Owner) => "owner".to_owned(),
        Err(Violation::Exposed { group, may, cure }) => {
            let who = group.map_or_else(|| "all".to_owned(), |group| group.to_string());
            format!("{who} {may}, {cure}")
        }
    }
}

/// Owner, group and mode of a file, and what is allowed of it as a file of the state, a secret and a mounted secret.
const FILES: &[(u32, u32, u32, [&str; 3])] = &[
    (USER, USER, 0o600, ["ok", "ok", "ok"]),
    (USER, THEIRS, 0o400, ["ok", "ok", "ok"]),
    (USER, THEIRS, 0o711, ["ok", "ok", "ok"]),
    (0, 0, 0o600, ["ok", "ok", "ok"]),
    (3000, USER, 0o600, ["owner", "owner", "owner"]),
    // Kubernetes: `fsGroup` and the default mode of a mounted secret.
    (
        USER,
        OURS,
        0o660,
        ["ok", "2000 read and write, g-rwx", "2000 write, g-w"],
    ),
    (USER, OURS, 0o640, ["ok", "2000 read, g-rwx", "ok"]),
    (
        USER,
        USER,
        0o2660,
        ["ok", "1000 read and write, g-rwx", "1000 write, g-w"],
    ),
    (0, 0, 0o644, ["all read, go-rwx", "all read, go-rwx", "ok"]),
    (
        USER,
        OURS,
        0o644,
        ["all read, o-rwx", "all read, go-rwx", "ok"],
    ),
    // Another group.
    (
        USER,
        THEIRS,
        0o660,
        [
            "4000 read and write, g-rwx",
            "4000 read and write, g-rwx",
            "4000 write, g-w",
        ],
    ),
    (
        USER,
        THEIRS,
        0o640,
        ["4000 read, g-rwx", "4000 read, g-rwx", "ok"],
    ),
    (
        USER,
        THEIRS,
        0o620,
        ["4000 write, g-rwx", "4000 write, g-rwx", "4000 write, g-w"],
    ),
    // Everybody.
    (
        USER,
        USER,
        0o604,
        ["all read, o-rwx", "all read, o-rwx", "ok"],
    ),
    (
        USER,
        USER,
        0o602,
        ["all write, o-rwx", "all write, o-rwx", "all write, o-w"],
    ),
    (
        USER,
        OURS,
        0o666,
        [
            "all read and write, o-rwx",
            "all read and write, go-rwx",
            "all write, go-w",
        ],
    ),
];

#[test]
fn files_are_open_to_us_alone() {
    let all = [STATE, SECRET, MOUNTED];
    for (owner, group, mode, expected) in FILES.iter().copied() {
        let rights = Rights { owner, group, mode };
        let found = all.map(|place| words(us(USER).file(rights, USER, place)));
        assert_eq!(found, expected, "{owner}:{group} {mode:o}");
    }
}

#[test]
fn directories_are_written_by_us_alone() {
    for (owner, group, mode, expected) in [
        (USER, USER, 0o700, "ok"),
        (0, 0, 0o755, "ok"),
        (USER, OURS, 0o2770, "ok"),
        (USER, THEIRS, 0o750, "ok"),
        (USER, THEIRS, 0o770, "4000 write into, g-w"),
        (USER, USER, 0o777, "all write into, o-w"),
        (0, THEIRS, 0o777, "all write into, go-w"),
        // Only their owners may exchange files here: /tmp, and the volume of a Kubernetes secret.
        (0, 0, 0o1777, "ok"),
        (0, THEIRS, 0o3777, "ok"),
        (3000, USER, 0o700, "owner"),
    ] {
        let rights = Rights { owner, group, mode };
        for place in [STATE, SECRET, MOUNTED] {
            let found = words(us(USER).directory(rights, place));
            assert_eq!(found, expected, "{owner}:{group} {mode:o} {place:?}");
        }
    }
}

#[test]
fn root_runs_commands_for_the_user_of_the_state_directory() {
    let of = |owner| Rights {
        owner,
        group: owner,
        mode: 0o600,
    };
    for (owner, home, place, expected) in [
        (3000, 3000, STATE, "ok"),
        (0, 3000, STATE, "ok"),
        (3001, 3000, STATE, "owner"),
        (3000, 0, STATE, "owner"),
        (3000, 3000, SECRET, "owner"),
        (3000, 3000, MOUNTED, "owner"),
    ] {
        let found = words(us(0).file(of(owner), home, place));
        assert_eq!(found, expected, "{owner} in {home}, {place:?}");
    }
    assert_eq!(words(us(0).directory(of(3000), STATE)), "ok");
    assert_eq!(words(us(0).directory(of(3000), SECRET)), "owner");
}

/// Reads a file of each mode in a directory of each mode, as whoever runs the test.
fn on_disk() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("key");
    for (mode, directory, expected) in [
        (0o600, 0o700, ["ok", "ok"]),
        (0o660, 0o2770, ["ok", "g-rwx"]),
        (0o644, 0o755, ["go-rwx or o-rwx", "go-rwx"]),
        (0o666, 0o700, ["go-rwx or o-rwx", "go-rwx"]),
        (0o600, 0o777, ["o-w", "o-w"]),
        (0o600, 0o1777, ["ok", "ok"]),
    ] {
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(home.path(), Permissions::from_mode(directory)).unwrap();
        let results = [
            crate::read(&path).map(drop),
            crate::read_secret(&path, 64).map(drop),
        ];
        for (result, expected) in results.into_iter().zip(expected) {
            let found = match &result {
                Ok(()) => "ok",
                Err(FileError::Exposed { cure, .. }) => cure,
                Err(error) => panic!("{error}"),
            };
            let at = format!("{mode:o} in {directory:o}: {found}");
            assert!(expected.split(" or ").any(|one| one == found), "{at}");
            if let Err(error) = result {
                let text = error.to_string();
                let name = path.display().to_string();
                let closed = if found == "o-w" { directory } else { mode };
                for part in [format!("chmod {found}"), format!("{closed:04o}")] {
                    assert!(text.contains(&part), "{text}");
                }
                assert!(text.contains(name.trim_end_matches("/key")), "{text}");
            }
        }
    }
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        chown(&path, None, Some(THEIRS)).unwrap();
        let error = crate::read(&path).unwrap_err().to_string();
        assert!(
            error.starts_with("group 4000 may read and write"),
            "{error}"
        );
        chown(&path, Some(3000), Some(0)).unwrap();
        assert!(matches!(
            crate::read(&path),
            Err(FileError::Owner { owner: 3000, .. })
        ));
    }
    assert!(matches!(
        crate::read(home.path()),
        Err(FileError::Kind { .. })
    ));
    assert!(crate::read(&home.path().join("absent")).unwrap().is_none());
}

/// Marks that the test was started once more, as a plain user.
const AGAIN: &str = "KEEPGATE_FILES_AS_PLAIN_USER";

#[test]
#[expect(clippy::disallowed_methods, reason = "this very test, as another user")]
fn the_rule_holds_on_disk_for_root_and_for_a_plain_user() {
    on_disk();
    if !nix::unistd::geteuid().is_root() || env::var_os(AGAIN).is_some() {
        return;
    }
    // The tree of this repository may be closed to others.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    fs::copy(env::current_exe().unwrap(), &copy).unwrap();
    let name = "rule::tests::the_rule_holds_on_disk_for_root_and_for_a_plain_user";
    let done = std::process::Command::new(copy)
        .args(["--exact", name])
        .env(AGAIN, "1")
        .env("TMPDIR", "/tmp")
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn a_mounted_secret_may_be_readable_but_not_writable() {
    // Memory that every Linux has; without it the rule cannot be shown.
    let memory = Path::new("/dev/shm");
    if !memory.is_dir() {
        return;
    }
    let volume = tempfile::tempdir_in(memory).unwrap();
    fs::set_permissions(volume.path(), Permissions::from_mode(0o1777)).unwrap();
    let version = volume.path().join("..2026_01_01");
    fs::create_dir(&version).unwrap();
    let real = version.join("token");
    fs::write(&real, "from-kubernetes").unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o644)).unwrap();
    let is_open = |path: &Path| crate::read_secret(path, 64).is_ok();
    assert!(!is_open(&real), "next to no ..data");
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, volume.path().join(name)).unwrap();
        volume.path().join(name)
    };
    link("..2026_01_01", "..data");
    let path = link("..data/token", "token");
    assert!(is_open(&path));
    fs::set_permissions(&version, Permissions::from_mode(0o777)).unwrap();
    assert!(
        !is_open(&path),
        "others may exchange it where the link leads"
    );
    fs::set_permissions(&version, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o666)).unwrap();
    assert!(!is_open(&path));
}
