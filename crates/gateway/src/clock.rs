//! Decision ids and the time they carry.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use keepgate_call::DecisionId;

/// Gives out decision ids: time, then bits that nobody outside can guess and that never repeat.
#[derive(Debug)]
pub struct Ids {
    key: [u8; 32],
    count: AtomicU64,
}

impl Ids {
    /// A source with fresh randomness.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            key,
            count: AtomicU64::new(0),
        })
    }

    /// The next id, and random bits that have nothing to do with it.
    pub fn next(&self, now: SystemTime) -> (DecisionId, [u8; 16]) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        // A keyed hash of a counter: as unpredictable as randomness, and no system call a call.
        let digest = blake3::keyed_hash(&self.key, &count.to_le_bytes());
        let (first, second) = digest.as_bytes().split_at(16);
        let random = first
            .iter()
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let millis = u64::try_from(since.as_millis()).unwrap_or_default();
        (
            DecisionId::new(millis, random),
            second.try_into().unwrap_or_default(),
        )
    }
}
