//! Server-sent events: bytes to events and back, one event at a time.
//!
//! Reading follows the WHATWG HTML standard §9.2.6, stricter in what it holds: caps while reading, never after. Unlike a
//! browser it also gives blocks that have an id or a retry time but no data, because a relay must pass those on.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

use crate::steps;

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
    /// `event:`, if it is there and not empty; UTF-8.
    pub name: Option<Bytes>,
    /// The data lines joined by LF. Not judged: that is [`crate::decode`]'s work.
    pub data: Bytes,
    /// Whether there was a data line at all: a priming event has an empty one.
    pub has_data: bool,
}

impl Event {
    /// An event without name and id that carries one message.
    pub fn message(data: Bytes) -> Self {
        Self {
            data,
            has_data: true,
            ..Self::default()
        }
    }

    /// Whether the event is of the default type: unnamed, or named `message`.
    pub fn is_message(&self) -> bool {
        self.name
            .as_ref()
            .is_none_or(|name| name.as_ref() == b"message")
    }
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
    /// A name or id that is not UTF-8.
    #[error("event stream is not UTF-8")]
    Utf8,
}

/// Reads events from chunks. Push a chunk, take events until there are none, push the next. What is left at the end of the
/// stream is an unterminated event and must be dropped with the decoder.
#[derive(Debug)]
pub struct Decoder {
    limits: SseLimits,
    /// What is not read yet.
    chunk: Bytes,
    /// The start of a line whose end is in no chunk yet.
    line: BytesMut,
    /// The last line ended with a CR at the end of its chunk: a LF that follows belongs to it.
    after_return: bool,
    first_line: bool,
    failed: bool,
    /// Lines that may still be read in this look.
    lines_left: usize,
    event: Event,
    /// Data of more than one line, growing; then `event.data` is empty.
    lines: Option<BytesMut>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: SseLimits) -> Self {
        Self {
            limits,
            chunk: Bytes::new(),
            line: BytesMut::new(),
            after_return: false,
            first_line: true,
            failed: false,
            lines_left: usize::MAX,
            event: Event::default(),
            lines: None,
        }
    }

    /// Gives the decoder the next chunk.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            // The caller left events untaken; nothing may be lost.
            let mut both = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            steps::add(self.chunk.len() + chunk.len());
            both.extend_from_slice(&self.chunk);
            both.extend_from_slice(&chunk);
            self.chunk = both.freeze();
        }
    }

    /// The next complete event, or nothing until more is pushed. After an error there is never another event.
    #[expect(
        clippy::should_implement_trait,
        reason = "a decoder is fed in between, unlike an iterator"
    )]
    pub fn next(&mut self) -> Option<Result<Event, SseError>> {
        loop {
            let next = self.next_within(usize::MAX);
            if next.is_some() || !self.has_lines() {
                return next;
            }
        }
    }

    /// [`Self::next`], but for at most `lines` lines: a chunk may hold tens of thousands that make no event. When there is no
    /// event, [`Self::has_lines`] shows whether to look again before more is pushed.
    pub fn next_within(&mut self, lines: usize) -> Option<Result<Event, SseError>> {
        if self.failed {
            return None;
        }
        self.lines_left = lines;
        let outcome = self.read().transpose();
        if let Some(Err(_)) = outcome {
            self.failed = true;
            *self = Self {
                failed: true,
                ..Self::new(self.limits)
            };
        }
        outcome
    }

    /// Whether reading stopped because it was to read no more lines.
    pub fn has_lines(&self) -> bool {
        self.lines_left == 0 && !self.chunk.is_empty()
    }

    /// How many bytes of an event that is not whole yet are held.
    pub fn held(&self) -> usize {
        self.line.len() + self.event.data.len() + self.lines.as_ref().map_or(0, BytesMut::len)
    }

    /// Whether the stream stands between two events, so that its end would cut nothing.
    pub fn is_between_events(&self) -> bool {
        self.chunk.is_empty()
            && self.line.is_empty()
            && self.event == Event::default()
            && self.lines.is_none()
    }

    fn read(&mut self) -> Result<Option<Event>, SseError> {
        loop {
            self.pass_over();
            if self.lines_left == 0 {
                return Ok(None);
            }
            self.lines_left -= 1;
            let end = memchr::memchr2(b'\n', b'\r', &self.chunk);
            steps::add(end.unwrap_or(self.chunk.len()) / 16 + 1);
            if self.line.len() + end.unwrap_or(self.chunk.len()) > self.limits.line {
                return Err(SseError::LineTooLong);
            }
            let Some(end) = end else {
                let rest = std::mem::take(&mut self.chunk);
                self.line.extend_from_slice(&rest);
                return Ok(None);
            };
            if let Some(event) = self.take_line(end)? {
                return Ok(Some(event));
            }
        }
    }

    /// Skips what carries nothing, blank lines between events and comments, where a line begins: a peer may send it
    /// without end, so it costs one look at each byte and neither an allocation nor a reference count.
    fn pass_over(&mut self) {
        if self.first_line || !self.line.is_empty() || self.chunk.is_empty() {
            return;
        }
        let chunk = self.chunk.as_ref();
        let between = self.lines.is_none() && self.event == Event::default();
        let rest_at = |at: usize| chunk.get(at..).unwrap_or_default();
        let mut at = usize::from(self.after_return && chunk.first() == Some(&b'\n'));
        self.after_return = false;
        while self.lines_left > 0 {
            let rest = rest_at(at);
            let passed = match rest.first() {
                Some(b'\n' | b'\r') if between => rest
                    .iter()
                    .position(|byte| !matches!(byte, b'\n' | b'\r'))
                    .unwrap_or(rest.len()),
                Some(b':') => match memchr::memchr2(b'\n', b'\r', rest) {
                    Some(end) if end <= self.limits.line => {
                        let pair = rest.get(end..end + 2) == Some(b"\r\n");
                        end + 1 + usize::from(pair)
                    }
                    // Not whole yet, or too long: the caller finds out.
                    Some(_) | None => break,
                },
                Some(_) | None => break,
            };
            steps::add(passed);
            self.lines_left -= 1;
            at += passed;
            if at == chunk.len() {
                self.after_return = chunk.last() == Some(&b'\r');
                break;
            }
        }
        self.chunk.advance(at);
    }

    /// Reads the line that ends at `end` of the chunk, and gives the event it ends, if it does.
    fn take_line(&mut self, end: usize) -> Result<Option<Event>, SseError> {
        if self.line.is_empty() && !self.first_line {
            let line = self.chunk.get(..end).unwrap_or_default();
            let blank = line.is_empty();
            let (field, start) = Field::of(line);
            // Sliced only where something is kept: a slice counts a reference.
            let value = (field != Field::Ignored).then(|| self.chunk.slice(start..end));
            self.end_line(end);
            return match value {
                Some(value) => self.keep(field, value).map(|()| None),
                None if blank => Ok(self.dispatch()),
                None => Ok(None),
            };
        }
        let part = self.chunk.slice(..end);
        self.end_line(end);
        let mut line = if self.line.is_empty() {
            part
        } else {
            self.line.extend_from_slice(&part);
            self.line.split().freeze()
        };
        if std::mem::take(&mut self.first_line) && line.starts_with(b"\xef\xbb\xbf") {
            line.advance(3);
        }
        if line.is_empty() {
            return Ok(self.dispatch());
        }
        let (field, start) = Field::of(&line);
        self.keep(field, line.slice(start..)).map(|()| None)
    }

    /// Drops a line and its end from the chunk.
    fn end_line(&mut self, end: usize) {
        self.after_return = self.chunk.get(end) == Some(&b'\r');
        self.chunk.advance(end + 1);
        if self.after_return && !self.chunk.is_empty() {
            self.after_return = false;
            if self.chunk.first() == Some(&b'\n') {
                self.chunk.advance(1);
            }
        }
    }

    fn keep(&mut self, field: Field, value: Bytes) -> Result<(), SseError> {
        match field {
            Field::Data => self.data(value)?,
            Field::Name => {
                utf8(&value)?;
                self.event.name = (!value.is_empty()).then_some(value);
            }
            Field::Id => {
                utf8(&value)?;
                self.event.id = Some(value);
            }
            Field::Retry => {
                let digits = std::str::from_utf8(&value).unwrap_or_default();
                self.event.retry = digits.parse().ok().or(self.event.retry);
            }
            Field::Ignored => {}
        }
        Ok(())
    }

    fn data(&mut self, value: Bytes) -> Result<(), SseError> {
        let held = self
            .lines
            .as_ref()
            .map_or(self.event.data.len(), BytesMut::len);
        let joint = usize::from(self.event.has_data);
        if held + joint + value.len() > self.limits.event {
            return Err(SseError::EventTooLarge);
        }
        if !self.event.has_data {
            self.event.has_data = true;
            self.event.data = value;
            return Ok(());
        }
        let first = std::mem::take(&mut self.event.data);
        let lines = self
            .lines
            .get_or_insert_with(|| BytesMut::from(first.as_ref()));
        lines.extend_from_slice(b"\n");
        lines.extend_from_slice(&value);
        Ok(())
    }

    /// The event a blank line ends, if the block had anything to pass on.
    fn dispatch(&mut self) -> Option<Event> {
        let mut event = std::mem::take(&mut self.event);
        if let Some(lines) = self.lines.take() {
            event.data = lines.freeze();
        }
        (event.has_data || event.id.is_some() || event.retry.is_some()).then_some(event)
    }
}

/// The meaning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Data,
    Name,
    Id,
    Retry,
    /// A comment, a field nobody knows, or one whose value does not count.
    Ignored,
}

impl Field {
    /// The field of a line, and where its value begins.
    fn of(line: &[u8]) -> (Self, usize) {
        let colon = memchr::memchr(b':', line);
        let name = line.get(..colon.unwrap_or(line.len())).unwrap_or_default();
        let after = colon.map_or(line.len(), |colon| colon + 1);
        let start = after + usize::from(line.get(after) == Some(&b' '));
        let value = line.get(start..).unwrap_or_default();
        let field = match name {
            b"data" => Self::Data,
            b"event" => Self::Name,
            b"id" if memchr::memchr(0, value).is_none() => Self::Id,
            b"retry" if value.iter().all(u8::is_ascii_digit) => Self::Retry,
            _ => Self::Ignored,
        };
        (field, start)
    }
}

fn utf8(value: &Bytes) -> Result<(), SseError> {
    simdutf8::basic::from_utf8(value)
        .map(|_| ())
        .map_err(|_| SseError::Utf8)
}

/// The bytes of one event, blank line included.
///
/// `data` becomes one line: a line break in it, which in judged JSON can only be space between tokens, is written as a space.
/// Line breaks and NUL in name and id are left out. So nothing an upstream wrote can start a line of its own.
pub fn encode(event: &Event) -> Bytes {
    let held = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
    let mut out =
        BytesMut::with_capacity(event.data.len() + held(&event.id) + held(&event.name) + 64);
    if let Some(name) = &event.name {
        out.extend_from_slice(b"event: ");
        extend_cleaned(&mut out, name);
        out.extend_from_slice(b"\n");
    }
    if let Some(id) = &event.id {
        out.extend_from_slice(b"id: ");
        extend_cleaned(&mut out, id);
        out.extend_from_slice(b"\n");
    }
    if let Some(retry) = event.retry {
        out.extend_from_slice(format!("retry: {retry}\n").as_bytes());
    }
    if event.has_data {
        out.extend_from_slice(b"data: ");
        extend_on_one_line(&mut out, &event.data);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
    out.freeze()
}

fn extend_on_one_line(out: &mut BytesMut, mut text: &[u8]) {
    while let Some((plain, rest)) =
        memchr::memchr2(b'\n', b'\r', text).and_then(|at| text.split_at_checked(at))
    {
        out.extend_from_slice(plain);
        out.extend_from_slice(b" ");
        text = rest.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

fn extend_cleaned(out: &mut BytesMut, text: &[u8]) {
    for part in text.split(|byte| matches!(byte, b'\n' | b'\r' | 0)) {
        out.extend_from_slice(part);
    }
}

/// A comment line: keeps a quiet stream open.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}
