//! Decisions of operators: counted once each, over what they were shown, by who may.

use std::{sync::Arc, time::Duration};

use keepgate_call::Tenant;
use keepgate_store::approvals::{ApprovalState, DatabaseError, Decided, DecisionRow, Terms};

use crate::{Approvals, Ineligible, Person, Requirement, View, approvals::millis, eligibility};

/// Time an operator waits for the store and the audit log.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// Its call has gone to the server: too late to take it back.
    #[error("its call was sent to the server already, and cannot be taken back")]
    Sent,
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
    /// A yes of now could not be used.
    #[error(
        "a yes of now would end before the window begins in which it may be used: decide later"
    )]
    TooEarly,
    /// The window is over.
    #[error("the window in which it may be used is over")]
    WindowOver,
    /// The reason is missing, too long or has control characters.
    #[error("a reason of 1 to {MAX_REASON} bytes without control characters is needed")]
    Reason,
    /// The key it is sealed with is lost.
    #[error("the key it was sealed with is lost")]
    Sealed,
    /// The store does not answer, and nothing was done.
    #[error("failed to decide")]
    Store(#[source] DatabaseError),
    /// The store does not answer, and may have done it.
    #[error("whether it was done is not known yet: look again")]
    OutcomeUnknown,
}

impl From<DatabaseError> for DecideError {
    fn from(error: DatabaseError) -> Self {
        if matches!(error, DatabaseError::OutcomeUnknown) {
            Self::OutcomeUnknown
        } else {
            Self::Store(error)
        }
    }
}

/// Runs a transition to its end, whether or not anybody waits for it: what was decided is recorded too.
async fn to_the_end(
    act: impl Future<Output = Result<View, DecideError>> + Send + 'static,
) -> Result<View, DecideError> {
    match tokio::time::timeout(PATIENCE, tokio::spawn(act)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) | Err(_) => Err(DecideError::OutcomeUnknown),
    }
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
        let decision = DecisionRow {
            operator_id: person.id.clone(),
            operator: person.on_record().into(),
            approves: verdict == Verdict::Approve,
            decided_ms: 0,
            shown: shown.into(),
            reason: reason.into(),
            state: None,
            is_recorded: false,
        };
        let (approvals, tenant, id) = (self.clone(), tenant.clone(), id.to_owned());
        let person = person.clone();
        to_the_end(async move { approvals.count(&tenant, &id, &person, decision).await }).await
    }

    async fn count(
        &self,
        tenant: &Tenant,
        id: &str,
        person: &Person,
        mut decision: DecisionRow,
    ) -> Result<View, DecideError> {
        self.resume().await?;
        let found = self.0.store.get(tenant, id).await?;
        let (row, before) = found.ok_or(DecideError::Unknown)?;
        let frozen = Arc::new(self.opened(&row).ok_or(DecideError::Sealed)?);
        if frozen.shown() != *decision.shown {
            return Err(DecideError::NotShown);
        }
        let settings = self.settings();
        // With the roles and groups of now, as at the use.
        let person = self.0.surroundings.person(&person.id);
        let person = person.ok_or(DecideError::Ineligible(Ineligible::Gone))?;
        self.may_decide(&person, &frozen, &settings)
            .map_err(DecideError::Ineligible)?;
        // A no is a no at any time.
        if decision.approves && row.state == ApprovalState::Pending {
            let agreed = self.agreed(&before, &frozen, &settings);
            let has_decided = before.iter().any(|it| it.operator_id == person.id);
            let turn = eligibility::check_turn(&person, &agreed, &frozen);
            turn.or_else(|early| if has_decided { Ok(()) } else { Err(early) })
                .map_err(DecideError::Ineligible)?;
        }
        let now = self.now();
        decision.decided_ms = millis(now);
        if decision.approves {
            check_window(&frozen.requirement, decision.decided_ms)?;
        }
        let until_ms = frozen.requirement.usable_until_ms(decision.decided_ms);
        let terms = Terms {
            valid_ms: until_ms.saturating_sub(decision.decided_ms),
            cooldown_ms: u64::try_from(settings.cooldown.as_millis()).unwrap_or(u64::MAX),
        };
        let (approvals, call) = (self.clone(), Arc::clone(&frozen));
        let is_enough = move |decisions: &[DecisionRow]| {
            eligibility::is_enough(&approvals.agreed(decisions, &call, &settings), &call)
        };
        let store = &self.0.store;
        let decided = store.decide(tenant, id, decision.clone(), &terms, is_enough);
        let (row, overtaken) = match decided.await? {
            Decided::Counted(row, overtaken) => (*row, overtaken),
            Decided::Twice => return Err(DecideError::Twice),
            Decided::Closed(state) => return Err(DecideError::Closed(state)),
            Decided::Unknown => return Err(DecideError::Unknown),
        };
        self.report(tenant, &row.id).await;
        for other in overtaken {
            self.report(tenant, &other).await;
        }
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
        let (approvals, tenant, id) = (self.clone(), tenant.clone(), id.to_owned());
        let (operator, reason) = (operator.to_owned(), reason.to_owned());
        to_the_end(async move { approvals.withdraw(&tenant, &id, &operator, &reason).await }).await
    }

    async fn withdraw(
        &self,
        tenant: &Tenant,
        id: &str,
        operator: &str,
        reason: &str,
    ) -> Result<View, DecideError> {
        self.resume().await?;
        let found = self.0.store.get(tenant, id).await?;
        let (row, _) = found.ok_or(DecideError::Unknown)?;
        let why = ("operator", reason);
        if self.finish(&row, Some(operator), why).await?.is_none() {
            return Err(match self.0.store.state(tenant, id).await? {
                // As long as a use of it was not sent, this would have ended it.
                Some(ApprovalState::Consumed) => DecideError::Sent,
                Some(state) => DecideError::Closed(state),
                None => DecideError::Unknown,
            });
        }
        let found = self.0.store.get(tenant, id).await?;
        let (row, decisions) = found.ok_or(DecideError::Unknown)?;
        Ok(self.view(&row, &decisions))
    }
}

/// Whether a yes of now could be used at all.
fn check_window(requirement: &Requirement, now_ms: u64) -> Result<(), DecideError> {
    let until_ms = requirement.usable_until_ms(now_ms);
    if until_ms <= now_ms {
        return Err(DecideError::WindowOver);
    }
    match requirement.not_before_ms() {
        Some(not_before_ms) if until_ms <= not_before_ms => Err(DecideError::TooEarly),
        Some(_) | None => Ok(()),
    }
}

fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_REASON && !text.chars().any(char::is_control)
}
