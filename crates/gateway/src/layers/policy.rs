//! Policy: judges each call before it leaves, and each list and each question of the server on its way back.

mod about;
mod facts;
mod notice;
mod numbers;
mod respond;
mod screen;
mod set;

use std::sync::Arc;

use keepgate_call::{Approved, Ask, Call, Caller, Code, Origin, Refusal, trace::Judgement};
use keepgate_mcp::{
    Era,
    json::Kind,
    message::{Message, Notification, Request},
    method::{Direction, ListKind, Method, Subject as About},
};
use keepgate_policy::{
    Decision, Effect, Facts, Item, Obligations, Phase, Policy, Reason, ToolFacts,
};

use self::facts::{Located, Side};
pub use self::{respond::Respond, screen::Screen};
use super::{
    catalog::{Catalogs, Known},
    session::Bound,
};
use crate::{
    gate::Gate, history::Histories, knowledge::Knowledge, metrics::Meters, shared::Shared,
};

/// Asks policy whether a call may be made.
#[derive(Debug)]
pub struct Judge {
    policy: Arc<Policy>,
    knowledge: Arc<Knowledge>,
    catalogs: Arc<Catalogs>,
    history: Arc<Histories>,
    meters: Arc<Meters>,
}

/// A call that policy has judged and not denied. Only this file makes one.
#[derive(Debug)]
pub struct Judged {
    bound: Bound,
    tool: Option<ToolFacts>,
    decision: Decision,
}

impl Judged {
    /// The call, the definition of its tool, and what was decided.
    pub fn into_parts(self) -> (Bound, Option<ToolFacts>, Decision) {
        (self.bound, self.tool, self.decision)
    }
}

impl Judge {
    /// A gate over the policy of `shared`.
    pub fn new(shared: &Shared, knowledge: &Arc<Knowledge>) -> Self {
        Self {
            policy: Arc::clone(&shared.policy),
            knowledge: Arc::clone(knowledge),
            catalogs: Arc::clone(&shared.catalogs),
            history: Arc::clone(&shared.history),
            meters: Arc::clone(&shared.meters),
        }
    }
}

impl Gate<Known> for Judge {
    type Out = Judged;

    async fn pass(&self, mut known: Known) -> Result<Judged, Refusal> {
        let fault = known.fault.take();
        let decision = match &known.bound.call.ask {
            Ask::Listen | Ask::End | Ask::Message(Message::Response(_)) => {
                self.part_of_the_protocol()
            }
            Ask::Message(Message::Notification(notification)) => {
                notice::check(&known.bound, notification)?;
                self.notified(&known.bound, notification)?
            }
            Ask::Message(Message::Request(request)) if known.is_absent => {
                self.judge_absent(&known, request)?;
                return Err(Refusal::new(Code::NotFound));
            }
            // Policy sees the message that is sent: without the arguments that were dropped.
            Ask::Message(Message::Request(request)) => {
                let request = known.bound.call.judged_request().unwrap_or(request);
                self.judge(&known.bound, known.tool.as_ref(), request, (fault, None))?
            }
        };
        if let Some(spans) = &known.bound.call.trace.spans {
            // Set once: a call is judged once.
            let _first = spans.judgement.set(Judgement {
                effect: effect(&decision),
                revision: Arc::clone(&decision.revision),
                reason: decision
                    .reasons
                    .first()
                    .map(|reason| Arc::clone(&reason.code)),
            });
        }
        Ok(Judged {
            bound: known.bound,
            tool: known.tool,
            decision,
        })
    }
}

impl Judge {
    /// Evaluates a call again that was held meanwhile.
    ///
    /// # Errors
    /// The refusal, when it is denied now.
    pub(super) fn evaluate_again(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        request: &Request,
    ) -> Result<Decision, Refusal> {
        self.judge(bound, tool, request, (None, None))
    }

    /// Evaluates a call for its last time, with the approval that it is about to use.
    ///
    /// # Errors
    /// The refusal, when it is denied with it.
    pub(super) fn evaluate_approved(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        request: &Request,
        approved: &Approved,
    ) -> Result<Decision, Refusal> {
        self.judge(bound, tool, request, (None, Some(approved)))
    }

    /// A notification: part of the protocol for a caller that may connect at all.
    fn notified(&self, bound: &Bound, notification: &Notification) -> Result<Decision, Refusal> {
        let mut decision = self.part_of_the_protocol();
        if self.connects(&bound.call) {
            let key = bound.call.caller.session_key();
            let past = self.history.past(&self.policy, key, None);
            let seen = past.facts();
            let side = Side::of(bound, &self.knowledge, &past, &seen)?;
            decision.obligations = self.connect(&side, notification.method().as_str())?;
        }
        Ok(decision)
    }

    /// Whether policy is asked if the caller may speak with the server at all.
    fn connects(&self, call: &Call) -> bool {
        let connects = call.opens() || call.revision.era() == Era::Stateless;
        connects && call.origin == Origin::Client && self.policy.speaks(Phase::Connect)
    }

    fn judge(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        request: &Request,
        (fault, approved): (Option<Refusal>, Option<&Approved>),
    ) -> Result<Decision, Refusal> {
        if !bound
            .call
            .revision
            .permits(request.method(), Direction::ToServer)
        {
            return Err(unknown_method(request.method().as_str()));
        }
        let key = bound.call.caller.session_key();
        let past = self
            .history
            .past(&self.policy, key, bound.call.tool().as_deref());
        let seen = past.facts();
        let side = Side::of(bound, &self.knowledge, &past, &seen)?.with(approved);
        let connect = self.connect(&side, request.method().as_str())?;
        if let Some(fault) = fault {
            return Err(self.faulty(&side, tool, request, fault));
        }
        let decision = match request.subject() {
            // What they show is judged on its way back, item by item.
            About::Listing(
                ListKind::Tools
                | ListKind::Prompts
                | ListKind::Resources
                | ListKind::ResourceTemplates,
            )
            | About::Session => self.part_of_the_protocol(),
            About::Tool(_) | About::Prompt(_) | About::Resource(_) | About::Completion { .. } => {
                self.asked(&side, tool, request)?
            }
            About::Subscription => self.subscription(&side, request)?,
            // Tasks are not passed on yet, whoever asks; the rest no client may ask.
            About::Task(_)
            | About::Listing(ListKind::Tasks | ListKind::Roots)
            | About::Client
            | About::Unknown => return Err(unknown_method(request.method().as_str())),
            About::Missing => {
                return Err(Refusal::new(Code::ParamsInvalid)
                    .detail("what the request is about is missing"));
            }
        };
        match connect {
            Some(obligations) => joined(decision, *obligations),
            None => Ok(decision),
        }
    }

    /// Asks policy what it would be asked of a hidden tool, and makes nothing of the answers.
    fn judge_absent(&self, known: &Known, request: &Request) -> Result<(), Refusal> {
        let bound = &known.bound;
        let key = bound.call.caller.session_key();
        let past = self
            .history
            .past(&self.policy, key, bound.call.tool().as_deref());
        let seen = past.facts();
        let side = Side::of(bound, &self.knowledge, &past, &seen)?;
        let method = request.method().as_str();
        self.connect(&side, method)?;
        let arguments = request.param("arguments").map(|raw| raw.as_str());
        about::with(request, None, |item| {
            let facts = side.facts(Phase::Call, method, item, arguments);
            let decision = self.policy.judge(&facts);
            self.knowledge.beside.judged(side.call(), &facts, &decision);
            self.meters
                .judged(side.call(), effect(&decision), decision.elapsed);
            let listed = Facts {
                phase: Phase::List,
                arguments: None,
                ..facts
            };
            let _nobody_is_told = self.policy.visible(&listed, &[visible_as(listed.subject)]);
            Ok(())
        })
    }

    /// Whether the caller may speak with the server at all, and what that obliges to. Asked where a session opens, and at
    /// every call of the revisions that have none; the gateway's own questions are part of somebody's call.
    fn connect(&self, side: &Side<'_>, method: &str) -> Result<Option<Box<Obligations>>, Refusal> {
        let call = side.call();
        if !self.connects(call) {
            return Ok(None);
        }
        let facts = side.facts(Phase::Connect, method, Item::None, None);
        let decision = self.policy.judge(&facts);
        self.knowledge.beside.judged(call, &facts, &decision);
        let code = match &decision.effect {
            Effect::Allow => return Ok(decision.obligations),
            Effect::Deny if is_failure(&decision) => Code::PolicyFailed,
            Effect::Deny => Code::PolicyDenied,
            Effect::Approve(_) => Code::ApprovalRequired,
        };
        self.meters
            .judged(call, effect(&decision), decision.elapsed);
        if self.policy.reads_history() {
            self.history.denied(call.caller.session_key());
        }
        Err(refused(code, decision))
    }

    /// A call of what a server offers. One whose arguments policy sets is judged again with those.
    fn asked(
        &self,
        side: &Side<'_>,
        tool: Option<&ToolFacts>,
        request: &Request,
    ) -> Result<Decision, Refusal> {
        let method = request.method().as_str();
        let judged = |arguments: Option<&str>| {
            about::with(request, tool, |item| {
                self.decide(side, method, item, arguments)
            })
        };
        let raw = request.param("arguments");
        let arguments = raw.map(|raw| raw.as_str());
        let decision = judged(arguments).map_err(|refusal| {
            let faulty = (refusal.code == Code::PolicyFailed)
                .then(|| numbers::refused(arguments, raw))
                .flatten();
            faulty.unwrap_or(refusal)
        })?;
        let sets = |decision: &Decision| {
            let obligations = decision.obligations.as_ref();
            obligations.is_some_and(|obligations| !obligations.set_arguments.is_empty())
        };
        if !sets(&decision) {
            return Ok(decision);
        }
        let set = set::Set::of(side.call(), request, &decision)?;
        let again = judged(Some(set.arguments()))?;
        let obligations = decision.obligations.unwrap_or_default();
        let again = joined(again, *obligations)?;
        let schema = self.catalogs.schema(side.bound());
        set.settle(side.call(), &again, schema.as_deref())?;
        Ok(again)
    }

    fn decide(
        &self,
        side: &Side<'_>,
        method: &str,
        subject: Item<'_>,
        arguments: Option<&str>,
    ) -> Result<Decision, Refusal> {
        let facts = side.facts(Phase::Call, method, subject, arguments);
        let decision = self.policy.judge(&facts);
        let beside = &self.knowledge.beside;
        beside.judged(side.call(), &facts, &decision);
        self.meters
            .judged(side.call(), effect(&decision), decision.elapsed);
        match &decision.effect {
            Effect::Allow | Effect::Approve(_) => Ok(decision),
            Effect::Deny => {
                if self.policy.reads_history() {
                    self.history.denied(side.caller().session_key());
                }
                Err(self.denied(side.caller(), &facts, decision))
            }
        }
    }

    /// What the caller may not even see does not exist for it.
    fn denied(&self, caller: &Caller, facts: &Facts<'_>, decision: Decision) -> Refusal {
        let code = if is_failure(&decision) {
            Code::PolicyFailed
        } else if !self.is_visible(facts) {
            Code::NotFound
        } else if can_be_lifted(caller, &decision) {
            Code::InsufficientScope
        } else {
            Code::PolicyDenied
        };
        let mut refusal = Refusal::new(code);
        if code == Code::InsufficientScope {
            refusal.scopes = demanded(caller, &decision);
        }
        refusal.reasons = reasons(&decision);
        refusal.policy = Some(decision.revision);
        refusal
    }

    /// Whether the caller may see what it asks for in a list.
    fn is_visible(&self, facts: &Facts<'_>) -> bool {
        let seen = Facts {
            phase: Phase::List,
            arguments: None,
            ..*facts
        };
        let shown = self.policy.visible(&seen, &[visible_as(facts.subject)]);
        shown.shown.first() == Some(&true)
    }

    /// The refusal of arguments that policy never sees: a tool the caller may not see does not exist for it here either.
    fn faulty(
        &self,
        side: &Side<'_>,
        tool: Option<&ToolFacts>,
        request: &Request,
        fault: Refusal,
    ) -> Refusal {
        let method = request.method().as_str();
        let visible = about::with(request, tool, |item| {
            Ok(self.is_visible(&side.facts(Phase::List, method, item, None)))
        });
        match visible {
            Ok(true) => fault,
            Ok(false) => Refusal::new(Code::NotFound),
            Err(refusal) => refusal,
        }
    }

    /// A subscription is a standing read of every resource it names (2026-07-28 `basic/patterns/subscriptions`).
    fn subscription(&self, side: &Side<'_>, request: &Request) -> Result<Decision, Refusal> {
        let wanted = request.param("notifications");
        if wanted.is_some_and(|wanted| wanted.member("taskIds").is_some()) {
            return Err(
                Refusal::new(Code::ParamsInvalid).detail("task subscriptions are not supported")
            );
        }
        let no_uri =
            || Refusal::new(Code::ParamsInvalid).detail("a resource subscription is no URI");
        let uris = wanted.and_then(|wanted| wanted.member("resourceSubscriptions"));
        if uris.is_some_and(|uris| uris.kind() != Kind::Array) {
            return Err(no_uri());
        }
        let mut all = self.part_of_the_protocol();
        for uri in uris.into_iter().flat_map(|raw| raw.items()) {
            let uri = uri.string().ok_or_else(no_uri)?;
            let located = Located::resource(&uri)?;
            // Judged under the method that subscribes to one resource: policy lets `subscriptions/listen` itself pass.
            let subscribe = Method::ResourcesSubscribe.as_str();
            let decision =
                located.with(|facts| self.decide(side, subscribe, Item::Resource(facts), None))?;
            // One that needs an approval holds up the whole filter.
            if decision.effect != Effect::Allow {
                return Ok(decision);
            }
            if let Some(obligations) = decision.obligations {
                all = joined(all, *obligations)?;
            }
        }
        Ok(all)
    }

    /// Handshake, liveness, log level, lists, notifications and answers: allowed as such, because without them nobody
    /// could speak MCP; what they carry is judged where it shows.
    fn part_of_the_protocol(&self) -> Decision {
        Decision {
            effect: Effect::Allow,
            reasons: vec![Reason {
                code: "protocol".into(),
                message: "".into(),
            }],
            scopes: Vec::new(),
            obligations: None,
            revision: self.policy.revision(),
            elapsed: std::time::Duration::ZERO,
        }
    }
}

/// A decision with what another obliges to as well.
fn joined(mut decision: Decision, more: Obligations) -> Result<Decision, Refusal> {
    let all = decision.obligations.get_or_insert_default();
    if all.join(more) {
        return Ok(decision);
    }
    let mut refusal = Refusal::new(Code::PolicyFailed);
    refusal.reasons = vec![(Reason::POLICY_INVALID_RESULT.into(), "".into())];
    refusal.policy = Some(decision.revision);
    Err(refusal)
}

/// A refusal by `decision`.
fn refused(code: Code, decision: Decision) -> Refusal {
    let mut refusal = Refusal::new(code);
    refusal.reasons = reasons(&decision);
    refusal.policy = Some(decision.revision);
    refusal
}

/// A refusal because `what` cannot be carried out: what a policy obliges to is done, or nothing is.
pub(super) fn unsupported(what: &str, revision: &Arc<str>) -> Refusal {
    let said = format!("`{what}` cannot be carried out for this call");
    let mut refusal = Refusal::new(Code::PolicyFailed);
    refusal.reasons = vec![(Reason::OBLIGATION_UNSUPPORTED.into(), said.into())];
    refusal.policy = Some(Arc::clone(revision));
    refusal
}

/// Whether a token with more scopes would do: the caller has a token, and lacks some of the scopes the rules name.
fn can_be_lifted(caller: &Caller, decision: &Decision) -> bool {
    let lacks = |scope: &Arc<str>| !caller.scopes.contains(scope);
    caller.issuer.is_some() && decision.scopes.iter().any(lacks)
}

/// Every scope the next token should have: those it lacks, and those it has, since clients ask for exactly what they are
/// told and would lose the others (2025-11-25 `basic/authorization`, "Scope Challenge Handling").
fn demanded(caller: &Caller, decision: &Decision) -> Vec<Arc<str>> {
    let held = caller.scopes.iter();
    // What is for the client and its issuer alone is not the gateway's to ask for.
    let held = held.filter(|scope| &***scope != "offline_access");
    let mut scopes: Vec<Arc<str>> = held.chain(&decision.scopes).cloned().collect();
    scopes.sort();
    scopes.dedup();
    scopes
}

/// A completion is seen where its prompt or resource is.
fn visible_as(subject: Item<'_>) -> Item<'_> {
    use keepgate_policy::CompletionKind;
    match subject {
        Item::Completion {
            of: CompletionKind::Prompt(name),
            ..
        } => Item::Prompt { name },
        Item::Completion {
            of: CompletionKind::Resource(facts),
            ..
        } => Item::Resource(facts),
        other @ (Item::None
        | Item::Tool { .. }
        | Item::Prompt { .. }
        | Item::Resource(_)
        | Item::Task { .. }
        | Item::ServerRequest { .. }) => other,
    }
}

fn unknown_method(method: &str) -> Refusal {
    Refusal::new(Code::MethodUnknown).detail(method.to_owned())
}

/// The effect in the words of meters and spans.
fn effect(decision: &Decision) -> &'static str {
    match &decision.effect {
        Effect::Allow => "allow",
        Effect::Approve(_) => "approve",
        Effect::Deny if is_failure(decision) => "failed",
        Effect::Deny => "deny",
    }
}

/// Whether policy failed rather than spoke.
fn is_failure(decision: &Decision) -> bool {
    const FAILURES: [&str; 6] = [
        Reason::POLICY_UNDEFINED,
        Reason::POLICY_ERROR,
        Reason::POLICY_TIMEOUT,
        Reason::POLICY_PANIC,
        Reason::POLICY_INVALID_RESULT,
        Reason::OBLIGATION_UNSUPPORTED,
    ];
    decision
        .reasons
        .iter()
        .any(|reason| FAILURES.contains(&&*reason.code))
}

/// The reasons of a decision as a refusal carries them.
pub(super) fn reasons(decision: &Decision) -> Vec<(Arc<str>, Arc<str>)> {
    decision
        .reasons
        .iter()
        .map(|reason| (Arc::clone(&reason.code), Arc::clone(&reason.message)))
        .collect()
}
