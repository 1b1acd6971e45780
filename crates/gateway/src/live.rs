//! The gateway as one service that can be rebuilt while it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_authn::Authenticator;
use keepgate_call::{HttpTransport, Principal, ServerName};
use keepgate_credential::Scope as Ending;
use keepgate_store::{
    kill::{CallEnd, Kill, Remains, Running, Scope},
    sessions::SessionRow,
};
use keepgate_transport::Body;
use tower::Service;

use crate::{
    active::StackServers,
    processes,
    session::{Definition, Restored, Restoring, Session},
    settings::{Limits, Lives, Settings},
    shared::Shared,
    stack::{self, Calls, Edge},
    upstream::{Link, SetUpError, Upstreams},
};

/// How often idle sessions and processes are looked for.
const SWEEP: Duration = Duration::from_secs(10);
/// Interval of looking for calls that have lived too long.
const AGING: Duration = Duration::from_secs(1);
/// Interval at which counts of equal refusals are looked at: a count is written at most so late.
const COUNT: Duration = Duration::from_secs(1);
/// How often it is looked whether calls that were cut have ended, and for how long.
const ENDING: Duration = Duration::from_millis(5);
const ENDINGS: Duration = Duration::from_millis(500);
/// Pause before a partial kill is looked at again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Sweeps between two times that the last uses of sessions are written: about a minute.
const USES: usize = 6;

/// The gateway. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Gateway {
    built: Arc<ArcSwap<Built>>,
    shared: Arc<Shared>,
}

/// One stack, built from one set of settings.
struct Built {
    // An `Edge` is `Sync`, so requests on any worker clone it from here.
    edge: Edge,
    upstreams: Upstreams,
    idle: Duration,
    lives: Lives,
    /// The references of the servers' credentials.
    references: BTreeMap<ServerName, Arc<[Arc<str>]>>,
    limits: Limits,
    definitions: BTreeMap<ServerName, Definition>,
    servers: StackServers,
    // Held for the gateway's own calls, which find it by a weak reference.
    _calls: Arc<Calls>,
}

impl Built {
    fn new(
        settings: &Settings,
        shared: &Arc<Shared>,
        authn: &Arc<Authenticator>,
    ) -> Result<Self, SetUpError> {
        let upstreams = Upstreams::new(settings, shared)?;
        let uses = settings.servers.iter();
        let uses = uses.map(|(name, server)| (name.clone(), server.credentials.clone()));
        shared
            .credentials
            .configure(&settings.credentials, &uses.collect())?;
        let servers = StackServers::new(settings, &shared.active, upstreams.stack());
        let calls = stack::calls(settings, shared, &upstreams, &servers);
        let edge = stack::edge(settings, shared, authn, &servers, Arc::clone(&calls));
        Ok(Self {
            edge,
            upstreams,
            idle: settings.limits.session_idle,
            lives: settings.limits.lives,
            references: settings.references(),
            limits: settings.limits.clone(),
            definitions: Definition::all(settings),
            servers,
            _calls: calls,
        })
    }

    /// The references of credentials in `before` that no server has any more.
    fn gone_since(&self, before: &Self) -> BTreeSet<Arc<str>> {
        let all = |built: &Self| -> BTreeSet<Arc<str>> {
            let references = built.references.values();
            references.flat_map(|all| all.iter().cloned()).collect()
        };
        all(before).difference(&all(self)).cloned().collect()
    }

    /// The references of a server's credentials.
    fn references(&self, server: &ServerName) -> &[Arc<str>] {
        self.references.get(server).map_or(&[], |all| all)
    }
}

impl Gateway {
    /// Builds the stack.
    ///
    /// # Errors
    /// [`SetUpError`] for a server that cannot be set up.
    pub fn new(settings: &Settings, shared: Arc<Shared>) -> Result<Self, SetUpError> {
        let built = Built::new(settings, &shared, &shared.authn.current())?;
        built.servers.activate();
        Ok(Self {
            built: Arc::new(ArcSwap::from_pointee(built)),
            shared,
        })
    }

    /// Resumes the sessions of an earlier process: where caller and server are the same, none of `kills` has cut them off, and
    /// no policy reads what they did before, which is not known any more. For before anybody calls. `kills` are those that are
    /// over, too: one that was set and cleared while no gateway ran has ended its sessions all the same.
    pub fn restore(&self, rows: Vec<SessionRow>, kills: &[Arc<Kill>]) -> Restored {
        let (built, shared) = (self.built.load(), &self.shared);
        let sets = shared.credentials.sets();
        let now = shared.clock.now();
        shared.sessions.restore(
            rows,
            &Restoring {
                limits: &built.limits,
                now,
                definitions: &built.definitions,
                link: &|server, state| built.upstreams.resume(server, state, &sets),
                admits: &|caller| shared.authn.admits(caller),
                is_killed: &|session| {
                    let facts = session.facts(built.references(&session.server));
                    let began = now.checked_sub(session.age());
                    let since = |kill: &Kill| began.is_none_or(|began| kill.set_at >= began);
                    let mut all = kills.iter();
                    shared.kill.find(&facts).is_some()
                        || all.any(|kill| since(kill) && kill.covers(&facts))
                },
                reads_past: shared.policy.reads_history() || shared.policy.reads_flow(),
            },
        )
    }

    /// Builds the stack again and swaps it in; calls that run go on in the old one, sessions stay. A server that is gone, or
    /// is another one under its name, loses its sessions and processes: their rights are those of before. One that is not served
    /// over HTTP+SSE any more loses the sessions of that transport. On an error nothing changes.
    ///
    /// # Errors
    /// [`SetUpError`] for a server that cannot be set up.
    pub fn reload(&self, settings: &Settings) -> Result<(), SetUpError> {
        self.rebuild(settings, None)
    }

    /// As [`Self::reload`], with another authenticator. Whoever it does not admit is cut: calls, streams, sessions and
    /// processes.
    ///
    /// # Errors
    /// [`SetUpError`] for a server that cannot be set up.
    pub fn rebuild(
        &self,
        settings: &Settings,
        authn: Option<&Arc<Authenticator>>,
    ) -> Result<(), SetUpError> {
        let next = authn.map_or_else(|| self.shared.authn.current(), Arc::clone);
        let built = Arc::new(Built::new(settings, &self.shared, &next)?);
        // Before the stack: requests that are in the old one meet it after they have registered.
        if let Some(authn) = authn {
            self.shared.authn.replace(Arc::clone(authn));
        }
        let before = self.built.load();
        let changed = built.servers.changed_since(&before.servers);
        let changed: BTreeSet<ServerName> = changed.cloned().collect();
        let gone = built.gone_since(&before);
        built.servers.activate();
        // Those that wait, for a person perhaps, would go to the server of before with the credential of before. Who registers
        // after this sees the servers that are active now.
        self.shared.kill.expire_calls(Duration::ZERO, |running, _| {
            let mut credentials = running.credentials.iter().flat_map(|all| all.iter());
            let is_other = changed.contains(&running.call.server)
                || credentials.any(|reference| gone.contains(reference));
            (is_other && !running.call.is_dispatched()).then_some(CallEnd::Redefined)
        });
        self.built.store(Arc::clone(&built));
        self.shared.changes.all();
        if authn.is_some() {
            self.end_unadmitted();
        }
        let processes = self
            .shared
            .processes
            .retire(&changed, built.upstreams.stack());
        let listens =
            |name: &ServerName| settings.servers.get(name).is_some_and(|it| it.listen_sse);
        let sessions = self.end_sessions(|session| {
            let is_over = session.transport == HttpTransport::Sse && !listens(&session.server);
            is_over || changed.contains(&session.server)
        });
        if changed.is_empty() && sessions.is_empty() {
            return Ok(());
        }
        tracing::info!(servers = ?changed, sessions = sessions.len(), "the definitions of servers have changed: their sessions and processes end");
        self.shared.tasks.spawn(async move {
            tokio::join!(kill_processes(&sessions), processes.done());
        });
        Ok(())
    }

    /// Ends the calls, streams, sessions and processes of callers that are not admitted any more: their key was revoked or
    /// changed, their issuer is another one or gone.
    pub fn end_unadmitted(&self) {
        let calls = self
            .shared
            .kill
            .expire_calls(Duration::ZERO, |running, _| self.unadmitted(running));
        let gateway = self.clone();
        self.shared.tasks.spawn(async move {
            // Sessions end after their calls, which report why they were cut.
            tokio::time::sleep(ENDING).await;
            let sessions = gateway.end_unadmitted_sessions();
            if calls + sessions.len() > 0 {
                tracing::warn!(
                    calls,
                    sessions = sessions.len(),
                    "callers are not admitted any more: their calls and sessions end"
                );
            }
            kill_processes(&sessions).await;
            let authn = &gateway.shared.authn;
            let admits = |caller: &Principal| authn.admits_principal(caller);
            let upstreams = gateway.built.load().upstreams.clone();
            upstreams.forget_callers(|_, caller| !admits(caller));
            let _left = gateway.shared.processes.end_callers(admits).done().await;
        });
    }

    fn unadmitted(&self, running: &Running) -> Option<CallEnd> {
        let admitted = self.shared.authn.admits(&running.call.caller);
        (!admitted).then_some(CallEnd::Unadmitted)
    }

    fn end_unadmitted_sessions(&self) -> Vec<Arc<Session>> {
        self.end_sessions(|session| !self.shared.authn.admits(&session.caller))
    }

    /// Ends these sessions, at their servers too.
    fn end_sessions(&self, which: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut sessions = self.shared.sessions.all();
        sessions.retain(|session| which(session));
        for session in &sessions {
            let _write = self.shared.sessions.end(session);
            if let Some(link) = session.link.get() {
                link.end();
            }
        }
        sessions
    }

    /// Follows kills of tools, which change what clients see in lists. Runs until it is dropped.
    pub fn announce(&self) -> impl Future<Output = ()> + Send + 'static {
        Arc::clone(&self.shared.changes).follow(Arc::clone(&self.shared.kill))
    }

    /// Does to more than calls what a kill does, for every kill set from now on: ends sessions in its scope, stops
    /// processes. Runs until it is dropped.
    pub fn enforce(&self) -> impl Future<Output = ()> + Send + 'static {
        let gateway = self.clone();
        let mut kills = self.shared.kill.subscribe();
        async move {
            while let Some(kill) = kills.recv().await {
                // Aside: what hangs in the scope of one kill must not hold up the next.
                let gateway = gateway.clone();
                let tasks = gateway.shared.tasks.clone();
                tasks.spawn(async move { gateway.enforced(&kill).await });
            }
        }
    }

    async fn enforced(&self, kill: &Kill) {
        // Sessions end after their calls, which say why they were cut. New calls are refused meanwhile.
        let gone = async {
            while self.shared.kill.blast(kill).running > 0 {
                tokio::time::sleep(ENDING).await;
            }
        };
        let _in_time = tokio::time::timeout(ENDINGS, gone).await.is_ok();
        // What is left is read by nobody, or holds what does not end.
        self.shared.kill.end_unread(kill);
        let built = self.built.load_full();
        let sessions = self.end_sessions(|session| {
            let covered = kill.covers(&session.facts(built.references(&session.server)));
            // Other kills are found by what the call itself says.
            if covered && matches!(kill.scope, Scope::Session(_)) {
                self.shared.sessions.end_killed(session);
            }
            covered
        });
        built.upstreams.forget_callers(|server, caller| {
            kill.covers(&processes::facts(
                server,
                Some(caller),
                built.references(server),
            ))
        });
        let (own, others) = tokio::join!(
            kill_processes(&sessions),
            self.shared.processes.stop(kill).done()
        );
        self.disarm(kill).await;
        self.complete(kill, own + others).await;
    }

    /// Reports what a kill has not reached, until it has reached everything: what could not be ended is tried again.
    async fn complete(&self, kill: &Kill, mut processes: usize) {
        let (mut pause, longest) = RETRY;
        loop {
            self.shared.kill.end_unread(kill);
            let remains = Remains {
                calls: self.shared.kill.lingering(kill),
                processes,
                leases: self.pending(kill),
                unconfirmed: false,
            };
            let is_complete = remains.is_complete();
            self.shared.kill.report(&kill.id, remains);
            // The process' end takes the others along, and logs it.
            if is_complete || self.shared.tasks.is_closed() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            if processes > 0 {
                let ended = tokio::task::spawn_blocking(keepgate_transport::stdio::end_survivors);
                processes = ended.await.unwrap_or(processes);
            }
        }
    }

    /// The references of leases in the scope of `kill` that wait to be revoked.
    fn pending(&self, kill: &Kill) -> Vec<Arc<str>> {
        let mut pending = self.shared.credentials.pending();
        let built = self.built.load();
        match leases(kill) {
            None => pending.clear(),
            Some(Ending::All) => {}
            Some(Ending::Server(server)) => {
                let own = built.references(server);
                pending.retain(|reference| own.contains(reference));
            }
            Some(Ending::Reference(own)) => pending.retain(|reference| **reference == *own),
        }
        pending
    }

    /// Ends the leases `kill` covers. What cannot be revoked at once is tried on.
    async fn disarm(&self, kill: &Kill) {
        let Some(scope) = leases(kill) else { return };
        let ended = self.shared.credentials.end(scope).await;
        if !ended.pending.is_empty() {
            tracing::error!(kill = %kill.id, references = ?ended.pending, "kill is partial: leases are not revoked yet");
        }
    }

    /// What outlives reloads.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends what has rested too long; runs until it is dropped.
    pub async fn sweep(self) {
        let mut ticks = tokio::time::interval(SWEEP);
        let mut counts = tokio::time::interval(COUNT);
        for sweep in (0..USES).cycle() {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = counts.tick() => {
                    self.shared.refusals.sweep();
                    continue;
                }
            }
            let built = self.built.load_full();
            for session in self.shared.sessions.expire(built.idle) {
                if let Some(link) = session.link.get() {
                    link.end();
                }
            }
            built.upstreams.expire(built.idle);
            // Of an `initialize` that was being answered in an earlier stack when its server became another one.
            let others = self.end_sessions(|session| {
                built.definitions.get(&session.server) != Some(&session.definition)
            });
            kill_processes(&others).await;
            // Of an `initialize` that was being answered when its caller was shut out.
            kill_processes(&self.end_unadmitted_sessions()).await;
            self.shared.history.expire();
            if sweep == 0 {
                self.shared.sessions.tend();
            }
            // What it waits for is the kernel's list of processes; nobody waits for it.
            drop(tokio::task::spawn_blocking(keepgate_transport::stdio::reap));
        }
    }

    /// Ends calls and streams that have lived too long; runs until it is dropped. Needs no task of the data: it may run
    /// where none of them can delay it.
    pub async fn end_overdue(self) {
        let mut ticks = tokio::time::interval(AGING);
        let mut before = tokio::time::Instant::now();
        loop {
            let now = ticks.tick().await;
            let elapsed = now.saturating_duration_since(before);
            before = now;
            let over = self.age_calls(elapsed);
            if over > 0 {
                tracing::info!(calls = over, "ended what has lived too long");
            }
        }
    }

    /// Makes all that runs older by `elapsed` and ends what has lived too long; gives how much.
    pub fn age_calls(&self, elapsed: Duration) -> usize {
        let lives = self.built.load().lives;
        self.shared.kill.expire_calls(elapsed, |running, age| {
            let over = lives.reached(&running.call, age);
            over.or_else(|| self.unadmitted(running))
        })
    }

    /// From now on new requests are refused.
    pub fn drain(&self) {
        self.shared.load.drain();
    }

    /// Leaves the sessions that outlive the process to the next one, ends the others, and waits for the work that outlived its
    /// request; at most `patience`.
    pub async fn close(&self, patience: Duration) {
        let sessions = &self.shared.sessions;
        sessions.tend();
        for session in sessions.all() {
            sessions.leave(&session);
        }
        self.end_sessions(|_| true);
        let ended = tokio::time::timeout(patience, self.shared.credentials.close()).await;
        if !ended.is_ok_and(|ended| ended.pending.is_empty()) {
            tracing::error!("not every lease could be revoked: they end by themselves");
        }
        self.shared.tasks.close();
        // What is not done by then is cut with the process; its intent is on record.
        let _in_time = tokio::time::timeout(patience, self.shared.tasks.wait())
            .await
            .is_ok();
        if let Some(store) = self.shared.sessions.store() {
            store.close(patience).await;
        }
        // Whoever closes the log next closes it over every count.
        self.shared.refusals.close();
    }
}

/// Whose leases a kill ends.
fn leases(kill: &Kill) -> Option<Ending<'_>> {
    // One tenant's kill must not take the credential from the others.
    if kill.tenant.is_some() {
        return None;
    }
    match &kill.scope {
        Scope::Everything => Some(Ending::All),
        Scope::Server(server) => Some(Ending::Server(server)),
        Scope::Credential(reference) => Some(Ending::Reference(reference)),
        // Leases belong to servers: others use them still.
        Scope::Tenant(_) | Scope::Tool { .. } | Scope::Caller(_) | Scope::Session(_) => None,
    }
}

/// Kills the processes of sessions that have one of their own. Returns how many could not be ended.
async fn kill_processes(sessions: &[Arc<Session>]) -> usize {
    let links = sessions.iter().filter_map(|session| session.link.get());
    join_all(links.map(Link::kill)).await.into_iter().sum()
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Service<Request<Incoming>> for Gateway {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let mut edge = self.built.load().edge.clone();
        Box::pin(async move { edge.call(request).await })
    }
}
