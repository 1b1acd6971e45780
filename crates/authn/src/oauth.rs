//! OAuth 2.1 resource server: callers who show access tokens of configured issuers (RFC 6750, RFC 9068, RFC 8707).
//!
//! A token is a signed JWT. Its first use costs a look at its claims and one signature; after that it is found again by a
//! keyed hash until it ends, or until its issuer withdraws a key. Signatures are those of `keepgate-jose`, and everything
//! around them is read by the strict JSON scanner: the JWT crates at hand have a parser that lets the last of two equal
//! claims win.

mod cache;
mod claims;
mod fetch;
mod issuer;
mod jwt;
mod settings;

use std::{sync::Arc, time::SystemTime};

use keepgate_call::{Caller, Proof};
use keepgate_jose::{Compact, MalformedToken};
use tokio::task::JoinSet;

use self::{
    cache::{Cache, Entry},
    claims::Verified,
    issuer::{Found, Issuer},
    jwt::Jwt,
};
pub use self::{
    fetch::{Fetch, FetchError, Fetching},
    settings::{
        ClaimName, IssuerSettings, IssuerUrl, ResourceServer, TokenKind, TokenSettings,
        TokenSettingsError, is_fetchable,
    },
};

/// The longest token that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 16 * 1024;

/// Why an access token proves nothing. Says what, never a value of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`LONGEST_TOKEN`].
    #[error("the token is too long")]
    Oversized,
    /// Not three parts of base64url around strict JSON objects (RFC 7515 §7.1).
    #[error("the token is not a signed JWT")]
    Malformed,
    /// The header has `crit`, which asks for extensions nobody here knows (RFC 7515 §4.1.11).
    #[error("the token asks for an unknown extension")]
    Critical,
    /// `none`, a symmetric algorithm, or one the issuer may not use.
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    /// The header's `typ` is not that of an access token (RFC 9068 §4).
    #[error("the token is not an access token by its type")]
    Type,
    /// It carries what ID tokens, refresh tokens and logout tokens carry.
    #[error("the token is not an access token by its claims")]
    Purpose,
    /// `iss` is missing or names nobody this gateway trusts.
    #[error("the token's issuer is not trusted")]
    Issuer,
    /// No key of the issuer has this id and fits the algorithm.
    #[error("the token is signed with an unknown key")]
    Key,
    /// The signature does not fit.
    #[error("the token's signature is wrong")]
    Signature,
    /// `aud` names neither this gateway nor this endpoint.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid yet")]
    Early,
    /// A claim is missing or not of its form.
    #[error("a claim of the token is missing or malformed")]
    Claim,
    /// The token is bound to a key of its holder (`cnf`), and only the bare token was shown (RFC 7800 §3).
    #[error("the token is bound to a key, and no proof of it can be checked")]
    Bound,
    /// The issuer's keys cannot be had now.
    #[error("the keys of the token's issuer cannot be fetched")]
    Unavailable,
}

impl TokenError {
    /// The cause, for records.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Oversized => "token_oversized",
            Self::Malformed => "token_malformed",
            Self::Critical => "token_extension",
            Self::Algorithm => "token_algorithm",
            Self::Type => "token_type",
            Self::Purpose => "token_purpose",
            Self::Issuer => "token_issuer",
            Self::Key => "token_key",
            Self::Signature => "token_signature",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::Early => "token_early",
            Self::Claim => "token_claim",
            Self::Bound => "token_bound",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Knows callers by their access tokens. Shared by all connections.
#[derive(Debug)]
pub struct Tokens {
    resource: ResourceServer,
    issuers: Vec<Arc<Issuer>>,
    cache: Cache,
}

impl Tokens {
    /// A resource server for the issuers of the settings. Fetches nothing; see [`Self::keep_fresh`].
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(settings: TokenSettings) -> Result<Self, getrandom::Error> {
        let TokenSettings { resource, issuers } = settings;
        Ok(Self {
            resource,
            issuers: issuers
                .into_iter()
                .map(|issuer| Arc::new(Issuer::new(issuer)))
                .collect(),
            cache: Cache::new()?,
        })
    }

    /// As [`Self::new`], with those issuers of `before` that `keeps` holds for: their keys count on, and whoever was let in by
    /// one of them still is. Their documents are fetched as the settings have it.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn succeeding(
        settings: TokenSettings,
        before: &Self,
        keeps: impl Fn(&IssuerUrl) -> bool,
    ) -> Result<Self, getrandom::Error> {
        let mut tokens = Self::new(settings)?;
        for issuer in &mut tokens.issuers {
            let url = &issuer.settings().url;
            let known = before
                .issuers
                .iter()
                .find(|known| known.settings().url == *url);
            if let Some(known) = known.filter(|_| keeps(url)) {
                known.fetch_as(issuer);
                *issuer = Arc::clone(known);
            }
        }
        Ok(tokens)
    }

    /// Whether this very issuer is one of them, and not another under its name: an issuer whose settings have changed lets
    /// in others than it did.
    pub(crate) fn has_issuer(&self, name: &Arc<str>) -> bool {
        let mut issuers = self.issuers.iter();
        issuers.any(|issuer| Arc::ptr_eq(issuer.name(), name))
    }

    /// What clients are told of this resource server.
    pub fn resource(&self) -> &ResourceServer {
        &self.resource
    }

    /// Fetches the issuers' keys, again and again. Runs until it is dropped; without it no token is known.
    pub async fn keep_fresh(&self) {
        let mut issuers = JoinSet::new();
        for issuer in &self.issuers {
            let issuer = Arc::clone(issuer);
            issuers.spawn(async move { issuer.keep_fresh().await });
        }
        while issuers.join_next().await.is_some() {}
    }

    /// Who holds this token at `now`, at the endpoint with this path.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn authenticate(
        &self,
        token: &[u8],
        path: &str,
        now: SystemTime,
    ) -> Result<Arc<Caller>, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Oversized);
        }
        let digest = self.cache.digest(token);
        if let Some(entry) = self.cache.find(&digest)
            && let Some(issuer) = self.issuers.get(entry.issuer)
            && issuer.vouches(entry.epoch)
        {
            return self.admit(&entry, path, now);
        }
        let entry = self.verify(token, now).await?;
        let admitted = self.admit(&entry, path, now);
        self.cache.insert(digest, entry, now);
        admitted
    }

    /// What depends on the time and the endpoint, and is therefore asked anew each time.
    fn admit(&self, entry: &Entry, path: &str, now: SystemTime) -> Result<Arc<Caller>, TokenError> {
        if entry.ends <= now {
            return Err(TokenError::Expired);
        }
        let here = |audience: &Arc<str>| {
            audience
                .strip_prefix(self.resource.base())
                .is_some_and(|rest| rest == path)
        };
        if entry.general || entry.audiences.iter().any(here) {
            Ok(Arc::clone(&entry.caller))
        } else {
            Err(TokenError::Audience)
        }
    }

    async fn verify(&self, token: &[u8], now: SystemTime) -> Result<Entry, TokenError> {
        let token = Compact::decode(token).map_err(|MalformedToken| TokenError::Malformed)?;
        let jwt = Jwt::read(&token)?;
        let named = jwt.issuer().ok_or(TokenError::Issuer)?;
        let found = self
            .issuers
            .iter()
            .enumerate()
            .find(|(_, issuer)| issuer.settings().url.as_str() == named);
        let (at, issuer) = found.ok_or(TokenError::Issuer)?;
        let settings = issuer.settings();
        jwt.check_header(settings)?;
        let Found { keys, epoch } = issuer.keys(&jwt).await?;
        if !keys.iter().any(|key| jwt.is_signed_by(key)) {
            return Err(TokenError::Signature);
        }
        let Verified {
            proof,
            audiences,
            ends,
        } = claims::read(jwt.claims(), settings, now)?;
        let general = settings
            .audience
            .as_ref()
            .is_some_and(|own| audiences.iter().any(|audience| **audience == **own));
        Ok(Entry {
            caller: Arc::new(Caller::new(Proof {
                issuer: Some(Arc::clone(issuer.name())),
                ..proof
            })),
            audiences,
            general,
            ends,
            issuer: at,
            epoch,
        })
    }
}

#[cfg(test)]
mod tests;
