//! Shadow mode: a candidate that is judged beside the policies in force, and decides nothing.
//!
//! It is asked after the decision is made, with bounds of its own, and what it says is only told. A candidate that cannot
//! be loaded leaves the last one where it was; one that fails again and again is left alone for a while, so that it costs
//! calls no more than a few tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::decision::{Decision, Effect, Reason};
use crate::facts::{Facts, Item};
use crate::policy::{Generation, Policy};
use crate::problem::LoadErrors;
use crate::settings::Settings;
use crate::sources::Sources;

/// What one try of the candidate at a decision may take; half of what it may cost a call.
const DECISION_LIMIT: Duration = Duration::from_millis(5);
/// What it may take for one page of a list.
const LIST_LIMIT: Duration = Duration::from_millis(25);
/// Failures in a row after which it is left alone.
const FAILURES: u32 = 3;
/// For how long.
const REST: Duration = Duration::from_secs(30);

/// A candidate beside the policies in force. Share it by `Arc`.
#[derive(Debug)]
pub struct Shadow {
    sources: Sources,
    settings: Settings,
    /// The share of calls it is asked about, in parts of 2^32.
    share: u64,
    candidate: ArcSwapOption<Policy>,
    is_fresh: AtomicBool,
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds after `began`.
    rests_until: AtomicU64,
    began: Instant,
}

/// What the candidate would have done otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Same,
    /// It would have decided otherwise.
    Would(Would),
    /// It failed: an error, a panic, too much time.
    Failed,
}

/// Another decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Would {
    /// What it would have done.
    pub effect: Effect,
    /// The codes it would have done it for.
    pub codes: Vec<Arc<str>>,
    /// Its revision.
    pub revision: Arc<str>,
}

/// How another list would have looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OtherList {
    /// Items it would have shown that are not.
    pub shown: usize,
    /// Items it would have hidden that are shown.
    pub hidden: usize,
}

impl Shadow {
    /// A candidate from `sources`, asked about a share of calls and lists, 0 to 1. Nothing is loaded yet.
    #[must_use]
    pub fn new(sources: Sources, sample: f64) -> Self {
        Self::bounded(sources, sample, DECISION_LIMIT)
    }

    /// The same with another bound on a decision.
    fn bounded(sources: Sources, sample: f64, decision_limit: Duration) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share from 0 to 1 of 2^32"
        )]
        let share = (sample.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
        Self {
            sources,
            settings: Settings {
                decision_limit,
                list_limit: LIST_LIMIT,
                ..Settings::default()
            },
            share,
            candidate: ArcSwapOption::empty(),
            is_fresh: AtomicBool::new(false),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// Reads the candidate, checked like what comes into force. Blocks for as long as that takes.
    ///
    /// # Errors
    /// Every problem found; the last candidate that could be read stays.
    pub fn reload(&self) -> Result<Generation, LoadErrors> {
        self.is_fresh.store(false, Ordering::Relaxed);
        let loaded = match self.candidate.load_full() {
            Some(candidate) => candidate.reload()?,
            None => {
                let candidate = Policy::load(self.sources.clone(), &self.settings)?;
                let generation = candidate.generation();
                self.candidate.store(Some(Arc::new(candidate)));
                generation
            }
        };
        self.is_fresh.store(true, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.rests_until.store(0, Ordering::Relaxed);
        Ok(loaded)
    }

    /// Whether what is tried is what was last read.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh.load(Ordering::Relaxed)
    }

    /// The revision that is tried, if any.
    #[must_use]
    pub fn revision(&self) -> Option<Arc<str>> {
        Some(self.candidate.load().as_ref()?.revision())
    }

    /// What the candidate says to what was decided. `None` when it was not asked.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>, decided: &Decision) -> Option<Beside> {
        let candidate = self.asked(facts.id)?;
        // What it decides is in no log: nobody acted on it.
        let decision = candidate.judge(&Facts { id: "", ..*facts });
        if is_failure(&decision) {
            self.failed();
            return Some(Beside::Failed);
        }
        self.failures.store(0, Ordering::Relaxed);
        if std::mem::discriminant(&decision.effect) == std::mem::discriminant(&decided.effect) {
            return Some(Beside::Same);
        }
        let mut codes: Vec<Arc<str>> = decision
            .reasons
            .into_iter()
            .map(|reason| reason.code)
            .collect();
        codes.dedup();
        Some(Beside::Would(Would {
            effect: decision.effect,
            codes,
            revision: decision.revision,
        }))
    }

    /// How the candidate would have cut a list of which `shown` was shown. `None` when it was not asked, or failed.
    #[must_use]
    pub fn visible(
        &self,
        facts: &Facts<'_>,
        items: &[Item<'_>],
        shown: &[bool],
    ) -> Option<OtherList> {
        let candidate = self.asked(facts.id)?;
        let other = candidate.visible(facts, items);
        if other.failure.is_some() {
            self.failed();
            return None;
        }
        self.failures.store(0, Ordering::Relaxed);
        let mut list = OtherList::default();
        for (was, would) in shown.iter().zip(other.shown) {
            list.shown += usize::from(!was && would);
            list.hidden += usize::from(*was && !would);
        }
        Some(list)
    }

    /// The candidate, where it is to be asked about the call with this id.
    fn asked(&self, id: &str) -> Option<Arc<Policy>> {
        let candidate = self.candidate.load();
        let candidate = candidate.as_ref()?;
        // The end of an id is random (RFC 9562 §5.7), and the same for all decisions on one call.
        let tail = id.len().checked_sub(8).and_then(|start| id.get(start..));
        let drawn = tail.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let is_drawn = u64::from(drawn.unwrap_or(0)) < self.share;
        let rests = self.rests_until.load(Ordering::Relaxed);
        let is_resting = rests > 0 && self.now() < rests;
        (is_drawn && !is_resting).then(|| Arc::clone(candidate))
    }

    fn failed(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        let rest = u64::try_from(REST.as_millis()).unwrap_or(u64::MAX);
        self.rests_until
            .store(self.now().saturating_add(rest).max(1), Ordering::Relaxed);
        tracing::warn!("the shadow policies fail again and again: they are not asked for {REST:?}");
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether it failed rather than spoke.
fn is_failure(decision: &Decision) -> bool {
    const FAILURES: [&str; 6] = [
        Reason::POLICY_UNDEFINED,
        Reason::POLICY_ERROR,
        Reason::POLICY_TIMEOUT,
        Reason::POLICY_PANIC,
        Reason::POLICY_INVALID_RESULT,
        Reason::OBLIGATION_UNSUPPORTED,
    ];
    let failed = |reason: &Reason| FAILURES.contains(&&*reason.code);
    decision.reasons.iter().any(failed)
}

#[cfg(test)]
mod tests;
