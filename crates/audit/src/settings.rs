//! What a log is told when it is opened.

use std::path::PathBuf;
use std::time::Duration;

/// When an append is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The record was handed to the kernel: it survives the death of the process, not that of the machine.
    Written,
    /// The record was handed to the disk (`fdatasync`): it survives a power cut as far as the disk keeps its word.
    Synced,
}

/// Settings of one log. [`Settings::new`] gives the defaults.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the log lives; created (0750) if missing. One process at a time.
    pub directory: PathBuf,
    /// Name of the log and of its key, first line of every checkpoint (C2SP tlog-checkpoint): no spaces, no `+`.
    pub origin: String,
    /// Name of this node, stands in every record.
    pub node: String,
    /// When an append is acknowledged. Default: [`Durability::Written`].
    pub durability: Durability,
    /// How long an append may take before it is refused as slow. Default: 1 s.
    pub append_timeout: Duration,
    /// How long records may stay unsigned while the log changes. Default: 1 s.
    pub checkpoint_interval: Duration,
    /// How often the log says that it is alive. Default: 60 s.
    pub heartbeat: Duration,
    /// How long the writer may gather records before one write when it is busy; a quiet log never waits. Default: 150 µs.
    pub gather: Duration,
    /// Bytes that may wait for the writer before appends are refused as slow; posts may use as much again. Default: 8 MiB.
    pub queue_bytes: usize,
    /// Free bytes of the file system below which new calls are refused. What ends a call already made may still be
    /// written from this reserve. Default: 256 MiB.
    pub min_free_bytes: u64,
}

impl Settings {
    /// The defaults for a log in `directory` named `origin`, written by `node`.
    #[must_use]
    pub fn new(
        directory: impl Into<PathBuf>,
        origin: impl Into<String>,
        node: impl Into<String>,
    ) -> Self {
        Self {
            directory: directory.into(),
            origin: origin.into(),
            node: node.into(),
            durability: Durability::Written,
            append_timeout: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(60),
            gather: Duration::from_micros(150),
            queue_bytes: 8 << 20,
            min_free_bytes: 256 << 20,
        }
    }
}
