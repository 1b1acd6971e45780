//! Lines: base64 and dumps are wrapped, so what stands on both sides of a line break is searched as one text.
//!
//! A break is a run of line feeds and carriage returns, each as it is or as `\n` and `\r` of JSON within JSON (however many
//! backslashes deep), with the spaces and tabs that indent the next line. Patterns lose their breaks the same way, so a
//! secret of several lines (a PEM file) is found however it is wrapped.

use zeroize::Zeroizing;

use super::steps;

/// A text without its breaks.
pub(super) struct Joined {
    /// `None` where there are none.
    text: Option<Zeroizing<Vec<u8>>>,
    /// Places of the joined text where something was left out, each with the bytes missing up to there.
    gaps: Vec<(usize, usize)>,
}

impl Joined {
    /// A text of one line.
    pub(super) fn none() -> Self {
        Self {
            text: None,
            gaps: Vec::new(),
        }
    }

    /// Leaves the breaks of `text` out.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut joined = Zeroizing::new(Vec::new());
        let mut gaps = Vec::new();
        let (mut copied, mut at) = (0, 0);
        while let Some(step) = next(text.get(at..).unwrap_or_default()) {
            at += step;
            let length = length(text.get(at..).unwrap_or_default());
            if length.is_break {
                if joined.capacity() == 0 {
                    joined.reserve_exact(text.len());
                }
                joined.extend_from_slice(text.get(copied..at).unwrap_or_default());
                copied = at + length.bytes;
                gaps.push((joined.len(), copied - joined.len()));
            }
            at += length.bytes;
        }
        if gaps.is_empty() {
            return Self::none();
        }
        joined.extend_from_slice(text.get(copied..).unwrap_or_default());
        Self {
            text: Some(joined),
            gaps,
        }
    }

    /// The text; `source` is what it was made of.
    pub(super) fn text<'t>(&'t self, source: &'t [u8]) -> &'t [u8] {
        self.text.as_ref().map_or(source, |text| text.as_slice())
    }

    /// Whether the text is the source.
    pub(super) fn is_same(&self) -> bool {
        self.text.is_none()
    }

    /// Number of gaps at or before a place.
    fn before(&self, place: usize) -> usize {
        self.gaps.partition_point(|(gap, _)| *gap <= place)
    }

    fn original(&self, place: usize) -> usize {
        let gap = self.before(place).checked_sub(1);
        let missing = gap.and_then(|gap| self.gaps.get(gap));
        place + missing.map_or(0, |(_, missing)| *missing)
    }

    /// The range of the text that a range of the joined text, which is not empty, was.
    pub(super) fn range(&self, (from, to): (usize, usize)) -> (usize, usize) {
        (self.original(from), self.original(to.saturating_sub(1)) + 1)
    }

    /// The line of the joined text, which is `length` bytes long, that holds `place`.
    pub(super) fn line(&self, place: usize, length: usize) -> (usize, usize) {
        let gap = self.before(place);
        let begin = gap.checked_sub(1).and_then(|gap| self.gaps.get(gap));
        let end = self.gaps.get(gap);
        (
            begin.map_or(0, |(at, _)| *at),
            end.map_or(length, |(at, _)| *at),
        )
    }
}

/// The bytes of `text` without its breaks.
pub(super) fn without(text: &[u8]) -> Vec<u8> {
    Joined::new(text).text(text).to_vec()
}

/// The next place where a break may begin.
fn next(text: &[u8]) -> Option<usize> {
    let next = memchr::memchr3(b'\n', b'\r', b'\\', text);
    steps::add(next.unwrap_or(text.len()) / 16 + 1);
    next
}

/// The beginning of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// So many bytes of it are looked at, one at least.
    pub(super) bytes: usize,
    pub(super) is_break: bool,
}

/// Returns the length of the break that begins `text`; if none does, how far it is safe to go on.
pub(super) fn length(text: &[u8]) -> Length {
    let mut bytes = 0;
    let mut is_break = false;
    loop {
        let rest = text.get(bytes..).unwrap_or_default();
        let step = match rest.first() {
            Some(b'\n' | b'\r') => 1,
            Some(b' ' | b'\t') if is_break => {
                bytes += 1;
                continue;
            }
            Some(b'\\') => {
                let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
                match rest.get(slashes) {
                    Some(b'n' | b'r') => slashes + 1,
                    Some(b't') if is_break => {
                        bytes += slashes + 1;
                        continue;
                    }
                    Some(_) | None if is_break => break,
                    Some(_) | None => {
                        bytes = slashes;
                        break;
                    }
                }
            }
            Some(_) | None => break,
        };
        bytes += step;
        is_break = true;
    }
    steps::add(bytes);
    Length {
        bytes: bytes.max(1),
        is_break,
    }
}
