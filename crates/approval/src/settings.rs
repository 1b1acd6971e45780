//! Limits and times of approvals, as the configuration names them.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{ConsoleUrl, Requirement};

/// Settings of approvals; [`Default`] has the documented defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Time a request waits where its rule names none (`approvals.ttl`).
    pub ttl: Duration,
    /// Time a yes may be used where its rule names none (`approvals.valid_for`).
    pub valid_for: Duration,
    /// Time after a no in which the same call is denied at once (`approvals.cooldown`).
    pub cooldown: Duration,
    /// Times for which calls are held (`approvals.hold`).
    pub hold: HoldTimes,
    /// Calls that are held at once (`approvals.held_calls`); beyond it one is answered that it waits.
    pub held_calls: u32,
    /// Of these, of one caller (`approvals.held_calls_per_caller`).
    pub held_calls_per_caller: u32,
    /// Open requests of one caller (`approvals.pending_per_caller`).
    pub pending_per_caller: u32,
    /// Requests of one caller a minute (`approvals.requests_per_minute`).
    pub requests_per_minute: u32,
    /// Operators who cannot be compared with the caller (`approvals.unrelated`).
    pub unrelated: Unrelated,
    /// Targets of notifications (`approvals.notify`).
    pub targets: BTreeSet<Arc<str>>,
    /// The console that answers link to (`admin.public_url`); none where operators have no browser.
    pub console: Option<ConsoleUrl>,
}

/// Times for which a call is held for a decision before it is answered that it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldTimes {
    /// In one round of a call of 2026-07-28 (`approvals.hold.round`); zero for none.
    pub round: Duration,
    /// In all its rounds together (`approvals.hold.total`).
    pub total: Duration,
    /// In the revisions that have sessions (`approvals.hold.stream`); zero for none.
    pub stream: Duration,
}

impl HoldTimes {
    /// No call is held.
    pub const OFF: Self = Self {
        round: Duration::ZERO,
        total: Duration::ZERO,
        stream: Duration::ZERO,
    };
    /// Longest time in one round, and on the stream of a session: clients give up after a minute.
    pub const MAX_ONCE: Duration = Duration::from_secs(50);
    /// Longest time in all rounds: some clients give up after two minutes, whatever comes.
    pub const MAX_TOTAL: Duration = Duration::from_secs(100);
    /// Rounds of one call: clients give up after ten, and a gateway before this one may take one of its own.
    pub const MAX_ROUNDS: u8 = 8;
}

impl Default for HoldTimes {
    fn default() -> Self {
        Self {
            round: Duration::from_secs(20),
            total: Self::MAX_TOTAL,
            stream: Self::MAX_ONCE,
        }
    }
}

/// Whether an operator decides who may be the caller: nothing shows that the two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unrelated {
    /// For requests of low risk only.
    #[default]
    LowRisk,
    /// For all.
    Allow,
}

impl Settings {
    /// Targets that are notified of a request: those its rules name, else all.
    pub(crate) fn targets_of(&self, requirement: &Requirement) -> Vec<Arc<str>> {
        if requirement.notify.is_empty() {
            self.targets.iter().cloned().collect()
        } else {
            requirement.notify.clone()
        }
    }

    /// Longest time a request may wait.
    pub const MAX_TTL: Duration = Duration::from_secs(24 * 60 * 60);
    /// Longest time until the end of a window.
    pub const MAX_WINDOW: Duration = Duration::from_secs(30 * 24 * 60 * 60);
    /// Longest time a yes may be used, but for one with a window.
    pub const MAX_VALID_FOR: Duration = Duration::from_secs(8 * 60 * 60);
    /// Open requests of one tenant: some megabytes for whoever looks through them.
    pub const MAX_PENDING: u32 = 10_000;
    /// Bytes of these in the store.
    pub const MAX_PENDING_BYTES: u64 = 256 * 1024 * 1024;
    /// Of these, of one caller: several have room, whatever one asks for.
    pub const MAX_PENDING_BYTES_PER_CALLER: u64 = Self::MAX_PENDING_BYTES / 8;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(15 * 60),
            valid_for: Duration::from_secs(15 * 60),
            cooldown: Duration::from_secs(10 * 60),
            hold: HoldTimes::default(),
            held_calls: 256,
            held_calls_per_caller: 32,
            pending_per_caller: 20,
            requests_per_minute: 10,
            unrelated: Unrelated::default(),
            targets: BTreeSet::new(),
            console: None,
        }
    }
}
