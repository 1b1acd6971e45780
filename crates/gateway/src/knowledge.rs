//! What policy is told of callers and servers: converted once, shared by all calls.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, RwLock},
    time::UNIX_EPOCH,
};

use keepgate_call::{Call, Caller, Code, Refusal, ServerName};
use keepgate_policy::{
    CallerFacts, CallerFields, ClientFacts, ClientFields, RequestFacts, ServerFacts, ServerFields,
    TraceIds,
};

use crate::beside::Beside;
use crate::hash::HashMap;
use crate::settings::{Instructions, Server, Settings, Upstream};
use crate::shared::Shared;
use crate::wall_clock::WallClock;

/// The callers remembered; beyond it the memory begins anew, which costs a conversion each and nothing else.
const CALLERS_MOST: usize = 10_000;

/// Facts that outlive a call.
#[derive(Debug)]
pub struct Knowledge {
    servers: HashMap<ServerName, (ServerFacts, &'static str)>,
    /// The servers whose instructions do not reach clients.
    unheard: HashSet<ServerName>,
    callers: RwLock<HashMap<usize, (Arc<Caller>, Told)>>,
    /// What else is asked with these facts, without effect.
    pub beside: Arc<Beside>,
    clock: Arc<WallClock>,
}

/// What policy is told of a caller.
#[derive(Debug, Clone)]
pub struct Told {
    /// Who it is.
    pub caller: CallerFacts,
    /// The client its token was issued to; the client's own word for itself is not known here.
    pub client: Option<ClientFacts>,
}

impl Knowledge {
    /// Converts the servers of the settings.
    pub fn new(settings: &Settings, shared: &Shared) -> Self {
        let facts =
            |(name, server): (&ServerName, &Server)| (name.clone(), server_facts(name, server));
        Self {
            servers: settings.servers.iter().map(facts).collect(),
            unheard: settings
                .servers
                .iter()
                .filter(|(_, server)| server.instructions == Instructions::Drop)
                .map(|(name, _)| name.clone())
                .collect(),
            callers: RwLock::default(),
            beside: Arc::clone(&shared.beside),
            clock: Arc::clone(&shared.clock),
        }
    }

    /// Whether the instructions of a server stay here.
    pub fn drops_instructions(&self, server: &ServerName) -> bool {
        self.unheard.contains(server)
    }

    /// The server, and how it is reached (`http`, `sse` or `stdio`).
    ///
    /// # Errors
    /// `path_unknown` for a server that is not configured.
    pub fn server(&self, name: &ServerName) -> Result<&(ServerFacts, &'static str), Refusal> {
        self.servers
            .get(name)
            .ok_or_else(|| Refusal::new(Code::PathUnknown))
    }

    /// The caller. Authentication hands out one shared value per credential, so the address is a sound key as long as
    /// the value is held, which the entry does.
    ///
    /// # Errors
    /// `internal` when the caller cannot be shown to policy.
    pub fn caller(&self, caller: &Arc<Caller>) -> Result<Told, Refusal> {
        let key = Arc::as_ptr(caller).addr();
        if let Some((_, facts)) = self
            .callers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Ok(facts.clone());
        }
        let client = caller.client.as_deref().map(|id| {
            ClientFacts::new(&ClientFields {
                id: Some(id),
                ..ClientFields::default()
            })
        });
        let facts = Told {
            caller: caller_facts(caller)?,
            client,
        };
        let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS_MOST {
            callers.clear();
        }
        callers.insert(key, (Arc::clone(caller), facts.clone()));
        Ok(facts)
    }

    /// Facts of the request that carried a call. Rules that compare with its time see none that goes back.
    pub fn request(&self, call: &Call, size: usize) -> RequestFacts {
        let received = self.clock.at_least(call.received);
        let since = received.duration_since(UNIX_EPOCH).unwrap_or_default();
        RequestFacts {
            unix_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            ip: call.peer.map(|peer| peer.ip()),
            size: size as u64,
            trace: call.trace.spans.as_ref().map(|spans| TraceIds {
                trace: spans.server.trace_id().to_bytes(),
                span: spans.server.span_id().to_bytes(),
            }),
        }
    }
}

fn server_facts(name: &ServerName, server: &Server) -> (ServerFacts, &'static str) {
    let labels: Vec<(&str, &str)> = server
        .labels
        .iter()
        .map(|label| label.split_once('=').unwrap_or((label, "true")))
        .collect();
    let facts = ServerFacts::new(&ServerFields {
        name: name.as_str(),
        owner: server.owner.as_deref().unwrap_or_default(),
        environment: server.environment.as_deref().unwrap_or_default(),
        trust: server.trust.as_str(),
        labels: &labels,
        definition: server.definition.as_deref(),
    });
    let transport = match &server.upstream {
        Upstream::Http { transport, .. } => transport.as_str(),
        Upstream::Child { .. } => "stdio",
    };
    (facts, transport)
}

fn caller_facts(caller: &Caller) -> Result<CallerFacts, Refusal> {
    let roles: Vec<&str> = caller.roles.iter().map(|role| &**role).collect();
    let scopes: Vec<&str> = caller.scopes.iter().map(|scope| &**scope).collect();
    let groups: Vec<&str> = caller.groups.iter().map(|group| &**group).collect();
    let fields = CallerFields {
        subject: &caller.subject,
        issuer: caller.issuer.as_deref().unwrap_or_default(),
        kind: caller.kind.as_str(),
        roles: &roles,
        groups: &groups,
        scopes: &scopes,
        claims: caller.claims.as_deref(),
        ..CallerFields::default()
    };
    CallerFacts::new(&fields).map_err(|error| Refusal::new(Code::Internal).source(error))
}
