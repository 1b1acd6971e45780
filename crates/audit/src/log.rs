//! The writing end of a log.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::health::Health;
use crate::key::{KeyError, PublicKey};
use crate::record::Record;
use crate::settings::Settings;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes this log.
    #[error("another process writes this log: `{directory}`")]
    Locked {
        /// The log's directory.
        directory: PathBuf,
    },
    /// A key is missing, unreadable or of another log.
    #[error("failed to use the log's key")]
    Key(#[source] KeyError),
    /// The log belongs to another origin than the settings say.
    #[error("the log belongs to another origin: `{found}`")]
    Origin {
        /// The origin the key was made for.
        found: String,
    },
    /// What stands in the directory does not agree with its signed checkpoint. Nothing is written to such a log.
    #[error("the log does not agree with its checkpoint, {what}: `{path}`")]
    Damaged {
        /// What does not agree.
        what: String,
        /// Where.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("failed to {doing}: `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system gave no thread or no random bytes.
    #[error("failed to {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a record was not kept. The call it stands for must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is full, or down to its reserve.
    #[error("the audit log is full")]
    Full,
    /// The record was not durable within the append timeout, or the queue is full. It may still be written later.
    #[error("the audit log is too slow")]
    Slow,
    /// Writing failed.
    #[error("the audit log failed")]
    Failed,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the record, from 0; the same as its member `seq`.
    pub index: u64,
}

/// The wait for a record to be durable. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "the record is durable only when this has resolved"]
pub struct Append {}

impl Future for Append {
    type Output = Result<Position, AppendError>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(AppendError::Closed))
    }
}

/// A handle on a log; clones share it. The last handle to go ends the writer in the background; [`Log::close`] waits for it.
#[derive(Debug, Clone)]
pub struct Log {}

impl Log {
    /// Opens the log, creating directory and keys at the first start; puts it in order after a crash; starts the writer.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing is written to a log that does not agree with its checkpoint.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        drop(settings);
        Ok(Self {})
    }

    /// Queues a record at once and gives the wait for its durability. Needs no runtime and never blocks.
    pub fn append(&self, _record: &Record<'_>) -> Append {
        Append {}
    }

    /// Queues a record nobody waits for. Never blocks; what cannot be kept is counted and makes [`Log::health`] bad.
    pub fn post(&self, _record: &Record<'_>) {}

    /// How the log is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            state: crate::health::State::Closed,
            size: 0,
            signed: 0,
            checkpoint_age: std::time::Duration::ZERO,
            queued: 0,
            queued_bytes: 0,
            lost: 0,
            free_bytes: 0,
            failure: None,
        }
    }

    /// Writes what is queued, a `log.closed` record and a last checkpoint. Blocks until done; later appends are refused.
    pub fn close(&self) {}

    /// Keyed digest (BLAKE3 in keyed mode, 256 bits) of `bytes`, apart for each tenant and domain such as `args`,
    /// `session`: `b3:` and base64url. The key never leaves the log's directory.
    #[must_use]
    pub fn digest(&self, _tenant: &str, _domain: &str, _bytes: &[u8]) -> String {
        String::new()
    }

    /// The key that verifies this log.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey::parse("").unwrap_or_else(|_| unreachable!())
    }
}
