//! Upkeep, a tenant at a time: what is due expires, and what is over is removed. Lists and the
//! change of the key, too.

use std::sync::Arc;

use keepgate_call::Tenant;
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    ActiveKey, ApprovalRow, ApprovalState, GrantSession, PageQuery, Resealed,
    database::{Database, one, read},
    rows::{ids, session, unsigned},
    statements as sql,
    transaction::begin,
};
use crate::sql::{DatabaseError, failed, integer};

/// Place of a row in a list.
type Place = (u64, Arc<str>);

impl Database {
    pub(super) async fn totals(
        &mut self,
    ) -> Result<Vec<(Tenant, ApprovalState, u64, u64)>, DatabaseError> {
        let found = sqlx::query(sql::TOTALS).fetch_all(&mut self.connection);
        let found = found.await.map_err(failed("read"))?;
        let total = |row: &SqliteRow| {
            let (tenant, word): (String, String) = (row.try_get("tenant")?, row.try_get("state")?);
            let state = ApprovalState::parse(&word)
                .ok_or_else(|| sqlx::Error::Decode("not a state".into()))?;
            let (requests, bytes) = (unsigned(row, "requests")?, unsigned(row, "bytes")?);
            Ok((Tenant::new(tenant), state, requests, bytes))
        };
        let totals: Result<_, _> = found.iter().map(total).collect();
        totals.map_err(failed("understand"))
    }

    /// The tenants that have requests.
    pub(super) async fn tenants(&mut self) -> Result<Vec<Tenant>, DatabaseError> {
        let totals = self.totals().await?.into_iter();
        let mut tenants: Vec<_> = totals.map(|(tenant, _, _, _)| tenant).collect();
        tenants.dedup();
        Ok(tenants)
    }

    pub(super) async fn expire(
        &mut self,
        tenant: &Tenant,
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<Arc<str>>, DatabaseError> {
        self.check().await?;
        let mut all = Vec::new();
        for statement in [sql::EXPIRE_PENDING, sql::EXPIRE_APPROVED] {
            let query = sqlx::query(statement)
                .bind(tenant.as_str())
                .bind(integer(now_ms))
                .bind(i64::from(limit));
            let expired = query.fetch_all(&mut self.connection).await;
            all.extend(ids(&expired.map_err(failed("write to"))?)?);
        }
        Ok(all)
    }

    pub(super) async fn open_rows(
        &mut self,
        tenant: &Tenant,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let query = sqlx::query(sql::LIVE)
            .bind(tenant.as_str())
            .bind(after)
            .bind(i64::from(limit));
        read(&mut self.connection, query).await
    }

    pub(super) async fn bound(
        &mut self,
        tenant: &Tenant,
        limit: u32,
    ) -> Result<Vec<(Arc<str>, GrantSession)>, DatabaseError> {
        let query = sqlx::query(sql::BOUND)
            .bind(tenant.as_str())
            .bind(i64::from(limit));
        let found = query.fetch_all(&mut self.connection).await;
        let bound = |row: &SqliteRow| {
            let (id, session): (String, _) = (row.try_get("id")?, session(row)?);
            Ok(session.map(|session| (id.into(), session)))
        };
        let found = found.map_err(failed("read"))?;
        let all: Result<Vec<Option<_>>, _> = found.iter().map(bound).collect();
        let all = all.map_err(failed("understand"))?;
        Ok(all.into_iter().flatten().collect())
    }

    pub(super) async fn page(
        &mut self,
        tenant: &Tenant,
        query: &PageQuery,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let all = &ApprovalState::ALL[..];
        let states = if query.states.is_empty() {
            all
        } else {
            &query.states
        };
        // Places of each state by its index, then the newest of all: a list of what is pending never reads what has ended.
        let mut places = Vec::new();
        for state in states {
            places.extend(self.places(tenant, *state, query).await?);
        }
        places.sort_unstable_by(|one, other| other.cmp(one));
        places.dedup();
        places.truncate(usize::try_from(query.limit).unwrap_or(usize::MAX));
        let mut page = Vec::with_capacity(places.len());
        for (_, id) in places {
            page.extend(one(&mut self.connection, tenant, &id).await?);
        }
        Ok(page)
    }

    async fn places(
        &mut self,
        tenant: &Tenant,
        state: ApprovalState,
        query: &PageQuery,
    ) -> Result<Vec<Place>, DatabaseError> {
        let (before, id) = match &query.after {
            Some((created_ms, id)) => (integer(*created_ms), &**id),
            None => (i64::MAX, ""),
        };
        let found = sqlx::query(sql::PAGE)
            .bind(tenant.as_str())
            .bind(state.as_str())
            .bind(before)
            .bind(id)
            .bind(i64::from(query.limit));
        let found = found.fetch_all(&mut self.connection).await;
        let place = |row: &SqliteRow| {
            let id: String = row.try_get("id")?;
            Ok((unsigned(row, "created_ms")?, id.into()))
        };
        let places: Result<_, _> = found.map_err(failed("read"))?.iter().map(place).collect();
        places.map_err(failed("understand"))
    }

    pub(super) async fn prune(
        &mut self,
        tenant: &Tenant,
        before_ms: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<u64, DatabaseError> {
        let over = self.over(tenant, before_ms, now_ms, limit).await?;
        self.remove(tenant, over.iter().map(|id| &**id)).await
    }

    /// Oldest requests of a tenant that have ended and may go.
    async fn over(
        &mut self,
        tenant: &Tenant,
        before_ms: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<Box<str>>, DatabaseError> {
        let query = sqlx::query(sql::OVER)
            .bind(tenant.as_str())
            .bind(integer(before_ms))
            .bind(integer(now_ms))
            .bind(i64::from(limit));
        let found = query.fetch_all(&mut self.connection).await;
        let id = |row: &SqliteRow| row.try_get::<String, _>("id").map(Into::into);
        let all: Result<_, _> = found.map_err(failed("read"))?.iter().map(id).collect();
        all.map_err(failed("understand"))
    }

    /// Removes requests, and what belongs to them.
    pub(super) async fn remove(
        &mut self,
        tenant: &Tenant,
        ids: impl Iterator<Item = &str>,
    ) -> Result<u64, DatabaseError> {
        self.check().await?;
        let mut transaction = begin(&mut self.connection).await?;
        let mut count = 0;
        for id in ids {
            let query = sqlx::query(sql::REMOVE).bind(tenant.as_str()).bind(id);
            let removed = query.execute(&mut *transaction).await;
            count += removed.map_err(failed("write to"))?.rows_affected();
        }
        transaction.commit().await.map_err(failed("write to"))?;
        Ok(count)
    }

    pub(super) async fn active_key(&mut self) -> Result<Option<ActiveKey>, DatabaseError> {
        let found = sqlx::query(sql::KEY).fetch_optional(&mut self.connection);
        let Some(found) = found.await.map_err(failed("read"))? else {
            return Ok(None);
        };
        let id: String = found.try_get("id").map_err(failed("understand"))?;
        let is_lost = unsigned(&found, "is_lost").map_err(failed("understand"))? != 0;
        let id = id.into();
        Ok(Some(ActiveKey { id, is_lost }))
    }

    /// Makes a key the one that seals; without one, notes that it is lost.
    pub(super) async fn use_key(&mut self, id: Option<&str>) -> Result<(), DatabaseError> {
        self.check().await?;
        let query = match id {
            Some(id) => sqlx::query(sql::USE_KEY).bind(id),
            None => sqlx::query(sql::LOSE_KEY),
        };
        let done = query.execute(&mut self.connection).await;
        done.map(|_done| ()).map_err(failed("write to"))
    }

    pub(super) async fn sealed_otherwise(
        &mut self,
        tenant: &Tenant,
        after: &str,
        key_id: &str,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let query = sqlx::query(sql::SEALED_OTHERWISE)
            .bind(tenant.as_str())
            .bind(after)
            .bind(key_id)
            .bind(i64::from(limit));
        read(&mut self.connection, query).await
    }

    pub(super) async fn reseal(
        &mut self,
        rows: &[(ApprovalRow, Resealed)],
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let mut transaction = begin(&mut self.connection).await?;
        for (row, new) in rows {
            let query = sqlx::query(sql::RESEAL)
                .bind(&new.digest[..])
                .bind(&new.caller[..])
                .bind(&*new.key_id)
                .bind(&new.sealed[..])
                .bind(row.tenant.as_str())
                .bind(&*row.id)
                .bind(&*row.key_id);
            let resealed = query.execute(&mut *transaction).await;
            resealed.map_err(failed("write to"))?;
        }
        transaction.commit().await.map_err(failed("write to"))
    }
}
