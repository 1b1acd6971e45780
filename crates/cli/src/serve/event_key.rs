//! The key event ids and rows of sessions are sealed with: made once, kept with the state, read by nobody but the gateway.

use std::path::Path;

use keepgate_files::FileError;
use keepgate_gateway::session::EventKey;
use zeroize::Zeroizing;

use crate::exit::Exit;
use crate::failure::Failure;

/// Path in the state directory.
const PATH: [&str; 2] = ["private", "events.key"];

/// Reads the key, or makes it.
pub(super) fn open(state: &Path) -> Result<EventKey, Failure> {
    let [directory, file] = PATH;
    let directory = state.join(directory);
    let path = directory.join(file);
    let failed = |error: FileError| Failure::caused(Exit::State, &error);
    keepgate_files::create_directory(&directory).map_err(failed)?;
    let bytes = keepgate_files::read_or_create(&path, || {
        let mut bytes = Zeroizing::new(vec![0; EventKey::LEN]);
        getrandom::fill(&mut bytes).map_err(|error| {
            let failure = format!("failed to read random bytes: {error}");
            KeyFailure(Failure::new(Exit::Start, failure))
        })?;
        Ok::<_, KeyFailure>(bytes)
    });
    let bytes = bytes.map_err(|KeyFailure(failure)| failure)?;
    let bytes: [u8; EventKey::LEN] = bytes.as_slice().try_into().map_err(|_| {
        let failure = Failure::new(
            Exit::State,
            format!(
                "file has not the {} bytes of a key: `{}`",
                EventKey::LEN,
                path.display()
            ),
        );
        failure.hint("remove it and another is made; sessions of before cannot be resumed then")
    })?;
    Ok(EventKey::new(bytes))
}

/// A failure on the way to the key.
struct KeyFailure(Failure);

impl From<FileError> for KeyFailure {
    fn from(error: FileError) -> Self {
        Self(Failure::caused(Exit::State, &error))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::open;

    #[test]
    fn the_key_is_made_once_and_private() {
        let state = tempfile::tempdir().unwrap();
        open(state.path()).unwrap();
        let path = state.path().join("private/events.key");
        let first = std::fs::read(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        open(state.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
        std::fs::write(&path, "short").unwrap();
        assert!(open(state.path()).is_err());
    }
}
