//! Which files count as secret.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Fault, LONGEST, environment, file};

fn write(directory: &Path, content: &[u8], mode: u32) -> PathBuf {
    let path = directory.join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn word(path: &Path) -> &'static str {
    match file(path) {
        Ok(_) => "ok",
        Err(fault) => fault.word(),
    }
}

#[test]
fn a_secret_file_is_private() {
    let directory = TempDir::new().unwrap();
    for (mode, expected) in [
        (0o600, "ok"),
        (0o400, "ok"),
        (0o640, "file_mode"),
        (0o644, "file_mode"),
        (0o602, "file_mode"),
    ] {
        let path = write(directory.path(), b"0123456789", mode);
        assert_eq!(word(&path), expected, "{mode:o}");
        fs::remove_file(path).unwrap();
    }
    assert_eq!(word(&directory.path().join("absent")), "file_missing");
    assert_eq!(word(directory.path()), "file_kind");
}

#[test]
fn one_line_break_at_the_end_is_no_part_of_it() {
    let directory = TempDir::new().unwrap();
    for (content, expected) in [
        (&b"secret"[..], &b"secret"[..]),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b" secret \n", b" secret "),
    ] {
        let path = write(directory.path(), content, 0o600);
        assert_eq!(file(&path).ok().unwrap().expose(), expected);
    }
}

#[test]
fn a_long_file_is_no_credential() {
    let directory = TempDir::new().unwrap();
    let path = write(directory.path(), &vec![b'a'; LONGEST], 0o600);
    assert_eq!(word(&path), "ok");
    let path = write(directory.path(), &vec![b'a'; LONGEST + 1], 0o600);
    assert_eq!(word(&path), "too_long");
}

#[test]
fn a_variable_that_is_not_set_gives_nothing() {
    assert!(matches!(
        environment("KEEPGATE_NO_SUCH_VARIABLE"),
        Err(Fault::VariableMissing)
    ));
    assert!(environment("PATH").is_ok());
}
