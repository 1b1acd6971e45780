//! What can go wrong while measuring.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a part of the bench gave up.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The operating system refused something; `doing` says what.
    #[error("failed to {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// A program of the bench could not be started.
    #[error("failed to start: `{program}`", program = program.display())]
    Start {
        /// The program's path.
        program: PathBuf,
        /// The system's own error.
        #[source]
        source: io::Error,
    },
    /// A part ended or answered before it said what it was expected to say.
    #[error("{part} did not say `{expected}`, it said: `{said}`")]
    Silent {
        /// Which part.
        part: String,
        /// The words that were waited for.
        expected: &'static str,
        /// The line that came instead; empty when the part ended.
        said: String,
    },
    /// One of the gateway's crates refused to do its part; `doing` says which.
    #[error("failed to {doing}")]
    Part {
        /// What was being done.
        doing: &'static str,
        /// The crate's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A reply was not what HTTP or the bench's upstream promises.
    #[error("bad reply: `{0}`")]
    Reply(String),
    /// A part reported something that is not the JSON it should be.
    #[error("failed to read a report")]
    Report(#[source] serde_json::Error),
    /// Calls failed, so the figures would be a lie.
    #[error(
        "{errors} of {calls} calls failed through {proxy} ({workload}), the first with: `{first}`"
    )]
    Calls {
        /// How many failed.
        errors: u64,
        /// How many were made.
        calls: u64,
        /// The row of the table.
        proxy: String,
        /// The column of the table.
        workload: &'static str,
        /// What the first failure was.
        first: String,
    },
}

impl Error {
    /// `map_err` for the gateway's crates: says what was being done.
    pub(crate) fn part<E>(doing: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Part {
            doing,
            source: Box::new(source),
        }
    }
}

/// `map_err` for IO: says what was being done.
pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { doing, source }
}
