//! One test: running it, and finding the cases it went through when they are data.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::{Case, Outcome, Part};
use crate::load::files::File;
use crate::load::locate;
use crate::load::survey::{self, Site};
use crate::settings::Settings;

/// Longest a single test may take: it may make many decisions.
const TEST_LIMIT: Duration = Duration::from_secs(5);
/// What the names of rules begin with that tell the cases of a test.
const TELLS: &str = "keepgate_cases_";

/// Adds, for each test whose cases are data, a rule that goes through the cases and asks nothing of them. It stands at
/// the end of the test's own file, so that it sees what the test sees.
pub(super) fn tell(files: &mut [File], sites: &[Site]) {
    for site in sites {
        let (Some(cases), Some(name)) = (&site.style.cases, site.name.first()) else {
            continue;
        };
        let Some(file) = files.iter_mut().find(|file| file.path == site.file) else {
            continue;
        };
        let (key, line) = (&cases.key, site.line);
        let statements = cases.statements.join("\n\t");
        file.text = format!(
            "{}\n\n{TELLS}{name} contains [{line}, [{key} |\n\t{statements}\n]]\n",
            file.text
        )
        .into();
    }
}

/// Runs one test.
pub(super) fn run(engine: &mut Engine, site: &Site) -> Case {
    let name = site.name.first().cloned().unwrap_or_default();
    let started = Instant::now();
    let (outcome, parts, prints) = if name.starts_with("todo_") {
        (Outcome::Skipped, Vec::new(), Vec::new())
    } else {
        let node = survey::node(&site.package, &name);
        let (outcome, parts, prints) = if let Some(expected) = &site.style.expects {
            let outcome = fails(engine, &node, expected);
            (
                outcome,
                Vec::new(),
                engine.take_prints().unwrap_or_default(),
            )
        } else {
            let value = ask(engine, &node, TEST_LIMIT).map_err(|failure| failure.text);
            let prints = engine.take_prints().unwrap_or_default();
            let (outcome, parts) = judged(engine, site, &name, value);
            (outcome, parts, prints)
        };
        (outcome, parts, prints)
    };
    Case {
        file: site.file.clone(),
        line: site.line,
        package: site.package.join("."),
        name,
        outcome,
        parts,
        prints,
        elapsed: started.elapsed(),
    }
}

/// Whether a test fails as it expects: by an error, or by taking longer than a decision may.
fn fails(engine: &mut Engine, node: &str, expected: &str) -> Outcome {
    let limit = match expected {
        "policy_error" => TEST_LIMIT,
        "policy_timeout" => Settings::default().decision_limit,
        _ => {
            let why = format!("`expect` is `policy_error` or `policy_timeout`, not `{expected}`");
            return Outcome::Error(why);
        }
    };
    match ask(engine, node, limit) {
        Err(failure) if failure.late == (expected == "policy_timeout") => Outcome::Passed,
        Err(failure) => Outcome::Error(failure.text),
        Ok(_) => Outcome::Failed,
    }
}

/// What a value says of its test, and of each of its cases.
fn judged(
    engine: &mut Engine,
    site: &Site,
    name: &str,
    value: Result<Value, String>,
) -> (Outcome, Vec<Part>) {
    let value = match value {
        Ok(value) => value,
        Err(error) => return (Outcome::Error(error), Vec::new()),
    };
    let outcome = if passes(&value) {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    if site.style.cases.is_none() {
        return (outcome, Vec::new());
    }
    let told = ask(
        engine,
        &survey::node(&site.package, &format!("{TELLS}{name}")),
        TEST_LIMIT,
    );
    // What goes through the cases printed it all again.
    drop(engine.take_prints());
    let told = match told {
        Ok(told) => told,
        Err(failure) => return (Outcome::Error(failure.text), Vec::new()),
    };
    let mut parts: BTreeMap<String, bool> = BTreeMap::new();
    for key in keys(&told) {
        if parts.insert(word(key), false).is_some() {
            let error = format!(
                "two cases are called `{}`, and one may hide the other",
                word(key)
            );
            return (Outcome::Error(error), Vec::new());
        }
    }
    for (key, held) in yielded(&value) {
        parts.insert(word(key), held);
    }
    let failed = parts.is_empty() || parts.values().any(|held| !held);
    let outcome = if failed { Outcome::Failed } else { outcome };
    let part = |(name, passed)| Part { name, passed };
    (outcome, parts.into_iter().map(part).collect())
}

/// The keys that the telling rule found: a set of `[line, [key, ..]]`.
fn keys(told: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    let entries = told.as_set().map(|set| set.iter().collect::<Vec<_>>());
    for entry in entries.unwrap_or_default() {
        let list = entry.as_array().ok().and_then(|pair| pair.get(1));
        if let Some(list) = list.and_then(|list| list.as_array().ok()) {
            found.extend(list.iter());
        }
    }
    found
}

/// The cases a test yielded, and whether they held.
fn yielded(value: &Value) -> Vec<(&Value, bool)> {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key, *value != Value::Bool(false)))
            .collect(),
        Value::Set(set) => set.iter().map(|key| (key, true)).collect(),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Undefined => Vec::new(),
    }
}

/// A key as people read it.
fn word(key: &Value) -> String {
    match key {
        Value::String(text) => text.to_string(),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Set(_)
        | Value::Object(_)
        | Value::Undefined => key.to_string(),
    }
}

/// The failure of a rule.
struct Failure {
    /// Reason and place.
    text: String,
    /// Whether it took too long.
    late: bool,
}

/// Evaluates a rule for at most `limit`.
fn ask(engine: &mut Engine, rule: &str, limit: Duration) -> Result<Value, Failure> {
    let deadline = Instant::now() + limit;
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit,
        check_interval: std::num::NonZeroU32::MIN.saturating_add(31),
    });
    engine.set_input(Value::new_object());
    match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule.to_owned()))) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            let text = error.to_string();
            let place = locate::arrow(&text).map_or(String::new(), |place| format!("{place}: "));
            Err(Failure {
                text: format!("{place}{}", locate::message(&text)),
                late: Instant::now() >= deadline,
            })
        }
        Err(_) => Err(Failure {
            text: "the evaluator panicked".to_owned(),
            late: false,
        }),
    }
}

fn passes(value: &Value) -> bool {
    match value {
        Value::Undefined | Value::Bool(false) => false,
        Value::Object(object) => {
            !object.is_empty() && object.values().all(|value| *value != Value::Bool(false))
        }
        Value::Set(set) => !set.is_empty() && set.iter().all(|value| *value != Value::Bool(false)),
        Value::Null | Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            true
        }
    }
}
