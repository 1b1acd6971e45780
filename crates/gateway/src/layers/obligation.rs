//! Obligation: what a decision asks for beyond yes is done, or the call is refused.
//!
//! On the way down: limits are counted, the time is bounded, the detail of the record is noted, and which credential to
//! take. On the way back: answers are judged where a policy speaks of them, redacted and cut, withheld if too large, and the
//! session is given its labels. The arguments policy sets were set where they were judged.
//!
//! In a session an answer may come on a stream that resumes the one it was asked for on, and a server may say what it likes on
//! the streams that only listen. So the duty of a call goes with what the session remembers of it (`session/calls.rs`), and
//! every other message of the server meets the rules of all calls so far (`standing.rs`).

mod duty;
mod standing;
mod stream;

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use keepgate_call::{Answer, Call, Code, Detail, Origin, Refusal, Reply, ServerName};
use keepgate_credential::{CredentialSet, Use};
use keepgate_mcp::message::Message;
use keepgate_policy::{
    AuditLevel, Decision, LimitBy, Obligations, Phase, Policy, RateLimit, ToolFacts, is_judged,
};
use keepgate_store::kill::{Running, Switch, Ticket};

use self::stream::Carried;
pub(crate) use self::{duty::Duty, standing::Standing};
use super::{
    approval::{Permitted, Release},
    policy::{Respond, unsupported},
    session::{Binding, Bound},
};
use crate::{
    active::StackServers,
    around::Around,
    hash::HashMap,
    history::Histories,
    inspection::Inspection,
    knowledge::Knowledge,
    limit::{Budgets, Rate, Share},
    oblige::Rules,
    session::{Session, Sessions, TrackedCall},
    settings::{Settings, Upstream},
    shared::Shared,
};

/// Carries out what decisions oblige to.
#[derive(Debug)]
pub struct Carry(Arc<Parts>);

/// What carrying out needs.
#[derive(Debug)]
struct Parts {
    policy: Arc<Policy>,
    respond: Respond,
    budgets: Arc<Budgets>,
    history: Arc<Histories>,
    kill: Arc<Switch>,
    inspection: Arc<Inspection>,
    sessions: Arc<Sessions>,
    /// Every credential there is for servers on the network, by its reference.
    credentials: HashMap<Arc<str>, Choice>,
    /// The servers' own.
    own: Arc<BTreeMap<ServerName, Arc<CredentialSet>>>,
    /// The servers that cannot be given another for one call: a process gets its own when it starts, and what is sent to
    /// others could be read on the way.
    closed: HashSet<ServerName>,
    servers: StackServers,
}

/// A credential that policy may choose.
#[derive(Debug)]
struct Choice {
    /// It alone.
    set: Arc<CredentialSet>,
    /// Its reference, for the kill switch.
    references: Arc<[Arc<str>]>,
    /// Its use at the server it is of.
    wanted: Use,
}

/// A call whose obligations are seen to. Only this file makes one.
#[derive(Debug)]
pub struct Obliged {
    bound: Bound,
    decision: Decision,
    credential: Option<Arc<CredentialSet>>,
    release: Option<Arc<Release>>,
}

impl Obliged {
    /// The call, the decision that permits it, the credentials it is to be armed with instead of its server's own, and the use
    /// of an approval that lets it leave.
    pub fn into_parts(
        self,
    ) -> (
        Bound,
        Decision,
        Option<Arc<CredentialSet>>,
        Option<Arc<Release>>,
    ) {
        (self.bound, self.decision, self.credential, self.release)
    }
}

impl Carry {
    /// An around over the parts of `shared`; the servers and their credentials are those of `settings`.
    pub fn new(
        settings: &Settings,
        shared: &Shared,
        knowledge: &Arc<Knowledge>,
        servers: &StackServers,
    ) -> Self {
        let own = shared.credentials.sets();
        let sources = own.values().flat_map(|set| set.sources());
        let sources = sources.filter(|source| !source.wanted().form.is_environment());
        let credentials = sources.filter_map(|source| {
            let reference = source.wanted().reference.text();
            let set = CredentialSet::new([Arc::clone(source)])?;
            let choice = Choice {
                set: Arc::new(set),
                references: [Arc::clone(&reference)].into(),
                wanted: source.wanted().clone(),
            };
            Some((reference, choice))
        });
        let closed = settings.servers.iter();
        let closed = closed.filter_map(|(name, server)| {
            let is_closed = match server.upstream {
                Upstream::Child { .. } => true,
                Upstream::Http { .. } => server.upstream.travels_clear() && !server.plaintext,
            };
            is_closed.then(|| name.clone())
        });
        Self(Arc::new(Parts {
            policy: Arc::clone(&shared.policy),
            respond: Respond::new(shared, knowledge),
            budgets: Arc::clone(&shared.budgets),
            history: Arc::clone(&shared.history),
            kill: Arc::clone(&shared.kill),
            inspection: Arc::clone(&shared.inspection),
            sessions: Arc::clone(&shared.sessions),
            credentials: credentials.collect(),
            own,
            closed: closed.collect(),
            servers: servers.clone(),
        }))
    }
}

impl Parts {
    /// What is to be done with what comes back; `None` for nothing, the rule.
    fn duty(
        self: &Arc<Self>,
        bound: &Bound,
        tool: Option<ToolFacts>,
        decision: &Decision,
    ) -> Result<Option<Arc<Duty>>, Refusal> {
        let responds = self.respond.asks(bound);
        let counts = self.counts(&bound.call);
        let obligations = decision.obligations.as_deref();
        if !responds && !counts && obligations.is_none() {
            return Ok(None);
        }
        if counts {
            let tool = bound.call.tool();
            self.history
                .called(bound.call.caller.session_key(), tool.as_deref())?;
        }
        let rules = match obligations {
            Some(obligations) => rules(obligations, &decision.revision)?.map(Arc::new),
            None => None,
        };
        Ok(Some(Arc::new(Duty {
            parts: Arc::clone(self),
            bound: bound.of_owed(),
            tool,
            responds,
            counts,
            rules,
            max_bytes: obligations.and_then(|obligations| obligations.max_bytes),
            labels: obligations.map(|obligations| obligations.labels.clone()),
            revision: Arc::clone(&decision.revision),
        })))
    }

    /// Whether the call is one a policy counts.
    fn counts(&self, call: &Call) -> bool {
        let request = call.request();
        self.policy.reads_history()
            && call.origin == Origin::Client
            && request.is_some_and(|request| is_judged(Phase::Call, request.method().as_str()))
    }

    /// What is done before the call leaves.
    fn before(&self, bound: &Bound, decision: &Decision) -> Result<(), Refusal> {
        let Some(obligations) = decision.obligations.as_deref() else {
            return Ok(());
        };
        bound.call.carried.record(detail(obligations.audit));
        self.spend(&bound.call, &obligations.limits, &decision.revision)
    }

    /// The credentials of a call whose decision names one, and a hold on the kill switch for that: the call's own is for its
    /// server's credentials. Of a server with several it takes the place of the one that is sent the same way, and the others
    /// stay. One that is cut off, or that the server cannot be given for one call, is none.
    fn credential(
        &self,
        bound: &Bound,
        decision: &Decision,
    ) -> Result<Option<(Arc<CredentialSet>, Ticket)>, Refusal> {
        let obligations = decision.obligations.as_ref();
        let Some(reference) = obligations.and_then(|all| all.credential.as_ref()) else {
            return Ok(None);
        };
        let refused = || unsupported("credential", &decision.revision);
        let choice = self.credentials.get(reference).ok_or_else(refused)?;
        let server = &bound.call.server;
        if self.closed.contains(server) {
            return Err(refused());
        }
        let set = match self.own.get(server).filter(|own| own.is_several()) {
            Some(own) => Arc::new(own.with(choice.set.first()).ok_or_else(refused)?),
            None => Arc::clone(&choice.set),
        };
        let running = Running {
            call: Arc::clone(&bound.call),
            session: bound
                .session
                .session()
                .map(|session| Arc::clone(&session.public)),
            credentials: Some(Arc::clone(&choice.references)),
        };
        let ticket = self.kill.admit(running);
        let ticket = ticket.map_err(|kill| super::kill::refused(&kill))?;
        // Registered first, looked up after: it may be another server's, and gone with it.
        self.servers.check_credential(&choice.wanted)?;
        Ok(Some((set, ticket)))
    }

    /// Counts a call against the limits of a decision.
    fn spend(&self, call: &Call, limits: &[RateLimit], revision: &Arc<str>) -> Result<(), Refusal> {
        for limit in limits {
            let refused = || unsupported("limit", revision);
            let count = NonZeroU32::new(limit.count).ok_or_else(refused)?;
            let rate = Rate::new(count, limit.per, count).ok_or_else(refused)?;
            let share = share(call, limit.by).ok_or_else(refused)?;
            let taken = self.budgets.decided.take(&limit.name, rate, share);
            if let Err(wait) = taken.map_err(|_| refused())? {
                return Err(Refusal::new(Code::RateLimited)
                    .detail(format!("the policy's limit `{}` is {rate}", limit.name))
                    .limit("policy.limit", wait));
            }
        }
        Ok(())
    }
}

/// What a decision's obligations do to answers.
fn rules(obligations: &Obligations, revision: &Arc<str>) -> Result<Option<Rules>, Refusal> {
    Rules::of(obligations).map_err(|_| unsupported("redact or max_records", revision))
}

fn share(call: &Call, by: LimitBy) -> Option<Share> {
    let caller = || call.caller.principal().clone();
    Some(match by {
        LimitBy::Session => Share::Session(call.caller.session_key().clone()),
        LimitBy::Caller => Share::Caller(caller()),
        LimitBy::Server => Share::Server(call.caller.tenant.clone(), call.server.clone()),
        LimitBy::Tool => Share::Tool(caller(), call.server.clone(), call.tool()?.into()),
    })
}

fn detail(level: AuditLevel) -> Detail {
    match level {
        AuditLevel::Metadata => Detail::Metadata,
        AuditLevel::Summary => Detail::Summary,
        AuditLevel::Full => Detail::Full,
    }
}

impl Around<Permitted> for Carry {
    type Out = Obliged;
    type Reply = Reply;

    async fn run<N, F>(&self, permitted: Permitted, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Obliged) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let (bound, tool, decision, release) = permitted.into_parts();
        self.0.before(&bound, &decision)?;
        let (credential, ticket) = self.0.credential(&bound, &decision)?.unzip();
        let way = match bound.resumed() {
            // Its own decision is that somebody may listen; what comes is for the call that is resumed.
            Some(tracked) => Way {
                duty: tracked.duty.get().cloned(),
                limit: match tracked.is_answered.load(Ordering::Acquire) {
                    true => None,
                    false => tracked.limit.get().copied(),
                },
                ..Way::of(&bound)
            },
            None => {
                let duty = self.0.duty(&bound, tool, &decision)?;
                let timeout = decision
                    .obligations
                    .as_ref()
                    .and_then(|obligations| obligations.timeout);
                Way {
                    duty,
                    ticket,
                    release: release.clone(),
                    limit: timeout.map(|limit| (tokio::time::Instant::now() + limit, limit)),
                    ..Way::of(&bound)
                }
            }
        };
        if way.note(&bound)?
            && let Some(session) = &way.session
        {
            // Before anything of the server comes that they are for.
            self.0.sessions.rewrite(session).await;
        }
        let revision = Arc::clone(&decision.revision);
        let running = way.held(next(Obliged {
            bound,
            decision,
            credential,
            release,
        }));
        let reply = match way.limit {
            None => running.await?,
            Some((at, limit)) => match tokio::time::timeout_at(at, running).await {
                Ok(reply) => reply?,
                Err(_elapsed) => {
                    unasked(&way.call, &way.binding);
                    return Err(cut_short(limit, revision));
                }
            },
        };
        way.back(reply)
    }
}

/// A call under way.
struct Way {
    /// The call whose answer is owed.
    call: Arc<Call>,
    binding: Binding,
    session: Option<Arc<Session>>,
    tracked: Option<Arc<TrackedCall>>,
    duty: Option<Arc<Duty>>,
    /// The hold on the kill switch for the credential policy chose.
    ticket: Option<Ticket>,
    /// The use of the approval it was permitted by.
    #[expect(
        dead_code,
        reason = "held to the end of the call: dropped, it is settled"
    )]
    release: Option<Arc<Release>>,
    /// When it ends at the latest.
    limit: Option<(tokio::time::Instant, Duration)>,
}

impl Way {
    /// Of a call that nothing is asked of.
    fn of(bound: &Bound) -> Self {
        Self {
            session: bound.session.session().cloned(),
            call: Arc::clone(bound.owed()),
            tracked: bound.tracked.clone(),
            binding: bound.session.clone(),
            duty: None,
            ticket: None,
            release: None,
            limit: None,
        }
    }

    /// Registers with the session the rules for this call's answer and for every later message of the server. Returns whether
    /// the session has more of them than before.
    ///
    /// # Errors
    /// `overloaded` when the session has too many rules.
    fn note(&self, bound: &Bound) -> Result<bool, Refusal> {
        if bound.resumed().is_some() {
            return Ok(false);
        }
        let Some(duty) = &self.duty else {
            return Ok(false);
        };
        let is_more = match &self.session {
            Some(session) => session.standing.enter(duty)?,
            None => false,
        };
        if let Some(tracked) = &bound.tracked {
            // Set once: a call is carried once.
            let _first = tracked.duty.set(Arc::clone(duty));
            if let Some(limit) = self.limit {
                let _first = tracked.limit.set(limit);
            }
        }
        Ok(is_more)
    }

    /// Runs what can be cut with the credential it is sent with.
    async fn held(
        &self,
        running: impl Future<Output = Result<Reply, Refusal>>,
    ) -> Result<Reply, Refusal> {
        let Some(ticket) = &self.ticket else {
            return running.await;
        };
        ticket.hold(running).await.unwrap_or_else(|kill| {
            unasked(&self.call, &self.binding);
            Err(super::kill::refused(&kill))
        })
    }

    /// The reply as it may go on.
    fn back(self, reply: Reply) -> Result<Reply, Refusal> {
        let Reply { answer, session } = reply;
        if let Some(duty) = &self.duty {
            duty.label()?;
        }
        let answer = match (answer, &self.duty) {
            // Nothing is asked for where nothing is obliged to; but what a session's streams say meets what was asked before.
            (Answer::Stream(events), None) if self.session.is_none() => Answer::Stream(events),
            (Answer::Stream(events), _) => Answer::Stream(Box::pin(Carried::new(events, self))),
            (Answer::Message(Message::Response(response)), Some(duty)) => {
                Answer::Message(Message::Response(duty.released(response)?))
            }
            (Answer::Passed { status, body }, Some(duty)) => duty.passed(status, body)?,
            (
                other @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }),
                Some(_) | None,
            ) => other,
        };
        Ok(Reply { answer, session })
    }
}

/// The refusal of a call that took longer than policy lets it.
fn late(limit: Duration) -> Refusal {
    Refusal::new(Code::UpstreamTimeout)
        .detail(format!("policy gives this call {} ms", limit.as_millis()))
}

/// As [`late`], for a call that nothing had come of. It names the policy: its time was up, the server's perhaps not.
fn cut_short(limit: Duration, revision: Arc<str>) -> Refusal {
    let mut refusal = late(limit);
    refusal.policy = Some(revision);
    refusal
}

/// Tells the server of a session that nobody waits for its answer any more: there, a closed connection does not say so.
fn unasked(call: &Call, binding: &Binding) {
    if let Some(link) = binding.session().and_then(|session| session.link.get())
        && call.request().is_some()
        && call.is_intended()
    {
        link.cancel(call.upstream_id);
    }
}
