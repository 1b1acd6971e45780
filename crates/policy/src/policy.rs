//! The policies in force: loading, swapping, judging.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use regorus::Value;

use crate::answer;
use crate::decision::{Decision, Effect, Reason, Visible};
use crate::engine::{Evaluator, Failure};
use crate::facts::{Facts, Item};
use crate::input::Words;
use crate::load;
use crate::load::plan::{Plan, Unit};
use crate::method;
use crate::problem::LoadErrors;
use crate::settings::Settings;

/// Policies of which a thread keeps a warm evaluator; more than one only where several are judged side by side.
const MAX_KEPT: usize = 4;

/// The policies in force. Share it by `Arc`; all its methods take `&self`.
pub struct Policy {
    /// Tells the evaluators a thread keeps apart.
    id: u64,
    directories: Vec<PathBuf>,
    settings: Settings,
    current: ArcSwap<Snapshot>,
    /// Held while loading: two reloads at once must not overtake each other.
    loading: Mutex<()>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy")
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// One set of policies that came into force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Counts from 1, by one for each load that changed something.
    pub number: u64,
    /// Content hash of the files.
    pub revision: Arc<str>,
    /// How many policy and data files were read.
    pub files: usize,
    /// Whether this load changed anything.
    pub changed: bool,
}

impl Policy {
    /// Reads, checks and warms all policies under `directories` (recursively: `*.rego`, and `data.json` or `data.yaml`
    /// mounted at their folder; `*_test.rego` are left to [`crate::runner`]).
    ///
    /// # Errors
    /// Every problem found in any file.
    pub fn load(directories: &[PathBuf], settings: &Settings) -> Result<Self, LoadErrors> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        regorus::cache::configure(regorus::cache::Config {
            regex: 4_096,
            glob: 4_096,
        });
        let snapshot = load::load(directories, settings, 1)?;
        Ok(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            directories: directories.to_vec(),
            settings: settings.clone(),
            current: ArcSwap::from_pointee(snapshot),
            loading: Mutex::new(()),
        })
    }

    /// Reads the directories again and, when all is well, puts the result into force at once. Calls being judged
    /// finish under the policies they began with. Blocks for as long as loading takes.
    ///
    /// # Errors
    /// Every problem found; the policies in force stay.
    pub fn reload(&self) -> Result<Generation, LoadErrors> {
        let _alone = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let next = load::load(&self.directories, &self.settings, current.number + 1)?;
        if next.revision == current.revision {
            return Ok(current.generation(false));
        }
        let generation = next.generation(true);
        self.current.store(Arc::new(next));
        Ok(generation)
    }

    /// What is in force.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.current.load().generation(false)
    }

    /// Content hash of the files in force, for audit records.
    #[must_use]
    pub fn revision(&self) -> Arc<str> {
        Arc::clone(&self.current.load().revision)
    }

    /// The rules and data on disk as they are now.
    pub(crate) fn files(&self) -> Result<Vec<load::files::File>, LoadErrors> {
        load::files::read(&self.directories, &self.settings, false)
            .map_err(|problems| LoadErrors { problems })
    }

    /// Judges one call. Synchronous, bounded by twice [`Settings::decision_limit`], without IO; whatever goes wrong is a
    /// refusal. Methods the protocol needs for itself pass unjudged: see [`crate::is_judged`].
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Decision {
        let started = Instant::now();
        let snapshot = self.current.load();
        let (effect, reasons, scopes) = if method::is_judged(facts.phase, facts.method) {
            let once = || {
                let deadline = Instant::now() + self.settings.decision_limit;
                self.with_warm(&snapshot, |warm| warm.judge(facts, deadline))
            };
            // The clock goes on while the thread waits for its turn on a busy machine; a second try tells that from
            // a rule that takes too long.
            let result = match once() {
                Err(failure) if failure == Reason::POLICY_TIMEOUT => once(),
                result => result,
            };
            result.unwrap_or_else(|failure| (Effect::Deny, vec![Reason::ours(failure)], Vec::new()))
        } else {
            (
                Effect::Allow,
                vec![Reason::ours(Reason::PROTOCOL)],
                Vec::new(),
            )
        };
        Decision {
            effect,
            reasons,
            scopes,
            revision: Arc::clone(&snapshot.revision),
            elapsed: started.elapsed(),
        }
    }

    /// Says which items of a list the caller may see, in their order: those that `visible`, `allow` or `approve` hold
    /// for and `deny` does not. What only a missing scope denies is shown to callers that can ask for a token with more of
    /// them, or they would never know to. `facts.phase` is taken as [`crate::Phase::List`]; `facts.subject` and
    /// `facts.arguments` are ignored.
    #[must_use]
    pub fn visible(&self, facts: &Facts<'_>, items: &[Item<'_>]) -> Visible {
        let started = Instant::now();
        let snapshot = self.current.load();
        let (shown, failure) = self
            .with_warm(&snapshot, |warm| {
                warm.visible(facts, items, started + self.settings.list_limit)
            })
            .map_or_else(
                |failure| (vec![false; items.len()], Some(Reason::ours(failure))),
                |shown| (shown, None),
            );
        Visible {
            shown,
            failure,
            revision: Arc::clone(&snapshot.revision),
            elapsed: started.elapsed(),
        }
    }

    /// Lends this thread's evaluator of `snapshot` to `work`. One that failed inside is not used again.
    fn with_warm<T>(
        &self,
        snapshot: &Snapshot,
        work: impl FnOnce(&mut Warm) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        thread_local! {
            static KEPT: RefCell<Vec<(u64, u64, Warm)>> = const { RefCell::new(Vec::new()) };
        }
        KEPT.try_with(|kept| {
            let mut kept = kept.try_borrow_mut().map_err(|_| Reason::POLICY_ERROR)?;
            let found = kept
                .iter()
                .position(|(id, number, _)| (*id, *number) == (self.id, snapshot.number));
            let mut warm = match found {
                Some(index) => kept.swap_remove(index).2,
                None => snapshot.take()?,
            };
            let result = work(&mut warm);
            if !matches!(&result, Err(failure) if *failure == Reason::POLICY_PANIC) {
                kept.retain(|(id, _, _)| *id != self.id);
                if kept.len() >= MAX_KEPT {
                    kept.remove(0);
                }
                kept.push((self.id, snapshot.number, warm));
            }
            result
        })
        .unwrap_or(Err(Reason::POLICY_ERROR))
    }
}

/// Everything one load brought, immutable but for the evaluators waiting to be taken.
#[derive(Debug)]
pub(crate) struct Snapshot {
    number: u64,
    revision: Arc<str>,
    files: usize,
    call: Arc<Plan>,
    list: Arc<Plan>,
    data: Value,
    ready: Mutex<Vec<Warm>>,
}

impl Snapshot {
    pub(crate) fn new(
        number: u64,
        revision: Arc<str>,
        files: usize,
        call: Arc<Plan>,
        list: Arc<Plan>,
        data: Value,
    ) -> Self {
        Self {
            number,
            revision,
            files,
            call,
            list,
            data,
            ready: Mutex::default(),
        }
    }

    /// Leaves evaluators for threads to take.
    pub(crate) fn store(&self, warm: Vec<Warm>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = warm;
    }

    /// Takes an evaluator that waits, or builds one: once per thread and generation.
    fn take(&self) -> Result<Warm, Failure> {
        let waiting = self
            .ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match waiting {
            Some(warm) => Ok(warm),
            None => Warm::build(self).map_err(|error| {
                tracing::error!(
                    error = load::locate::message(&error),
                    "failed to build a policy evaluator"
                );
                Reason::POLICY_ERROR
            }),
        }
    }

    fn generation(&self, changed: bool) -> Generation {
        Generation {
            number: self.number,
            revision: Arc::clone(&self.revision),
            files: self.files,
            changed,
        }
    }
}

/// What is to happen, why, and which scopes would lift a denial.
type Verdict = (Effect, Vec<Reason>, Vec<Arc<str>>);

/// A thread's evaluators and words.
pub(crate) struct Warm {
    call: Evaluator,
    list: Evaluator,
    words: Words,
}

impl std::fmt::Debug for Warm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Warm")
    }
}

impl Warm {
    /// Parses its own copy: threads that share a syntax tree write to the same reference counts at every step.
    pub(crate) fn build(snapshot: &Snapshot) -> Result<Self, String> {
        Ok(Self {
            call: Evaluator::build(&snapshot.call, &snapshot.data)?,
            list: Evaluator::build(&snapshot.list, &snapshot.data)?,
            words: Words::new(),
        })
    }

    /// Runs every set once.
    pub(crate) fn exercise(&mut self, limit: Duration) {
        self.call.warm(Value::new_object(), limit);
        self.list.warm(Value::new_object(), limit);
    }

    fn judge(&mut self, facts: &Facts<'_>, deadline: Instant) -> Result<Verdict, Failure> {
        let input = self
            .words
            .input(facts)
            .map_err(|error| refused_input(&error))?;
        self.call.input(input);
        let denied = self.call.gather(|plan| &plan.deny, deadline)?;
        let denials = answer::denials(&denied).map_err(odd)?;
        if !denials.reasons.is_empty() {
            return Ok((Effect::Deny, denials.reasons, denials.scopes));
        }
        if answer::holds(&self.call.gather(|plan| &plan.obligations, deadline)?) {
            return Err(Reason::OBLIGATION_UNSUPPORTED);
        }
        let asked = self.call.gather(|plan| &plan.approve, deadline)?;
        let (approval, reasons) = answer::approval(&asked).map_err(odd)?;
        if !reasons.is_empty() {
            return Ok((Effect::Approve(approval), reasons, Vec::new()));
        }
        let allowed = self.call.gather(|plan| &plan.allow, deadline)?;
        let reasons = answer::reasons(&allowed, "allowed").map_err(odd)?;
        if !reasons.is_empty() {
            return Ok((Effect::Allow, reasons, Vec::new()));
        }
        Err(Reason::NO_RULE)
    }

    fn visible(
        &mut self,
        facts: &Facts<'_>,
        items: &[Item<'_>],
        deadline: Instant,
    ) -> Result<Vec<bool>, Failure> {
        let shared = self
            .words
            .list(facts)
            .map_err(|error| refused_input(&error))?;
        items
            .iter()
            .map(|item| {
                let input = self
                    .words
                    .item(&shared, item)
                    .map_err(|error| refused_input(&error))?;
                self.list.input(input);
                self.shown(facts.caller.asks_for_scopes, deadline)
            })
            .collect()
    }

    fn shown(&mut self, asks_for_scopes: bool, deadline: Instant) -> Result<bool, Failure> {
        let denied = self.list.gather(|plan| &plan.deny, deadline)?;
        let denials = answer::denials(&denied).map_err(odd)?;
        let lifted = asks_for_scopes && !denials.scopes.is_empty();
        if !denials.reasons.is_empty() && !lifted {
            return Ok(false);
        }
        let showing: [fn(&Plan) -> &[Unit]; 2] = [|plan| &plan.visible, |plan| &plan.allow];
        for units in showing {
            let shown = self.list.gather(units, deadline)?;
            if !answer::reasons(&shown, "allowed").map_err(odd)?.is_empty() {
                return Ok(true);
            }
        }
        let asked = self.list.gather(|plan| &plan.approve, deadline)?;
        Ok(!answer::approval(&asked).map_err(odd)?.1.is_empty())
    }
}

fn refused_input(error: &crate::input::InputError) -> Failure {
    use std::error::Error as _;
    let source = error.source().map(ToString::to_string);
    tracing::warn!(%error, source, "failed to build a policy input");
    Reason::POLICY_ERROR
}

fn odd(what: answer::Odd) -> Failure {
    tracing::warn!(what, "a policy rule answered something of an unknown shape");
    if what == answer::UNDEFINED {
        Reason::POLICY_UNDEFINED
    } else {
        Reason::POLICY_INVALID_RESULT
    }
}

#[cfg(test)]
pub(crate) mod tests;
