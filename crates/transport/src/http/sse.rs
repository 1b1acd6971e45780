//! HTTP+SSE, the transport of 2024-11-05, the calling end: a `GET` opens an event stream, whose first event names the address
//! that messages are posted to; everything the server sends comes on the stream.
//!
//! The stream is the session. It may be silent for long, and when it ends so does every call on it.

mod address;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_core::Stream;
use http::{
    HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
    uri::PathAndQuery,
};
use keepgate_mcp::{Body, Message, skim::Outline, sse::Event};
use std::{future::poll_fn, pin::Pin};
use tokio::time::timeout;

pub use self::address::AddressError;
use super::{
    BUFFER,
    upstream::{Answer, Endpoint, Events, Limits, StreamError, UpstreamError},
};
use crate::{
    body::BoxError,
    duplex::{Answers, Connection, Core, DuplexError, Envelope, OwnEnvelope, Pipe, Posts, Sharing},
    memory::{Charge, Spent},
};

/// Most events before the one that names the address.
const MAX_EARLY: usize = 16;
/// Most bytes of a notification or a question, which nobody asked for.
const MAX_UNASKED: usize = 1 << 20;
/// Time for which a stream may be silent. Nothing has to come while nobody calls; TCP notices a peer that is gone.
const SILENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Decodes the data of an event.
pub type Decode = Arc<dyn Fn(Bytes) -> Result<Body, BoxError> + Send + Sync>;

/// Settings of a connection.
#[derive(Clone)]
pub struct SseSettings {
    /// The server's name, for the log.
    pub name: String,
    /// Bounds; `head` is the time for the stream with its address, and for the acceptance of a message.
    pub limits: Limits,
    /// Decodes messages of the server.
    pub decode: Decode,
    /// For what is sent by ourselves.
    pub own: OwnEnvelope,
}

/// Reason that a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer, or one of no use.
    #[error("could not open the server's event stream")]
    Upstream(#[from] UpstreamError),
    /// A 4xx.
    #[error("the server refused to open its event stream: HTTP {status}")]
    Rejected {
        /// The status.
        status: u16,
    },
    /// A success without an event stream.
    #[error("the server answered without an event stream")]
    NotAStream,
    /// The stream failed.
    #[error("the server's event stream failed")]
    Stream(#[source] StreamError),
    /// The stream ended, or went on with something else.
    #[error("the server's event stream did not begin with its `endpoint` event")]
    NoAddress,
    /// The address cannot be used.
    #[error("the server's `endpoint` event cannot be used")]
    Address(#[from] AddressError),
    /// No address in time.
    #[error("the server did not name its address for messages in time: `{after:?}`")]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
    /// Too much is held already.
    #[error("there is no memory left for another event stream")]
    NoMemory(#[from] Spent),
}

impl Connection {
    /// Opens a stream and learns where messages go. Must be called within a runtime.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        endpoint: &Endpoint,
        envelope: Envelope,
        settings: SseSettings,
    ) -> Result<Self, OpenError> {
        let after = settings.limits.head;
        // A connection of its own for as long as it lasts, and what it may buffer.
        let mut charge = settings.limits.memory.charge();
        charge.add(BUFFER)?;
        let opened = timeout(after, open(endpoint, envelope, &settings.limits)).await;
        let (events, address) = opened.map_err(|_elapsed| OpenError::TimedOut { after })??;
        let SseSettings {
            name,
            limits,
            decode,
            own,
        } = settings;
        let memory = limits.memory.clone();
        let core = Core::new(&name, limits.max_message, Sharing::Exclusive, memory);
        let posts = Posts {
            endpoint: endpoint.at(address.clone()),
            limits,
            own,
        };
        let reader = Reader {
            core: Arc::clone(&core),
            base: endpoint.clone(),
            address,
            decode,
            _charge: charge,
        };
        core.tasks.spawn(reader.read(events));
        core.tasks.close();
        Ok(Self::new(&core, Pipe::Posts(Arc::new(posts))))
    }
}

/// Opens the stream and reads it to its `endpoint` event.
async fn open(
    endpoint: &Endpoint,
    envelope: Envelope,
    limits: &Limits,
) -> Result<(Events, PathAndQuery), OpenError> {
    let Envelope {
        mut headers,
        query,
        clearance: _,
    } = envelope;
    headers.remove(CONTENT_TYPE);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let limits = Limits {
        idle: SILENCE,
        ..limits.clone()
    };
    let answer = match query {
        Some(query) => endpoint.with_query(&query).get(headers, &limits).await?,
        None => endpoint.get(headers, &limits).await?,
    };
    let mut events = match answer {
        Answer::Stream { events, .. } => events,
        Answer::Rejected { status, .. } => return Err(OpenError::Rejected { status }),
        Answer::Accepted | Answer::Message { .. } => return Err(OpenError::NotAStream),
    };
    for _ in 0..MAX_EARLY {
        let event = next(&mut events).await.ok_or(OpenError::NoAddress)?;
        let event = event.map_err(OpenError::Stream)?;
        if is_address(&event) {
            return Ok((events, resolved(endpoint, &event)?));
        }
        // Nothing was asked yet, so no message can be meant for anybody.
        if event.is_message() && !event.data.is_empty() {
            return Err(OpenError::NoAddress);
        }
    }
    Err(OpenError::NoAddress)
}

fn is_address(event: &Event) -> bool {
    event.name.as_deref() == Some(b"endpoint")
}

fn resolved(endpoint: &Endpoint, event: &Event) -> Result<PathAndQuery, AddressError> {
    let text = std::str::from_utf8(&event.data).map_err(|_invalid| AddressError::Malformed)?;
    address::resolve(endpoint.uri(), text.trim_matches(' '))
}

async fn next(events: &mut Events) -> Option<Result<Event, StreamError>> {
    poll_fn(|context| Pin::new(&mut *events).poll_next(context)).await
}

/// Reads the stream to its end.
struct Reader {
    core: Arc<Core>,
    base: Endpoint,
    address: PathAndQuery,
    decode: Decode,
    _charge: Charge,
}

impl Reader {
    async fn read(self, events: Events) {
        let stop = self.core.stop.clone();
        let ended = stop.run_until_cancelled(self.read_all(events)).await;
        let error = ended.unwrap_or(DuplexError::Closed);
        tracing::debug!(server = self.core.name, %error, "the event stream ended");
        self.core.end(error);
        self.core.stop.cancel();
        self.core.over.cancel();
    }

    /// Hands out messages until there are no more, and returns the reason.
    async fn read_all(&self, mut events: Events) -> DuplexError {
        while let Some(event) = next(&mut events).await {
            let event = match event {
                Ok(event) => event,
                Err(error) => return DuplexError::Stream(Arc::new(error)),
            };
            if is_address(&event) {
                // Whatever it means, calls must not go to two places.
                if resolved(&self.base, &event).as_ref() != Ok(&self.address) {
                    return DuplexError::Moved;
                }
            } else if event.is_message() && !event.data.is_empty() {
                self.receive(event.data);
            }
        }
        DuplexError::StreamEnded
    }

    fn receive(&self, data: Bytes) {
        let server = self.core.name.as_str();
        let length = data.len();
        let text = data.clone();
        match (self.decode)(data) {
            Ok(Body::Single(Message::Request(_) | Message::Notification(_)))
                if length > MAX_UNASKED =>
            {
                tracing::warn!(
                    server,
                    most = MAX_UNASKED,
                    "dropped a notification or a question that is too long"
                );
            }
            Ok(body) => self.core.deliver(&body),
            Err(error) => {
                let calls = self
                    .core
                    .fail_unreadable(Answers::among_messages(&Outline::of(&text)));
                tracing::warn!(server, %error, calls, "dropped an event that is no message");
            }
        }
    }
}

impl fmt::Debug for SseSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SseSettings")
            .field("name", &self.name)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
