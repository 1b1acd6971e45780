//! `approvals`: how long requests wait, how long a yes may be used, and what one caller may ask.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use keepgate_approval::{HoldTimes, Settings, Unrelated};

use crate::config::decode::{At, Decode, Fields, choice, written};
use crate::config::document::Node;
use crate::config::fault::Faults;
use crate::config::notify::RawTarget;

use super::standard;

/// `approvals`.
#[derive(Debug)]
pub(crate) struct Approvals {
    pub(crate) ttl: At<Duration>,
    pub(crate) valid_for: At<Duration>,
    pub(crate) cooldown: Duration,
    pub(crate) hold: Hold,
    pub(crate) held_calls: NonZeroUsize,
    pub(crate) held_calls_per_caller: NonZeroUsize,
    pub(crate) pending_per_caller: NonZeroUsize,
    pub(crate) requests_per_minute: NonZeroUsize,
    pub(crate) unrelated: Unrelated,
    pub(crate) notify: BTreeMap<String, At<RawTarget>>,
}

impl Decode for Approvals {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["tools", "slack"]);
        let defaults = Settings::default();
        let count = |count: u32| {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
        };
        let approvals = Self {
            ttl: fields.or("ttl", standard("approvals.ttl", defaults.ttl)),
            valid_for: fields.or(
                "valid_for",
                standard("approvals.valid_for", defaults.valid_for),
            ),
            cooldown: fields.or("cooldown", defaults.cooldown),
            hold: fields.section("hold")?,
            held_calls: fields.or("held_calls", count(defaults.held_calls)),
            held_calls_per_caller: fields.or(
                "held_calls_per_caller",
                count(defaults.held_calls_per_caller),
            ),
            pending_per_caller: fields.or("pending_per_caller", count(defaults.pending_per_caller)),
            requests_per_minute: fields
                .or("requests_per_minute", count(defaults.requests_per_minute)),
            unrelated: fields.or("unrelated", defaults.unrelated),
            notify: fields.or("notify", BTreeMap::new()),
        };
        fields.finish();
        Some(approvals)
    }
}

/// `approvals.hold`: times, or `off` for none.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) round: At<Duration>,
    pub(crate) total: At<Duration>,
    pub(crate) stream: At<Duration>,
}

impl Hold {
    fn of(times: HoldTimes) -> Self {
        Self {
            round: standard("approvals.hold.round", times.round),
            total: standard("approvals.hold.total", times.total),
            stream: standard("approvals.hold.stream", times.stream),
        }
    }
}

impl Decode for Hold {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        if written(node) == Some("off") {
            return Some(Self::of(HoldTimes::OFF));
        }
        let defaults = Self::of(HoldTimes::default());
        let mut fields = Fields::new(node, path, faults)?;
        let hold = Self {
            round: fields.or("round", defaults.round),
            total: fields.or("total", defaults.total),
            stream: fields.or("stream", defaults.stream),
        };
        fields.finish();
        Some(hold)
    }
}

impl Decode for Unrelated {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = [("low_risk", Self::LowRisk), ("allow", Self::Allow)];
        choice(node, path, faults, &words, &[])
    }
}
