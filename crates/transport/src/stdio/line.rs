//! Lines: messages onto one, and out of a byte stream.

use bytes::{Buf, Bytes, BytesMut};
use keepgate_mcp::skim::{Outline, Skim};
use memchr::{memchr, memchr2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::turn::{MESSAGE, Turn};

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

/// Splits a byte stream into lines, without copying them.
pub(super) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer holds no line break.
    searched: usize,
    cap: usize,
    /// A line over the cap whose end has not come. Read as it passes: its id may be anywhere.
    skipped: Option<Skim>,
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

    /// The next line that is not empty, without its end, or the outline of one over the cap; `None` at the end of the stream,
    /// where an unfinished line is lost.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Result<Bytes, Outline>>> {
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
        self.skipped = Some(Skim::default());
        self.searched = 0;
    }

    /// Lets go of what there is of a line over the cap; the line's outline when it is over.
    fn skip(&mut self) -> Option<Outline> {
        let end = memchr(b'\n', &self.buffer);
        let gone = self.buffer.split_to(end.unwrap_or(self.buffer.len()));
        if let Some(skipped) = &mut self.skipped {
            skipped.feed(&gone);
        }
        self.searched = 0;
        end.and_then(|_| self.skipped.take()).map(Skim::finish)
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
