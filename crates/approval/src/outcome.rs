//! Outcomes of a call that needs an approval: a use of one, or a denial.

use std::{sync::Arc, time::Duration};

use keepgate_call::{Approved, Call, Tenant};
use keepgate_store::approvals::{ApprovalRow, ApprovalState};

use crate::{
    Approvals, FrozenCall,
    approvals::{millis, moment, unavailable},
};

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
    /// Somebody has agreed, and the window in which it may be used has not begun.
    NotYet {
        /// Id of the request.
        id: Arc<str>,
        /// Time until it begins.
        begins_in: Duration,
    },
    /// Policy denies the call, which an approval is there for.
    Policy,
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

/// One use of an approval. The call it was taken for may be made once, after [`Self::release`]; dropped, it is settled: used when
/// the call was sent, else given back.
#[derive(Debug)]
pub struct Use {
    pub(crate) approvals: Approvals,
    pub(crate) tenant: Tenant,
    /// Id of the use.
    pub(crate) id: Box<str>,
    pub(crate) approval: Arc<str>,
    pub(crate) call: Arc<Call>,
    /// The request as it was made, without its arguments: a kill of its scope since then takes the approval back.
    asked: Box<FrozenCall>,
    /// The approval as policy saw it.
    approved: Approved,
    /// Time of the request.
    created_ms: u64,
}

impl Use {
    /// The use of the request in `row` with this id, which was made for the call `asked`, for a call like it.
    pub(crate) fn new(
        approvals: &Approvals,
        row: &ApprovalRow,
        id: &str,
        call: &Arc<Call>,
        (asked, approved): (FrozenCall, Approved),
    ) -> Self {
        Self {
            approvals: approvals.clone(),
            tenant: row.tenant.clone(),
            id: id.into(),
            approval: Arc::clone(&row.id),
            call: Arc::clone(call),
            asked: Box::new(asked),
            approved,
            created_ms: row.created_ms,
        }
    }

    /// Id of the approval.
    pub fn approval(&self) -> &Arc<str> {
        &self.approval
    }

    /// The approval as policy saw it.
    pub fn approved(&self) -> &Approved {
        &self.approved
    }

    /// Lets the call go to its server. For the last moment before anything of it leaves: whoever takes the approval back until
    /// now has stopped the call, and whoever comes later learns that it was sent.
    ///
    /// # Errors
    /// [`Denial`] when it was taken back or its time is over; the call must not be sent then.
    pub async fn release(&self) -> Result<(), Denial> {
        let (inner, tenant) = (&*self.approvals.0, &self.tenant);
        let ended = |end| Denial::Ended {
            id: Arc::clone(&self.approval),
            end,
        };
        // Here too, and not by the registry of running calls alone: a kill may cover the request, and not this attempt.
        let facts = self.asked.facts(tenant);
        let since = moment(self.created_ms);
        if inner.surroundings.killed(&facts, since).is_some() {
            return Err(ended(HeldEnd::Withdrawn));
        }
        let now = millis(self.approvals.now());
        let sent = inner.store.send(tenant, &self.id, now).await;
        if sent.map_err(unavailable)? {
            self.call.dispatch();
            return Ok(());
        }
        let state = inner.store.state(tenant, &self.approval).await;
        Err(ended(match state.map_err(unavailable)? {
            Some(ApprovalState::Approved | ApprovalState::Consumed | ApprovalState::Expired)
            | None => HeldEnd::Expired,
            Some(
                ApprovalState::Pending
                | ApprovalState::Denied
                | ApprovalState::Cancelled
                | ApprovalState::Revoked,
            ) => HeldEnd::Withdrawn,
        }))
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
