//! Transitions in the audit log: written once they are durable, in order, and later where the log did not take them at once.

use std::sync::Arc;

use keepgate_call::Tenant;
use keepgate_store::approvals::{
    ApprovalEnd, ApprovalRow, ApprovalState, DatabaseError, DecisionRow, END_RECORDED,
    REQUEST_RECORDED, Transition,
};

use crate::{
    Approvals, FrozenCall,
    approvals::{millis, moment},
    keyring::KeyState,
    records::{self, DecisionNote},
};

/// Requests looked at in one turn; each may hold a megabyte.
const PAGE: u32 = 32;

impl Approvals {
    /// Ends an open request that nobody decided over, and records the reason.
    pub(crate) async fn finish(
        &self,
        row: &ApprovalRow,
        by: Option<&str>,
        (code, message): (&str, &str),
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        let end = ApprovalEnd {
            at_ms: millis(self.now()),
            by: by.map(Into::into),
            code: code.into(),
            message: message.into(),
        };
        let ended = self.0.store.end(&row.tenant, &row.id, end).await?;
        if ended.is_some() {
            self.report(&row.tenant, &row.id).await;
        }
        Ok(ended)
    }

    /// Records what has become of a request, and wakes those who wait for it. What cannot be recorded is, by a later look.
    pub(crate) async fn report(&self, tenant: &Tenant, id: &Arc<str>) {
        if let Err(error) = self.record(tenant, id).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                approval = &**id,
                "a transition of an approval is not recorded yet"
            );
        }
        self.0.waiters.wake(tenant, id);
        self.0.changes.send_replace(());
    }

    /// Writes the records that the log has not taken at once: until then an approval is not used.
    pub(crate) async fn record_late(&self, tenant: &Tenant) -> Result<(), DatabaseError> {
        for id in self.0.store.unrecorded(tenant, PAGE).await? {
            if !self.record(tenant, &id).await? {
                break;
            }
        }
        Ok(())
    }

    /// Writes what the log lacks of a request, in order. Whether it lacks nothing any more.
    pub(crate) async fn record(&self, tenant: &Tenant, id: &str) -> Result<bool, DatabaseError> {
        // One at a time: of two that find the same missing, both would write it.
        let _turn = self.0.recording.lock().await;
        // Without the key a record would lack the call. It may be readable again; one that is lost is not.
        match self.key_state() {
            KeyState::Usable(_) | KeyState::Lost(_) | KeyState::Unopened => {}
            KeyState::Unreadable(_) => return Ok(false),
        }
        let found = self.0.store.get(tenant, id).await?;
        let Some((row, decisions)) = found else {
            return Ok(true);
        };
        let call = self.opened(&row);
        let call = call.as_ref();
        if row.recorded & REQUEST_RECORDED == 0 {
            let at = moment(row.created_ms);
            if !records::requested(&self.0.log, &row, call, at).await {
                return Ok(false);
            }
            self.note_recorded(&row, &Transition::Requested).await;
        }
        Ok(self.record_decisions(&row, call, &decisions).await
            && self.record_doubts(&row, call).await?
            && self.record_end(&row, call).await)
    }

    async fn record_decisions(
        &self,
        row: &ApprovalRow,
        call: Option<&FrozenCall>,
        decisions: &[DecisionRow],
    ) -> bool {
        for decision in decisions.iter().filter(|decision| !decision.is_recorded) {
            let note = DecisionNote::of(decision, row, call);
            let at = moment(decision.decided_ms);
            if !records::decided(&self.0.log, row, call, note, at).await {
                return false;
            }
            let operator_id = decision.operator_id.clone();
            self.note_recorded(row, &Transition::Decided { operator_id })
                .await;
        }
        true
    }

    async fn record_end(&self, row: &ApprovalRow, call: Option<&FrozenCall>) -> bool {
        let has_ended = matches!(
            row.state,
            ApprovalState::Expired | ApprovalState::Cancelled | ApprovalState::Revoked
        );
        if !has_ended || row.recorded & END_RECORDED != 0 {
            return true;
        }
        let (at, by, why) = match &row.end {
            Some(end) => (end.at_ms, end.by.as_deref(), (&*end.code, &*end.message)),
            // Of an earlier version, which kept no reason.
            None => (millis(self.now()), None, (row.state.as_str(), "")),
        };
        let is_recorded = records::ended(&self.0.log, row, call, by, why, moment(at)).await;
        if is_recorded {
            self.note_recorded(row, &Transition::Ended).await;
        }
        is_recorded
    }

    /// Alerts that nobody knows whether calls were made.
    async fn record_doubts(
        &self,
        row: &ApprovalRow,
        call: Option<&FrozenCall>,
    ) -> Result<bool, DatabaseError> {
        for doubt in self.0.store.doubts(&row.tenant, &row.id).await? {
            tracing::error!(
                approval = &*row.id,
                decision = &*doubt.decision_id,
                why = &*doubt.reason,
                "a call that used this approval may have been made: its outcome is not known"
            );
            let (why, at) = (("indeterminate", &*doubt.reason), self.now());
            if !records::ended(&self.0.log, row, call, None, why, at).await {
                return Ok(false);
            }
            let use_id = doubt.use_id;
            self.note_recorded(row, &Transition::Doubted { use_id })
                .await;
        }
        Ok(true)
    }

    pub(crate) async fn note_recorded(&self, row: &ApprovalRow, transition: &Transition) {
        let store = &self.0.store;
        let noted = store.note_recorded(&row.tenant, &row.id, transition).await;
        if let Err(error) = noted {
            // It is recorded once more, then.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                approval = &*row.id,
                "failed to note a record"
            );
        }
    }
}
