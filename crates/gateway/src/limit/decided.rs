//! Rates that decisions name. A policy makes them up as it goes, so they are kept by what they are and not by who uses them.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use keepgate_call::{Principal, ServerName, SessionKey, Tenant};

use super::{KEYS_MOST, Limiter, Rate};

use crate::hash::HashMap;

/// The most different rates; a policy that makes up more has those beyond refused.
const RATES_MOST: usize = 256;

/// Whose calls count together, under the name of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Share {
    /// Of one session: the caller's session key, whatever ids it opens with servers.
    Session(SessionKey),
    /// Of one caller.
    Caller(Principal),
    /// Of all callers of a tenant to one server.
    Server(Tenant, ServerName),
    /// Of one caller to one tool.
    Tool(Principal, ServerName, Arc<str>),
}

/// A rate cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// What is spent of the rates that decisions name.
#[derive(Debug, Default)]
pub struct Decided(RwLock<HashMap<Rate, Arc<Named>>>);

/// One rate, kept apart for every name and share.
type Named = Limiter<(Arc<str>, Share)>;

impl Decided {
    /// Takes one from the limit `name` at `rate`.
    ///
    /// # Errors
    /// [`TooMany`] when there are too many different rates; within, how long to wait until one is there.
    pub fn take(
        &self,
        name: &Arc<str>,
        rate: Rate,
        share: Share,
    ) -> Result<Result<(), Duration>, TooMany> {
        let known = {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            known.get(&rate).cloned()
        };
        let limiter = match known {
            Some(limiter) => limiter,
            None => {
                let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
                if !all.contains_key(&rate) && all.len() >= RATES_MOST {
                    return Err(TooMany);
                }
                let fresh = || Arc::new(Limiter::new(rate, KEYS_MOST));
                Arc::clone(all.entry(rate).or_insert_with(fresh))
            }
        };
        Ok(limiter.take(&(Arc::clone(name), share)))
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, sync::Arc, time::Duration};

    use keepgate_call::{ServerName, Tenant};

    use super::{Decided, RATES_MOST, Rate, Share, TooMany};

    fn rate(seconds: u64) -> Rate {
        let two = NonZeroU32::new(2).unwrap();
        Rate::new(two, Duration::from_secs(3600 + seconds), two).unwrap()
    }

    #[test]
    fn names_rates_and_shares_count_apart() {
        let decided = Decided::default();
        let share = |server| Share::Server(Tenant::new("t"), ServerName::parse(server).unwrap());
        let take = |name: &str, seconds, server| {
            let taken = decided.take(&Arc::from(name), rate(seconds), share(server));
            taken.unwrap().is_ok()
        };
        assert!(take("a", 0, "x") && take("a", 0, "x") && !take("a", 0, "x"));
        assert!(take("b", 0, "x") && take("a", 1, "x") && take("a", 0, "y"));
    }

    #[test]
    fn rates_are_bounded() {
        let decided = Decided::default();
        let share = Share::Server(Tenant::new("t"), ServerName::parse("x").unwrap());
        for seconds in 0..RATES_MOST as u64 {
            let taken = decided.take(&Arc::from("a"), rate(seconds), share.clone());
            assert_eq!(taken, Ok(Ok(())));
        }
        let more = rate(RATES_MOST as u64);
        assert_eq!(decided.take(&Arc::from("a"), more, share), Err(TooMany));
    }
}
