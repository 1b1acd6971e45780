//! A place in JSON text that the strict scanner has passed, moving once from its beginning to its end.

use std::borrow::Cow;

use keepgate_mcp::{Limits, json};

use super::steps;

/// Moves over a text that was judged; on any other text it comes to an end somewhere, and gives nothing wrong away.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    /// `true`, `false`, `null`.
    Word,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let mut cursor = Self { text, at: 0 };
        cursor.space();
        cursor
    }

    fn space(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let space = rest.iter().take_while(space).count();
        steps::add(space + 1);
        self.at += space;
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// What stands here.
    pub(super) fn kind(&self) -> Kind {
        match self.byte() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(_) | None => Kind::Word,
        }
    }

    /// Steps into the object or array that begins here.
    pub(super) fn open(&mut self) {
        self.at += 1;
        self.space();
    }

    /// Whether an item follows in the array; steps past its end if none does.
    pub(super) fn item(&mut self) -> bool {
        if self.byte() == Some(b',') {
            self.at += 1;
            self.space();
        }
        let follows = !matches!(self.byte(), Some(b']' | b'}') | None);
        if !follows {
            self.at += 1;
            self.space();
        }
        follows
    }

    /// The key of the next member, with its quotes; steps past the object's end if there is none.
    pub(super) fn member(&mut self) -> Option<&'a [u8]> {
        if !self.item() {
            return None;
        }
        let key = self.string();
        if self.byte() == Some(b':') {
            self.at += 1;
            self.space();
        }
        Some(key)
    }

    /// The string that begins here, with its quotes, and steps past it.
    fn string(&mut self) -> &'a [u8] {
        let from = self.at;
        self.at = string_end(self.text, from);
        self.taken(from)
    }

    /// The value that begins here, and steps past it.
    pub(super) fn value(&mut self) -> &'a [u8] {
        let from = self.at;
        let rest = self.text.get(from..).unwrap_or_default();
        self.at = from + value_end(rest).unwrap_or(rest.len());
        self.taken(from)
    }

    fn taken(&mut self, from: usize) -> &'a [u8] {
        let taken = self.text.get(from..self.at).unwrap_or_default();
        self.space();
        taken
    }
}

/// The place after the value at the beginning of `text`; `None` if it has no end. Looks at nothing but strings and brackets.
pub(super) fn value_end(text: &[u8]) -> Option<usize> {
    let mut open = 0_usize;
    let mut at = 0;
    loop {
        steps::add(1);
        match text.get(at)? {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                open += 1;
                at += 1;
            }
            b'}' | b']' => {
                open = open.checked_sub(1)?;
                at += 1;
            }
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                at += 1;
                continue;
            }
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                let ends = |byte: &u8| b",:{}[]\" \t\n\r".contains(byte);
                let word = rest.iter().position(ends).unwrap_or(rest.len()).max(1);
                steps::add(word);
                at += word;
            }
        }
        if open == 0 {
            return Some(at);
        }
    }
}

/// The place after the string that begins at `from`; the end of the text for one that does not end.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let step = memchr::memchr2(b'"', b'\\', rest);
        steps::add(step.unwrap_or(rest.len()) / 16 + 1);
        match step {
            Some(step) if rest.get(step) == Some(&b'"') => return at + step + 1,
            Some(step) => at += step + 2,
            None => return text.len(),
        }
    }
}

/// The text of a string, given with its quotes.
pub(super) fn decoded(string: &[u8]) -> Cow<'_, str> {
    let inner = string
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or_default();
    steps::add(inner.len());
    if memchr::memchr(b'\\', inner).is_none() {
        return String::from_utf8_lossy(inner);
    }
    let limits = Limits {
        bytes: string.len(),
        ..Limits::reply()
    };
    let parsed = json::parse(string, &limits).ok();
    parsed.and_then(json::Raw::string).unwrap_or_default()
}
