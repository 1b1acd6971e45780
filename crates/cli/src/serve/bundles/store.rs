//! The last good bundle: one file of the state directory for each that is fetched, replaced whole.
//!
//! A line of JSON says where it came from and what its server called it; the bundle follows. It is as trusted as what
//! comes from the server: its signature is checked again whenever it is loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keepgate_files::FileError;
use serde::{Deserialize, Serialize};

use super::Fetched;

/// Directory below the state directory.
const DIRECTORY: &str = "bundles";

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    source: String,
    etag: Option<String>,
}

/// Where one bundle is kept.
#[derive(Debug)]
pub(super) struct Store {
    source: String,
    path: PathBuf,
}

impl Store {
    /// The place of the bundle from `source`.
    pub(super) fn new(state: &Path, source: &str) -> Self {
        let last = source.rsplit('/').next().unwrap_or_default();
        let plain =
            |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let shown: String = last.chars().filter(plain).take(60).collect();
        let name = format!("{:016x}-{shown}.kept", digest(source));
        Self {
            source: source.to_owned(),
            path: state.join(DIRECTORY).join(name),
        }
    }

    /// What was kept; `None` when nothing was, or something from elsewhere.
    pub(super) fn read(&self) -> Result<Option<Fetched>, FileError> {
        let Some(bytes) = keepgate_files::read(&self.path)? else {
            return Ok(None);
        };
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let (head, rest) = bytes.split_at(end);
        let head: Option<Head> = serde_json::from_slice(head).ok();
        let head = head.filter(|head| head.source == self.source);
        Ok(head.map(|head| Fetched {
            bytes: Arc::from(rest.strip_prefix(b"\n").unwrap_or(rest)),
            etag: head.etag,
        }))
    }

    /// Whether a bundle is kept. One that cannot be inspected is not there for a start either.
    pub(super) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Keeps a bundle in the place of the one before.
    pub(super) fn write(&self, fetched: &Fetched) -> Result<(), FileError> {
        let head = Head {
            source: self.source.clone(),
            etag: fetched.etag.clone(),
        };
        // Two texts can always be written as JSON.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        bytes.extend_from_slice(&fetched.bytes);
        if let Some(directory) = self.path.parent() {
            keepgate_files::create_directory(directory)?;
        }
        keepgate_files::replace(&self.path, &bytes)
    }
}

/// FNV-1a: tells names apart that differ in what a file name cannot show. The first line settles the rest.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_kept_is_its_own_and_private() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::new(state.path(), "https://a.example/x/policy.tar.gz?v=1");
        assert!(store.read().unwrap().is_none());
        let fetched = Fetched {
            bytes: Arc::from(&b"\n\x1f\x8b one\ntwo"[..]),
            etag: Some("\"7\"".to_owned()),
        };
        store.write(&fetched).unwrap();
        let read = store.read().unwrap().unwrap();
        assert_eq!(
            (read.bytes, read.etag),
            (fetched.bytes.clone(), fetched.etag)
        );
        assert_eq!(
            std::fs::metadata(&store.path).unwrap().mode() & 0o777,
            0o600
        );
        let directory = store.path.parent().unwrap();
        assert_eq!(std::fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
        let other = Store::new(state.path(), "https://b.example/x/policy.tar.gz?v=1");
        assert_ne!(other.path, store.path);
        std::fs::copy(&store.path, &other.path).unwrap();
        assert!(
            other.read().unwrap().is_none(),
            "another's bundle was taken"
        );
        std::fs::write(&store.path, "").unwrap();
        assert!(store.read().unwrap().is_none());
        std::fs::set_permissions(
            &store.path,
            std::os::unix::fs::PermissionsExt::from_mode(0o666),
        )
        .unwrap();
        assert!(store.read().is_err());
    }
}
