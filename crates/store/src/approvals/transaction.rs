//! Transactions of the database.

use std::ops::{Deref, DerefMut};

use sqlx::SqliteConnection;

use crate::sql::{DatabaseError, failed};

/// A transaction that writes. sqlx's own counts how deep it is, and never again begins one after SQLite has rolled back by
/// itself, as on a full disk. One that is not committed is rolled back before the next operation.
pub(super) struct Transaction<'a>(&'a mut SqliteConnection);

impl Deref for Transaction<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0
    }
}

impl Transaction<'_> {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        sqlx::query("COMMIT").execute(self.0).await.map(|_done| ())
    }
}

pub(super) async fn begin(
    connection: &mut SqliteConnection,
) -> Result<Transaction<'_>, DatabaseError> {
    let begun = sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await;
    begun.map_err(failed("write to"))?;
    Ok(Transaction(connection))
}
