//! Breakers: what goes wrong several times in a row rests for a while, then one call may try it.
//!
//! Only what has failed is in the table, so a call costs one look at a counter while nothing fails.

use std::{
    hash::Hash,
    num::NonZeroU32,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::hash::HashMap;
use crate::shards::Shards;

/// Keys of one lock. Beyond it a newcomer's failures are not counted; each of them was refused or failed anyway.
const KEYS_MOST: usize = 4_096;
/// Failures further apart than this are not in a row.
const ROW: Duration = Duration::from_secs(600);
/// A full table is searched for what can be forgotten no more often than this.
const SWEEP: Duration = Duration::from_millis(20);
/// What is told to wait while somebody else tries.
const TRYING: Duration = Duration::from_secs(1);

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// How many failures in a row open it.
    pub failures: NonZeroU32,
    /// How long it stays open before one call may try.
    pub open_for: Duration,
}

/// What a call says of the thing behind the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// It works.
    Good,
    /// It fails.
    Bad,
    /// Nothing can be said.
    None,
}

/// What is known of one key that has failed.
#[derive(Debug)]
struct Tally {
    row: u32,
    open_until: Option<Instant>,
    trying: bool,
    failed: Instant,
}

/// One lock's part of the table.
#[derive(Debug)]
struct Shard<K> {
    tallies: HashMap<K, Tally>,
    swept: Option<Instant>,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            tallies: HashMap::default(),
            swept: None,
        }
    }
}

/// The breakers of one kind.
#[derive(Debug)]
pub struct Breakers<K> {
    shards: Shards<Mutex<Shard<K>>>,
    failing: AtomicUsize,
}

impl<K> Default for Breakers<K> {
    fn default() -> Self {
        Self {
            shards: Shards::default(),
            failing: AtomicUsize::new(0),
        }
    }
}

/// Leave to call what is behind a breaker. Dropped without an opinion it says nothing, so that the next may try.
#[derive(Debug)]
pub struct Trial<'a, K: Eq + Hash + Clone> {
    breakers: &'a Breakers<K>,
    key: &'a K,
    settings: Breaker,
    /// Whether it is the one call that may try; noted at the call, which may lend that to others.
    is_trying: &'a AtomicBool,
}

impl<K: Eq + Hash + Clone> Breakers<K> {
    /// Asks for leave, and notes in `is_trying` whether it is that of the one call that may try.
    ///
    /// # Errors
    /// How long to wait.
    pub fn admit<'a>(
        &'a self,
        key: &'a K,
        settings: Breaker,
        is_trying: &'a AtomicBool,
    ) -> Result<Trial<'a, K>, Duration> {
        self.take_back(key, is_trying)?;
        Ok(Trial {
            breakers: self,
            key,
            settings,
            is_trying,
        })
    }

    /// Lets another call try while this one waits.
    pub fn lend(&self, key: &K, is_trying: &AtomicBool) {
        if is_trying.swap(false, Ordering::AcqRel) {
            self.undecided(key);
        }
    }

    /// Asks for leave again, for a call that has waited.
    ///
    /// # Errors
    /// The time to wait.
    pub fn take_back(&self, key: &K, is_trying: &AtomicBool) -> Result<(), Duration> {
        if self.failing.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut shard = self.shard(key);
        let tally = shard.tallies.get_mut(key);
        let Some((tally, until)) = tally.and_then(|it| it.open_until.map(|until| (it, until)))
        else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Err(left);
        }
        if tally.trying {
            return Err(TRYING);
        }
        tally.trying = true;
        is_trying.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the breaker is open, for what is no evidence about the thing behind it and so must not take the place of the one
    /// call that tries.
    ///
    /// # Errors
    /// The time to wait.
    pub fn check(&self, key: &K) -> Result<(), Duration> {
        if self.failing.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let until = self
            .shard(key)
            .tallies
            .get(key)
            .and_then(|tally| tally.open_until);
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => Err(left),
            Some(_) | None => Ok(()),
        }
    }

    /// Opens the breaker at once, whatever has failed before.
    pub fn open_now(&self, key: &K, settings: Breaker) {
        self.failed(key, settings, true);
    }

    /// How many keys are open now, for the meters.
    pub fn open(&self) -> usize {
        if self.failing.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let open = |shard: &Mutex<Shard<K>>| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard
                .tallies
                .values()
                .filter(|tally| tally.open_until.is_some())
                .count()
        };
        self.shards.iter().map(open).sum()
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K>> {
        let shard = self.shards.of(key);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn good(&self, key: &K) {
        if self.failing.load(Ordering::Acquire) == 0 {
            return;
        }
        if self.shard(key).tallies.remove(key).is_some() {
            self.failing.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Counts a failure. Whether the breaker is open now.
    fn failed(&self, key: &K, settings: Breaker, opens: bool) -> bool {
        let now = Instant::now();
        let mut shard = self.shard(key);
        if !shard.tallies.contains_key(key) && !self.has_room(&mut shard, now) {
            return false;
        }
        let tally = shard.tallies.entry(key.clone()).or_insert_with(|| {
            self.failing.fetch_add(1, Ordering::AcqRel);
            Tally {
                row: 0,
                open_until: None,
                trying: false,
                failed: now,
            }
        });
        let again = tally.open_until.is_some();
        tally.row = if again || tally.is_recent(now) {
            tally.row.saturating_add(1)
        } else {
            1
        };
        tally.failed = now;
        tally.trying = false;
        if opens || again || tally.row >= settings.failures.get() {
            tally.open_until = Some(now + settings.open_for);
        }
        tally.open_until.is_some()
    }

    fn has_room(&self, shard: &mut Shard<K>, now: Instant) -> bool {
        let swept = shard
            .swept
            .is_some_and(|swept| now.duration_since(swept) < SWEEP);
        let before = shard.tallies.len();
        if before >= KEYS_MOST && !swept {
            shard.swept = Some(now);
            shard.tallies.retain(|_, tally| tally.is_recent(now));
            self.failing
                .fetch_sub(before - shard.tallies.len(), Ordering::AcqRel);
        }
        shard.tallies.len() < KEYS_MOST
    }

    fn undecided(&self, key: &K) {
        if let Some(tally) = self.shard(key).tallies.get_mut(key) {
            tally.trying = false;
        }
    }
}

impl Tally {
    fn is_recent(&self, now: Instant) -> bool {
        let open = self.open_until.is_some_and(|until| until > now);
        open || self.trying || now.saturating_duration_since(self.failed) <= ROW
    }
}

impl<K: Eq + Hash + Clone> Trial<'_, K> {
    /// Whether this is the one call that may try while the breaker is open.
    pub fn is_trying(&self) -> bool {
        self.is_trying.load(Ordering::Acquire)
    }

    /// Says how it went. Whether the breaker is open for it now.
    pub fn opine(self, opinion: Opinion) -> bool {
        let opened = match opinion {
            Opinion::Good => {
                self.breakers.good(self.key);
                false
            }
            Opinion::Bad => self.breakers.failed(self.key, self.settings, false),
            Opinion::None => return false,
        };
        self.is_trying.store(false, Ordering::Release);
        opened
    }
}

impl<K: Eq + Hash + Clone> Drop for Trial<'_, K> {
    fn drop(&mut self) {
        self.breakers.lend(self.key, self.is_trying);
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::atomic::AtomicBool, time::Duration};

    use super::{Breaker, Breakers, Opinion};

    const RESTS: Breaker = Breaker {
        failures: NonZeroU32::new(3).unwrap(),
        open_for: Duration::from_secs(3600),
    };
    const RESTS_NOT: Breaker = Breaker {
        failures: NonZeroU32::new(3).unwrap(),
        open_for: Duration::ZERO,
    };

    fn say(breakers: &Breakers<&str>, settings: Breaker, opinions: &[Opinion]) {
        for opinion in opinions {
            let trying = AtomicBool::default();
            let trial = breakers.admit(&"a", settings, &trying);
            trial.unwrap().opine(*opinion);
        }
    }

    fn admits_not(breakers: &Breakers<&str>, key: &'static str, settings: Breaker) -> bool {
        let trying = AtomicBool::default();
        breakers.admit(&key, settings, &trying).is_err()
    }

    #[test]
    fn a_call_that_waits_lets_others_try() {
        use Opinion::{Bad, Good};
        let breakers = Breakers::default();
        say(&breakers, RESTS_NOT, &[Bad, Bad, Bad]);
        let (waiting, other) = (AtomicBool::default(), AtomicBool::default());
        let trial = breakers.admit(&"a", RESTS_NOT, &waiting).unwrap();
        breakers.lend(&"a", &waiting);
        assert!(!trial.is_trying());
        let tries = breakers.admit(&"a", RESTS_NOT, &other).unwrap();
        // Whoever has waited asks again, and its end leaves the trial of the other alone.
        assert!(breakers.take_back(&"a", &waiting).is_err());
        drop(trial);
        assert!(admits_not(&breakers, "a", RESTS_NOT), "the other tries");
        drop(tries);
        let trial = breakers.admit(&"a", RESTS_NOT, &waiting).unwrap();
        breakers.lend(&"a", &waiting);
        assert_eq!(breakers.take_back(&"a", &waiting), Ok(()));
        assert!(trial.is_trying());
        assert!(admits_not(&breakers, "a", RESTS_NOT), "it tries again");
        trial.opine(Good);
        assert_eq!(breakers.open(), 0);
    }

    #[test]
    fn failures_in_a_row_open_it() {
        use Opinion::{Bad, Good, None};
        for (opinions, open) in [
            (&[Bad, Bad][..], false),
            (&[Bad, Bad, Bad], true),
            (&[Bad, Bad, None, Bad], true),
            (&[Bad, Bad, Good, Bad, Bad], false),
            (&[Good, Good], false),
        ] {
            let breakers = Breakers::default();
            say(&breakers, RESTS, opinions);
            assert_eq!(admits_not(&breakers, "a", RESTS), open, "{opinions:?}");
            assert!(!admits_not(&breakers, "b", RESTS));
            assert_eq!(breakers.open(), usize::from(open));
        }
    }

    #[test]
    fn after_the_rest_one_may_try() {
        use Opinion::{Bad, Good};
        let breakers = Breakers::default();
        say(&breakers, RESTS_NOT, &[Bad, Bad, Bad]);
        let trying = AtomicBool::default();
        let trial = breakers.admit(&"a", RESTS_NOT, &trying).unwrap();
        assert!(admits_not(&breakers, "a", RESTS_NOT), "two tried at once");
        drop(trial);
        let trial = breakers.admit(&"a", RESTS_NOT, &trying).unwrap();
        trial.opine(Bad);
        assert_eq!(breakers.open(), 1);
        say(&breakers, RESTS_NOT, &[Good]);
        assert_eq!(breakers.open(), 0);
        say(&breakers, RESTS, &[Bad, Bad]);
        assert!(!admits_not(&breakers, "a", RESTS), "the row began anew");
    }

    #[test]
    fn the_table_is_bounded() {
        let breakers = Breakers::default();
        for key in 0..200_000_u32 {
            let trying = AtomicBool::default();
            let trial = breakers.admit(&key, RESTS, &trying);
            trial.unwrap().opine(Opinion::Bad);
        }
        let held: usize = breakers
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().tallies.len())
            .sum();
        assert!(held <= 16 * super::KEYS_MOST);
    }
}
