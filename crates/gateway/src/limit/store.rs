//! Where a rate keeps what each key has spent: a table with a bound that no caller can turn into a fresh budget.

use std::{
    hash::Hash,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{nanos::Nanos, state::StateStore};

use crate::hash::HashMap;
use crate::shards::{SHARDS, Shards};

/// A full table is searched for what can be forgotten no more often than this, in nanoseconds.
const SWEEP: u64 = 20_000_000;

/// One lock's part of the table.
#[derive(Debug)]
struct Shard<K> {
    states: HashMap<K, AtomicU64>,
    swept: Option<u64>,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            states: HashMap::default(),
            swept: None,
        }
    }
}

/// A bounded table of GCRA states.
#[derive(Debug)]
pub(super) struct Bounded<K> {
    shards: Shards<RwLock<Shard<K>>>,
    most: usize,
    interval: u64,
}

impl<K> Bounded<K> {
    /// A table of at most `keys` keys for a rate that refills one in `interval`.
    pub(super) fn new(keys: usize, interval: Duration) -> Self {
        Self {
            shards: Shards::default(),
            most: keys.div_ceil(SHARDS).max(1),
            interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl<K: Eq + Hash + Clone> StateStore for Bounded<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let shard = self.shards.of(key);
        {
            let known = shard.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(state) = known.states.get(key) {
                return replace(state, &f);
            }
        }
        let mut all = shard.write().unwrap_or_else(PoisonError::into_inner);
        // It may have come between the two locks.
        if let Some(state) = all.states.get(key) {
            return replace(state, &f);
        }
        let (passed, next) = f(None)?;
        // For a key without a past the next state is now and one interval.
        let now = next.as_u64().saturating_sub(self.interval);
        let swept = all
            .swept
            .is_some_and(|swept| now.saturating_sub(swept) < SWEEP);
        if all.states.len() >= self.most && !swept {
            all.swept = Some(now);
            // What is refilled is as if it had never been used.
            all.states.retain(|_, state| *state.get_mut() > now);
        }
        if all.states.len() >= self.most {
            return full(f);
        }
        all.states
            .insert(key.clone(), AtomicU64::new(next.as_u64()));
        Ok(passed)
    }
}

/// No room for another key: as if its budget were spent.
fn full<T, E>(f: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    f(Some(Nanos::from(u64::MAX))).map(|(passed, _)| passed)
}

fn replace<T, E>(
    state: &AtomicU64,
    f: &impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
) -> Result<T, E> {
    let mut before = state.load(Ordering::Acquire);
    loop {
        let (passed, next) = f(Some(Nanos::from(before)))?;
        match state.compare_exchange_weak(
            before,
            next.as_u64(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => return Ok(passed),
            Err(now) => before = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::super::rate::{Limiter, Rate};

    fn limiter(interval: Duration, keys: usize) -> Limiter<u32> {
        Limiter::new(
            Rate::new(NonZeroU32::MIN, interval, NonZeroU32::MIN).unwrap(),
            keys,
        )
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_forgets_nobody() {
        let limiter = limiter(Duration::from_secs(3600), 32);
        let first: Vec<u32> = (0..10_000)
            .filter(|key| limiter.take(key).is_ok())
            .collect();
        assert!(!first.is_empty() && first.len() <= 32, "{}", first.len());
        // A flood of keys has not refilled anybody.
        for key in 0..10_000 {
            assert!(limiter.take(&key).is_err(), "{key}");
        }
    }

    #[test]
    fn refilled_keys_make_room() {
        let limiter = limiter(Duration::from_millis(1), 16);
        for key in 0..160 {
            let mut left = 1_000;
            while limiter.take(&key).is_err() {
                left -= 1;
                assert!(left > 0, "no room was made");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
