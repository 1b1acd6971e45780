//! What a statement is, and which operations it comes to.

use sqlparser::ast::{OnInsert, Query, SetExpr, Statement};

/// Reading, which everything else outdoes.
pub(super) const READ: &str = "read";
pub(super) const CREATE: &str = "create";
pub(super) const UPDATE: &str = "update";
pub(super) const DELETE: &str = "delete";
/// Everything that is not about records: definitions, rights, settings, files, procedures.
pub(super) const ADMIN: &str = "admin";

/// From the weakest.
pub(super) const STRENGTH: [&str; 5] = [READ, CREATE, UPDATE, DELETE, ADMIN];

/// Kind and operations of one statement, without what is in it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "kinds that are not named here, and those a later parser adds, are the strongest operation"
)]
pub(super) fn kind(statement: &Statement) -> (&'static str, &'static [&'static str]) {
    match statement {
        Statement::Query(query) => (query_kind(query), &[]),
        Statement::Insert(insert) if insert.replace_into || insert.overwrite => {
            ("insert", &[CREATE, DELETE])
        }
        Statement::Insert(insert)
            if insert.on.as_ref().is_some_and(changes) || insert.or.is_some() =>
        {
            ("insert", &[CREATE, UPDATE])
        }
        Statement::Insert(_) => ("insert", &[CREATE]),
        Statement::Update(_) => ("update", &[UPDATE]),
        Statement::Delete(_) => ("delete", &[DELETE]),
        Statement::Merge(_) => ("merge", &[READ, CREATE, UPDATE, DELETE]),
        Statement::Explain { .. } => ("explain", &[]),
        Statement::ExplainTable { .. } => ("describe", &[READ]),
        Statement::Truncate(_) => ("truncate", &[DELETE, ADMIN]),
        Statement::Drop { .. } => ("drop", &[ADMIN]),
        Statement::CreateTable(_)
        | Statement::CreateView(_)
        | Statement::CreateIndex(_)
        | Statement::CreateFunction(_)
        | Statement::CreateTrigger(_)
        | Statement::CreateProcedure { .. }
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::CreateRole(_)
        | Statement::CreateUser(_)
        | Statement::CreateExtension(_) => ("create", &[ADMIN]),
        Statement::AlterTable(_)
        | Statement::AlterView { .. }
        | Statement::AlterIndex { .. }
        | Statement::AlterRole { .. }
        | Statement::AlterUser(_) => ("alter", &[ADMIN]),
        Statement::Grant(_) | Statement::Revoke(_) | Statement::Deny(_) => ("grant", &[ADMIN]),
        Statement::Call(_) | Statement::Execute { .. } | Statement::Prepare { .. } => {
            ("call", &[ADMIN])
        }
        Statement::Set(_) | Statement::Pragma { .. } | Statement::Use(_) | Statement::Reset(_) => {
            ("set", &[ADMIN])
        }
        Statement::Copy { .. } => ("copy", &[ADMIN]),
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. } => ("transaction", &[ADMIN]),
        _ => ("other", &[ADMIN]),
    }
}

/// What a query is by what stands in its innermost brackets.
fn query_kind(query: &Query) -> &'static str {
    let mut body = &*query.body;
    loop {
        match body {
            SetExpr::Query(inner) => body = &inner.body,
            SetExpr::Insert(_) => return "insert",
            SetExpr::Update(_) => return "update",
            SetExpr::Delete(_) => return "delete",
            SetExpr::Merge(_) => return "merge",
            SetExpr::Select(_)
            | SetExpr::SetOperation { .. }
            | SetExpr::Values(_)
            | SetExpr::Table(_) => return "select",
        }
    }
}

/// Whether records that are there already are changed.
fn changes(on: &OnInsert) -> bool {
    match on {
        OnInsert::DuplicateKeyUpdate(_) => true,
        OnInsert::OnConflict(conflict) => {
            !matches!(conflict.action, sqlparser::ast::OnConflictAction::DoNothing)
        }
        _ => true,
    }
}
