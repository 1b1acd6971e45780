//! Upkeep: what is over is removed, and what is not on record is found.

use sqlx::{Sqlite, query::Query, sqlite::SqliteArguments};

use super::{
    ApprovalRow,
    database::{Database, read},
    transaction::begin,
};
use crate::sql::{DatabaseError, failed, integer, soon};

impl Database {
    pub(super) async fn unrecorded(
        &mut self,
        requested: u32,
        decided: u32,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        const LACKING: &str = "SELECT * FROM approvals WHERE (state IN ('pending', 'approved') AND (recorded & ?) = 0) \
                               OR (state = 'approved' AND (recorded & ?) = 0) LIMIT ?";
        let query = sqlx::query(LACKING)
            .bind(i64::from(requested))
            .bind(i64::from(decided))
            .bind(i64::from(limit));
        read(&mut self.connection, query).await
    }

    pub(super) async fn prune(&mut self, before_ms: u64, limit: u32) -> Result<u64, DatabaseError> {
        const PRUNE: &str = "DELETE FROM approvals WHERE (tenant, id) IN (SELECT tenant, id FROM approvals \
                             WHERE state NOT IN ('pending', 'approved') \
                             AND coalesce(usable_until_ms, decided_ms, expires_ms) < ? LIMIT ?)";
        let query = sqlx::query(PRUNE)
            .bind(integer(before_ms))
            .bind(i64::from(limit));
        self.remove(query).await
    }

    pub(super) async fn prune_to(&mut self, bytes: u64) -> Result<u64, DatabaseError> {
        const PRUNE: &str = "DELETE FROM approvals WHERE (tenant, id) IN (SELECT tenant, id FROM \
                             (SELECT tenant, id, sum(length(sealed)) OVER (ORDER BY created_ms DESC, tenant, id) AS total \
                             FROM approvals WHERE state NOT IN ('pending', 'approved')) WHERE total > ?)";
        self.remove(sqlx::query(PRUNE).bind(integer(bytes))).await
    }

    /// Removes requests, and what belongs to them.
    async fn remove(
        &mut self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<u64, DatabaseError> {
        const DECISIONS: &str = "DELETE FROM approval_decisions WHERE (tenant, approval) NOT IN \
                                 (SELECT tenant, id FROM approvals)";
        const USES: &str = "DELETE FROM approval_uses WHERE (tenant, approval) NOT IN \
                            (SELECT tenant, id FROM approvals)";
        self.check()?;
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            let removed = query.execute(&mut *transaction).await;
            let removed = removed.map_err(failed("write to"))?.rows_affected();
            if removed > 0 {
                for others in [DECISIONS, USES] {
                    let removed = sqlx::query(others).execute(&mut *transaction).await;
                    removed.map_err(failed("write to"))?;
                }
            }
            transaction.commit().await.map_err(failed("write to"))?;
            Ok(removed)
        })
        .await
    }
}
