//! The runner, on the shipped policies and on tests that go wrong.

use super::*;
use crate::policy::tests::{folder, starter};

#[test]
fn the_shipped_policies_pass_their_tests() {
    let library = starter().join("../lib");
    let report =
        run(&[starter(), library], &Options::default()).unwrap_or_else(|errors| panic!("{errors}"));
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
fn a_test_may_expect_to_fail() {
    let folder = folder(&[
        (
            "a.rego",
            "package mcp.authz\n\nallow contains \"x\" if lower(input.arguments.path) == \"x\"\n",
        ),
        (
            "a_test.rego",
            "package mcp.authz_test\n\nimport data.mcp.authz\n\n\
             # METADATA\n# custom:\n#   expect: policy_error\n\
             test_errs if authz.allow with input.arguments.path as 5\n\
             # METADATA\n# custom:\n#   expect: policy_error\n\
             test_does_not if authz.allow with input.arguments.path as \"x\"\n\
             # METADATA\n# custom:\n#   expect: policy_timeout\n\
             test_late if count([1 | some a in numbers.range(1, 9000); some b in numbers.range(1, 9000); a == b]) == 1\n\
             # METADATA\n# custom:\n#   expect: policy_timeout\n\
             test_errs_early if lower(input.arguments.x) == \"x\" with input.arguments.x as 5\n\
             # METADATA\n# custom:\n#   expect: policy_eror\n\
             test_misspelt if true\n",
        ),
    ]);
    let report = run(&[folder.path().to_owned()], &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let told: Vec<_> = report
        .cases
        .iter()
        .map(|case| match &case.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Error(_) => "error",
            Outcome::Skipped => "skipped",
        })
        .collect();
    assert_eq!(told, ["passed", "failed", "passed", "error", "error"]);
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
    let report = run(&[folder.path().to_owned()], &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let told: Vec<_> = report
        .cases
        .iter()
        .map(|case| {
            let outcome = match &case.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed => "failed",
                Outcome::Error(text) => text.rsplit('/').next().unwrap(),
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
            "7 test_breaks a_test.rego:7:21: `lower`: argument 1 must be a text 0",
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
    let errors = run(&[folder.path().to_owned()], &Options::default()).unwrap_err();
    assert!(
        errors.to_string().contains("`allow` must be a set"),
        "{errors}"
    );
}

fn told(tests: &str) -> Vec<String> {
    let rules = "package mcp.authz\n\nallow contains \"x\" if input.tool.name == \"x\"\n";
    let tests = format!("package mcp.authz_test\n\nimport data.mcp.authz\n\n{tests}\n");
    let folder = folder(&[("a.rego", rules), ("a_test.rego", &tests)]);
    let report = run(&[folder.path().to_owned()], &Options::default())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let case = |case: &Case| {
        let parts = case.parts.iter().map(|part| {
            let sign = if part.passed { '+' } else { '-' };
            format!("{sign}{}", part.name)
        });
        format!(
            "{} {:?} {}",
            case.name,
            case.outcome,
            parts.collect::<Vec<_>>().join(" ")
        )
    };
    report.cases.iter().map(case).collect()
}

#[test]
fn a_test_whose_cases_are_data_is_told_case_by_case() {
    for (tests, expected) in [
        (
            "test_all[note] if {\n\tsome note, tc in {\"a\": \"x\", \"b\": \"y\"}\n\t\"x\" in authz.allow with input.tool.name as tc\n}",
            "test_all Failed +a -b",
        ),
        (
            "test_all contains tc.note if {\n\tsome tc in [{\"note\": \"a\", \"tool\": \"x\"}, {\"note\": \"b\", \"tool\": \"x\"}]\n\t\"x\" in authz.allow with input.tool.name as tc.tool\n}",
            "test_all Passed +a +b",
        ),
        (
            "test_all[note] := held if {\n\tsome note, tc in {\"a\": \"x\", \"b\": \"y\"}\n\theld := tc == \"x\"\n}",
            "test_all Failed +a -b",
        ),
        (
            "cases := {\"read\": {\"good\": \"x\"}, \"write\": {\"good\": \"x\", \"bad\": \"y\"}}\n\ntest_all[note] if {\n\tsome group, list in cases\n\tsome name, tool in list\n\tnote := sprintf(\"%s/%s\", [group, name])\n\ttool == \"x\"\n}",
            "test_all Failed +read/good -write/bad +write/good",
        ),
        (
            "test_all[note] if {\n\tsome note, tc in {}\n\ttc\n}",
            "test_all Failed ",
        ),
        (
            "test_all[tc.note] if {\n\tsome tc in [{\"note\": \"a\", \"tool\": \"x\"}, {\"note\": \"a\", \"tool\": \"y\"}]\n\ttc.tool == \"x\"\n}",
            "test_all Error(\"two cases are called `a`, and one may hide the other\") ",
        ),
        // What names a case comes out of what is asked: nobody can know the cases before.
        (
            "test_all[note] if {\n\tinput.tool\n\tsome note in [\"a\"]\n}",
            "test_all Failed ",
        ),
        (
            "test_all[note] if {\n\tsome note, tc in {\"a\": 1}\n\tprint(note)\n\ttc == 1\n}\n\ntest_all[note] if {\n\tsome note, tc in {\"b\": 1}\n\ttc == 2\n}",
            "test_all Failed +a -b",
        ),
    ] {
        assert_eq!(told(tests), [expected], "{tests}");
    }
}

#[test]
fn a_filter_chooses_by_package_and_name() {
    let folder = folder(&[
        (
            "a.rego",
            "package mcp.authz\n\nallow contains \"x\" if input.tool\n",
        ),
        (
            "a_test.rego",
            "package t\n\ntest_one if true\n\ntest_two if true\n",
        ),
    ]);
    let chosen = |filter: &str| {
        let options = Options {
            filter: Some(filter.parse().unwrap()),
            ..Options::default()
        };
        run(&[folder.path().to_owned()], &options)
            .unwrap()
            .cases
            .len()
    };
    assert_eq!((chosen("one"), chosen(r"^t\."), chosen("three")), (1, 2, 0));
    assert!("(".parse::<Filter>().is_err());
}
