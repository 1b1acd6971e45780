//! Every secret of the gateway that may be out there, and the search for all of them in whatever a server sends.
//!
//! **Layers.** The secrets of a while ago are in one mask, the base. A new one gets a mask at once, before anybody is given
//! it, shared with the few that are as new; within [`SETTLE`] they all become the next base, built on a thread for work that
//! blocks and swapped in whole. Reading takes no lock.
//!
//! **How long.** A secret is searched for as long as its source may use it, and [`KEPT`] longer: an answer may be late, and a
//! log a server prints may be old. Of one credential [`PAST`] secrets are kept so at most; the oldest makes room.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use crate::{
    error::Fault,
    mask::{Cut, Mask, Masked},
    secret::Secret,
};

/// Minimum time that a secret is searched for after its use has ended.
pub const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// So many secrets of the past are searched for, of each credential.
pub const PAST: usize = 32;
/// Time that new secrets wait for the base to be built.
const SETTLE: Duration = Duration::from_secs(1);
/// So many new secrets share a mask.
const SHARED: usize = 8;

/// All of them.
pub struct Live {
    layers: ArcSwap<Vec<Arc<Mask>>>,
    known: Mutex<Known>,
    builds: AtomicU64,
    tasks: TaskTracker,
}

/// Holds a secret for as long as it is in use.
pub(crate) trait Holder: Send + Sync {
    /// The secret.
    fn secret(&self) -> &Secret;
}

impl Holder for Secret {
    fn secret(&self) -> &Secret {
        self
    }
}

#[derive(Default)]
struct Known {
    entries: Vec<Entry>,
    /// Of the entries up to `settled`.
    base: Option<Arc<Mask>>,
    settled: u64,
    /// Of the entries after that, each with the last entry in it and how many there are.
    fresh: Vec<Fresh>,
    last: u64,
    /// A build is on its way.
    is_building: bool,
}

struct Entry {
    number: u64,
    owner: Arc<str>,
    holder: Arc<dyn Holder>,
    /// When its use has ended.
    over: Option<Instant>,
}

struct Fresh {
    mask: Arc<Mask>,
    last: u64,
    count: usize,
}

/// The secrets that were cut by the end of a string, in the messages of one stream.
#[derive(Default)]
pub struct Tails(Vec<(Arc<Mask>, Vec<Cut>)>);

/// A secret is in use for as long as this is kept.
pub(crate) struct InUse {
    live: Arc<Live>,
    number: u64,
}

impl Live {
    /// None so far. Nobody waits for the building of masks, not at the end either.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            layers: ArcSwap::default(),
            known: Mutex::default(),
            builds: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Searches for the secret of `holder` from now on. `owner` is the credential it is one secret of after another.
    ///
    /// # Errors
    /// [`Fault`] for a secret that cannot be searched for: it is not used.
    pub(crate) fn add(
        self: &Arc<Self>,
        owner: &str,
        holder: Arc<dyn Holder>,
    ) -> Result<InUse, Fault> {
        let mut known = self.known();
        let begins = known.last;
        let shared = known.fresh.pop_if(|fresh| fresh.count < SHARED);
        let from = shared
            .as_ref()
            .map_or(begins, |fresh| fresh.last - fresh.count as u64);
        let beside = known.entries.iter().filter(|entry| entry.number > from);
        let secrets = beside.map(|entry| entry.holder.secret());
        let mask = match Mask::new(secrets.chain([holder.secret()])) {
            Ok(mask) => Arc::new(mask),
            Err(fault) => {
                known.fresh.extend(shared);
                return Err(fault);
            }
        };
        known.last += 1;
        let number = known.last;
        known.fresh.push(Fresh {
            mask,
            last: number,
            count: shared.map_or(0, |fresh| fresh.count) + 1,
        });
        known.entries.push(Entry {
            number,
            owner: owner.into(),
            holder,
            over: None,
        });
        self.publish(&known);
        if !std::mem::replace(&mut known.is_building, true) {
            self.settle_later();
        }
        Ok(InUse {
            live: Arc::clone(self),
            number,
        })
    }

    fn publish(&self, known: &Known) {
        let base = known.base.iter().cloned();
        let fresh = known.fresh.iter().map(|fresh| Arc::clone(&fresh.mask));
        self.layers.store(Arc::new(base.chain(fresh).collect()));
    }

    fn settle_later(self: &Arc<Self>) {
        let live = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::time::sleep(SETTLE).await;
            let work = Arc::clone(&live);
            let settled = live.tasks.spawn_blocking(move || work.settle()).await;
            if settled.is_err() {
                live.known().is_building = false;
            }
        });
    }

    /// Makes one mask of all.
    fn settle(&self) {
        let (holders, last) = {
            let mut known = self.known();
            known.is_building = false;
            known.forget(Instant::now());
            (known.holders(), known.last)
        };
        let mut seen = HashSet::new();
        let secrets = holders.iter().map(|holder| holder.secret());
        let each = secrets.filter(|secret| seen.insert(secret.expose()));
        let built = Mask::new(each);
        self.builds.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known();
        match built {
            Ok(mask) if known.settled <= last => {
                known.base = (!holders.is_empty()).then(|| Arc::new(mask));
                known.settled = last;
                known.fresh.retain(|fresh| fresh.last > last);
                self.publish(&known);
            }
            // A later build was faster.
            Ok(_) => {}
            // Each could be searched for alone, and still is.
            Err(fault) => {
                tracing::warn!(
                    fault = fault.word(),
                    "the secrets cannot be put into one mask"
                );
            }
        }
    }

    /// The message `json` with every secret in it masked; `None` if there is none. `tails` carries cuts from one message of
    /// a stream to the next. `json` has to be valid JSON.
    pub fn message(&self, json: &[u8], tails: &mut Tails) -> Option<Masked> {
        let layers = self.layers.load();
        let mut done: Option<Masked> = None;
        tails.over(&layers, |mask, cuts| {
            let text = done.as_ref().map_or(json, |masked| &masked.bytes);
            if let Some(masked) = mask.message(text, cuts) {
                let places = done.as_ref().map_or(0, |masked| masked.places) + masked.places;
                done = Some(Masked { places, ..masked });
            }
        });
        done
    }

    /// A line of text with every secret in it masked; `None` if there is none. `tails` carries cuts from one line to the
    /// next.
    pub fn line(&self, line: &str, tails: &mut Tails) -> Option<String> {
        let layers = self.layers.load();
        let mut done: Option<String> = None;
        tails.over(&layers, |mask, cuts| {
            if let Some(masked) = mask.line(done.as_deref().unwrap_or(line), cuts) {
                done = Some(masked);
            }
        });
        done
    }

    /// Whether there is no secret to search for.
    pub fn is_empty(&self) -> bool {
        self.layers.load().is_empty()
    }

    /// Bytes of memory that the search takes.
    pub fn size(&self) -> usize {
        self.layers.load().iter().map(|mask| mask.size()).sum()
    }

    /// Number of times all secrets were made one mask.
    pub fn builds(&self) -> u64 {
        self.builds.load(Ordering::Relaxed)
    }
}

impl Known {
    /// Forgets what was over long enough ago.
    fn forget(&mut self, now: Instant) {
        self.entries.retain(|entry| {
            let over = entry.over.map(|over| now.saturating_duration_since(over));
            over.is_none_or(|over| over < KEPT)
        });
    }

    fn holders(&self) -> Vec<Arc<dyn Holder>> {
        let entries = self.entries.iter();
        entries.map(|entry| Arc::clone(&entry.holder)).collect()
    }

    /// Ends the use of an entry. It stays in the masks until the next base is built without it.
    fn end(&mut self, number: u64, now: Instant) {
        let Some(ended) = self.entries.iter_mut().find(|entry| entry.number == number) else {
            return;
        };
        ended.over = Some(now);
        let owner = Arc::clone(&ended.owner);
        let past = |entry: &Entry| entry.over.is_some() && entry.owner == owner;
        if self.entries.iter().filter(|entry| past(entry)).count() > PAST
            && let Some(oldest) = self.entries.iter().position(past)
        {
            self.entries.remove(oldest);
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.live.known().end(self.number, Instant::now());
    }
}

impl Tails {
    /// Goes over the masks, each with the cuts of its own; those that were replaced while a secret was half through as well.
    fn over(&mut self, layers: &[Arc<Mask>], mut each: impl FnMut(&Arc<Mask>, &mut Vec<Cut>)) {
        let before = std::mem::take(&mut self.0);
        let (mut mine, gone): (Vec<_>, Vec<_>) = before
            .into_iter()
            .partition(|(mask, _)| layers.iter().any(|layer| Arc::ptr_eq(layer, mask)));
        for (mask, mut cuts) in gone {
            each(&mask, &mut cuts);
            self.keep(&mask, cuts);
        }
        for layer in layers {
            let own = mine.iter_mut().find(|(mask, _)| Arc::ptr_eq(mask, layer));
            let mut cuts = own
                .map(|(_, cuts)| std::mem::take(cuts))
                .unwrap_or_default();
            each(layer, &mut cuts);
            self.keep(layer, cuts);
        }
    }

    fn keep(&mut self, mask: &Arc<Mask>, cuts: Vec<Cut>) {
        if !cuts.is_empty() {
            self.0.push((Arc::clone(mask), cuts));
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tails").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
