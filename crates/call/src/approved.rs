//! Facts of the approval a call uses, for policy.

use std::sync::Arc;

/// An approval of the very call that is about to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// Groups of the operators who agreed, sorted, without repetition.
    pub groups: Vec<Arc<str>>,
    /// Seconds since the last of them agreed.
    pub age_s: u64,
    /// Whether an operator has changed the arguments.
    pub is_edited: bool,
    /// Kind of its grant.
    pub kind: &'static str,
    /// Uses that are left, this one among them.
    pub uses_left: u32,
    /// End of its use, in seconds of Unix time.
    pub until_s: u64,
}
