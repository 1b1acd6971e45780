//! One MCP server over Streamable HTTP: post a message, open the server's stream, end a session.
//!
//! What comes back is sorted into the few shapes MCP knows. Anything else (redirects, HTML, compressed, oversized or
//! truncated bodies, 5xx) is an error of ours and none of the upstream's words.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Uri};

use crate::body::BoxError;

/// What an upstream's answer may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of a JSON body.
    pub max_message: usize,
    /// Most bytes of one SSE event.
    pub max_event: usize,
    /// Time until the head of the answer.
    pub head: Duration,
    /// Time for a JSON body after its head.
    pub body: Duration,
    /// Time an event stream may be silent, comments not counted as silence.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 8 * 1024 * 1024,
            max_event: 1024 * 1024,
            head: Duration::from_secs(60),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
        }
    }
}

/// Header lines of an answer that the gateway looks at; never relayed by themselves.
#[derive(Debug, Clone, Default)]
pub struct AnswerHead {
    /// `Mcp-Session-Id`: the upstream's own id, which stays inside.
    pub session: Option<HeaderValue>,
    /// `MCP-Protocol-Version`.
    pub revision: Option<HeaderValue>,
}

/// What an upstream answered.
#[derive(Debug)]
pub enum Answer {
    /// Taken note of (202, or a success without a body).
    Accepted,
    /// One JSON body.
    Message {
        /// Headers of interest.
        head: AnswerHead,
        /// The whole body, at most [`Limits::max_message`] bytes, not yet decoded.
        body: Bytes,
    },
    /// An event stream. Dropping it aborts the upstream request.
    Stream {
        /// Headers of interest.
        head: AnswerHead,
        /// The events.
        events: Events,
    },
    /// A 4xx.
    Rejected {
        /// The status.
        status: u16,
        /// The body, unchanged, if it is JSON by its content type; `None` for HTML and all else.
        body: Option<Bytes>,
    },
}

/// The events of one answer, each passed on as it is whole.
#[derive(Debug)]
pub struct Events {}

/// Why an upstream gave no answer that can be used.
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
    /// A success whose body is neither JSON nor an event stream.
    #[error("the upstream's answer is neither JSON nor an event stream")]
    ContentType,
    /// A body that is compressed or otherwise encoded; it could not be judged.
    #[error("the upstream's answer is encoded")]
    ContentEncoding,
}

impl UpstreamError {
    /// Whether it is certain that no byte of the request left: the call did not happen.
    pub fn is_before_sending(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout { .. })
    }
}

/// One upstream address with its connections. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Endpoint {
    uri: Uri,
}

impl Endpoint {
    pub(crate) fn new(uri: Uri) -> Self {
        Self { uri }
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Posts one message: exactly `body`, once.
    ///
    /// `headers` are sent as given, plus `Host`, `Content-Length`, and where they are missing `Content-Type` and `Accept`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        drop((headers, body, limits));
        Err(UpstreamError::ContentType)
    }

    /// Opens the server's own stream (stateful revisions); an [`Answer::Rejected`] with 405 says there is none.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn get(&self, headers: HeaderMap, limits: &Limits) -> Result<Answer, UpstreamError> {
        drop((headers, limits));
        Err(UpstreamError::ContentType)
    }

    /// Ends a session (stateful revisions).
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn delete(
        &self,
        headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        drop((headers, limits));
        Err(UpstreamError::ContentType)
    }
}
