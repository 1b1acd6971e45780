//! Notifications that are due: the rows of requests are their outbox, so none is lost with a process. Each target has its own, and
//! one that takes none keeps back nobody else's.

use std::sync::Arc;

use keepgate_call::Tenant;
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    ApprovalRow, ApprovalStore, Caps, Insertion, database::Database, rows::small, statements as sql,
};
use crate::sql::{DatabaseError, failed, integer};

/// A notification that may be due to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeRow {
    /// The request.
    pub approval: Arc<str>,
    /// The last event the target has got: 1 the request, 2 the reminder, 3 the decision; 0 for none.
    pub sent: u32,
}

/// State of a target: the events it has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeSent {
    /// This event, and others may follow.
    Event(u32),
    /// All there is.
    All,
}

impl ApprovalStore {
    /// As [`Self::insert`], for a request of which these targets are notified.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn insert_notifying(
        &self,
        row: ApprovalRow,
        targets: Vec<Arc<str>>,
        caps: &Caps,
    ) -> Result<Insertion, DatabaseError> {
        let caps = *caps;
        self.run_soon(move |it| Box::pin(async move { it.insert(&row, &targets, &caps).await }))
            .await
    }

    /// Notifications that are due to a target, of requests of a tenant whose ids follow `after`. What is not on record yet may be among
    /// them.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn due_notices(
        &self,
        tenant: &Tenant,
        target: &str,
        after: &str,
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<NoticeRow>, DatabaseError> {
        let (target, after): (Box<str>, Box<str>) = (target.into(), after.into());
        let tenant = tenant.clone();
        self.run_soon(move |it| {
            Box::pin(async move {
                it.due_notices(&tenant, (&target, &after), now_ms, limit)
                    .await
            })
        })
        .await
    }

    /// Notes what a target has got.
    ///
    /// # Errors
    /// [`DatabaseError`]; it is sent once more, then.
    pub async fn note_notice(
        &self,
        tenant: &Tenant,
        target: &str,
        approval: &str,
        sent: NoticeSent,
    ) -> Result<(), DatabaseError> {
        let (target, approval): (Box<str>, Box<str>) = (target.into(), approval.into());
        let tenant = tenant.clone();
        self.run(move |it| {
            Box::pin(async move { it.note_notice(&tenant, (&target, &approval), sent).await })
        })
        .await
    }

    /// Removes notifications of which nothing more can come: of what was used up, and of what ended before `before_ms` and nobody took.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune_notices(
        &self,
        tenant: &Tenant,
        before_ms: u64,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| {
            Box::pin(async move { it.prune_notices(&tenant, before_ms, now_ms).await })
        })
        .await
    }
}

impl Database {
    async fn due_notices(
        &mut self,
        tenant: &Tenant,
        (target, after): (&str, &str),
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<NoticeRow>, DatabaseError> {
        let query = sqlx::query(sql::DUE_NOTICES)
            .bind(tenant.as_str())
            .bind(target)
            .bind(after)
            .bind(integer(now_ms))
            .bind(i64::from(limit));
        let found = query.fetch_all(&mut self.connection).await;
        let notice = |row: &SqliteRow| {
            Ok(NoticeRow {
                approval: row.try_get::<String, _>("approval")?.into(),
                sent: small(row, "sent")?,
            })
        };
        let due: Result<_, _> = found.map_err(failed("read"))?.iter().map(notice).collect();
        due.map_err(failed("understand"))
    }

    async fn note_notice(
        &mut self,
        tenant: &Tenant,
        (target, approval): (&str, &str),
        sent: NoticeSent,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let query = match sent {
            NoticeSent::Event(event) => sqlx::query(sql::NOTE_NOTICE).bind(i64::from(event)),
            NoticeSent::All => sqlx::query(sql::END_NOTICE),
        };
        let query = query.bind(tenant.as_str()).bind(target).bind(approval);
        let noted = query.execute(&mut self.connection).await;
        noted.map(|_done| ()).map_err(failed("write to"))
    }

    async fn prune_notices(
        &mut self,
        tenant: &Tenant,
        before_ms: u64,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let query = sqlx::query(sql::PRUNE_NOTICES)
            .bind(tenant.as_str())
            .bind(integer(now_ms))
            .bind(integer(before_ms));
        let pruned = query.execute(&mut self.connection).await;
        pruned.map(|_done| ()).map_err(failed("write to"))
    }
}
