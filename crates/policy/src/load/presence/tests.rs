//! Negations that are refused, warned of and let through.

use std::path::PathBuf;

use crate::lint;
use crate::policy::Policy;
use crate::policy::tests::{folder, settings};

/// The problems of a policy with these rules, else its warnings; none is an empty text.
fn said(rules: &str) -> String {
    let text = format!("package mcp.authz\nallow contains \"all\" if input.tool\n{rules}\n");
    let folder = folder(&[
        ("a.rego", &text),
        ("data.json", r#"{"there": {"list": ["x"]}}"#),
    ]);
    let path: PathBuf = folder.path().to_owned();
    if let Err(errors) = Policy::load(std::slice::from_ref(&path), &settings()) {
        return format!("error: {errors}");
    }
    let warnings = lint::warnings(&[path]).unwrap();
    let warnings = warnings
        .iter()
        .filter(|warning| warning.message.contains("no answer"));
    warnings
        .map(|warning| format!("warning: {warning}\n"))
        .collect()
}

#[test]
fn a_denial_that_would_fall_silent_is_refused_with_two_lines_that_cure_it() {
    let found = said("deny contains \"x\" if not startswith(input.arguments.path, \"/srv\")");
    assert!(found.contains("a.rego:3:22: where there is no `input.arguments.path` this `not` has no answer, and `deny` falls silent"), "{found}");
    assert!(
        found.contains("\n    not fine\n    fine if startswith(input.arguments.path, \"/srv\")"),
        "{found}"
    );
    // The cure is one.
    assert_eq!(
        said("deny contains \"x\" if not fine\nfine if startswith(input.arguments.path, \"/srv\")"),
        ""
    );
    let local = said(
        "redact contains {\"field\": \"a\"} if {\n\tsome x in input.arguments.list\n\tnot is_string(x.name)\n}",
    );
    assert!(
        local.contains("\n    value := x.name\n    not .. value .."),
        "{local}"
    );
}

#[test]
fn what_is_restricted_through_other_rules_counts() {
    for rules in [
        "deny contains \"x\" if outside\noutside if not startswith(input.arguments.path, \"/\")",
        "approve contains \"x\" if not inside\ninside if { input.tool; not outside }\noutside if not input.arguments.n < 3",
        "deny contains \"x\" if not \"a\" in input.arguments.list",
        "deny contains \"x\" if not data.there.list[input.arguments.n]",
        "deny contains \"x\" if not lower(input.arguments.path) == \"a\"",
        "limit contains {\"name\": \"a\", \"rate\": \"1/1h\", \"by\": \"session\"} if not input.client.name != \"a\"",
    ] {
        let found = said(rules);
        assert!(
            found.starts_with("error: ") && found.contains("falls silent"),
            "{rules}: {found}"
        );
    }
}

#[test]
fn what_is_there_or_tested_passes() {
    for rules in [
        "deny contains \"x\" if not \"a\" in input.caller.roles",
        "deny contains \"x\" if { is_string(input.arguments.path); not startswith(input.arguments.path, \"/\") }",
        "deny contains \"x\" if { input.tool.name == \"a\"; not \"x\" in input.tool.labels }",
        "deny contains \"x\" if not input.arguments.path",
        "deny contains \"x\" if not input.arguments.path == \"/\"",
        "deny contains \"x\" if not input.caller.sub in data.there.list",
        "deny contains \"x\" if not input.response.size < 3",
        "deny contains \"x\" if { some path in input.arguments.list; not startswith(path, \"/\") }",
        "deny contains \"x\" if { every x in input.arguments.list { not startswith(x, \"/\") } }",
        "deny contains \"x\" if { input.tool.name; not \"a\" in names }\nnames contains \"a\" if input.tool",
    ] {
        assert_eq!(said(rules), "", "{rules}");
    }
}

#[test]
fn an_allowance_that_does_not_hold_is_a_warning() {
    for rules in [
        "allow contains \"x\" if not startswith(input.arguments.path, \"/secret\")",
        "visible contains \"x\" if not input.client.name in {\"a\"}",
        "deny contains \"x\" if not safe\nsafe if not contains(input.arguments.path, \"..\")",
    ] {
        let found = said(rules);
        assert!(
            found.starts_with("warning: ") && found.contains("does not hold"),
            "{rules}: {found}"
        );
    }
}

#[test]
fn a_wildcard_below_not_is_refused_as_in_opa() {
    let found = said("deny contains \"x\" if not input.arguments.list[_] == 1");
    assert!(found.contains("`_` below `not`"), "{found}");
    assert_eq!(
        said("deny contains \"x\" if not {x | x := input.arguments.list[_]} == {1}"),
        ""
    );
}

/// The rule does not hold where the argument is missing, by the evaluator or without it.
#[test]
fn an_allowance_is_no_wider_than_in_opa() {
    use crate::decision::Effect;
    use crate::settings::Settings;
    for split in [true, false] {
        let text = "package mcp.authz\nallow contains \"x\" if not startswith(input.arguments.path, \"/secret\")\n";
        let folder = folder(&[("a.rego", text)]);
        let settings = Settings {
            split,
            ..settings()
        };
        let policy = Policy::load(&[folder.path().to_owned()], &settings).unwrap();
        let judged = |arguments| {
            let (caller, server) = (
                crate::policy::tests::caller(&[]),
                crate::policy::tests::server("crm"),
            );
            let facts = crate::policy::tests::facts(&caller, &server, "read");
            policy
                .judge(&crate::Facts {
                    arguments: Some(arguments),
                    ..facts
                })
                .effect
        };
        assert_eq!(judged("{}"), Effect::Deny);
        assert_eq!(judged(r#"{"path": "/secret/x"}"#), Effect::Deny);
        assert_eq!(judged(r#"{"path": "/x"}"#), Effect::Allow);
    }
}
