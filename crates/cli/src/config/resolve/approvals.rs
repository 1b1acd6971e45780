//! Times of approvals, held to their bounds.

use std::num::NonZeroUsize;
use std::time::Duration;

use keepgate_approval::{HoldTimes, Settings};

use super::Resolver;
use crate::config::Admin;
use crate::config::decode::At;
use crate::config::raw::approvals::Approvals;

impl Resolver<'_> {
    /// The settings of approvals.
    pub(super) fn approvals(&mut self, raw: &Approvals, admin: Option<&Admin>) -> Settings {
        let count = |count: NonZeroUsize| u32::try_from(count.get()).unwrap_or(u32::MAX);
        Settings {
            ttl: self.at_most(&raw.ttl, Settings::MAX_TTL, "24h"),
            valid_for: self.at_most(&raw.valid_for, Settings::MAX_VALID_FOR, "8h"),
            cooldown: raw.cooldown,
            hold: HoldTimes {
                round: self.at_most(&raw.hold.round, HoldTimes::MAX_ONCE, "50s"),
                total: self.at_most(&raw.hold.total, HoldTimes::MAX_TOTAL, "100s"),
                stream: self.at_most(&raw.hold.stream, HoldTimes::MAX_ONCE, "50s"),
            },
            held_calls: count(raw.held_calls),
            held_calls_per_caller: count(raw.held_calls_per_caller),
            pending_per_caller: count(raw.pending_per_caller),
            requests_per_minute: count(raw.requests_per_minute),
            unrelated: raw.unrelated,
            targets: raw.notify.keys().map(|name| name.as_str().into()).collect(),
            console: admin.and_then(|admin| admin.public_url.clone()),
        }
    }

    pub(super) fn at_most(&mut self, time: &At<Duration>, bound: Duration, name: &str) -> Duration {
        if time.value > bound {
            self.faults
                .push(time.fault(format!("the longest is {name}")));
        }
        time.value
    }
}
