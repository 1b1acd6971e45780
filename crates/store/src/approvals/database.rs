//! The statements of approvals for SQLite. PostgreSQL would be a second file like this one.

use std::{borrow::Cow, path::Path, sync::Arc};

use keepgate_call::Tenant;
use sqlx::{
    Row, SqlStr, Sqlite, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    query::Query,
    sqlite::SqliteArguments,
};

use super::rows::{decision, row, rows, small, unsigned};
use super::transaction::begin;
use super::{
    ApprovalRow, ApprovalState, Caps, Decided, DecisionRow, FILE, Insertion, PageQuery, Terms,
};
use crate::sql::{self, DatabaseError, failed, inode, integer, soon};

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    pub(super) connection: SqliteConnection,
    path: std::path::PathBuf,
    inode: u64,
}

/// The migrations, oldest first. One that was released is never changed.
fn migrations() -> Migrator {
    let approvals = Migration::new(
        1,
        Cow::Borrowed("approvals"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!(
            "../../migrations/approvals/0001_approvals.sql"
        )),
        false,
    );
    Migrator {
        migrations: Cow::Owned(vec![approvals]),
        ..Migrator::DEFAULT
    }
}

impl Database {
    pub(super) async fn open(state_directory: &Path) -> Result<Self, DatabaseError> {
        let path = state_directory.join(FILE);
        let (connection, inode) = sql::connect(&path, &migrations()).await?;
        Ok(Self {
            connection,
            path,
            inode,
        })
    }

    /// Rolls back what an earlier operation left open: one that was refused, failed, or whose caller has gone.
    pub(super) async fn reset(&mut self) {
        let _none_is_open = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
    }

    /// Fails when the file was removed or replaced: writes to it would be lost.
    pub(super) fn check(&self) -> Result<(), DatabaseError> {
        if inode(&self.path)? == self.inode {
            return Ok(());
        }
        let path = self.path.clone();
        Err(DatabaseError::Gone { path })
    }

    pub(super) async fn find(
        &mut self,
        tenant: &Tenant,
        digest: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        const FIND: &str = "SELECT id FROM approvals WHERE tenant = ? AND digest = ? AND (\
                            (state = 'approved' AND uses_left > 0 AND usable_until_ms > ?) \
                            OR (state = 'pending' AND expires_ms > ?) \
                            OR (state = 'denied' AND cooldown_until_ms > ?)) \
                            ORDER BY CASE state WHEN 'approved' THEN 0 WHEN 'pending' THEN 1 ELSE 2 END, \
                            created_ms DESC LIMIT 1";
        let now = integer(now_ms);
        let found = soon(async {
            let query = sqlx::query(FIND)
                .bind(tenant.as_str())
                .bind(&digest[..])
                .bind(now)
                .bind(now)
                .bind(now);
            let found = query.fetch_optional(&mut self.connection).await;
            found.map_err(failed("read"))
        })
        .await?;
        let Some(found) = found else { return Ok(None) };
        let id: String = found.try_get("id").map_err(failed("understand"))?;
        self.get(tenant, &id).await
    }

    pub(super) async fn get(
        &mut self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        soon(async {
            let Some(found) = one(&mut self.connection, tenant, id).await? else {
                return Ok(None);
            };
            let decisions = decisions(&mut self.connection, tenant, id).await?;
            Ok(Some((found, decisions)))
        })
        .await
    }

    pub(super) async fn insert(
        &mut self,
        row: &ApprovalRow,
        caps: &Caps,
    ) -> Result<Insertion, DatabaseError> {
        self.check()?;
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            if let Some(refused) = refusal(&mut transaction, row, caps).await? {
                return Ok(refused);
            }
            let added = add(&mut transaction, row).await?;
            if added == 0 {
                // Its time may be over without anybody having noted it: then the next look expires it.
                let open = open_with(&mut transaction, &row.tenant, &row.digest).await?;
                return Ok(open.map_or(Insertion::Full, Insertion::Joined));
            }
            transaction.commit().await.map_err(failed("write to"))?;
            Ok(Insertion::Inserted)
        })
        .await
    }

    pub(super) async fn decide(
        &mut self,
        tenant: &Tenant,
        id: &str,
        decision: &DecisionRow,
        terms: &Terms,
        is_enough: impl Fn(&[DecisionRow]) -> bool + Send,
    ) -> Result<Decided, DatabaseError> {
        const DECIDE: &str = "INSERT INTO approval_decisions \
                              (tenant, approval, operator, approves, decided_ms, shown, reason) \
                              SELECT ?, ?, ?, ?, ?, ?, ? FROM approvals \
                              WHERE tenant = ? AND id = ? AND state = 'pending' AND expires_ms > ? \
                              ON CONFLICT DO NOTHING";
        const APPROVE: &str = "UPDATE approvals SET state = 'approved', decided_ms = ?, usable_until_ms = ? \
                               WHERE tenant = ? AND id = ? AND state = 'pending'";
        const DENY: &str = "UPDATE approvals SET state = 'denied', decided_ms = ?, cooldown_until_ms = ? \
                            WHERE tenant = ? AND id = ? AND state = 'pending'";
        self.check()?;
        let now = integer(decision.decided_ms);
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            let Some(before) = one(&mut transaction, tenant, id).await? else {
                return Ok(Decided::Unknown);
            };
            let query = sqlx::query(DECIDE)
                .bind(tenant.as_str())
                .bind(id)
                .bind(&*decision.operator)
                .bind(i64::from(decision.approves))
                .bind(now)
                .bind(&*decision.shown)
                .bind(&*decision.reason)
                .bind(tenant.as_str())
                .bind(id)
                .bind(now);
            let counted = query.execute(&mut *transaction).await;
            if counted.map_err(failed("write to"))?.rows_affected() == 0 {
                let is_open = before.state == ApprovalState::Pending
                    && before.expires_ms > decision.decided_ms;
                return Ok(match (is_open, before.state) {
                    (true, _) => Decided::Twice,
                    (false, ApprovalState::Pending) => Decided::Closed(ApprovalState::Expired),
                    (false, state) => Decided::Closed(state),
                });
            }
            let after = |time_ms| (now, now.saturating_add(integer(time_ms)));
            if !decision.approves {
                let until = after(terms.cooldown_ms);
                conclude(&mut transaction, DENY, (tenant, id), until).await?;
            } else if is_enough(&decisions(&mut transaction, tenant, id).await?) {
                let until = after(terms.valid_ms);
                conclude(&mut transaction, APPROVE, (tenant, id), until).await?;
            }
            let after = one(&mut transaction, tenant, id).await?;
            transaction.commit().await.map_err(failed("write to"))?;
            Ok(after.map_or(Decided::Unknown, |row| Decided::Counted(Box::new(row))))
        })
        .await
    }

    pub(super) async fn consume(
        &mut self,
        tenant: &Tenant,
        id: &str,
        use_id: &str,
        decision_id: &str,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        const CONSUME: &str = "UPDATE approvals SET uses_left = uses_left - 1, \
                               state = CASE WHEN uses_left = 1 THEN 'consumed' ELSE state END \
                               WHERE tenant = ? AND id = ? AND state = 'approved' AND uses_left > 0 \
                               AND usable_until_ms > ? RETURNING uses_left";
        const USE: &str = "INSERT INTO approval_uses (tenant, id, approval, state, decision_id, consumed_ms) \
                           VALUES (?, ?, ?, 'consumed', ?, ?)";
        self.check()?;
        let now = integer(now_ms);
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            let query = sqlx::query(CONSUME)
                .bind(tenant.as_str())
                .bind(id)
                .bind(now);
            let taken = query.fetch_optional(&mut *transaction).await;
            if taken.map_err(failed("write to"))?.is_none() {
                return Ok(false);
            }
            let query = sqlx::query(USE)
                .bind(tenant.as_str())
                .bind(use_id)
                .bind(id)
                .bind(decision_id)
                .bind(now);
            let noted = query.execute(&mut *transaction).await;
            noted.map_err(failed("write to"))?;
            transaction.commit().await.map_err(failed("write to"))?;
            Ok(true)
        })
        .await
    }

    pub(super) async fn settle(
        &mut self,
        tenant: &Tenant,
        use_id: &str,
        released: bool,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        const SETTLE: &str = "UPDATE approval_uses SET state = ?, ended_ms = ? \
                              WHERE tenant = ? AND id = ? AND state = 'consumed' RETURNING approval";
        // Not after it was revoked: then nothing is given back.
        const RETURN: &str = "UPDATE approvals SET uses_left = uses_left + 1, state = 'approved' \
                              WHERE tenant = ? AND id = ? AND state IN ('approved', 'consumed')";
        self.check()?;
        let word = if released { "released" } else { "returned" };
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            let query = sqlx::query(SETTLE)
                .bind(word)
                .bind(integer(now_ms))
                .bind(tenant.as_str())
                .bind(use_id);
            let ended = query.fetch_optional(&mut *transaction).await;
            if let Some(ended) = ended.map_err(failed("write to"))?
                && !released
            {
                let id: String = ended.try_get("approval").map_err(failed("understand"))?;
                let query = sqlx::query(RETURN).bind(tenant.as_str()).bind(id);
                let returned = query.execute(&mut *transaction).await;
                returned.map_err(failed("write to"))?;
            }
            transaction.commit().await.map_err(failed("write to"))
        })
        .await
    }

    pub(super) async fn end(
        &mut self,
        tenant: &Tenant,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        const END: &str = "UPDATE approvals SET decided_ms = coalesce(decided_ms, ?), \
                           state = CASE state WHEN 'pending' THEN 'cancelled' ELSE 'revoked' END \
                           WHERE tenant = ? AND id = ? AND (state IN ('pending', 'approved') OR (state = 'consumed' \
                           AND EXISTS (SELECT 1 FROM approval_uses AS used WHERE used.tenant = approvals.tenant \
                           AND used.approval = approvals.id AND used.state = 'consumed'))) RETURNING state";
        self.check()?;
        soon(async {
            let query = sqlx::query(END)
                .bind(integer(now_ms))
                .bind(tenant.as_str())
                .bind(id);
            let ended = query.fetch_optional(&mut self.connection).await;
            let Some(ended) = ended.map_err(failed("write to"))? else {
                return Ok(None);
            };
            let word: String = ended.try_get("state").map_err(failed("understand"))?;
            Ok(ApprovalState::parse(&word))
        })
        .await
    }

    pub(super) async fn expire(
        &mut self,
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        const EXPIRE: &str = "UPDATE approvals SET state = 'expired' WHERE (tenant, id) IN \
                              (SELECT tenant, id FROM approvals WHERE (state = 'pending' AND expires_ms <= ?) \
                              OR (state = 'approved' AND usable_until_ms <= ?) LIMIT ?) \
                              AND state IN ('pending', 'approved') RETURNING *";
        self.check()?;
        let now = integer(now_ms);
        let expired = soon(async {
            let query = sqlx::query(EXPIRE)
                .bind(now)
                .bind(now)
                .bind(i64::from(limit));
            let expired = query.fetch_all(&mut self.connection).await;
            expired.map_err(failed("write to"))
        })
        .await?;
        rows(&expired)
    }

    pub(super) async fn open_rows(
        &mut self,
        after: Option<&(Tenant, Arc<str>)>,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        const OPEN: &str = "SELECT * FROM approvals WHERE (tenant, id) > (?, ?) \
                            AND state IN ('pending', 'approved') ORDER BY tenant, id LIMIT ?";
        let (tenant, id) = after.map_or(("", ""), |(tenant, id)| (tenant.as_str(), id));
        let query = sqlx::query(OPEN)
            .bind(tenant)
            .bind(id)
            .bind(i64::from(limit));
        read(&mut self.connection, query).await
    }

    pub(super) async fn page(
        &mut self,
        tenant: &Tenant,
        query: &PageQuery,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        // Words of ours, between commas: a list cannot be bound.
        const PAGE: &str = "SELECT * FROM approvals WHERE tenant = ? AND instr(?, ',' || state || ',') > 0 \
                            AND (created_ms, id) < (?, ?) ORDER BY created_ms DESC, id DESC LIMIT ?";
        let all = &ApprovalState::ALL[..];
        let states = if query.states.is_empty() {
            all
        } else {
            &query.states
        };
        let mut words = String::from(",");
        for state in states {
            words.push_str(state.as_str());
            words.push(',');
        }
        let (before, id) = match &query.after {
            Some((created_ms, id)) => (integer(*created_ms), &**id),
            None => (i64::MAX, ""),
        };
        let query = sqlx::query(PAGE)
            .bind(tenant.as_str())
            .bind(words)
            .bind(before)
            .bind(id)
            .bind(i64::from(query.limit));
        read(&mut self.connection, query).await
    }

    pub(super) async fn abandon_uses(
        &mut self,
        now_ms: u64,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        const ABANDON: &str = "UPDATE approval_uses SET state = 'indeterminate', ended_ms = ? \
                               WHERE state = 'consumed' RETURNING tenant, approval";
        self.check()?;
        soon(async {
            let mut transaction = begin(&mut self.connection).await?;
            let query = sqlx::query(ABANDON).bind(integer(now_ms));
            let abandoned = query.fetch_all(&mut *transaction).await;
            let mut found = Vec::new();
            for use_row in abandoned.map_err(failed("write to"))? {
                let tenant: String = use_row.try_get("tenant").map_err(failed("understand"))?;
                let id: String = use_row.try_get("approval").map_err(failed("understand"))?;
                found.extend(one(&mut transaction, &Tenant::new(tenant), &id).await?);
            }
            transaction.commit().await.map_err(failed("write to"))?;
            Ok(found)
        })
        .await
    }

    pub(super) async fn note_recorded(
        &mut self,
        tenant: &Tenant,
        id: &str,
        bits: u32,
    ) -> Result<(), DatabaseError> {
        const NOTE: &str =
            "UPDATE approvals SET recorded = recorded | ? WHERE tenant = ? AND id = ?";
        self.check()?;
        soon(async {
            let query = sqlx::query(NOTE)
                .bind(i64::from(bits))
                .bind(tenant.as_str())
                .bind(id);
            let noted = query.execute(&mut self.connection).await;
            noted.map(|_done| ()).map_err(failed("write to"))
        })
        .await
    }

    pub(super) async fn counts(&mut self) -> Result<(u64, u64), DatabaseError> {
        const COUNTS: &str = "SELECT count(*) FILTER (WHERE state = 'pending') AS pending, \
                              count(*) FILTER (WHERE state = 'approved') AS approved \
                              FROM approvals WHERE state IN ('pending', 'approved')";
        soon(async {
            let counts = sqlx::query(COUNTS).fetch_one(&mut self.connection).await;
            let counts = counts.map_err(failed("read"))?;
            let pending = unsigned(&counts, "pending").map_err(failed("understand"))?;
            let approved = unsigned(&counts, "approved").map_err(failed("understand"))?;
            Ok((pending, approved))
        })
        .await
    }
}

async fn one(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    id: &str,
) -> Result<Option<ApprovalRow>, DatabaseError> {
    let query = sqlx::query("SELECT * FROM approvals WHERE tenant = ? AND id = ?")
        .bind(tenant.as_str())
        .bind(id);
    let found = query.fetch_optional(connection).await;
    let found = found.map_err(failed("read"))?;
    found
        .as_ref()
        .map(row)
        .transpose()
        .map_err(failed("understand"))
}

/// The limit that refuses a request, if one does.
async fn refusal(
    connection: &mut SqliteConnection,
    row: &ApprovalRow,
    caps: &Caps,
) -> Result<Option<Insertion>, DatabaseError> {
    const COUNTS: &str = "SELECT \
        (SELECT count(*) FROM approvals WHERE state = 'pending') AS everybody, \
        (SELECT coalesce(sum(length(sealed)), 0) FROM approvals WHERE state = 'pending') AS bytes, \
        (SELECT count(*) FROM approvals WHERE tenant = ? AND caller = ? AND state = 'pending') AS pending, \
        (SELECT count(*) FROM approvals WHERE tenant = ? AND caller = ? AND created_ms > ?) AS lately";
    if let Some(open) = open_with(connection, &row.tenant, &row.digest).await? {
        return Ok(Some(Insertion::Joined(open)));
    }
    let since = row.created_ms.saturating_sub(caps.window_ms);
    let query = sqlx::query(COUNTS)
        .bind(row.tenant.as_str())
        .bind(&row.caller[..])
        .bind(row.tenant.as_str())
        .bind(&row.caller[..])
        .bind(integer(since));
    let counts = query.fetch_one(connection).await;
    let counts = counts.map_err(failed("read"))?;
    let count = |column| small(&counts, column).map_err(failed("understand"));
    Ok(if count("pending")? >= caps.pending {
        Some(Insertion::PendingCap)
    } else if count("lately")? >= caps.requests {
        Some(Insertion::RateCap)
    } else if count("everybody")? >= caps.all
        || unsigned(&counts, "bytes").map_err(failed("understand"))? >= caps.bytes
    {
        Some(Insertion::Full)
    } else {
        None
    })
}

async fn open_with(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    digest: &[u8; 32],
) -> Result<Option<Arc<str>>, DatabaseError> {
    const OPEN: &str =
        "SELECT id FROM approvals WHERE tenant = ? AND digest = ? AND state = 'pending'";
    let query = sqlx::query(OPEN).bind(tenant.as_str()).bind(&digest[..]);
    let open = query.fetch_optional(connection).await;
    let id = open
        .map_err(failed("read"))?
        .map(|open| open.try_get::<String, _>("id"));
    let id = id.transpose().map_err(failed("understand"))?;
    Ok(id.map(Into::into))
}

async fn add(connection: &mut SqliteConnection, row: &ApprovalRow) -> Result<u64, DatabaseError> {
    const ADD: &str = "INSERT INTO approvals (tenant, id, digest, caller, state, created_ms, expires_ms, \
                       uses_left, recorded, key_id, sealed) VALUES (?, ?, ?, ?, 'pending', ?, ?, ?, 0, ?, ?) \
                       ON CONFLICT DO NOTHING";
    let query = sqlx::query(ADD)
        .bind(row.tenant.as_str())
        .bind(&*row.id)
        .bind(&row.digest[..])
        .bind(&row.caller[..])
        .bind(integer(row.created_ms))
        .bind(integer(row.expires_ms))
        .bind(i64::from(row.uses_left))
        .bind(&*row.key_id)
        .bind(&row.sealed[..]);
    let added = query.execute(connection).await;
    added
        .map(|added| added.rows_affected())
        .map_err(failed("write to"))
}

/// The decisions on a request, oldest first.
async fn decisions(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    id: &str,
) -> Result<Vec<DecisionRow>, DatabaseError> {
    const DECISIONS: &str = "SELECT operator, approves, decided_ms, shown, reason \
                             FROM approval_decisions WHERE tenant = ? AND approval = ? ORDER BY decided_ms, operator";
    let query = sqlx::query(DECISIONS).bind(tenant.as_str()).bind(id);
    let found = query.fetch_all(connection).await;
    let found = found.map_err(failed("read"))?;
    let decisions: Result<_, _> = found.iter().map(decision).collect();
    decisions.map_err(failed("understand"))
}

/// Concludes a request that is pending, by this statement: with the time of it, and the time that follows from it.
async fn conclude(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (tenant, id): (&Tenant, &str),
    (now, until): (i64, i64),
) -> Result<(), DatabaseError> {
    let query = sqlx::query(statement)
        .bind(now)
        .bind(until)
        .bind(tenant.as_str())
        .bind(id);
    let concluded = query.execute(connection).await;
    concluded.map(|_done| ()).map_err(failed("write to"))
}

/// The requests that a query finds.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    query: Query<'_, Sqlite, SqliteArguments>,
) -> Result<Vec<ApprovalRow>, DatabaseError> {
    let found = soon(async { query.fetch_all(connection).await.map_err(failed("read")) });
    rows(&found.await?)
}
