//! `policy test`: the policies' own tests, and their matrix beside the golden one.

use std::path::{Path, PathBuf};

use keepgate_policy::matrix;
use keepgate_policy::runner::{self, Case, Outcome, Report};
use serde::Serialize;

use super::problem::refused;
use super::{chosen, load};
use crate::arguments::TestPolicy;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

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
pub(super) fn run(wish: TestPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let directories = chosen(context, wish.directories)?;
    let report = runner::run(&directories).map_err(|errors| refused(&errors, context))?;
    let pictures = pictures(&directories, wish.update)?;
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
