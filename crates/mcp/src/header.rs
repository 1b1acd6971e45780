//! The headers that mirror the body, read from pairs of lower-case name and value; no HTTP type is known here.
//!
//! 2026-07-28 basic/transports/streamable-http.mdx "Request Metadata". Reading judges form only (one line each, legal
//! characters, a base64 form that decodes); whether a value agrees with the body is [`crate::classify`]'s question.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use smallvec::SmallVec;
use thiserror::Error;

/// What starts and ends a value in base64 form.
const SENTINEL: (&str, &str) = ("=?base64?", "?=");

/// The headers MCP gives a meaning to, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored<'a> {
    /// `MCP-Protocol-Version`
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`; has no base64 form.
    pub method: Option<Cow<'a, str>>,
    /// `Mcp-Name`, decoded.
    pub name: Option<Cow<'a, str>>,
    /// `Mcp-Session-Id`: 0x21 to 0x7E only.
    pub session_id: Option<&'a str>,
    /// `Last-Event-ID`: opaque.
    pub last_event_id: Option<&'a str>,
}

/// A header we refuse. All answer 400 with [`crate::error::HEADER_MISMATCH`] where JSON-RPC is answered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Two lines of one header: the next reader might take the other.
    #[error("header appears twice: `{0}`")]
    Duplicate(String),
    /// Characters the header may not have, or a base64 form that does not decode.
    #[error("header value is invalid: `{0}`")]
    Invalid(String),
}

impl<'a> Mirrored<'a> {
    /// Reads the headers from pairs of lower-case name and value; others are passed over.
    ///
    /// # Errors
    /// Two lines of one of these headers or of one `mcp-param-*`; values that are not what the header may hold. Values of
    /// `mcp-param-*` are not judged: only the server knows which of them mean something.
    pub fn read<I>(headers: I) -> Result<Self, HeaderError>
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        let mut mirrored = Self::default();
        let mut params: SmallVec<[&str; 8]> = SmallVec::new();
        for (name, value) in headers {
            match name {
                "mcp-protocol-version" => {
                    once(&mut mirrored.protocol_version, name, visible(name, value)?)?
                }
                "mcp-method" => once(
                    &mut mirrored.method,
                    name,
                    Cow::Borrowed(visible(name, value)?),
                )?,
                "mcp-name" => {
                    let decoded = decode_value(plain(name, value)?).ok_or_else(|| invalid(name))?;
                    once(&mut mirrored.name, name, decoded)?;
                }
                "mcp-session-id" => once(&mut mirrored.session_id, name, visible(name, value)?)?,
                "last-event-id" => once(&mut mirrored.last_event_id, name, plain(name, value)?)?,
                _ if name.starts_with("mcp-param-") => params.push(name),
                _ => {}
            }
        }
        params.sort_unstable();
        for pair in params.windows(2) {
            if let [one, two] = pair
                && one == two
            {
                return Err(HeaderError::Duplicate((*one).to_owned()));
            }
        }
        Ok(mirrored)
    }
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), HeaderError> {
    if slot.replace(value).is_some() {
        return Err(HeaderError::Duplicate(name.to_owned()));
    }
    Ok(())
}

fn invalid(name: &str) -> HeaderError {
    HeaderError::Invalid(name.to_owned())
}

/// A value of visible ASCII, space and tab (RFC 9110 §5.5 without obs-text), without the space around it.
fn plain<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, HeaderError> {
    let text = std::str::from_utf8(value).map_err(|_| invalid(name))?;
    let text = text.trim_matches([' ', '\t']);
    if text.is_empty() || !text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Err(invalid(name));
    }
    Ok(text)
}

/// A value of visible ASCII only (0x21 to 0x7E).
fn visible<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, HeaderError> {
    let text = plain(name, value)?;
    if text.contains([' ', '\t']) {
        return Err(invalid(name));
    }
    Ok(text)
}

/// The value of a mirrored header as the body has it: the base64 form decoded, anything else as it is.
///
/// Nothing if it has the base64 form and does not decode: characters outside the alphabet, wrong padding, stray bits, or
/// bytes that are not UTF-8. The markers are case-sensitive, so `=?BASE64?...?=` is a plain value.
pub fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = base64_form(value) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// `value` as it must be written into a mirrored header: as it is, or in the base64 form if it could be misread (characters
/// a header may not have, space around it, nothing at all, or a value that itself looks like the base64 form).
pub fn encode_value(value: &str) -> Cow<'_, str> {
    let safe = value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    if safe && !padded && !value.is_empty() && base64_form(value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(format!(
        "{}{}{}",
        SENTINEL.0,
        STANDARD.encode(value),
        SENTINEL.1
    ))
}

fn base64_form(value: &str) -> Option<&str> {
    value.strip_prefix(SENTINEL.0)?.strip_suffix(SENTINEL.1)
}
