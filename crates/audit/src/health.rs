//! How the log is, for readiness checks and metrics.

use std::time::Duration;

/// Whether the log takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Records are taken and written in time.
    Ok,
    /// The file system has less room than the reserve: new calls are refused.
    Full,
    /// The writer has not kept up for longer than the append timeout, or its queue is full.
    Slow,
    /// The last write failed, or records were lost and the loss does not stand in the log yet.
    Failing,
    /// The log was closed.
    Closed,
}

/// A picture of the log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the log takes records.
    pub state: State,
    /// Records in the log.
    pub size: u64,
    /// Records under the last signed checkpoint.
    pub signed: u64,
    /// Age of the last checkpoint.
    pub checkpoint_age: Duration,
    /// Records waiting for the writer.
    pub queued: usize,
    /// Bytes waiting for the writer.
    pub queued_bytes: usize,
    /// Records given to [`crate::Log::post`] that could not be kept, since the log was opened.
    pub lost: u64,
    /// Free bytes of the file system when last looked at.
    pub free_bytes: u64,
    /// What failed last, while [`State::Failing`].
    pub failure: Option<String>,
}
