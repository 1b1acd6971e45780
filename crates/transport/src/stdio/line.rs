//! Lines: messages onto one, and out of a byte stream.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A message on one line: the same bytes, unless they hold line breaks. Between tokens these become spaces; inside a
/// string they are not JSON, and nothing is given. (CR too: some readers end lines at it.)
pub(super) fn flatten(message: &Bytes) -> Option<Bytes> {
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

/// A line over the cap.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Splits a byte stream into lines, without copying them.
pub(super) struct Lines<R> {
    source: R,
    buffer: BytesMut,
    /// How much of the buffer holds no line break.
    searched: usize,
    cap: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    const CHUNK: usize = 16 * 1024;

    pub(super) fn new(source: R, cap: usize) -> Self {
        Self {
            source,
            buffer: BytesMut::new(),
            searched: 0,
            cap,
        }
    }

    /// The next line that is not empty, without its end; `None` at the end of the stream, where an unfinished line is lost.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Result<Bytes, TooLong>>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(found) = memchr(b'\n', unsearched) {
                let length = self.searched + found;
                if length > self.cap {
                    return Ok(Some(Err(TooLong)));
                }
                let line = self.buffer.split_to(length + 1).freeze();
                self.searched = 0;
                let text = line.trim_ascii();
                if !text.is_empty() {
                    return Ok(Some(Ok(line.slice_ref(text))));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.searched > self.cap {
                return Ok(Some(Err(TooLong)));
            }
            self.buffer.reserve(Self::CHUNK);
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
