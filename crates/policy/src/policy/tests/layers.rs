//! Platform, tenant and definition: judged apart, the strictest counts.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::sources::{Source, Sources};

/// A policy of these layers' rules: the platform's, and those of the tenant `acme`.
fn layered(platform: Option<&str>, tenant: Option<&str>) -> Policy {
    let (one, other) = (
        folder(&[("a.rego", platform.unwrap_or_default())]),
        folder(&[("b.rego", tenant.unwrap_or_default())]),
    );
    let source = |folder: &tempfile::TempDir| vec![Source::Directory(folder.path().to_owned())];
    let sources = Sources {
        platform: platform.map(|_| source(&one)).unwrap_or_default(),
        tenants: tenant
            .map(|_| BTreeMap::from([("acme".to_owned(), source(&other))]))
            .unwrap_or_default(),
        ..Sources::default()
    };
    Policy::load(sources, &settings()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn judge(policy: &Policy, tenant: &str) -> Decision {
    let (caller, server) = (caller(&["support"]), server("crm"));
    policy.judge(&Facts {
        tenant,
        ..facts(&caller, &server, "t")
    })
}

const ALLOW: &str = "package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n";

#[test]
fn every_layer_must_allow() {
    let allows = |platform, tenant| codes(&judge(&layered(platform, tenant), "acme"));
    assert_eq!(allows(Some(ALLOW), Some(ALLOW)), "allow allowed");
    assert_eq!(allows(Some(ALLOW), None), "allow allowed");
    assert_eq!(allows(None, Some(ALLOW)), "allow allowed");
    let silent = "package mcp.authz\nallow contains \"x\" if input.tool.name == \"other\"\n";
    assert_eq!(allows(Some(ALLOW), Some(silent)), "deny no_rule");
    assert_eq!(allows(Some(silent), Some(ALLOW)), "deny no_rule");
    assert_eq!(allows(None, None), "deny no_rule");
    let denies = format!("{ALLOW}deny contains {{\"code\": \"no\"}} if input.tool\n");
    assert_eq!(allows(Some(&denies), Some(ALLOW)), "deny no");
    assert_eq!(allows(Some(ALLOW), Some(&denies)), "deny no");
    let asks = format!("{ALLOW}approve contains {{\"code\": \"ask\"}} if input.tool\n");
    assert_eq!(allows(Some(ALLOW), Some(&asks)), "approve ask");
}

#[test]
fn a_tenants_rules_are_for_its_callers() {
    let denies = format!("{ALLOW}deny contains {{\"code\": \"no\"}} if input.tool\n");
    let policy = layered(Some(ALLOW), Some(&denies));
    assert_eq!(codes(&judge(&policy, "acme")), "deny no");
    assert_eq!(codes(&judge(&policy, "other")), "allow allowed");
    assert_eq!(codes(&judge(&policy, "")), "allow allowed");
}

#[test]
fn obligations_of_all_layers_join() {
    let platform = format!(
        "{ALLOW}max_bytes contains 100 if input.tool\nlabels contains \"a\" if input.tool\n\
         timeout contains \"1m\" if input.tool\ncredential contains {{\"ref\": \"vault:a#b\"}} if input.tool\n"
    );
    let tenant = format!(
        "{ALLOW}max_bytes contains 50 if input.tool\nlabels contains \"b\" if input.tool\n\
         timeout contains \"2m\" if input.tool\naudit contains {{\"level\": \"full\"}} if input.tool\n"
    );
    let obligations = *judge(&layered(Some(&platform), Some(&tenant)), "acme")
        .obligations
        .unwrap();
    assert_eq!(obligations.max_bytes, Some(50));
    assert_eq!(obligations.timeout, Some(Duration::from_secs(60)));
    assert_eq!(obligations.labels.len(), 2);
    assert_eq!(obligations.audit, crate::obligations::AuditLevel::Full);
    assert_eq!(obligations.credential.as_deref(), Some("vault:a#b"));
    let other = format!("{ALLOW}credential contains {{\"ref\": \"vault:c#d\"}} if input.tool\n");
    assert_eq!(
        codes(&judge(&layered(Some(&platform), Some(&other)), "acme")),
        "deny policy_invalid_result"
    );
}

#[test]
fn what_one_layer_hides_is_hidden() {
    let shows = |platform: &str, tenant: &str| {
        let (caller, server) = (caller(&["support"]), server("crm"));
        let policy = layered(Some(platform), Some(tenant));
        let asked = Facts {
            tenant: "acme",
            ..facts(&caller, &server, "t")
        };
        policy.visible(&asked, &[asked.subject]).shown
    };
    let nothing = "package mcp.authz\nallow contains \"x\" if input.tool.name == \"other\"\n";
    assert_eq!(shows(ALLOW, ALLOW), [true]);
    assert_eq!(shows(ALLOW, nothing), [false]);
    assert_eq!(shows(nothing, ALLOW), [false]);
}

/// Rules picked at random, so that every effect and obligation comes up in either layer.
fn rules() -> impl Strategy<Value = String> {
    const RULES: [&str; 11] = [
        "allow contains \"x\" if input.tool.name == \"t\"",
        "allow contains \"y\" if input.server.name == \"crm\"",
        "deny contains {\"code\": \"no\"} if input.tool.name == \"t\"",
        "deny contains {\"code\": \"scope\", \"scopes\": [\"a\"]} if input.tool.name == \"t\"",
        "approve contains {\"code\": \"ask\", \"quorum\": 2} if input.tool.name == \"t\"",
        "max_bytes contains 10 if input.tool",
        "max_bytes contains 20 if input.tool",
        "redact contains {\"field\": \"a\"} if input.tool",
        "timeout contains \"9s\" if input.tool",
        "credential contains {\"ref\": \"vault:a#b\"} if input.tool",
        "allow contains lower(1) if input.tool",
    ];
    let rules: Vec<&'static str> = RULES.to_vec();
    proptest::sample::subsequence(rules, 0..=5)
        .prop_map(|picked| format!("package mcp.authz\n{}\n", picked.join("\n")))
}

/// How much a decision lets through: less is stricter.
fn freedom(decision: &Decision) -> u8 {
    match decision.effect {
        Effect::Deny => 0,
        Effect::Approve(_) => 1,
        Effect::Allow => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn adding_a_layer_never_widens(platform in rules(), tenant in rules()) {
        let alone = judge(&layered(Some(&platform), None), "acme");
        let both = judge(&layered(Some(&platform), Some(&tenant)), "acme");
        prop_assert!(freedom(&both) <= freedom(&alone), "{platform}\n{tenant}");
        let turned = judge(&layered(Some(&tenant), Some(&platform)), "acme");
        prop_assert_eq!(freedom(&both), freedom(&turned));
        if let (Some(held), Some(joined)) = (&alone.obligations, &both.obligations) {
            prop_assert!(held.redact.iter().all(|one| joined.redact.contains(one)));
            prop_assert!(held.max_bytes.is_none_or(|cap| joined.max_bytes.is_some_and(|least| least <= cap)));
            prop_assert!(held.timeout.is_none_or(|cap| joined.timeout.is_some_and(|least| least <= cap)));
        } else if both.effect != Effect::Deny {
            prop_assert!(alone.obligations.is_none(), "{platform}\n{tenant}");
        }
    }
}
