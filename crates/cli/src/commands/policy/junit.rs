//! Test results as JUnit XML, the form build servers read. A case of a test whose cases are data is a test case of its
//! own, named `test_x[case]`.

use std::collections::BTreeMap;

use keepgate_policy::runner::{Case, Outcome, Report};

use super::matrix::Picture;

/// One test case as the form has it.
struct Entry {
    name: String,
    file: String,
    line: u32,
    seconds: f64,
    verdict: Verdict,
    output: String,
}

/// How it ended.
enum Verdict {
    Passed,
    Skipped,
    /// The element's name, what happened in a word, and all there is to say.
    Bad(&'static str, String, String),
}

/// The whole document.
pub(super) fn xml(report: &Report, pictures: &[Picture]) -> String {
    let mut suites: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for case in &report.cases {
        let suite = suites.entry(case.package.clone()).or_default();
        suite.extend(entries(case));
    }
    if !pictures.is_empty() {
        suites.insert("matrix".to_owned(), pictures.iter().map(picture).collect());
    }
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"keepgate policy test\">\n",
    );
    for (name, entries) in &suites {
        text.push_str(&suite(name, entries));
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(name: &str, entries: &[Entry]) -> String {
    let count = |wanted: &str| {
        let bad =
            |entry: &&Entry| matches!(&entry.verdict, Verdict::Bad(kind, _, _) if *kind == wanted);
        entries.iter().filter(bad).count()
    };
    let skipped = entries
        .iter()
        .filter(|entry| matches!(entry.verdict, Verdict::Skipped));
    let seconds: f64 = entries.iter().map(|entry| entry.seconds).sum();
    let mut text = format!(
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{seconds:.6}\">\n",
        escaped(name),
        entries.len(),
        count("failure"),
        count("error"),
        skipped.count(),
    );
    for entry in entries {
        text.push_str(&element(name, entry));
    }
    text.push_str("  </testsuite>\n");
    text
}

fn element(suite: &str, entry: &Entry) -> String {
    let mut text = format!(
        "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.6}\"",
        escaped(suite),
        escaped(&entry.name),
        escaped(&entry.file),
        entry.line,
        entry.seconds
    );
    let mut inner = match &entry.verdict {
        Verdict::Passed => String::new(),
        Verdict::Skipped => "      <skipped/>\n".to_owned(),
        Verdict::Bad(kind, message, more) => format!(
            "      <{kind} message=\"{}\">{}</{kind}>\n",
            escaped(message),
            escaped(more)
        ),
    };
    if !entry.output.is_empty() {
        inner.push_str(&format!(
            "      <system-out>{}</system-out>\n",
            escaped(&entry.output)
        ));
    }
    if inner.is_empty() {
        text.push_str("/>\n");
    } else {
        text.push_str(&format!(">\n{inner}    </testcase>\n"));
    }
    text
}

/// A test, or each of its cases.
fn entries(case: &Case) -> Vec<Entry> {
    let place = format!("{}:{}", case.file.display(), case.line);
    let entry = |name: String, verdict| Entry {
        name,
        file: case.file.display().to_string(),
        line: case.line,
        seconds: case.elapsed.as_secs_f64(),
        verdict,
        output: case.prints.join("\n"),
    };
    let failed = || Verdict::Bad("failure", "it does not hold".to_owned(), place.clone());
    let verdict = match &case.outcome {
        Outcome::Passed => Verdict::Passed,
        Outcome::Skipped => Verdict::Skipped,
        Outcome::Failed => failed(),
        Outcome::Error(error) => Verdict::Bad("error", error.clone(), format!("{place}: {error}")),
    };
    if case.parts.is_empty() {
        return vec![entry(case.name.clone(), verdict)];
    }
    let count = case.parts.len();
    let part = |(index, part): (usize, &keepgate_policy::runner::Part)| {
        let verdict = if part.passed {
            Verdict::Passed
        } else {
            failed()
        };
        let mut entry = entry(format!("{}[{}]", case.name, part.name), verdict);
        // The cases are evaluated together: what they took and printed is told once.
        if index + 1 < count {
            entry.seconds = 0.0;
            entry.output.clear();
        }
        entry
    };
    case.parts.iter().enumerate().map(part).collect()
}

fn picture(picture: &Picture) -> Entry {
    let verdict = if picture.is_right() {
        Verdict::Passed
    } else {
        Verdict::Bad(
            "failure",
            format!("{} {}", picture.golden, picture.outcome),
            picture.difference.clone(),
        )
    };
    Entry {
        name: picture.golden.clone(),
        file: picture.file.clone(),
        line: 1,
        seconds: 0.0,
        verdict,
        output: String::new(),
    }
}

/// Text as XML 1.0 can hold it, in elements and attributes: what it cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push_str(&format!("&#{};", u32::from(letter))),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
