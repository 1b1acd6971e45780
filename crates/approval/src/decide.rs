//! Decisions of operators: counted once each, over what they were shown, by who may.

use keepgate_call::Tenant;
use keepgate_store::approvals::{ApprovalState, DatabaseError, Decided, DecisionRow, Terms};

use crate::{
    Approvals, Ineligible, Person, View,
    approvals::millis,
    eligibility,
    records::{self, DecisionNote},
};

/// Longest reason of an operator, in bytes.
const MAX_REASON: usize = 1024;

/// A yes or a no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call may be made.
    Approve,
    /// It may not.
    Deny,
}

/// Reason a decision does not count.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such request.
    #[error("no approval has this id")]
    Unknown,
    /// It is not open any more.
    #[error("it is {} already", .0.as_str())]
    Closed(ApprovalState),
    /// The operator has decided before.
    #[error("you have decided already")]
    Twice,
    /// The operator may not decide over this call.
    #[error(transparent)]
    Ineligible(Ineligible),
    /// The operator was shown something else than what waits.
    #[error(
        "what you were shown is not what waits: look again, and send the `shown` of what you see"
    )]
    NotShown,
    /// The reason is missing, too long or has control characters.
    #[error("a reason of 1 to {MAX_REASON} bytes without control characters is needed")]
    Reason,
    /// The key it is sealed with is lost.
    #[error("the key it was sealed with is lost")]
    Sealed,
    /// The store does not answer.
    #[error("failed to decide")]
    Store(#[from] DatabaseError),
}

impl Approvals {
    /// Counts the decision of an operator on what they were shown.
    ///
    /// # Errors
    /// [`DecideError`] when it does not count.
    pub async fn decide(
        &self,
        tenant: &Tenant,
        id: &str,
        person: &Person,
        verdict: Verdict,
        reason: &str,
        shown: &str,
    ) -> Result<View, DecideError> {
        if !is_reason(reason) {
            return Err(DecideError::Reason);
        }
        let found = self.0.store.get(tenant, id).await?;
        let (row, _) = found.ok_or(DecideError::Unknown)?;
        let frozen = self.opened(&row).ok_or(DecideError::Sealed)?;
        if frozen.shown() != shown {
            return Err(DecideError::NotShown);
        }
        let settings = self.settings();
        eligibility::check(person, &frozen, &settings).map_err(DecideError::Ineligible)?;
        let now = self.now();
        let approves = verdict == Verdict::Approve;
        let decision = DecisionRow {
            operator: person.on_record().into(),
            approves,
            decided_ms: millis(now),
            shown: shown.into(),
            reason: reason.into(),
        };
        let terms = Terms {
            valid_ms: frozen.requirement.valid_for_s.saturating_mul(1000),
            cooldown_ms: u64::try_from(settings.cooldown.as_millis()).unwrap_or(u64::MAX),
        };
        let is_enough = |decisions: &[DecisionRow]| {
            eligibility::is_enough(&self.agreed(decisions, &frozen, &settings), &frozen)
        };
        let decided = self
            .0
            .store
            .decide(tenant, id, &decision, &terms, is_enough);
        let row = match decided.await? {
            Decided::Counted(row) => *row,
            Decided::Twice => return Err(DecideError::Twice),
            Decided::Closed(state) => return Err(DecideError::Closed(state)),
            Decided::Unknown => return Err(DecideError::Unknown),
        };
        let by = person.on_record();
        let note = DecisionNote {
            operator: &by,
            approves,
            may_be_caller: frozen.caller.owner.is_none(),
            shown,
            reason,
        };
        let is_recorded = records::decided(&self.0.log, &row, &frozen, note, now).await;
        if is_recorded && row.state != ApprovalState::Pending {
            self.note_recorded(&row, records::DECIDED).await;
        }
        self.0.waiters.wake(id);
        let found = self.0.store.get(tenant, id).await?;
        let (row, decisions) = found.ok_or(DecideError::Unknown)?;
        Ok(self.view(&row, &decisions))
    }

    /// Takes back an open request: a pending one is cancelled, an approved one revoked.
    ///
    /// # Errors
    /// [`DecideError`] when it is not open.
    pub async fn revoke(
        &self,
        tenant: &Tenant,
        id: &str,
        operator: &str,
        reason: &str,
    ) -> Result<View, DecideError> {
        if !is_reason(reason) {
            return Err(DecideError::Reason);
        }
        let found = self.0.store.get(tenant, id).await?;
        let (row, _) = found.ok_or(DecideError::Unknown)?;
        let why = ("operator", reason);
        if self.finish(&row, Some(operator), why).await?.is_none() {
            let found = self.0.store.get(tenant, id).await?;
            return Err(found.map_or(DecideError::Unknown, |(row, _)| {
                DecideError::Closed(row.state)
            }));
        }
        let found = self.0.store.get(tenant, id).await?;
        let (row, decisions) = found.ok_or(DecideError::Unknown)?;
        Ok(self.view(&row, &decisions))
    }
}

fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_REASON && !text.chars().any(char::is_control)
}
