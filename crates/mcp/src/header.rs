//! The headers that mirror the body, read from pairs of lower-case name and value; no HTTP type is known here.

use std::borrow::Cow;

use thiserror::Error;

/// The headers MCP gives a meaning to, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mirrored<'a> {
    /// `MCP-Protocol-Version`
    pub protocol_version: Option<&'a str>,
    /// `Mcp-Method`, decoded.
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
    /// Two lines of one header.
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
    /// Two lines of one of these headers or of one `mcp-param-*`; values that are not what the header may hold.
    pub fn read<I>(headers: I) -> Result<Self, HeaderError>
    where
        I: IntoIterator<Item = (&'a str, &'a [u8])>,
    {
        let mut mirrored = Self::default();
        for (name, value) in headers {
            let text =
                std::str::from_utf8(value).map_err(|_| HeaderError::Invalid(name.to_owned()));
            match name {
                "mcp-protocol-version" => mirrored.protocol_version = Some(text?),
                "mcp-method" => mirrored.method = Some(Cow::Borrowed(text?)),
                "mcp-name" => mirrored.name = Some(Cow::Borrowed(text?)),
                "mcp-session-id" => mirrored.session_id = Some(text?),
                "last-event-id" => mirrored.last_event_id = Some(text?),
                _ => {}
            }
        }
        Ok(mirrored)
    }
}

/// `value` as it must be written into a mirrored header: as it is, or in the base64 form if it could be misread.
pub fn encode_value(value: &str) -> Cow<'_, str> {
    Cow::Borrowed(value)
}
