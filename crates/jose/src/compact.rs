//! The compact form of JWS, decoded (RFC 7515 §7.1).
//!
//! Keys that a token brings along or points to (`jwk`, `jku`, `x5u`, `x5c`) are not looked at.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_mcp::json::{self, Limits, Raw};

/// Cost of a header's JSON.
const LIMITS: Limits = Limits {
    bytes: 16 * 1024,
    depth: 16,
    nodes: 1024,
};

/// A token that is not three parts of unpadded base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("token is not three parts of base64url")]
pub struct MalformedToken;

/// A header that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableHeader {
    /// No JSON object with a text `alg`, or `kid` or `typ` is no text.
    #[error("header of the token is malformed")]
    Malformed,
    /// `crit` is present: none of the extensions that it could name is known here (RFC 7515 §4.1.11).
    #[error("header of the token has critical extensions")]
    Critical,
}

/// A token in its compact form. Nothing in it is verified.
#[derive(Debug)]
pub struct Compact<'a> {
    signed: &'a [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// The header of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header<'a> {
    /// `alg`.
    pub algorithm: Cow<'a, str>,
    /// `kid`.
    pub key_id: Option<Cow<'a, str>>,
    /// `typ`.
    pub kind: Option<Cow<'a, str>>,
}

impl<'a> Compact<'a> {
    /// Decodes a token.
    ///
    /// # Errors
    /// [`MalformedToken`].
    pub fn decode(token: &'a [u8]) -> Result<Self, MalformedToken> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(MalformedToken);
        };
        let signed = token.get(..header.len() + 1 + payload.len());
        Ok(Self {
            signed: signed.ok_or(MalformedToken)?,
            header: decoded(header)?,
            payload: decoded(payload)?,
            signature: decoded(signature)?,
        })
    }

    /// Reads the header.
    ///
    /// # Errors
    /// [`UnreadableHeader`].
    pub fn header(&self) -> Result<Header<'_>, UnreadableHeader> {
        let header = json::parse(&self.header, &LIMITS)
            .ok()
            .filter(|value| value.is_object())
            .ok_or(UnreadableHeader::Malformed)?;
        if header.member("crit").is_some() {
            return Err(UnreadableHeader::Critical);
        }
        let text = |name: &str| match header.member(name) {
            None => Ok(None),
            Some(value) => value.string().map(Some).ok_or(UnreadableHeader::Malformed),
        };
        let algorithm = header.member("alg").and_then(Raw::string);
        Ok(Header {
            algorithm: algorithm.ok_or(UnreadableHeader::Malformed)?,
            key_id: text("kid")?,
            kind: text("typ")?,
        })
    }

    /// The bytes of the payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The bytes under the signature: both first parts with the dot between them.
    #[must_use]
    pub fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// Encodes a token: `sign` is given the bytes to sign and returns their signature.
///
/// # Errors
/// Those of `sign`.
pub fn encode<E>(
    header: &[u8],
    payload: &[u8],
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", part(header), part(payload));
    let signature = part(&sign(signed.as_bytes())?);
    Ok(format!("{signed}.{signature}"))
}

/// Bytes of unpadded base64url, in the one spelling they have.
fn decoded(part: &[u8]) -> Result<Vec<u8>, MalformedToken> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| MalformedToken)
}

#[cfg(test)]
mod tests;
