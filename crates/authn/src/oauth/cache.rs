//! Tokens that were verified, found again by a keyed hash. The tokens themselves are not kept.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use keepgate_call::Caller;
use zeroize::Zeroizing;

/// Locks of the cache; a power of two well above the number of workers.
const SHARDS: usize = 16;
/// Most tokens behind one lock. One more pushes out the one that ends first, which costs its holder a verification.
const SHARD_MOST: usize = 1024;

/// The hash of a token under this process's key.
pub(super) type Digest = [u8; blake3::OUT_LEN];

/// What a verified token proved.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Its holder; made once, shared by all calls.
    pub(super) caller: Arc<Caller>,
    /// Its `aud`.
    pub(super) audiences: Arc<[Arc<str>]>,
    /// Whether it is for the whole gateway, by the audience the configuration names.
    pub(super) general: bool,
    /// When it is over, leeway included.
    pub(super) ends: SystemTime,
    /// Which of the issuers gave it.
    pub(super) issuer: usize,
    /// The issuer's keys as they were when it was verified.
    pub(super) epoch: u64,
}

/// The verified tokens.
pub(super) struct Cache {
    key: Zeroizing<[u8; blake3::KEY_LEN]>,
    shards: [RwLock<Shard>; SHARDS],
}

type Shard = HashMap<Digest, Entry, BuildHasherDefault<Prefix>>;

impl std::fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Cache(..)")
    }
}

impl Cache {
    /// An empty cache under a fresh key.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; blake3::KEY_LEN]);
        getrandom::fill(&mut *key)?;
        Ok(Self {
            key,
            shards: std::array::from_fn(|_| RwLock::default()),
        })
    }

    /// The hash under which a token is found.
    pub(super) fn digest(&self, token: &[u8]) -> Digest {
        *blake3::keyed_hash(&self.key, token).as_bytes()
    }

    /// What the token proved, if it was verified before. It may have ended since.
    pub(super) fn find(&self, digest: &Digest) -> Option<Entry> {
        let shard = self
            .shard(digest)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.get(digest).cloned()
    }

    /// Keeps what a token proved.
    pub(super) fn insert(&self, digest: Digest, entry: Entry, now: SystemTime) {
        let mut shard = self
            .shard(&digest)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_MOST {
            shard.retain(|_, entry| entry.ends > now);
        }
        if shard.len() >= SHARD_MOST {
            let first = shard.iter().min_by_key(|(_, entry)| entry.ends);
            if let Some(first) = first.map(|(digest, _)| *digest) {
                shard.remove(&first);
            }
        }
        shard.insert(digest, entry);
    }

    /// How many tokens are held, dead ones too.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let of = |shard: &RwLock<Shard>| shard.read().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(of).sum()
    }

    /// The most tokens that are held.
    #[cfg(test)]
    pub(super) const MOST: usize = SHARDS * SHARD_MOST;

    fn shard(&self, digest: &Digest) -> &RwLock<Shard> {
        let [first, ..] = digest;
        // `first % SHARDS` is below SHARDS; the first shard is never the wrong answer to an impossible index.
        self.shards
            .get(usize::from(*first) % SHARDS)
            .unwrap_or(&self.shards[0])
    }
}

/// Takes eight bytes of a digest for its hash: they are as random as any hash of them would be.
#[derive(Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn write(&mut self, bytes: &[u8]) {
        if let Some((last, _)) = bytes
            .split_last_chunk::<8>()
            .map(|(rest, last)| (last, rest))
        {
            self.0 ^= u64::from_le_bytes(*last);
        }
    }

    // The length of the array, the same for all.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
