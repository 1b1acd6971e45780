//! From the `Authorization` header to a caller.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use keepgate_call::{Caller, CallerKind, Principal};
use subtle::ConstantTimeEq;

use crate::key::{self, KeyId, Presented};
use crate::oauth::{ResourceServer, TokenError, Tokens};
use crate::store::{ApiKeys, StoreError, Table};

/// Why nobody could be made of an `Authorization` header.
///
/// A client that holds no valid key learns [`Missing`](Self::Missing) or [`Invalid`](Self::Invalid) only; the audit log has the
/// cause. Of a token the client is told what is wrong with it ([`TokenError`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// There was no header, and this gateway wants one.
    #[error("no credential was given")]
    Missing,
    /// The header holds no key of this gateway.
    #[error("the credential is not valid")]
    Invalid,
    /// The header has the id of a key, and not its secret.
    #[error("the secret of the key is wrong")]
    Secret(KeyName),
    /// The key's time is over.
    #[error("the credential has expired")]
    Expired(KeyName),
    /// Someone revoked the key.
    #[error("the credential was revoked")]
    Revoked(KeyName),
    /// The header holds an access token that proves nothing here.
    #[error("the access token is not valid")]
    Token(#[source] TokenError),
    /// The header holds an access token that cannot be checked now.
    #[error("the access token cannot be checked now")]
    Unavailable,
}

impl AuthnError {
    /// Whether the credential was refused because its time is over.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired(_) | Self::Token(TokenError::Expired))
    }

    /// The cause, for records: a client gets less.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Invalid => "invalid",
            Self::Secret(_) => "wrong_secret",
            Self::Expired(_) => "expired",
            Self::Revoked(_) => "revoked",
            Self::Token(error) => error.code(),
            Self::Unavailable => "unavailable",
        }
    }

    /// The key that the credential names, if it is one of this gateway.
    pub fn key(&self) -> Option<KeyName> {
        match self {
            Self::Secret(key) | Self::Expired(key) | Self::Revoked(key) => Some(*key),
            Self::Missing | Self::Invalid | Self::Token(_) | Self::Unavailable => None,
        }
    }
}

/// The public id of an API key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyName(KeyId);

impl KeyName {
    /// The id, as lists and records have it.
    pub fn as_str(&self) -> &str {
        // Made of hexadecimal letters alone.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for KeyName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<TokenError> for AuthnError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unavailable => Self::Unavailable,
            TokenError::Oversized
            | TokenError::Malformed
            | TokenError::Critical
            | TokenError::Algorithm
            | TokenError::Type
            | TokenError::Purpose
            | TokenError::Issuer
            | TokenError::Key
            | TokenError::Signature
            | TokenError::Audience
            | TokenError::Expired
            | TokenError::Early
            | TokenError::Claim
            | TokenError::Bound => Self::Token(error),
        }
    }
}

/// Tells who is calling. Shared by all connections; reloading swaps the keys as one.
#[derive(Debug)]
pub struct Authenticator {
    mode: Mode,
}

/// How callers are told apart.
#[derive(Debug)]
enum Mode {
    /// Everybody is the same caller, who proved nothing.
    Anonymous(Arc<Caller>),
    /// Callers have API keys.
    Keys(Keys),
    /// Callers have access tokens; some may have API keys.
    Tokens(Box<Tokens>, Option<Keys>),
}

/// The keys, on disk and ready for use.
#[derive(Debug)]
struct Keys {
    store: ApiKeys,
    table: ArcSwap<Table>,
}

/// The state of the keys, for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// There is a key that lets somebody in.
    Usable,
    /// No key lets anybody in.
    Empty,
    /// The file of the keys has vanished; those read before it did let their callers in until a restart.
    Gone,
}

impl Authenticator {
    /// Everybody is the anonymous caller. Only for listeners that nobody else can reach; the configuration sees to it.
    pub fn anonymous() -> Self {
        Self {
            mode: Mode::Anonymous(Arc::new(Caller::anonymous())),
        }
    }

    /// Callers have keys of the store in `state_directory`, which is made when it is not there.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be used.
    pub fn keys(state_directory: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            mode: Mode::Keys(Keys::open(state_directory)?),
        })
    }

    /// Callers have access tokens, and where a state directory is given, they may have keys of its store instead.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be used.
    pub fn tokens(tokens: Tokens, keys: Option<&Path>) -> Result<Self, StoreError> {
        let keys = keys.map(Keys::open).transpose()?;
        Ok(Self {
            mode: Mode::Tokens(Box::new(tokens), keys),
        })
    }

    /// What clients are told of this gateway as a resource server; `None` where it takes no tokens.
    pub fn resource(&self) -> Option<&ResourceServer> {
        match &self.mode {
            Mode::Tokens(tokens, _) => Some(tokens.resource()),
            Mode::Anonymous(_) | Mode::Keys(_) => None,
        }
    }

    /// The part that knows callers by their access tokens; `None` where there are none.
    pub fn as_tokens(&self) -> Option<&Tokens> {
        match &self.mode {
            Mode::Tokens(tokens, _) => Some(tokens),
            Mode::Anonymous(_) | Mode::Keys(_) => None,
        }
    }

    /// Whether somebody who was let in before, perhaps by another authenticator, would be let in now with the same rights.
    /// Asked of every call, so it allocates nothing. Time is not looked at: the caller knows when its credential ends.
    pub fn admits(&self, caller: &Caller) -> bool {
        match &self.mode {
            Mode::Anonymous(_) => caller.kind == CallerKind::Anonymous,
            Mode::Keys(keys) => keys.admits(caller),
            Mode::Tokens(tokens, keys) => match &caller.issuer {
                Some(issuer) => tokens.has_issuer(issuer),
                None => keys.as_ref().is_some_and(|keys| keys.admits(caller)),
            },
        }
    }

    /// Whether any credential of this principal is let in: for what outlives its calls. Looks through all keys.
    pub fn admits_principal(&self, principal: &Principal) -> bool {
        match &self.mode {
            Mode::Anonymous(_) => principal.kind() == CallerKind::Anonymous,
            Mode::Keys(keys) => keys.admits_principal(principal),
            Mode::Tokens(tokens, keys) => match principal.issuer() {
                Some(issuer) => tokens.has_issuer(issuer),
                None => keys
                    .as_ref()
                    .is_some_and(|keys| keys.admits_principal(principal)),
            },
        }
    }

    /// Keeps what tokens are checked with up to date, as long as it is polled; ends at once where there are no tokens.
    pub async fn keep_fresh(&self) {
        match &self.mode {
            Mode::Tokens(tokens, _) => tokens.keep_fresh().await,
            Mode::Anonymous(_) | Mode::Keys(_) => {}
        }
    }

    /// Callers of API keys, of those that are over too.
    pub fn callers(&self) -> Vec<Arc<Caller>> {
        match &self.mode {
            Mode::Keys(keys) | Mode::Tokens(_, Some(keys)) => keys.table.load().callers(),
            Mode::Anonymous(_) | Mode::Tokens(_, None) => Vec::new(),
        }
    }

    /// Reads the keys again and swaps them in; calls that were let in keep their caller. Gives the number of keys.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be used; the keys known so far then stay.
    pub fn reload(&self) -> Result<usize, StoreError> {
        match &self.mode {
            Mode::Anonymous(_) | Mode::Tokens(_, None) => Ok(0),
            Mode::Keys(keys) | Mode::Tokens(_, Some(keys)) => {
                let table = keys.store.table()?;
                let count = table.len();
                keys.table.store(Arc::new(table));
                Ok(count)
            }
        }
    }

    /// The state of the keys, where callers have any.
    pub fn key_state(&self, now: SystemTime) -> Option<KeyState> {
        match &self.mode {
            Mode::Anonymous(_) | Mode::Tokens(_, None) => None,
            Mode::Keys(keys) | Mode::Tokens(_, Some(keys)) => Some(keys.state(now)),
        }
    }

    /// Who sends this `Authorization` header value at `now` to the endpoint with this path. The caller is shared; for keys,
    /// and for tokens that were seen before, nothing is waited for and nothing allocated.
    ///
    /// A request with several `Authorization` lines must be refused before this is asked: two parsers would pick two.
    ///
    /// # Errors
    /// [`AuthnError`]; never in anonymous mode, where the header is not looked at.
    pub async fn authenticate(
        &self,
        authorization: Option<&[u8]>,
        path: &str,
        now: SystemTime,
    ) -> Result<Arc<Caller>, AuthnError> {
        match &self.mode {
            Mode::Anonymous(caller) => Ok(Arc::clone(caller)),
            Mode::Keys(keys) => {
                let shown = bearer(authorization.ok_or(AuthnError::Missing)?);
                keys.authenticate(shown.ok_or(AuthnError::Invalid)?, now)
            }
            Mode::Tokens(tokens, keys) => {
                let shown = bearer(authorization.ok_or(AuthnError::Missing)?);
                let shown = shown.ok_or(AuthnError::Invalid)?;
                match keys {
                    // No token begins like a key: that is no base64url of a JSON object.
                    Some(keys) if shown.starts_with(key::PREFIX) => keys.authenticate(shown, now),
                    Some(_) | None => Ok(tokens.authenticate(shown, path, now).await?),
                }
            }
        }
    }
}

impl Keys {
    fn open(state_directory: &Path) -> Result<Self, StoreError> {
        let store = ApiKeys::open(state_directory)?;
        let table = match store.table() {
            Ok(table) => table,
            // Nobody gets in, and that is reported; operators have to be served to change it.
            Err(StoreError::Gone { .. }) => Table::default(),
            Err(error) => return Err(error),
        };
        let table = ArcSwap::from_pointee(table);
        Ok(Self { store, table })
    }

    fn state(&self, now: SystemTime) -> KeyState {
        if !self.store.is_there() {
            return KeyState::Gone;
        }
        match self.table.load().lets_in(now) {
            true => KeyState::Usable,
            false => KeyState::Empty,
        }
    }

    /// Whether the key of a caller is active and proves what it proved before.
    fn admits(&self, caller: &Caller) -> bool {
        let id = caller.key_id.as_deref().map(str::as_bytes);
        let Some(id) = id.and_then(|id| id.try_into().ok()) else {
            return false;
        };
        let table = self.table.load();
        table.find(&id).is_some_and(|known| {
            // The same object until the file is read again, so that calls compare no texts.
            let is_same = std::ptr::eq(&*known.caller, caller) || *known.caller == *caller;
            is_same && !known.revoked
        })
    }

    fn admits_principal(&self, principal: &Principal) -> bool {
        self.table.load().has_active(principal)
    }

    /// One hash, one look-up, one comparison in constant time.
    fn authenticate(&self, token: &[u8], now: SystemTime) -> Result<Arc<Caller>, AuthnError> {
        let presented = Presented::parse(token).ok_or(AuthnError::Invalid)?;
        // Hashed before it is looked up, so that an id without a key takes as long as a wrong secret.
        let digest = self.store.digest(&presented);
        let table = self.table.load();
        let known = table.find(&presented.id).ok_or(AuthnError::Invalid)?;
        let name = KeyName(presented.id);
        if !bool::from(known.digest.ct_eq(&digest)) {
            return Err(AuthnError::Secret(name));
        }
        if known.revoked {
            return Err(AuthnError::Revoked(name));
        }
        match known.caller.expires {
            Some(end) if end <= now => Err(AuthnError::Expired(name)),
            Some(_) | None => Ok(Arc::clone(&known.caller)),
        }
    }
}

/// The token of `Bearer <token>` (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_first_chunk::<6>()?;
    let token = rest.strip_prefix(b" ")?;
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests;
