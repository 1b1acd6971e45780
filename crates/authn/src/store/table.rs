//! The keys in memory, ready for the hot path.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use keepgate_call::{Caller, CallerKind, Principal, Proof, Tenant};

use super::ApiKey;
use crate::key::{Digest, KeyId};

/// All keys by id, ready for the hot path.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(super) keys: HashMap<KeyId, Known>,
}

impl Table {
    /// The key with this id.
    pub(crate) fn find(&self, id: &KeyId) -> Option<&Known> {
        self.keys.get(id)
    }

    /// Whether any key lets somebody in at `now`.
    pub(crate) fn lets_in(&self, now: SystemTime) -> bool {
        self.keys
            .values()
            .any(|known| !known.revoked && known.caller.expires.is_none_or(|end| now < end))
    }

    /// Whether a key of this principal was not revoked.
    pub(crate) fn has_active(&self, principal: &Principal) -> bool {
        let mut known = self.keys.values();
        known.any(|known| !known.revoked && known.caller.principal() == principal)
    }

    /// Callers of all keys.
    pub(crate) fn callers(&self) -> Vec<Arc<Caller>> {
        let known = self.keys.values();
        known.map(|known| Arc::clone(&known.caller)).collect()
    }

    /// Number of keys, dead ones too.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// One key, ready for the hot path.
#[derive(Debug)]
pub(crate) struct Known {
    /// Hash of the key.
    pub(crate) digest: Digest,
    /// Whether it was revoked.
    pub(crate) revoked: bool,
    /// Its caller; made once, shared by all calls.
    pub(crate) caller: Arc<Caller>,
}

impl Known {
    /// Builds the caller once.
    pub(super) fn new(digest: Digest, key: ApiKey) -> Self {
        let share = |names: Vec<String>| {
            names
                .into_iter()
                .map(Arc::from)
                .collect::<Arc<[Arc<str>]>>()
        };
        let revoked = key.revoked.is_some();
        let caller = Caller::new(Proof {
            key_id: Some(Arc::from(key.id)),
            owner: key.owner.map(Arc::from),
            roles: share(key.roles),
            scopes: share(key.scopes),
            servers: key.servers.map(share),
            expires: key.expires,
            ..Proof::new(Tenant::new(key.tenant), CallerKind::Machine, key.subject)
        });
        Self {
            digest,
            revoked,
            caller: Arc::new(caller),
        }
    }
}
