//! What rules oblige to, as the decision has it.

use super::*;
use crate::obligations::{AuditLevel, LimitBy};

const CALL: &str = "package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n";

fn decided(rules: &str) -> Decision {
    let (caller, server) = (caller(&["support"]), server("crm"));
    policy(&format!("{CALL}{rules}\n")).judge(&Facts {
        arguments: Some(r#"{"n": 3}"#),
        ..facts(&caller, &server, "t")
    })
}

/// One line for all that a decision obliges to.
fn told(rules: &str) -> String {
    let decision = decided(rules);
    let Some(obligations) = decision.obligations else {
        return codes(&decision);
    };
    let mut words = Vec::new();
    for redaction in &obligations.redact {
        let remove = if redaction.remove { " remove" } else { "" };
        words.push(format!("redact {:?}{remove}", redaction.what));
    }
    for cap in &obligations.max_records {
        words.push(format!("records {} {:?}", cap.max, cap.result));
    }
    words.extend(obligations.max_bytes.map(|cap| format!("bytes {cap}")));
    for limit in &obligations.limits {
        let by = match limit.by {
            LimitBy::Session => "session",
            LimitBy::Caller => "caller",
            LimitBy::Server => "server",
            LimitBy::Tool => "tool",
        };
        words.push(format!(
            "limit {} {}/{:?} by {by}",
            limit.name, limit.count, limit.per
        ));
    }
    for (path, value) in &obligations.set_arguments {
        words.push(format!("set {path} {value}"));
    }
    words.extend(obligations.timeout.map(|time| format!("timeout {time:?}")));
    if obligations.audit != AuditLevel::Metadata {
        words.push(format!("audit {}", obligations.audit.word()));
    }
    words.extend(
        obligations
            .credential
            .map(|reference| format!("credential {reference}")),
    );
    words.extend(
        obligations
            .labels
            .iter()
            .map(|label| format!("label {label}")),
    );
    words.join("; ")
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one row per form")]
fn every_obligation_reaches_the_decision() {
    for (rules, expected) in [
        ("", "allow allowed"),
        (
            r#"redact contains {"result": "/items/*/ssn"} if input.arguments.n == 3"#,
            r#"redact Result("/items/*/ssn")"#,
        ),
        (
            r#"redact contains {"result": "/a/**/b~1c", "remove": true} if input.tool"#,
            r#"redact Result("/a/**/b~1c") remove"#,
        ),
        (
            r#"redact contains {"field": name, "remove": true} if some name in ["b", "A"]"#,
            r#"redact Field("A") remove; redact Field("b") remove"#,
        ),
        (
            r#"redact contains {"pattern": "email"} if input.tool"#,
            "redact Pattern(Email)",
        ),
        (
            "max_records contains 100 if input.tool\nmax_records contains 50 if input.server",
            "records 50 None; records 100 None",
        ),
        (
            r#"max_records contains {"max": 5, "result": "/items"} if input.tool"#,
            r#"records 5 Some("/items")"#,
        ),
        (
            "max_bytes contains 9 if input.tool\nmax_bytes contains 7 if input.server",
            "bytes 7",
        ),
        (
            r#"limit contains {"name": "exports", "rate": "10/1h", "by": "caller"} if input.tool"#,
            "limit exports 10/3600s by caller",
        ),
        (
            r#"limit contains {"name": "all", "rate": "1/1s"} if input.tool"#,
            "limit all 1/1s by session",
        ),
        (
            r#"set_arguments contains {"path": "/dry_run", "value": true} if input.tool"#,
            "set /dry_run true",
        ),
        (
            r#"set_arguments contains {"path": "/where", "value": {"team": input.caller.roles}} if input.tool"#,
            r#"set /where {"team":["support"]}"#,
        ),
        (
            "timeout contains \"5s\" if input.tool\ntimeout contains \"1m\" if input.server",
            "timeout 5s",
        ),
        (
            r#"audit contains {"level": level} if some level in ["metadata", "summary"]"#,
            "audit summary",
        ),
        (
            r#"audit contains {"level": "full"} if input.tool"#,
            "audit full",
        ),
        (
            r#"credential contains {"ref": "vault:secret/x#y"} if input.tool"#,
            "credential vault:secret/x#y",
        ),
        (r#"labels contains "pii" if input.tool"#, "label pii"),
        (
            r#"labels contains "pii" if input.tool.name == "other""#,
            "allow allowed",
        ),
    ] {
        assert_eq!(told(rules), expected, "{rules}");
    }
}

/// The same rule with an entry that only judging can know.
fn made_up(rule: &str) -> String {
    match rule
        .strip_suffix(" if input.tool")
        .map(|rule| rule.split_once(" contains "))
    {
        Some(Some((set, entry))) => {
            format!("{set} contains entry if {{ input.tool; some entry in [{entry}] }}")
        }
        Some(None) | None => rule.to_owned(),
    }
}

#[test]
fn an_obligation_of_another_shape_refuses() {
    for rules in [
        r#"redact contains "/a" if input.tool"#,
        r#"redact contains {"result": "a"} if input.tool"#,
        r#"redact contains {"result": ""} if input.tool"#,
        r#"redact contains {"result": "/a~2"} if input.tool"#,
        r#"redact contains {"result": "/a", "field": "b"} if input.tool"#,
        r#"redact contains {"remove": true} if input.tool"#,
        r#"redact contains {"field": "a", "remove": "yes"} if input.tool"#,
        r#"redact contains {"pattern": "emails"} if input.tool"#,
        r#"redact contains {"pattern": "email", "remove": true} if input.tool"#,
        "max_records contains -1 if input.tool",
        "max_records contains 1.5 if input.tool",
        r#"max_records contains "1" if input.tool"#,
        r#"max_records contains {"maximum": 1} if input.tool"#,
        r#"max_bytes contains {"max": 1} if input.tool"#,
        r#"limit contains {"name": "a"} if input.tool"#,
        r#"limit contains {"rate": "1/1s"} if input.tool"#,
        r#"limit contains {"name": "a", "rate": "0/1s"} if input.tool"#,
        r#"limit contains {"name": "a", "rate": "1/1"} if input.tool"#,
        r#"limit contains {"name": "a", "rate": "1/1s", "by": "moon"} if input.tool"#,
        r#"set_arguments contains {"path": "/a"} if input.tool"#,
        r#"set_arguments contains {"path": "/*", "value": 1} if input.tool"#,
        r#"set_arguments contains {"path": "/a", "value": n} if some n in [1, 2]"#,
        r#"set_arguments contains {"path": p, "value": 1} if some p in ["/a", "/a/b"]"#,
        r#"timeout contains 5 if input.tool"#,
        r#"timeout contains "5" if input.tool"#,
        r#"audit contains "full" if input.tool"#,
        r#"audit contains {"level": "none"} if input.tool"#,
        r#"credential contains {"ref": n} if some n in ["vault:a#b", "vault:c#d"]"#,
        r#"credential contains "vault:a#b" if input.tool"#,
        r#"labels contains "two words" if input.tool"#,
        r#"labels contains {"label": "pii"} if input.tool"#,
    ] {
        // What is written out is refused when it is loaded, so it is made up here.
        let rules = made_up(rules);
        assert_eq!(
            codes(&decided(&rules)),
            "deny policy_invalid_result",
            "{rules}"
        );
    }
}

#[test]
fn targets_of_notifications_join() {
    let rules = "notify contains \"sec\" if input.tool\nnotify contains \"ops\" if input.tool";
    let decision = decided(rules);
    let notify = decision.obligations.expect("obligations").notify;
    assert_eq!(
        notify.iter().map(|it| &**it).collect::<Vec<_>>(),
        ["ops", "sec"]
    );
}

#[test]
fn a_denial_obliges_to_nothing() {
    let decision =
        decided("labels contains \"a\" if input.tool\ndeny contains \"no\" if input.tool");
    assert_eq!(
        (codes(&decision).as_str(), decision.obligations),
        ("deny denied", None)
    );
}
