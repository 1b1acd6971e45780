//! The database of sessions: a file of its own, so that what clients cause never holds up a kill, and so that it can be dropped
//! whole.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
};

use sqlx::{
    Connection, Row, SqlStr, Sqlite, SqliteConnection,
    migrate::{Migration, MigrationType, Migrator},
    query::Query,
    sqlite::SqliteArguments,
};

use super::{Batch, SessionDigest, SessionRow};
use crate::sql::{self, DatabaseError, failed, inode, integer, soon};

/// Longest sealed part that is read, in bytes: longer ones were not written by a gateway.
pub(crate) const MAX_SEALED: usize = 64 * 1024;
/// Rows written at a time.
const CHUNK: usize = 500;

/// An open database, on one connection: a pool may still hold the file when it reports that it is closed.
#[derive(Debug)]
pub(super) struct Database {
    connection: SqliteConnection,
    path: PathBuf,
    inode: u64,
}

/// The migrations, oldest first. One that was released is never changed.
fn migrations() -> Migrator {
    let sessions = Migration::new(
        1,
        Cow::Borrowed("sessions"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../../migrations/sessions/0001_sessions.sql")),
        false,
    );
    Migrator {
        migrations: Cow::Owned(vec![sessions]),
        ..Migrator::DEFAULT
    }
}

/// One statement.
enum Change<'a> {
    Remove(&'a SessionDigest),
    Put(&'a SessionRow),
    Used(&'a SessionDigest, u64),
}

impl<'a> Change<'a> {
    fn query(&self) -> Query<'a, Sqlite, SqliteArguments> {
        const PUT: &str = "INSERT INTO sessions (id, used_ms, sealed) VALUES (?, ?, ?) ON CONFLICT (id) \
                           DO UPDATE SET used_ms = excluded.used_ms, sealed = excluded.sealed";
        match *self {
            Self::Remove(id) => sqlx::query("DELETE FROM sessions WHERE id = ?").bind(&id[..]),
            Self::Put(row) => sqlx::query(PUT)
                .bind(&row.id[..])
                .bind(integer(row.used_ms))
                .bind(&row.sealed[..]),
            Self::Used(id, used_ms) => sqlx::query("UPDATE sessions SET used_ms = ? WHERE id = ?")
                .bind(integer(used_ms))
                .bind(&id[..]),
        }
    }
}

fn row(row: &sqlx::sqlite::SqliteRow) -> Result<SessionRow, sqlx::Error> {
    let id: Vec<u8> = row.try_get("id")?;
    let id: SessionDigest = id
        .try_into()
        .map_err(|_other_length| sqlx::Error::Decode("not a digest".into()))?;
    let used_ms: i64 = row.try_get("used_ms")?;
    let sealed: Vec<u8> = row.try_get("sealed")?;
    Ok(SessionRow {
        id,
        used_ms: u64::try_from(used_ms).unwrap_or_default(),
        sealed: sealed.into(),
    })
}

impl Database {
    /// Opens the database of `state_directory`, makes it when there is none, and brings it up to date.
    pub(super) async fn open(state_directory: &Path) -> Result<Self, DatabaseError> {
        let path = state_directory.join(super::FILE);
        let (connection, inode) = sql::connect(&path, migrations()).await?;
        Ok(Self {
            connection,
            path,
            inode,
        })
    }

    /// The `most` rows that were used last; others are taken out.
    pub(super) async fn rows(&mut self, most: usize) -> Result<Vec<SessionRow>, DatabaseError> {
        const SOME: &str = "SELECT id, used_ms, sealed FROM sessions WHERE length(sealed) <= ? \
                            ORDER BY used_ms DESC LIMIT ?";
        const OTHERS: &str = "DELETE FROM sessions WHERE id NOT IN (SELECT id FROM sessions \
                              WHERE length(sealed) <= ? ORDER BY used_ms DESC LIMIT ?)";
        let longest = integer(MAX_SEALED as u64);
        let most = integer(most as u64);
        let rows = soon(async {
            let some = sqlx::query(SOME).bind(longest).bind(most);
            some.fetch_all(&mut self.connection)
                .await
                .map_err(failed("read"))
        })
        .await?;
        let rows = rows.iter().map(row).collect::<Result<_, _>>();
        let rows = rows.map_err(failed("understand"))?;
        soon(async {
            let others = sqlx::query(OTHERS).bind(longest).bind(most);
            others
                .execute(&mut self.connection)
                .await
                .map_err(failed("write to"))
        })
        .await?;
        Ok(rows)
    }

    /// Writes what has changed; durable when this returns.
    pub(super) async fn write(&mut self, batch: &Batch) -> Result<(), DatabaseError> {
        if inode(self.path.clone()).await? != self.inode {
            let path = self.path.clone();
            return Err(DatabaseError::Gone { path });
        }
        // What ends comes first: it must hold, whatever becomes of the others.
        let removed = batch.removed.iter().map(Change::Remove);
        let rows = batch.rows.values().map(Change::Put);
        let used = batch
            .used
            .iter()
            .map(|(id, used_ms)| Change::Used(id, *used_ms));
        let changes: Vec<_> = removed.chain(rows).chain(used).collect();
        for chunk in changes.chunks(CHUNK) {
            soon(async {
                let mut transaction = self.connection.begin().await.map_err(failed("write to"))?;
                for change in chunk {
                    let query = change.query();
                    let written = query.execute(&mut *transaction).await;
                    written.map_err(failed("write to"))?;
                }
                transaction.commit().await.map_err(failed("write to"))
            })
            .await?;
        }
        Ok(())
    }

    /// Gives the file back.
    pub(super) async fn close(self) {
        // It is gone either way; what was acknowledged is in the file or its journal.
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "sessions.db was not closed in order");
        }
    }
}

/// Removes the files of the database of `state_directory`.
pub(super) fn remove(state_directory: &Path) -> io::Result<()> {
    // The file last: while it is there, what is left of the others may belong to it.
    for name in super::FILES {
        match fs::remove_file(state_directory.join(name)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    fs::File::open(state_directory)?.sync_all()
}
