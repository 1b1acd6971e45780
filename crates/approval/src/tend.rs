//! Changes that happen by themselves: time runs out, kills take back, uses end, and an earlier process has left something.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use keepgate_call::Tenant;
use keepgate_store::approvals::{ApprovalRow, ApprovalState, DatabaseError};

use crate::{
    Approvals,
    approvals::{millis, moment},
    outcome::EndedUse,
};

/// Most rows removed at a time.
const BATCH: u32 = 500;
/// Most turns of one kind in a look, so that a look holds up nobody; the next one goes on.
const TURNS: usize = 16;
/// Rows looked through at a time; each may hold a megabyte.
const PAGE: u32 = 32;
/// Time after its end for which a request is kept, in milliseconds: 90 days.
const RETENTION_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Time after its end for which a request is reported to a target that is not configured any more, in milliseconds: a day.
const UNSENT_MS: u64 = 24 * 60 * 60 * 1000;
/// Sealed bytes of requests that are over: what agents ask for must not fill the disk.
const RETAINED_BYTES: u64 = 256 * 1024 * 1024;

impl Approvals {
    /// Puts right, once, what an earlier process left: uses whose end nobody knows are alerted and never made again, and requests
    /// sealed with a key that is lost end.
    pub(crate) async fn resume(&self) -> Result<(), DatabaseError> {
        let put_right = || async {
            let approvals = self.clone();
            // To its end, whoever waits: what was found is to be reported.
            let task = tokio::spawn(async move { approvals.put_right().await });
            task.await.unwrap_or(Err(DatabaseError::OutcomeUnknown))
        };
        self.0.resumed.get_or_try_init(put_right).await?;
        Ok(())
    }

    async fn put_right(&self) -> Result<(), DatabaseError> {
        self.open_key().await?;
        self.0.store.abandon_uses(millis(self.now())).await
    }

    /// One look: settles uses, expires what is due, takes back what kills cut off. To be called every second.
    ///
    /// # Errors
    /// [`DatabaseError`]; the next look tries again.
    pub async fn tend(&self) -> Result<(), DatabaseError> {
        self.resume().await?;
        self.open_key().await?;
        self.settle().await?;
        let tenants = self.tenants().await?;
        for tenant in &tenants {
            self.record_late(tenant).await?;
            self.expire(tenant).await?;
        }
        self.end_with_sessions(&tenants).await?;
        self.void().await?;
        let minute = millis(self.now()) / 60_000;
        if self.0.pruned_minute.swap(minute, Ordering::Relaxed) != minute {
            for tenant in &tenants {
                self.prune(tenant).await?;
            }
        }
        Ok(())
    }

    /// The tenants that have requests.
    pub(crate) async fn tenants(&self) -> Result<Vec<Tenant>, DatabaseError> {
        let totals = self.0.store.totals().await?.into_iter();
        let mut tenants: Vec<_> = totals.map(|(tenant, _, _)| tenant).collect();
        tenants.dedup();
        Ok(tenants)
    }

    async fn prune(&self, tenant: &Tenant) -> Result<(), DatabaseError> {
        let now = millis(self.now());
        let before = now.saturating_sub(RETENTION_MS);
        let store = &self.0.store;
        let stale = now.saturating_sub(UNSENT_MS);
        store.prune_notices(tenant, stale, now).await?;
        store.prune(tenant, before, now, BATCH).await?;
        for _ in 0..TURNS {
            let removed = store.prune_to(tenant, RETAINED_BYTES, now, BATCH).await?;
            if removed < u64::from(BATCH) {
                break;
            }
        }
        Ok(())
    }

    /// Ends the uses of calls that are over, and finds out about those that may have been taken.
    async fn settle(&self) -> Result<(), DatabaseError> {
        let now = millis(self.now());
        self.0.store.abandon_doubtful(now).await?;
        self.settle_ended().await
    }

    /// Ends the uses of calls that are over. To its end, whoever waits: an end that is taken out must reach the store.
    pub(crate) async fn settle_ended(&self) -> Result<(), DatabaseError> {
        let approvals = self.clone();
        let task = tokio::spawn(async move { approvals.settle_each().await });
        task.await.unwrap_or(Err(DatabaseError::OutcomeUnknown))
    }

    async fn settle_each(&self) -> Result<(), DatabaseError> {
        let _settling = self.0.settling.lock().await;
        let now = millis(self.now());
        let mut ended = std::mem::take(&mut *self.ended_uses());
        let unclaimed = self.0.store.unclaimed().into_iter();
        // Taken for calls that had ended before they were made.
        ended.extend(unclaimed.map(|(tenant, id)| EndedUse {
            tenant,
            id,
            was_sent: false,
        }));
        while let Some(last) = ended.pop() {
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

    async fn expire(&self, tenant: &Tenant) -> Result<(), DatabaseError> {
        for _ in 0..TURNS {
            let now = self.now();
            let expired = self.0.store.expire(tenant, millis(now), PAGE).await?;
            let is_last = expired.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for id in expired {
                self.report(tenant, &id).await;
            }
            if is_last {
                break;
            }
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
    pub(crate) async fn end_where(
        &self,
        reason: impl Fn(&ApprovalRow) -> Option<(&'static str, Arc<str>)>,
    ) -> Result<usize, DatabaseError> {
        let mut count = 0;
        for tenant in self.tenants().await? {
            let mut after: Box<str> = "".into();
            loop {
                let rows = self.0.store.open_rows(&tenant, &after, PAGE).await?;
                let Some(last) = rows.last() else { break };
                after = (*last.id).into();
                for row in &rows {
                    if let Some((code, message)) = reason(row) {
                        self.finish(row, None, (code, &message)).await?;
                        count += 1;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Numbers of requests that wait, by tenant; a tenant without one is left out.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn pending_by_tenant(&self) -> Result<BTreeMap<Tenant, u64>, DatabaseError> {
        let totals = self.0.store.totals().await?.into_iter();
        let pending = totals.filter(|(_, state, _)| *state == ApprovalState::Pending);
        Ok(pending
            .map(|(tenant, _, requests)| (tenant, requests))
            .collect())
    }

    /// Number of requests that wait, and of approvals that may be used.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn counts(&self) -> Result<(u64, u64), DatabaseError> {
        let (mut pending, mut approved) = (0_u64, 0_u64);
        for (_, state, requests) in self.0.store.totals().await? {
            match state {
                ApprovalState::Pending => pending += requests,
                ApprovalState::Approved => approved += requests,
                ApprovalState::Denied
                | ApprovalState::Expired
                | ApprovalState::Cancelled
                | ApprovalState::Consumed
                | ApprovalState::Revoked => {}
            }
        }
        Ok((pending, approved))
    }
}
