//! What judging answers.

use std::sync::Arc;
use std::time::Duration;

use crate::obligations::Obligations;

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to happen.
    pub effect: Effect,
    /// Why: for a refusal the codes that refused, for an approval those that ask, for an allowance those that allowed.
    /// Never empty. Ordered by code, then message.
    pub reasons: Vec<Reason>,
    /// The scopes of an access token that would lift the denial, sorted; empty unless every rule that denies names some.
    pub scopes: Vec<Arc<str>>,
    /// What must be done with a call that is not denied; `None` for nothing.
    pub obligations: Option<Box<Obligations>>,
    /// Content hash of the policies that decided.
    pub revision: Arc<str>,
    /// Time spent building the input and evaluating.
    pub elapsed: Duration,
}

/// What is to happen to a call. Deny beats approve beats allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The call may go on.
    Allow,
    /// The call may go on once somebody has approved it.
    Approve(Approval),
    /// The call is refused.
    Deny,
}

/// Who must approve, how many of them, and how long the question stays open. Several `approve` rules that match
/// join: the union of approvers, the largest quorum, the shortest time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approval {
    /// `group:<name>` or `user:<name>`, sorted, without repetition; empty means whoever the operator appointed.
    pub approvers: Vec<Arc<str>>,
    /// How many different people must agree; at least 1.
    pub quorum: u32,
    /// How long the question stays open; `None` leaves it to the operator's default.
    pub ttl: Option<Duration>,
}

/// One reason. The code is stable and safe to show; the message is the author's text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// A stable code: one of ours ([`Reason::NO_RULE`] and its neighbours) or the author's.
    pub code: Arc<str>,
    /// A sentence for people.
    pub message: Arc<str>,
}

impl Reason {
    /// No rule allowed the call.
    pub const NO_RULE: &'static str = "no_rule";
    /// The decision was undefined.
    pub const POLICY_UNDEFINED: &'static str = "policy_undefined";
    /// A rule or the input failed.
    pub const POLICY_ERROR: &'static str = "policy_error";
    /// The rules did not finish in time.
    pub const POLICY_TIMEOUT: &'static str = "policy_timeout";
    /// The evaluator panicked.
    pub const POLICY_PANIC: &'static str = "policy_panic";
    /// A rule answered something of an unknown shape.
    pub const POLICY_INVALID_RESULT: &'static str = "policy_invalid_result";
    /// A rule asked for an obligation that cannot be carried out.
    pub const OBLIGATION_UNSUPPORTED: &'static str = "obligation_unsupported";

    /// The method is part of the protocol's own working and is not judged.
    pub const PROTOCOL: &'static str = "protocol";

    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// One of our own refusals. The message says nothing of a rule's text or an argument: those go to the log.
    pub(crate) fn ours(code: &'static str) -> Self {
        let message = match code {
            Self::NO_RULE => "no rule allows this",
            Self::POLICY_UNDEFINED => "the policy gave no answer",
            Self::POLICY_ERROR => "a rule failed",
            Self::POLICY_TIMEOUT => "the policy did not answer in time",
            Self::POLICY_PANIC => "the policy evaluator failed",
            Self::POLICY_INVALID_RESULT => "a rule answered something of an unknown shape",
            Self::OBLIGATION_UNSUPPORTED => {
                "a rule asks for an obligation that cannot be carried out"
            }
            Self::PROTOCOL => "part of the protocol, not judged",
            _ => "",
        };
        Self::new(code, message)
    }
}

/// Which items of a list the caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// One answer per item, in the order asked. All false when anything went wrong.
    pub shown: Vec<bool>,
    /// Why nothing is shown although something might be; `None` when filtering went well.
    pub failure: Option<Reason>,
    /// Content hash of the policies that decided.
    pub revision: Arc<str>,
    /// Time spent on all items together.
    pub elapsed: Duration,
}
