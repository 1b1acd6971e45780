//! What judging answers.

use std::sync::Arc;
use std::time::Duration;

use crate::obligations::Obligations;
use crate::window::Window;

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

/// Terms of an approval. Several `approve` rules that match join by the strictest: every rule's duty has to be met, and uses,
/// times and risk are the strictest of all, so no rule and no layer weakens another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approval {
    /// Approvers named by any rule, as `group:<name>` or `user:<name>`, sorted, without repetition; for display.
    pub approvers: Vec<Arc<str>>,
    /// Largest quorum of any rule; at least 1.
    pub quorum: u32,
    /// Duties of the rules, sorted, without repetition. Never empty.
    pub duties: Vec<ApprovalDuty>,
    /// Time the request stays open; `None` leaves it to the operator's default.
    pub ttl: Option<Duration>,
    /// Whether a rule named no time: then the default is the longest.
    pub is_default_ttl: bool,
    /// Uses of a yes; at least 1.
    pub uses: u32,
    /// Time a yes may be used; `None` leaves it to the operator's default.
    pub valid_for: Option<Duration>,
    /// Whether a rule named no such time: then the default is the longest.
    pub is_default_valid_for: bool,
    /// Whether a yes is for the session alone that it was asked in.
    pub is_session_bound: bool,
    /// Windows in which a yes may be used, sorted, without repetition: in all of them at once.
    pub windows: Vec<Window>,
    /// Risk of the call.
    pub risk: Risk,
}

/// What one `approve` rule demands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApprovalDuty {
    /// Place in the order of duties, from 1: those of a step are asked once all before it are met.
    pub step: u32,
    /// `group:<name>` or `user:<name>`, sorted, without repetition; empty means whoever the operator appointed.
    pub approvers: Vec<Arc<str>>,
    /// How many different people of these must agree; at least 1.
    pub quorum: u32,
}

/// Risk of a call, as its rule names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Risk {
    /// Named so by every rule that asks.
    Low,
    /// The default.
    #[default]
    High,
}

impl Risk {
    /// The word of rules and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

impl Approval {
    /// Joins the terms of another rule or layer by the strictest.
    pub(crate) fn join(&mut self, other: &Self) {
        self.approvers.extend(other.approvers.iter().cloned());
        self.approvers.sort();
        self.approvers.dedup();
        self.quorum = self.quorum.max(other.quorum);
        self.duties.extend(other.duties.iter().cloned());
        self.duties.sort();
        self.duties.dedup();
        self.ttl = shorter(self.ttl, other.ttl);
        self.is_default_ttl |= other.is_default_ttl;
        self.uses = self.uses.min(other.uses);
        self.valid_for = shorter(self.valid_for, other.valid_for);
        self.is_default_valid_for |= other.is_default_valid_for;
        self.is_session_bound |= other.is_session_bound;
        self.windows.extend(other.windows.iter().cloned());
        self.windows.sort();
        self.windows.dedup();
        self.risk = self.risk.max(other.risk);
    }
}

impl Approval {
    /// Time the request stays open, where `default` is the operator's.
    pub fn ttl_or(&self, default: Duration) -> Duration {
        limited(self.ttl, self.is_default_ttl, (default, default))
    }

    /// Time a yes may be used, where `default` is the operator's, and `longest` that of a grant with an end of its own.
    pub fn valid_for_or(&self, default: Duration, longest: Duration) -> Duration {
        let longest = longest.max(default);
        limited(
            self.valid_for,
            self.is_default_valid_for,
            (default, longest),
        )
    }

    /// The window in which a yes may be used, in seconds of Unix time: the one that is open, else the next; none where no rule
    /// names one.
    ///
    /// # Errors
    /// [`NoWindow`] when there is none to come.
    pub fn window(&self, now_s: u64) -> Result<Option<(u64, u64)>, NoWindow> {
        if self.windows.is_empty() {
            return Ok(None);
        }
        Window::meet(&self.windows, now_s).map(Some).ok_or(NoWindow)
    }
}

/// The window of an approval is over, its windows do not meet, or the next is too far ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no window in which this may be used is to come")]
pub struct NoWindow;

fn limited(
    time: Option<Duration>,
    is_default: bool,
    (default, longest): (Duration, Duration),
) -> Duration {
    let time = time.unwrap_or(if is_default { default } else { longest });
    if is_default { time.min(default) } else { time }
}

/// The shorter of two times, either of which may be missing.
fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
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

    /// No window in which an approval may be used is to come.
    pub const NO_WINDOW: &'static str = "no_window";

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms() -> impl Strategy<Value = Approval> {
        let approvers = proptest::collection::vec("(group|user):[ab]", 0..3);
        let time = || proptest::option::of((1..100_u64).prop_map(Duration::from_secs));
        let risk = prop_oneof![Just(Risk::Low), Just(Risk::High)];
        let steps = 1..3_u32;
        let grant = (
            any::<bool>(),
            any::<bool>(),
            proptest::option::of(windows()),
        );
        (
            approvers,
            1..4_u32,
            time(),
            1..5_u32,
            time(),
            risk,
            steps,
            grant,
        )
            .prop_map(
                |(
                    approvers,
                    quorum,
                    ttl,
                    uses,
                    valid_for,
                    risk,
                    step,
                    (has_end, bound, window),
                )| {
                    let approvers: Vec<Arc<str>> = approvers.into_iter().map(Into::into).collect();
                    Approval {
                        duties: vec![ApprovalDuty {
                            step,
                            approvers: approvers.clone(),
                            quorum,
                        }],
                        approvers,
                        quorum,
                        is_default_ttl: ttl.is_none(),
                        ttl,
                        uses,
                        is_default_valid_for: valid_for.is_none() && !has_end,
                        valid_for,
                        is_session_bound: bound,
                        windows: window.into_iter().collect(),
                        risk,
                    }
                },
            )
    }

    fn windows() -> impl Strategy<Value = Window> {
        (0..90_u64, 1..90_u64).prop_map(|(from, long)| Window::Fixed {
            not_before_s: from,
            until_s: from + long,
        })
    }

    proptest! {
        #[test]
        fn no_rule_weakens_another(all in proptest::collection::vec(terms(), 1..5)) {
            let mut joined = all[0].clone();
            for other in &all[1..] {
                joined.join(other);
            }
            for one in &all {
                prop_assert!(one.duties.iter().all(|duty| joined.duties.contains(duty)));
                prop_assert!(joined.quorum >= one.quorum && joined.uses <= one.uses);
                prop_assert!(joined.risk >= one.risk);
                let default = Duration::from_secs(50);
                prop_assert!(joined.ttl_or(default) <= one.ttl_or(default));
                prop_assert!(joined.valid_for_or(default, 2 * default) <= one.valid_for_or(default, 2 * default));
                prop_assert!(joined.is_session_bound >= one.is_session_bound);
                // At no time may the joined one be used, and this one not.
                for now in 0..200 {
                    let is_open = |terms: &Approval| match terms.window(now) {
                        Ok(Some((from, to))) => from <= now && now < to,
                        Ok(None) => true,
                        Err(NoWindow) => false,
                    };
                    prop_assert!(!is_open(&joined) || is_open(one), "{now}");
                }
            }
        }
    }
}
