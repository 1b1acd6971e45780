//! The two places a ledger keeps kills in: what is read from them, what they lack, how they are.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{Durable, Kept, Ledger, Page, chain, locked, plain};
use crate::{
    kill::{
        Clear, Entry, Set,
        file::{Content, FileError, KillFile},
    },
    sql::{Database, DatabaseError, Held},
};

/// How long a disk may take for one line.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a database that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Ledger {
    pub(super) async fn is_database_there(&self) -> bool {
        let mut connected = self.database.lock().await;
        let there = connected.database.as_ref().is_some_and(Database::is_there);
        if !there && let Some(lost) = connected.database.take() {
            lost.close().await;
            self.tell_database(Some("the file was replaced or removed".to_owned()));
            self.forget(|page| &mut page.database);
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
                self.forget(|page| &mut page.file);
            }
            Err(error) => tracing::error!(error, "the damaged file stays as it is"),
        }
    }

    /// A place has lost what it held.
    pub(super) fn forget(&self, place: fn(&mut Page) -> &mut Kept) {
        for page in locked(&self.book).values_mut() {
            *place(page) = Kept::Nothing;
        }
    }

    pub(super) async fn read_file(&self) -> Result<Content, String> {
        self.with_file(KillFile::read_on).await
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
        let (file, database) = tokio::join!(self.write_file(), self.write_database(id.is_some()));
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

    pub(super) async fn write_file(&self) -> Result<(), String> {
        let (lacking, entries) = self.lacking(|page| page.file);
        if entries.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry> = entries
            .into_iter()
            .flat_map(|(kept, set, clear)| {
                let set = (kept < Kept::Set).then_some(Entry::Set(set));
                set.into_iter().chain(clear.map(Entry::Clear))
            })
            .collect();
        self.with_file(move |file| file.append(&entries)).await?;
        self.mark(&lacking, |page, kept| page.file = page.file.max(kept));
        self.tell_file(None);
        Ok(())
    }

    /// `Err(None)`: it is not yet time to try again, and what was wrong is told already.
    pub(super) async fn write_database(&self, pressing: bool) -> Result<(), Option<String>> {
        let mut connected = self.database.lock().await;
        if connected.database.is_none() {
            if !pressing && Instant::now() < connected.again {
                return Err(None);
            }
            connected.again = Instant::now() + RETRY;
            let opened = Database::open(&self.directory).await;
            connected.database = Some(opened.map_err(|error| Some(chain(&error)))?);
        }
        let (lacking, rows) = self.lacking(|page| page.database);
        let rows: Vec<(Set, Option<Clear>)> = rows
            .into_iter()
            .map(|(_, set, clear)| (set, clear))
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let Some(database) = &connected.database else {
            return Err(None);
        };
        match database.put(&rows).await {
            Ok(()) => {
                self.mark(&lacking, |page, kept| {
                    page.database = page.database.max(kept);
                });
                Ok(())
            }
            Err(error) => {
                // Opened anew the next time: it may be another file by then.
                if let Some(failed) = connected.database.take() {
                    tokio::spawn(failed.close());
                }
                connected.again = Instant::now() + RETRY;
                if matches!(error, DatabaseError::Gone { .. }) {
                    self.forget(|page| &mut page.database);
                }
                Err(Some(chain(&error)))
            }
        }
    }

    /// What a place lacks.
    #[expect(clippy::type_complexity, reason = "used twice, just above")]
    pub(super) fn lacking(
        &self,
        kept: fn(&Page) -> Kept,
    ) -> (Vec<(Arc<str>, Kept)>, Vec<(Kept, Set, Option<Clear>)>) {
        let book = locked(&self.book);
        book.iter()
            .filter(|(_, page)| kept(page) < page.whole())
            .map(|(id, page)| {
                let written = (kept(page), Set::of(&page.kill), Clear::of(&page.kill));
                ((Arc::clone(id), page.whole()), written)
            })
            .unzip()
    }

    pub(super) fn mark(&self, written: &[(Arc<str>, Kept)], mark: impl Fn(&mut Page, Kept)) {
        let mut book = locked(&self.book);
        for (id, kept) in written {
            if let Some(page) = book.get_mut(id) {
                mark(page, *kept);
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
            self.note(&Arc::new(kill), Kept::Nothing, kept);
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
