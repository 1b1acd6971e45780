//! Breaker: a server that fails again and again rests, and so does a session that is refused again and again.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, SystemTime},
};

use keepgate_call::{Ask, Call, Code, Fault, Origin, Refusal, Reply, ServerName};
use keepgate_mcp::{message::Message, method::Method};
use keepgate_policy::{Phase, is_judged};
use tokio_util::task::TaskTracker;

use super::{limit::purse, session::Bound};
use crate::{
    around::Around,
    edge::room::Load,
    hash::HashMap,
    limit::{self, Admitted, Budgets, Keys, LastCallers, Opinion, Suspect},
    settings::Settings,
    shared::Shared,
    upstream::Upstreams,
    wall_clock::WallClock,
};

/// Pause between two probes of a server that a caller cannot reach.
const PROBES: Duration = Duration::from_secs(5);

/// Lets calls pass while what they use works.
#[derive(Debug)]
pub struct Breaker {
    budgets: Arc<Budgets>,
    server: Option<limit::Breaker>,
    session: Option<limit::Breaker>,
    /// The callers each server had last. Rebuilt on a reload: then nobody is known for a moment.
    last: HashMap<ServerName, LastCallers>,
    hasher: RandomState,
    upstreams: Upstreams,
    load: Arc<Load>,
    clock: Arc<WallClock>,
    tasks: TaskTracker,
}

impl Breaker {
    /// The breakers of the settings over what is known of failures; `upstreams` are probed.
    pub fn new(settings: &Settings, shared: &Shared, upstreams: &Upstreams) -> Self {
        let servers = settings.servers.keys();
        Self {
            budgets: Arc::clone(&shared.budgets),
            server: settings.limits.breaker,
            session: settings.limits.denial_breaker,
            last: servers
                .map(|name| (name.clone(), LastCallers::default()))
                .collect(),
            hasher: RandomState::new(),
            upstreams: upstreams.clone(),
            load: Arc::clone(&shared.load),
            clock: Arc::clone(&shared.clock),
            tasks: shared.tasks.clone(),
        }
    }

    /// Reports the outcome of a call that was admitted to its server.
    fn report(
        &self,
        call: &Call,
        admitted: Admitted<'_>,
        settings: limit::Breaker,
        opinion: Opinion,
    ) {
        let last = self.last.get(&call.server);
        let who = self.hasher.hash_one(call.caller.principal()).max(1);
        let received = self.clock.at_least(call.received);
        let now = received.duration_since(SystemTime::UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        let suspect = admitted.report(opinion, || {
            last.is_none_or(|last| last.is_alone(who, now_s))
        });
        match (opinion, last) {
            (Opinion::Good | Opinion::Bad, Some(last)) => last.note(who, now_s),
            (Opinion::None, _) | (Opinion::Good | Opinion::Bad, None) => {}
        }
        if let Some(suspect) = suspect {
            self.probe(suspect, settings);
        }
    }

    /// Connects to a server again and again while a caller's breaker is open, so that one that is really gone is so for
    /// all. One task for each server at most.
    fn probe(&self, suspect: Suspect, settings: limit::Breaker) {
        let (budgets, upstreams) = (Arc::clone(&self.budgets), self.upstreams.clone());
        let draining = self.load.drained();
        let probing = async move {
            loop {
                if upstreams.is_reachable(suspect.server()).await == Some(false) {
                    budgets.servers.unreachable(&suspect, settings);
                }
                tokio::time::sleep(PROBES.min(settings.open_for)).await;
                if !budgets.servers.is_suspected(&suspect) {
                    return;
                }
            }
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = probing => {}
                () = draining => {}
            }
        });
    }
}

pub(super) fn session_suspended(wait: Duration) -> Refusal {
    Refusal::new(Code::SessionSuspended).limit("limits.denial_breaker", wait)
}

pub(super) fn circuit_open(wait: Duration) -> Refusal {
    Refusal::new(Code::UpstreamCircuitOpen).limit("limits.breaker", wait)
}

impl Around<Bound> for Breaker {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        // The end of a session, and what nobody waits for, must always be able to pass.
        let Some(judged) = asks(&bound.call) else {
            return next(bound).await;
        };
        let purse = purse(&bound);
        let call = Arc::clone(&bound.call);
        let tries = &call.wait.half_open;
        let sessions = &self.budgets.sessions;
        let session = match self.session {
            Some(settings) => {
                let admitted = sessions.admit(&purse, settings, &tries.session);
                Some(admitted.map_err(session_suspended)?)
            }
            None => None,
        };
        let keys = Keys::new(call.caller.principal(), &call.caller.tenant, &call.server);
        let circuits = &self.budgets.servers;
        let admitted = match self.server {
            // A stream that only listens may stay silent, or be refused, without anything being wrong.
            Some(_) if listens(&call) => {
                circuits.check(&keys).map_err(circuit_open)?;
                None
            }
            Some(settings) => {
                let admitted = circuits
                    .admit(&keys, settings, tries)
                    .map_err(circuit_open)?;
                Some((admitted, settings))
            }
            None => None,
        };
        let reply = next(bound).await;
        if let Some(trial) = session {
            let outcome = reply.as_ref().map(|_| ()).map_err(|refusal| refusal.code);
            trial.opine(of_session(outcome, judged));
        }
        if let Some((admitted, settings)) = admitted {
            self.report(&call, admitted, settings, of_server(&reply));
        }
        reply
    }
}

fn listens(call: &Call) -> bool {
    match &call.ask {
        Ask::Listen => true,
        Ask::Message(Message::Request(request)) => *request.method() == Method::SubscriptionsListen,
        Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::End => false,
    }
}

/// Whether a call is one that asks for something, and then whether policy judges it.
fn asks(call: &Call) -> Option<bool> {
    match (&call.ask, call.origin) {
        (Ask::Message(Message::Request(request)), Origin::Client) => {
            Some(is_judged(Phase::Call, request.method().as_str()))
        }
        (Ask::Listen, Origin::Client) => Some(false),
        (Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::End, _)
        | (Ask::Message(Message::Request(_)) | Ask::Listen, Origin::Gateway) => None,
    }
}

/// A ping between two denials does not break the row.
fn of_session(outcome: Result<(), Code>, judged: bool) -> Opinion {
    match outcome {
        Ok(()) if judged => Opinion::Good,
        Ok(()) => Opinion::None,
        Err(
            Code::PolicyDenied | Code::NotFound | Code::ApprovalRequired | Code::ApprovalDenied,
        ) => Opinion::Bad,
        Err(_) => Opinion::None,
    }
}

/// A server fails when it is not there or does not answer. What it answers is no failure, however wrong: a caller must
/// not be able to shut a server off for others by asking it for something it answers badly.
fn of_server(reply: &Result<Reply, Refusal>) -> Opinion {
    let by_policy = |refusal: &Refusal| refusal.policy.is_some();
    match reply
        .as_ref()
        .map_err(|refusal| (refusal.code, by_policy(refusal)))
    {
        Ok(_) => Opinion::Good,
        // The time was policy's: the server may need longer, and not be late.
        Err((Code::UpstreamTimeout, true)) => Opinion::None,
        Err((Code::UpstreamUnreachable | Code::UpstreamTimeout, _)) => Opinion::Bad,
        Err((code, _)) if code.fault() == Fault::Upstream => Opinion::Good,
        Err(_) => Opinion::None,
    }
}
