//! Rows of approvals, and results of their transitions.

use std::sync::Arc;

use keepgate_call::Tenant;

/// State of a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    /// Waits for a decision.
    Pending,
    /// May be used, until its time or its uses are over.
    Approved,
    /// Denied.
    Denied,
    /// Its time was over before a decision, or before the last use.
    Expired,
    /// Ended before a decision: by a kill, an operator, or because its key is lost.
    Cancelled,
    /// Used as often as it may be.
    Consumed,
    /// Taken back after it was approved.
    Revoked,
}

impl ApprovalState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Consumed,
        Self::Revoked,
    ];

    /// Whether a call may still come of it.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Pending | Self::Approved => true,
            Self::Denied | Self::Expired | Self::Cancelled | Self::Consumed | Self::Revoked => {
                false
            }
        }
    }

    /// The word of the database, the API and the records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Consumed => "consumed",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Number of a session that grants are bound to: random, and of one process.
pub type GrantSession = [u8; 16];

/// A call that looks for an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallKey {
    /// Digest of the call.
    pub digest: [u8; 32],
    /// Its session, if grants are bound to that.
    pub session: Option<GrantSession>,
}

/// A request as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The tenant, first part of every key.
    pub tenant: Tenant,
    /// The id, `ap_` and random letters.
    pub id: Arc<str>,
    /// Digest of the call.
    pub digest: [u8; 32],
    /// Digest of the caller, by which limits are counted.
    pub caller: [u8; 32],
    /// The state.
    pub state: ApprovalState,
    /// Time of the request.
    pub created_ms: u64,
    /// End of the wait for a decision.
    pub expires_ms: u64,
    /// Time of the decision.
    pub decided_ms: Option<u64>,
    /// End of its use.
    pub usable_until_ms: Option<u64>,
    /// Begin of its use, where that is later than the decision.
    pub not_before_ms: Option<u64>,
    /// Session it is bound to, where it is bound to one.
    pub session: Option<GrantSession>,
    /// Uses that are left.
    pub uses_left: u32,
    /// End of the time in which an equal request is denied at once.
    pub cooldown_until_ms: Option<u64>,
    /// The end that no decision on the request made, once it has ended so.
    pub end: Option<ApprovalEnd>,
    /// Transitions that are in the audit log: [`super::REQUEST_RECORDED`] and [`super::END_RECORDED`].
    pub recorded: u32,
    /// Id of the key it is sealed with.
    pub key_id: Box<str>,
    /// Everything else, sealed.
    pub sealed: Box<[u8]>,
}

/// An end that no decision on the request made: of time, by a kill, by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalEnd {
    /// Time of it.
    pub at_ms: u64,
    /// The operator who ended it.
    pub by: Option<Box<str>>,
    /// Code of the reason.
    pub code: Box<str>,
    /// The reason.
    pub message: Box<str>,
}

/// A transition that is in the audit log now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The request.
    Requested,
    /// The decision of an operator.
    Decided {
        /// Id of the operator.
        operator_id: Box<str>,
    },
    /// The end.
    Ended,
    /// A use without a known outcome.
    Doubted {
        /// Id of the use.
        use_id: Box<str>,
    },
}

/// A use whose outcome nobody knows, which the audit log lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Id of the use.
    pub use_id: Box<str>,
    /// Id of the decision over the call that used it.
    pub decision_id: Box<str>,
    /// Reason its outcome is not known.
    pub reason: Box<str>,
}

/// One operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Id of the operator, which no other ever has.
    pub operator_id: Box<str>,
    /// Name of the operator.
    pub operator: Box<str>,
    /// Whether it is a yes.
    pub approves: bool,
    /// Time of it.
    pub decided_ms: u64,
    /// Digest of what the operator was shown.
    pub shown: Box<str>,
    /// The operator's reason.
    pub reason: Box<str>,
    /// State of the request after it; none before it was counted.
    pub state: Option<ApprovalState>,
    /// Whether it is in the audit log.
    pub is_recorded: bool,
}

/// Limits under which a request is accepted, each of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Open requests of a caller.
    pub pending: u32,
    /// Requests of a caller in `window_ms`.
    pub requests: u32,
    /// Time in which they are counted, in milliseconds.
    pub window_ms: u64,
    /// Pending requests of the tenant.
    pub all: u32,
    /// Sealed bytes of these.
    pub bytes: u64,
    /// Sealed bytes of a caller's open requests.
    pub caller_bytes: u64,
}

/// Result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion {
    /// It waits for a decision now.
    Inserted,
    /// An identical one waits already, with this id.
    Joined(Arc<str>),
    /// Somebody has decided over an identical one meanwhile.
    Decided,
    /// A use of an identical one, with this id, is under way and may be given back.
    InUse(Arc<str>),
    /// The caller has as many open requests as it may.
    PendingCap,
    /// The caller's open requests have as many bytes as they may.
    BytesCap,
    /// The caller made as many requests lately as it may.
    RateCap,
    /// As many requests of the tenant are open as may be.
    Full,
}

/// Result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts. The row as it is now, and the ids of what a no has taken back: a yes to the same call.
    Counted(Box<ApprovalRow>, Vec<Arc<str>>),
    /// The operator has decided before.
    Twice,
    /// It is not pending any more: its state.
    Closed(ApprovalState),
    /// There is none with this id.
    Unknown,
}

/// Terms of a decision, from the policy and the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Time for which a yes may be used, in milliseconds.
    pub valid_ms: u64,
    /// Time after a no in which an equal request is denied at once, in milliseconds.
    pub cooldown_ms: u64,
}

/// Part of a list.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// States that are wanted; empty for all.
    pub states: Vec<ApprovalState>,
    /// The last row of the page before: its time and id.
    pub after: Option<(u64, Arc<str>)>,
    /// Most rows.
    pub limit: u32,
}

/// The key that seals the rows, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveKey {
    /// Its id.
    pub id: Box<str>,
    /// Whether it was found to be lost while requests were open.
    pub is_lost: bool,
}

/// A row sealed again with another key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Digest of the call with the new key.
    pub digest: [u8; 32],
    /// Digest of the caller with the new key.
    pub caller: [u8; 32],
    /// Id of the new key.
    pub key_id: Box<str>,
    /// The sealed part.
    pub sealed: Box<[u8]>,
}
