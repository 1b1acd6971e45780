//! Ids of calls: decision ids and the time they carry, and the ids requests go to their servers under.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use keepgate_call::{DecisionId, UpstreamId};

/// Gives out decision ids: time, then bits that nobody outside can guess and that never repeat. And ids for servers: counted
/// from a random start, so that another run of the gateway uses none of them again in a session a server may have kept.
#[derive(Debug)]
pub struct Ids {
    key: [u8; 32],
    count: AtomicU64,
    upstream: AtomicU64,
}

impl Ids {
    /// A source with fresh randomness.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let (mut key, mut start) = ([0; 32], [0; 8]);
        getrandom::fill(&mut key)?;
        getrandom::fill(&mut start)?;
        Ok(Self {
            key,
            count: AtomicU64::new(0),
            // In the lower half of the range: what is left above it outlasts any run.
            upstream: AtomicU64::new(
                u64::from_le_bytes(start) >> (u64::BITS - UpstreamId::BITS + 1),
            ),
        })
    }

    /// The next id for a server.
    pub fn upstream(&self) -> UpstreamId {
        UpstreamId::new(self.upstream.fetch_add(1, Ordering::Relaxed))
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
