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

    /// The id a peer spells that was given it: a number whose fraction is zero, as writers have that keep all numbers as doubles
    /// (`7.0`, `1.2E7`), is the integer it equals. Anything else as [`Self::from_raw`].
    pub fn from_echo(raw: Raw<'_>) -> Option<Self> {
        Self::from_raw(raw).or_else(|| {
            let text = (raw.kind() == Kind::Number).then_some(raw.as_bytes())?;
            Some(Self::from_integer(integral(text)?))
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

/// The integer that a decimal number equals, if it equals one that a double holds exactly.
fn integral(text: &[u8]) -> Option<i64> {
    /// Digits of the largest such integer.
    const DIGITS: usize = 16;
    let text = std::str::from_utf8(text).ok()?;
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(whole) => (-1, whole),
        None => (1, whole),
    };
    let fraction = fraction.trim_end_matches('0');
    let zeros =
        usize::try_from(exponent.checked_sub_unsigned(u32::try_from(fraction.len()).ok()?)?);
    let zeros = zeros.ok().filter(|zeros| *zeros <= DIGITS)?;
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() || digits.len() + zeros > DIGITS {
        // Zero as well, whose sign readers lose.
        return None;
    }
    let number: i64 = format!("{digits}{}", "0".repeat(zeros)).parse().ok()?;
    Some(sign * number)
}

#[cfg(test)]
mod tests {
    use super::Id;
    use crate::{Limits, json::parse};

    #[test]
    fn an_echoed_number_is_the_integer_it_equals() {
        for (text, expected) in [
            ("7", Some("7")),
            ("7.0", Some("7")),
            ("-7.00", Some("-7")),
            ("7e0", Some("7")),
            ("1.20E1", Some("12")),
            ("1.2345678E7", Some("12345678")),
            ("1.2345678E+7", Some("12345678")),
            ("5.123456789012345E15", Some("5123456789012345")),
            ("70e-1", None),
            ("7.5", None),
            ("1.25e1", None),
            ("0.0", None),
            ("-0", None),
            ("1e400", None),
            ("1e-2147483648", None),
            ("1e99999999999", None),
            ("9007199254740993000.0", None),
            (r#""7.0""#, Some(r#""7.0""#)),
            ("null", None),
            ("{}", None),
        ] {
            let raw = parse(text.as_bytes(), &Limits::request()).unwrap();
            let id = Id::from_echo(raw);
            assert_eq!(id.as_ref().map(Id::as_json), expected, "{text}");
        }
    }

    #[test]
    fn texts_of_digits_spell_integers_however_they_are_escaped() {
        for (text, expected) in [
            ("7", Some(7)),
            (r#""7""#, Some(7)),
            (r#""\u0037""#, Some(7)),
            (r#""0""#, Some(0)),
            (r#""07""#, None),
            (r#""7.0""#, None),
            (r#"" 7""#, None),
            (r#""-7""#, None),
            (r#""9223372036854775808""#, None),
        ] {
            let id = Id::from_json(text).unwrap();
            assert_eq!(id.spelled_integer(), expected, "{text}");
        }
    }
}
