//! Running a policy's own tests: rules named `test_*` in files named `*_test.rego`.
//!
//! A test passes when its value is defined and not `false`; a test that yields an object or a set passes when it is
//! not empty and none of its values is `false`. A test whose cases are data (`test_x[note] if { some note, tc in
//! cases; .. }`) is told case by case: a case that was gone through and yields nothing failed. `todo_test_*` is counted
//! and not run. Tests see the authors' sets as `data.mcp.authz` and what they come to as
//! `data.mcp.decision.decision` and `data.mcp.decision.shown`; a set the policy does not declare is empty.
//! `print(..)` is kept with its test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;
use regorus::Engine;

use crate::coverage::{Coverage, Marks};
use crate::engine;
use crate::load::files::{self, File, Kind, LIBRARY};
use crate::load::rewrite::rewrite;
use crate::load::survey::Site;
use crate::load::{self, check};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;

mod case;

/// How tests are run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which tests are run; all when there is none.
    pub filter: Option<Filter>,
    /// Whether it is kept what the tests went through.
    pub coverage: bool,
}

/// Chooses tests by their package and name, `mcp.authz_test.test_reads`.
#[derive(Debug, Clone)]
pub struct Filter(Regex);

/// A filter that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("not a regular expression")]
pub struct FilterError(#[source] regex::Error);

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Regex::new(text).map(Self).map_err(FilterError)
    }
}

impl Filter {
    fn chooses(&self, site: &Site) -> bool {
        let name = site.name.first().map_or("", String::as_str);
        self.0
            .is_match(&format!("{}.{name}", site.package.join(".")))
    }
}

/// What running all tests came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every test, in order of file and line.
    pub cases: Vec<Case>,
    /// Content hash of the policy tested, as [`crate::Policy::revision`] gives it.
    pub revision: Arc<str>,
    /// Time spent in all tests.
    pub elapsed: Duration,
    /// What the tests went through, when it was asked for.
    pub coverage: Option<Coverage>,
}

impl Report {
    /// Both, one behind the other: the layers of a policy are tested apart.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.cases.extend(other.cases);
        self.elapsed += other.elapsed;
        self.revision = format!("{}+{}", self.revision, other.revision).into();
        self.coverage = match (self.coverage, other.coverage) {
            (Some(mut one), Some(other)) => {
                one.files.extend(other.files);
                Some(one)
            }
            (one, other) => one.or(other),
        };
        self
    }

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
    /// Its cases, when they are data; a case is its key and whether it held.
    pub parts: Vec<Part>,
    /// What it printed, each with file and line.
    pub prints: Vec<String>,
    /// Time it took.
    pub elapsed: Duration,
}

/// One case of a test whose cases are data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the test calls it.
    pub name: String,
    /// Whether it held.
    pub passed: bool,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It held.
    Passed,
    /// It was undefined, false or empty, or one of its cases was.
    Failed,
    /// It could not be evaluated; the text says why and where.
    Error(String),
    /// It is named `todo_test_*`.
    Skipped,
}

/// Runs tests under `directories`, with the bounds of [`Settings::default`].
///
/// # Errors
/// Every problem found in the policy or its tests.
pub fn run(directories: &[PathBuf], options: &Options) -> Result<Report, LoadErrors> {
    let settings = Settings::default();
    let read = files::read(directories, &settings, true).map_err(LoadErrors::new)?;
    let revision = files::revision(&read);
    let place = directories
        .first()
        .cloned()
        .unwrap_or_else(|| PathBuf::from("."));
    let covering = options.coverage;
    let mut prepared = load::aside(&place, settings.load_limit, move || {
        prepare(&read, covering)
    })
    .map_err(LoadErrors::new)?;
    let chosen = |site: &&Site| {
        options
            .filter
            .as_ref()
            .is_none_or(|filter| filter.chooses(site))
    };
    let started = Instant::now();
    let cases = declared(&prepared.sites)
        .into_iter()
        .filter(chosen)
        .map(|site| case::run(&mut prepared.engine, site))
        .collect();
    Ok(Report {
        cases,
        revision,
        elapsed: started.elapsed(),
        coverage: prepared.marks.map(|marks| marks.report(&prepared.engine)),
    })
}

/// An engine with everything a test may see.
struct Prepared {
    engine: Engine,
    sites: Vec<Site>,
    marks: Option<Marks>,
}

/// Builds the engine. What is checked are the files as they are; what is run has the rules in force marked, when
/// `covering`, and rules of our own that tell the cases of tests.
fn prepare(read: &[File], covering: bool) -> Result<Prepared, Vec<Problem>> {
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
    let mut telling = all.clone();
    case::tell(&mut telling, &checked.sites);
    let marks = covering.then(|| Marks::set(&mut telling, &in_force));
    let marks = marks.transpose().map_err(&failed)?;
    let mut sites = checked.sites;
    let mut engine = match build(&telling, &checked.data, marks.as_ref()) {
        Ok(engine) => engine,
        Err(error) if covering => return Err(failed(error)),
        // What is wrong then is wrong with the tests, or with the rules that would tell their cases.
        Err(_) => {
            sites.iter_mut().for_each(|site| site.style.cases = None);
            build(&all, &checked.data, None).map_err(failed)?
        }
    };
    engine.set_enable_coverage(covering);
    engine.set_gather_prints(true);
    Ok(Prepared {
        engine,
        sites,
        marks,
    })
}

fn build(files: &[File], data: &regorus::Value, marks: Option<&Marks>) -> Result<Engine, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let mut engine = engine::bare()?;
    if let Some(marks) = marks {
        marks.install(&mut engine)?;
    }
    let rules = files
        .iter()
        .filter(|file| matches!(file.kind, Kind::Rules | Kind::Tests));
    for file in rules {
        let name = file.path.display().to_string();
        let rewritten = rewrite(&name, &file.text)?;
        engine
            .add_policy(name, rewritten.to_string())
            .map_err(|error| text(&error))?;
    }
    engine
        .add_data(data.clone())
        .map_err(|error| text(&error))?;
    engine
        .eval_rule("data.keepgate.probe.ready".to_owned())
        .map_err(|error| text(&error))?;
    Ok(engine)
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

#[cfg(test)]
mod tests;
