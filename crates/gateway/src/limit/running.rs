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
        let mut all = self
            .0
            .of(key)
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

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let shard = self.table.0.of(&self.key);
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
            .0
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }
}
