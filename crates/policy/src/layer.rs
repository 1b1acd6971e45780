//! One layer of policies: judged apart from the others, immutable once loaded.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use regorus::Value;

use crate::answer;
use crate::decision::{Decision, Effect, Reason};
use crate::engine::{Evaluator, Failure};
use crate::facts::{Facts, Item, Phase};
use crate::input::{Document, Part, Wanted, Words};
use crate::load;
use crate::load::files::{self, File};
use crate::load::plan::{Plan, Unit};
use crate::log_rules::OnLog;
use crate::obligations::Obligations;

/// Layers of which a thread keeps a warm evaluator.
const MAX_KEPT: usize = 64;

/// What is to happen, why, which scopes would lift a denial, and what must be done with what is not denied.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) effect: Effect,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) scopes: Vec<Arc<str>>,
    pub(crate) obligations: Option<Box<Obligations>>,
}

impl Verdict {
    pub(crate) fn new(effect: Effect, reasons: Vec<Reason>) -> Self {
        Self {
            effect,
            reasons,
            scopes: Vec::new(),
            obligations: None,
        }
    }

    /// A refusal of ours.
    pub(crate) fn refused(failure: Failure) -> Self {
        Self::new(Effect::Deny, vec![Reason::ours(failure)])
    }

    /// The decision this comes to.
    pub(crate) fn decision(self, revision: &Arc<str>, started: Instant) -> Decision {
        Decision {
            effect: self.effect,
            reasons: self.reasons,
            scopes: self.scopes,
            obligations: self.obligations,
            revision: Arc::clone(revision),
            elapsed: started.elapsed(),
        }
    }

    /// What no rule is asked about.
    pub(crate) fn passed() -> Self {
        Self::new(Effect::Allow, vec![Reason::ours(Reason::PROTOCOL)])
    }
}

/// What is asked when.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) call: Arc<Plan>,
    pub(crate) list: Arc<Plan>,
    pub(crate) connect: Arc<Plan>,
    pub(crate) response: Arc<Plan>,
}

/// Everything one load brought, immutable but for the evaluators waiting to be taken.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Tells the evaluators a thread keeps apart.
    id: u64,
    pub(crate) revision: Arc<str>,
    pub(crate) files: usize,
    pub(crate) wanted: Wanted,
    pub(crate) plans: Plans,
    pub(crate) data: Value,
    /// Which rules on the decision log it has.
    pub(crate) on_log: OnLog,
    /// The parts of the input its rules read.
    pub(crate) reads: Vec<Vec<String>>,
    ready: Mutex<Vec<Warm>>,
}

impl Layer {
    pub(crate) fn new(
        files: &[File],
        plans: Plans,
        wanted: Wanted,
        data: Value,
        on_log: OnLog,
        reads: Vec<Vec<String>>,
    ) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            revision: files::revision(files),
            files: files.len(),
            wanted,
            plans,
            data,
            on_log,
            reads,
            ready: Mutex::default(),
        }
    }

    /// Leaves evaluators for threads to take.
    pub(crate) fn store(&self, warm: Vec<Warm>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = warm;
    }

    /// How many evaluators wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether a rule speaks in this phase at all.
    pub(crate) fn speaks(&self, phase: Phase) -> bool {
        match phase {
            Phase::Connect => !self.plans.connect.is_empty(),
            Phase::Response => !self.plans.response.is_empty(),
            Phase::List | Phase::Call | Phase::ServerRequest => true,
        }
    }

    /// Judges one call, within `limit` for each of two tries. Whatever goes wrong is a refusal.
    pub(crate) fn judge(self: &Arc<Self>, facts: &Facts<'_>, limit: Duration) -> Verdict {
        if !self.speaks(facts.phase) {
            return Verdict::passed();
        }
        self.bounded(limit, |warm, deadline| {
            let document = Document::new(&warm.words, facts);
            warm.evaluators.verdict(facts.phase, document, deadline)
        })
    }

    /// Judges an input that was recorded.
    pub(crate) fn judge_input(
        self: &Arc<Self>,
        phase: Phase,
        input: &Value,
        limit: Duration,
    ) -> Verdict {
        if !self.speaks(phase) {
            return Verdict::passed();
        }
        self.bounded(limit, |warm, deadline| {
            let document = Document::whole(input.clone());
            warm.evaluators.verdict(phase, document, deadline)
        })
    }

    /// Tries twice, within `limit` each.
    fn bounded(
        self: &Arc<Self>,
        limit: Duration,
        judge: impl Fn(&mut Warm, Instant) -> Result<Verdict, Failure>,
    ) -> Verdict {
        let once = || {
            let deadline = Instant::now() + limit;
            self.with_warm(|warm| judge(warm, deadline))
        };
        // The clock goes on while the thread waits for its turn on a busy machine; a second try tells that from
        // a rule that takes too long.
        let result = match once() {
            Err(failure) if failure == Reason::POLICY_TIMEOUT => once(),
            result => result,
        };
        result.unwrap_or_else(Verdict::refused)
    }

    /// Which items of a list are shown.
    pub(crate) fn visible(
        self: &Arc<Self>,
        facts: &Facts<'_>,
        items: &[Item<'_>],
        deadline: Instant,
    ) -> Result<Vec<bool>, Failure> {
        self.with_warm(|warm| warm.visible(facts, items, deadline))
    }

    /// Lends this thread's evaluator to `work`. One that failed inside is not used again.
    pub(crate) fn with_warm<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Warm) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        thread_local! {
            static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
        }
        KEPT.try_with(|kept| {
            let mut kept = kept.try_borrow_mut().map_err(|_| Reason::POLICY_ERROR)?;
            let found = kept.iter().position(|(id, _, _)| *id == self.id);
            let mut warm = match found {
                Some(index) => kept.swap_remove(index).2,
                None => {
                    // Once per thread and layer: the time to let go of what is no longer in force.
                    kept.retain(|(_, layer, _)| layer.strong_count() > 0);
                    Box::new(self.take()?)
                }
            };
            let result = work(&mut warm);
            if !matches!(&result, Err(failure) if *failure == Reason::POLICY_PANIC) {
                if kept.len() >= MAX_KEPT {
                    kept.remove(0);
                }
                kept.push((self.id, Arc::downgrade(self), warm));
            }
            result
        })
        .unwrap_or(Err(Reason::POLICY_ERROR))
    }

    /// Takes an evaluator that waits, or builds one: once per thread and layer.
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
}

/// A thread's evaluators of a layer, by its id; boxed, since they are taken out and put back for each question.
type Kept = (u64, Weak<Layer>, Box<Warm>);

/// A thread's evaluators and words.
pub(crate) struct Warm {
    evaluators: Evaluators,
    words: Words,
}

/// One for each phase that is asked in a way of its own.
struct Evaluators {
    call: Evaluator,
    list: Evaluator,
    /// Only where a rule speaks there.
    connect: Option<Evaluator>,
    response: Option<Evaluator>,
}

impl Evaluators {
    /// What the rules say of a question in this phase.
    fn verdict(
        &mut self,
        phase: Phase,
        document: Document<'_>,
        deadline: Instant,
    ) -> Result<Verdict, Failure> {
        let evaluator = match phase {
            Phase::Connect => self.connect.as_mut(),
            Phase::Response => self.response.as_mut(),
            Phase::List => Some(&mut self.list),
            Phase::Call | Phase::ServerRequest => Some(&mut self.call),
        };
        let Some(evaluator) = evaluator else {
            return Ok(Verdict::passed());
        };
        let mut asked = Asked {
            evaluator,
            document,
            deadline,
        };
        asked.verdict(phase)
    }
}

impl std::fmt::Debug for Warm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Warm")
    }
}

impl Warm {
    /// Parses its own copy: threads that share a syntax tree write to the same reference counts at every step.
    pub(crate) fn build(layer: &Layer) -> Result<Self, String> {
        let (plans, data) = (&layer.plans, &layer.data);
        let spoken = |plan: &Arc<Plan>| {
            (!plan.is_empty())
                .then(|| Evaluator::build(plan, data, layer.wanted))
                .transpose()
        };
        let evaluators = Evaluators {
            call: Evaluator::build(&plans.call, data, layer.wanted)?,
            list: Evaluator::build(&plans.list, data, layer.wanted)?,
            connect: spoken(&plans.connect)?,
            response: spoken(&plans.response)?,
        };
        Ok(Self {
            evaluators,
            words: Words::new(),
        })
    }

    /// Runs every set once.
    pub(crate) fn exercise(&mut self, limit: Duration) {
        let Evaluators {
            call,
            list,
            connect,
            response,
        } = &mut self.evaluators;
        let whole = [call, list].into_iter();
        let spoken = [connect, response].into_iter();
        for evaluator in whole.chain(spoken.flatten()) {
            evaluator.warm(limit);
        }
    }

    fn visible(
        &mut self,
        facts: &Facts<'_>,
        items: &[Item<'_>],
        deadline: Instant,
    ) -> Result<Vec<bool>, Failure> {
        let facts = Facts {
            phase: Phase::List,
            subject: Item::None,
            ..*facts
        };
        let mut asked = Asked {
            evaluator: &mut self.evaluators.list,
            document: Document::new(&self.words, &facts),
            deadline,
        };
        items
            .iter()
            .map(|item| {
                asked.document.about(item);
                asked.shown(facts.caller.asks_for_scopes)
            })
            .collect()
    }
}

/// One question, and whom it is put to.
struct Asked<'a> {
    evaluator: &'a mut Evaluator,
    document: Document<'a>,
    deadline: Instant,
}

impl Asked<'_> {
    fn gather(&mut self, units: &[Unit]) -> Result<Value, Failure> {
        self.evaluator
            .gather(units, &mut self.document, self.deadline)
    }

    /// Asks for one set after the other: deny beats approve beats allow.
    fn verdict(&mut self, phase: Phase) -> Result<Verdict, Failure> {
        // Whether a rule reads them or not: arguments that cannot be judged are sent to nobody.
        let arguments = self.document.part(Part::Arguments);
        arguments.map_err(|error| crate::engine::refused_input(&error))?;
        let plan = self.evaluator.plan();
        let denials = answer::denials(&self.gather(&plan.deny)?).map_err(odd)?;
        if !denials.reasons.is_empty() {
            return Ok(Verdict {
                scopes: denials.scopes,
                ..Verdict::new(Effect::Deny, denials.reasons)
            });
        }
        let obligations = self.obligations(&plan)?;
        let (approval, reasons) = answer::approval(&self.gather(&plan.approve)?).map_err(odd)?;
        if !reasons.is_empty() {
            return Ok(Verdict {
                obligations,
                ..Verdict::new(Effect::Approve(approval), reasons)
            });
        }
        let reasons = match phase {
            // A session is opened, and an answer released, unless a rule says no.
            Phase::Connect | Phase::Response => vec![Reason::ours(Reason::PROTOCOL)],
            Phase::List | Phase::Call | Phase::ServerRequest => {
                answer::reasons(&self.gather(&plan.allow)?, "allowed").map_err(odd)?
            }
        };
        if reasons.is_empty() {
            return Err(Reason::NO_RULE);
        }
        Ok(Verdict {
            obligations,
            ..Verdict::new(Effect::Allow, reasons)
        })
    }

    fn obligations(&mut self, plan: &Plan) -> Result<Option<Box<Obligations>>, Failure> {
        let mut obligations = None;
        for (name, units) in &plan.obligations {
            let set = self.gather(units)?;
            if matches!(&set, Value::Set(entries) if entries.is_empty()) {
                continue;
            }
            let into = obligations.get_or_insert_with(Box::<Obligations>::default);
            answer::obligations::read(name, &set, into).map_err(odd)?;
        }
        Ok(obligations)
    }

    fn shown(&mut self, asks_for_scopes: bool) -> Result<bool, Failure> {
        let plan = self.evaluator.plan();
        let denials = answer::denials(&self.gather(&plan.deny)?).map_err(odd)?;
        let lifted = asks_for_scopes && !denials.scopes.is_empty();
        if !denials.reasons.is_empty() && !lifted {
            return Ok(false);
        }
        let showing: [&[Unit]; 2] = [&plan.visible, &plan.allow];
        for units in showing {
            let shown = answer::reasons(&self.gather(units)?, "allowed").map_err(odd)?;
            if !shown.is_empty() {
                return Ok(true);
            }
        }
        let asked = answer::approval(&self.gather(&plan.approve)?).map_err(odd)?;
        Ok(!asked.1.is_empty())
    }
}

fn odd(what: answer::Odd) -> Failure {
    tracing::warn!(what, "a policy rule answered something of an unknown shape");
    match what {
        answer::UNDEFINED => Reason::POLICY_UNDEFINED,
        answer::obligations::UNSUPPORTED => Reason::OBLIGATION_UNSUPPORTED,
        _ => Reason::POLICY_INVALID_RESULT,
    }
}
