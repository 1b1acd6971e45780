//! How many run at once, by key.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

/// Locks of the table; a power of two well above the number of workers.
const SHARDS: usize = 16;

/// Counts what runs. A key is in the table only while something of it runs, so the table is as bounded as the calls are.
#[derive(Debug)]
pub struct Running<K> {
    shards: [Mutex<HashMap<K, usize>>; SHARDS],
    hasher: RandomState,
}

impl<K> Default for Running<K> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

/// One taken place; given back when it is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    table: Arc<Running<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Running<K> {
    /// Takes a place for `key`, if fewer than `most` are taken.
    pub fn enter(self: &Arc<Self>, key: &K, most: NonZeroUsize) -> Option<Place<K>> {
        let mut all = self
            .shard(key)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(key.clone()).or_default();
        if *taken >= most.get() {
            return None;
        }
        *taken += 1;
        drop(all);
        Some(Place {
            table: Arc::clone(self),
            key: key.clone(),
        })
    }
}

impl<K: Eq + Hash> Running<K> {
    fn shard(&self, key: &K) -> Option<&Mutex<HashMap<K, usize>>> {
        let at = usize::try_from(self.hasher.hash_one(key) % 16).unwrap_or_default();
        self.shards.get(at)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let Some(shard) = self.table.shard(&self.key) else {
            return;
        };
        let mut all = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(&self.key) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                all.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use super::Running;

    #[test]
    fn places_are_given_back_and_nothing_stays() {
        let running: Arc<Running<&str>> = Arc::default();
        let two = NonZeroUsize::new(2).unwrap();
        let first = running.enter(&"a", two).unwrap();
        let _second = running.enter(&"a", two).unwrap();
        assert!(running.enter(&"a", two).is_none());
        let other = running.enter(&"b", two);
        assert!(other.is_some());
        drop(first);
        assert!(running.enter(&"a", two).is_some());
        drop((other, _second));
        let left: usize = running
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }
}
