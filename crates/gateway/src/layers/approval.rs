//! Approval: a call that needs one goes no further without it.
//!
//! Nobody can be asked yet, so a call whose policy demands an approval is refused, with a code of its own.

use keepgate_call::{Code, Refusal};
use keepgate_policy::{Decision, Effect, ToolFacts};

use super::{policy::Judged, session::Bound};
use crate::gate::Gate;

/// Lets pass what policy allowed outright.
#[derive(Debug, Clone, Copy)]
pub struct Await;

/// A call that may be made. Only this file makes one.
#[derive(Debug)]
pub struct Permitted {
    bound: Bound,
    tool: Option<ToolFacts>,
    decision: Decision,
}

impl Permitted {
    /// The call, the definition of its tool, and the decision that permits it.
    pub fn into_parts(self) -> (Bound, Option<ToolFacts>, Decision) {
        (self.bound, self.tool, self.decision)
    }
}

impl Gate<Judged> for Await {
    type Out = Permitted;

    async fn pass(&self, judged: Judged) -> Result<Permitted, Refusal> {
        let (bound, tool, decision) = judged.into_parts();
        match &decision.effect {
            Effect::Allow => Ok(Permitted {
                bound,
                tool,
                decision,
            }),
            Effect::Approve(_) => {
                let mut refusal = Refusal::new(Code::ApprovalRequired);
                refusal.reasons = super::policy::reasons(&decision);
                refusal.policy = Some(decision.revision);
                Err(refusal)
            }
            // The judge refuses these itself; a denied call that came this far is a bug, and still denied.
            Effect::Deny => Err(Refusal::new(Code::PolicyDenied)),
        }
    }
}
