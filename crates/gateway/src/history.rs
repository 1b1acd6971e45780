//! What sessions did before: the counts policy may ask for, and the labels a session carries.
//!
//! A session here is the caller's session key (who it is, by which client, of which sign-in), whatever ids it opens with
//! servers: a fresh `Mcp-Session-Id` begins no new history. Nothing is counted unless a policy in force reads it. The table
//! is bounded; what has not been used for a day is forgotten, and where nothing can be forgotten a newcomer is refused.

use std::{
    collections::{BTreeSet, hash_map::Entry as MapEntry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use keepgate_call::{Code, Refusal, SessionKey};
use keepgate_policy::{Counts, HistoryFacts, Policy};
use keepgate_transport::memory::{Budget, Charge};

use crate::hash::HashMap;
use crate::shards::{SHARDS, Shards};

/// The most sessions remembered.
const SESSIONS_MOST: usize = 65_536;
/// The most tools counted apart in a session; calls of others count together.
const TOOLS_MOST: usize = 256;
/// The most labels of a session, and their longest.
const LABELS_MOST: usize = 256;
/// Memory of a session's past without its texts, and of a text without its bytes.
const SESSION: usize = 2 * 1024;
const TEXT: usize = 64;
/// A session that rests for so long is forgotten, in seconds.
const FORGOTTEN: u64 = 24 * 3600;

/// A window slides in steps; it holds one step more than it is long, so that nothing within it is forgotten early.
const STEPS: usize = 13;
/// The steps of the three windows, in seconds: a minute, an hour and a day in twelve steps each.
const MINUTE: u64 = 5;
const HOUR: u64 = 300;
const DAY: u64 = 7200;

/// All sessions' pasts.
#[derive(Debug)]
pub struct Histories {
    sessions: Shards<Mutex<HashMap<SessionKey, Entry>>>,
    epoch: Instant,
    memory: Budget,
}

impl Default for Histories {
    fn default() -> Self {
        Self {
            sessions: Shards::default(),
            epoch: Instant::now(),
            memory: Budget::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    used: u64,
    total: Counts,
    minute: Window<MINUTE>,
    hour: Window<HOUR>,
    day: Window<DAY>,
    tools: Vec<(Arc<str>, u64)>,
    /// Calls of tools that are not counted apart.
    other_tools: u64,
    labels: BTreeSet<Arc<str>>,
    /// Memory it is charged for; none where nothing is charged.
    charge: Option<Charge>,
}

impl Entry {
    /// Pays for a text that is about to be kept. `false` when there is no memory left for it.
    fn pays(&mut self, text: &str) -> bool {
        let bytes = text.len().saturating_add(TEXT);
        let charge = self.charge.as_mut();
        charge.is_none_or(|charge| charge.add(bytes).is_ok())
    }
}

/// Counts of the last steps, each of `STEP` seconds.
#[derive(Debug, Default)]
struct Window<const STEP: u64> {
    steps: [(u64, Counts); STEPS],
}

impl<const STEP: u64> Window<STEP> {
    fn add(&mut self, now: u64, counts: &Counts) {
        // Steps count from one: zero is a slot that was never used.
        let step = now / STEP + 1;
        let at = usize::try_from(step % STEPS as u64).unwrap_or_default();
        if let Some(slot) = self.steps.get_mut(at) {
            if slot.0 != step {
                *slot = (step, Counts::NONE);
            }
            add(&mut slot.1, counts);
        }
    }

    fn sum(&self, now: u64) -> Counts {
        let oldest = (now / STEP + 1).saturating_sub(STEPS as u64 - 1);
        let live = self.steps.iter().filter(|(step, _)| *step >= oldest.max(1));
        live.fold(Counts::NONE, |mut sum, (_, counts)| {
            add(&mut sum, counts);
            sum
        })
    }
}

fn add(to: &mut Counts, more: &Counts) {
    to.calls = to.calls.saturating_add(more.calls);
    to.denials = to.denials.saturating_add(more.denials);
    to.bytes_out = to.bytes_out.saturating_add(more.bytes_out);
    to.records_out = to.records_out.saturating_add(more.records_out);
}

/// What a policy is shown of a session's past.
#[derive(Debug, Default)]
pub struct Past {
    total: Counts,
    minute: Counts,
    hour: Counts,
    day: Counts,
    tools: Vec<(Arc<str>, u64)>,
    labels: Vec<Arc<str>>,
}

impl Past {
    /// The counts.
    pub fn facts(&self) -> HistoryFacts<'_> {
        HistoryFacts {
            total: self.total,
            minute: self.minute,
            hour: self.hour,
            day: self.day,
            calls_by_tool: &self.tools,
        }
    }

    /// The labels.
    pub fn labels(&self) -> &[Arc<str>] {
        &self.labels
    }
}

impl Histories {
    /// None yet; they are charged to `memory`.
    pub fn new(memory: &Budget) -> Self {
        Self {
            memory: memory.clone(),
            ..Self::default()
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_secs()
    }

    fn piece(&self, key: &SessionKey) -> MutexGuard<'_, HashMap<SessionKey, Entry>> {
        let piece = self.sessions.of(key);
        piece.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `policy` wants to know of a session's past before a call of `tool`. Costs nothing if it wants nothing.
    pub fn past(&self, policy: &Policy, key: &SessionKey, tool: Option<&str>) -> Past {
        let (counts, labels) = (policy.reads_history(), policy.reads_flow());
        if !counts && !labels {
            return Past::default();
        }
        let now = self.now();
        let piece = self.piece(key);
        let Some(entry) = piece.get(key) else {
            return Past::default();
        };
        let mut past = Past {
            labels: entry.labels.iter().filter(|_| labels).cloned().collect(),
            ..Past::default()
        };
        if counts {
            past.total = entry.total;
            past.minute = entry.minute.sum(now);
            past.hour = entry.hour.sum(now);
            past.day = entry.day.sum(now);
            past.tools.clone_from(&entry.tools);
            // Tools that are counted together are each as much used as all of them.
            let apart = |tool: &str| entry.tools.iter().any(|(known, _)| **known == *tool);
            if let Some(tool) = tool.filter(|tool| entry.other_tools > 0 && !apart(tool)) {
                past.tools.push((tool.into(), entry.other_tools));
            }
        }
        past
    }

    /// Notes a call that is let through.
    ///
    /// # Errors
    /// `overloaded` when the session is new and nobody can be forgotten for it.
    pub fn called(&self, key: &SessionKey, tool: Option<&str>) -> Result<(), Refusal> {
        self.note(key, |entry, now| {
            count(
                entry,
                now,
                &Counts {
                    calls: 1,
                    ..Counts::NONE
                },
            );
            let Some(tool) = tool else { return };
            let room = entry.tools.len() < TOOLS_MOST;
            let known = entry.tools.iter_mut().find(|(known, _)| **known == *tool);
            if let Some((_, calls)) = known {
                *calls = calls.saturating_add(1);
            } else if room && entry.pays(tool) {
                entry.tools.push((tool.into(), 1));
            } else {
                entry.other_tools = entry.other_tools.saturating_add(1);
            }
        })
    }

    /// Notes a call that policy refused. One of a session for which there is no room was refused anyway.
    pub fn denied(&self, key: &SessionKey) {
        let counts = Counts {
            denials: 1,
            ..Counts::NONE
        };
        let _refused_anyway = self.note(key, |entry, now| count(entry, now, &counts));
    }

    /// Notes a result that is released.
    pub fn released(&self, key: &SessionKey, bytes: u64, records: u64) {
        let counts = Counts {
            bytes_out: bytes,
            records_out: records,
            ..Counts::NONE
        };
        // The call was noted before, so the session is there.
        let _known = self.note(key, |entry, now| count(entry, now, &counts));
    }

    /// Adds labels to a session.
    ///
    /// # Errors
    /// `overloaded` when they cannot be kept.
    pub fn label(&self, key: &SessionKey, labels: &BTreeSet<Arc<str>>) -> Result<(), Refusal> {
        let mut kept = true;
        self.note(key, |entry, _| {
            for label in labels {
                kept &= entry.labels.contains(label)
                    || (entry.labels.len() < LABELS_MOST && entry.pays(label));
                if kept {
                    entry.labels.insert(Arc::clone(label));
                }
            }
        })?;
        if kept { Ok(()) } else { Err(full()) }
    }

    /// Forgets what has rested too long.
    pub fn expire(&self) {
        let now = self.now();
        for piece in self.sessions.iter() {
            let mut piece = piece.lock().unwrap_or_else(PoisonError::into_inner);
            piece.retain(|_, entry| now.saturating_sub(entry.used) < FORGOTTEN);
        }
    }

    fn note(&self, key: &SessionKey, note: impl FnOnce(&mut Entry, u64)) -> Result<(), Refusal> {
        let now = self.now();
        let mut piece = self.piece(key);
        if !piece.contains_key(key) && piece.len() >= SESSIONS_MOST / SHARDS {
            return Err(full());
        }
        let entry = match piece.entry(key.clone()) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(place) => {
                let mut charge = self.memory.charge();
                charge.add(SESSION).map_err(|spent| full().source(spent))?;
                place.insert(Entry {
                    charge: Some(charge),
                    ..Entry::default()
                })
            }
        };
        entry.used = now;
        note(entry, now);
        Ok(())
    }
}

fn full() -> Refusal {
    Refusal::new(Code::Overloaded)
        .detail("no session more can be remembered")
        .over("limits.memory")
}

fn count(entry: &mut Entry, now: u64, counts: &Counts) {
    add(&mut entry.total, counts);
    entry.minute.add(now, counts);
    entry.hour.add(now, counts);
    entry.day.add(now, counts);
}

#[cfg(test)]
mod tests {
    use keepgate_policy::Counts;

    use super::{Entry, MINUTE, TOOLS_MOST, Window, count};

    fn calls(calls: u64) -> Counts {
        Counts {
            calls,
            ..Counts::NONE
        }
    }

    #[test]
    fn a_window_forgets_what_is_older_and_nothing_younger() {
        for begin in 0..120 {
            let mut window = Window::<MINUTE>::default();
            window.add(begin, &calls(1));
            for later in 0..200 {
                let seen = window.sum(begin + later).calls;
                if later < 60 {
                    assert_eq!(seen, 1, "{begin} + {later}");
                }
                if later >= 60 + MINUTE {
                    assert_eq!(seen, 0, "{begin} + {later}");
                }
            }
        }
    }

    #[test]
    fn a_slot_that_comes_round_begins_anew() {
        let mut window = Window::<MINUTE>::default();
        for second in 0..10_000 {
            window.add(second, &calls(1));
            assert!(window.sum(second).calls <= 65);
        }
        assert!(window.sum(9_999).calls >= 60);
    }

    #[test]
    fn every_count_is_in_every_window() {
        let mut entry = Entry::default();
        count(&mut entry, 7, &calls(3));
        for counts in [
            entry.total,
            entry.minute.sum(7),
            entry.hour.sum(7),
            entry.day.sum(7),
        ] {
            assert_eq!(counts, calls(3));
        }
        assert!(entry.tools.len() < TOOLS_MOST);
    }
}
