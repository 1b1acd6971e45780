//! Outcomes of a call that needs an approval: a use of one, or a denial.

use std::{sync::Arc, time::Duration};

use keepgate_call::{Call, Tenant};

use crate::Approvals;

/// A use that has ended.
#[derive(Debug, Clone)]
pub(crate) struct EndedUse {
    pub(crate) tenant: Tenant,
    pub(crate) id: Box<str>,
    pub(crate) was_sent: bool,
}

/// Answer to a call that has no approval to use.
#[derive(Debug)]
pub enum Denial {
    /// A request waits for a decision.
    Pending {
        /// Its id.
        id: Arc<str>,
        /// Time until it expires.
        expires_in: Duration,
    },
    /// The same call was denied a short time before.
    Denied {
        /// Id of the request that was denied.
        id: Arc<str>,
        /// Time until it may be asked for again.
        again_in: Duration,
    },
    /// The request this call waited for is over, and the call was not made. Only when it is made again is somebody asked again.
    Ended {
        /// Id of the request.
        id: Arc<str>,
        /// The end.
        end: HeldEnd,
    },
    /// A limit is reached, named by its key.
    Limit(&'static str, Duration),
    /// The store or the audit log does not answer.
    Unavailable(Box<dyn std::error::Error + Send + Sync>),
}

/// The end of a request that a call waited for, other than a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldEnd {
    /// Another, identical call has used it up.
    Used,
    /// Nobody decided in time, or its time of use is over.
    Expired,
    /// An operator or a kill has ended it.
    Withdrawn,
    /// The call is not the one any more that was shown: its tool, its destination or the policy has changed meanwhile.
    Changed,
}

impl HeldEnd {
    /// In words, for whoever made the call.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "another identical call has used it",
            Self::Expired => "its time is over",
            Self::Withdrawn => "it was withdrawn",
            Self::Changed => "what it was given for has changed",
        }
    }
}

/// One use of an approval. The call it was taken for may be made once; dropped, it is settled: used when the call was sent,
/// else given back.
#[derive(Debug)]
pub struct Use {
    pub(crate) approvals: Approvals,
    pub(crate) tenant: Tenant,
    /// Id of the use.
    pub(crate) id: Box<str>,
    pub(crate) approval: Arc<str>,
    pub(crate) call: Arc<Call>,
}

impl Use {
    /// Id of the approval.
    pub fn approval(&self) -> &Arc<str> {
        &self.approval
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let ended = EndedUse {
            tenant: self.tenant.clone(),
            id: std::mem::take(&mut self.id),
            was_sent: self.call.is_dispatched(),
        };
        self.approvals.ended_uses().push(ended);
        self.approvals.0.use_ended.notify_waiters();
    }
}
