//! Servers of the active configuration. A request may read its body, or wait, over a reload; what it meets below is the stack it
//! came to, with the addresses and credentials of then.
//!
//! So a call is compared with what is active after it has registered with the kill switch, and a reload ends the registered calls
//! after it has activated its servers. Whichever comes second sees the other (see also `admission.rs`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use keepgate_call::{Code, Refusal, ServerName};
use keepgate_credential::Use;

use crate::settings::{Settings, Upstream};

/// The way to each server, and its credentials.
type Identities = BTreeMap<ServerName, (Upstream, Vec<Use>)>;

/// The servers that are active.
#[derive(Debug, Default)]
pub struct ActiveServers {
    /// Number of the stack they are of.
    stack: AtomicU64,
    servers: ArcSwap<Identities>,
}

/// The servers of one stack.
#[derive(Debug, Clone)]
pub struct StackServers {
    active: Arc<ActiveServers>,
    own: Arc<Identities>,
    stack: u64,
}

impl StackServers {
    /// The servers of `settings`, for the stack of this number.
    pub(crate) fn new(settings: &Settings, active: &Arc<ActiveServers>, stack: u64) -> Self {
        let servers = settings.servers.iter();
        let own = servers.map(|(name, server)| {
            let identity = (server.upstream.clone(), server.credentials.clone());
            (name.clone(), identity)
        });
        Self {
            active: Arc::clone(active),
            own: Arc::new(own.collect()),
            stack,
        }
    }

    /// Makes these the active ones.
    pub(crate) fn activate(&self) {
        self.active.servers.store(Arc::clone(&self.own));
        // Whoever sees the number sees the servers.
        self.active.stack.store(self.stack, Ordering::Release);
    }

    /// The servers of `before` that are gone, or others under their names.
    pub(crate) fn changed_since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = &'a ServerName> {
        let servers = before.own.iter();
        let changed = servers.filter(|(name, identity)| self.own.get(*name) != Some(*identity));
        changed.map(|(name, _)| name)
    }

    /// Whether no stack is newer. The common case; the other is what has come to a stack of before.
    fn is_newest(&self) -> bool {
        self.active.stack.load(Ordering::Acquire) <= self.stack
    }

    /// Refuses what is for a server that is another one now, or gone.
    ///
    /// # Errors
    /// `upstream_unreachable`: a call that is made again goes to the server of now.
    pub(crate) fn check(&self, server: &ServerName) -> Result<(), Refusal> {
        if self.is_newest() || self.active.servers.load().get(server) == self.own.get(server) {
            return Ok(());
        }
        Err(redefined())
    }

    /// Refuses a credential that no server has any more.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn check_credential(&self, wanted: &Use) -> Result<(), Refusal> {
        let active = self.active.servers.load();
        let mut uses = active.values().flat_map(|(_, uses)| uses);
        if self.is_newest() || uses.any(|used| used == wanted) {
            return Ok(());
        }
        Err(redefined())
    }
}

/// The refusal of a call whose server is another one now, or which has a credential that is gone.
pub(crate) fn redefined() -> Refusal {
    Refusal::new(Code::UpstreamUnreachable)
        .detail("the definition of the server has changed, call again")
}
