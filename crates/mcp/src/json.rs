//! JSON, judged once and strictly: the scanner's limits and the view of a value that passed it.
//!
//! Our own because a general parser is the wrong judge: it lets the last of two equal keys win, sends numbers through a
//! double or through private keys, and builds trees nobody asked for. Grammar: RFC 8259 and nothing more. UTF-8 without
//! byte order mark, no lone surrogates, no two equal keys in one object at any depth (compared after unescaping), nothing
//! after the value. Numbers stay the text they are.

mod canonical;
mod key;
mod scan;
#[cfg(test)]
mod tests;
mod text;
mod walk;

use std::borrow::Cow;

pub use canonical::canonical;
pub(crate) use scan::{Envelope, Member, Place, Scanner, Span};
pub use walk::{Items, Members};

use crate::error::DecodeError;

/// The deepest nesting any [`Limits`] can allow; the scanner recurses once per level.
pub const MAX_DEPTH: usize = 128;

/// The longest number we accept, in characters. No double needs more; big-number parsers downstream must not be fed more.
pub const MAX_NUMBER: usize = 1100;

/// What one body may cost. Checked while reading, before anything grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body; never more than 4 GiB - 1.
    pub bytes: usize,
    /// Nesting: a lone object is one deep. Never more than [`MAX_DEPTH`].
    pub depth: usize,
    /// Values in the body, of any kind.
    pub nodes: usize,
}

impl Limits {
    /// For what a client or a server asks: 1 MiB, 64 deep, 100 000 values.
    pub const fn request() -> Self {
        Self {
            bytes: 1 << 20,
            depth: 64,
            nodes: 100_000,
        }
    }

    /// For what answers: 8 MiB, 64 deep, 1 000 000 values.
    pub const fn reply() -> Self {
        Self {
            bytes: 8 << 20,
            depth: 64,
            nodes: 1_000_000,
        }
    }
}

/// The text of one step of a JSON pointer, the name of a member (RFC 6901 §3).
pub fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The six kinds of JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, kept as text.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A JSON value that passed the scanner, as the text it came in. Copying it copies a pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(&'a [u8]);

/// Judges a text that holds one JSON value of any kind, by the same rules as a message.
///
/// # Errors
/// The first fault found, with its offset.
pub fn parse<'a>(text: &'a [u8], limits: &Limits) -> Result<Raw<'a>, DecodeError> {
    let mut scanner = Scanner::new(text, limits)?;
    let span = scanner.document()?;
    Ok(Raw(text.get(span.range()).unwrap_or_default()))
}

impl Raw<'static> {
    /// An object without members.
    pub const NO_MEMBERS: Self = Self(b"{}");
}

impl<'a> Raw<'a> {
    /// Wraps text the scanner has passed.
    pub(crate) fn trusted(text: &'a [u8]) -> Self {
        Self(text)
    }

    /// The value's text as it came, without surrounding space.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The value's text as it came. Looks over the bytes once more (at memory speed), since a `&str` must be proven.
    pub fn as_str(self) -> &'a str {
        // Never empty for a value that passed the scanner: UTF-8 was checked for the whole body.
        simdutf8::basic::from_utf8(self.0).unwrap_or_default()
    }

    /// Which kind of value it is.
    pub fn kind(self) -> Kind {
        match self.0.first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(_) | None => Kind::Null,
        }
    }

    /// The decoded text of a string; nothing for other kinds. Borrows unless there are escapes.
    pub fn string(self) -> Option<Cow<'a, str>> {
        text::decode(self.0)
    }

    /// Whether the value is a string that decodes to `text`.
    pub fn is_text(self, text: &str) -> bool {
        text::equals(self.0, text)
    }

    /// A number written as an integer that fits 64 bits; nothing for fractions, exponents and other kinds.
    pub fn integer(self) -> Option<i64> {
        (self.kind() == Kind::Number)
            .then(|| self.as_str().parse().ok())
            .flatten()
    }

    /// A boolean; nothing for other kinds.
    pub fn bool(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Whether the value is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// Whether the value is an object.
    pub fn is_object(self) -> bool {
        self.kind() == Kind::Object
    }

    /// The member of an object with that (decoded) key.
    pub fn member(self, key: &str) -> Option<Self> {
        Members::new(self).find_map(|(name, value)| name.is_text(key).then_some(value))
    }

    /// The items of an array, in order; nothing for other kinds.
    pub fn items(self) -> Items<'a> {
        Items::new(self)
    }

    /// The members of an object in order, each key as the string value it is; nothing for other kinds.
    pub fn members(self) -> Members<'a> {
        Members::new(self)
    }
}

impl std::fmt::Debug for Raw<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::fmt::Display for Raw<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}
