//! The two places a ledger keeps kills in: what is read from them, what they lack, how they are.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Durable, Kept, Ledger, Page, Place, chain, locked, plain};
use crate::{
    kill::{
        Clear, Entry, Set,
        file::{Content, FileError, KillFile},
    },
    sql::{Database, DatabaseError, Held},
};

/// How long a disk may take for one line.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most kills that are written at once: what somebody waits for comes with the first of them.
const BATCH: usize = 1_000;
/// How often a database that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Batches that are written now: the others can wait for the next look, and whoever waits for one kill must not wait for them.
const fn batches(first: Option<&str>) -> usize {
    if first.is_some() { 1 } else { 4 }
}

impl Page {
    /// The row of the database.
    fn held(&self) -> Held {
        Held {
            set: Set::of(&self.kill),
            clear: Clear::of(&self.kill),
            recorded: self.recorded,
        }
    }
}

impl Ledger {
    pub(super) async fn is_database_there(&self) -> bool {
        let mut connected = self.database.lock().await;
        let there = match &connected.database {
            Some(database) => database.is_there().await,
            None => false,
        };
        if !there && let Some(lost) = connected.database.take() {
            lost.close().await;
            self.tell_database(Some("the file was replaced or removed".to_owned()));
            self.forget_database();
        }
        there
    }

    /// Keeps the damaged file as evidence and begins another with everything that is known.
    pub(super) async fn put_aside(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let mark = since.unwrap_or_default().as_secs();
        match self.with_file(move |file| file.put_aside(mark)).await {
            Ok(path) => {
                tracing::warn!(path = %path.display(), "the damaged file is kept as evidence");
                self.forget_file();
            }
            Err(error) => tracing::error!(error, "the damaged file stays as it is"),
        }
    }

    /// The file has lost what it held.
    pub(super) fn forget_file(&self) {
        for page in locked(&self.book).values_mut() {
            page.file = Kept::Nothing;
        }
    }

    /// The database has lost what it held.
    fn forget_database(&self) {
        for page in locked(&self.book).values_mut() {
            page.database = Kept::Nothing;
            page.noted = Default::default();
        }
    }

    pub(super) async fn read_file(&self) -> Result<Content, String> {
        let mut content = self.with_file(KillFile::read_on).await?;
        while content.more {
            let next = self.with_file(KillFile::read_on).await?;
            content.entries.extend(next.entries);
            content.damage = content.damage.or(next.damage);
            content.replaced |= next.replaced;
            (content.torn, content.more) = (next.torn, next.more);
        }
        Ok(content)
    }

    /// Works on the file where that holds nobody up, and gives up when the disk does not answer.
    pub(super) async fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut KillFile) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, String> {
        let file = Arc::clone(&self.file);
        let worked = tokio::time::timeout(PATIENCE, async move {
            let mut file = file.lock_owned().await;
            tokio::task::spawn_blocking(move || work(&mut file)).await
        });
        match worked.await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(error))) => Err(chain(&error)),
            Ok(Err(_panicked)) => Err("reading or writing has failed".to_owned()),
            Err(_elapsed) => Err("the disk has not answered".to_owned()),
        }
    }

    /// Brings to both places, side by side, what they lack. Tells where `id` is now.
    pub(super) async fn write(&self, id: Option<&str>) -> Durable {
        let (file, database) = tokio::join!(self.write_file(id), self.write_database(id));
        match file {
            Ok(()) => {}
            Err(error) => self.tell_file(Some(error)),
        }
        match database {
            Ok(()) => self.tell_database(None),
            Err(Some(error)) => self.tell_database(Some(error)),
            Err(None) => {}
        }
        let book = locked(&self.book);
        let page = id.and_then(|id| book.get(id));
        page.map_or_else(Durable::default, |page| Durable {
            file: page.file == page.whole(),
            database: page.database == page.whole(),
        })
    }

    pub(super) async fn write_file(&self, first: Option<&str>) -> Result<(), String> {
        let lacking = self.lacking(Place::File, first);
        if lacking.is_empty() {
            return Ok(());
        }
        for batch in lacking.chunks(BATCH).take(batches(first)) {
            let entries: Vec<Entry> = batch
                .iter()
                .flat_map(|page| {
                    let set = (page.file < Kept::Set).then(|| Entry::Set(Set::of(&page.kill)));
                    set.into_iter()
                        .chain(Clear::of(&page.kill).map(Entry::Clear))
                })
                .collect();
            self.with_file(move |file| file.append(&entries)).await?;
            self.mark(batch, |page, written| {
                page.file = page.file.max(written.whole());
            });
        }
        self.tell_file(None);
        Ok(())
    }

    /// `Err(None)`: it is not yet time to try again, and what was wrong is told already.
    pub(super) async fn write_database(&self, first: Option<&str>) -> Result<(), Option<String>> {
        let mut connected = self.database.lock().await;
        if connected.database.is_none() {
            if first.is_none() && Instant::now() < connected.again {
                return Err(None);
            }
            connected.again = Instant::now() + RETRY;
            let opened = Database::open(&self.directory).await;
            connected.database = Some(opened.map_err(|error| Some(chain(&error)))?);
        }
        let lacking = self.lacking(Place::Database, first);
        for batch in lacking.chunks(BATCH).take(batches(first)) {
            let rows: Vec<Held> = batch.iter().map(Page::held).collect();
            let Some(database) = &connected.database else {
                return Err(None);
            };
            if let Err(error) = database.put(&rows).await {
                // Opened anew the next time: it may be another file by then.
                if let Some(failed) = connected.database.take() {
                    tokio::spawn(failed.close());
                }
                connected.again = Instant::now() + RETRY;
                if matches!(error, DatabaseError::Gone { .. }) {
                    self.forget_database();
                }
                return Err(Some(chain(&error)));
            }
            self.mark(batch, |page, written| {
                page.database = page.database.max(written.whole());
                page.noted = page.noted.and(written.recorded);
            });
        }
        Ok(())
    }

    /// The pages a place lacks, as they are now, one of them first.
    fn lacking(&self, place: Place, first: Option<&str>) -> Vec<Page> {
        let book = locked(&self.book);
        let lacking = book.values().filter(|page| page.lacks(place));
        let mut lacking: Vec<Page> = lacking.cloned().collect();
        let at = lacking
            .iter()
            .position(|page| Some(&*page.kill.id) == first);
        if let Some(at) = at {
            lacking.swap(0, at);
        }
        lacking
    }

    /// Notes in the book what was `written` of pages as they were then.
    pub(super) fn mark(&self, written: &[Page], mark: impl Fn(&mut Page, &Page)) {
        let mut book = locked(&self.book);
        for was in written {
            if let Some(page) = book.get_mut(&was.kill.id) {
                mark(page, was);
            }
        }
    }

    /// Reads the database. What in it makes no sense is told; the rest counts.
    pub(super) async fn load_database(&self) -> Result<Option<String>, String> {
        let loaded = async {
            let database = Database::open(&self.directory).await?;
            let kills = database.kills().await?;
            Ok::<_, DatabaseError>((database, kills))
        };
        let (database, kills) = match loaded.await {
            Ok(loaded) => loaded,
            Err(error) => {
                let error = chain(&error);
                self.tell_database(Some(error.clone()));
                // A full disk hides nothing that was there when the last gateway closed it.
                return match Database::read_closed(&self.directory).await {
                    Ok(Some(kills)) => Ok(self.take_held(kills)),
                    Ok(None) | Err(_) => Err(error),
                };
            }
        };
        let damage = self.take_held(kills);
        let mut connected = self.database.lock().await;
        connected.database = Some(database);
        Ok(damage)
    }

    /// Takes the kills of the database into the book; reports one that makes no sense.
    fn take_held(&self, kills: Vec<Held>) -> Option<String> {
        let mut damage = None;
        for held in kills {
            let Ok(mut kill) = held.set.kill() else {
                damage = Some(format!(
                    "{}: kill `{}`",
                    Database::FILE,
                    plain(&held.set.id)
                ));
                continue;
            };
            // A clear that cannot be read has not happened.
            kill.cleared = held.clear.and_then(|clear| clear.cleared().ok());
            let kept = if kill.cleared.is_some() {
                Kept::Cleared
            } else {
                Kept::Set
            };
            let recorded = held.recorded;
            self.note(Page {
                database: kept,
                recorded,
                noted: recorded,
                ..Page::new(&Arc::new(kill))
            });
        }
        damage
    }

    pub(super) fn tell_file(&self, error: Option<String>) {
        let mut health = locked(&self.health);
        if health.file != error {
            match &error {
                Some(error) => tracing::error!(error, "kill.log cannot be used"),
                None => tracing::info!("kill.log is in order again"),
            }
            health.file = error;
        }
    }

    pub(super) fn tell_database(&self, error: Option<String>) {
        let mut health = locked(&self.health);
        if health.database != error {
            match &error {
                Some(error) => {
                    tracing::error!(
                        error,
                        "the database cannot be used, kills are kept in memory and in kill.log"
                    );
                }
                None => tracing::info!("the database is in order again"),
            }
            health.database = error;
        }
    }
}
