//! The digest that binds a decision to a call.
//!
//! Retries come in new sessions, after reloads and with members in another order, so none of that is in it. What is in it
//! decides what the call would do and for whom.

use keepgate_call::Tenant;

use crate::{FrozenCall, StoreKey};

/// Version of the form below, part of every digest.
const VERSION: &[u8] = b"keepgate approval 1";

/// Digest of a call, keyed for its tenant: equal for calls that do the same for the same caller, and nobody can guess at the
/// arguments by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallDigest(pub(crate) [u8; 32]);

impl CallDigest {
    /// The digest as records have it.
    pub(crate) fn text(digest: &[u8; 32]) -> String {
        blake3::Hash::from_bytes(*digest).to_hex().to_string()
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Digest of `call` of a tenant.
    pub fn of(key: &StoreKey, tenant: &Tenant, call: &FrozenCall) -> Self {
        let caller = &call.caller;
        Self(hash(
            key,
            tenant,
            &[
                Some(VERSION),
                Some(tenant.as_str().as_bytes()),
                Some(call.server.as_bytes()),
                Some(call.method.as_bytes()),
                call.subject.as_deref().map(str::as_bytes),
                call.fingerprint.as_deref().map(str::as_bytes),
                call.arguments.as_deref().map(str::as_bytes),
                call.others.as_deref().map(str::as_bytes),
                caller.issuer.as_deref().map(str::as_bytes),
                Some(caller.subject.as_bytes()),
                caller.client.as_deref().map(str::as_bytes),
            ],
        ))
    }

    /// Digest of the caller alone, by which requests are counted.
    pub(crate) fn of_caller(key: &StoreKey, tenant: &Tenant, call: &FrozenCall) -> [u8; 32] {
        let caller = &call.caller;
        hash(
            key,
            tenant,
            &[
                Some(b"keepgate approval caller 1"),
                caller.issuer.as_deref().map(str::as_bytes),
                Some(caller.subject.as_bytes()),
            ],
        )
    }
}

/// Hash of parts, each with its length before it, so that no two lists have the same bytes.
pub(crate) fn hash(key: &StoreKey, tenant: &Tenant, parts: &[Option<&[u8]>]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&key.digest_key(tenant));
    for part in parts {
        match part {
            None => hasher.update(&[0]),
            Some(bytes) => {
                hasher.update(&[1]);
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes)
            }
        };
    }
    *hasher.finalize().as_bytes()
}
