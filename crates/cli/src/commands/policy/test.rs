//! `policy test`: the policies' own tests, and their matrix beside the golden one.

use std::path::PathBuf;

use keepgate_policy::runner::{self, Case, Options, Outcome, Report};
use serde::Serialize;

use super::coverage::{self, Covered};
use super::matrix::{self, Picture};
use super::problem::refused;
use super::{junit, layers, tested, watch};
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
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<Covered>,
}

/// One test.
#[derive(Serialize)]
struct Test {
    file: String,
    line: u32,
    name: String,
    outcome: &'static str,
    milliseconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cases: Vec<Part>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prints: Vec<String>,
}

/// One case of a test whose cases are data.
#[derive(Serialize)]
struct Part {
    name: String,
    passed: bool,
}

/// `policy test`.
pub(super) fn run(wish: TestPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let layers = layers(context, wish.directories)?;
    let options = Options {
        filter: wish.filter,
        coverage: wish.coverage || wish.threshold.is_some(),
    };
    let round = Round {
        options,
        update: wish.update,
        junit: wish.junit,
        threshold: wish.threshold,
    };
    if wish.watch {
        let directories: Vec<PathBuf> = layers.concat();
        return watch::run(directories, context, |context| round.run(&layers, context));
    }
    round.run(&layers, context)
}

/// One run of all tests.
struct Round {
    options: Options,
    update: bool,
    junit: Option<PathBuf>,
    threshold: Option<u8>,
}

impl Round {
    fn run(&self, layers: &[Vec<PathBuf>], context: &mut Context<'_>) -> Result<(), Failure> {
        let report = tested(layers, &self.options).map_err(|errors| refused(&errors, context))?;
        let mut pictures = Vec::new();
        for directories in layers {
            pictures.extend(matrix::pictures(directories, self.update)?);
        }
        if let Some(path) = &self.junit {
            write(path, &junit::xml(&report, &pictures))?;
        }
        let nothing = report.cases.is_empty() && pictures.is_empty();
        let covered = report.coverage.as_ref().map(Covered::from);
        let short = covered
            .as_ref()
            .and_then(|covered| covered.short_of(self.threshold));
        let passed = report.is_success()
            && pictures.iter().all(Picture::is_right)
            && short.is_none()
            && !nothing;
        let tested = Tested {
            passed,
            revision: report.revision.to_string(),
            milliseconds: report.elapsed.as_millis(),
            tests: report.cases.iter().map(test).collect(),
            matrices: pictures,
            coverage: covered,
        };
        context.output.print(&tested, |tested| {
            let mut text = text(tested, &report);
            if nothing {
                text.push_str(nothing_found(&self.options));
            }
            text.extend(short.iter().map(|short| format!("{short}\n")));
            text
        })?;
        if passed {
            Ok(())
        } else {
            Err(Failure::told(Exit::Negative))
        }
    }
}

/// Why nothing was tested: a folder that was moved must not look well tested.
fn nothing_found(options: &Options) -> &'static str {
    if options.filter.is_some() {
        "no test matches the filter\n"
    } else {
        "no test found\n  hint: tests are rules named `test_*` in files named `*_test.rego`\n"
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| {
        Failure::new(
            Exit::State,
            format!("failed to write `{}`: {error}", path.display()),
        )
    })
}

fn test(case: &Case) -> Test {
    let (outcome, error) = match &case.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Failed => ("failed", None),
        Outcome::Error(error) => ("error", Some(error.clone())),
        Outcome::Skipped => ("skipped", None),
    };
    let part = |part: &runner::Part| Part {
        name: part.name.clone(),
        passed: part.passed,
    };
    Test {
        file: case.file.display().to_string(),
        line: case.line,
        name: format!("{}.{}", case.package, case.name),
        outcome,
        milliseconds: case.elapsed.as_secs_f64() * 1_000.0,
        error,
        cases: case.parts.iter().map(part).collect(),
        prints: case.prints.clone(),
    }
}

fn text(tested: &Tested, report: &Report) -> String {
    let mut text = String::new();
    let bad = |test: &&Test| matches!(test.outcome, "failed" | "error");
    for test in tested.tests.iter().filter(bad) {
        text.push_str(&format!(
            "{}:{}: {}: {}\n",
            test.file, test.line, test.outcome, test.name
        ));
        let failed = test.cases.iter().filter(|part| !part.passed);
        let failed: Vec<&str> = failed.map(|part| part.name.as_str()).collect();
        for name in &failed {
            text.push_str(&format!("    case failed: {name}\n"));
        }
        if !test.cases.is_empty() {
            let well = test.cases.len() - failed.len();
            text.push_str(&format!(
                "    {well} of {} cases passed\n",
                test.cases.len()
            ));
        }
        for line in test.error.iter().chain(&test.prints) {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text.extend(tested.matrices.iter().map(matrix::told));
    text.extend(tested.coverage.as_ref().map(coverage::told));
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
