//! One evaluator: built, warmed, and asked for one set at a time.
//!
//! The sets are asked for one by one and not through a rule that gathers them: naming a rule from another package
//! costs the interpreter as much as evaluating a small one. What `policies/lib/decision.rego` says in Rego is what
//! [`crate::policy`] does with the answers; a test holds the two together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::value::Set;
use regorus::{Engine, Value};

use crate::decision::Reason;
use crate::functions;
use crate::input::{Document, InputError, Wanted};
use crate::load::brackets;
use crate::load::guard::Guard;
use crate::load::locate;
use crate::load::native::{self, Run, Stop};
use crate::load::plan::{Plan, Then, Unit};
use crate::shadow::{self, Patterns};

/// Steps between two looks at the clock.
const CHECK_INTERVAL: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(31);
/// A rule of ours that needs nothing, to see whether an engine can be prepared.
const PROBE: &str = "package keepgate.probe\nready := true\n";

/// Why a set has no value: a code of ours.
pub(crate) type Failure = &'static str;

/// An evaluator of one plan, owned by one thread at a time.
#[derive(Debug)]
pub(crate) struct Evaluator {
    engine: Engine,
    plan: Arc<Plan>,
    data: Value,
    /// The parts of the input the engine's rules read.
    wanted: Wanted,
    patterns: Patterns,
}

impl Evaluator {
    /// Parses the plan's texts and prepares them. The error is the evaluator's own text, with its place.
    pub(crate) fn build(plan: &Arc<Plan>, data: &Value, wanted: Wanted) -> Result<Self, String> {
        let mut engine = bare()?;
        for (name, text) in &plan.modules {
            engine
                .add_policy(name.clone(), text.to_string())
                .map_err(|error| error.to_string())?;
        }
        engine
            .add_data(data.clone())
            .map_err(|error| error.to_string())?;
        let mut evaluator = Self {
            engine,
            plan: Arc::clone(plan),
            data: data.clone(),
            wanted,
            patterns: Patterns::default(),
        };
        evaluator
            .engine
            .eval_rule("data.keepgate.probe.ready".to_owned())
            .map_err(|error| error.to_string())?;
        Ok(evaluator)
    }

    /// What is asked for.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan)
    }

    /// The entries of a set: whatever its units yield until `deadline`.
    pub(crate) fn gather(
        &mut self,
        units: &[Unit],
        document: &mut Document<'_>,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut found = Set::new();
        for unit in units {
            if !guarded(&unit.guards, document)? {
                continue;
            }
            match &unit.then {
                Then::Entries(entries) => entries.iter().for_each(|entry| {
                    found.insert(entry.clone());
                }),
                Then::Run(rule) => self.run(rule, document, deadline, &mut found)?,
                Then::Ask(rule) => match self.ask(rule, document, deadline)? {
                    Value::Set(entries) => entries.iter().for_each(|entry| {
                        found.insert(entry.clone());
                    }),
                    Value::Undefined => return Err(Reason::POLICY_UNDEFINED),
                    Value::Null
                    | Value::Bool(_)
                    | Value::Number(_)
                    | Value::String(_)
                    | Value::Array(_)
                    | Value::Object(_) => return Err(Reason::POLICY_INVALID_RESULT),
                },
            }
        }
        Ok(Value::Set(Arc::new(found)))
    }

    /// Adds what comes of a rule that needs no engine.
    fn run(
        &mut self,
        rule: &native::Rule,
        document: &mut Document<'_>,
        deadline: Instant,
        found: &mut Set,
    ) -> Result<(), Failure> {
        let mut run = Run {
            input: document,
            data: &self.data,
            patterns: &mut self.patterns,
            deadline,
            steps: 0,
        };
        let add = &mut |entry| {
            found.insert(entry);
        };
        match catch_unwind(AssertUnwindSafe(|| rule.run(&mut run, &[], add))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Stop::Timeout)) => {
                tracing::warn!("policy evaluation ran out of time");
                Err(Reason::POLICY_TIMEOUT)
            }
            Ok(Err(Stop::Input(error))) => Err(refused_input(&error)),
            Ok(Err(Stop::Error(error))) => {
                tracing::warn!(error = locate::message(&error), "policy evaluation failed");
                Err(Reason::POLICY_ERROR)
            }
            Err(_) => {
                tracing::error!("policy evaluator panicked");
                Err(Reason::POLICY_PANIC)
            }
        }
    }

    /// Evaluates a rule until `deadline`.
    pub(crate) fn ask(
        &mut self,
        rule: &str,
        document: &mut Document<'_>,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        if !document.handed {
            let input = document.value(self.wanted);
            self.engine
                .set_input(input.map_err(|error| refused_input(&error))?);
            document.handed = true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Reason::POLICY_TIMEOUT);
        }
        self.engine
            .set_execution_timer_config(ExecutionTimerConfig {
                limit: left,
                check_interval: CHECK_INTERVAL,
            });
        let engine = &mut self.engine;
        match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule.to_owned()))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) if Instant::now() >= deadline => {
                let limit_us = left.as_micros();
                tracing::warn!(rule, limit_us, "policy evaluation ran out of time");
                Err(Reason::POLICY_TIMEOUT)
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                let (line, column) = locate::place(&text);
                let error = locate::message(&text);
                tracing::warn!(rule, line, column, error, "policy evaluation failed");
                Err(Reason::POLICY_ERROR)
            }
            Err(_) => {
                tracing::error!(rule, "policy evaluator panicked");
                Err(Reason::POLICY_PANIC)
            }
        }
    }

    /// Asks for everything once, so that the first call does not pay for what is made on first use.
    pub(crate) fn warm(&mut self, limit: Duration) {
        self.engine.set_input(Value::new_object());
        let plan = Arc::clone(&self.plan);
        let deadline = Instant::now() + limit;
        for unit in plan.units() {
            if let Then::Ask(rule) = &unit.then {
                self.engine
                    .set_execution_timer_config(ExecutionTimerConfig {
                        limit,
                        check_interval: CHECK_INTERVAL,
                    });
                let engine = &mut self.engine;
                // What a rule makes of an empty input is of no interest, only that it was run.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    engine.eval_rule(rule.clone())
                })));
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}

/// Whether all guards hold.
fn guarded(guards: &[Guard], document: &mut Document<'_>) -> Result<bool, Failure> {
    for guard in guards {
        if !guard
            .holds(document)
            .map_err(|error| refused_input(&error))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The failure a call is refused with whose input cannot be built.
pub(crate) fn refused_input(error: &InputError) -> Failure {
    use std::error::Error as _;
    let source = error.source().map(ToString::to_string);
    tracing::warn!(%error, source, "failed to build a policy input");
    Reason::POLICY_ERROR
}

/// An engine with our limits and without rules.
pub(crate) fn bare() -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(brackets::limits());
    // A built-in function given the wrong type must fail, not be undefined: under `not` it would let a call pass.
    engine.set_strict_builtin_errors(true);
    shadow::install(&mut engine)?;
    functions::install(&mut engine)?;
    engine
        .add_policy("keepgate/probe.rego".to_owned(), PROBE.to_owned())
        .map_err(|error| error.to_string())?;
    Ok(engine)
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
