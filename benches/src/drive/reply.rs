//! Reads HTTP/1.1 replies, of announced length or chunked, off a connection that carries one at a time.

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::{Error, io};

/// Room for a reply's head and a 64 KiB result, in bytes.
const ROOM: usize = 128 * 1024;

/// How many header lines a reply may have.
const HEADERS: usize = 64;

/// One reply, borrowed from the reader's buffers.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    /// The status code.
    pub(super) status: u16,
    /// The value of `Mcp-Session-Id`.
    pub(super) session: Option<&'a str>,
    /// The whole body, without chunk framing.
    pub(super) body: &'a [u8],
}

impl Reply<'_> {
    /// Whether the status is the one `what` is answered with.
    pub(super) fn expect(&self, status: u16, what: &str) -> Result<(), Error> {
        if self.status == status {
            return Ok(());
        }
        let start = self.body.get(..400).unwrap_or(self.body);
        let start = String::from_utf8_lossy(start);
        Err(Error::Reply(format!(
            "status {} to {what}: {start}",
            self.status
        )))
    }
}

/// The buffers of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    /// What came off the connection and was not consumed.
    wire: BytesMut,
    /// The last reply's body.
    body: Vec<u8>,
    session: Option<String>,
}

/// What the head of a reply says about the rest.
struct Head {
    length: usize,
    status: u16,
    framing: Framing,
}

/// How a reply's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Reader {
    /// Empty buffers.
    pub(super) fn new() -> Self {
        Self {
            wire: BytesMut::with_capacity(ROOM),
            body: Vec::new(),
            session: None,
        }
    }

    /// Reads the next reply to its end.
    pub(super) async fn read<S>(&mut self, stream: &mut S) -> Result<Reply<'_>, Error>
    where
        S: AsyncRead + Unpin,
    {
        self.body.clear();
        let head = loop {
            if let Some(head) = self.head()? {
                break head;
            }
            self.fill(stream).await?;
        };
        self.wire.advance(head.length);
        match head.framing {
            Framing::Length(length) => self.take(stream, length).await?,
            Framing::Chunked => self.take_chunks(stream).await?,
        }
        if !self.wire.is_empty() {
            return Err(Error::Reply("bytes after the reply".into()));
        }
        Ok(Reply {
            status: head.status,
            session: self.session.as_deref(),
            body: &self.body,
        })
    }

    async fn fill<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), Error> {
        self.wire.reserve(ROOM / 2);
        let read = stream
            .read_buf(&mut self.wire)
            .await
            .map_err(io("read a reply"))?;
        if read == 0 {
            return Err(Error::Reply("the connection was closed".into()));
        }
        Ok(())
    }

    /// Parses the head if it is there.
    fn head(&mut self) -> Result<Option<Head>, Error> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response
            .parse(&self.wire)
            .map_err(|error| Error::Reply(format!("a head that is not HTTP: {error}")))?;
        let httparse::Status::Complete(length) = parsed else {
            return Ok(None);
        };
        let status = response.code.unwrap_or(0);
        let mut framing = Framing::Length(0);
        for header in response.headers {
            let value = std::str::from_utf8(header.value).unwrap_or_default();
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().unwrap_or(usize::MAX);
                framing = Framing::Length(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
                self.session = Some(value.to_owned());
            }
        }
        Ok(Some(Head {
            length,
            status,
            framing,
        }))
    }

    /// Moves `length` bytes of body from the wire to the body.
    async fn take<S>(&mut self, stream: &mut S, length: usize) -> Result<(), Error>
    where
        S: AsyncRead + Unpin,
    {
        let mut missing = length;
        loop {
            let here = missing.min(self.wire.len());
            self.body
                .extend_from_slice(self.wire.get(..here).unwrap_or_default());
            self.wire.advance(here);
            missing -= here;
            if missing == 0 {
                return Ok(());
            }
            self.fill(stream).await?;
        }
    }

    async fn take_chunks<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<(), Error> {
        loop {
            let length = self.chunk_size(stream).await?;
            self.take(stream, length).await?;
            // The line end after the chunk; after the last one it ends the (empty) trailers.
            let before = self.body.len();
            self.take(stream, 2).await?;
            if self.body.get(before..) != Some(b"\r\n") {
                return Err(Error::Reply("a chunk without its line end".into()));
            }
            self.body.truncate(before);
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn chunk_size<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<usize, Error> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.wire)
                .map_err(|_| Error::Reply("a chunk size that is none".into()))?;
            if let httparse::Status::Complete((length, size)) = parsed {
                self.wire.advance(length);
                return usize::try_from(size)
                    .map_err(|_| Error::Reply("a chunk beyond all bounds".into()));
            }
            self.fill(stream).await?;
        }
    }
}
