//! Changes that happen by themselves: time runs out, kills take back, uses end, and an earlier process has left something.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use keepgate_store::approvals::{ApprovalRow, ApprovalState, DatabaseError};

use crate::{
    Approvals, FrozenCall,
    approvals::{millis, moment},
    records::{self, DecisionNote},
};

/// Most rows changed in one look, so that a look holds up nobody.
const BATCH: u32 = 500;
/// Rows looked through at a time; each may hold a megabyte.
const PAGE: u32 = 32;
/// Time after its end for which a request is kept, in milliseconds: 90 days.
const RETENTION_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Sealed bytes of requests that are over: what agents ask for must not fill the disk.
const RETAINED_BYTES: u64 = 256 * 1024 * 1024;

impl Approvals {
    /// Puts right, once, what an earlier process left: uses whose end nobody knows are alerted and never made again, and requests
    /// sealed with a key that is lost end.
    pub(crate) async fn resume(&self) -> Result<(), DatabaseError> {
        self.0.resumed.get_or_try_init(|| self.put_right()).await?;
        Ok(())
    }

    async fn put_right(&self) -> Result<(), DatabaseError> {
        let now = self.now();
        for row in self.0.store.abandon_uses(millis(now)).await? {
            tracing::error!(
                approval = &*row.id,
                "a call that used this approval may have been made before the gateway ended: its outcome is not known"
            );
            let call = self.opened(&row);
            let why = ("indeterminate", "the gateway ended during the call");
            let _late = records::ended(&self.0.log, &row, call.as_ref(), None, why, now).await;
        }
        let lost = self
            .end_where(|row| {
                self.opened(row)
                    .is_none()
                    .then_some(("key_lost", "".into()))
            })
            .await?;
        if lost > 0 {
            tracing::error!(
                lost,
                "approvals were sealed with a key that is gone: they are cancelled, agents have to ask again"
            );
        }
        Ok(())
    }

    /// One look: settles uses, expires what is due, takes back what kills cut off. To be called every second.
    ///
    /// # Errors
    /// [`DatabaseError`]; the next look tries again.
    pub async fn tend(&self) -> Result<(), DatabaseError> {
        self.resume().await?;
        self.settle().await?;
        self.record_late().await?;
        self.expire().await?;
        self.void().await?;
        let now = millis(self.now());
        let minute = now / 60_000;
        if self.0.pruned_minute.swap(minute, Ordering::Relaxed) != minute {
            let before = now.saturating_sub(RETENTION_MS);
            self.0.store.prune(before, BATCH).await?;
            self.0.store.prune_to(RETAINED_BYTES).await?;
        }
        Ok(())
    }

    /// Ends the uses of calls that are over.
    async fn settle(&self) -> Result<(), DatabaseError> {
        let mut ended = std::mem::take(&mut *self.ended_uses());
        while let Some(last) = ended.pop() {
            let now = millis(self.now());
            let store = &self.0.store;
            let settled = store
                .settle(&last.tenant, &last.id, last.was_sent, now)
                .await;
            if let Err(error) = settled {
                ended.push(last);
                self.ended_uses().append(&mut ended);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the records that the log has not taken at once: until then an approval is not used.
    async fn record_late(&self) -> Result<(), DatabaseError> {
        let (requested, decided) = (records::REQUESTED, records::DECIDED);
        for row in self.0.store.unrecorded(requested, decided, PAGE).await? {
            let Some(call) = self.opened(&row) else {
                continue;
            };
            if row.recorded & requested == 0 {
                let at = moment(row.created_ms);
                if !records::requested(&self.0.log, &row, &call, at).await {
                    return Ok(());
                }
                self.note_recorded(&row, requested).await;
            }
            if row.state == ApprovalState::Approved && row.recorded & decided == 0 {
                self.record_decisions(&row, &call).await?;
            }
        }
        Ok(())
    }

    async fn record_decisions(
        &self,
        row: &ApprovalRow,
        call: &FrozenCall,
    ) -> Result<(), DatabaseError> {
        let found = self.0.store.get(&row.tenant, &row.id).await?;
        for decision in found.into_iter().flat_map(|(_, decisions)| decisions) {
            let note = DecisionNote {
                operator: &decision.operator,
                approves: decision.approves,
                may_be_caller: call.caller.owner.is_none(),
                shown: &decision.shown,
                reason: &decision.reason,
            };
            let at = moment(decision.decided_ms);
            if !records::decided(&self.0.log, row, call, note, at).await {
                return Ok(());
            }
        }
        self.note_recorded(row, records::DECIDED).await;
        Ok(())
    }

    async fn expire(&self) -> Result<(), DatabaseError> {
        let now = self.now();
        for row in self.0.store.expire(millis(now), BATCH).await? {
            let call = self.opened(&row);
            let why = match row.decided_ms {
                None => ("expired", "nobody decided in time"),
                Some(_) => ("expired", "approved, and not used in time"),
            };
            if records::ended(&self.0.log, &row, call.as_ref(), None, why, now).await {
                self.note_recorded(&row, records::ENDED).await;
            }
            self.0.waiters.wake(&row.id);
        }
        Ok(())
    }

    /// Takes back what a kill set since has cut off: a kill that is cleared again does not bring it back.
    async fn void(&self) -> Result<(), DatabaseError> {
        let kills = self.0.surroundings.kills();
        let is_done = |seen: &Option<_>| seen.as_ref() == Some(&kills);
        if is_done(
            &self
                .0
                .looked_through
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        ) {
            return Ok(());
        }
        self.end_where(|row| {
            let call = self.opened(row)?;
            let facts = call.facts(&row.tenant);
            let kill = self.0.surroundings.killed(&facts, moment(row.created_ms))?;
            Some(("killed", kill))
        })
        .await?;
        let seen = self.0.looked_through.lock();
        *seen.unwrap_or_else(PoisonError::into_inner) = Some(kills);
        Ok(())
    }

    /// Ends the open requests for which there is a reason. Their number.
    async fn end_where(
        &self,
        reason: impl Fn(&ApprovalRow) -> Option<(&'static str, Arc<str>)>,
    ) -> Result<usize, DatabaseError> {
        let (mut after, mut count) = (None, 0);
        loop {
            let rows = self.0.store.open_rows(after.as_ref(), PAGE).await?;
            let Some(last) = rows.last() else {
                return Ok(count);
            };
            after = Some((last.tenant.clone(), Arc::clone(&last.id)));
            for row in &rows {
                if let Some((code, message)) = reason(row) {
                    self.finish(row, None, (code, &message)).await?;
                    count += 1;
                }
            }
        }
    }

    /// Number of requests that wait, and of approvals that may be used.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn counts(&self) -> Result<(u64, u64), DatabaseError> {
        self.0.store.counts().await
    }
}
