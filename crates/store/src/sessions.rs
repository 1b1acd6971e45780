//! Sessions that outlive the process: a row for each, sealed by the gateway and written behind the calls.
//!
//! A row is put in when a session begins and taken out when it ends, and nothing in between waits for the database. What cannot
//! be put in is tried again, and does not survive until then. What cannot be taken out must not come back: then the whole
//! database is removed, which a full disk allows too, and begins again with the sessions of now. One that cannot be read at the
//! start is removed likewise, since nobody knows which of its sessions have ended.

mod database;

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use self::database::Database;
use crate::{chain, locked};

/// Name of the database in the state directory.
pub const FILE: &str = "sessions.db";
/// The files of the database, in the order in which they are removed.
pub const FILES: [&str; 3] = ["sessions.db-shm", "sessions.db-wal", FILE];
/// Pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Writes that may fail before the database is removed instead.
const TRIES: usize = 2;

/// Longest sealed part of a row, in bytes; a longer one is not read back.
pub const MAX_SEALED: usize = database::MAX_SEALED;

/// Digest of a session id, which is random enough that the digest gives nothing away.
pub type SessionDigest = [u8; 32];

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Digest of its id.
    pub id: SessionDigest,
    /// Its last use, in milliseconds of Unix time, about a minute behind.
    pub used_ms: u64,
    /// Everything the gateway needs to resume it; only the gateway can read it.
    pub sealed: Box<[u8]>,
}

/// The sessions that are kept. Cheap to clone; the database is closed when the last clone is gone.
#[derive(Debug, Clone)]
pub struct SessionStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    pending: Mutex<Batch>,
    wake: Notify,
    /// Number of the last change that is durable.
    done: watch::Sender<u64>,
    problem: Mutex<Option<String>>,
    /// Times the database was removed or replaced: what was in it is not.
    losses: std::sync::atomic::AtomicU64,
    database: tokio::sync::Mutex<Option<Database>>,
}

/// Changes that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: HashMap<SessionDigest, SessionRow>,
    removed: HashSet<SessionDigest>,
    used: HashMap<SessionDigest, u64>,
    /// Whether the database has to be removed first: something in it may have ended.
    is_doubtful: bool,
    /// Number of the latest change.
    number: u64,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.removed.is_empty() && self.used.is_empty() && !self.is_doubtful
    }

    /// Takes what could not be written back; what came meanwhile counts.
    fn return_back(&mut self, failed: Self) {
        for (id, row) in failed.rows {
            if !self.removed.contains(&id) {
                self.rows.entry(id).or_insert(row);
            }
        }
        self.removed.extend(failed.removed);
        self.is_doubtful |= failed.is_doubtful;
        // Uses are written again within a minute.
    }
}

/// A change on its way to the disk.
#[derive(Debug)]
pub struct Write {
    number: u64,
    done: watch::Receiver<u64>,
}

impl Write {
    /// Waits until the change is durable, for `patience` at most. `false` when it is not yet.
    pub async fn is_durable(mut self, patience: Duration) -> bool {
        let number = self.number;
        let written = self.done.wait_for(|done| *done >= number);
        matches!(tokio::time::timeout(patience, written).await, Ok(Ok(_)))
    }
}

impl SessionStore {
    /// Opens the sessions of `state_directory`, the `most` that were used last. Never fails: what cannot be read is removed,
    /// which [`Self::problem`] reports until that is done. Writes in a task of the runtime it is called on.
    pub async fn open(state_directory: &Path, most: usize) -> (Self, Vec<SessionRow>) {
        let store = Self(Arc::new(Inner {
            directory: state_directory.to_path_buf(),
            pending: Mutex::default(),
            wake: Notify::new(),
            done: watch::Sender::new(0),
            problem: Mutex::default(),
            losses: Default::default(),
            database: tokio::sync::Mutex::default(),
        }));
        let opened = async {
            let mut database = Database::open(state_directory).await?;
            let rows = database.rows(most).await?;
            Ok::<_, crate::sql::DatabaseError>((database, rows))
        };
        let rows = match opened.await {
            Ok((database, rows)) => {
                *store.0.database.lock().await = Some(database);
                rows
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "sessions.db cannot be read: no session is resumed, and a new file begins"
                );
                *locked(&store.0.problem) = Some(error);
                store.change(|pending| pending.is_doubtful = true);
                store.0.write().await;
                Vec::new()
            }
        };
        tokio::spawn(keep_writing(Arc::downgrade(&store.0)));
        (store, rows)
    }

    fn change(&self, change: impl FnOnce(&mut Batch)) -> Write {
        let number = {
            let mut pending = locked(&self.0.pending);
            change(&mut pending);
            pending.number += 1;
            pending.number
        };
        self.0.wake.notify_one();
        Write {
            number,
            done: self.0.done.subscribe(),
        }
    }

    /// Keeps a session, or replaces its row.
    pub fn put(&self, row: SessionRow) -> Write {
        self.change(|pending| {
            if !pending.removed.contains(&row.id) {
                pending.rows.insert(row.id, row);
            }
        })
    }

    /// Takes a session out, for good.
    pub fn remove(&self, id: SessionDigest) -> Write {
        self.change(|pending| {
            pending.rows.remove(&id);
            pending.used.remove(&id);
            pending.removed.insert(id);
        })
    }

    /// Notes when sessions were used last, in milliseconds of Unix time.
    pub fn touch(&self, used: impl IntoIterator<Item = (SessionDigest, u64)>) -> Write {
        self.change(|pending| {
            for (id, used_ms) in used {
                if !pending.removed.contains(&id) {
                    pending.used.insert(id, used_ms);
                }
            }
        })
    }

    /// The problem of the database, if it has one.
    pub fn problem(&self) -> Option<String> {
        locked(&self.0.problem).clone()
    }

    /// Sessions the database does not hold yet, or still holds although they have ended.
    pub fn behind(&self) -> usize {
        let pending = locked(&self.0.pending);
        pending.rows.len() + pending.removed.len()
    }

    /// Times that what was in the database was lost: sessions of before have to be put in again.
    pub fn losses(&self) -> u64 {
        self.0.losses.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Writes what is left and closes the database, within `patience`.
    pub async fn close(&self, patience: Duration) {
        let close = async {
            self.0.write().await;
            if let Some(database) = self.0.database.lock().await.take() {
                database.close().await;
            }
        };
        let is_late = tokio::time::timeout(patience, close).await.is_err();
        if is_late || self.behind() > 0 {
            tracing::error!(
                sessions = self.behind(),
                "not every session could be kept or taken out of sessions.db"
            );
        }
    }
}

/// Writes changes until the store is gone.
async fn keep_writing(store: Weak<Inner>) {
    loop {
        let Some(inner) = store.upgrade() else { return };
        inner.write().await;
        let is_behind = !locked(&inner.pending).is_empty();
        let woken = async {
            match is_behind {
                true => tokio::time::sleep(RETRY).await,
                // Now and then, so that a store that is gone is noticed.
                false => {
                    let _timeout = tokio::time::timeout(RETRY * 20, inner.wake.notified()).await;
                }
            }
        };
        woken.await;
    }
}

impl Inner {
    /// Writes what is pending, and removes the database where it cannot be known that what has ended is out of it.
    async fn write(&self) {
        let mut database = self.database.lock().await;
        for tried in 1..=TRIES {
            let batch = {
                let mut pending = locked(&self.pending);
                let number = pending.number;
                let batch = std::mem::take(&mut *pending);
                pending.number = number;
                batch
            };
            if batch.is_empty() {
                return;
            }
            match self.written(&mut database, &batch).await {
                Ok(()) => {
                    *locked(&self.problem) = None;
                    self.done.send_replace(batch.number);
                    return;
                }
                Err(error) => {
                    let is_new = locked(&self.problem).replace(error.clone()).is_none();
                    if is_new {
                        tracing::error!(error, "sessions.db cannot be written to");
                    }
                    let mut pending = locked(&self.pending);
                    pending.return_back(batch);
                    if tried == TRIES && !pending.removed.is_empty() {
                        pending.removed.clear();
                        pending.is_doubtful = true;
                    }
                }
            }
        }
    }

    async fn written(&self, database: &mut Option<Database>, batch: &Batch) -> Result<(), String> {
        if batch.is_doubtful {
            if let Some(database) = database.take() {
                database.close().await;
            }
            database::remove(&self.directory).map_err(|error| {
                format!("failed to remove a database whose sessions may have ended: {error}")
            })?;
            self.lost();
        }
        let mut open = match database.take() {
            Some(open) => open,
            None => match Database::open(&self.directory).await {
                Ok(open) => open,
                // Nothing that has ended can be in a file that was just removed.
                Err(_) if batch.is_doubtful && batch.rows.is_empty() => return Ok(()),
                Err(error) => return Err(chain(&error)),
            },
        };
        match open.write(batch).await {
            Ok(()) => {
                *database = Some(open);
                Ok(())
            }
            Err(error) => {
                if matches!(error, crate::sql::DatabaseError::Gone { .. }) {
                    self.lost();
                }
                // Opened again for the next attempt: the file may be another one.
                open.close().await;
                Err(chain(&error))
            }
        }
    }

    fn lost(&self) {
        self.losses
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
