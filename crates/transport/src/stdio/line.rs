//! Lines: messages onto one, and out of a byte stream.

use bytes::{Buf, Bytes, BytesMut};
use memchr::{memchr, memchr2, memmem};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    duplex::Answers,
    turn::{MESSAGE, Turn},
};

/// A message on one line: the same bytes, unless they hold line breaks. Between tokens these become spaces; inside a
/// string they are not JSON, and nothing is given. (CR too: some readers end lines at it.)
pub(crate) fn flatten(message: &Bytes) -> Option<Bytes> {
    if memchr2(b'\n', b'\r', message).is_none() {
        return Some(message.clone());
    }
    let mut flat = message.to_vec();
    let mut inside = false;
    let mut escaped = false;
    for byte in &mut flat {
        match (inside, *byte) {
            (true, b'\n' | b'\r') => return None,
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true | false, b'"') => inside = !inside,
            (false, b'\n' | b'\r') => *byte = b' ',
            (true | false, _) => {}
        }
    }
    Some(flat.into())
}

/// A line over the cap, of which only the ends were kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong {
    head: Bytes,
    tail: BytesMut,
}

impl TooLong {
    /// Bytes kept of each end: an id is in one of them, as all libraries write messages.
    const END: usize = 512;

    /// The request it answers. Libraries write the id next to one end; what may be the name of a tool's own member is not
    /// taken for it.
    pub(super) fn answers(&self) -> Answers {
        let place = |name: &str| memmem::find(&self.head, name.as_bytes());
        let (id, method) = (place("\"id\""), place("\"method\""));
        let outcome = [place("\"result\""), place("\"error\"")];
        let outcome = outcome.into_iter().flatten().min();
        let is_before = |at: Option<usize>| at.is_some_and(|at| outcome.is_none_or(|it| at < it));
        if is_before(method) {
            return Answers::Nothing;
        }
        let first = id
            .filter(|_| is_before(id))
            .and_then(|at| number(&self.head, at));
        let last = || number(&self.tail, memmem::rfind(&self.tail, b"\"id\"")?);
        first.or_else(last).map_or(Answers::Unknown, Answers::Call)
    }
}

/// The number of the member whose name is at `at`.
fn number(text: &[u8], at: usize) -> Option<i64> {
    let after = text.get(at + b"\"id\"".len()..)?.trim_ascii_start();
    let after = after.strip_prefix(b":")?.trim_ascii_start();
    let length = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    std::str::from_utf8(after.get(..length)?).ok()?.parse().ok()
}

/// Splits a byte stream into lines, without copying them.
pub(super) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer holds no line break.
    searched: usize,
    cap: usize,
    /// A line over the cap whose end has not come.
    skipped: Option<TooLong>,
    turn: Turn,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    const CHUNK: usize = 16 * 1024;

    pub(super) fn new(source: R, cap: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            cap,
            skipped: None,
            turn: Turn::default(),
        }
    }

    /// The next line that is not empty, without its end; `None` at the end of the stream, where an unfinished line is lost.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Result<Bytes, TooLong>>> {
        loop {
            // A process that writes without pause, or blank lines alone, must not keep the worker.
            self.turn.pass().await;
            if self.skipped.is_some() {
                if let Some(line) = self.skip() {
                    return Ok(Some(Err(line)));
                }
            } else if self.searched == 0 {
                let blanks = blanks(&self.buffer);
                self.turn.charge(blanks);
                self.buffer.advance(blanks);
            }
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(found) = memchr(b'\n', unsearched) {
                let length = self.searched + found;
                if length > self.cap {
                    self.begin_skip();
                    continue;
                }
                let line = self.buffer.split_to(length + 1).freeze();
                self.searched = 0;
                let text = line.trim_ascii();
                self.turn.charge(line.len() + MESSAGE);
                if !text.is_empty() {
                    return Ok(Some(Ok(line.slice_ref(text))));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > self.cap {
                self.begin_skip();
                continue;
            }
            self.buffer.reserve(Self::CHUNK);
            let read = self.source.read_buf(&mut self.buffer).await?;
            self.turn.charge(read);
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

impl<R> Lines<R> {
    fn begin_skip(&mut self) {
        let head = self.buffer.get(..TooLong::END.min(self.buffer.len()));
        self.skipped = Some(TooLong {
            head: Bytes::copy_from_slice(head.unwrap_or_default()),
            tail: BytesMut::new(),
        });
        self.searched = 0;
    }

    /// Lets go of what there is of a line over the cap; the line's ends when it is over.
    fn skip(&mut self) -> Option<TooLong> {
        let end = memchr(b'\n', &self.buffer);
        let gone = self.buffer.split_to(end.unwrap_or(self.buffer.len()));
        if let Some(skipped) = &mut self.skipped {
            let tail = &mut skipped.tail;
            tail.extend_from_slice(
                gone.get(gone.len().saturating_sub(TooLong::END)..)
                    .unwrap_or_default(),
            );
            tail.advance(tail.len().saturating_sub(TooLong::END));
        }
        self.searched = 0;
        end.and_then(|_| self.skipped.take())
    }
}

/// The bytes of blank lines a text begins with.
fn blanks(text: &[u8]) -> usize {
    let content = text.iter().position(|byte| !byte.is_ascii_whitespace());
    let before = text
        .get(..content.unwrap_or(text.len()))
        .unwrap_or_default();
    memchr::memrchr(b'\n', before).map_or(0, |end| end + 1)
}

#[cfg(test)]
mod tests;
