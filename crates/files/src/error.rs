//! The reasons a file could not be used.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Reason a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("failed to {act} `{path}`")]
    Io {
        /// The act that failed.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A directory, pipe or device where a file should be.
    #[error("not a plain file: `{path}`")]
    Kind {
        /// The path.
        path: PathBuf,
    },
    /// The file or its directory belongs to a user who could change it.
    #[error(
        "the {kind} belongs to user {owner}, who could change it, `chown {wanted}` closes it: `{path}`"
    )]
    Owner {
        /// The path.
        path: PathBuf,
        /// `file` or `directory`.
        kind: &'static str,
        /// Number of its owner.
        owner: u32,
        /// Number of the user it should belong to.
        wanted: u32,
    },
    /// Others have rights to the file, or to write into its directory.
    #[error("{who} may {may} the {kind} (mode {mode:04o}), `chmod {cure}` closes it: `{path}`")]
    Exposed {
        /// The path.
        path: PathBuf,
        /// `file` or `directory`.
        kind: &'static str,
        /// Those who may.
        who: String,
        /// The rights they have.
        may: &'static str,
        /// Permission bits.
        mode: u32,
        /// The argument of `chmod` that takes the rights away.
        cure: &'static str,
    },
    /// The file is larger than any that Keepgate writes.
    #[error("file has {size} bytes, more than the {limit} that are read: `{path}`")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Most that is read, in bytes.
        limit: u64,
    },
}

impl FileError {
    /// Adds the act and the file; for `map_err`.
    pub fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { act, path, source }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
