//! The runner, on the shipped policies and on tests that go wrong.

use super::*;
use crate::policy::tests::{folder, starter};

#[test]
fn the_shipped_policies_pass_their_tests() {
    let report = run(&[starter()]).unwrap_or_else(|errors| panic!("{errors}"));
    for case in &report.cases {
        assert_eq!(
            case.outcome,
            Outcome::Passed,
            "{}:{} {}",
            case.file.display(),
            case.line,
            case.name
        );
    }
    assert!(report.cases.len() >= 18, "{}", report.cases.len());
}

#[test]
fn every_outcome_is_told_with_its_place() {
    let folder = folder(&[
        (
            "a.rego",
            "package mcp.authz\n\nallow contains \"x\" if input.tool.name == \"x\"\n",
        ),
        (
            "a_test.rego",
            "package mcp.authz_test\n\nimport data.mcp.authz\n\n\
             test_passes if \"x\" in authz.allow with input as {\"tool\": {\"name\": \"x\"}}\n\
             test_fails if \"x\" in authz.allow with input as {\"tool\": {\"name\": \"y\"}}\n\
             test_breaks if lower(5) == \"5\"\n\
             todo_test_later if false\n\
             test_cases[name] := result if {\n  some name, want in {\"x\": true, \"y\": false}\n  print(\"case\", name)\n  \
             result := want\n}\n",
        ),
    ]);
    let report = run(&[folder.path().to_owned()]).unwrap_or_else(|errors| panic!("{errors}"));
    let told: Vec<_> = report
        .cases
        .iter()
        .map(|case| {
            let outcome = match &case.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "failed",
                Outcome::Error(text) => text.as_str(),
                Outcome::Skipped => "skipped",
            };
            format!(
                "{} {} {outcome} {}",
                case.line,
                case.name,
                case.prints.len()
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "5 test_passes passed 0",
            "6 test_fails failed 0",
            "7 test_breaks 7:22: `lower` expects string argument. Got `5` instead 0",
            "8 todo_test_later skipped 0",
            "9 test_cases failed 2",
        ]
    );
    assert!(!report.is_success());
    assert_eq!(report.count(|outcome| *outcome == Outcome::Failed), 2);
}

#[test]
fn a_policy_that_cannot_be_loaded_is_not_tested() {
    let folder = folder(&[
        ("a.rego", "package mcp.authz\nallow := true\n"),
        ("a_test.rego", "package t\n\ntest_x if true\n"),
    ]);
    let errors = run(&[folder.path().to_owned()]).unwrap_err();
    assert!(
        errors.to_string().contains("`allow` must be a set"),
        "{errors}"
    );
}
