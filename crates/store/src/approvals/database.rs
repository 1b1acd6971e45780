//! The transitions of approvals in SQLite.

use std::{borrow::Cow, path::Path, sync::Arc};

use keepgate_call::Tenant;
use sqlx::{
    Row, SqlStr, Sqlite, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::rows::{decision, ids, row, rows, small, unsigned};
use super::statements as sql;
use super::transaction::begin;
use super::{
    ApprovalEnd, ApprovalRow, ApprovalState, CallKey, Caps, Decided, DecisionRow, FILE,
    GrantSession, Insertion, Terms,
};
use crate::sql::{DatabaseError, connect, failed, inode, integer};

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
    let sent = Migration::new(
        2,
        Cow::Borrowed("sent"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/approvals/0002_sent.sql")),
        false,
    );
    let recorded = Migration::new(
        3,
        Cow::Borrowed("recorded"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/approvals/0003_recorded.sql")),
        false,
    );
    let grants = Migration::new(
        4,
        Cow::Borrowed("grants"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/approvals/0004_grants.sql")),
        false,
    );
    let notices = Migration::new(
        5,
        Cow::Borrowed("notices"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/approvals/0005_notices.sql")),
        false,
    );
    Migrator {
        migrations: Cow::Owned(vec![approvals, sent, recorded, grants, notices]),
        ..Migrator::DEFAULT
    }
}

impl Database {
    pub(super) async fn open(state_directory: &Path) -> Result<Self, DatabaseError> {
        let path = state_directory.join(FILE);
        let (connection, inode) = connect(&path, migrations()).await?;
        Ok(Self {
            connection,
            path,
            inode,
        })
    }

    /// Rolls back what an earlier operation left open: one that was refused or failed.
    pub(super) async fn reset(&mut self) {
        let _none_is_open = sqlx::query("ROLLBACK").execute(&mut self.connection).await;
    }

    /// Fails when the file was removed or replaced: writes to it would be lost.
    pub(super) async fn check(&self) -> Result<(), DatabaseError> {
        if inode(self.path.clone()).await? == self.inode {
            return Ok(());
        }
        let path = self.path.clone();
        Err(DatabaseError::Gone { path })
    }

    pub(super) async fn find(
        &mut self,
        tenant: &Tenant,
        call: &CallKey,
        now_ms: u64,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        match decisive(&mut self.connection, tenant, call, now_ms).await? {
            Some(id) => self.get(tenant, &id).await,
            None => Ok(None),
        }
    }

    pub(super) async fn in_use(
        &mut self,
        tenant: &Tenant,
        digest: &[u8; 32],
    ) -> Result<bool, DatabaseError> {
        let found = id_with(&mut self.connection, sql::IN_USE, (tenant, digest)).await?;
        Ok(found.is_some())
    }

    pub(super) async fn get(
        &mut self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        let Some(found) = one(&mut self.connection, tenant, id).await? else {
            return Ok(None);
        };
        let decisions = decisions(&mut self.connection, tenant, id).await?;
        Ok(Some((found, decisions)))
    }

    pub(super) async fn state(
        &mut self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        let query = sqlx::query(sql::STATE).bind(tenant.as_str()).bind(id);
        let found = query.fetch_optional(&mut self.connection).await;
        let Some(found) = found.map_err(failed("read"))? else {
            return Ok(None);
        };
        let word: String = found.try_get("state").map_err(failed("understand"))?;
        Ok(ApprovalState::parse(&word))
    }

    pub(super) async fn insert(
        &mut self,
        row: &ApprovalRow,
        targets: &[Arc<str>],
        caps: &Caps,
    ) -> Result<Insertion, DatabaseError> {
        self.check().await?;
        let mut transaction = begin(&mut self.connection).await?;
        if let Some(refused) = refusal(&mut transaction, row, caps).await? {
            return Ok(refused);
        }
        let added = add(&mut transaction, row).await?;
        if added == 0 {
            // Its time may be over without anybody having noted it: then the next look expires it.
            let open = open_with(&mut transaction, row).await?;
            return Ok(open.map_or(Insertion::Full, Insertion::Joined));
        }
        for target in targets {
            let notice = sqlx::query(sql::ADD_NOTICE)
                .bind(row.tenant.as_str())
                .bind(&**target)
                .bind(&*row.id);
            let added = notice.execute(&mut *transaction).await;
            added.map_err(failed("write to"))?;
        }
        transaction.commit().await.map_err(failed("write to"))?;
        Ok(Insertion::Inserted)
    }

    pub(super) async fn decide(
        &mut self,
        tenant: &Tenant,
        id: &str,
        decision: &DecisionRow,
        terms: &Terms,
        is_enough: &(impl Fn(&[DecisionRow]) -> bool + Send + Sync),
    ) -> Result<Decided, DatabaseError> {
        self.check().await?;
        let now = integer(decision.decided_ms);
        let mut transaction = begin(&mut self.connection).await?;
        let Some(before) = one(&mut transaction, tenant, id).await? else {
            return Ok(Decided::Unknown);
        };
        let mut all = decisions(&mut transaction, tenant, id).await?;
        all.push(decision.clone());
        let state = match decision.approves {
            false => ApprovalState::Denied,
            true if is_enough(&all) => ApprovalState::Approved,
            true => ApprovalState::Pending,
        };
        if !note_decision(&mut transaction, (tenant, id), decision, state).await? {
            let is_open =
                before.state == ApprovalState::Pending && before.expires_ms > decision.decided_ms;
            return Ok(match (is_open, before.state) {
                (true, _) => Decided::Twice,
                (false, ApprovalState::Pending) => Decided::Closed(ApprovalState::Expired),
                (false, state) => Decided::Closed(state),
            });
        }
        let after = |time_ms| (now, now.saturating_add(integer(time_ms)));
        let mut overtaken = Vec::new();
        if state == ApprovalState::Denied {
            let until = after(terms.cooldown_ms);
            conclude(&mut transaction, sql::DENY, (tenant, id), until).await?;
            overtaken = overtake(&mut transaction, &before, decision).await?;
        } else if state == ApprovalState::Approved {
            let until = after(terms.valid_ms);
            conclude(&mut transaction, sql::APPROVE, (tenant, id), until).await?;
        }
        let after = one(&mut transaction, tenant, id).await?;
        transaction.commit().await.map_err(failed("write to"))?;
        Ok(after.map_or(Decided::Unknown, |row| {
            Decided::Counted(Box::new(row), overtaken)
        }))
    }

    /// Outcome of a decision whose statement failed with `error`: it counts if it is there.
    pub(super) async fn decided(
        &mut self,
        tenant: &Tenant,
        id: &str,
        decision: &DecisionRow,
        error: DatabaseError,
    ) -> Result<Decided, DatabaseError> {
        match self.get(tenant, id).await {
            Ok(Some((row, decisions)))
                if decisions.iter().any(|it| {
                    (&it.operator_id, it.approves, it.decided_ms)
                        == (
                            &decision.operator_id,
                            decision.approves,
                            decision.decided_ms,
                        )
                }) =>
            {
                Ok(Decided::Counted(Box::new(row), Vec::new()))
            }
            Ok(_) => Err(error),
            Err(_) => Err(DatabaseError::OutcomeUnknown),
        }
    }

    pub(super) async fn consume(
        &mut self,
        tenant: &Tenant,
        id: &str,
        (use_id, decision_id): (&str, &str),
        session: Option<GrantSession>,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        self.check().await?;
        let now = integer(now_ms);
        let mut transaction = begin(&mut self.connection).await?;
        let query = sqlx::query(sql::CONSUME)
            .bind(tenant.as_str())
            .bind(id)
            .bind(now)
            .bind(session.as_ref().map(|session| &session[..]));
        let taken = query.fetch_optional(&mut *transaction).await;
        if taken.map_err(failed("write to"))?.is_none() {
            return Ok(false);
        }
        let query = sqlx::query(sql::USE)
            .bind(tenant.as_str())
            .bind(use_id)
            .bind(id)
            .bind(decision_id)
            .bind(now);
        let noted = query.execute(&mut *transaction).await;
        noted.map_err(failed("write to"))?;
        transaction.commit().await.map_err(failed("write to"))?;
        Ok(true)
    }

    pub(super) async fn send(
        &mut self,
        tenant: &Tenant,
        use_id: &str,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        self.check().await?;
        let query = sqlx::query(sql::SEND)
            .bind(tenant.as_str())
            .bind(use_id)
            .bind(integer(now_ms));
        let sent = query.fetch_optional(&mut self.connection).await;
        sent.map(|sent| sent.is_some()).map_err(failed("write to"))
    }

    pub(super) async fn settle(
        &mut self,
        tenant: &Tenant,
        use_id: &str,
        released: bool,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        self.check().await?;
        let word = if released { "released" } else { "returned" };
        let mut transaction = begin(&mut self.connection).await?;
        let query = sqlx::query(sql::SETTLE)
            .bind(word)
            .bind(integer(now_ms))
            .bind(tenant.as_str())
            .bind(use_id);
        let ended = query.fetch_optional(&mut *transaction).await;
        if let Some(ended) = ended.map_err(failed("write to"))?
            && unsigned(&ended, "is_returned").map_err(failed("understand"))? != 0
        {
            let id: String = ended.try_get("approval").map_err(failed("understand"))?;
            let query = sqlx::query(sql::RETURN).bind(tenant.as_str()).bind(id);
            let returned = query.execute(&mut *transaction).await;
            returned.map_err(failed("write to"))?;
        }
        transaction.commit().await.map_err(failed("write to"))
    }

    pub(super) async fn end(
        &mut self,
        tenant: &Tenant,
        id: &str,
        end: &ApprovalEnd,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        self.check().await?;
        let query = sqlx::query(sql::END)
            .bind(integer(end.at_ms))
            .bind(integer(end.at_ms))
            .bind(end.by.as_deref())
            .bind(&*end.code)
            .bind(&*end.message)
            .bind(tenant.as_str())
            .bind(id);
        let ended = query.fetch_optional(&mut self.connection).await;
        let Some(ended) = ended.map_err(failed("write to"))? else {
            return Ok(None);
        };
        let word: String = ended.try_get("state").map_err(failed("understand"))?;
        Ok(ApprovalState::parse(&word))
    }
}

pub(super) async fn one(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    id: &str,
) -> Result<Option<ApprovalRow>, DatabaseError> {
    let query = sqlx::query(sql::ONE).bind(tenant.as_str()).bind(id);
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
    if let Some(open) = open_with(connection, row).await? {
        return Ok(Some(Insertion::Joined(open)));
    }
    // Decided after the caller looked: a request added now would outlive that decision.
    let (digest, session) = (row.digest, row.session);
    let call = CallKey { digest, session };
    let decided = decisive(connection, &row.tenant, &call, row.created_ms).await?;
    if decided.is_some() {
        return Ok(Some(Insertion::Decided));
    }
    let call = (&row.tenant, &row.digest);
    if let Some(used) = id_with(connection, sql::IN_USE, call).await? {
        return Ok(Some(Insertion::InUse(used)));
    }
    let since = row.created_ms.saturating_sub(caps.window_ms);
    let query = sqlx::query(sql::COUNTS)
        .bind(row.tenant.as_str())
        .bind(&row.caller[..])
        .bind(integer(since));
    let counts = query.fetch_one(connection).await;
    let counts = counts.map_err(failed("read"))?;
    let count = |column| small(&counts, column).map_err(failed("understand"));
    let bytes = |column| unsigned(&counts, column).map_err(failed("understand"));
    Ok(if count("pending")? >= caps.pending {
        Some(Insertion::PendingCap)
    } else if bytes("share")? >= caps.caller_bytes {
        Some(Insertion::BytesCap)
    } else if count("lately")? >= caps.requests {
        Some(Insertion::RateCap)
    } else if count("everybody")? >= caps.all || bytes("bytes")? >= caps.bytes {
        Some(Insertion::Full)
    } else {
        None
    })
}

/// The request that a statement finds by tenant and digest.
async fn id_with(
    connection: &mut SqliteConnection,
    statement: &'static str,
    (tenant, digest): (&Tenant, &[u8; 32]),
) -> Result<Option<std::sync::Arc<str>>, DatabaseError> {
    let query = sqlx::query(statement)
        .bind(tenant.as_str())
        .bind(&digest[..]);
    id_of(query.fetch_optional(connection).await)
}

/// The pending request that another one like `row` would join.
async fn open_with(
    connection: &mut SqliteConnection,
    row: &ApprovalRow,
) -> Result<Option<std::sync::Arc<str>>, DatabaseError> {
    let query = sqlx::query(sql::OPEN_WITH)
        .bind(row.tenant.as_str())
        .bind(&row.digest[..])
        .bind(row.session.as_ref().map(|session| &session[..]));
    id_of(query.fetch_optional(connection).await)
}

fn id_of(
    found: Result<Option<SqliteRow>, sqlx::Error>,
) -> Result<Option<std::sync::Arc<str>>, DatabaseError> {
    let found = found.map_err(failed("read"))?;
    let id = found.map(|found| found.try_get::<String, _>("id"));
    let id = id.transpose().map_err(failed("understand"))?;
    Ok(id.map(Into::into))
}

/// The request that decides over a digest now.
async fn decisive(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    call: &CallKey,
    now_ms: u64,
) -> Result<Option<String>, DatabaseError> {
    let query = sqlx::query(sql::FIND)
        .bind(tenant.as_str())
        .bind(&call.digest[..])
        .bind(integer(now_ms))
        .bind(call.session.as_ref().map(|session| &session[..]));
    let found = query.fetch_optional(connection).await;
    let id = found
        .map_err(failed("read"))?
        .map(|found| found.try_get("id"));
    id.transpose().map_err(failed("understand"))
}

/// Takes back every yes to a call that was denied just now.
async fn overtake(
    connection: &mut SqliteConnection,
    denied: &ApprovalRow,
    no: &DecisionRow,
) -> Result<Vec<std::sync::Arc<str>>, DatabaseError> {
    let query = sqlx::query(sql::OVERTAKE)
        .bind(denied.tenant.as_str())
        .bind(&denied.digest[..])
        .bind(integer(no.decided_ms))
        .bind(&*no.operator)
        .bind(&*denied.id);
    let overtaken = query.fetch_all(connection).await;
    ids(&overtaken.map_err(failed("write to"))?)
}

async fn add(connection: &mut SqliteConnection, row: &ApprovalRow) -> Result<u64, DatabaseError> {
    let query = sqlx::query(sql::ADD)
        .bind(row.tenant.as_str())
        .bind(&*row.id)
        .bind(&row.digest[..])
        .bind(&row.caller[..])
        .bind(integer(row.created_ms))
        .bind(integer(row.expires_ms))
        .bind(i64::from(row.uses_left))
        .bind(&*row.key_id)
        .bind(&row.sealed[..])
        .bind(row.not_before_ms.map(integer))
        .bind(row.session.as_ref().map(|session| &session[..]));
    let added = query.execute(connection).await;
    added
        .map(|added| added.rows_affected())
        .map_err(failed("write to"))
}

/// Puts a decision on a request that is pending. `false` when it is not, or the operator has decided before.
async fn note_decision(
    connection: &mut SqliteConnection,
    (tenant, id): (&Tenant, &str),
    decision: &DecisionRow,
    after: ApprovalState,
) -> Result<bool, DatabaseError> {
    let query = sqlx::query(sql::DECIDE)
        .bind(tenant.as_str())
        .bind(id)
        .bind(&*decision.operator_id)
        .bind(&*decision.operator)
        .bind(i64::from(decision.approves))
        .bind(integer(decision.decided_ms))
        .bind(&*decision.shown)
        .bind(&*decision.reason)
        .bind(after.as_str());
    let counted = query.execute(connection).await;
    Ok(counted.map_err(failed("write to"))?.rows_affected() > 0)
}

/// The decisions on a request, oldest first.
async fn decisions(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    id: &str,
) -> Result<Vec<DecisionRow>, DatabaseError> {
    let query = sqlx::query(sql::DECISIONS).bind(tenant.as_str()).bind(id);
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
    rows(&query.fetch_all(connection).await.map_err(failed("read"))?)
}
