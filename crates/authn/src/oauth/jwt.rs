//! A JWT in its compact form, taken apart (RFC 7515 §7.1, RFC 7519).
//!
//! Nothing in it is believed here: what is read serves to choose the key that the signature is checked with. Keys that the
//! token brings along or points to (`jwk`, `jku`, `x5u`, `x5c`) are not looked at.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_mcp::json::{self, Limits, Raw};

use super::{
    LONGEST_TOKEN, TokenError,
    jwk::Algorithm,
    settings::{IssuerSettings, TokenKind},
};

/// What the JSON of a token may cost.
const LIMITS: Limits = Limits {
    bytes: LONGEST_TOKEN,
    depth: 16,
    nodes: 4096,
};

/// The three parts of a token, decoded.
pub(super) struct Parts<'a> {
    signed: &'a [u8],
    header: Vec<u8>,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub(super) fn of(token: &'a [u8]) -> Result<Self, TokenError> {
        let mut parts = token.split(|byte| *byte == b'.');
        let mut part = || parts.next().ok_or(TokenError::Malformed);
        let (header, claims, signature) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(TokenError::Malformed);
        }
        let signed = token.get(..header.len() + 1 + claims.len());
        Ok(Self {
            signed: signed.ok_or(TokenError::Malformed)?,
            header: decoded(header)?,
            claims: decoded(claims)?,
            signature: decoded(signature)?,
        })
    }

    /// Reads what they hold.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Algorithm`], [`TokenError::Critical`].
    pub(super) fn read(&self) -> Result<Jwt<'_>, TokenError> {
        let header = object(&self.header)?;
        // Presence alone: none of the extensions it could name is known here.
        if header.member("crit").is_some() {
            return Err(TokenError::Critical);
        }
        let name = header.member("alg").and_then(Raw::string);
        let name = name.ok_or(TokenError::Malformed)?;
        Ok(Jwt {
            signed: self.signed,
            header,
            claims: object(&self.claims)?,
            signature: &self.signature,
            algorithm: Algorithm::parse(&name).ok_or(TokenError::Algorithm)?,
        })
    }
}

/// A token whose form is right, and nothing more.
#[derive(Clone, Copy)]
pub(super) struct Jwt<'a> {
    /// The bytes under the signature: both first parts and the dot between them.
    signed: &'a [u8],
    header: Raw<'a>,
    claims: Raw<'a>,
    signature: &'a [u8],
    algorithm: Algorithm,
}

impl<'a> Jwt<'a> {
    /// The algorithm the header names.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes under the signature.
    pub(super) fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// The signature.
    pub(super) fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// The claims: a JSON object without duplicate keys.
    pub(super) fn claims(&self) -> Raw<'a> {
        self.claims
    }

    /// `iss`.
    pub(super) fn issuer(&self) -> Option<Cow<'a, str>> {
        self.claims.member("iss")?.string()
    }

    /// `kid`.
    ///
    /// # Errors
    /// [`TokenError::Malformed`] when it is no string.
    pub(super) fn key_id(&self) -> Result<Option<Cow<'a, str>>, TokenError> {
        match self.header.member("kid") {
            None => Ok(None),
            Some(id) => id.string().map(Some).ok_or(TokenError::Malformed),
        }
    }

    /// Whether the issuer may use the algorithm, and whether it calls the token an access token.
    ///
    /// # Errors
    /// [`TokenError::Algorithm`], [`TokenError::Type`].
    pub(super) fn check_header(&self, settings: &IssuerSettings) -> Result<(), TokenError> {
        if !settings.algorithms.contains(&self.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let kind = match self.header.member("typ") {
            None => None,
            Some(kind) => Some(kind.string().ok_or(TokenError::Malformed)?),
        };
        let kind = kind.as_deref().map(|kind| {
            // Media types leave out their `application/` and their case does not matter (RFC 7515 §4.1.9).
            let kind = kind.to_ascii_lowercase();
            match kind.strip_prefix("application/") {
                Some(short) => short.to_owned(),
                None => kind,
            }
        });
        match (kind.as_deref(), settings.kind) {
            (Some("at+jwt"), TokenKind::AccessToken | TokenKind::Plain) => Ok(()),
            (None | Some("jwt"), TokenKind::Plain) => Ok(()),
            (None | Some(_), TokenKind::AccessToken) | (Some(_), TokenKind::Plain) => {
                Err(TokenError::Type)
            }
        }
    }
}

/// A text that is a JSON object.
fn object(text: &[u8]) -> Result<Raw<'_>, TokenError> {
    match json::parse(text, &LIMITS) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) | Err(_) => Err(TokenError::Malformed),
    }
}

/// Bytes of unpadded base64url, in the one spelling they have.
fn decoded(part: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed)
}
