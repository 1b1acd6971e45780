//! What may be spent: rates, calls that run at once, and breakers. Outlives a reload: building the stack anew gives nobody
//! a fresh budget.
//!
//! Every table here is bounded, and forgetting a key never grants more than remembering it: what is forgotten stood as
//! if it had never been used, and where nothing can be forgotten the newcomer is refused.

mod breaker;
mod circuit;
mod decided;
mod rate;
mod running;
mod store;

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use keepgate_call::{Principal, ServerName, SessionKey, Tenant};

pub use self::{
    breaker::{Breaker, Breakers, Opinion, Trial},
    circuit::{Admitted, Circuits, Keys, LastCallers, Suspect},
    decided::{Decided, Share, TooMany},
    rate::{Limiter, Rate},
    running::{LentPlace, Place, Running},
};

/// The most keys one rate remembers. A key takes some hundred bytes, so a full table stays below 16 MiB.
const KEYS_MOST: usize = 65_536;

/// A session's purse: the caller's session key, subdivided by the gateway's own session where the revision has one.
pub type SessionPurse = (SessionKey, Option<Arc<str>>);

/// Everything that callers share out among themselves.
#[derive(Debug, Default)]
pub struct Budgets {
    session: Kept<(), SessionPurse>,
    caller: Kept<(), Principal>,
    opening: Kept<(), Principal>,
    session_notices: Kept<(), SessionPurse>,
    caller_notices: Kept<(), Principal>,
    tool: Kept<(ServerName, Arc<str>), Principal>,
    server: Kept<ServerName, Tenant>,
    /// Calls that run, by session.
    pub running_session: Arc<Running<SessionPurse>>,
    /// Calls that run, by caller.
    pub running_caller: Arc<Running<Principal>>,
    /// Calls that run, by caller and server.
    pub running_caller_server: Arc<Running<(Principal, ServerName)>>,
    /// Notifications and responses on their way, by session.
    pub notices_session: Arc<Running<SessionPurse>>,
    /// Notifications and responses on their way, by caller.
    pub notices_caller: Arc<Running<Principal>>,
    /// Calls that run, by server.
    pub running_server: Arc<Running<(Tenant, ServerName)>>,
    /// What is spent of the rates that decisions name.
    pub decided: Decided,
    /// The circuit breakers of servers.
    pub servers: Circuits,
    /// Sessions that are refused again and again.
    pub sessions: Breakers<SessionPurse>,
}

impl Budgets {
    /// The calls of each session.
    pub fn session(&self, rate: Rate) -> Arc<Limiter<SessionPurse>> {
        self.session.limiter((), rate)
    }

    /// The calls of each caller, whatever sessions it opens.
    pub fn caller(&self, rate: Rate) -> Arc<Limiter<Principal>> {
        self.caller.limiter((), rate)
    }

    /// The sessions each caller opens.
    pub fn opening(&self, rate: Rate) -> Arc<Limiter<Principal>> {
        self.opening.limiter((), rate)
    }

    /// The notifications and responses of each session.
    pub fn session_notices(&self, rate: Rate) -> Arc<Limiter<SessionPurse>> {
        self.session_notices.limiter((), rate)
    }

    /// The notifications and responses of each caller, in all its sessions.
    pub fn caller_notices(&self, rate: Rate) -> Arc<Limiter<Principal>> {
        self.caller_notices.limiter((), rate)
    }

    /// The calls each caller makes of one tool.
    pub fn tool(&self, server: &ServerName, tool: &str, rate: Rate) -> Arc<Limiter<Principal>> {
        self.tool.limiter((server.clone(), Arc::from(tool)), rate)
    }

    /// The calls of all callers of a tenant to one server.
    pub fn server(&self, server: &ServerName, rate: Rate) -> Arc<Limiter<Tenant>> {
        self.server.limiter(server.clone(), rate)
    }
}

/// The limiters of one kind that some stack still uses. A reload that leaves a rate as it was finds the same limiter,
/// with everything that is spent.
#[derive(Debug)]
struct Kept<N, K: Eq + Hash + Clone>(Mutex<Known<N, K>>);

type Known<N, K> = HashMap<(N, Rate), Weak<Limiter<K>>>;

impl<N, K: Eq + Hash + Clone> Default for Kept<N, K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<N: Eq + Hash, K: Eq + Hash + Clone> Kept<N, K> {
    fn limiter(&self, name: N, rate: Rate) -> Arc<Limiter<K>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, limiter| limiter.strong_count() > 0);
        let key = (name, rate);
        if let Some(limiter) = kept.get(&key).and_then(Weak::upgrade) {
            return limiter;
        }
        let limiter = Arc::new(Limiter::new(rate, KEYS_MOST));
        kept.insert(key, Arc::downgrade(&limiter));
        limiter
    }
}
