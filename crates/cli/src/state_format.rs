//! Format of the state directory: a number in a file, so that no version works on what another one wrote and it cannot read.

use std::path::Path;

use keepgate_files::FileError;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::serve::AUDIT_DIRECTORY;

/// Name of the file in the state directory.
const FILE: &str = "format";
/// Format this version writes. 0 is that of directories without the file; 1 added the file and `sessions.db`.
const CURRENT: u32 = 1;

/// Checks that this version can work on the state directory, of which there may be none yet.
///
/// # Errors
/// With the code for the state directory when a newer version wrote it, or the file cannot be read.
pub(crate) fn check(state: &Path) -> Result<(), Failure> {
    read(state).map(drop)
}

/// Brings the state directory to the format of this version. For the gateway, before anything else in it is opened.
///
/// # Errors
/// As [`check`], and when the file cannot be written.
pub(crate) fn migrate(state: &Path) -> Result<(), Failure> {
    let format = read(state)?;
    if format == CURRENT {
        return Ok(());
    }
    // From 0 to 1 nothing is changed: what is new is made when it is opened.
    if state.join(AUDIT_DIRECTORY).exists() {
        tracing::info!(
            from = format,
            to = CURRENT,
            "state directory brought to the format of this version"
        );
    }
    keepgate_files::replace(&state.join(FILE), format!("{CURRENT}\n").as_bytes())
        .map_err(|error| failed(&error))
}

/// The format of a state directory.
fn read(state: &Path) -> Result<u32, Failure> {
    let path = state.join(FILE);
    let Some(bytes) = keepgate_files::read(&path).map_err(|error| failed(&error))? else {
        return Ok(0);
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let refused = |message: String, hint: &str| Err(Failure::new(Exit::State, message).hint(hint));
    match text.parse::<u32>() {
        Ok(format) if format > CURRENT => refused(
            format!(
                "state directory has format {format}, and this version of keepgate knows formats up to {CURRENT}: `{}`",
                state.display()
            ),
            "a newer version has used it: run that one, or give this one a state.dir of its own",
        ),
        Ok(format) => Ok(format),
        Err(_) => refused(
            format!("not the number of a format: `{}`", path.display()),
            "restore the file; a directory that no newer version has used may do without it",
        ),
    }
}

fn failed(error: &FileError) -> Failure {
    Failure::caused(Exit::State, error)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::{check, migrate};
    use crate::exit::Exit;

    fn write(state: &Path, text: &str) {
        let path = state.join("format");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn older_state_is_migrated_and_newer_state_refused() {
        let state = tempfile::tempdir().unwrap();
        let read = || fs::read_to_string(state.path().join("format"));
        check(state.path()).unwrap();
        assert!(read().is_err(), "a check writes nothing");
        for older in [None, Some("0"), Some("1\n")] {
            if let Some(text) = older {
                write(state.path(), text);
            }
            migrate(state.path()).unwrap();
            assert_eq!(read().unwrap(), "1\n", "{older:?}");
        }
        for (text, word) in [
            ("2", "format 2"),
            ("4294967295", "format 4294967295"),
            ("", "not the number"),
            ("-1", "not the number"),
            ("1 2", "not the number"),
            ("4294967296", "not the number"),
        ] {
            write(state.path(), text);
            for refused in [check(state.path()), migrate(state.path())] {
                let failure = refused.unwrap_err();
                assert_eq!(failure.exit(), Exit::State);
                assert!(
                    failure.report().contains(word),
                    "{text}: {}",
                    failure.report()
                );
            }
            assert_eq!(read().unwrap(), text, "it stays as it is");
        }
    }
}
