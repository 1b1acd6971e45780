//! The ways a request to a server fails.

use std::time::Duration;

use super::super::decoded::{InflateError, MAX_RATIO};
use crate::{
    body::{BoxError, ReadError},
    memory::Spent,
};

/// The failure of a request to an upstream: there is no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection; nothing was sent.
    #[error("could not connect to the upstream")]
    Connect(#[source] BoxError),
    /// No connection in time; nothing was sent.
    #[error("could not connect to the upstream in time: `{after:?}`")]
    ConnectTimeout {
        /// The time it had.
        after: Duration,
    },
    /// Its [`Clearance`](crate::Clearance) was refused; nothing was sent.
    #[error("the request was stopped before it was sent")]
    NotCleared,
    /// The connection broke after the request may have been sent.
    #[error("the connection to the upstream broke")]
    Broken(#[source] BoxError),
    /// No head of an answer in time.
    #[error("the upstream did not answer in time: `{after:?}`")]
    HeadTimeout {
        /// The time it had.
        after: Duration,
    },
    /// The body did not come in time.
    #[error("the upstream did not finish its answer in time: `{after:?}`")]
    BodyTimeout {
        /// The time it had.
        after: Duration,
    },
    /// The body is longer than the cap.
    #[error("the upstream's answer is longer than the cap in bytes: `{cap}`")]
    TooLarge {
        /// The cap, in bytes.
        cap: usize,
    },
    /// The body ended before its announced length, or its framing broke.
    #[error("the upstream's answer broke off")]
    Truncated(#[source] BoxError),
    /// A redirect, which is never followed.
    #[error("the upstream redirects: `{status}`")]
    Redirect {
        /// The status.
        status: u16,
    },
    /// A 5xx.
    #[error("the upstream failed: `{status}`")]
    Server {
        /// The status.
        status: u16,
    },
    /// A status MCP has no use for.
    #[error("the upstream answered with a status of no use: `{status}`")]
    Status {
        /// The status.
        status: u16,
    },
    /// Too much is held already, for all calls together.
    #[error("there is no memory left for the upstream's answer")]
    NoMemory(#[source] Spent),
    /// A body that cannot be taken for JSON or an event stream, by its content type.
    #[error("the upstream's answer is neither JSON nor an event stream: {0}")]
    ContentType(&'static str),
    /// A head that leaves open where the body ends, or how it is coded.
    #[error("the upstream's answer is framed in more than one way: {0}")]
    Framing(&'static str),
    /// No file descriptor is left in this process; nothing was sent.
    #[error("no file descriptor is left for connections to servers")]
    NoDescriptor(#[source] BoxError),
    /// A compressed body that inflates to too much.
    #[error("the upstream's answer inflates to more than {MAX_RATIO} times its size")]
    Inflated,
    /// A body with a content coding that is not read.
    #[error("the upstream's answer has a content encoding that is not read (gzip is): `{name}`")]
    ContentEncoding {
        /// The name of the coding.
        name: String,
    },
}

impl UpstreamError {
    /// The HTTP status that was the failure, if it was one.
    pub fn status(&self) -> Option<u16> {
        match *self {
            Self::Redirect { status } | Self::Server { status } | Self::Status { status } => {
                Some(status)
            }
            Self::Connect(_)
            | Self::ConnectTimeout { .. }
            | Self::NotCleared
            | Self::Broken(_)
            | Self::HeadTimeout { .. }
            | Self::BodyTimeout { .. }
            | Self::TooLarge { .. }
            | Self::Truncated(_)
            | Self::NoMemory(_)
            | Self::ContentType(_)
            | Self::Framing(_)
            | Self::NoDescriptor(_)
            | Self::Inflated
            | Self::ContentEncoding { .. } => None,
        }
    }

    pub(super) fn of_body(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge { cap } => Self::TooLarge { cap },
            ReadError::TooSlow { deadline } => Self::BodyTimeout { after: deadline },
            ReadError::NoMemory(full) => Self::NoMemory(full),
            ReadError::Broken(source) => match source.downcast_ref::<InflateError>() {
                Some(InflateError::Ratio) => Self::Inflated,
                Some(InflateError::Malformed | InflateError::Truncated | InflateError::Barren)
                | None => Self::Truncated(source),
            },
        }
    }

    /// Whether it is certain that no byte of the request left: the call did not happen.
    pub fn is_before_sending(&self) -> bool {
        matches!(
            self,
            Self::Connect(_)
                | Self::ConnectTimeout { .. }
                | Self::NoDescriptor(_)
                | Self::NotCleared
        )
    }
}
