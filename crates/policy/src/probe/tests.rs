//! Policies with one hole each, and policies with none.

use std::time::SystemTime;

use super::{NOBODYS, Probed, probe};
use crate::policy::tests::{folder, settings};
use crate::{Policy, ServerFields};

/// What is found with these rules at a server `crm`.
fn found(rules: &str) -> Probed {
    let server = ServerFields {
        name: "crm",
        ..ServerFields::default()
    };
    let folder = folder(&[("crm.rego", &*format!("package mcp.authz\n\n{rules}\n"))]);
    let policy = Policy::load(&[folder.path().to_owned()], &settings()).unwrap();
    probe(&policy, &[server], SystemTime::UNIX_EPOCH).unwrap()
}

fn tools(probed: &Probed) -> Vec<(&str, bool)> {
    let witnesses = probed.destructive.iter();
    witnesses
        .map(|witness| (witness.tool.as_str(), witness.with_roles))
        .collect()
}

#[test]
fn a_rule_that_allows_everything_is_found_in_any_form() {
    for rules in [
        "allow contains \"all\" if input.server.name == \"crm\"",
        "allow contains \"all\"",
        "allow contains \"all\" if not input.tool.name == \"delete\"",
        "allow contains \"all\" if { some name in [input.tool.name]; count(name) > 0 }",
        "allow contains \"all\" if \"admin\" in input.caller.roles",
    ] {
        let probed = found(rules);
        assert_eq!(probed.anything.len(), 1, "{rules}");
        assert_eq!(
            (&*probed.anything[0].tool, &*probed.anything[0].reason),
            (NOBODYS, "all")
        );
        assert_eq!(
            probed.anything[0].with_roles,
            rules.contains("admin"),
            "{rules}"
        );
    }
}

#[test]
fn named_tools_are_no_allowance_of_everything() {
    let probed = found("allow contains \"named\" if input.tool.name in {\"get_case\", \"purge\"}");
    assert!(probed.anything.is_empty());
    assert_eq!(tools(&probed), [("get_case", false), ("purge", false)]);
    assert!(probed.asked_for == 0 && !probed.cut_short);
}

#[test]
fn what_needs_consent_or_is_denied_is_not_reported() {
    let rules = "\
allow contains \"named\" if input.tool.name in {\"get_case\", \"purge\"}
allow contains \"admins\" if { input.tool.name == \"wipe\"; \"admin\" in input.caller.roles }
";
    let asked = format!(
        "{rules}approve contains \"destructive\" if input.tool.annotations.destructiveHint == true"
    );
    let probed = found(&asked);
    assert!(probed.destructive.is_empty());
    assert!(probed.asked_for > 0);
    // A rule that asks only some lets the others through, and those are found.
    let some = format!(
        "{rules}approve contains \"destructive\" if {{ input.tool.annotations.destructiveHint; not \"admin\" in input.caller.roles }}"
    );
    assert_eq!(
        tools(&found(&some)),
        [("get_case", true), ("purge", true), ("wipe", true)]
    );
}
