//! The database: SQLite in the state directory, through sqlx.

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Row, SqlStr, SqliteConnection, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use tokio::sync::Semaphore;

use crate::kill::{Acts, Clear, Kill, Set};

/// How long another process may hold the database before we give up on it for this time.
const BUSY: Duration = Duration::from_millis(500);
/// Rows that are read or taken out at a time.
const BATCH: usize = 5_000;
/// How long one act may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The file could not be made.
    #[error("failed to make the database: `{path}`")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// The database said no: it is read-only, full, locked or damaged.
    #[error("failed to {act} the database")]
    Sql {
        /// What was being done.
        act: &'static str,
        /// What it answered.
        source: sqlx::Error,
    },
    /// Its form could not be brought up to date.
    #[error("failed to bring the database up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// It did not answer, and nothing was asked of it.
    #[error("the database has not answered for `{PATIENCE:?}`")]
    Slow,
    /// It was asked and has not answered: nobody knows yet whether it happened.
    #[error("the database has not answered: whether it was done is not known yet")]
    OutcomeUnknown,
    /// The file is not the one that was opened, or it is gone.
    #[error("the database file was replaced or removed: `{path}`")]
    Gone {
        /// Which file.
        path: PathBuf,
    },
}

/// The statement that reads kills, with this expression for the acts that are on record.
macro_rules! kills_with {
    ($recorded:literal) => {
        concat!(
            "SELECT rowid, id, scope, target, tenant, reason, set_by, set_at, expires_at, ",
            "cleared_at, cleared_by, cleared_reason, ",
            $recorded,
            " FROM kills WHERE rowid > ? ORDER BY rowid LIMIT ?"
        )
    };
}

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    pool: SqlitePool,
    path: PathBuf,
    inode: u64,
}

/// A kill as the database holds it.
pub(crate) struct Held {
    pub(crate) set: Set,
    pub(crate) clear: Option<Clear>,
    /// Acts in the audit log.
    pub(crate) recorded: Acts,
}

/// The migrations, oldest first. One that was released is never changed.
fn migrations() -> Migrator {
    let kills = Migration::new(
        1,
        Cow::Borrowed("kills"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../migrations/0001_kills.sql")),
        false,
    );
    let recorded = Migration::new(
        2,
        Cow::Borrowed("recorded"),
        MigrationType::Simple,
        SqlStr::from_static(include_str!("../migrations/0002_recorded.sql")),
        false,
    );
    Migrator {
        migrations: Cow::Owned(vec![kills, recorded]),
        ..Migrator::DEFAULT
    }
}

/// A number as the database has it.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn failed(act: &'static str) -> impl FnOnce(sqlx::Error) -> DatabaseError {
    move |source| DatabaseError::Sql { act, source }
}

/// Bounds what is asked of the database: a disk that hangs must not hold an operator up.
pub(crate) async fn soon<T>(
    asked: impl Future<Output = Result<T, DatabaseError>>,
) -> Result<T, DatabaseError> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(DatabaseError::Slow),
    }
}

/// Acts on files at once, of all databases together: behind a disk that hangs, threads must not pile up.
static AT_DISK: Semaphore = Semaphore::const_new(16);

/// Runs an act that may wait for a disk in a task of its own, and gives up on it after [`PATIENCE`]. It keeps its place until the
/// disk answers, so a disk that hangs takes as many tasks and threads as there are places, and no more.
async fn at_disk<T: Send + 'static>(
    act: impl Future<Output = Result<T, DatabaseError>> + Send + 'static,
) -> Result<T, DatabaseError> {
    soon(async {
        let place = AT_DISK.acquire().await;
        let place = place.map_err(|_closed| DatabaseError::Slow)?;
        let acting = tokio::spawn(async move {
            let done = act.await;
            drop(place);
            done
        });
        acting.await.unwrap_or(Err(DatabaseError::Slow))
    })
    .await
}

/// Runs what blocks its thread on one where that holds up nobody. Within [`at_disk`] it has its bounds.
async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, DatabaseError> {
    let acting = tokio::task::spawn_blocking(act);
    acting.await.unwrap_or(Err(DatabaseError::Slow))
}

/// Whether the file of a database is there; `None` where the disk does not answer.
pub(crate) async fn exists(path: PathBuf) -> Option<bool> {
    at_disk(blocking(move || Ok(path.exists()))).await.ok()
}

impl Database {
    /// Name of the file in the state directory.
    pub(crate) const FILE: &str = crate::DATABASE;

    /// Reads the kills of a database that was closed in order, touching nothing: opening it needs room for a journal, which
    /// a full disk has not. `None` when a journal may hold more than the file.
    pub(crate) async fn read_closed(
        state_directory: &Path,
    ) -> Result<Option<Vec<Held>>, DatabaseError> {
        let path = state_directory.join(Self::FILE);
        let beneath = path.clone();
        if at_disk(blocking(move || Ok(has_journal(&beneath)))).await? {
            return Ok(None);
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true)
            .immutable(true);
        let pool = soon(async {
            SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(PATIENCE)
                .connect_with(options)
                .await
                .map_err(failed("read"))
        })
        .await?;
        let inode = inode(path.clone()).await?;
        let database = Self { pool, path, inode };
        let kills = database.kills_of_any_schema().await;
        database.close().await;
        kills.map(Some)
    }

    /// Opens the database of `state_directory`, makes it when there is none, and brings it up to date.
    pub(crate) async fn open(state_directory: &Path) -> Result<Self, DatabaseError> {
        let path = state_directory.join(Self::FILE);
        make(path.clone()).await?;
        at_disk(async {
            let pool = SqlitePoolOptions::new()
                .max_connections(1)
                .acquire_timeout(PATIENCE)
                .connect_with(options(&path))
                .await
                .map_err(failed("open"))?;
            migrations()
                .run(&pool)
                .await
                .map_err(DatabaseError::Migrate)?;
            let inode = number(path.clone()).await?;
            Ok(Self { pool, path, inode })
        })
        .await
    }

    /// Every kill it holds.
    pub(crate) async fn kills(&self) -> Result<Vec<Held>, DatabaseError> {
        self.kills_with(kills_with!("recorded")).await
    }

    /// As [`Self::kills`], where the migrations may not have run: a full disk takes none, and an upgrade may meet one.
    async fn kills_of_any_schema(&self) -> Result<Vec<Held>, DatabaseError> {
        const COLUMN: &str = "SELECT 1 FROM pragma_table_info('kills') WHERE name = 'recorded'";
        let column = soon(async {
            let found = sqlx::query(COLUMN).fetch_optional(&self.pool).await;
            found.map_err(failed("read"))
        })
        .await?;
        // Of the first schema no act is known to be on record: the audit log is looked through for all of them.
        let first = kills_with!("0 AS recorded");
        let statement = column.map_or(first, |_there| kills_with!("recorded"));
        self.kills_with(statement).await
    }

    /// Every kill, by this statement.
    async fn kills_with(&self, statement: &'static str) -> Result<Vec<Held>, DatabaseError> {
        let (mut kills, mut last) = (Vec::new(), 0_i64);
        loop {
            let rows = soon(async {
                let some = sqlx::query(statement).bind(last).bind(BATCH as i64);
                some.fetch_all(&self.pool).await.map_err(failed("read"))
            })
            .await?;
            for row in &rows {
                last = row.try_get("rowid").map_err(failed("understand"))?;
                kills.push(kill(row).map_err(failed("understand"))?);
            }
            if rows.len() < BATCH {
                return Ok(kills);
            }
        }
    }

    /// Takes kills out; durable when this returns.
    pub(crate) async fn forget(&self, kills: &[Arc<Kill>]) -> Result<(), DatabaseError> {
        for batch in kills.chunks(BATCH) {
            soon(async {
                let mut transaction = self.pool.begin().await.map_err(failed("write to"))?;
                for kill in batch {
                    sqlx::query("DELETE FROM kills WHERE id = ?")
                        .bind(&*kill.id)
                        .execute(&mut *transaction)
                        .await
                        .map_err(failed("write to"))?;
                }
                transaction.commit().await.map_err(failed("write to"))
            })
            .await?;
        }
        Ok(())
    }

    /// Puts kills in, and what became of them; durable when this returns. What stands there is never taken back: a kill
    /// that was cleared stays so.
    pub(crate) async fn put(&self, kills: &[Held]) -> Result<(), DatabaseError> {
        const PUT: &str = "INSERT INTO kills (id, scope, target, tenant, reason, set_by, set_at, expires_at, \
                           cleared_at, cleared_by, cleared_reason, recorded) \
                           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
                           ON CONFLICT (id) DO UPDATE SET recorded = recorded | excluded.recorded, \
                           cleared_by = iif(cleared_at IS NULL, excluded.cleared_by, cleared_by), \
                           cleared_reason = iif(cleared_at IS NULL, excluded.cleared_reason, cleared_reason), \
                           cleared_at = coalesce(cleared_at, excluded.cleared_at)";
        if inode(self.path.clone()).await? != self.inode {
            return Err(DatabaseError::Gone {
                path: self.path.clone(),
            });
        }
        soon(async {
            let mut transaction = self.pool.begin().await.map_err(failed("write to"))?;
            for Held {
                set,
                clear,
                recorded,
            } in kills
            {
                let clear = clear.as_ref();
                sqlx::query(PUT)
                    .bind(&set.id)
                    .bind(&set.scope)
                    .bind(&set.target)
                    .bind(&set.tenant)
                    .bind(&set.reason)
                    .bind(&set.by)
                    .bind(&set.at)
                    .bind(&set.expires)
                    .bind(clear.map(|clear| &clear.at))
                    .bind(clear.map(|clear| &clear.by))
                    .bind(clear.map(|clear| &clear.reason))
                    .bind(recorded.bits())
                    .execute(&mut *transaction)
                    .await
                    .map_err(failed("write to"))?;
            }
            transaction.commit().await.map_err(failed("write to"))
        })
        .await
    }

    /// Whether the file is still the one that was opened. Where the disk does not answer it is: what is written next fails by
    /// itself.
    pub(crate) async fn is_there(&self) -> bool {
        match inode(self.path.clone()).await {
            Ok(inode) => inode == self.inode,
            Err(error) => matches!(error, DatabaseError::Slow),
        }
    }

    /// Gives the file back.
    pub(crate) async fn close(self) {
        self.pool.close().await;
    }
}

/// Whether a journal may hold more than the file of the database.
fn has_journal(path: &Path) -> bool {
    ["-wal", "-journal"].iter().any(|suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // What cannot be inspected may be there.
        match fs::metadata(name) {
            Ok(found) => found.len() > 0,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    })
}

/// Makes the file of a database where there is none.
async fn make(path: PathBuf) -> Result<(), DatabaseError> {
    at_disk(blocking(move || {
        let made = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        match made {
            // One that can only be read is opened all the same: what it holds counts.
            Err(source) if !path.exists() => Err(DatabaseError::File { path, source }),
            Ok(_) | Err(_) => Ok(()),
        }
    }))
    .await
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
}

/// Opens the database at `path` for one who needs no pool, makes it when there is none, and brings it up to date. Returns the
/// file's inode too.
pub(crate) async fn connect(
    path: &Path,
    migrations: Migrator,
) -> Result<(SqliteConnection, u64), DatabaseError> {
    make(path.to_path_buf()).await?;
    let path = path.to_path_buf();
    at_disk(async move {
        let mut connection = options(&path).connect().await.map_err(failed("open"))?;
        migrations
            .run_direct(None, &mut connection, false)
            .await
            .map_err(DatabaseError::Migrate)?;
        Ok((connection, number(path).await?))
    })
    .await
}

/// Number of the file at `path`.
pub(crate) async fn inode(path: PathBuf) -> Result<u64, DatabaseError> {
    at_disk(number(path)).await
}

async fn number(path: PathBuf) -> Result<u64, DatabaseError> {
    blocking(move || {
        fs::metadata(&path)
            .map(|metadata| metadata.ino())
            .map_err(|_gone| DatabaseError::Gone { path })
    })
    .await
}

fn kill(row: &sqlx::sqlite::SqliteRow) -> Result<Held, sqlx::Error> {
    let id: String = row.try_get("id")?;
    let cleared: Option<String> = row.try_get("cleared_at")?;
    let clear = match cleared {
        None => None,
        Some(at) => Some(Clear {
            id: id.clone(),
            at,
            by: row.try_get("cleared_by")?,
            reason: row.try_get("cleared_reason")?,
        }),
    };
    let set = Set {
        id,
        scope: row.try_get("scope")?,
        target: row.try_get("target")?,
        tenant: row.try_get("tenant")?,
        reason: row.try_get("reason")?,
        by: row.try_get("set_by")?,
        at: row.try_get("set_at")?,
        expires: row.try_get("expires_at")?,
    };
    let recorded = Acts::from_bits(row.try_get("recorded")?);
    Ok(Held {
        set,
        clear,
        recorded,
    })
}
