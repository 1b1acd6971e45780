//! One evaluator: built, warmed, and asked for one set at a time.
//!
//! The sets are asked for one by one and not through a rule that gathers them: naming a rule from another package
//! costs the interpreter as much as evaluating a small one. What `policies/lib/decision.rego` says in Rego is what
//! [`crate::policy`] does with the answers; a test holds the two together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::decision::Reason;
use crate::load::brackets;
use crate::load::locate;
use crate::shadow;

/// Steps between two looks at the clock.
const CHECK_INTERVAL: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(31);
/// A rule of ours that needs nothing, to see whether an engine can be prepared.
const PROBE: &str = "package keepgate.probe\nready := true\n";

/// The texts one evaluator is made from, and which of the sets they declare.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// File names and texts.
    pub(crate) modules: Vec<(String, Arc<str>)>,
    pub(crate) allow: bool,
    pub(crate) approve: bool,
    pub(crate) deny: bool,
    pub(crate) visible: bool,
    /// Obligations declared.
    pub(crate) obligations: Vec<&'static str>,
}

/// Why a set has no value: a code of ours.
pub(crate) type Failure = &'static str;

/// An evaluator of one plan, owned by one thread at a time.
#[derive(Debug)]
pub(crate) struct Evaluator {
    engine: Engine,
    plan: Arc<Plan>,
}

impl Evaluator {
    /// Parses the plan's texts and prepares them. The error is the evaluator's own text, with its place.
    pub(crate) fn build(plan: &Arc<Plan>, data: &Value) -> Result<Self, String> {
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
        };
        evaluator
            .engine
            .eval_rule("data.keepgate.probe.ready".to_owned())
            .map_err(|error| error.to_string())?;
        Ok(evaluator)
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Sets what the next questions are about.
    pub(crate) fn input(&mut self, input: Value) {
        self.engine.set_input(input);
    }

    /// Evaluates `data.mcp.authz.<name>` until `deadline`.
    pub(crate) fn ask(&mut self, name: &str, deadline: Instant) -> Result<Value, Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Reason::POLICY_TIMEOUT);
        }
        self.engine
            .set_execution_timer_config(ExecutionTimerConfig {
                limit: left,
                check_interval: CHECK_INTERVAL,
            });
        let rule = format!("data.mcp.authz.{name}");
        let engine = &mut self.engine;
        match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) if Instant::now() >= deadline => {
                tracing::warn!(
                    rule = name,
                    limit_us = left.as_micros(),
                    "policy evaluation ran out of time"
                );
                Err(Reason::POLICY_TIMEOUT)
            }
            Ok(Err(error)) => {
                let text = error.to_string();
                let (line, column) = locate::place(&text);
                tracing::warn!(
                    rule = name,
                    line,
                    column,
                    error = locate::message(&text),
                    "policy evaluation failed"
                );
                Err(Reason::POLICY_ERROR)
            }
            Err(_) => {
                tracing::error!(rule = name, "policy evaluator panicked");
                Err(Reason::POLICY_PANIC)
            }
        }
    }

    /// Runs every declared set once, so that the first call does not pay for what is made on first use.
    pub(crate) fn warm(&mut self, input: Value, limit: Duration) {
        self.input(input);
        let plan = Arc::clone(&self.plan);
        let sets = [
            ("deny", plan.deny),
            ("approve", plan.approve),
            ("allow", plan.allow),
            ("visible", plan.visible),
        ];
        for (name, _) in sets.into_iter().filter(|(_, declared)| *declared) {
            let deadline = Instant::now() + limit;
            let engine = &mut self.engine;
            engine.set_execution_timer_config(ExecutionTimerConfig {
                limit,
                check_interval: CHECK_INTERVAL,
            });
            // What a rule makes of an empty input is of no interest, only that it was run.
            drop(catch_unwind(AssertUnwindSafe(|| {
                engine.eval_rule(format!("data.mcp.authz.{name}"))
            })));
            if Instant::now() >= deadline {
                return;
            }
        }
    }
}

/// An engine with our limits and without rules.
pub(crate) fn bare() -> Result<Engine, String> {
    let mut engine = Engine::new();
    engine.set_policy_length_config(brackets::limits());
    // A built-in function given the wrong type must fail, not be undefined: under `not` it would let a call pass.
    engine.set_strict_builtin_errors(true);
    shadow::install(&mut engine)?;
    engine
        .add_policy("keepgate/probe.rego".to_owned(), PROBE.to_owned())
        .map_err(|error| error.to_string())?;
    Ok(engine)
}
