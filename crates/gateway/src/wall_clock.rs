//! The wall clock, which anybody who may set it can turn back: time that never goes back.
//!
//! Lifetimes within the process are monotonic. What ends at a moment of the calendar (API keys, access tokens, rules of a
//! policy) needs the wall clock, and must not become valid again because that was set. So the highest time seen is kept, goes on
//! with the monotonic clock, and outlives the process in a file of the state directory.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Largest difference between the two clocks that is not a jump. Slewing makes none; it is seconds a year.
pub const MAX_DRIFT: Duration = Duration::from_secs(5);

/// The wall clock with the highest time it has shown.
#[derive(Debug, Default)]
pub struct WallClock {
    /// Nanoseconds since 1970.
    mark: AtomicU64,
    forward: AtomicU64,
    back: AtomicU64,
}

/// A jump of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Its size.
    pub by: Duration,
    /// Its direction: into the past.
    pub is_back: bool,
}

/// Both clocks as they were at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The wall clock.
    pub wall: SystemTime,
    /// The monotonic clock.
    pub at: Instant,
}

impl Look {
    /// Both clocks now.
    pub fn now() -> Self {
        Self {
            wall: SystemTime::now(),
            at: Instant::now(),
        }
    }
}

impl WallClock {
    /// A clock that was at `mark` before.
    pub fn since(mark: SystemTime) -> Self {
        let clock = Self::default();
        clock.pin(mark);
        clock
    }

    /// The time, at least the highest that was seen a second ago.
    pub fn now(&self) -> SystemTime {
        self.at_least(SystemTime::now())
    }

    /// `time`, or the highest time seen if that is later.
    pub fn at_least(&self, time: SystemTime) -> SystemTime {
        time.max(self.mark())
    }

    /// Makes sure that it is never again before `time`: something was refused because that had come.
    pub fn pin(&self, time: SystemTime) {
        self.mark.fetch_max(nanoseconds(time), Ordering::Relaxed);
    }

    /// The highest time seen.
    pub fn mark(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.mark.load(Ordering::Relaxed))
    }

    /// Time by which the wall clock is behind the highest time seen.
    pub fn behind(&self, wall: SystemTime) -> Duration {
        self.mark().duration_since(wall).unwrap_or_default()
    }

    /// Number of jumps into the future, and into the past.
    pub fn jumps(&self) -> (u64, u64) {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (count(&self.forward), count(&self.back))
    }

    /// Compares two looks at the clocks, and goes on by the time that has passed. To be called about once a second.
    pub fn advance(&self, before: Look, now: Look) -> Option<Jump> {
        let passed = now.at.saturating_duration_since(before.at);
        let expected = before.wall + passed;
        let next = self.mark().checked_add(passed);
        self.pin(next.map_or(now.wall, |next| next.max(now.wall)));
        let (by, is_back) = match now.wall.duration_since(expected) {
            Ok(by) => (by, false),
            Err(error) => (error.duration(), true),
        };
        if by <= MAX_DRIFT {
            return None;
        }
        let count = if is_back { &self.back } else { &self.forward };
        count.fetch_add(1, Ordering::Relaxed);
        Some(Jump { by, is_back })
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours that pass on the monotonic clock and what the wall clock then shows, the hours it has jumped, and the time at least.
    const STEPS: [(u64, u64, i64, u64); 6] = [
        (1, 101, 0, 101),
        (1, 112, 10, 112),
        (1, 92, -21, 113),
        (1, 93, 0, 114),
        (0, 200, 107, 200),
        (1, 201, 0, 201),
    ];

    #[test]
    fn time_never_goes_back_and_jumps_are_found() {
        let hours = |number: u64| Duration::from_secs(number * 3_600);
        let mut before = Look {
            wall: UNIX_EPOCH + hours(100),
            at: Instant::now(),
        };
        let clock = WallClock::since(before.wall);
        for (passed, wall, jump, least) in STEPS {
            let now = Look {
                wall: UNIX_EPOCH + hours(wall),
                at: before.at + hours(passed),
            };
            let found = clock.advance(before, now);
            let expected = (jump != 0).then(|| Jump {
                by: hours(jump.unsigned_abs()),
                is_back: jump < 0,
            });
            assert_eq!(found, expected, "{wall}");
            assert_eq!(
                clock.at_least(now.wall),
                UNIX_EPOCH + hours(least),
                "{wall}"
            );
            before = now;
        }
        assert_eq!(clock.jumps(), (2, 1));
        assert_eq!(clock.behind(UNIX_EPOCH + hours(150)), hours(51));
        assert_eq!(clock.behind(UNIX_EPOCH + hours(250)), hours(0));
    }

    #[test]
    fn a_drift_of_seconds_is_no_jump() {
        let before = Look::now();
        let clock = WallClock::since(before.wall);
        for (drift, is_jump) in [(5_000, false), (5_001, true)] {
            let drift = Duration::from_millis(drift);
            for wall in [before.wall + drift, before.wall - drift] {
                let now = Look {
                    wall,
                    at: before.at,
                };
                assert_eq!(clock.advance(before, now).is_some(), is_jump, "{drift:?}");
            }
        }
    }
}
