//! The events of an upstream's answer, as they come.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::Body;
use keepgate_mcp::sse::{Decoder, Event, SseError, SseLimits};
use tokio::time::Instant;

use super::{
    decoded::{Decoded, InflateError, MAX_RATIO},
    upstream::Limits,
};
use crate::{
    alarm::Alarm,
    body::BoxError,
    memory::{Share, Spent},
    turn::{CHUNK, MESSAGE, Turn},
};

/// Bytes of a line beside its data: the field's name, colon and space.
const FIELD: usize = 64;
/// Lines read at once, and what each takes of a turn beyond its bytes: a line without an event costs as much as 64 bytes that
/// belong to one.
const LINES: usize = 128;
const LINE: usize = 64;

/// Bytes of an event in addition to its data (id, name, retry) that count as part of its message.
const ENVELOPE: usize = 1024;
/// The time in which a stream may bring [`Limits::noise`].
const NOISE_WINDOW: Duration = Duration::from_secs(60);
/// Below this share of the limit no clock is read: an honest stream never gets there.
const QUIET: u64 = 64;

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
    /// Blank lines, comments and events without a message, more of them than a stream may bring in a minute.
    #[error(
        "the upstream's stream brought too many bytes without a message: more than `{most}` in a minute"
    )]
    Noise {
        /// The limit, in bytes.
        most: usize,
    },
    /// A compressed stream that inflates to too much.
    #[error("the upstream's stream inflates to more than {MAX_RATIO} times its size")]
    Inflated,
}

impl StreamError {
    fn of_body(error: BoxError) -> Self {
        match error.downcast_ref::<InflateError>() {
            Some(InflateError::Ratio) => Self::Inflated,
            Some(InflateError::Malformed | InflateError::Truncated | InflateError::Barren)
            | None => Self::Broken(error),
        }
    }
}

/// The events of one answer, each passed on as soon as it is whole. After an error there is nothing more.
///
/// Dropping it aborts the upstream request: the connection is closed (HTTP/1.1) or the stream reset (HTTP/2).
pub struct Events(Box<Inner<Decoded>>);

struct Inner<B> {
    body: Option<B>,
    decoder: Decoder,
    idle: Duration,
    silence: Alarm,
    /// What the event that is not whole yet takes.
    share: Share,
    turn: Turn,
    noise: Noise,
}

/// Counts the bytes of a stream that bring no message.
#[derive(Debug)]
struct Noise {
    most: usize,
    received: u64,
    useful: u64,
    /// The noise counted when the window began, and when that was; `None` while there was hardly any.
    before: u64,
    since: Option<Instant>,
}

impl Noise {
    fn new(most: usize) -> Self {
        Self {
            most,
            received: 0,
            useful: 0,
            before: 0,
            since: None,
        }
    }

    /// Counts an event that carries a message.
    fn message(&mut self, event: &Event) {
        if event.is_message() && !event.data.is_empty() {
            self.useful += (event.data.len() + ENVELOPE) as u64;
        }
    }

    /// Whether the window has brought too much, `held` bytes of an event to come not counted.
    fn is_too_much(&mut self, held: usize) -> bool {
        let most = self.most as u64;
        let noise = self.received.saturating_sub(self.useful + held as u64);
        let fresh = noise.saturating_sub(self.before);
        match self.since {
            None => {
                if fresh > most / QUIET {
                    self.since = Some(Instant::now());
                }
                false
            }
            Some(_) if fresh <= most => false,
            Some(since) if since.elapsed() < NOISE_WINDOW => true,
            Some(_) => {
                self.before = noise;
                self.since = Some(Instant::now());
                false
            }
        }
    }
}

/// Result of a read.
enum Step {
    More,
    End,
    Failed(StreamError),
}

impl Events {
    pub(super) fn new(body: Decoded, limits: &Limits) -> Self {
        Self(Box::new(Inner::new(body, limits)))
    }
}

impl<B> Inner<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    fn new(body: B, limits: &Limits) -> Self {
        let sse = SseLimits {
            line: limits.max_message.saturating_add(FIELD),
            event: limits.max_message,
        };
        Self {
            body: Some(body),
            decoder: Decoder::new(sse),
            idle: limits.idle,
            share: limits.memory.share(),
            silence: Alarm::default(),
            turn: Turn::default(),
            noise: Noise::new(limits.noise),
        }
    }

    /// Ends the stream with an error; the upstream request goes with it.
    fn fail(&mut self, error: StreamError) -> Poll<Option<Result<Event, StreamError>>> {
        self.body = None;
        Poll::Ready(Some(Err(error)))
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Event, StreamError>>> {
        loop {
            if self.body.is_none() {
                return Poll::Ready(None);
            }
            // Before an event as well as before bytes: what is done with events costs more than reading them, and one
            // poll of ours may be one of many in a poll of the task.
            if self.turn.is_over(context) {
                return Poll::Pending;
            }
            match self.decoder.next_within(LINES) {
                Some(Ok(event)) => {
                    self.turn.charge(MESSAGE);
                    self.noise.message(&event);
                    return Poll::Ready(Some(Ok(event)));
                }
                Some(Err(error)) => return self.fail(StreamError::Malformed(error)),
                None if self.decoder.has_lines() => {
                    self.turn.charge(LINES * LINE);
                    continue;
                }
                None => {}
            }
            let held = self.decoder.held();
            if let Err(full) = self.share.fit(held) {
                return self.fail(StreamError::NoMemory(full));
            }
            if self.noise.is_too_much(held) {
                let most = self.noise.most;
                return self.fail(StreamError::Noise { most });
            }
            match ready!(self.poll_body(context)) {
                Step::More => {}
                Step::End => {
                    self.body = None;
                    return Poll::Ready(None);
                }
                Step::Failed(error) => return self.fail(error),
            }
        }
    }

    /// Takes the next bytes.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Step::End);
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.clear();
                if let Ok(data) = frame.into_data() {
                    self.turn.charge(data.len() + CHUNK);
                    self.noise.received += data.len() as u64;
                    self.decoder.push(data);
                }
                Poll::Ready(Step::More)
            }
            // An event that was not ended by a blank line is none.
            Poll::Ready(None) => Poll::Ready(Step::End),
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Step::Failed(StreamError::of_body(error.into())))
            }
            Poll::Pending => {
                self.turn.restart();
                let after = self.idle;
                self.silence.set(after);
                if self.silence.rings(context) {
                    return Poll::Ready(Step::Failed(StreamError::Silent { after }));
                }
                Poll::Pending
            }
        }
    }
}

impl Stream for Events {
    type Item = Result<Event, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_event(context)
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

#[cfg(test)]
mod tests;
