//! Places at a server, and trials of its circuit breakers, that a held call lets others have: a person may take minutes, and the
//! server is not called meanwhile.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use keepgate_call::{Code, HalfOpen, Principal, Refusal, ServerName, Tenant};

use crate::{
    hash::HashMap,
    layers::{
        breaker::{circuit_open, session_suspended},
        limit::purse,
        session::Bound,
    },
    limit::{Budgets, Keys, LentPlace, SessionPurse},
    settings::Settings,
};

/// Time after which a call that found no place should be made again.
const PLACE: Duration = Duration::from_secs(1);

/// The limits under which calls hold places at servers.
#[derive(Debug)]
pub(super) struct ServerPlaces {
    budgets: Arc<Budgets>,
    of_server: HashMap<ServerName, NonZeroUsize>,
    of_caller: Option<NonZeroUsize>,
    has_breaker: bool,
    has_denial_breaker: bool,
}

/// The places of one call while it is held.
#[derive(Debug)]
pub(super) struct LentPlaces<'a> {
    budgets: &'a Budgets,
    tries: &'a HalfOpen,
    circuit: Option<Keys>,
    session: Option<SessionPurse>,
    server: Option<(LentPlace<(Tenant, ServerName)>, NonZeroUsize)>,
    caller: Option<(LentPlace<(Principal, ServerName)>, NonZeroUsize)>,
}

impl ServerPlaces {
    pub(super) fn new(settings: &Settings, budgets: &Arc<Budgets>) -> Self {
        let servers = settings.servers.iter();
        let limited = servers.filter_map(|(name, server)| {
            let most = server.limits.concurrency?;
            Some((name.clone(), most))
        });
        Self {
            budgets: Arc::clone(budgets),
            of_server: limited.collect(),
            of_caller: settings.limits.concurrency.caller_per_server,
            has_breaker: settings.limits.breaker.is_some(),
            has_denial_breaker: settings.limits.denial_breaker.is_some(),
        }
    }

    /// Lets others have the places that a call holds (see `layers/limit.rs`), and try what its circuit breakers have it try (see
    /// `layers/breaker.rs`).
    pub(super) fn lend<'a>(&'a self, bound: &'a Bound) -> LentPlaces<'a> {
        let call = &bound.call;
        let tries = &call.wait.half_open;
        let keys = || Keys::new(call.caller.principal(), &call.caller.tenant, &call.server);
        let circuit = self.has_breaker.then(keys);
        if let Some(keys) = &circuit {
            self.budgets.servers.lend(keys, tries);
        }
        let session = self.has_denial_breaker.then(|| purse(bound));
        if let Some(purse) = &session {
            self.budgets.sessions.lend(purse, &tries.session);
        }
        let server = self.of_server.get(&call.server).map(|most| {
            let key = (call.caller.tenant.clone(), call.server.clone());
            (self.budgets.running_server.lend(key), *most)
        });
        let caller = self.of_caller.map(|most| {
            let key = (call.caller.principal().clone(), call.server.clone());
            (self.budgets.running_caller_server.lend(key), most)
        });
        LentPlaces {
            budgets: &self.budgets,
            tries,
            circuit,
            session,
            server,
            caller,
        }
    }
}

impl LentPlaces<'_> {
    /// Takes them back, as any call takes them.
    ///
    /// # Errors
    /// The refusal that any call would get now.
    pub(super) fn take_back(self) -> Result<(), Refusal> {
        if let Some(purse) = &self.session {
            let sessions = &self.budgets.sessions;
            let taken = sessions.take_back(purse, &self.tries.session);
            taken.map_err(session_suspended)?;
        }
        if let Some(keys) = &self.circuit {
            let taken = self.budgets.servers.take_back(keys, self.tries);
            taken.map_err(circuit_open)?;
        }
        let full = |name| Refusal::new(Code::ConcurrencyLimited).limit(name, PLACE);
        if let Some((lent, most)) = self.caller
            && !lent.take_back(most)
        {
            return Err(full("limits.concurrency.caller_per_server"));
        }
        if let Some((lent, most)) = self.server
            && !lent.take_back(most)
        {
            return Err(full("servers.<name>.limits.concurrency"));
        }
        Ok(())
    }
}
