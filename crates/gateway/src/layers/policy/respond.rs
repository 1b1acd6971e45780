//! Judges what a server answered, where a policy speaks of answers.

use std::sync::Arc;

use keepgate_call::{Code, Refusal};
use keepgate_mcp::message::Response;
use keepgate_policy::{Effect, Obligations, Phase, Policy, ResponseFacts, ToolFacts, is_judged};

use super::{super::session::Bound, about, effect, facts::Side, is_failure, refused, unsupported};
use crate::{history::Histories, knowledge::Knowledge, metrics::Meters, oblige, shared::Shared};

/// Asks policy about answers.
#[derive(Debug)]
pub struct Respond {
    policy: Arc<Policy>,
    knowledge: Arc<Knowledge>,
    history: Arc<Histories>,
    meters: Arc<Meters>,
}

impl Respond {
    /// Over the policy of `shared`.
    pub fn new(shared: &Shared, knowledge: &Arc<Knowledge>) -> Self {
        Self {
            policy: Arc::clone(&shared.policy),
            knowledge: Arc::clone(knowledge),
            history: Arc::clone(&shared.history),
            meters: Arc::clone(&shared.meters),
        }
    }

    /// Whether anything would be asked about the answer to this call.
    pub(in super::super) fn asks(&self, bound: &Bound) -> bool {
        bound
            .call
            .judged_request()
            .is_some_and(|request| is_judged(Phase::Call, request.method().as_str()))
            && self.policy.speaks(Phase::Response)
    }

    /// Judges the answer to a call of `tool`; gives what that obliges to as well.
    ///
    /// # Errors
    /// The refusal that takes the answer's place.
    pub(in super::super) fn judge(
        &self,
        bound: &Bound,
        tool: Option<&ToolFacts>,
        response: &Response,
    ) -> Result<Option<Box<Obligations>>, Refusal> {
        let Some(request) = bound.call.judged_request() else {
            return Ok(None);
        };
        let key = bound.call.caller.session_key();
        let past = self
            .history
            .past(&self.policy, key, bound.call.tool().as_deref());
        let seen = past.facts();
        let side = Side::of(bound, &self.knowledge, &past, &seen)?;
        let said = response.result().or_else(|| response.error());
        let facts = ResponseFacts {
            is_error: response.error().is_some() || response.is_tool_error(),
            size: response.bytes().len() as u64,
            records: said.map_or(0, oblige::records),
            json: said.map(|said| said.as_str()),
        };
        let arguments = request.param("arguments").map(|raw| raw.as_str());
        let decision = about::with(request, tool, |item| {
            let mut asked = side.facts(Phase::Response, request.method().as_str(), item, arguments);
            asked.response = Some(facts);
            let decision = self.policy.judge(&asked);
            let beside = &self.knowledge.beside;
            beside.judged(&bound.call, &asked, &decision);
            Ok(decision)
        })?;
        self.meters
            .judged(&bound.call, effect(&decision), decision.elapsed);
        let code = match &decision.effect {
            Effect::Allow => {
                return match &decision.obligations {
                    Some(obligations) if comes_too_late(obligations) => {
                        Err(unsupported("an obligation on a call", &decision.revision))
                    }
                    Some(_) | None => Ok(decision.obligations),
                };
            }
            Effect::Deny if is_failure(&decision) => Code::PolicyFailed,
            Effect::Deny => Code::PolicyDenied,
            Effect::Approve(_) => Code::ApprovalRequired,
        };
        if self.policy.reads_history() {
            self.history.denied(key);
        }
        Err(refused(code, decision))
    }
}

/// Whether something is asked for that only a call that is still to be made can be given.
fn comes_too_late(obligations: &Obligations) -> bool {
    !obligations.set_arguments.is_empty()
        || obligations.credential.is_some()
        || obligations.timeout.is_some()
        || !obligations.notify.is_empty()
}
