//! How many run at once, by key.

use std::{
    hash::Hash,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use crate::hash::HashMap;
use crate::shards::Shards;

/// Counts what runs. A key is in the table only while something of it runs, so the table is as bounded as the calls are.
#[derive(Debug)]
pub struct Running<K>(Shards<Mutex<HashMap<K, usize>>>);

impl<K> Default for Running<K> {
    fn default() -> Self {
        Self(Shards::default())
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
        if !self.take(key, most) {
            return None;
        }
        Some(Place {
            table: Arc::clone(self),
            key: key.clone(),
        })
    }
}

impl<K: Eq + Hash + Clone> Running<K> {
    fn take(&self, key: &K, most: NonZeroUsize) -> bool {
        let mut all = self
            .0
            .of(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(key.clone()).or_default();
        if *taken >= most.get() {
            return false;
        }
        *taken += 1;
        true
    }
}

impl<K: Eq + Hash> Running<K> {
    fn leave(&self, key: &K) {
        let shard = self.0.of(key);
        let mut all = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = all.get_mut(key) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                all.remove(key);
            }
        }
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        self.table.leave(&self.key);
    }
}

/// A place that others may have while its call waits for a person. Dropped, it counts again, since the call will give it back
/// at its end; that may be one too many, for a call that is about to end.
#[derive(Debug)]
pub struct LentPlace<K: Eq + Hash + Clone> {
    table: Arc<Running<K>>,
    key: Option<K>,
}

impl<K: Eq + Hash + Clone> Running<K> {
    /// Lets others have the place that a call holds for `key`.
    pub fn lend(self: &Arc<Self>, key: K) -> LentPlace<K> {
        self.leave(&key);
        LentPlace {
            table: Arc::clone(self),
            key: Some(key),
        }
    }
}

impl<K: Eq + Hash + Clone> LentPlace<K> {
    /// Takes the place back, if fewer than `most` are taken.
    pub fn take_back(mut self, most: NonZeroUsize) -> bool {
        // The call's own place gives it back.
        self.key.take_if(|key| self.table.take(key, most)).is_some()
    }
}

impl<K: Eq + Hash + Clone> Drop for LentPlace<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let shard = self.table.0.of(&key);
            let mut all = shard.lock().unwrap_or_else(PoisonError::into_inner);
            *all.entry(key.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use super::Running;

    #[test]
    fn a_place_is_lent_while_its_call_waits() {
        let running: Arc<Running<&str>> = Arc::default();
        let one = NonZeroUsize::MIN;
        let held = running.enter(&"a", one).unwrap();
        assert!(running.enter(&"a", one).is_none());
        let lent = running.lend("a");
        let other = running.enter(&"a", one);
        assert!(other.is_some(), "another may have it");
        assert!(!lent.take_back(one), "it is taken");
        drop(other);
        // It counted once too often only until its call ended.
        drop(held);
        let held = running.enter(&"a", one).unwrap();
        assert!(running.lend("a").take_back(one));
        assert!(running.enter(&"a", one).is_none());
        drop(running.lend("a"));
        assert!(running.enter(&"a", one).is_none());
        drop(held);
        let left: usize = running
            .0
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }

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
            .0
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }
}
