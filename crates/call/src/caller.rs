//! Who is calling.

use std::{sync::Arc, time::SystemTime};

use crate::{ServerName, Tenant};

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallerKind {
    /// Nobody proved anything; only a loopback listener accepts this. Policy still judges each call.
    Anonymous,
    /// A machine with an API key.
    Machine,
}

impl CallerKind {
    /// The word used in policy input, audit records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Machine => "machine",
        }
    }
}

/// A verified caller. Made by `authn` only from what a credential proved, never from what a client says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The tenant the credential belongs to.
    pub tenant: Tenant,
    /// The stable name of the caller within the tenant.
    pub subject: Arc<str>,
    /// How the caller proved it.
    pub kind: CallerKind,
    /// The public id of the API key, for records; never the key.
    pub key_id: Option<Arc<str>>,
    /// Roles, sorted.
    pub roles: Arc<[Arc<str>]>,
    /// Scopes, sorted.
    pub scopes: Arc<[Arc<str>]>,
    /// The servers the credential may reach at all; `None` leaves that to policy alone.
    pub servers: Option<Arc<[Arc<str>]>>,
    /// When the credential ends; a stream opened with it ends then too.
    pub expires: Option<SystemTime>,
}

impl Caller {
    /// The caller that proved nothing.
    pub fn anonymous() -> Self {
        Self {
            tenant: Tenant::default(),
            subject: Arc::from("anonymous"),
            kind: CallerKind::Anonymous,
            key_id: None,
            roles: Arc::from([]),
            scopes: Arc::from([]),
            servers: None,
            expires: None,
        }
    }

    /// Whether the credential may be used for `server` at all.
    pub fn reaches(&self, server: &ServerName) -> bool {
        match &self.servers {
            None => true,
            Some(servers) => servers.iter().any(|name| &**name == server.as_str()),
        }
    }

    /// Whether `other` is the same principal: what a session is bound to. A renewed credential of the same subject
    /// stays the same principal.
    pub fn is_same_principal(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.kind == other.kind && self.subject == other.subject
    }
}
