//! Approval: a call that a rule wants a person to agree to goes no further without an approval of that very call.
//!
//! An approval is used up here, before the intent is recorded; see `keepgate_approval`. Where there is none, the call is
//! refused and waits for a decision, and the same call later uses it.

mod attempt;
mod held;
mod hold;
mod ladder;
mod pending;
mod release;
mod rounds;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use keepgate_approval::{
    Approvals, CallSession, Denial, Destination, Duty, FrozenCall, FrozenCaller, GrantWindow,
    HeldEnd, Requirement, Risk, Settings as Terms,
};
use keepgate_call::{ApprovalNote, Call, CallState, Code, Refusal, ServerName, WaitAnswer};
use keepgate_mcp::{
    Era,
    json::canonical,
    message::{Message, Request},
    method::{Method, Subject},
};
use keepgate_policy::{self as policy, Approval, Decision, Effect, Reason, ToolFacts};

pub use self::release::Release;
use self::{
    attempt::ApprovedCall,
    held::ServerPlaces,
    pending::{Held, PendingCall},
};
use super::{
    catalog::Catalogs,
    policy::{Judge, Judged, unsupported},
    session::Bound,
};
use crate::{
    edge::room::Load, gate::Gate, knowledge::Knowledge, session::destinations, settings::Settings,
    shared::Shared, wall_clock::WallClock,
};

/// Time after which a client should look whether somebody has decided.
const RETRY: Duration = Duration::from_secs(5);

/// Requires an approval where policy demands one.
#[derive(Debug)]
pub struct RequireApproval {
    approvals: Option<Approvals>,
    policy: Judge,
    load: Arc<Load>,
    clock: Arc<WallClock>,
    catalogs: Arc<Catalogs>,
    references: BTreeMap<ServerName, Arc<[Arc<str>]>>,
    destinations: BTreeMap<ServerName, Arc<Destination>>,
    places: ServerPlaces,
    /// Time a session lives after its last call.
    idle: Duration,
}

/// A call that may be made. Only this file makes one.
#[derive(Debug)]
pub struct Permitted {
    bound: Bound,
    tool: Option<ToolFacts>,
    decision: Decision,
    release: Option<Arc<Release>>,
}

impl Permitted {
    /// The call, the definition of its tool, the decision that permits it, and the use of an approval it was permitted by,
    /// which lets it leave and is to be held to its end.
    pub fn into_parts(self) -> (Bound, Option<ToolFacts>, Decision, Option<Arc<Release>>) {
        (self.bound, self.tool, self.decision, self.release)
    }
}

impl RequireApproval {
    /// A gate over the approvals of `shared`.
    pub fn new(settings: &Settings, shared: &Shared, knowledge: &Arc<Knowledge>) -> Self {
        Self {
            approvals: shared.approvals.clone(),
            policy: Judge::new(shared, knowledge),
            load: Arc::clone(&shared.load),
            clock: Arc::clone(&shared.clock),
            catalogs: Arc::clone(&shared.catalogs),
            references: settings.references(),
            destinations: destinations(settings),
            places: ServerPlaces::new(settings, &shared.budgets),
            idle: settings.limits.session_idle,
        }
    }

    /// Takes a use of an approval of this call, which is held for a while if somebody has to decide first.
    async fn enter(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        decision: &Decision,
        terms: &Approval,
    ) -> Result<(Arc<Release>, Decision), Refusal> {
        let (call, cannot_ask) = (&bound.call, || refused(Code::ApprovalRequired, decision));
        let approvals = self.approvals.as_ref().ok_or_else(cannot_ask)?;
        let request = frozen_request(call).ok_or_else(cannot_ask)?;
        let settings = approvals.settings();
        are_known(decision, &settings)?;
        // Made again after the wait: its arguments may be a megabyte, and a held call has them in its message already.
        let frozen = || {
            self.freeze(
                bound,
                request,
                decision,
                terms,
                (&settings, approvals.now_ms()),
            )
        };
        let attempt = ApprovedCall::new(
            (self, approvals, &settings),
            (bound, tool, request),
            decision,
        );
        let first = frozen();
        has_window(&first.requirement, decision)?;
        let state = self.state(approvals, call, &first, decision).await?;
        let wait = |id| PendingCall {
            gate: self,
            approvals,
            bound,
            call,
            request,
            id,
            settings: &settings,
            state: state.as_ref(),
        };
        if let Some(state) = state.as_ref().filter(|_| self.load.is_draining()) {
            return Err(elsewhere(&wait(&state.approval), state, &first, decision));
        }
        let entered = match approvals.enter(call, first, &attempt).await {
            Err(Denial::Pending { id, expires_in }) => {
                let wait = wait(&id);
                match wait.held().await? {
                    Held::Answered(answer) => {
                        let denial = Denial::Pending { id, expires_in };
                        return Err(denied(denial, call, decision, answer));
                    }
                    Held::Again(round, lent) => {
                        self.unchanged(bound, tool, request, decision)?;
                        let again = frozen();
                        let answer = match round {
                            Some(round) => wait.round(round, &again, expires_in),
                            None => WaitAnswer::Plain,
                        };
                        let asked = (&id, again);
                        attempt.enter_held(asked, lent, (expires_in, answer)).await
                    }
                }
            }
            entered => entered.map_err(|denial| attempt.denied(denial, WaitAnswer::Plain)),
        };
        attempt.permitted(entered?)
    }

    /// The state of ours that the client has brought back, for this very call.
    ///
    /// # Errors
    /// `request_state_invalid` for any other.
    async fn state(
        &self,
        approvals: &Approvals,
        call: &Call,
        frozen: &FrozenCall,
        decision: &Decision,
    ) -> Result<Option<CallState>, Refusal> {
        let Some(brought) = &call.wait.state else {
            return Ok(None);
        };
        let (caller, server) = (&call.caller, &call.server);
        let state = match call.revision.era() {
            Era::Stateless => approvals.open_state(caller, server, &brought.text).await,
            // These revisions have none.
            Era::Stateful => None,
        };
        let digest = approvals.digest(&caller.tenant, frozen);
        let own = state.filter(|state| digest.is_some_and(|own| *own.as_bytes() == state.digest));
        let invalid = || refused(Code::RequestStateInvalid, decision);
        own.map(Some).ok_or_else(invalid)
    }

    /// The session of a call, as grants are bound to it.
    fn session(&self, bound: &Bound) -> CallSession {
        match bound.session.session() {
            Some(session) => CallSession::Opened(session.ended.clone(), (*session.public).into()),
            None => CallSession::Caller(bound.call.caller.session_key().clone(), self.idle),
        }
    }

    /// Whether policy still has the same terms for a call that was held: else the client's next attempt meets the new ones.
    fn unchanged(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        request: &Request,
        before: &Decision,
    ) -> Result<(), Refusal> {
        let now = self.policy.evaluate_again(bound, tool, request)?;
        let is_same = now.effect == before.effect && now.obligations == before.obligations;
        if is_same {
            return Ok(());
        }
        Err(refused(Code::ApprovalUnavailable, &now)
            .detail("policy has changed meanwhile, call again"))
    }

    /// References of the credentials a call is sent with: the server's, and the one that policy chooses.
    fn credentials(&self, call: &Call, decision: &Decision) -> Vec<Arc<str>> {
        let own = self.references.get(&call.server);
        let obligations = decision.obligations.as_deref();
        let chosen = obligations.and_then(|obligations| obligations.credential.clone());
        own.into_iter()
            .flat_map(|own| own.iter().cloned())
            .chain(chosen)
            .collect()
    }

    /// The fingerprint of the tool as its server has shown it last: also after the wait of a held call.
    fn fingerprint(&self, bound: &Bound, request: &Request) -> Option<Box<str>> {
        if *request.method() != Method::ToolsCall {
            return None;
        }
        let fingerprint = self.catalogs.fingerprint(bound)?;
        let hex = blake3::Hash::from_bytes(fingerprint).to_hex();
        Some(hex.as_str().into())
    }

    /// The call as people are asked over it.
    fn freeze(
        &self,
        bound: &Bound,
        request: &Request,
        decision: &Decision,
        terms: &Approval,
        (defaults, now_ms): (&Terms, u64),
    ) -> FrozenCall {
        let call = &bound.call;
        let session = bound.session.session();
        let client = session.and_then(|session| session.client.get());
        FrozenCall {
            server: call.server.as_str().into(),
            method: request.method().as_str().into(),
            subject: subject(request),
            arguments: arguments(request),
            others: others(request),
            sent: changed(call),
            fingerprint: self.fingerprint(bound, request),
            destination: self
                .destinations
                .get(&call.server)
                .cloned()
                .unwrap_or_default(),
            caller: caller(call),
            session: session.map(|session| (*session.public).into()),
            credentials: self.credentials(call, decision),
            client: client.map(|facts| {
                let (name, version) = facts.name_and_version();
                (name.into(), version.into())
            }),
            requirement: requirement(decision, terms, (defaults, now_ms)),
            decision_id: call.id.as_str().into(),
        }
    }
}

/// The request of a call that can wait for an approval: as it was evaluated, before policy set arguments.
fn frozen_request(call: &Call) -> Option<&Request> {
    let request = match call.carried.settled() {
        Some(Message::Request(request)) => request,
        Some(Message::Notification(_) | Message::Response(_)) => return None,
        None => call.request()?,
    };
    let can_wait = matches!(
        request.method(),
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
    );
    can_wait.then_some(request)
}

fn subject(request: &Request) -> Option<Box<str>> {
    match request.subject() {
        Subject::Tool(name) | Subject::Prompt(name) | Subject::Resource(name) => {
            Some(name.as_ref().into())
        }
        Subject::Completion { .. }
        | Subject::Listing(_)
        | Subject::Task(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

fn arguments(request: &Request) -> Option<Box<str>> {
    let raw = request.param("arguments")?;
    Some(canonical(raw).into())
}

/// Parameters that the method does not define, in canonical form: a server may read them.
fn others(request: &Request) -> Option<Box<str>> {
    let known: &[&str] = if *request.method() == Method::ResourcesRead {
        &["_meta", "uri"]
    } else {
        &["_meta", "arguments", "name"]
    };
    let members = request.params()?.members();
    let mut others: Vec<_> = members
        .filter(|(name, _)| !known.iter().any(|known| name.is_text(known)))
        .map(|(name, value)| format!("{}:{}", canonical(name), canonical(value)))
        .collect();
    others.sort_unstable();
    (!others.is_empty()).then(|| format!("{{{}}}", others.join(",")).into())
}

/// The arguments that policy has set, where it has.
fn changed(call: &Call) -> Option<Box<str>> {
    match &call.carried.set_by_policy()?.message {
        Message::Request(request) => arguments(request),
        Message::Notification(_) | Message::Response(_) => None,
    }
}

fn caller(call: &Call) -> FrozenCaller {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(Into::into);
    let caller = &call.caller;
    FrozenCaller {
        kind: caller.kind.as_str().into(),
        subject: (*caller.subject).into(),
        issuer: text(&caller.issuer),
        client: text(&caller.client),
        grant: text(&caller.grant),
        key: text(&caller.key_id),
        owner: text(&caller.owner),
    }
}

fn requirement(
    decision: &Decision,
    terms: &Approval,
    (defaults, now_ms): (&Terms, u64),
) -> Requirement {
    let reasons = decision.reasons.iter();
    let duties = terms.duties.iter().map(|duty| Duty {
        approvers: duty.approvers.clone(),
        quorum: duty.quorum,
        step: duty.step,
    });
    let ttl = terms.ttl_or(defaults.ttl).min(Terms::MAX_TTL);
    let longest = match terms.windows.is_empty() {
        true => Terms::MAX_VALID_FOR,
        false => Terms::MAX_WINDOW,
    };
    let valid_for = terms.valid_for_or(defaults.valid_for, longest);
    Requirement {
        reasons: reasons
            .map(|reason| (Arc::clone(&reason.code), Arc::clone(&reason.message)))
            .collect(),
        duties: duties.collect(),
        uses: terms.uses,
        ttl_s: ttl.as_secs(),
        valid_for_s: valid_for.min(longest).as_secs(),
        is_session_bound: terms.is_session_bound,
        window: window(terms, now_ms),
        risk: match terms.risk {
            policy::Risk::Low => Risk::Low,
            policy::Risk::High => Risk::High,
        },
        policy: Arc::clone(&decision.revision),
        notify: targets(decision).cloned().collect(),
    }
}

/// Whether an approval could be used at all.
fn has_window(requirement: &Requirement, decision: &Decision) -> Result<(), Refusal> {
    if requirement
        .window
        .as_ref()
        .is_none_or(|window| window.until_s > 0)
    {
        return Ok(());
    }
    let mut refusal = refused(Code::PolicyDenied, decision);
    let message = "no window in which this may be approved is to come";
    refusal.reasons = vec![(Reason::NO_WINDOW.into(), message.into())];
    Err(refusal)
}

/// The window in which an approval may be used; an empty one where none is to come.
fn window(terms: &Approval, now_ms: u64) -> Option<GrantWindow> {
    let found = terms.window(now_ms / 1000);
    let (not_before_s, until_s) = found.unwrap_or(Some((0, 0)))?;
    let names = terms.windows.iter().map(ToString::to_string);
    Some(GrantWindow {
        not_before_s,
        until_s,
        text: names.collect::<Vec<_>>().join(", and ").into(),
    })
}

/// Refuses a request that somebody is to hear of whom nobody knows.
fn are_known(decision: &Decision, settings: &Terms) -> Result<(), Refusal> {
    if targets(decision).all(|target| settings.targets.contains(target)) {
        return Ok(());
    }
    Err(unsupported("notify", &decision.revision))
}

/// Targets of notifications that policy names.
fn targets(decision: &Decision) -> impl Iterator<Item = &Arc<str>> {
    let obligations = decision.obligations.as_deref();
    obligations.into_iter().flat_map(|all| &all.notify)
}

/// The refusal of a call that has no approval to use.
fn denied(denial: Denial, call: &Call, decision: &Decision, answer: WaitAnswer) -> Refusal {
    let noted = |code, id: Arc<str>, retry, answer| {
        call.carried.note_approval(&id);
        let mut refusal = refused(code, decision);
        refusal.approval = Some(Box::new(ApprovalNote { id, retry, answer }));
        refusal
    };
    match denial {
        Denial::Pending { id, expires_in } => {
            noted(Code::ApprovalPending, id, RETRY.min(expires_in), answer)
        }
        Denial::Denied { id, again_in } => {
            noted(Code::ApprovalDenied, id, again_in, WaitAnswer::Plain)
        }
        Denial::Ended { id, end } => {
            call.carried.note_approval(&id);
            ended(&id, end, decision)
        }
        Denial::NotYet { id, begins_in } => {
            noted(Code::ApprovalPending, id, begins_in, WaitAnswer::Plain)
        }
        // The refusal itself is kept by whoever evaluated.
        Denial::Policy => refused(Code::PolicyDenied, decision),
        Denial::Limit(name, wait) => refused(Code::RateLimited, decision).limit(name, wait),
        Denial::Unavailable(cause) => {
            let mut refusal = refused(Code::ApprovalUnavailable, decision);
            refusal.source = Some(cause.into());
            refusal
        }
    }
}

/// The refusal of a round that came while the gateway drains: its client makes the next one at another replica.
fn elsewhere(
    wait: &PendingCall<'_>,
    state: &CallState,
    frozen: &FrozenCall,
    decision: &Decision,
) -> Refusal {
    let left = state.expires_ms.saturating_sub(wait.approvals.now_ms());
    let (id, expires_in) = (Arc::clone(&state.approval), Duration::from_millis(left));
    let answer = wait.elsewhere(frozen, expires_in);
    denied(
        Denial::Pending { id, expires_in },
        wait.call,
        decision,
        answer,
    )
}

/// The refusal of a call that was decided over and finds no place at its server: its approval is there for the next attempt.
fn without_place(mut full: Refusal, pending: &Refusal) -> Refusal {
    let wait = full.limit.and_then(|limit| limit.wait);
    full.approval = pending.approval.as_deref().map(|note| {
        Box::new(ApprovalNote {
            id: Arc::clone(&note.id),
            retry: wait.unwrap_or(note.retry),
            answer: WaitAnswer::Plain,
        })
    });
    full
}

/// The refusal of a call whose approval ended before it could be used.
fn ended(id: &str, end: HeldEnd, decision: &Decision) -> Refusal {
    let mut refusal = Refusal::new(Code::ApprovalEnded).detail(format!(
        "approval {id}: {}; the same call, made again, asks a person again",
        end.as_str()
    ));
    refusal.policy = Some(Arc::clone(&decision.revision));
    refusal
}

fn refused(code: Code, decision: &Decision) -> Refusal {
    let mut refusal = Refusal::new(code);
    refusal.reasons = super::policy::reasons(decision);
    refusal.policy = Some(Arc::clone(&decision.revision));
    refusal
}

impl Gate<Judged> for RequireApproval {
    type Out = Permitted;

    async fn pass(&self, judged: Judged) -> Result<Permitted, Refusal> {
        let (bound, tool, decision) = judged.into_parts();
        if let Some(approvals) = &self.approvals {
            approvals.note_call(|| self.session(&bound));
        }
        let (release, decision) = match &decision.effect {
            // Notifications are of approvals: a call that needs none is made without one.
            Effect::Allow if targets(&decision).next().is_some() => {
                return Err(unsupported("notify", &decision.revision));
            }
            Effect::Allow => (None, decision),
            // Boxed: most calls need none of it, and their futures are moved often.
            Effect::Approve(terms) => {
                let entered = self.enter(&bound, tool.as_ref(), &decision, terms);
                let (release, decision) = Box::pin(entered).await?;
                (Some(release), decision)
            }
            // The evaluation refuses these itself; a denied call that came this far is a bug, and still denied.
            Effect::Deny => return Err(Refusal::new(Code::PolicyDenied)),
        };
        Ok(Permitted {
            bound,
            tool,
            decision,
            release,
        })
    }
}
