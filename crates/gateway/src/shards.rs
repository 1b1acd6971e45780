//! Tables in several pieces, each behind a lock of its own, so that two workers seldom wait for each other.

use std::hash::Hash;

use ahash::RandomState;

/// How many pieces; a power of two well above the number of workers.
pub(crate) const SHARDS: usize = 16;

/// The pieces of a table, and which of them a key belongs to.
///
/// The hash that chooses a piece is never the one a map within it uses: maps place keys by the same low bits, and all keys
/// of a piece would crowd in a sixteenth of it.
#[derive(Debug)]
pub(crate) struct Shards<T> {
    pieces: [T; SHARDS],
    hasher: RandomState,
}

impl<T: Default> Default for Shards<T> {
    fn default() -> Self {
        Self {
            pieces: std::array::from_fn(|_| T::default()),
            hasher: RandomState::new(),
        }
    }
}

impl<T> Shards<T> {
    /// The piece `key` belongs to, always the same.
    pub(crate) fn of<K: Hash + ?Sized>(&self, key: &K) -> &T {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        // `at` is below SHARDS; the first piece is never the wrong answer to an impossible index, only a slower one.
        self.pieces.get(at).unwrap_or(&self.pieces[0])
    }

    /// Every piece.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.pieces.iter()
    }
}
