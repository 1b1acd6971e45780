//! Rows of the database, read.

use std::sync::Arc;

use keepgate_call::Tenant;
use sqlx::{Row, sqlite::SqliteRow};

use super::{ApprovalEnd, ApprovalRow, ApprovalState, DecisionRow, GrantSession};
use crate::sql::{DatabaseError, failed};

pub(super) fn unsigned(row: &SqliteRow, column: &str) -> Result<u64, sqlx::Error> {
    let number: i64 = row.try_get(column)?;
    Ok(u64::try_from(number).unwrap_or_default())
}

pub(super) fn maybe(row: &SqliteRow, column: &str) -> Result<Option<u64>, sqlx::Error> {
    let number: Option<i64> = row.try_get(column)?;
    Ok(number.and_then(|number| u64::try_from(number).ok()))
}

pub(super) fn small(row: &SqliteRow, column: &str) -> Result<u32, sqlx::Error> {
    Ok(u32::try_from(unsigned(row, column)?).unwrap_or(u32::MAX))
}

pub(super) fn digest(row: &SqliteRow, column: &str) -> Result<[u8; 32], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_other_length| sqlx::Error::Decode("not a digest".into()))
}

/// The session a request is bound to.
pub(super) fn session(row: &SqliteRow) -> Result<Option<GrantSession>, sqlx::Error> {
    let bytes: Option<Vec<u8>> = row.try_get("session")?;
    let session = bytes.map(TryInto::try_into).transpose();
    session.map_err(|_other_length| sqlx::Error::Decode("not a session".into()))
}

pub(super) fn row(row: &SqliteRow) -> Result<ApprovalRow, sqlx::Error> {
    let (tenant, id, state): (String, String, String) = (
        row.try_get("tenant")?,
        row.try_get("id")?,
        row.try_get("state")?,
    );
    let text = |column| row.try_get::<Option<String>, _>(column);
    let end = match (maybe(row, "ended_ms")?, text("end_code")?) {
        (Some(at_ms), Some(code)) => Some(ApprovalEnd {
            at_ms,
            by: text("ended_by")?.map(Into::into),
            code: code.into(),
            message: text("end_message")?.unwrap_or_default().into(),
        }),
        (Some(_) | None, _) => None,
    };
    let (key_id, sealed): (String, Vec<u8>) = (row.try_get("key_id")?, row.try_get("sealed")?);
    Ok(ApprovalRow {
        tenant: Tenant::new(tenant),
        id: id.into(),
        digest: digest(row, "digest")?,
        caller: digest(row, "caller")?,
        state: ApprovalState::parse(&state)
            .ok_or_else(|| sqlx::Error::Decode("not a state".into()))?,
        created_ms: unsigned(row, "created_ms")?,
        expires_ms: unsigned(row, "expires_ms")?,
        decided_ms: maybe(row, "decided_ms")?,
        usable_until_ms: maybe(row, "usable_until_ms")?,
        not_before_ms: maybe(row, "not_before_ms")?,
        session: session(row)?,
        uses_left: small(row, "uses_left")?,
        cooldown_until_ms: maybe(row, "cooldown_until_ms")?,
        end,
        recorded: small(row, "recorded")?,
        key_id: key_id.into(),
        sealed: sealed.into(),
    })
}

pub(super) fn rows(found: &[SqliteRow]) -> Result<Vec<ApprovalRow>, DatabaseError> {
    let rows: Result<_, _> = found.iter().map(row).collect();
    rows.map_err(failed("understand"))
}

pub(super) fn decision(row: &SqliteRow) -> Result<DecisionRow, sqlx::Error> {
    let text = |column| row.try_get::<String, _>(column).map(Into::into);
    let state: Option<String> = row.try_get("state")?;
    Ok(DecisionRow {
        operator_id: text("operator_id")?,
        operator: text("operator")?,
        approves: row.try_get::<i64, _>("approves")? != 0,
        decided_ms: unsigned(row, "decided_ms")?,
        shown: text("shown")?,
        reason: text("reason")?,
        state: state.as_deref().and_then(ApprovalState::parse),
        is_recorded: unsigned(row, "recorded")? != 0,
    })
}

/// The ids of requests.
pub(super) fn ids(found: &[SqliteRow]) -> Result<Vec<Arc<str>>, DatabaseError> {
    let id = |row: &SqliteRow| row.try_get::<String, _>("id").map(Into::into);
    let ids: Result<_, _> = found.iter().map(id).collect();
    ids.map_err(failed("understand"))
}
