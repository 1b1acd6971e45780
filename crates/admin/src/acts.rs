//! Acts and lists of operators: the one way to each of them, for the API and for the console. Each checks that the operator may.

use std::collections::BTreeMap;

use keepgate_approval::View;
use keepgate_call::Tenant;
use keepgate_store::kill::Scope;
use serde::Serialize;

use crate::{
    approvals::{ApprovalListing, ApprovalPage, Decision, Revocation},
    kills::{
        DrillReport, KillClearing, KillDrill, KillListing, KillOutcome, KillPage, KillSetting,
        KillView,
    },
    operators::{Operator, Operators, Permission},
    refused::Refused,
    service::Admin,
    source::{Source, TestNotification},
};

/// Result of an act.
type Acted<T> = Result<T, Refused>;

/// The answer to a test message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestedNotification {
    /// The target.
    pub target: String,
    /// Always so.
    pub delivered: bool,
}

fn check(operator: &Operator, permission: Permission) -> Acted<()> {
    if operator.may(permission) {
        Ok(())
    } else {
        Err(Refused::Role)
    }
}

/// Every act that is refused is refused with [`Refused`].
#[expect(
    clippy::missing_errors_doc,
    reason = "all of them refuse with the one type"
)]
impl<S: Source> Admin<S> {
    /// The operators.
    pub fn operators(&self) -> &Operators {
        &self.inner.operators
    }

    /// The gateway, as far as operators see it.
    pub fn source(&self) -> &S {
        &self.inner.source
    }

    /// Numbers of approvals that wait, by tenant; `None` while their store does not answer. Takes as long as the store: whoever
    /// acts does not ask first.
    pub async fn pending_approvals(&self) -> Option<BTreeMap<Tenant, u64>> {
        self.inner.approvals.pending().await
    }

    /// A page of approvals.
    pub async fn list_approvals(
        &self,
        operator: &Operator,
        listing: &ApprovalListing,
    ) -> Acted<ApprovalPage> {
        check(operator, Permission::Read)?;
        self.inner.approvals.list(listing).await
    }

    /// One approval, whole.
    pub async fn show_approval(
        &self,
        operator: &Operator,
        tenant: &Tenant,
        id: &str,
    ) -> Acted<View> {
        check(operator, Permission::Read)?;
        self.inner.approvals.show(tenant, id).await
    }

    /// Decides over an approval, by its tenant and id.
    pub async fn decide(
        &self,
        operator: &Operator,
        which: (&Tenant, &str),
        decision: &Decision,
    ) -> Acted<View> {
        check(operator, Permission::Approve)?;
        self.inner.approvals.decide(operator, which, decision).await
    }

    /// Takes an approval back, by its tenant and id.
    pub async fn revoke(
        &self,
        operator: &Operator,
        which: (&Tenant, &str),
        revocation: &Revocation,
    ) -> Acted<View> {
        check(operator, Permission::Revoke)?;
        let approvals = &self.inner.approvals;
        approvals.revoke(operator, which, revocation).await
    }

    /// Sends a test message to a target of notifications.
    pub async fn test_notification(
        &self,
        operator: &Operator,
        target: &str,
    ) -> Acted<TestedNotification> {
        check(operator, Permission::Notify)?;
        let sent = self.inner.source.test_notification(target, &operator.name);
        match sent.await {
            TestNotification::Delivered => Ok(TestedNotification {
                target: target.to_owned(),
                delivered: true,
            }),
            TestNotification::Failed(reason) => Err(Refused::Undelivered(reason)),
            TestNotification::Unknown { known } => {
                let known = match known.len() {
                    0 => "none is configured".to_owned(),
                    _ => format!("there are {}", known.join(", ")),
                };
                Err(Refused::NoTarget(format!(
                    "no target of notifications is called `{target}`; {known}"
                )))
            }
        }
    }

    /// A page of kills.
    pub fn list_kills(&self, operator: &Operator, listing: &KillListing) -> Acted<KillPage> {
        check(operator, Permission::Read)?;
        let stray = self.inner.source.stray_kills();
        self.inner.kills.list(listing, &stray)
    }

    /// Sets a kill.
    pub async fn set_kill(&self, operator: &Operator, setting: &KillSetting) -> Acted<KillOutcome> {
        check(operator, Permission::Set)?;
        let knows = |scope: &Scope| self.inner.source.knows(scope);
        self.inner.kills.set(operator, setting, knows).await
    }

    /// Clears a kill.
    pub async fn clear_kill(
        &self,
        operator: &Operator,
        id: &str,
        clearing: &KillClearing,
    ) -> Acted<KillOutcome> {
        check(operator, Permission::Clear)?;
        self.inner.kills.clear(operator, id, clearing).await
    }

    /// Reports what a kill would cut, without a record: for one who tried to set it.
    pub fn kill_reach(&self, operator: &Operator, drill: &KillDrill) -> Acted<DrillReport> {
        check(operator, Permission::Drill)?;
        let knows = |scope: &Scope| self.inner.source.knows(scope);
        let sessions = self.inner.source.sessions();
        let reach = self.inner.kills.reach(operator, drill, knows, sessions);
        reach.map(|(_, report)| report)
    }

    /// Whether the operator may clear this kill: one's own takes another permission.
    pub fn may_clear(&self, operator: &Operator, kill: &KillView) -> bool {
        let is_own = *kill.by == *operator.name;
        operator.may(Permission::Clear) && (!is_own || operator.may(Permission::ClearOwn))
    }

    /// Reports what a kill would cut, on record and in a file.
    pub async fn drill(&self, operator: &Operator, drill: &KillDrill) -> Acted<DrillReport> {
        check(operator, Permission::Drill)?;
        let knows = |scope: &Scope| self.inner.source.knows(scope);
        let sessions = self.inner.source.sessions();
        self.inner
            .kills
            .drill(operator, drill, knows, sessions)
            .await
    }
}
