//! The acts of kills that are in the audit log, and those that are not: a gateway may end between an act and its record, and
//! an act's time may be over while none runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Kill, Ledger, locked};

/// An act of a kill that goes on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// It was set.
    Set,
    /// It was ended, by somebody or by its time.
    Cleared,
}

/// The acts of one kill that are on record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Acts(u8);

impl Acts {
    /// Reads the form of the database.
    pub(crate) const fn from_bits(bits: i64) -> Self {
        Self((bits & 0b11) as u8)
    }

    /// The form of the database.
    pub(crate) fn bits(self) -> i64 {
        self.0.into()
    }

    /// Both together.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn of(act: Act) -> Self {
        Self(match act {
            Act::Set => 0b01,
            Act::Cleared => 0b10,
        })
    }

    pub(super) const fn contains(self, act: Act) -> bool {
        self.0 & Self::of(act).0 != 0
    }
}

impl Ledger {
    /// Notes that an act is on record; the database learns of it later.
    pub fn recorded(&self, id: &str, act: Act) {
        if let Some(page) = locked(&self.book).get_mut(id) {
            page.recorded = page.recorded.and(Acts::of(act));
        }
    }

    /// The acts that are not known to be on record and were not done within the last `age`, oldest first.
    pub fn unrecorded(&self, age: Duration) -> Vec<(Arc<Kill>, Act)> {
        let now = Instant::now();
        let old = |at: Instant| age.is_zero() || now.saturating_duration_since(at) > age;
        let mut found: Vec<(Arc<Kill>, Act)> = locked(&self.book)
            .values()
            .flat_map(|page| {
                // The end of its time is an act of nobody: it is as old as that.
                let ended = match &page.kill.cleared {
                    Some(_) => Some(page.changed),
                    None => page.kill.deadline.filter(|deadline| *deadline <= now),
                };
                let acts = [(Act::Set, Some(page.changed)), (Act::Cleared, ended)];
                let old = acts.into_iter().filter(|(_, at)| at.is_some_and(old));
                old.filter(|(act, _)| !page.recorded.contains(*act))
                    .map(|(act, _)| (Arc::clone(&page.kill), act))
            })
            .collect();
        found.sort_by_key(|(kill, act)| (kill.set_at, *act));
        found
    }
}
