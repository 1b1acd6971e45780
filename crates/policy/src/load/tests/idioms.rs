//! Forms that OPA takes and the parser or the evaluator would not, or otherwise.

use super::{authz, problems};
use crate::policy::Policy;
use crate::policy::tests::{caller, codes, facts, folder, server, settings};
use crate::settings::Settings;

/// The decision of these files on a call of `read` by an analyst, with the evaluator alone and without it.
fn decided(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    [true, false]
        .map(|split| {
            let settings = Settings {
                split,
                ..settings()
            };
            let policy = Policy::load(&[folder.path().to_owned()], &settings)
                .unwrap_or_else(|errors| panic!("{errors}"));
            let (caller, server) = (caller(&["analyst"]), server("crm"));
            codes(&policy.judge(&facts(&caller, &server, "read")))
        })
        .to_vec()
}

/// A rule that nobody needs fails, and so would the call if its package were evaluated as a whole.
#[test]
fn an_import_of_a_package_is_no_use_of_all_its_rules() {
    let rules = "package mcp.authz\nimport data.lib\nallow contains \"x\" if lib.good\n";
    let lib =
        "package lib\ngood if input.tool.name == \"read\"\nbad := 1 / count(input.tool.labels)\n";
    let expected = ["allow allowed", "allow allowed"];
    assert_eq!(decided(&[("a.rego", rules), ("lib.rego", lib)]), expected);
    // In several files too, whose rules need each other.
    let one = "package lib\ngood if better\n";
    let other = "package lib\nbetter if input.tool.name == \"read\"\n";
    let files = [("a.rego", rules), ("one.rego", one), ("other.rego", other)];
    assert_eq!(decided(&files), expected);
    let whole = problems(&[
        (
            "a.rego",
            "package mcp.authz\nimport data.lib\nallow contains \"x\" if count(lib) > 0\n",
        ),
        ("one.rego", one),
        ("other.rego", other),
    ]);
    assert!(whole.concat().contains("is read as a whole"), "{whole:?}");
}

#[test]
fn a_variable_may_have_the_name_of_a_rule() {
    let rules = "package mcp.authz\nrole contains role if some role in input.caller.roles\n\
                 allow contains \"x\" if \"analyst\" in role\n\
                 deny contains \"y\" if { allow := 1; allow == 2 }\n\
                 name(role) := role\n";
    assert_eq!(
        decided(&[("a.rego", rules)]),
        ["allow allowed", "allow allowed"]
    );
    // What needs itself still does.
    for rules in [
        "allow contains \"x\" if f(1)\nf(x) if f(x + 1)",
        "allow contains \"x\" if a\na if { some b in [1]; b == c }\nc := x if { x := a }",
    ] {
        assert!(authz(rules).concat().contains("in a circle"), "{rules}");
    }
}

#[test]
fn late_imports_and_marks_load() {
    let rules = "\u{feff}package mcp.authz # imports are below\n\nallow contains \"x\" if {\n\tnames[input.tool.name]\n}\n\nimport data.names\n";
    let files = [
        ("a.rego", rules),
        ("data.json", r#"{"names": {"read": true}}"#),
    ];
    assert_eq!(decided(&files), ["allow allowed", "allow allowed"]);
}

#[test]
fn data_may_be_declared_and_absent() {
    let rules = "package mcp.authz\nallow contains \"x\" if input.tool\ndeny contains \"closed\" if data.maintenance.on\n";
    assert!(
        problems(&[("a.rego", rules)])
            .concat()
            .contains("nothing defines `data.maintenance.on`")
    );
    let head = "# METADATA\n# scope: package\n# schemas:\n#   - data.maintenance: {type: object}\n";
    let declared = format!("{head}{rules}");
    assert_eq!(
        decided(&[("a.rego", &declared)]),
        ["allow allowed", "allow allowed"]
    );
    let there = [
        ("a.rego", declared.as_str()),
        ("data.json", r#"{"maintenance": {"on": true}}"#),
    ];
    assert_eq!(decided(&there), ["deny denied", "deny denied"]);
    let test = "package mcp.authz_test\nimport data.mcp.authz\ntest_closed if authz.deny[\"closed\"] with data.maintenance as {\"on\": true}\n";
    let folder = folder(&[("a.rego", &declared), ("a_test.rego", test)]);
    let report = crate::runner::run(
        &[folder.path().to_owned()],
        &crate::runner::Options::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert!(report.is_success() && report.cases.len() == 1, "{report:?}");
}

#[test]
fn what_is_written_out_is_checked() {
    for (call, found) in [
        ("regex.match(\"[a\", input.tool.name)", "no valid pattern"),
        ("regex.match(`(?=a)`, input.tool.name)", "no valid pattern"),
        (
            "regex.replace(input.tool.name, \"(\", \"\") == \"\"",
            "no valid pattern",
        ),
        (
            "regex.match(\"^.{1,900}x{1,900}{1,900}$\", input.tool.name)",
            "no valid pattern",
        ),
        (
            "sprintf(\"%s %d\", [input.tool.name]) == \"\"",
            "takes 2 values, and there are 1",
        ),
        (
            "sprintf(\"%\", [input.tool.name]) == \"\"",
            "a verb is missing at the end",
        ),
        (
            "sprintf(\"%y\", [input.tool.name]) == \"\"",
            "a verb is none of",
        ),
        (
            "sprintf(\"%10000d\", [1]) == \"\"",
            "a width is out of range",
        ),
        ("glob.match(\"a{b\", [], input.tool.name)", "invalid glob"),
        (
            "net.cidr_contains(\"10.0.0/8\", input.request.ip)",
            "`10.0.0/8` is no network",
        ),
        (
            "time.parse_rfc3339_ns(\"2026-02-30T00:00:00Z\") < input.request.time_ns",
            "time.parse_rfc3339_ns",
        ),
        (
            "sql.parse(input.tool.name, \"postgress\").ok",
            "no SQL dialect `postgress` [did you mean `postgres`?]",
        ),
    ] {
        let problem = authz(&format!("deny contains \"x\" if {call}")).concat();
        assert!(
            problem.starts_with("a.rego:2:") && problem.contains(found),
            "{call}: {problem}"
        );
    }
}

#[test]
fn what_is_written_out_and_right_passes() {
    for call in [
        "regex.match(\"^.{1,500}$\", input.tool.name)",
        "sprintf(\"12345 * %s 100%%\", [input.tool.name]) == \"\"",
        "sprintf(\"%05d %.2f %+v %x\", [1, 1.5, [], 255]) == \"\"",
        "sprintf(\"%s\", input.caller.roles) == \"\"",
        "glob.match(\"a*\", [], input.tool.name)",
        "net.cidr_contains(\"10.0.0.0/8\", \"10.0.0.1\")",
        "sql.parse(input.tool.name, input.server.name).ok",
    ] {
        assert_eq!(
            authz(&format!("deny contains \"x\" if {call}")),
            [""; 0],
            "{call}"
        );
    }
}
