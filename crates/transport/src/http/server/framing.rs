//! Heads of HTTP/1 requests that two readers frame in two ways, refused on the bytes before hyper.
//!
//! hyper drops a `Content-Length` that stands next to `Transfer-Encoding` before anything of ours sees the head, takes a bare
//! LF for a line end and any list of codings that ends in `chunked`. A proxy in front of us may read each of these otherwise,
//! and then one of us takes for a request what is a body to the other (RFC 9112 §6.1, §6.3, §11.2). So the stream is
//! followed here, head by head; the last byte of a head that is refused is spoilt, which hyper answers with 400, and nothing
//! is read after it.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept of a line that arrives in pieces: longer than any line that is looked into.
const MAX_LINE: usize = 128;

/// Place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A request line, or the empty lines before one.
    Start,
    /// Header lines.
    Head,
    /// So many bytes of a body, then what follows them.
    Body(u64, After),
    /// The line with the size of a chunk.
    Size,
    /// Lines after the last chunk.
    Trailer,
    /// Nothing more: a head was refused.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next request.
    Request,
    /// The next chunk.
    Chunk,
}

/// The framing of a head, as far as it was read.
#[derive(Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
    /// HTTP/1.0, which has no `Transfer-Encoding`.
    old: bool,
}

/// Follows the requests of one connection.
#[derive(Debug)]
struct Heads {
    state: State,
    framing: Framing,
    /// The begin of a line whose end has not come.
    line: Vec<u8>,
    /// The whole length of that line.
    held: usize,
    /// Its last byte.
    last: u8,
}

impl Heads {
    fn new() -> Self {
        Self {
            state: State::Start,
            framing: Framing::default(),
            line: Vec::new(),
            held: 0,
            last: 0,
        }
    }

    /// Takes in bytes in the order of their arrival. Gives the place of the byte that ends a head which is refused.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let State::Body(left, after) = self.state {
                let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                at += taken;
                self.state = match (left.saturating_sub(taken as u64), after) {
                    (0, After::Request) => State::Start,
                    (0, After::Chunk) => State::Size,
                    (left, after) => State::Body(left, after),
                };
                continue;
            }
            let Some(end) = memchr(b'\n', rest) else {
                self.hold(rest);
                return None;
            };
            let piece = rest.get(..end).unwrap_or_default();
            at += end + 1;
            if !self.line_ended(piece) {
                self.state = State::Refused;
                return Some(at - 1);
            }
        }
        None
    }

    /// Keeps what has come of a line.
    fn hold(&mut self, piece: &[u8]) {
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
        self.held = self.held.saturating_add(piece.len());
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    /// Reads a line whose last piece is `piece`. False if the head it belongs to is refused.
    fn line_ended(&mut self, piece: &[u8]) -> bool {
        if self.held == 0 {
            return match piece.strip_suffix(b"\r") {
                Some(line) => self.read(line, line.len()),
                None => false,
            };
        }
        self.hold(piece);
        let whole = self.held.saturating_sub(1);
        let mut line = std::mem::take(&mut self.line);
        let ended = self.last == b'\r';
        self.held = 0;
        line.truncate(whole);
        let passes = ended && self.read(&line, whole);
        line.clear();
        self.line = line;
        passes
    }

    /// Reads a line of `whole` bytes, of which `line` is the begin.
    fn read(&mut self, line: &[u8], whole: usize) -> bool {
        match self.state {
            State::Start => {
                if whole > 0 {
                    self.state = State::Head;
                    self.framing = Framing {
                        old: line.ends_with(b"HTTP/1.0"),
                        ..Framing::default()
                    };
                }
                true
            }
            State::Head if whole == 0 => self.head_ended(),
            State::Head => self.framing.header(line, whole),
            State::Size => self.size(line),
            State::Trailer => {
                if whole == 0 {
                    self.state = State::Start;
                }
                true
            }
            State::Body(..) | State::Refused => false,
        }
    }

    fn head_ended(&mut self) -> bool {
        let Framing {
            length,
            chunked,
            old,
        } = self.framing;
        self.state = match (length, chunked) {
            (Some(_), true) => return false,
            (None, true) if old => return false,
            (None, true) => State::Size,
            (Some(length @ 1..), false) => State::Body(length, After::Request),
            (Some(0) | None, false) => State::Start,
        };
        true
    }

    fn size(&mut self, line: &[u8]) -> bool {
        let digits = line
            .split(|byte| !byte.is_ascii_hexdigit())
            .next()
            .unwrap_or_default();
        let size = std::str::from_utf8(digits).ok();
        let Some(size) = size.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return false;
        };
        self.state = match size.checked_add(2) {
            Some(2) => State::Trailer,
            // With the line end behind it.
            Some(size) => State::Body(size, After::Chunk),
            None => return false,
        };
        true
    }
}

impl Framing {
    /// Reads a header line. False if it cannot be read in one way only.
    fn header(&mut self, line: &[u8], whole: usize) -> bool {
        // A folded line, which continues the one before it (RFC 9112 §5.2).
        match line.first() {
            None | Some(b' ' | b'\t') => return false,
            Some(b'c' | b'C' | b't' | b'T') => {}
            // One byte is enough: most headers frame nothing.
            Some(_) => return true,
        }
        let is_length = named(line, b"content-length");
        if !is_length && !named(line, b"transfer-encoding") {
            return true;
        }
        let value = line
            .splitn(2, |byte| *byte == b':')
            .nth(1)
            .unwrap_or_default()
            .trim_ascii();
        if line.len() < whole {
            return false;
        }
        if is_length {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| digits);
            let length = length.and_then(|digits| digits.parse().ok());
            return length.is_some_and(|length| self.length.replace(length).is_none());
        }
        let chunked = value.eq_ignore_ascii_case(b"chunked");
        chunked && !std::mem::replace(&mut self.chunked, true)
    }
}

/// Whether the line is of this header, also with space before the colon, which some readers take out.
fn named(line: &[u8], name: &[u8]) -> bool {
    let Some((begin, rest)) = line.split_at_checked(name.len()) else {
        return false;
    };
    begin.eq_ignore_ascii_case(name) && rest.trim_ascii_start().first() == Some(&b':')
}

pin_project_lite::pin_project! {
    /// A socket of HTTP/1 whose requests are framed in one way only.
    pub(super) struct Framed<T> {
        #[pin]
        socket: T,
        heads: Heads,
        peer: SocketAddr,
    }
}

impl<T> Framed<T> {
    /// Wraps a socket on which nothing was read yet.
    pub(super) fn new(socket: T, peer: SocketAddr) -> Self {
        Self {
            socket,
            heads: Heads::new(),
            peer,
        }
    }
}

impl<T: AsyncRead> AsyncRead for Framed<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        if this.heads.state == State::Refused {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = this.socket.poll_read(context, buffer);
        let new = buffer.filled().get(before..).unwrap_or_default();
        if let Some(end) = this.heads.take(new) {
            tracing::warn!(
                peer = %*this.peer,
                "rejected a request whose head two readers frame in two ways: 400, connection closed"
            );
            // A control character ends no head: hyper answers 400 and closes.
            if let Some(last) = buffer.filled_mut().get_mut(before + end) {
                *last = 0;
            }
            buffer.set_filled(before + end + 1);
        }
        read
    }
}

impl<T: AsyncWrite> AsyncWrite for Framed<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.project().socket.poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.project().socket.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().socket.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().socket.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{Heads, State};

    const HOST: &str = "host: x\r\n";

    /// Whether the bytes pass, whole and in pieces of every size.
    fn passes(text: &str) -> bool {
        let whole = Heads::new().take(text.as_bytes());
        for size in 1..text.len() {
            let mut heads = Heads::new();
            let mut at = 0;
            let found = text.as_bytes().chunks(size).find_map(|piece| {
                let found = heads.take(piece).map(|place| at + place);
                at += piece.len();
                found
            });
            assert_eq!(found, whole, "{text:?} in pieces of {size}");
        }
        whole.is_none()
    }

    #[test]
    fn heads_that_are_framed_in_two_ways_are_refused() {
        for lines in [
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "content-length : 4\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding\t: chunked\r\ncontent-length: 4\r\n",
            "content-length: 4\r\ncontent-length: 4\r\n",
            "content-length: 4\r\ncontent-length: 5\r\n",
            "content-length: 4, 4\r\n",
            "content-length: +4\r\n",
            "content-length: 0x4\r\n",
            "content-length:\r\n",
            "content-length: 99999999999999999999\r\n",
            "transfer-encoding: gzip\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "transfer-encoding: \x0bchunked\r\n",
            "x: a\r\n b\r\n",
            "x: a\ncontent-length: 4\r\n",
        ] {
            assert!(
                !passes(&format!("POST / HTTP/1.1\r\n{HOST}{lines}\r\n")),
                "{lines:?}"
            );
            // The same on a later request of the connection.
            for before in [
                "GET / HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\na\nb",
                "\r\nPOST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\na\n\r\n0\r\nt: 1\r\n\r\n",
            ] {
                assert!(passes(before), "{before:?}");
                assert!(
                    !passes(&format!("{before}POST / HTTP/1.1\r\n{HOST}{lines}\r\n")),
                    "{lines:?}"
                );
            }
        }
        assert!(!passes(
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"
        ));
        assert!(!passes("POST / HTTP/1.1\r\nhost: x\r\n\n"));
    }

    #[test]
    fn well_formed_requests_pass_one_after_the_other() {
        let long = format!("x-long: {}\r\n", "a".repeat(500));
        let all = format!(
            "POST / HTTP/1.1\r\n{HOST}{long}Content-Length: 5\r\n\r\n\n\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
             a\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nx-content-length: 9\r\ncontent-lengthy: 9\r\n\r\nGET / HTTP/1.0\r\n\r\n"
        );
        assert!(passes(&all));
        let mut heads = Heads::new();
        assert_eq!(
            (heads.take(all.as_bytes()), heads.state),
            (None, State::Start)
        );
    }
}
