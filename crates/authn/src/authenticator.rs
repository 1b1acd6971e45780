//! From the `Authorization` header to a caller.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use keepgate_call::Caller;
use subtle::ConstantTimeEq;

use crate::key::Presented;
use crate::store::{ApiKeys, StoreError, Table};

/// Why nobody could be made of an `Authorization` header.
///
/// The four are told apart in records. A client that holds no valid key learns [`Missing`](Self::Missing) or
/// [`Invalid`](Self::Invalid) only: the other two need the right secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// There was no header, and this gateway wants one.
    #[error("no credential was given")]
    Missing,
    /// The header holds no key of this gateway.
    #[error("the credential is not valid")]
    Invalid,
    /// The key's time is over.
    #[error("the credential has expired")]
    Expired,
    /// Someone revoked the key.
    #[error("the credential was revoked")]
    Revoked,
}

impl AuthnError {
    /// The stable code for refusals, records and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "authn.missing",
            Self::Invalid => "authn.invalid",
            Self::Expired => "authn.expired",
            Self::Revoked => "authn.revoked",
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
}

/// The keys, on disk and ready for use.
#[derive(Debug)]
struct Keys {
    store: ApiKeys,
    table: ArcSwap<Table>,
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
        let store = ApiKeys::open(state_directory)?;
        let table = ArcSwap::from_pointee(store.table()?);
        Ok(Self {
            mode: Mode::Keys(Keys { store, table }),
        })
    }

    /// Reads the keys again and swaps them in; calls that were let in keep their caller. Gives the number of keys.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be used; the keys known so far then stay.
    pub fn reload(&self) -> Result<usize, StoreError> {
        match &self.mode {
            Mode::Anonymous(_) => Ok(0),
            Mode::Keys(keys) => {
                let table = keys.store.table()?;
                let count = table.len();
                keys.table.store(Arc::new(table));
                Ok(count)
            }
        }
    }

    /// Who sends this `Authorization` header value at `now`. The caller is shared, nothing is allocated.
    ///
    /// A request with several `Authorization` lines must be refused before this is asked: two parsers would pick two.
    ///
    /// # Errors
    /// [`AuthnError`]; never in anonymous mode, where the header is not looked at.
    pub fn authenticate(
        &self,
        authorization: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<Arc<Caller>, AuthnError> {
        match &self.mode {
            Mode::Anonymous(caller) => Ok(Arc::clone(caller)),
            Mode::Keys(keys) => keys.authenticate(authorization.ok_or(AuthnError::Missing)?, now),
        }
    }
}

impl Keys {
    /// One hash, one look-up, one comparison in constant time.
    fn authenticate(
        &self,
        authorization: &[u8],
        now: SystemTime,
    ) -> Result<Arc<Caller>, AuthnError> {
        let token = bearer(authorization).ok_or(AuthnError::Invalid)?;
        let presented = Presented::parse(token).ok_or(AuthnError::Invalid)?;
        // Hashed before it is looked up, so that an id without a key takes as long as a wrong secret.
        let digest = self.store.digest(&presented);
        let table = self.table.load();
        let known = table.find(&presented.id).ok_or(AuthnError::Invalid)?;
        if !bool::from(known.digest.ct_eq(&digest)) {
            return Err(AuthnError::Invalid);
        }
        if known.revoked {
            return Err(AuthnError::Revoked);
        }
        match known.caller.expires {
            Some(end) if end <= now => Err(AuthnError::Expired),
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
