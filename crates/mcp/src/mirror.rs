//! Arguments that headers repeat: `x-mcp-header` in a tool's schema, `Mcp-Param-*` in a call (2026-07-28
//! basic/transports/streamable-http.mdx "Custom Headers from Tool Parameters", SEP-2243).

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::header::{decode_value, encode_value};
use crate::json::{Kind, Raw};
use crate::message::Request;
use crate::method::{Method, Subject};

/// Start of the names of these headers, in lower case.
pub const PREFIX: &str = "mcp-param-";

/// The keyword of a schema that declares one.
pub(crate) const KEYWORD: &str = "x-mcp-header";

/// Most arguments of one tool that headers repeat; a tool with more is invalid.
pub const MAX_MIRRORS: usize = 32;

/// Longest name in a header, without the prefix.
const MAX_NAME: usize = 128;

/// Deepest argument that can be repeated.
const MAX_DEPTH: usize = 16;

/// An argument that a header repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The header's name, in lower case.
    pub header: Box<str>,
    /// The names that lead to the argument.
    pub path: Box<[Box<str>]>,
}

/// A declaration the specification forbids, so that clients must drop the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid `x-mcp-header`")]
pub struct InvalidMirror;

impl Mirror {
    /// The line that repeats the argument; none for what is missing or null, and for what no line can hold.
    pub fn line(&self, arguments: Raw<'_>) -> Option<String> {
        let value = self.value(arguments)?;
        match value.kind() {
            Kind::String => Some(encode_value(&value.string()?).into_owned()),
            Kind::Number | Kind::Bool => Some(value.as_str().to_owned()),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }

    /// Whether `line`, the value of the header as it came, agrees with the arguments: none where they have none.
    pub fn agrees(&self, line: Option<&[u8]>, arguments: Raw<'_>) -> bool {
        match (line, self.value(arguments)) {
            (None, None) => true,
            (Some(line), Some(value)) => says(line, value),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// The argument, unless it is missing or null.
    fn value<'a>(&self, arguments: Raw<'a>) -> Option<Raw<'a>> {
        let mut path = self.path.iter();
        let value = path.try_fold(arguments, |value, step| value.member(step))?;
        (!value.is_null()).then_some(value)
    }
}

fn says(line: &[u8], value: Raw<'_>) -> bool {
    let Some(said) = decoded(line) else {
        return false;
    };
    match value.kind() {
        Kind::String => value.is_text(&said),
        Kind::Bool => value.as_bytes() == said.as_bytes(),
        Kind::Number => {
            Decimal::read(&said).is_some_and(|said| Some(said) == Decimal::read(value.as_str()))
        }
        Kind::Null | Kind::Array | Kind::Object => false,
    }
}

/// The decoded value of a line: visible ASCII, space and tab, without the space around it.
fn decoded(line: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(line).ok()?.trim_matches([' ', '\t']);
    let legal = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    legal.then(|| decode_value(text)).flatten()
}

/// A number as its value, however it is written: `42`, `42.0` and `4.2e1` are one.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten the digits, as an integer, are multiplied with.
    exponent: i64,
}

impl Decimal {
    fn read(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(whole) || !plain(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_end_matches('0');
        let shed = i64::try_from(all.len() - digits.len()).ok()?;
        let digits = digits.trim_start_matches('0').to_owned();
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        let exponent = exponent
            .checked_sub(i64::try_from(fraction.len()).ok()?)?
            .checked_add(shed)?;
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}

/// The text `Mcp-Name` repeats, for the methods that have one.
pub fn name_of(request: &Request) -> Option<Cow<'_, str>> {
    match request.subject() {
        Subject::Tool(name) | Subject::Prompt(name) | Subject::Task(name) => Some(name),
        Subject::Resource(uri) if *request.method() == Method::ResourcesRead => Some(uri),
        Subject::Resource(_)
        | Subject::Completion { .. }
        | Subject::Listing(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

/// The arguments that headers repeat by a schema: those a chain of `properties` leads to.
///
/// # Errors
/// A declaration that is no token, stands twice but for case, or is of what is no string, number or boolean.
pub fn declared(schema: Raw<'_>) -> Result<Vec<Mirror>, InvalidMirror> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found)?;
    let mut names: Vec<&str> = found.iter().map(|mirror| &*mirror.header).collect();
    names.sort_unstable();
    let twice = names
        .windows(2)
        .any(|pair| matches!(pair, [one, two] if one == two));
    if twice { Err(InvalidMirror) } else { Ok(found) }
}

fn collect(
    schema: Raw<'_>,
    path: &mut Vec<Box<str>>,
    found: &mut Vec<Mirror>,
) -> Result<(), InvalidMirror> {
    let (mut name, mut kind, mut properties) = (None, None, None);
    for (key, value) in schema.members() {
        match key.string().as_deref() {
            Some(KEYWORD) => name = Some(value),
            Some("type") => kind = Some(value),
            Some("properties") => properties = Some(value),
            Some(_) | None => {}
        }
    }
    if let Some(name) = name {
        let name = name
            .string()
            .filter(|name| is_token(name))
            .ok_or(InvalidMirror)?;
        if path.is_empty() || found.len() == MAX_MIRRORS || !kind.is_some_and(is_primitive) {
            return Err(InvalidMirror);
        }
        found.push(Mirror {
            header: format!("{PREFIX}{}", name.to_ascii_lowercase()).into(),
            path: path.clone().into(),
        });
    }
    // Nothing below can be declared; what is there all the same is found to be out of place by `schema`.
    if path.len() == MAX_DEPTH {
        return Ok(());
    }
    for (name, property) in properties.into_iter().flat_map(Raw::members) {
        path.push(name.string().unwrap_or_default().into());
        collect(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
fn is_token(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The specification has `string`, `integer` and `boolean`; its own conformance suite and the SDKs have `number` too.
fn is_primitive(kind: Raw<'_>) -> bool {
    let one = |kind: Raw<'_>| {
        let word = kind.string();
        matches!(
            word.as_deref(),
            Some("string" | "integer" | "number" | "boolean")
        )
    };
    match kind.kind() {
        Kind::String => one(kind),
        // A primitive that may be null.
        Kind::Array => {
            kind.items().any(one) && kind.items().all(|item| one(item) || item.is_text("null"))
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::Object => false,
    }
}
