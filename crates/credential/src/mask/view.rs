//! A text after one pass of a reader that resolves its escapes, and the way back to where each byte was written.

use zeroize::Zeroizing;

use super::{
    escape::{self, Escape, Value},
    steps,
};

/// A text with fewer bytes than the text it was made of.
pub(super) struct View {
    text: Zeroizing<Vec<u8>>,
    gaps: Vec<Gap>,
}

/// The end of what an escape stands for. Between two of them bytes are as in the source.
#[derive(Clone, Copy)]
struct Gap {
    at: u32,
    /// Bytes of the source up to here that are not in the view.
    missing: u32,
}

impl Gap {
    fn at(self) -> usize {
        self.at as usize
    }

    fn source(self) -> usize {
        self.at as usize + self.missing as usize
    }
}

impl View {
    /// Resolves the escapes of every kind, once; `None` if there is none.
    pub(super) fn new(source: &[u8]) -> Option<Self> {
        Self::resolved(source, escape::next, escape::parse)
    }

    /// Resolves the escapes of JSON, once, as every reader of a string does; `None` if there is none.
    pub(super) fn json(source: &[u8]) -> Option<Self> {
        let next = |rest: &[u8]| memchr::memchr(b'\\', rest);
        Self::resolved(source, next, |rest| {
            Some(escape::parse_json(rest).unwrap_or_else(|| Escape {
                // A surrogate without the other stands for no character.
                length: if rest.starts_with(b"\\u") { 6 } else { 2 }.min(rest.len()),
                value: Value::Character(char::REPLACEMENT_CHARACTER),
            }))
        })
    }

    /// Resolves once what `parse` reads where `next` finds that an escape may begin.
    fn resolved(
        source: &[u8],
        next: impl Fn(&[u8]) -> Option<usize>,
        parse: impl Fn(&[u8]) -> Option<Escape>,
    ) -> Option<Self> {
        let mut view = Unfinished::new(source);
        let mut at = 0;
        steps::add(source.len() / 16 + 1);
        while let Some(step) = source.get(at..).and_then(&next) {
            steps::add(2);
            at += step;
            match parse(source.get(at..).unwrap_or_default()) {
                Some(escape) => at = view.resolve(escape, at),
                None => at += 1,
            }
        }
        view.finished()
    }

    /// The text.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The range of the source that a range of the text was, whole escapes and whole characters.
    pub(super) fn range(&self, (mut from, mut to): (usize, usize)) -> (usize, usize) {
        while from > 0 && continues(&self.text, from) {
            from -= 1;
        }
        while continues(&self.text, to) {
            to += 1;
        }
        (from + self.missing(from), to + self.missing(to))
    }

    fn missing(&self, place: usize) -> usize {
        let after = self.gaps.partition_point(|gap| gap.at() <= place);
        let gap = after.checked_sub(1).and_then(|gap| self.gaps.get(gap));
        gap.map_or(0, |gap| gap.missing as usize)
    }

    /// The range of the text that a range of the source is, which has no half of an escape at its ends.
    pub(super) fn inside(&self, (from, to): (usize, usize)) -> (usize, usize) {
        let place = |place: usize| {
            let after = self.gaps.partition_point(|gap| gap.source() <= place);
            let gap = after.checked_sub(1).and_then(|gap| self.gaps.get(gap));
            place - gap.map_or(0, |gap| gap.missing as usize)
        };
        (place(from), place(to))
    }

    /// A range of the source without halves of escapes at its ends.
    pub(super) fn whole(&self, (from, to): (usize, usize)) -> (usize, usize) {
        let escape = |place: usize| {
            let after = self.gaps.partition_point(|gap| gap.source() <= place);
            let before = after.checked_sub(1).and_then(|gap| self.gaps.get(gap));
            let (end, begin) = (self.gaps.get(after)?, before.map_or(0, |gap| gap.at()));
            let mut width = 1;
            while end.at() - width > begin && continues(&self.text, end.at() - width) {
                width += 1;
            }
            let missing = before.map_or(0, |gap| gap.missing as usize);
            let begins = end.at() - width + missing;
            (begins < place).then_some((begins, end.source()))
        };
        (
            escape(from).map_or(from, |(begins, _)| begins),
            escape(to).map_or(to, |(_, ends)| ends),
        )
    }
}

/// Whether a place is within a character.
pub(super) fn continues(text: &[u8], place: usize) -> bool {
    text.get(place).is_some_and(|byte| byte & 0xc0 == 0x80)
}

/// A view on its way.
struct Unfinished<'a> {
    source: &'a [u8],
    /// Up to here the source is in the text.
    copied: usize,
    text: Zeroizing<Vec<u8>>,
    gaps: Vec<Gap>,
}

impl<'a> Unfinished<'a> {
    fn new(source: &'a [u8]) -> Self {
        Self {
            source,
            copied: 0,
            text: Zeroizing::new(Vec::new()),
            gaps: Vec::new(),
        }
    }

    /// Puts what the escape at `at` stands for in its place. Returns where it ends.
    fn resolve(&mut self, escape: Escape, at: usize) -> usize {
        if self.gaps.is_empty() {
            // Room for all at once: a vector that grows leaves what it held behind.
            self.text.reserve_exact(self.source.len());
        }
        let before = self.source.get(self.copied..at).unwrap_or_default();
        self.text.extend_from_slice(before);
        match escape.value {
            Value::Byte(byte) => self.text.push(byte),
            Value::Character(character) => {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                self.text.extend_from_slice(bytes);
            }
        }
        self.copied = at + escape.length;
        let end = self.text.len();
        self.gaps.push(Gap {
            at: narrow(end),
            missing: narrow(self.copied.saturating_sub(end)),
        });
        self.copied
    }

    fn finished(mut self) -> Option<View> {
        if self.gaps.is_empty() {
            return None;
        }
        let rest = self.source.get(self.copied..).unwrap_or_default();
        self.text.extend_from_slice(rest);
        Some(View {
            text: self.text,
            gaps: self.gaps,
        })
    }
}

/// Places of a message fit: no limit lets in 4 GiB.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
