//! The last evaluation of a call before it uses an approval: with the approval in policy's input.

use std::sync::Mutex;

use keepgate_approval::{Attempt, Denial, LastWord, Settings};
use keepgate_call::{Approved, Refusal, WaitAnswer};
use keepgate_mcp::message::Request;
use keepgate_policy::{Decision, Effect, ToolFacts};

use super::{
    super::{policy::unsupported, session::Bound},
    RequireApproval, denied, refused, requirement,
};

/// A call that may use an approval, and the outcome of its last evaluation.
pub(super) struct ApprovedCall<'a> {
    pub(super) gate: &'a RequireApproval,
    pub(super) bound: &'a Bound,
    pub(super) tool: Option<&'a ToolFacts>,
    pub(super) request: &'a Request,
    /// The decision that asked for the approval.
    pub(super) before: &'a Decision,
    pub(super) settings: &'a Settings,
    pub(super) outcome: Mutex<Option<Result<Decision, Refusal>>>,
}

impl ApprovedCall<'_> {
    /// The decision to go by, once an approval was taken; else the refusal.
    ///
    /// # Errors
    /// The refusal.
    pub(super) fn decision(&self) -> Result<Decision, Refusal> {
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
                    LastWord::Approve(Box::new(requirement(decision, terms, self.settings)))
                }
                Effect::Deny => LastWord::Deny,
            },
        };
        let outcome = self.outcome.lock();
        *outcome.unwrap_or_else(std::sync::PoisonError::into_inner) = Some(evaluated);
        word
    }
}
