//! `policy coverage`: which rules never held in any test, and which lines were never reached.

use std::collections::BTreeSet;

use keepgate_policy::coverage::{Coverage, FileCoverage, percent};
use keepgate_policy::runner::Options;
use serde::Serialize;

use super::problem::refused;
use super::{layers, tested};
use crate::arguments::CoveragePolicy;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::table;

/// What tests went through.
#[derive(Serialize)]
pub(super) struct Covered {
    /// The lesser of both below, in hundredths, rounded down.
    percent: u8,
    lines: Share,
    rules: Share,
    files: Vec<File>,
}

/// So many of so many.
#[derive(Serialize, Clone, Copy)]
struct Share {
    covered: usize,
    all: usize,
}

impl Share {
    fn percent(self) -> u8 {
        percent((self.covered, self.all))
    }

    fn told(self) -> String {
        format!("{:>3} % ({} of {})", self.percent(), self.covered, self.all)
    }
}

impl From<(usize, usize)> for Share {
    fn from((covered, all): (usize, usize)) -> Self {
        Self { covered, all }
    }
}

/// What tests went through of one file.
#[derive(Serialize)]
struct File {
    file: String,
    lines: Share,
    rules: Share,
    /// Rules that never held.
    never: Vec<Never>,
    /// Lines that were never reached.
    missed: Vec<u32>,
}

/// A rule that never held.
#[derive(Serialize)]
struct Never {
    line: u32,
    rule: String,
}

impl From<&FileCoverage> for File {
    fn from(file: &FileCoverage) -> Self {
        let never = file.rules.iter().filter(|rule| !rule.held);
        Self {
            file: file.file.display().to_string(),
            lines: file.lines().into(),
            rules: file.rules().into(),
            never: never
                .map(|rule| Never {
                    line: rule.line,
                    rule: rule.name.clone(),
                })
                .collect(),
            missed: file.missed.iter().copied().collect(),
        }
    }
}

impl From<&Coverage> for Covered {
    fn from(coverage: &Coverage) -> Self {
        Self {
            percent: coverage.percent(),
            lines: coverage.lines().into(),
            rules: coverage.rules().into(),
            files: coverage.files.iter().map(File::from).collect(),
        }
    }
}

impl Covered {
    /// What is said when it is less than was asked for.
    pub(super) fn short_of(&self, threshold: Option<u8>) -> Option<String> {
        let wanted = threshold.filter(|wanted| self.percent < *wanted)?;
        Some(format!(
            "covered {} %, and {wanted} % were asked for",
            self.percent
        ))
    }
}

/// `policy coverage`.
pub(super) fn run(wish: CoveragePolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let layers = layers(context, wish.directories)?;
    let options = Options {
        coverage: true,
        ..Options::default()
    };
    let report = tested(&layers, &options).map_err(|errors| refused(&errors, context))?;
    let covered = Covered::from(&report.coverage.clone().unwrap_or_default());
    let short = covered.short_of(wish.threshold);
    let failed = !report.is_success();
    context.output.print(&covered, |covered| {
        let mut text = told(covered);
        text.extend(short.iter().map(|short| format!("{short}\n")));
        if failed {
            text.push_str("some tests failed: see `keepgate policy test`\n");
        }
        text
    })?;
    if short.is_none() && !failed {
        Ok(())
    } else {
        Err(Failure::told(Exit::Negative))
    }
}

/// Coverage as a person reads it.
pub(super) fn told(covered: &Covered) -> String {
    let mut text = String::new();
    for file in &covered.files {
        for never in &file.never {
            text.push_str(&format!(
                "{}:{}: never held: {}\n",
                file.file, never.line, never.rule
            ));
        }
        let heads: BTreeSet<u32> = file.never.iter().map(|never| never.line).collect();
        let missed = file.missed.iter().filter(|line| !heads.contains(line));
        for range in ranges(missed.copied()) {
            text.push_str(&format!("{}:{range}: never reached\n", file.file));
        }
    }
    let row = |file: &File| [file.file.clone(), file.lines.told(), file.rules.told()];
    let mut rows: Vec<[String; 3]> = covered.files.iter().map(row).collect();
    rows.push(["all".to_owned(), covered.lines.told(), covered.rules.told()]);
    text.push_str(&table(["file", "lines", "rules"], &rows));
    text
}

/// Lines in order as `3` and `5-9`.
fn ranges(lines: impl Iterator<Item = u32>) -> Vec<String> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for line in lines {
        match found.last_mut() {
            Some((_, last)) if last.saturating_add(1) == line => *last = line,
            Some(_) | None => found.push((line, line)),
        }
    }
    let told = |(first, last): &(u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    found.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn lines_in_a_row_are_told_together() {
        assert_eq!(ranges([3, 5, 6, 7, 9].into_iter()), ["3", "5-7", "9"]);
        assert!(ranges(std::iter::empty()).is_empty());
    }
}
