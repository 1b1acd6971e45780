//! The ways of messages to a server: lines to a process, or a request of HTTP for each.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{DuplexError, Owner};
use crate::Clearance;
use crate::http::upstream::{Answer, Endpoint, Limits, UpstreamError};

/// Time in which a server notes what is posted without anybody waiting for it.
const COURTESY: Duration = Duration::from_secs(5);

/// Header lines and parameters that go with a message to a server over HTTP, of which a child process gets none; and its clearance.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// Header lines.
    pub headers: HeaderMap,
    /// Part of a credential that is sent in the URL, encoded, without `?`.
    pub query: Option<Arc<str>>,
    /// Asked before the message leaves, to a child process too.
    pub clearance: Option<Arc<dyn Clearance>>,
}

/// Envelope of what is sent by ourselves. `None` where no credential may be used.
pub type OwnEnvelope = Arc<dyn Fn() -> Option<Envelope> + Send + Sync>;

/// The client a message is of, and what goes with it.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The client.
    pub owner: Owner,
    /// Envelope of the message.
    pub envelope: Envelope,
}

impl From<Owner> for Dispatch {
    fn from(owner: Owner) -> Self {
        Self {
            owner,
            envelope: Envelope::default(),
        }
    }
}

/// A way of messages to a server.
#[derive(Clone)]
pub(crate) enum Pipe {
    /// Lines to a child process.
    Lines(mpsc::Sender<Bytes>),
    /// A request for each message.
    Posts(Arc<Posts>),
}

/// A message on its way.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<(), DuplexError>> + Send>>;

/// Posts messages to the address a server has named.
pub(crate) struct Posts {
    /// Address that the server has named.
    pub(crate) endpoint: Endpoint,
    /// Bounds of the answers, which hold nothing.
    pub(crate) limits: Limits,
    /// For what is sent by ourselves.
    pub(crate) own: OwnEnvelope,
}

impl Posts {
    /// Posts a message, once. Any 2xx is acceptance: what answers it comes on the stream.
    pub(super) async fn post(
        self: Arc<Self>,
        envelope: Envelope,
        message: Bytes,
        head: Duration,
    ) -> Result<(), DuplexError> {
        let Envelope {
            headers,
            query,
            clearance,
        } = envelope;
        let limits = Limits {
            head,
            ..self.limits.clone()
        };
        // Some servers name the address with the query they were asked with.
        let missing = query.as_deref().and_then(|query| {
            let parts = query.split('&').filter(|part| !self.endpoint.names(part));
            let parts: Vec<&str> = parts.collect();
            (!parts.is_empty()).then(|| parts.join("&"))
        });
        let endpoint = match missing {
            Some(query) => self.endpoint.with_query(&query),
            None => self.endpoint.clone(),
        };
        let endpoint = match clearance {
            Some(clearance) => endpoint.cleared_by(clearance),
            None => endpoint,
        };
        let failed = |error: UpstreamError| DuplexError::Post(Arc::new(error));
        match endpoint.notify(headers, message, &limits).await {
            Ok(Answer::Rejected { status, body }) => Err(DuplexError::Rejected { status, body }),
            Ok(Answer::Accepted) => Ok(()),
            // A success is acceptance whatever it holds, so these do not come.
            Ok(Answer::Message { .. } | Answer::Stream { .. }) => {
                Err(failed(UpstreamError::ContentType("it is no event stream")))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The time a server has to accept a message.
    pub(super) fn head(&self) -> Duration {
        self.limits.head
    }

    /// Posts what nobody waits for.
    pub(super) fn tell(self: &Arc<Self>, message: Bytes, server: &str, tasks: &TaskTracker) {
        // Now, and not when the task runs: by then the credential may have been ended.
        let Some(envelope) = (self.own)() else { return };
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let posts = Arc::clone(self);
        let server = server.to_owned();
        tasks.spawn(async move {
            if let Err(error) = posts.post(envelope, message, COURTESY).await {
                tracing::debug!(server, %error, "the server did not take note of a message");
            }
        });
    }
}

impl fmt::Debug for Posts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Posts")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
