//! Server-sent events: bytes to events and back, one event at a time.

use bytes::Bytes;
use thiserror::Error;

/// What one stream may make us hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SseLimits {
    /// Bytes of one line.
    pub line: usize,
    /// Bytes of one event's data.
    pub event: usize,
}

impl Default for SseLimits {
    /// 8 MiB of data, and a line that can hold it.
    fn default() -> Self {
        Self {
            line: (8 << 20) + 64,
            event: 8 << 20,
        }
    }
}

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `id:`, if this event has one; UTF-8 without NUL, CR or LF. May be empty, which resets the last id.
    pub id: Option<Bytes>,
    /// `retry:`, in milliseconds.
    pub retry: Option<u64>,
    /// `event:`; UTF-8.
    pub name: Option<Bytes>,
    /// The data lines joined by LF.
    pub data: Bytes,
    /// Whether there was a data line at all: a priming event has an empty one.
    pub has_data: bool,
}

/// A stream that must not be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SseError {
    /// A line longer than [`SseLimits::line`].
    #[error("line of an event stream is too long")]
    LineTooLong,
    /// Data longer than [`SseLimits::event`].
    #[error("event is too large")]
    EventTooLarge,
    /// A field that is not UTF-8.
    #[error("event stream is not UTF-8")]
    Utf8,
}

/// Reads events from chunks.
#[derive(Debug)]
pub struct Decoder {
    _limits: SseLimits,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: SseLimits) -> Self {
        Self { _limits: limits }
    }

    /// Gives the decoder the next chunk. Take all events with [`Self::next`] before the next push.
    pub fn push(&mut self, chunk: Bytes) {
        drop(chunk);
    }

    /// The next complete event, or nothing until more is pushed. After an error there is never another event.
    #[expect(
        clippy::should_implement_trait,
        reason = "a decoder is fed in between, unlike an iterator"
    )]
    pub fn next(&mut self) -> Option<Result<Event, SseError>> {
        None
    }
}

/// The bytes of one event, blank line included. `data` becomes one line: a line break in it, which in JSON can only be
/// space, is written as a space.
pub fn encode(event: &Event) -> Bytes {
    event.data.clone()
}

/// A comment line: keeps a quiet stream open.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}
