//! An access token as a JWT (RFC 7519).
//!
//! Nothing in it is believed here: its contents serve to choose the key that the signature is verified with.

use std::borrow::Cow;

use keepgate_jose::{Compact, Header, Jwk, SignatureAlgorithm, UnreadableHeader};
use keepgate_mcp::json::{self, Limits, Raw};

use super::{
    LONGEST_TOKEN, TokenError,
    settings::{IssuerSettings, TokenKind},
};

/// Cost of the JSON of a token's claims.
const LIMITS: Limits = Limits {
    bytes: LONGEST_TOKEN,
    depth: 16,
    nodes: 4096,
};

/// A token whose form is right, and nothing more.
pub(super) struct Jwt<'a> {
    token: &'a Compact<'a>,
    header: Header<'a>,
    claims: Raw<'a>,
    algorithm: SignatureAlgorithm,
}

impl<'a> Jwt<'a> {
    /// Reads the header and the claims of a token.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Algorithm`], [`TokenError::Critical`].
    pub(super) fn read(token: &'a Compact<'a>) -> Result<Self, TokenError> {
        let header = token.header().map_err(|unreadable| match unreadable {
            UnreadableHeader::Malformed => TokenError::Malformed,
            UnreadableHeader::Critical => TokenError::Critical,
        })?;
        let claims = json::parse(token.payload(), &LIMITS)
            .ok()
            .filter(|claims| claims.is_object())
            .ok_or(TokenError::Malformed)?;
        let algorithm =
            SignatureAlgorithm::parse(&header.algorithm).ok_or(TokenError::Algorithm)?;
        Ok(Self {
            token,
            header,
            claims,
            algorithm,
        })
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
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.key_id.as_deref()
    }

    /// Whether `key` may have signed a token of this algorithm.
    pub(super) fn fits(&self, key: &Jwk) -> bool {
        key.fits(self.algorithm)
    }

    /// Whether `key` has signed it.
    pub(super) fn is_signed_by(&self, key: &Jwk) -> bool {
        key.verifies(self.algorithm, self.token)
    }

    /// Whether the issuer may use the algorithm, and whether it calls the token an access token.
    ///
    /// # Errors
    /// [`TokenError::Algorithm`], [`TokenError::Type`].
    pub(super) fn check_header(&self, settings: &IssuerSettings) -> Result<(), TokenError> {
        if !settings.algorithms.contains(&self.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let kind = self.header.kind.as_deref().map(|kind| {
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
