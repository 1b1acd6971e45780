//! Rates: so many at once, refilled at so many in a time (GCRA, by `governor`).

use std::{fmt, hash::Hash, num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, MonotonicClock},
};

use super::store::Bounded;

/// So many in a time; at most `burst` of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    calls: NonZeroU32,
    per: Duration,
    burst: NonZeroU32,
}

impl Rate {
    /// `calls` in `per`, of which `burst` may come at once. `None` when that is more than one a nanosecond or less than
    /// one in a year, which no clock here tells apart.
    pub fn new(calls: NonZeroU32, per: Duration, burst: NonZeroU32) -> Option<Self> {
        const YEAR: Duration = Duration::from_secs(366 * 86_400);
        let interval = per / calls.get();
        let whole = interval.checked_mul(burst.get())?;
        (!interval.is_zero() && whole <= YEAR && per <= YEAR).then_some(Self { calls, per, burst })
    }

    /// The same with `factor` times as many, as far as a clock can distinguish them.
    #[must_use]
    pub fn times(self, factor: u32) -> Self {
        let factor = NonZeroU32::new(factor).unwrap_or(NonZeroU32::MIN);
        let more = |number: NonZeroU32| number.saturating_mul(factor);
        Self::new(more(self.calls), self.per, more(self.burst)).unwrap_or(self)
    }

    /// The time in which one is refilled.
    pub fn interval(&self) -> Duration {
        self.per / self.calls.get()
    }

    fn quota(&self) -> Quota {
        // The interval was checked when the rate was made; the fallback would be the strictest there is.
        Quota::with_period(self.interval())
            .unwrap_or_else(|| Quota::per_hour(NonZeroU32::MIN))
            .allow_burst(self.burst)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.per.as_secs();
        match (seconds, self.per.subsec_millis()) {
            (0, millis) => write!(f, "{} in {millis}ms", self.calls)?,
            (seconds, 0) if seconds % 3600 == 0 => {
                write!(f, "{} in {}h", self.calls, seconds / 3600)?
            }
            (seconds, 0) if seconds % 60 == 0 => write!(f, "{} in {}m", self.calls, seconds / 60)?,
            (seconds, 0) => write!(f, "{} in {seconds}s", self.calls)?,
            (_, _) => write!(f, "{} in {}ms", self.calls, self.per.as_millis())?,
        }
        if self.burst != self.calls {
            write!(f, ", {} at once", self.burst)?;
        }
        Ok(())
    }
}

/// One rate, kept apart for every key.
#[derive(Debug)]
pub struct Limiter<K: Eq + Hash + Clone> {
    rate: Rate,
    inner: RateLimiter<K, Bounded<K>, MonotonicClock>,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// A limiter that remembers at most `keys` keys.
    pub fn new(rate: Rate, keys: usize) -> Self {
        let store = Bounded::new(keys, rate.interval());
        Self {
            rate,
            inner: RateLimiter::new(rate.quota(), store, MonotonicClock),
        }
    }

    /// Which rate it is.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Takes one from `key`'s budget.
    ///
    /// # Errors
    /// How long to wait until one is there; for a table that is full, the time in which the first key might be
    /// forgotten.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.inner.check_key(key).map_err(|until| {
            let wait = until.wait_time_from(self.inner.clock().now());
            // A refusal for want of room says "never"; in an interval a key may have been refilled.
            let longest = self.rate.interval().saturating_mul(self.rate.burst.get());
            wait.min(longest)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        num::NonZeroU32,
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::{Limiter, Rate};

    fn rate(calls: u32, per: Duration, burst: u32) -> Rate {
        let whole = |number| NonZeroU32::new(number).unwrap();
        Rate::new(whole(calls), per, whole(burst)).unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn of_ten_times_as_many_at_once_exactly_the_burst_passes() {
        for threads in [1, 2, 8] {
            // One refill would take four days, so none falls into the test.
            let limiter = Limiter::new(rate(1, 100 * HOUR, 64), 16);
            let passed = AtomicUsize::new(0);
            let start = Barrier::new(threads);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        start.wait();
                        for _ in 0..640 / threads {
                            if limiter.take(&"key").is_ok() {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(passed.into_inner(), 64, "{threads} threads");
        }
    }

    #[test]
    fn each_key_has_its_own_budget() {
        // Room for both, wherever their hashes lead: 16 keys would be one for each piece of the table.
        let limiter = Limiter::new(rate(1, HOUR, 2), 1024);
        assert!(limiter.take(&"a").is_ok() && limiter.take(&"a").is_ok());
        assert!(limiter.take(&"a").is_err());
        assert!(limiter.take(&"b").is_ok());
    }

    #[test]
    fn the_wait_is_the_time_to_the_next_refill() {
        let limiter = Limiter::new(rate(60, HOUR, 1), 16);
        limiter.take(&()).unwrap();
        let wait = limiter.take(&()).unwrap_err();
        assert!(
            wait <= Duration::from_secs(60) && wait > Duration::from_secs(50),
            "{wait:?}"
        );
    }

    #[test]
    fn a_rate_reads_as_it_was_meant() {
        let second = Duration::from_secs(1);
        for (rate, text) in [
            (rate(60, 60 * second, 60), "60 in 1m"),
            (rate(5, HOUR, 1), "5 in 1h, 1 at once"),
            (rate(10, 10 * second, 10), "10 in 10s"),
            (rate(3, Duration::from_millis(1500), 3), "3 in 1500ms"),
            (rate(1, Duration::from_millis(20), 1), "1 in 20ms"),
        ] {
            assert_eq!(rate.to_string(), text);
        }
    }
}
