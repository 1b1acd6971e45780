//! Who is calling.

use std::{ops::Deref, sync::Arc, time::SystemTime};

use crate::{Principal, ServerName, SessionKey, Tenant};

/// What kind of caller a credential stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Nobody proved anything; only a loopback listener accepts this. Policy still judges each call.
    Anonymous,
    /// A program of its own: the holder of an API key, or of an access token that stands for its OAuth client alone
    /// (the client credentials grant).
    Machine,
    /// A person, for whom the holder of an access token acts.
    User,
}

impl CallerKind {
    /// The word used in policy input, audit records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Machine => "machine",
            Self::User => "user",
        }
    }
}

/// What a credential proved. [`Caller::new`] makes a caller of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The tenant the credential belongs to.
    pub tenant: Tenant,
    /// The stable name of the caller: within the tenant, and within the issuer when there is one.
    pub subject: Arc<str>,
    /// What kind of caller it is.
    pub kind: CallerKind,
    /// Who vouches for the subject: the `iss` of an access token. `None` for what this gateway itself knows.
    pub issuer: Option<Arc<str>>,
    /// The OAuth client the access token was issued to (`client_id`, else `azp`).
    pub client: Option<Arc<str>>,
    /// The sign-in or grant behind the access token (`sid`, else `grant_id`).
    pub grant: Option<Arc<str>>,
    /// The public id of the API key, for records; never the key.
    pub key_id: Option<Arc<str>>,
    /// The person the API key belongs to, who may not approve its calls.
    pub owner: Option<Arc<str>>,
    /// Roles, sorted.
    pub roles: Arc<[Arc<str>]>,
    /// Groups, sorted.
    pub groups: Arc<[Arc<str>]>,
    /// Scopes, sorted.
    pub scopes: Arc<[Arc<str>]>,
    /// The verified claims of an access token: the text of a JSON object without duplicate keys.
    pub claims: Option<Arc<str>>,
    /// The servers the credential may reach at all; `None` leaves that to policy alone.
    pub servers: Option<Arc<[Arc<str>]>>,
    /// When the credential ends; a stream opened with it ends then too.
    pub expires: Option<SystemTime>,
}

impl Proof {
    /// A proof of no more than who it is; the other fields are for the maker to fill.
    pub fn new(tenant: Tenant, kind: CallerKind, subject: impl Into<Arc<str>>) -> Self {
        Self {
            tenant,
            subject: subject.into(),
            kind,
            issuer: None,
            client: None,
            grant: None,
            key_id: None,
            owner: None,
            roles: Arc::from([]),
            groups: Arc::from([]),
            scopes: Arc::from([]),
            claims: None,
            servers: None,
            expires: None,
        }
    }
}

/// A verified caller. Made by `authn` only from what a credential proved, never from what a client says of itself.
///
/// It reads as its [`Proof`] and cannot be changed: the keys under which state is held are made of it once, when it is
/// made, and one caller is shared by all calls with the same credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    proof: Proof,
    session_key: SessionKey,
}

impl Deref for Caller {
    type Target = Proof;

    fn deref(&self) -> &Proof {
        &self.proof
    }
}

impl Caller {
    /// The caller a credential proved.
    pub fn new(proof: Proof) -> Self {
        let session_key = SessionKey::new(&proof);
        Self { proof, session_key }
    }

    /// The caller that proved nothing.
    pub fn anonymous() -> Self {
        Self::new(Proof::new(
            Tenant::default(),
            CallerKind::Anonymous,
            "anonymous",
        ))
    }

    /// Whether the credential may be used for `server` at all.
    pub fn reaches(&self, server: &ServerName) -> bool {
        match &self.servers {
            None => true,
            Some(servers) => servers.iter().any(|name| &**name == server.as_str()),
        }
    }

    /// Who it is, whichever credential or client it comes with: what a caller's ceilings are counted by.
    pub fn principal(&self) -> &Principal {
        self.session_key.principal()
    }

    /// Under which key a session of this caller is held: who it is, by which client and sign-in.
    pub fn session_key(&self) -> &SessionKey {
        &self.session_key
    }
}
