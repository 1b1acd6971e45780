//! Transitions the audit log lacks: requests, decisions, ends, and uses whose outcome nobody knows.

use std::sync::Arc;

use keepgate_call::Tenant;
use sqlx::{Row, sqlite::SqliteRow};

use super::{
    Doubt, END_RECORDED, REQUEST_RECORDED, Transition, database::Database, rows::ids,
    statements as sql,
};
use crate::sql::{DatabaseError, failed, integer};

impl Database {
    /// Uses that an earlier process left become indeterminate, for this reason. Each tenant by itself: what was found of one is found
    /// again by [`Self::unrecorded`], whatever becomes of the next.
    pub(super) async fn abandon_uses(
        &mut self,
        doubt: &str,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        for tenant in self.tenants().await? {
            let query = sqlx::query(sql::ABANDON)
                .bind(integer(now_ms))
                .bind(doubt)
                .bind(tenant.as_str());
            let abandoned = query.execute(&mut self.connection).await;
            abandoned.map_err(failed("write to"))?;
        }
        Ok(())
    }

    pub(super) async fn abandon_use(
        &mut self,
        tenant: &Tenant,
        use_id: &str,
        doubt: &str,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let query = sqlx::query(sql::ABANDON_ONE)
            .bind(integer(now_ms))
            .bind(doubt)
            .bind(tenant.as_str())
            .bind(use_id);
        let abandoned = query.execute(&mut self.connection).await;
        abandoned.map(|_done| ()).map_err(failed("write to"))
    }

    pub(super) async fn unrecorded(
        &mut self,
        tenant: &Tenant,
        limit: u32,
    ) -> Result<Vec<Arc<str>>, DatabaseError> {
        let query = sqlx::query(sql::UNRECORDED)
            .bind(tenant.as_str())
            .bind(i64::from(limit));
        let found = query.fetch_all(&mut self.connection).await;
        ids(&found.map_err(failed("read"))?)
    }

    pub(super) async fn doubts(
        &mut self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Vec<Doubt>, DatabaseError> {
        let query = sqlx::query(sql::DOUBTS).bind(tenant.as_str()).bind(id);
        let found = query.fetch_all(&mut self.connection).await;
        let doubt = |row: &SqliteRow| {
            let text = |column| row.try_get::<Option<String>, _>(column);
            Ok(Doubt {
                use_id: text("id")?.unwrap_or_default().into(),
                decision_id: text("decision_id")?.unwrap_or_default().into(),
                reason: text("doubt")?.unwrap_or_default().into(),
            })
        };
        let doubts: Result<_, _> = found.map_err(failed("read"))?.iter().map(doubt).collect();
        doubts.map_err(failed("understand"))
    }

    pub(super) async fn note_recorded(
        &mut self,
        tenant: &Tenant,
        id: &str,
        transition: &Transition,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let tenant = tenant.as_str();
        let of_row = |bit: u32| {
            sqlx::query(sql::NOTE)
                .bind(i64::from(bit))
                .bind(tenant)
                .bind(id)
        };
        let query = match transition {
            Transition::Requested => of_row(REQUEST_RECORDED),
            Transition::Ended => of_row(END_RECORDED),
            Transition::Decided { operator_id } => sqlx::query(sql::NOTE_DECISION)
                .bind(tenant)
                .bind(id)
                .bind(&**operator_id),
            Transition::Doubted { use_id } => {
                sqlx::query(sql::NOTE_USE).bind(tenant).bind(&**use_id)
            }
        };
        let noted = query.execute(&mut self.connection).await;
        noted.map(|_done| ()).map_err(failed("write to"))
    }
}
