//! HashiCorp Vault and OpenBao over their HTTP API (`/v1`): KV versions 1 and 2, engines with leases.
//!
//! An answer is used only if it is whole and of the API's form. What Vault says of a failure is read to tell failures
//! apart and goes no further.

mod answer;
mod http;
mod token;
mod wrapping;

use std::{sync::Arc, time::Duration};

use ::http::Method;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub(crate) use self::http::WayError;
use self::{
    answer::{Lookup, Versioned, field, part},
    http::{Answer, Way},
    token::Tokens,
};
use crate::{
    error::Fault,
    live::{Holder as _, Live},
    material::Raw,
    settings::{Engine, VaultSettings},
};

/// One Vault.
#[derive(Debug)]
pub(crate) struct Vault {
    way: Way,
    tokens: Tokens,
    settings: VaultSettings,
}

/// What was read, and how long it may be used.
pub(crate) struct Read {
    pub(crate) raw: Raw,
    /// What Vault says; `None` if it says nothing.
    pub(crate) duration: Option<Duration>,
    /// Whether its lease can be renewed.
    pub(crate) renewable: bool,
}

impl Vault {
    /// Sets up the way; nothing is connected. `before` is the vault until now.
    pub(crate) fn new(
        settings: &VaultSettings,
        before: Option<&Self>,
        live: &Arc<Live>,
    ) -> Result<Arc<Self>, WayError> {
        let way = Way::new(settings)?;
        // Another vault, or another login, has no use for what was unwrapped for this one.
        let before = before.filter(|before| {
            let before = &before.settings;
            before.address == settings.address
                && before.namespace == settings.namespace
                && before.login == settings.login
                && before.wrapped_by == settings.wrapped_by
        });
        Ok(Arc::new(Self {
            way,
            tokens: Tokens::new(settings, before.map(|before| &before.tokens), live),
            settings: settings.clone(),
        }))
    }

    /// How long a value may be used without asking.
    pub(crate) fn max_age(&self) -> Duration {
        self.settings.max_age
    }

    /// Renews the token until `end`; logs in again when that fails. Without calls a token must not run out either: one
    /// that was given can not be had again.
    pub(crate) async fn keep(self: Arc<Self>, end: CancellationToken) {
        tokio::select! {
            () = end.cancelled() => {}
            () = self.tokens.keep(&self.way) => {}
        }
    }

    /// Whether `path` names what is issued with a lease.
    pub(crate) fn is_leased(&self, path: &str) -> bool {
        matches!(self.settings.mount_of(path), Some((_, Engine::Leased, _)))
    }

    /// Reads a field, and another with the user.
    pub(crate) async fn read(
        &self,
        path: &str,
        name: &str,
        user: Option<&str>,
    ) -> Result<Read, Fault> {
        let (mount, engine, below) = self.settings.mount_of(path).ok_or(Fault::NotFound)?;
        let path = match engine {
            Engine::Kv1 | Engine::Leased => format!("{mount}/{below}"),
            Engine::Kv2 => format!("{mount}/data/{below}"),
        };
        let answer = self.ask(Method::GET, &path, None).await?;
        answer.success()?;
        let envelope = answer.envelope()?;
        let mut created = None;
        let data = match engine {
            Engine::Kv1 | Engine::Leased => envelope.data,
            Engine::Kv2 => {
                let versioned: Versioned<'_> = part(envelope.data)?;
                // Metadata without data: the newest version is deleted or destroyed.
                if versioned.data.is_none() {
                    return Err(Fault::NotFound);
                }
                created = versioned.created();
                versioned.data
            }
        };
        let lease = envelope.lease_id.as_deref().filter(|id| !id.is_empty());
        let leased = engine == Engine::Leased;
        // What cannot be revoked is not used as if it could.
        if leased && (lease.is_none() || envelope.lease_duration.unwrap_or(0) == 0) {
            return Err(Fault::Invalid);
        }
        let raw = Raw {
            secret: field(data, name)?,
            user: user.map(|name| field(data, name)).transpose()?,
            lease: lease.filter(|_| leased).map(Arc::from),
            created,
        };
        Ok(Read {
            raw,
            duration: envelope
                .lease_duration
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            renewable: leased && envelope.renewable.unwrap_or(false),
        })
    }

    /// Renews a lease, or asks how it stands if it cannot be renewed. Gives the time it has left.
    pub(crate) async fn renew(&self, lease: &str, renewable: bool) -> Result<Duration, Fault> {
        let body = json(&serde_json::json!({ "lease_id": lease }))?;
        if renewable {
            let answer = self
                .ask(Method::POST, "sys/leases/renew", Some(body))
                .await?;
            answer.success()?;
            let seconds = answer.envelope()?.lease_duration.ok_or(Fault::Invalid)?;
            return Ok(Duration::from_secs(seconds));
        }
        let answer = self
            .ask(Method::POST, "sys/leases/lookup", Some(body))
            .await?;
        answer.success()?;
        let lookup: Lookup = part(answer.envelope()?.data)?;
        Ok(Duration::from_secs(u64::try_from(lookup.ttl).unwrap_or(0)))
    }

    /// Revokes a lease, and looks whether it is gone: some servers say yes to what they do not do.
    pub(crate) async fn revoke(&self, lease: &str) -> Result<(), Fault> {
        let body = json(&serde_json::json!({ "lease_id": lease, "sync": true }))?;
        let answer = self
            .ask(Method::POST, "sys/leases/revoke", Some(body))
            .await?;
        match answer.success() {
            // A lease that ended meanwhile is refused as one that cannot be revoked is; the lookup distinguishes them.
            Ok(()) | Err(Fault::NotFound | Fault::Unexpected { .. }) => {}
            Err(fault) => return Err(fault),
        }
        let body = json(&serde_json::json!({ "lease_id": lease }))?;
        let answer = self
            .ask(Method::POST, "sys/leases/lookup", Some(body))
            .await?;
        match answer.status.as_u16() {
            400 | 404 => Ok(()),
            200..=299 | 403 => Err(Fault::NotRevoked),
            _ => answer.success(),
        }
    }

    /// Gives our own token back, with every lease that hangs on it, if we got it by a login.
    pub(crate) async fn leave(&self) {
        self.tokens.leave(&self.way).await;
    }

    /// One request under our token. A token that has been revoked is replaced once; a request that is forbidden stays so.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Answer, Fault> {
        let token = self.tokens.current(&self.way).await?;
        let answer = self
            .way
            .send(method.clone(), path, Some(token.secret()), body.clone())
            .await?;
        if answer.status.as_u16() != 403 || !self.tokens.is_gone(&self.way, &token).await {
            return Ok(answer);
        }
        let token = self.tokens.current(&self.way).await?;
        self.way
            .send(method, path, Some(token.secret()), body)
            .await
    }
}

/// A request's body.
fn json(value: &serde_json::Value) -> Result<Zeroizing<Vec<u8>>, Fault> {
    serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(|_| Fault::Invalid)
}
