//! The attempt of a call to use an approval, as the gateway around it sees the call.

use keepgate_call::Approved;

use crate::{CallSession, Requirement};

/// The last word of policy on a call that has an approval, asked before the approval is used.
#[derive(Debug)]
pub enum LastWord {
    /// The call may be made.
    Allow,
    /// It may be made by an approval that meets these terms as well.
    Approve(Box<Requirement>),
    /// It may not. The approval stays as it is.
    Deny,
}

/// A call that may use an approval.
pub trait Attempt: Sync {
    /// Evaluates policy once more, with the approval that the call is about to use.
    fn evaluate(&self, approved: &Approved) -> LastWord;

    /// Its session, which a grant may be bound to.
    fn session(&self) -> Option<CallSession>;
}

#[cfg(test)]
impl Attempt for () {
    fn evaluate(&self, _approved: &Approved) -> LastWord {
        LastWord::Allow
    }

    fn session(&self) -> Option<CallSession> {
        None
    }
}
