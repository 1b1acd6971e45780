//! The key in use: opened when it is needed first, and no approval is used while there is none.
//!
//! The database knows the id of the active key. A file that is gone or damaged, or that has another key, ends no start: what was
//! sealed with the lost key is cancelled, and the next key is one that somebody makes (`keepgate state rekey`), or restores. Only
//! where nothing was open when the file went is a new one made without asking.

use std::{
    path::Path,
    sync::{Arc, PoisonError},
};

use keepgate_store::approvals::DatabaseError;

use crate::{Approvals, Denial, KeyError, StoreKey};

/// State of the key.
#[derive(Debug, Clone, Default)]
pub(crate) enum KeyState {
    /// Nobody has looked yet.
    #[default]
    Unopened,
    /// It seals and opens.
    Usable(Arc<StoreKey>),
    /// It cannot be read now: tried again, and nothing is given up.
    Unreadable(Arc<str>),
    /// It is lost.
    Lost(&'static str),
}

/// Finding of a look at the file.
enum Found {
    Key(Arc<StoreKey>),
    Unreadable(KeyError),
    Lost(&'static str),
}

fn look(state_directory: &Path, active: Option<&str>) -> Found {
    match StoreKey::read(state_directory) {
        Ok(Some(key)) if active.is_none_or(|id| id == key.id()) => Found::Key(Arc::new(key)),
        Ok(Some(_)) => Found::Lost("store.key has another key than the one that was in use"),
        Ok(None) => Found::Lost("store.key is gone"),
        Err(KeyError::Malformed(_)) => Found::Lost("store.key is damaged"),
        Err(error @ (KeyError::File(_) | KeyError::Random(_))) => Found::Unreadable(error),
    }
}

impl Approvals {
    pub(crate) fn key_state(&self) -> KeyState {
        let state = self.0.key.lock().unwrap_or_else(PoisonError::into_inner);
        state.clone()
    }

    pub(crate) fn set_key(&self, state: KeyState) {
        *self.0.key.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// The key; `None` while none can be used.
    pub(crate) fn key(&self) -> Option<Arc<StoreKey>> {
        match self.key_state() {
            KeyState::Usable(key) => Some(key),
            KeyState::Unopened | KeyState::Unreadable(_) | KeyState::Lost(_) => None,
        }
    }

    pub(crate) fn usable_key(&self) -> Result<Arc<StoreKey>, Denial> {
        let problem = || self.key_problem().unwrap_or_else(|| "no key yet".into());
        self.key()
            .ok_or_else(|| Denial::Unavailable((&*problem()).into()))
    }

    /// Reason the key cannot be used, if it cannot.
    pub fn key_problem(&self) -> Option<Arc<str>> {
        match self.key_state() {
            KeyState::Unopened | KeyState::Usable(_) => None,
            KeyState::Unreadable(problem) => Some(problem),
            KeyState::Lost(problem) => {
                let fix = "end the gateway and run `keepgate state rekey`, or restore the file";
                Some(format!("{problem}: {fix}").into())
            }
        }
    }

    /// Opens the key, unless it is open. What cannot be opened any more is cancelled.
    ///
    /// # Errors
    /// [`DatabaseError`]; the next look tries again.
    pub(crate) async fn open_key(&self) -> Result<(), DatabaseError> {
        if self.key().is_some() {
            return Ok(());
        }
        // A change of keys that was cut off is brought to its end first: rows may have either key.
        if matches!(StoreKey::read_next(&self.0.directory), Ok(Some(_))) {
            let changed = self.rekey().await;
            if let Err(error) = changed {
                let error = format!("a change of keys was cut off and cannot be finished: {error}");
                self.set_key(KeyState::Unreadable(error.into()));
                return Ok(());
            }
        }
        let active = self.0.store.active_key().await?;
        let id = active.as_ref().map(|active| &*active.id);
        match look(&self.0.directory, id) {
            Found::Key(key) => self.use_key(key, active.is_none_or(|it| it.is_lost)).await,
            Found::Unreadable(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "store.key cannot be read: calls that need an approval are refused"
                );
                self.set_key(KeyState::Unreadable(error.to_string().into()));
                Ok(())
            }
            Found::Lost(problem) => {
                let is_known = active.as_ref().is_some_and(|active| active.is_lost);
                self.lose_key(problem, active.is_none() || !is_known).await
            }
        }
    }

    async fn use_key(&self, key: Arc<StoreKey>, is_new: bool) -> Result<(), DatabaseError> {
        if is_new {
            self.0.store.use_key(key.id()).await?;
        }
        self.set_key(KeyState::Usable(key));
        // Sealed with a key that was lost before this one: nothing of it can be decided over.
        let lost = self.cancel_unreadable().await?;
        if lost > 0 {
            tracing::error!(
                lost,
                "approvals were sealed with a key that is gone: they are cancelled, agents have to ask again"
            );
        }
        Ok(())
    }

    /// The key is gone. `may_make` unless it was lost before, with requests open: then somebody has to act.
    async fn lose_key(&self, problem: &'static str, may_make: bool) -> Result<(), DatabaseError> {
        let totals = self.0.store.totals().await?;
        let is_open = totals.iter().any(|(_, state, _)| state.is_open());
        let is_absent = matches!(StoreKey::read(&self.0.directory), Ok(None));
        if may_make && !is_open && is_absent {
            return match StoreKey::read_or_make(&self.0.directory) {
                Ok(key) => self.use_key(Arc::new(key), true).await,
                Err(error) => {
                    self.set_key(KeyState::Unreadable(error.to_string().into()));
                    Ok(())
                }
            };
        }
        self.0.store.lose_key().await?;
        let known = self.key_state();
        self.set_key(KeyState::Lost(problem));
        let lost = self.cancel_unreadable().await?;
        if lost > 0 || !matches!(known, KeyState::Lost(_)) {
            tracing::error!(
                cancelled = lost,
                "{problem}: what waited and what was approved is cancelled, and calls that need an approval are refused until \
                 `keepgate state rekey` makes a new key"
            );
        }
        Ok(())
    }

    /// Cancels what is open and cannot be opened with the key of now. Their number.
    async fn cancel_unreadable(&self) -> Result<usize, DatabaseError> {
        let lost = self
            .end_where(|row| {
                let is_lost = self.opened(row).is_none();
                is_lost.then_some(("key_lost", "".into()))
            })
            .await?;
        let count = u64::try_from(lost).unwrap_or(u64::MAX);
        self.0
            .key_losses
            .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        Ok(lost)
    }

    /// Requests that were cancelled since their key is lost.
    pub fn key_losses(&self) -> u64 {
        self.0.key_losses.load(std::sync::atomic::Ordering::Relaxed)
    }
}
