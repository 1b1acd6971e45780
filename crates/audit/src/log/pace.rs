//! The rate of records, to decide whether gathering pays.

use std::time::{Duration, Instant};

/// Time between two records below which gathering pays: a quieter log writes each as it comes.
const BUSY: Duration = Duration::from_micros(80);
/// Records worth waiting for: by then the cost of a write and a wake is shared by enough of them.
const SHARE: u32 = 16;
/// Longest time between two records that counts.
const QUIET: Duration = Duration::from_micros(320);

/// The rate of records: the mean time between two, over the last few batches.
pub(super) struct Pace {
    last: Instant,
    mean: Duration,
}

impl Pace {
    /// A quiet log.
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            last: now,
            mean: QUIET,
        }
    }

    /// Notes that so many records were written.
    pub(super) fn note(&mut self, records: usize) {
        let now = Instant::now();
        let records = u32::try_from(records).unwrap_or(u32::MAX).max(1);
        // One long pause must not be forgotten slowly, nor count for more than a pause.
        let each = ((now - self.last) / records).min(QUIET);
        self.mean = (self.mean * 7 + each) / 8;
        self.last = now;
    }

    /// Time to let records gather before the next write, if any.
    pub(super) fn pause(&self, longest: Duration) -> Option<Duration> {
        let pause = longest.min(self.mean * SHARE);
        (self.mean < BUSY && !pause.is_zero()).then_some(pause)
    }
}
