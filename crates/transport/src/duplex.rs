//! Many calls over one way to a server that brings the messages of all of them: the pipes of a child process, or the event
//! stream of HTTP+SSE with its address for messages.
//!
//! [`Connection`] carries the calls with ids of its own on the wire, so that an answer names its call, and hands every message
//! to its owner.

mod connection;
mod pipe;
mod queue;
mod route;
mod usage;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

pub use connection::{CallMode, Connection, Replies, Sharing, Unsolicited};
pub(crate) use connection::{Core, OUTBOX};
pub use pipe::{Dispatch, Envelope, OwnEnvelope};
pub(crate) use pipe::{Pipe, Posts};
pub(crate) use route::Answers;
pub use route::Owner;
pub use usage::{Busy, Handle, Place, Reserve, Reserving};

use crate::{
    http::upstream::{StreamError, UpstreamError},
    memory::Spent,
};

/// Reason that a call on a connection failed. Clones are cheap: every pending call gets one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DuplexError {
    /// The program could not be started.
    #[error("could not start `{command}`")]
    Spawn {
        /// The program.
        command: String,
        /// The error of the system.
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
    /// The [`Clearance`](crate::Clearance) of the message was refused; nothing of it was sent.
    #[error("the message was stopped before it was sent")]
    NotCleared,
    /// We ended the process or the stream.
    #[error("the connection to the server was closed")]
    Closed,
    /// The process keeps ending, and is not started again yet.
    #[error("the server process is not started again for `{after:?}`")]
    BackingOff {
        /// The pause that is left.
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
    /// An answer to a request this server has not made, or has had an answer to.
    #[error("no such request is open: `{id}`")]
    Foreign {
        /// The id, as JSON.
        id: String,
    },
    /// A message could not be posted.
    #[error("could not post a message to the server")]
    Post(#[source] Arc<UpstreamError>),
    /// The server answered a posted message with a 4xx.
    #[error("the server refused a message: HTTP {status}")]
    Rejected {
        /// The status.
        status: u16,
        /// The body, if it is JSON by its content type.
        body: Option<Bytes>,
    },
    /// The event stream ended before its end.
    #[error("the server's event stream failed")]
    Stream(#[source] Arc<StreamError>),
    /// The server closed its event stream.
    #[error("the server closed its event stream")]
    StreamEnded,
    /// The server named a second address for messages.
    #[error("the server named another address for messages in the middle of its event stream")]
    Moved,
    /// The only message that can have answered the call cannot be read.
    #[error("the server sent a message that cannot be read")]
    Unreadable,
    /// Too much is held already.
    #[error("there is no memory left for the server's message")]
    NoMemory(#[source] Spent),
}

impl DuplexError {
    /// Whether it is certain that the message did not reach the server.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Spawn { .. }
            | Self::BackingOff { .. }
            | Self::Full { .. }
            | Self::TooLarge { .. }
            | Self::Unframeable
            | Self::NotCleared
            | Self::Foreign { .. } => true,
            Self::Post(error) => error.is_before_sending(),
            Self::Exited { .. }
            | Self::Silent
            | Self::Pipe(_)
            | Self::LineTooLong { .. }
            | Self::Cancelled
            | Self::Closed
            | Self::Rejected { .. }
            | Self::Stream(_)
            | Self::StreamEnded
            | Self::Moved
            | Self::Unreadable
            | Self::NoMemory(_) => false,
        }
    }
}
