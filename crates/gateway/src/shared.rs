//! What outlives a reload: the log, the policy, the sessions, the meters.

use std::sync::Arc;

use keepgate_approval::Approvals;
use keepgate_audit::Log;
use keepgate_authn::Authenticator;
use keepgate_credential::{Credentials, Live};
use keepgate_policy::Policy;
use keepgate_store::{kill::Switch, sessions::SessionStore};
use keepgate_telemetry::trace::Tracer;
use keepgate_transport::memory::Budget;
use tokio_util::task::TaskTracker;

use crate::{
    active::ActiveServers,
    admission::Admission,
    beside::Beside,
    changes::Changes,
    clock::Ids,
    edge::{endpoint::CurrentEndpoint, room::Load},
    history::Histories,
    inspection::Inspection,
    layers::audit::{Doorkeeper, Refusals},
    layers::catalog::Catalogs,
    limit::Budgets,
    metrics::Meters,
    processes::Processes,
    session::{EventKey, Sessions},
    wall_clock::WallClock,
};

/// What messages that are held whole may take, unless the settings say otherwise. In bytes.
const MEMORY: usize = 256 * 1024 * 1024;

/// What every stack is built over.
#[derive(Debug)]
pub struct Shared {
    /// The audit log.
    pub log: Log,
    /// The policy; it swaps its own content when it is reloaded.
    pub policy: Arc<Policy>,
    /// Callers that are admitted.
    pub authn: Arc<Admission>,
    /// Changes of what clients see in lists.
    pub changes: Arc<Changes>,
    /// The sessions.
    pub sessions: Arc<Sessions>,
    /// What servers have shown callers without sessions.
    pub catalogs: Arc<Catalogs>,
    /// The refusals that share records.
    pub refusals: Arc<Refusals>,
    /// Who notes refusals at the edge.
    pub door: Arc<Doorkeeper>,
    /// What is spent of the limits.
    pub budgets: Arc<Budgets>,
    /// The processes of servers.
    pub processes: Arc<Processes>,
    /// What sessions did before.
    pub history: Arc<Histories>,
    /// What peers may have the gateway hold: messages, catalogs, sessions, histories. In bytes.
    pub memory: Budget,
    /// The meters.
    pub meters: Arc<Meters>,
    /// What is tried beside the policy.
    pub beside: Arc<Beside>,
    /// Where traces begin and end.
    pub tracer: Arc<Tracer>,
    /// The servers of the stack in use.
    pub active: Arc<ActiveServers>,
    /// The endpoint of the stack in use.
    pub endpoint: Arc<CurrentEndpoint>,
    /// How many requests run.
    pub load: Arc<Load>,
    /// Where decision ids come from.
    pub ids: Arc<Ids>,
    /// The time, which does not go back.
    pub clock: Arc<WallClock>,
    /// What is cut off, and the calls that run.
    pub kill: Arc<Switch>,
    /// Calls that wait for people, and what they have decided; none where nobody can be asked.
    pub approvals: Option<Approvals>,
    /// What servers are sent so that they let the gateway in.
    pub credentials: Arc<Credentials>,
    /// The places where large messages are inspected.
    pub inspection: Arc<Inspection>,
    /// Work that outlives the request that began it; the end of the process waits for it.
    pub tasks: TaskTracker,
}

impl Shared {
    /// With another bound for what peers may have the gateway hold. For before it serves.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memory = Budget::new(bytes);
        // Before anybody was served: what they hold is empty.
        let (key, store) = (self.sessions.key().clone(), self.sessions.store().cloned());
        self.sessions = Arc::new(Sessions::new(&self.meters, &self.memory, key, store));
        self.catalogs = Arc::new(Catalogs::new(&self.memory));
        self.history = Arc::new(Histories::new(&self.memory));
        self
    }

    /// With secrets that others have in use as well.
    #[must_use]
    pub fn with_secrets(mut self, live: &Arc<Live>) -> Self {
        self.credentials = Arc::new(Credentials::sharing(&self.tasks, live));
        self
    }

    /// With the key that event ids and rows of sessions are sealed with, instead of one that ends with the process, and the
    /// store of these rows.
    #[must_use]
    pub fn with_session_store(mut self, key: EventKey, store: SessionStore) -> Self {
        let (meters, memory) = (&self.meters, &self.memory);
        self.sessions = Arc::new(Sessions::new(meters, memory, key, Some(store)));
        self
    }

    /// With the approvals of this gateway. For before it serves.
    #[must_use]
    pub fn with_approvals(mut self, approvals: Approvals) -> Self {
        self.approvals = Some(approvals);
        self
    }

    /// With a clock that goes on from an earlier process.
    #[must_use]
    pub fn with_clock(mut self, clock: WallClock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Puts together what was opened.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(
        log: Log,
        policy: Arc<Policy>,
        authn: Arc<Authenticator>,
    ) -> Result<Self, getrandom::Error> {
        let meters: Arc<Meters> = Arc::default();
        let tasks = TaskTracker::new();
        let memory = Budget::new(MEMORY);
        let ids = Arc::new(Ids::new()?);
        let refusals = Arc::new(Refusals::new(&log));
        Ok(Self {
            door: Arc::new(Doorkeeper::new(&refusals, &ids, &meters)),
            refusals,
            log,
            policy,
            authn: Arc::new(Admission::new(authn)),
            changes: Arc::default(),
            sessions: Arc::new(Sessions::new(&meters, &memory, EventKey::random()?, None)),
            budgets: Arc::default(),
            processes: Arc::default(),
            history: Arc::new(Histories::new(&memory)),
            beside: Arc::new(Beside::new(&meters)),
            meters,
            catalogs: Arc::new(Catalogs::new(&memory)),
            memory,
            tracer: Arc::default(),
            active: Arc::default(),
            endpoint: Arc::default(),
            load: Arc::default(),
            ids,
            clock: Arc::default(),
            kill: Switch::new(),
            approvals: None,
            credentials: Arc::new(Credentials::new(&tasks)),
            inspection: Arc::new(Inspection::new(&tasks)),
            tasks,
        })
    }
}
