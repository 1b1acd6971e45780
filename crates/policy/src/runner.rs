//! Running a policy's own tests: rules named `test_*` in files named `*_test.rego`.
//!
//! A test passes when its value is defined and not `false`; a test that yields an object or a set passes when it is
//! not empty and none of its values is `false`. `todo_test_*` is counted and not run. Tests see the authors' sets as
//! `data.mcp.authz` and what they come to as `data.mcp.decision.decision` and `data.mcp.decision.shown`; a set the
//! policy does not declare is empty. `print(..)` is kept with its test.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::engine;
use crate::load::files::{self, File, Kind, LIBRARY};
use crate::load::survey::{self, Site};
use crate::load::{self, check, locate};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;

/// Longest a single test may take.
const TEST_LIMIT: Duration = Duration::from_secs(5);

/// What running all tests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every test, in order of file and line.
    pub cases: Vec<Case>,
    /// Content hash of the policy tested, as [`crate::Policy::revision`] gives it.
    pub revision: Arc<str>,
    /// Time spent in all tests.
    pub elapsed: Duration,
}

impl Report {
    /// How many tests ended so.
    #[must_use]
    pub fn count(&self, outcome: fn(&Outcome) -> bool) -> usize {
        self.cases
            .iter()
            .filter(|case| outcome(&case.outcome))
            .count()
    }

    /// Whether no test failed. No test at all is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.cases
            .iter()
            .all(|case| matches!(case.outcome, Outcome::Passed | Outcome::Skipped))
    }
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The file it is in.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: u32,
    /// Its package, for instance `mcp.authz_test`.
    pub package: String,
    /// Its name.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it printed, each with file and line.
    pub prints: Vec<String>,
    /// Time it took.
    pub elapsed: Duration,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It was undefined, false or empty.
    Failed,
    /// It could not be evaluated; the text says why and where.
    Error(String),
    /// It is named `todo_test_*`.
    Skipped,
}

/// Runs all tests under `directories`, with the bounds of [`Settings::default`].
///
/// # Errors
/// Every problem found in the policy or its tests.
pub fn run(directories: &[PathBuf]) -> Result<Report, LoadErrors> {
    let settings = Settings::default();
    let read = files::read(directories, &settings, true).map_err(LoadErrors::new)?;
    let revision = files::revision(&read);
    let place = directories
        .first()
        .cloned()
        .unwrap_or_else(|| PathBuf::from("."));
    let (mut engine, sites) = load::aside(&place, settings.load_limit, move || prepare(&read))
        .map_err(LoadErrors::new)?;
    let started = Instant::now();
    let cases = declared(&sites)
        .into_iter()
        .map(|site| case(&mut engine, site))
        .collect();
    Ok(Report {
        cases,
        revision,
        elapsed: started.elapsed(),
    })
}

/// Builds an engine with everything a test may see.
fn prepare(read: &[File]) -> Result<(Engine, Vec<Site>), Vec<Problem>> {
    // First as it would come into force, then with the tests: a policy that cannot be loaded cannot be tested.
    let in_force: Vec<File> = read
        .iter()
        .filter(|file| file.kind != Kind::Tests)
        .cloned()
        .collect();
    let sites = load::check_files(&in_force, false)?.sites;
    let mut all = read.to_vec();
    all.push(shipped("keepgate/decision.rego", LIBRARY.to_owned()));
    empty_sets(&mut all, &sites);
    let checked = load::check_files(&all, true)?;
    let failed = |error: String| vec![load::prepare_problem(&all, &error)];
    let mut engine = engine::bare().map_err(failed)?;
    for file in all
        .iter()
        .filter(|file| matches!(file.kind, Kind::Rules | Kind::Tests))
    {
        engine
            .add_policy(file.path.display().to_string(), file.text.to_string())
            .map_err(|error| failed(error.to_string()))?;
    }
    engine
        .add_data(checked.data)
        .map_err(|error| failed(error.to_string()))?;
    engine.set_gather_prints(true);
    engine
        .eval_rule("data.keepgate.probe.ready".to_owned())
        .map_err(|error| failed(error.to_string()))?;
    Ok((engine, checked.sites))
}

fn shipped(name: &str, text: String) -> File {
    File {
        path: PathBuf::from(name),
        mount: Vec::new(),
        kind: Kind::Rules,
        text: text.into(),
    }
}

/// Gives the sets a policy does not declare a rule that never holds, so that they are empty and not undefined. The
/// rules go to the end of a file that is there: one more file would keep tests from importing a package of one.
fn empty_sets(files: &mut Vec<File>, sites: &[Site]) {
    let ours: Vec<&Site> = sites
        .iter()
        .filter(|site| site.package.join(".") == check::PACKAGE)
        .collect();
    let missing = |name: &&str| {
        !ours
            .iter()
            .any(|site| site.name.first().is_some_and(|first| first == name))
    };
    let rules: String = check::DECISIONS
        .into_iter()
        .filter(missing)
        .map(|name| format!("\n{name} contains \"never\" if false\n"))
        .collect();
    match files
        .iter_mut()
        .find(|file| ours.first().is_some_and(|site| site.file == file.path))
    {
        Some(file) => file.text = format!("{}\n{rules}", file.text).into(),
        None => files.push(shipped(
            "keepgate/sets.rego",
            format!("package {}\n{rules}", check::PACKAGE),
        )),
    }
}

/// The tests, each once, in order of file and line.
fn declared(sites: &[Site]) -> Vec<&Site> {
    let mut seen = BTreeSet::new();
    let is_test = |site: &Site| {
        let name = site.name.first().map_or("", String::as_str);
        is_test_file(&site.file) && (name.starts_with("test_") || name.starts_with("todo_test_"))
    };
    let mut tests: Vec<&Site> = sites
        .iter()
        .filter(|site| is_test(site) && seen.insert(site.node()))
        .collect();
    tests.sort_by_key(|site| (&site.file, site.line));
    tests
}

fn is_test_file(path: &Path) -> bool {
    path.to_string_lossy().ends_with("_test.rego")
}

fn case(engine: &mut Engine, site: &Site) -> Case {
    let name = site.name.first().cloned().unwrap_or_default();
    let started = Instant::now();
    let outcome = if name.starts_with("todo_") {
        Outcome::Skipped
    } else {
        outcome(engine, site, &name)
    };
    Case {
        file: site.file.clone(),
        line: site.line,
        package: site.package.join("."),
        name,
        outcome,
        prints: engine.take_prints().unwrap_or_default(),
        elapsed: started.elapsed(),
    }
}

fn outcome(engine: &mut Engine, site: &Site, name: &str) -> Outcome {
    engine.set_execution_timer_config(ExecutionTimerConfig {
        limit: TEST_LIMIT,
        check_interval: std::num::NonZeroU32::MIN.saturating_add(31),
    });
    engine.set_input(Value::new_object());
    let rule = survey::node(&site.package, name);
    match catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule))) {
        Ok(Ok(value)) if passes(&value) => Outcome::Passed,
        Ok(Ok(_)) => Outcome::Failed,
        Ok(Err(error)) => {
            let text = error.to_string();
            let (line, column) = locate::place(&text);
            Outcome::Error(format!("{line}:{column}: {}", locate::message(&text)))
        }
        Err(_) => Outcome::Error("the evaluator panicked".to_owned()),
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

#[cfg(test)]
mod tests;
