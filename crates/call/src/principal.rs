//! The keys under which the state of a caller is held. Both are cheap to clone, to hash and to compare.

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, OnceLock},
};

use crate::{CallerKind, Proof, Tenant};

/// Who a caller is, whichever credential it holds: tenant, kind, issuer and subject.
///
/// A renewed credential of the same subject is the same principal; the same subject of another issuer, tenant or kind is
/// another.
#[derive(Clone)]
pub struct Principal(Arc<Hashed<Who>>);

/// The key of a caller's session: the principal, the client it comes by and its sign-in.
///
/// A session id, whether of this gateway or of a client's choice, only subdivides it. For API keys and the anonymous
/// caller, which know neither client nor sign-in, it says as much as the principal.
#[derive(Clone)]
pub struct SessionKey(Arc<Hashed<Origin>>);

#[derive(PartialEq, Eq, Hash)]
struct Who {
    tenant: Tenant,
    kind: CallerKind,
    issuer: Option<Arc<str>>,
    subject: Arc<str>,
}

#[derive(PartialEq, Eq, Hash)]
struct Origin {
    principal: Principal,
    client: Option<Arc<str>>,
    grant: Option<Arc<str>>,
}

/// A value with its hash, taken once. The hash is keyed afresh in each process: whoever chooses subjects cannot choose
/// which of them collide.
struct Hashed<T> {
    hash: u64,
    value: T,
}

impl<T: Hash> Hashed<T> {
    fn new(value: T) -> Self {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let hash = KEY.get_or_init(RandomState::new).hash_one(&value);
        Self { hash, value }
    }
}

impl Principal {
    /// The tenant.
    pub fn tenant(&self) -> &Tenant {
        &self.0.value.tenant
    }

    /// What kind of caller.
    pub fn kind(&self) -> CallerKind {
        self.0.value.kind
    }

    /// Who vouches for the subject, if anyone but this gateway does.
    pub fn issuer(&self) -> Option<&Arc<str>> {
        self.0.value.issuer.as_ref()
    }

    /// The name within tenant and issuer.
    pub fn subject(&self) -> &Arc<str> {
        &self.0.value.subject
    }

    /// The hash: the same for equal principals as long as the process runs, for choosing a shard.
    pub fn hash_value(&self) -> u64 {
        self.0.hash
    }
}

impl SessionKey {
    pub(crate) fn new(proof: &Proof) -> Self {
        let principal = Principal(Arc::new(Hashed::new(Who {
            tenant: proof.tenant.clone(),
            kind: proof.kind,
            issuer: proof.issuer.clone(),
            subject: Arc::clone(&proof.subject),
        })));
        Self(Arc::new(Hashed::new(Origin {
            principal,
            client: proof.client.clone(),
            grant: proof.grant.clone(),
        })))
    }

    /// Whose session.
    pub fn principal(&self) -> &Principal {
        &self.0.value.principal
    }

    /// By which OAuth client.
    pub fn client(&self) -> Option<&Arc<str>> {
        self.0.value.client.as_ref()
    }

    /// Of which sign-in or grant.
    pub fn grant(&self) -> Option<&Arc<str>> {
        self.0.value.grant.as_ref()
    }

    /// The hash: the same for equal keys as long as the process runs, for choosing a shard.
    pub fn hash_value(&self) -> u64 {
        self.0.hash
    }
}

macro_rules! compared_by_hash {
    ($($key:ident)+) => {$(
        impl PartialEq for $key {
            fn eq(&self, other: &Self) -> bool {
                // Callers are shared, so their keys are mostly the very same value.
                Arc::ptr_eq(&self.0, &other.0)
                    || (self.0.hash == other.0.hash && self.0.value == other.0.value)
            }
        }

        impl Eq for $key {}

        impl Hash for $key {
            fn hash<H: Hasher>(&self, state: &mut H) {
                state.write_u64(self.0.hash);
            }
        }
    )+};
}

compared_by_hash! { Principal SessionKey }

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("tenant", &self.tenant().as_str())
            .field("kind", &self.kind().as_str())
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .finish()
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey")
            .field("principal", self.principal())
            .field("client", &self.client())
            .field("grant", &self.grant())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{Caller, CallerKind, Proof, Tenant};

    fn proof() -> Proof {
        Proof {
            issuer: Some("https://idp.example".into()),
            client: Some("app".into()),
            grant: Some("sid-1".into()),
            ..Proof::new(Tenant::new("acme"), CallerKind::User, "ada")
        }
    }

    #[test]
    fn who_it_is_does_not_depend_on_credential_client_or_sign_in() {
        let caller = Caller::new(proof());
        let renewed = Caller::new(Proof {
            client: Some("other".into()),
            grant: None,
            scopes: ["write".into()].into(),
            expires: Some(std::time::SystemTime::UNIX_EPOCH),
            ..proof()
        });
        assert_eq!(caller.principal(), renewed.principal());
        assert_eq!(
            caller.principal().hash_value(),
            renewed.principal().hash_value()
        );
        assert_ne!(caller.session_key(), renewed.session_key());
        assert_eq!(caller.session_key(), Caller::new(proof()).session_key());
    }

    #[test]
    fn each_part_of_a_key_tells_callers_apart() {
        let others = [
            Proof {
                tenant: Tenant::new("other"),
                ..proof()
            },
            Proof {
                kind: CallerKind::Machine,
                ..proof()
            },
            Proof {
                issuer: Some("https://idp.example/".into()),
                ..proof()
            },
            Proof {
                issuer: None,
                ..proof()
            },
            Proof {
                subject: "bob".into(),
                ..proof()
            },
        ];
        let mut principals = HashSet::new();
        let mut keys = HashSet::new();
        for proof in others.into_iter().chain([proof()]) {
            let caller = Caller::new(proof);
            assert!(principals.insert(caller.principal().clone()), "{caller:?}");
            assert!(keys.insert(caller.session_key().clone()), "{caller:?}");
        }
        for (client, grant) in [
            (None, Some("sid-1")),
            (Some("app"), None),
            (Some("app"), Some("sid-2")),
            (Some("sid-1"), Some("app")),
        ] {
            let caller = Caller::new(Proof {
                client: client.map(Into::into),
                grant: grant.map(Into::into),
                ..proof()
            });
            assert!(!principals.insert(caller.principal().clone()), "{caller:?}");
            assert!(keys.insert(caller.session_key().clone()), "{caller:?}");
        }
    }
}
