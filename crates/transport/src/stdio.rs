//! MCP over the standard streams of a child process (`basic/transports/stdio`): one message per line.
//!
//! [`Connection`] starts a process and carries many calls over it, with ids of its own on the wire; [`Supervisor`] starts
//! the process again when it has ended. Messages stay the bytes that were judged, but for the id, for progress tokens
//! where callers share the process, and for line breaks between tokens, which would end the frame.

pub mod child;
mod connection;
mod line;
mod pump;
mod queue;
mod reaper;
mod route;
mod stderr;
mod supervisor;
mod tree;
mod usage;

use std::{io, sync::Arc, time::Duration};

pub use child::{ChildSettings, Launcher, Redact};
pub use connection::{CallMode, Connection, Replies, Sharing, Unsolicited};
pub use reaper::{REAPER_COMMAND, guard, reap_children};
pub use route::Owner;
pub use supervisor::{Restart, Supervisor};
pub use tree::{adopt, end_all, end_survivors, reap};
pub use usage::{Busy, Handle, Place, Reserve, Reserving};

/// Why a child process cannot be talked to. Clones are cheap: every pending call gets one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StdioError {
    /// The program could not be started.
    #[error("could not start `{command}`")]
    Spawn {
        /// The program.
        command: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The process ended by itself.
    #[error("the server process ended: `{status}`")]
    Exited {
        /// The exit status or the signal, in words.
        status: String,
    },
    /// The process closed its output, and was ended for it.
    #[error("the server process closed its output")]
    Silent,
    /// The pipes broke.
    #[error("the pipe to the server process broke")]
    Pipe(#[source] Arc<io::Error>),
    /// The process wrote a line over the cap. It answered this call, or it cannot be known which.
    #[error("the server process wrote a line over the cap in bytes: `{cap}`")]
    LineTooLong {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The client cancelled the call; no answer will come.
    #[error("the client cancelled the call")]
    Cancelled,
    /// We ended the process.
    #[error("the connection to the server process was closed")]
    Closed,
    /// The process keeps ending, and is not started again yet.
    #[error("the server process is not started again for `{after:?}`")]
    BackingOff {
        /// How long.
        after: Duration,
    },
    /// As many processes run as may run.
    #[error("no place for another process: `{limit}`")]
    Full {
        /// The limit that leaves none.
        limit: &'static str,
    },
    /// The message is longer than the child may be sent.
    #[error("the message is longer than the cap in bytes: `{cap}`")]
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The message cannot be put on one line, or not under another id or token.
    #[error("the message cannot be carried on one line")]
    Unframeable,
    /// An answer to a request this process has not made, or has had an answer to.
    #[error("no such request is open: `{id}`")]
    Foreign {
        /// The id, as JSON.
        id: String,
    },
}

impl StdioError {
    /// Whether it is certain that the message did not reach the process.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Spawn { .. }
            | Self::BackingOff { .. }
            | Self::Full { .. }
            | Self::TooLarge { .. }
            | Self::Unframeable
            | Self::Foreign { .. } => true,
            Self::Exited { .. }
            | Self::Silent
            | Self::Pipe(_)
            | Self::LineTooLong { .. }
            | Self::Cancelled
            | Self::Closed => false,
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it wants and fails on the rest"
)]
mod tests;
