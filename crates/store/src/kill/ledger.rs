//! The kills as they last: the live set with a file and a database behind it.
//!
//! Setting a kill takes effect first and is written after, to both places; ending one is written first. What one place
//! cannot take is taken to it later, by [`Ledger::tend`]. At the start both are read and what either holds counts: a kill
//! is set if one of them says so, and ended if one of them says so. What cannot be known is taken for the worst: a damaged
//! file, or no file beside a database that cannot be read, cuts everything off until an operator clears it.

mod compact;
mod lapse;
mod places;
mod records;
mod since;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

pub(super) use lapse::EXPIRED;
pub use records::Act;
pub(crate) use records::Acts;

use super::{
    Applied, Blast, Clear, Cleared, Entry, Kill, Set, Switch, Wish, WishError,
    entry::is_id,
    file::{Damage, KillFile},
    is_reason,
};
use crate::{chain, locked, sql::Database};

/// The most kills of narrow scopes that can be in force at once; whoever needs more means a wider scope, and gets it.
pub(super) const MOST: usize = 10_000;
/// Who sets what nobody else set.
pub(super) const OURSELVES: &str = "keepgate";

/// Kills in force and past, and where they are kept.
#[derive(Debug)]
pub struct Ledger {
    switch: Arc<Switch>,
    directory: PathBuf,
    book: Mutex<BTreeMap<Arc<str>, Page>>,
    /// A disk that hangs keeps it; whoever comes then gives up in time.
    file: Arc<tokio::sync::Mutex<KillFile>>,
    database: tokio::sync::Mutex<Connected>,
    health: Mutex<Health>,
    /// Last look whether anything can be forgotten.
    compacted: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Connected {
    database: Option<Database>,
    again: Instant,
}

/// One kill and how much of it is kept where.
#[derive(Debug, Clone)]
struct Page {
    kill: Arc<Kill>,
    file: Kept,
    database: Kept,
    /// Acts in the audit log.
    recorded: Acts,
    /// Of these, acts of which the database knows that.
    noted: Acts,
    /// Last act.
    changed: Instant,
}

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    File,
    Database,
}

/// How much of a kill a place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Nothing,
    Set,
    Cleared,
}

impl Page {
    fn new(kill: &Arc<Kill>) -> Self {
        Self {
            kill: Arc::clone(kill),
            file: Kept::Nothing,
            database: Kept::Nothing,
            recorded: Acts::default(),
            noted: Acts::default(),
            changed: Instant::now(),
        }
    }

    /// Whether the place lacks an act, or the database the note that one is on record.
    fn lacks(&self, place: Place) -> bool {
        match place {
            Place::File => self.file < self.whole(),
            Place::Database => self.database < self.whole() || self.noted != self.recorded,
        }
    }

    fn whole(&self) -> Kept {
        if self.kill.cleared.is_some() {
            Kept::Cleared
        } else {
            Kept::Set
        }
    }
}

/// Where an act is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durable {
    /// In the file.
    pub file: bool,
    /// In the database.
    pub database: bool,
}

impl Durable {
    /// Whether it survives a restart.
    pub fn is_durable(&self) -> bool {
        self.file || self.database
    }
}

/// What an act did.
#[derive(Debug, Clone)]
pub struct Done {
    /// The kill, as it is now.
    pub kill: Arc<Kill>,
    /// Running calls and streams it cut.
    pub cut: usize,
    /// Where it is kept.
    pub durable: Durable,
    /// Whether it was set before, by another way under the same id: then it is on record.
    pub known: bool,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The wish makes no sense.
    #[error("the kill was not set")]
    Wish(#[source] WishError),
    /// As many are in force as may be.
    #[error("{MOST} kills are in force, a wider scope does more than one more of them")]
    TooMany,
    /// No kill has this id.
    #[error("no kill has this id: `{0}`")]
    Unknown(String),
    /// The id has another form, or is that of another kill.
    #[error("not an id for this kill: `{0}`")]
    Id(String),
    /// It is over.
    #[error("the kill is {1} already: `{0}`")]
    Over(String, &'static str),
    /// A reason is needed.
    #[error(
        "a reason of 1 to {} bytes without control characters is needed",
        super::LONGEST_REASON
    )]
    Reason,
}

/// What happened without an operator asking this process for it.
#[derive(Debug, Clone)]
pub enum Event {
    /// A command wrote a kill into the file; it is in force.
    Set(Done),
    /// A command wrote into the file that a kill is over; it is.
    Cleared(Arc<Kill>),
    /// A kill's time was over.
    Expired(Arc<Kill>),
}

/// How the places are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// What is wrong with the file, if something is.
    pub file: Option<String>,
    /// What is wrong with the database, if something is.
    pub database: Option<String>,
    /// What was damaged at the start, if something was: then everything was cut off.
    pub damage: Option<String>,
}

impl Ledger {
    /// Reads both places and puts into force what they hold, before it returns. Never fails: what cannot be read is told
    /// by [`Ledger::health`], and where it could hide a kill, everything is cut off.
    pub async fn open(state_directory: &Path, switch: &Arc<Switch>) -> Arc<Self> {
        let ledger = Arc::new(Self {
            switch: Arc::clone(switch),
            directory: state_directory.to_path_buf(),
            book: Mutex::default(),
            file: Arc::new(tokio::sync::Mutex::new(KillFile::new(state_directory))),
            database: tokio::sync::Mutex::new(Connected {
                database: None,
                again: Instant::now(),
            }),
            health: Mutex::default(),
            compacted: Mutex::default(),
        });
        let file = state_directory.join(Database::FILE);
        // One nobody can look at may be there.
        let exists = crate::sql::exists(file).await.unwrap_or(true);
        let from_database = ledger.load_database().await;
        let from_file = ledger.read_file().await;
        let damaged = from_file.as_ref().map_or_else(
            |error| Some(error.clone()),
            |content| content.damage.as_ref().map(in_file),
        );
        let unread = match (&from_file, &from_database) {
            (_, Ok(damage)) => damage.clone(),
            // The file alone is enough, if there is one.
            (Ok(content), Err(error)) if exists && content.entries.is_empty() => {
                Some(error.clone())
            }
            (Ok(_) | Err(_), Err(_)) => None,
        };
        if let Ok(content) = from_file {
            ledger.take(content.entries, true);
        }
        if let Some(damage) = &damaged {
            ledger.fear_the_worst(damage).await;
            ledger.put_aside().await;
        }
        if let Some(damage) = &unread {
            ledger.fear_the_worst(damage).await;
        }
        ledger.enforce();
        for kill in ledger.over() {
            ledger.lapse(&kill);
        }
        ledger.write(None).await;
        ledger
    }

    /// Puts everything that is not over into force.
    fn enforce(&self) {
        let now = Instant::now();
        let kills: Vec<Arc<Kill>> = locked(&self.book)
            .values()
            .map(|page| Arc::clone(&page.kill))
            .filter(|kill| kill.is_in_force(now))
            .collect();
        self.switch.load(kills);
    }

    /// Cuts everything off, since nobody can say what was.
    async fn fear_the_worst(&self, damage: &str) -> Event {
        tracing::error!(
            damage,
            "what was cut off cannot be read: everything is cut off until an operator clears it"
        );
        locked(&self.health).damage = Some(damage.to_owned());
        let wish = Wish {
            scope: super::Scope::Everything,
            tenant: None,
            reason: plain(&format!("what was cut off cannot be read ({damage})")),
            by: OURSELVES.to_owned(),
            lasts: None,
        };
        let now = SystemTime::now();
        let kill = Kill::new(wish, now).unwrap_or_else(|_no_randomness| Kill {
            id: "k_ffffffffffffffff".into(),
            scope: super::Scope::Everything,
            tenant: None,
            reason: "what was cut off cannot be read".into(),
            by: OURSELVES.into(),
            set_at: now,
            expires_at: None,
            deadline: None,
            cleared: None,
        });
        let applied = self.switch.set(kill);
        self.note(Page::new(&applied.kill));
        let durable = self.write(Some(&applied.kill.id)).await;
        Event::Set(Done {
            kill: applied.kill,
            cut: applied.cut,
            durable,
            known: false,
        })
    }

    fn note(&self, page: Page) {
        locked(&self.book).insert(Arc::clone(&page.kill.id), page);
    }

    /// Brings what is lacking to both places a last time and closes the database. What is in force stays so.
    pub async fn close(&self) {
        self.write(None).await;
        let mut connected = self.database.lock().await;
        if let Some(database) = connected.database.take() {
            database.close().await;
        }
    }

    /// Everything, oldest first, past kills too.
    pub fn list(&self) -> Vec<Arc<Kill>> {
        let mut kills: Vec<_> = locked(&self.book)
            .values()
            .map(|page| Arc::clone(&page.kill))
            .collect();
        kills.sort_by_key(|kill| kill.set_at);
        kills
    }

    /// The live set.
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }

    /// How file and database are.
    pub fn health(&self) -> Health {
        locked(&self.health).clone()
    }

    /// How many kills a place lacks: file, then database.
    pub fn behind(&self) -> (usize, usize) {
        let book = locked(&self.book);
        let lacks = |kept: fn(&Page) -> Kept| {
            book.values()
                .filter(|page| kept(page) < page.whole())
                .count()
        };
        (lacks(|page| page.file), lacks(|page| page.database))
    }

    /// Whether a place lacks anything, also notes of records.
    fn is_behind(&self) -> bool {
        let book = locked(&self.book);
        let lacks = |page: &Page| page.lacks(Place::File) || page.lacks(Place::Database);
        book.values().any(lacks)
    }

    /// Cuts off what is wished: in force before anything is written, written before this returns.
    ///
    /// # Errors
    /// [`ActError`] for a wish that cannot be taken; a place that cannot be written to is no error, the answer says so.
    pub async fn set(&self, wish: Wish) -> Result<Done, ActError> {
        self.set_as(wish, None).await
    }

    /// The same under an `id` the operator's command has made; one that the file has brought already is that kill.
    ///
    /// # Errors
    /// [`ActError`], also for an id of another kill.
    pub async fn set_as(&self, wish: Wish, id: Option<&str>) -> Result<Done, ActError> {
        let mut kill = Kill::new(wish, SystemTime::now()).map_err(ActError::Wish)?;
        if let Some(id) = id {
            if !is_id(id) {
                return Err(ActError::Id(plain(id)));
            }
            kill.id = id.into();
        }
        if self.switch.in_force().len() >= MOST && kill.scope.is_narrow() {
            return Err(ActError::TooMany);
        }
        let (applied, known) = match self.enter(kill)? {
            Ok(kill) => (self.switch.set(kill), false),
            Err(kill) => (Applied { kill, cut: 0 }, true),
        };
        let durable = self.write(Some(&applied.kill.id)).await;
        Ok(Done {
            kill: applied.kill,
            cut: applied.cut,
            durable,
            known,
        })
    }

    /// Enters a kill into the book, under its lock, so that of two ways only one sets it; `Err` inside is what the book has
    /// under this id already.
    fn enter(&self, kill: Kill) -> Result<Result<Kill, Arc<Kill>>, ActError> {
        let mut book = locked(&self.book);
        if let Some(page) = book.get(&kill.id) {
            let known = Arc::clone(&page.kill);
            let same = known.scope == kill.scope && known.tenant == kill.tenant;
            let now = Instant::now();
            return match (same, known.is_in_force(now)) {
                (true, true) => Ok(Err(known)),
                (true, false) => {
                    let state = known.state(now).as_str();
                    Err(ActError::Over(kill.id.to_string(), state))
                }
                (false, true | false) => Err(ActError::Id(kill.id.to_string())),
            };
        }
        book.insert(Arc::clone(&kill.id), Page::new(&Arc::new(kill.clone())));
        Ok(Ok(kill))
    }

    /// Ends a kill: written before it is let go. If neither place can be written to it is let go all the same, and the
    /// answer says that a restart brings it back.
    ///
    /// # Errors
    /// [`ActError`] for a kill there is not or that is over.
    pub async fn clear(&self, id: &str, by: &str, reason: &str) -> Result<Done, ActError> {
        if !is_reason(reason) {
            return Err(ActError::Reason);
        }
        let kill = {
            let mut book = locked(&self.book);
            let page = book
                .get_mut(id)
                .ok_or_else(|| ActError::Unknown(id.to_owned()))?;
            let now = Instant::now();
            if !page.kill.is_in_force(now) {
                return Err(ActError::Over(id.to_owned(), page.kill.state(now).as_str()));
            }
            let cleared = Cleared {
                at: SystemTime::now(),
                by: by.into(),
                reason: reason.into(),
            };
            page.kill = Arc::new(Kill {
                cleared: Some(cleared),
                ..Kill::clone(&page.kill)
            });
            page.changed = now;
            Arc::clone(&page.kill)
        };
        let durable = self.write(Some(id)).await;
        self.switch.clear(id);
        Ok(Done {
            kill,
            cut: 0,
            durable,
            known: false,
        })
    }

    /// What a wish would cut now. Changes nothing.
    ///
    /// # Errors
    /// [`ActError::Wish`] for one that could not be set either.
    pub fn blast(&self, wish: Wish) -> Result<(Kill, Blast), ActError> {
        let kill = Kill::new(wish, SystemTime::now()).map_err(ActError::Wish)?;
        let blast = self.switch.blast(&kill);
        Ok((kill, blast))
    }

    /// Looks after everything, about twice a second: takes in what commands wrote into the file, forgets what is over,
    /// and brings to file and database what they lack.
    pub async fn tend(&self) -> Vec<Event> {
        let mut events = Vec::new();
        match self.read_file().await {
            Ok(content) => {
                if content.replaced {
                    tracing::error!("kill.log was replaced or removed, it is written anew");
                    self.forget_file();
                }
                events.extend(self.take(content.entries, false));
                if let Some(damage) = &content.damage {
                    events.push(self.fear_the_worst(&in_file(damage)).await);
                    self.put_aside().await;
                }
                if self.behind().0 == 0 {
                    self.tell_file(None);
                }
            }
            Err(error) => self.tell_file(Some(error)),
        }
        for kill in self.switch.expire() {
            events.push(Event::Expired(self.lapse(&kill)));
        }
        if self.is_behind() || !self.is_database_there().await {
            self.write(None).await;
        }
        self.compact().await;
        events
    }

    /// Takes acts from the file into the book, and, unless the start does that for all at once, into force.
    fn take(&self, entries: Vec<Entry>, starting: bool) -> Vec<Event> {
        let mut events = Vec::new();
        for entry in entries {
            let taken = match entry {
                Entry::Set(set) => self.take_set(&set, starting),
                Entry::Clear(clear) => self.take_clear(&clear),
            };
            events.extend(taken);
        }
        events
    }

    fn take_set(&self, set: &Set, starting: bool) -> Option<Event> {
        // What was read from the file was understood there.
        let kill = set.kill().ok()?;
        {
            let mut book = locked(&self.book);
            if let Some(page) = book.get_mut(&kill.id) {
                page.file = page.file.max(Kept::Set);
                return None;
            }
        }
        let Applied { kill, cut } = if starting || !kill.is_in_force(Instant::now()) {
            Applied {
                kill: Arc::new(kill),
                cut: 0,
            }
        } else {
            self.switch.set(kill)
        };
        self.note(Page {
            file: Kept::Set,
            ..Page::new(&kill)
        });
        let durable = Durable {
            file: true,
            database: false,
        };
        Some(Event::Set(Done {
            kill,
            cut,
            durable,
            known: false,
        }))
    }

    fn take_clear(&self, clear: &Clear) -> Option<Event> {
        let cleared = clear.cleared().ok()?;
        let mut book = locked(&self.book);
        let page = book.get_mut(clear.id.as_str())?;
        page.file = Kept::Cleared;
        let news = page.kill.cleared.is_none();
        if news {
            page.kill = Arc::new(Kill {
                cleared: Some(cleared),
                ..Kill::clone(&page.kill)
            });
            page.changed = Instant::now();
        }
        let kill = Arc::clone(&page.kill);
        drop(book);
        self.switch.clear(&kill.id);
        news.then_some(Event::Cleared(kill))
    }
}

fn in_file(damage: &Damage) -> String {
    format!("{}: {damage}", KillFile::FILE)
}

/// Text that can stand in a reason.
fn plain(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(256)
        .collect()
}

#[cfg(test)]
mod tests;
