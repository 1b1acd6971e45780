//! Coverage, through the runner: what held, what was never reached, and that marks change no result.

use crate::policy::tests::{folder, starter};
use crate::runner::{Options, Outcome, run};

const RULES: &str = "\
package mcp.authz

import data.lib

allow contains \"reads\" if lib.reads(input.tool.name)

allow contains \"writes\" if {
	input.tool.name == \"write\"
	\"editor\" in input.caller.roles
}

deny contains {\"code\": \"closed\"} if {
	input.request.hour > 20
}

deny contains {
	\"code\": code,
	\"message\": sprintf(\"%s is off\", [input.tool.name]),
} if {
	some code in data.off
	level == 3
}

level := 3 if {
	input.server.trust == \"low\"
} else := 2 if {
	input.server.trust == \"high\"
} else := 1

names := {\"a\", \"b\"}

approve contains \"never asked\" if {
	input.tool.name in names
	input.server.name == \"x\"
}
\"";

const LIBRARY: &str = "\
package lib

default known := false

known if input.tool.name == \"get\"

reads(name) if startswith(name, \"get\")

reads(name) if name == \"list\"

twice(n) := n * 2
";

const TESTS: &str = "\
package mcp.authz_test

import data.mcp.decision.decision

test_reads if decision.effect == \"allow\" with input as {\"tool\": {\"name\": \"get_x\"}, \"request\": {\"hour\": 3}}

test_closed if decision.effect == \"deny\" with input as {\"tool\": {\"name\": \"get_x\"}, \"request\": {\"hour\": 22}}

test_high if data.mcp.authz.level == 2 with input as {\"server\": {\"trust\": \"high\"}}
";

#[test]
fn rules_that_never_held_and_lines_never_reached_are_told() {
    let rules = RULES.trim_end_matches('"');
    let folder = folder(&[
        ("a.rego", rules),
        ("lib.rego", LIBRARY),
        ("data.json", r#"{"off": ["x"]}"#),
        ("a_test.rego", TESTS),
    ]);
    let options = Options {
        coverage: true,
        ..Options::default()
    };
    let report =
        run(&[folder.path().to_owned()], &options).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(report.is_success(), "{report:#?}");
    let coverage = report.coverage.unwrap();
    let told: Vec<String> = coverage
        .files
        .iter()
        .flat_map(|file| {
            let rules = file.rules.iter().filter(|rule| !rule.held);
            let name = file
                .file
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let lines: Vec<u32> = file.missed.iter().copied().collect();
            rules
                .map(|rule| format!("{}:{}", rule.line, rule.name))
                .chain([format!("{name} {lines:?}")])
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        told,
        [
            "7:allow",
            "16:deny",
            "24:level",
            "32:approve",
            // The line of a head is gone through when its rule holds.
            "a.rego [7, 9, 16, 17, 18, 24, 32, 34]",
            "5:known",
            "9:reads",
            "11:twice",
            "lib.rego [3, 5, 11]",
        ]
    );
    assert_eq!(coverage.rules().1, 13);
    assert!(coverage.percent() < 60, "{}", coverage.percent());
}

#[test]
fn the_starter_goes_the_same_way_marked_or_not() {
    let options = Options {
        coverage: true,
        ..Options::default()
    };
    let marked = run(&[starter()], &options).unwrap();
    let plain = run(&[starter()], &Options::default()).unwrap();
    let told = |report: &crate::runner::Report| -> Vec<(String, Outcome)> {
        let cases = report.cases.iter();
        cases
            .map(|case| (case.name.clone(), case.outcome.clone()))
            .collect()
    };
    assert_eq!(told(&marked), told(&plain));
    assert!(plain.coverage.is_none());
    assert!(marked.coverage.unwrap().percent() > 60);
}
