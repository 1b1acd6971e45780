//! The last evaluation of a call before it uses an approval: with the approval in policy's input.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use keepgate_approval::{
    Approvals, Attempt, CallSession, Denial, FrozenCall, LastWord, Settings, Use,
};
use keepgate_call::{Approved, Refusal, WaitAnswer};
use keepgate_mcp::message::Request;
use keepgate_policy::{Decision, Effect, ToolFacts};

use super::{
    super::{policy::unsupported, session::Bound},
    Release, RequireApproval, denied,
    held::LentPlaces,
    refused, requirement, without_place,
};

/// A call that may use an approval, and the outcome of its last evaluation.
pub(super) struct ApprovedCall<'a> {
    gate: &'a RequireApproval,
    bound: &'a Bound,
    tool: Option<&'a ToolFacts>,
    request: &'a Request,
    /// The decision that asked for the approval.
    before: &'a Decision,
    terms: &'a Settings,
    approvals: &'a Approvals,
    outcome: Mutex<Option<Result<Decision, Refusal>>>,
}

impl<'a> ApprovedCall<'a> {
    /// A call that `before` wants an approval for.
    pub(super) fn new(
        (gate, approvals, terms): (&'a RequireApproval, &'a Approvals, &'a Settings),
        (bound, tool, request): (&'a Bound, Option<&'a ToolFacts>, &'a Request),
        before: &'a Decision,
    ) -> Self {
        Self {
            gate,
            bound,
            tool,
            request,
            before,
            terms,
            approvals,
            outcome: Mutex::default(),
        }
    }

    /// Takes a use for a call that was held, once its server has a place for it again.
    ///
    /// # Errors
    /// The refusal of a call that has none.
    pub(super) async fn enter_held(
        &self,
        (id, again): (&Arc<str>, FrozenCall),
        lent: Option<LentPlaces<'_>>,
        (expires_in, answer): (Duration, WaitAnswer),
    ) -> Result<Use, Refusal> {
        let call = &self.bound.call;
        // Before the approval is used: a call without a place would use it up for nothing.
        if let Some(Err(full)) = lent.map(LentPlaces::take_back) {
            let is_pending = self.approvals.is_pending(&call.caller.tenant, id).await;
            let id = Arc::clone(id);
            let pending = denied(
                Denial::Pending { id, expires_in },
                call,
                self.before,
                answer,
            );
            return Err(if is_pending {
                pending
            } else {
                without_place(full, &pending)
            });
        }
        let entered = self.approvals.enter_held(call, again, id, self).await;
        entered.map_err(|denial| self.denied(denial, answer))
    }

    /// The call with the use that was taken for it: asked for by the first decision, and obliged to by the last.
    ///
    /// # Errors
    /// The refusal, if there is no last decision.
    pub(super) fn permitted(&self, used: Use) -> Result<(Arc<Release>, Decision), Refusal> {
        let last = self.decision()?;
        let carried = &self.bound.call.carried;
        carried.note_approval(used.approval());
        carried.permit(used.approved().clone());
        let mut decision = self.before.clone();
        decision.obligations = last.obligations;
        decision.revision = last.revision;
        Ok((Release::new(used, &decision), decision))
    }

    /// The decision to go by, once an approval was taken; else the refusal.
    ///
    /// # Errors
    /// The refusal.
    fn decision(&self) -> Result<Decision, Refusal> {
        let outcome = self.outcome.lock();
        let outcome = outcome
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        // An approval is taken after the evaluation: without one there is none.
        let unknown = || {
            Err(refused(
                keepgate_call::Code::ApprovalUnavailable,
                self.before,
            ))
        };
        outcome.unwrap_or_else(unknown)
    }

    /// The refusal of the call, which has no approval to use.
    pub(super) fn denied(&self, denial: Denial, answer: WaitAnswer) -> Refusal {
        match (&denial, self.decision()) {
            (Denial::Policy, Err(refusal)) => refusal,
            (_, _) => denied(denial, &self.bound.call, self.before, answer),
        }
    }

    /// The call is sent as it was shown: an approval in the input changes neither arguments nor credential.
    fn evaluated(&self, approved: &Approved) -> Result<Decision, Refusal> {
        let (policy, request) = (&self.gate.policy, self.request);
        let now = policy.evaluate_approved(self.bound, self.tool, request, approved)?;
        let sent = |decision: &Decision| {
            let obligations = decision.obligations.as_deref().cloned();
            let obligations = obligations.unwrap_or_default();
            (obligations.set_arguments, obligations.credential)
        };
        let (shown, own) = (sent(self.before), sent(&now));
        if shown.0 != own.0 {
            return Err(unsupported("set_arguments", &now.revision));
        }
        if shown.1 != own.1 {
            return Err(unsupported("credential", &now.revision));
        }
        Ok(now)
    }
}

impl Attempt for ApprovedCall<'_> {
    fn evaluate(&self, approved: &Approved) -> LastWord {
        let evaluated = self.evaluated(approved);
        let word = match &evaluated {
            Err(_) => LastWord::Deny,
            Ok(decision) => match &decision.effect {
                Effect::Allow => LastWord::Allow,
                Effect::Approve(terms) => {
                    let now_ms = self.approvals.now_ms();
                    let own = (self.terms, now_ms);
                    LastWord::Approve(Box::new(requirement(decision, terms, own)))
                }
                Effect::Deny => LastWord::Deny,
            },
        };
        let outcome = self.outcome.lock();
        *outcome.unwrap_or_else(std::sync::PoisonError::into_inner) = Some(evaluated);
        word
    }

    fn session(&self) -> Option<CallSession> {
        Some(self.gate.session(self.bound))
    }
}
