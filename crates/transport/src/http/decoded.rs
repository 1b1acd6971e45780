//! Bodies with a content coding (RFC 9110 §8.4): gzip is inflated as it comes, under a cap on its ratio.
//!
//! We ask servers for `identity`, and some compress all the same. What is evaluated, masked and passed on is what was inflated. The
//! readers of `flate2` are not used: they want all bytes at once, or block, and end in a panic on some damaged streams.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use flate2::{Crc, Decompress, FlushDecompress, Status};
use http::{HeaderMap, header::CONTENT_ENCODING};
use http_body::{Body, Frame, SizeHint};

use super::pool::Received;
use crate::{
    body::BoxError,
    memory::{Budget, Share, Spent},
};

/// Most bytes in a row that inflate to nothing: empty members and blocks. No compressor writes many.
const MAX_BARREN: u64 = 16 * 1024;
/// Bytes of a member's header and trailer.
const FRAME: u64 = 18;
/// Most bytes that one byte of gzip may inflate to, of a body as a whole. JSON and HTML get to a tenth of it.
pub(super) const MAX_RATIO: u64 = 100;
/// Bytes that are inflated whatever their ratio: little text may be all blanks.
const FREE: u64 = 64 * 1024;
/// Bytes that are inflated at once.
const PIECE: usize = 32 * 1024;
/// Memory of an inflater: its window, its tables and a piece.
const INFLATER: usize = 96 * 1024;
/// Longest header of a gzip member, which may hold a file name and a comment.
const MAX_HEADER: usize = 4096;
/// Longest name of a coding that is repeated.
const MAX_NAME: usize = 32;

/// A coding that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnknownCoding(pub(super) String);

/// Whether the body is gzip.
///
/// # Errors
/// [`UnknownCoding`] for any other coding, and for more than one: a body that was compressed twice can be a bomb within a bomb.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, UnknownCoding> {
    let mut codings = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
    let Some(first) = codings.next() else {
        return Ok(false);
    };
    let is_gzip = [&b"gzip"[..], b"x-gzip"]
        .iter()
        .any(|name| first.eq_ignore_ascii_case(name));
    match (is_gzip, codings.next()) {
        (true, None) => Ok(true),
        (true, Some(_)) => Err(UnknownCoding("more than one".to_owned())),
        (false, _) => {
            let name = first.iter().take(MAX_NAME).map(|byte| char::from(*byte));
            let plain = |letter: &char| letter.is_ascii_graphic() && *letter != '`';
            Err(UnknownCoding(name.filter(plain).collect()))
        }
    }
}

/// A body that cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum InflateError {
    /// It is not gzip, or was damaged.
    #[error("the body is not the gzip its head announces")]
    Malformed,
    /// It ended too early.
    #[error("the body broke off within its gzip")]
    Truncated,
    /// It goes on without bringing anything, which no limit on what it inflates to would end.
    #[error("the body goes on for more than {MAX_BARREN} bytes that inflate to nothing")]
    Barren,
    /// It inflates to too much.
    #[error("the body inflates to more than {MAX_RATIO} times its size")]
    Ratio,
}

/// A body without its coding.
pub(super) struct Decoded {
    body: Received,
    inflate: Option<Box<Inflate>>,
}

impl Decoded {
    /// The body as it comes, or inflated.
    pub(super) fn new(body: Received, is_gzip: bool, memory: &Budget) -> Result<Self, Spent> {
        let inflate = is_gzip.then(|| Inflate::new(memory)).transpose()?;
        Ok(Self {
            body,
            inflate: inflate.map(Box::new),
        })
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let Some(inflate) = &mut this.inflate else {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        };
        loop {
            match inflate.next() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        inflate.push(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let ended = inflate.end().err();
                    return Poll::Ready(ended.map(|error| Err(error.into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inflate.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.inflate {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// The part of a gzip member (RFC 1952) that comes next.
enum Part {
    /// The header, as far as it came.
    Header(Header),
    Deflate,
    /// The checksum and the length, as far as they came.
    Trailer(Vec<u8>),
}

/// Inflates the members of a gzip body.
pub(super) struct Inflate {
    input: Bytes,
    received: u64,
    inflated: u64,
    /// Bytes taken since something came out.
    barren: u64,
    part: Part,
    deflate: Decompress,
    checksum: Crc,
    output: Box<[u8]>,
    /// Counts what this takes; never read.
    _memory: Share,
}

impl Inflate {
    pub(super) fn new(memory: &Budget) -> Result<Self, Spent> {
        let mut share = memory.share();
        share.grow(INFLATER)?;
        Ok(Self {
            input: Bytes::new(),
            received: 0,
            inflated: 0,
            barren: 0,
            part: Part::Header(Header::new()),
            deflate: Decompress::new(false),
            checksum: Crc::new(),
            output: vec![0; PIECE].into_boxed_slice(),
            _memory: share,
        })
    }

    /// Takes the next bytes, once [`Self::next`] has nothing more.
    pub(super) fn push(&mut self, data: Bytes) {
        self.received += data.len() as u64;
        self.input = data;
    }

    /// The next piece of what came so far, a bounded one.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, InflateError> {
        loop {
            match &mut self.part {
                Part::Header(header) => {
                    if !header.take(&mut self.input)? {
                        return Ok(None);
                    }
                    self.part = Part::Deflate;
                }
                Part::Deflate => {
                    let piece = self.inflate()?;
                    if !piece.is_empty() {
                        return Ok(Some(piece));
                    }
                    if matches!(self.part, Part::Deflate) {
                        return Ok(None);
                    }
                }
                Part::Trailer(trailer) => {
                    while trailer.len() < 8 && self.input.has_remaining() {
                        trailer.push(self.input.get_u8());
                    }
                    if trailer.len() < 8 {
                        return Ok(None);
                    }
                    let mut words = trailer.as_slice();
                    let (sum, length) = (words.get_u32_le(), words.get_u32_le());
                    if sum != self.checksum.sum() || length != self.checksum.amount() {
                        return Err(InflateError::Malformed);
                    }
                    // A member without content costs a whole reset for its few bytes.
                    self.takes_in_vain(FRAME)?;
                    self.deflate.reset(false);
                    self.checksum.reset();
                    self.part = Part::Header(Header::new());
                }
            }
        }
    }

    /// Inflates one piece; none where input or member is at its end.
    fn inflate(&mut self) -> Result<Bytes, InflateError> {
        let before = (self.deflate.total_in(), self.deflate.total_out());
        let status = self
            .deflate
            .decompress(&self.input, &mut self.output, FlushDecompress::None)
            .map_err(|_| InflateError::Malformed)?;
        let used = self.deflate.total_in() - before.0;
        let made = self.deflate.total_out() - before.1;
        let consumed = usize::try_from(used).unwrap_or(usize::MAX);
        self.input.advance(consumed.min(self.input.len()));
        let length = usize::try_from(made).unwrap_or(usize::MAX);
        // Copied, so that a small piece does not keep the room of a large one.
        let output = Bytes::copy_from_slice(self.output.get(..length).unwrap_or_default());
        self.inflated += made;
        if made == 0 {
            self.takes_in_vain(used)?;
        } else {
            self.barren = 0;
        }
        if self.inflated > FREE && self.inflated / MAX_RATIO > self.received {
            return Err(InflateError::Ratio);
        }
        self.checksum.update(&output);
        match status {
            Status::StreamEnd => self.part = Part::Trailer(Vec::new()),
            // Neither taken nor given, although there is input: it would stay so.
            Status::Ok | Status::BufError => {
                if used == 0 && made == 0 && !self.input.is_empty() {
                    return Err(InflateError::Malformed);
                }
            }
        }
        Ok(output)
    }

    fn takes_in_vain(&mut self, bytes: u64) -> Result<(), InflateError> {
        self.barren += bytes;
        if self.barren > MAX_BARREN {
            return Err(InflateError::Barren);
        }
        Ok(())
    }

    /// Whether the body may end here: after a whole member, or before anything came.
    pub(super) fn end(&self) -> Result<(), InflateError> {
        match &self.part {
            Part::Header(header) if header.seen == 0 => Ok(()),
            Part::Header(_) | Part::Deflate | Part::Trailer(_) => Err(InflateError::Truncated),
        }
    }
}

/// The header of a member (RFC 1952 §2.3), byte by byte. Nothing in it is used.
struct Header {
    stage: Stage,
    flags: u8,
    seen: usize,
}

/// The part of a header that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Fixed,
    ExtraLength(u16),
    Extra(u16),
    Name,
    Comment,
    Checksum(u8),
    Whole,
}

impl Header {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const RESERVED: u8 = 0xe0;

    fn new() -> Self {
        Self {
            stage: Stage::Fixed,
            flags: 0,
            seen: 0,
        }
    }

    /// Takes bytes until the header is whole; gives whether it is.
    fn take(&mut self, input: &mut Bytes) -> Result<bool, InflateError> {
        while self.stage != Stage::Whole {
            if !input.has_remaining() {
                return Ok(false);
            }
            self.stage = self.after(input.get_u8())?;
            self.seen += 1;
            if self.seen > MAX_HEADER {
                return Err(InflateError::Malformed);
            }
        }
        Ok(true)
    }

    /// The stage after this byte.
    fn after(&mut self, byte: u8) -> Result<Stage, InflateError> {
        Ok(match self.stage {
            Stage::Fixed => {
                let is_right = match self.seen {
                    0 => byte == 0x1f,
                    1 => byte == 0x8b,
                    2 => byte == 8,
                    3 => byte & Self::RESERVED == 0,
                    _ => true,
                };
                if !is_right {
                    return Err(InflateError::Malformed);
                }
                match self.seen {
                    3 => self.flags = byte,
                    9 => return Ok(self.next(Stage::Fixed)),
                    _ => {}
                }
                Stage::Fixed
            }
            Stage::ExtraLength(low) if low > 0xff => {
                match u16::from_be_bytes([byte, low.to_le_bytes()[0]]) {
                    0 => self.next(Stage::Extra(0)),
                    length => Stage::Extra(length),
                }
            }
            // Marked as read by a bit above the byte.
            Stage::ExtraLength(_) => Stage::ExtraLength(u16::from(byte) | 0x100),
            Stage::Extra(1) => self.next(Stage::Extra(0)),
            Stage::Extra(left) => Stage::Extra(left.saturating_sub(1)),
            Stage::Name if byte == 0 => self.next(Stage::Name),
            Stage::Comment if byte == 0 => self.next(Stage::Comment),
            stage @ (Stage::Name | Stage::Comment | Stage::Whole) => stage,
            Stage::Checksum(0) => Stage::Checksum(1),
            Stage::Checksum(_) => Stage::Whole,
        })
    }

    /// The stage after one that is whole.
    fn next(&self, done: Stage) -> Stage {
        let stages = [
            (Self::EXTRA, Stage::ExtraLength(0)),
            (Self::NAME, Stage::Name),
            (Self::COMMENT, Stage::Comment),
            (Self::CHECKSUM, Stage::Checksum(0)),
        ];
        let mut later = stages.iter().filter(|(_, stage)| *stage > done);
        let next = later.find(|(flag, _)| self.flags & flag != 0);
        next.map_or(Stage::Whole, |(_, stage)| *stage)
    }
}

#[cfg(test)]
mod tests;
