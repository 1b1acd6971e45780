//! JSON-RPC ids: a string or an integer, kept as it was written.

use std::{
    fmt::{self, Write as _},
    hash::{Hash, Hasher},
};

use smallvec::SmallVec;

use crate::json::{Kind, Limits, Raw, parse};

/// The longest id we accept, in bytes of JSON text.
pub const MAX_ID: usize = 1024;

/// The id of a request. Integers are compared by their digits, strings by their decoded text; `1` and `"1"` differ.
///
/// JSON-RPC 2.0 §4 with the rules of MCP: null, fractions and exponents are not ids. `-0` is refused because peers that
/// go through a double would answer `0`.
#[derive(Debug, Clone)]
pub struct Id {
    json: SmallVec<[u8; 24]>,
    /// The text of a string id whose JSON has escapes; elsewhere the JSON says it itself.
    unescaped: Option<Box<str>>,
}

impl Id {
    /// The id a raw value spells, or nothing if it is no id.
    pub fn from_raw(raw: Raw<'_>) -> Option<Self> {
        let text = raw.as_bytes();
        if text.len() > MAX_ID {
            return None;
        }
        let unescaped = match raw.kind() {
            Kind::String if text.contains(&b'\\') => Some(raw.string()?.into()),
            Kind::String => None,
            Kind::Number if is_integer(text) => None,
            Kind::Number | Kind::Null | Kind::Bool | Kind::Array | Kind::Object => return None,
        };
        Some(Self {
            json: SmallVec::from_slice(text),
            unescaped,
        })
    }

    /// The id the JSON text `json` spells, or nothing if it is no id.
    pub fn from_json(json: &str) -> Option<Self> {
        Self::from_raw(parse(json.as_bytes(), &Limits::request()).ok()?)
    }

    /// A string id.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::from_json(&crate::encode::escape(text))
    }

    /// An integer id.
    pub fn from_integer(number: i64) -> Self {
        let mut digits = Digits(SmallVec::new());
        // Memory takes what it is given; twenty characters at most, so that nothing is allocated.
        let written = digits.write_fmt(format_args!("{number}"));
        debug_assert!(written.is_ok(), "memory takes what it is given");
        Self {
            json: digits.0,
            unescaped: None,
        }
    }

    /// The number of an integer id that fits.
    pub fn as_integer(&self) -> Option<i64> {
        if self.is_text() {
            return None;
        }
        self.as_json().parse().ok()
    }

    /// The number of an integer id that fits, or of a text of the same digits: some servers write every id as a text. Whoever
    /// gives out integers alone can take both for the same.
    pub fn spelled_integer(&self) -> Option<i64> {
        let Some(text) = self.as_text() else {
            return self.as_integer();
        };
        let is_canonical = text == "0" || text.starts_with(|first| matches!(first, '1'..='9'));
        is_canonical.then(|| text.parse().ok())?
    }

    /// The id as it was written: a JSON string with its quotes, or digits.
    pub fn as_json(&self) -> &str {
        simdutf8::basic::from_utf8(&self.json).unwrap_or_default()
    }

    /// The decoded text of a string id; nothing for an integer.
    pub fn as_text(&self) -> Option<&str> {
        if let Some(text) = &self.unescaped {
            return Some(text);
        }
        self.as_json().strip_prefix('"')?.strip_suffix('"')
    }

    /// Whether the id is a string.
    pub fn is_text(&self) -> bool {
        self.json.first() == Some(&b'"')
    }

    fn key(&self) -> (bool, &[u8]) {
        match &self.unescaped {
            Some(text) => (true, text.as_bytes()),
            None if self.is_text() => {
                let inner = self.json.get(1..self.json.len().saturating_sub(1));
                (true, inner.unwrap_or_default())
            }
            None => (false, &self.json),
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_json())
    }
}

/// The text of a number, written in place.
struct Digits(SmallVec<[u8; 24]>);

impl fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn is_integer(text: &[u8]) -> bool {
    text != b"-0"
        && text
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-')
}
