//! The events of an upstream's answer, as they come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use http_body::Body;
use keepgate_mcp::sse::{Decoder, Event, SseError, SseLimits};

use super::{pool::Received, upstream::Limits};
use crate::{
    alarm::Alarm,
    body::BoxError,
    memory::{Share, Spent},
};

/// Bytes of a line beside its data: the field's name, colon and space.
const FIELD: usize = 64;

/// Why an event stream ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection broke, or the framing of the body did.
    #[error("the upstream's stream broke off")]
    Broken(#[source] BoxError),
    /// Nothing came in time, not even a comment.
    #[error("the upstream's stream was silent for too long: `{after:?}`")]
    Silent {
        /// The time it had.
        after: Duration,
    },
    /// A line or an event over its cap, or bytes that are no text.
    #[error("the upstream's stream cannot be read on")]
    Malformed(#[source] SseError),
    /// Too much is held already, for all streams together.
    #[error("there is no memory left for the upstream's event")]
    NoMemory(#[source] Spent),
}

/// The events of one answer, each passed on as soon as it is whole. After an error there is nothing more.
///
/// Dropping it aborts the upstream request: the connection is closed (HTTP/1.1) or the stream reset (HTTP/2).
pub struct Events(Box<Inner>);

struct Inner {
    body: Option<Received>,
    decoder: Decoder,
    idle: Duration,
    silence: Alarm,
    /// What the event that is not whole yet takes.
    share: Share,
}

impl Events {
    pub(super) fn new(body: Received, limits: &Limits) -> Self {
        let sse = SseLimits {
            line: limits.max_event.saturating_add(FIELD),
            event: limits.max_event,
        };
        Self(Box::new(Inner {
            body: Some(body),
            decoder: Decoder::new(sse),
            idle: limits.idle,
            share: limits.memory.share(),
            silence: Alarm::default(),
        }))
    }
}

impl Inner {
    /// Ends the stream with an error; the upstream request goes with it.
    fn fail(&mut self, error: StreamError) -> Poll<Option<Result<Event, StreamError>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Events {
    type Item = Result<Event, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self.0;
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            match this.decoder.next() {
                Some(Ok(event)) => return Poll::Ready(Some(Ok(event))),
                Some(Err(error)) => return this.fail(StreamError::Malformed(error)),
                None => {
                    if let Err(full) = this.share.fit(this.decoder.held()) {
                        return this.fail(StreamError::NoMemory(full));
                    }
                }
            }
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.silence.clear();
                    if let Ok(data) = frame.into_data() {
                        this.decoder.push(data);
                    }
                }
                // An event that was not ended by a blank line is none.
                Poll::Ready(None) => {
                    this.body = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    return this.fail(StreamError::Broken(error.into()));
                }
                Poll::Pending => {
                    let after = this.idle;
                    this.silence.set(after);
                    if this.silence.rings(context) {
                        return this.fail(StreamError::Silent { after });
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Events")
            .field("open", &self.0.body.is_some())
            .finish_non_exhaustive()
    }
}
