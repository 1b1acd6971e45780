//! `policy check` and `policy test`: the policies alone, as they would come into force.

use std::path::{Path, PathBuf};

use keepgate_policy::runner::{self, Case, Outcome, Report};
use keepgate_policy::{LoadErrors, Settings, matrix};
use serde::Serialize;

use super::Context;
use crate::arguments::{Directories, Policy};
use crate::exit::Exit;
use crate::failure::Failure;

/// `policy ..`.
pub(super) fn run(command: Policy, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Policy::Check(directories) => check(&chosen(context, directories)?, context),
        Policy::Test {
            directories,
            update,
        } => test(&chosen(context, directories)?, update, context),
    }
}

/// The directories named, else those of the configuration.
fn chosen(context: &Context<'_>, named: Directories) -> Result<Vec<PathBuf>, Failure> {
    if !named.directories.is_empty() {
        return Ok(named.directories);
    }
    let configuration = context.configuration();
    let failed =
        |failure: Failure| failure.hint("name the directories to do without a configuration");
    Ok(configuration.map_err(failed)?.policies)
}

/// Loads policies as the gateway does.
pub(super) fn load(directories: &[PathBuf]) -> Result<keepgate_policy::Policy, Failure> {
    // One evaluator is enough to find out whether they can be built.
    let settings = Settings {
        workers: 1,
        // Nobody waits for a call here, and a busy machine must not change what is found.
        decision_limit: std::time::Duration::from_secs(2),
        ..Settings::default()
    };
    keepgate_policy::Policy::load(directories, &settings).map_err(|errors| invalid(&errors))
}

/// Everything that is wrong with the policies.
fn invalid(errors: &LoadErrors) -> Failure {
    let count = errors.problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    let list: String = errors
        .problems
        .iter()
        .map(|problem| format!("{problem}\n\n"))
        .collect();
    Failure::new(
        Exit::Policy,
        format!("{list}{count} {noun} in the policies"),
    )
}

/// What a check found.
#[derive(Serialize)]
struct Checked {
    files: usize,
    revision: String,
}

/// `policy check`.
fn check(directories: &[PathBuf], context: &mut Context<'_>) -> Result<(), Failure> {
    let generation = load(directories)?.generation();
    let checked = Checked {
        files: generation.files,
        revision: generation.revision.to_string(),
    };
    let text = |checked: &Checked| {
        format!(
            "policies ok: {} files, revision {}\n",
            checked.files, checked.revision
        )
    };
    Ok(context.output.print(&checked, text)?)
}

/// What the tests came to.
#[derive(Serialize)]
struct Tested {
    passed: bool,
    revision: String,
    milliseconds: u128,
    tests: Vec<Test>,
    matrices: Vec<Picture>,
}

/// One test.
#[derive(Serialize)]
struct Test {
    file: String,
    line: u32,
    name: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prints: Vec<String>,
}

/// One matrix beside its golden picture.
#[derive(Serialize)]
struct Picture {
    file: String,
    golden: String,
    outcome: &'static str,
    #[serde(skip)]
    difference: String,
}

impl Picture {
    /// Whether the picture is as it was accepted.
    fn is_right(&self) -> bool {
        matches!(self.outcome, "same" | "updated")
    }
}

/// `policy test`.
fn test(directories: &[PathBuf], update: bool, context: &mut Context<'_>) -> Result<(), Failure> {
    let report = runner::run(directories).map_err(|errors| invalid(&errors))?;
    let pictures = pictures(directories, update)?;
    let passed = report.is_success() && pictures.iter().all(Picture::is_right);
    let tested = Tested {
        passed,
        revision: report.revision.to_string(),
        milliseconds: report.elapsed.as_millis(),
        tests: report.cases.iter().map(tested_case).collect(),
        matrices: pictures,
    };
    context
        .output
        .print(&tested, |tested| text(tested, &report))?;
    if passed {
        Ok(())
    } else {
        Err(Failure::told(Exit::Negative))
    }
}

fn tested_case(case: &Case) -> Test {
    let (outcome, error) = match &case.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed => ("failed", None),
        Outcome::Error(error) => ("error", Some(error.clone())),
        Outcome::Skipped => ("skipped", None),
    };
    Test {
        file: case.file.display().to_string(),
        line: case.line,
        name: format!("{}.{}", case.package, case.name),
        outcome,
        error,
        prints: case.prints.clone(),
    }
}

/// Draws every matrix and compares it with, or writes it over, its golden file.
fn pictures(directories: &[PathBuf], update: bool) -> Result<Vec<Picture>, Failure> {
    let found = matrix::find(directories);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let policy = load(directories)?;
    found
        .iter()
        .map(|path| picture(&policy, path, update))
        .collect()
}

fn picture(
    policy: &keepgate_policy::Policy,
    path: &Path,
    update: bool,
) -> Result<Picture, Failure> {
    let compared = matrix::compare(policy, path).map_err(|error| {
        let failure = Failure::caused(Exit::Policy, &error);
        Failure::new(
            Exit::Policy,
            format!("{}: {}", path.display(), failure.report()),
        )
    })?;
    let outcome = match (compared.matches(), update, &compared.expected) {
        (true, _, _) => "same",
        (false, true, _) => {
            std::fs::write(&compared.golden, &compared.drawn).map_err(|error| {
                Failure::new(
                    Exit::State,
                    format!("failed to write `{}`: {error}", compared.golden.display()),
                )
            })?;
            "updated"
        }
        (false, false, Some(_)) => "differs",
        (false, false, None) => "missing",
    };
    Ok(Picture {
        file: path.display().to_string(),
        golden: compared.golden.display().to_string(),
        outcome,
        difference: difference(
            compared.expected.as_deref().unwrap_or_default(),
            &compared.drawn,
        ),
    })
}

/// The lines that differ, expected with `-`, found with `+`.
fn difference(expected: &str, drawn: &str) -> String {
    let (mut old, mut new) = (expected.lines(), drawn.lines());
    let mut text = String::new();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return text,
            (left, right) if left == right => {}
            (left, right) => {
                let signed = [("-", left), ("+", right)];
                let lines = signed
                    .into_iter()
                    .filter_map(|(sign, line)| Some(format!("    {sign} {}\n", line?)));
                text.extend(lines);
            }
        }
    }
}

fn text(tested: &Tested, report: &Report) -> String {
    let mut text = String::new();
    for case in &tested.tests {
        if !matches!(case.outcome, "failed" | "error") {
            continue;
        }
        text.push_str(&format!(
            "{}:{}: {}: {}\n",
            case.file, case.line, case.outcome, case.name
        ));
        for line in case.error.iter().chain(&case.prints) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    for picture in &tested.matrices {
        let remark = match picture.outcome {
            "differs" => "differs from the golden matrix, accept it with --update",
            "missing" => "has no golden matrix, make it with --update",
            other => other,
        };
        text.push_str(&format!("{}: {remark}\n", picture.golden));
        if !picture.is_right() {
            text.push_str(&picture.difference);
        }
    }
    let count = |outcome: fn(&Outcome) -> bool| report.count(outcome);
    text.push_str(&format!(
        "{}: {} passed, {} failed, {} skipped in {} ms\n",
        if tested.passed { "ok" } else { "FAILED" },
        count(|outcome| *outcome == Outcome::Passed),
        count(|outcome| matches!(outcome, Outcome::Failed | Outcome::Error(_))),
        count(|outcome| *outcome == Outcome::Skipped),
        tested.milliseconds
    ));
    text
}
