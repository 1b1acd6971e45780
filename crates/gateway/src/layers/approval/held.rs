//! Places at a server that a held call lets others have: a person may take minutes, and the server is not called meanwhile.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use keepgate_call::{Call, Code, Principal, Refusal, ServerName, Tenant};

use crate::{
    hash::HashMap,
    limit::{Budgets, LentPlace},
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
}

/// The places of one call while it is held.
#[derive(Debug)]
pub(super) struct LentPlaces {
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
        }
    }

    /// Lets others have the places that a call holds (see `layers/limit.rs`).
    pub(super) fn lend(&self, call: &Call) -> LentPlaces {
        let server = self.of_server.get(&call.server).map(|most| {
            let key = (call.caller.tenant.clone(), call.server.clone());
            (self.budgets.running_server.lend(key), *most)
        });
        let caller = self.of_caller.map(|most| {
            let key = (call.caller.principal().clone(), call.server.clone());
            (self.budgets.running_caller_server.lend(key), most)
        });
        LentPlaces { server, caller }
    }
}

impl LentPlaces {
    /// Takes them back, as any call takes them.
    pub(super) fn take_back(self) -> Result<(), Refusal> {
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
