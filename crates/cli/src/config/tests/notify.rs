//! Targets of notifications.

use super::{SMALL, good, read};
use crate::config::NotifyUrl;

const URL: &str = "admin: { public_url: \"https://c.example\" }\n";

fn with(target: &str) -> String {
    format!("{SMALL}{URL}approvals: {{ notify: {{ ops: {target} }} }}\n")
}

#[test]
fn a_target_has_an_address_and_what_proves_the_sender() {
    for (target, is_secret) in [
        ("{ kind: slack, url: \"file:/s\" }", true),
        (
            "{ kind: generic, url: \"env:URL\", secret: \"file:/s\" }",
            true,
        ),
        (
            "{ kind: generic, url: \"https://t.example/a\", secret: \"file:/s\" }",
            false,
        ),
        (
            "{ kind: generic, url: \"http://127.0.0.1:1/a\", secret: \"file:/s\" }",
            false,
        ),
    ] {
        let configuration = good(&with(target));
        let ops = configuration.notify.get("ops").expect("a target");
        assert_eq!(
            matches!(ops.url, NotifyUrl::Secret(_)),
            is_secret,
            "{target}"
        );
        assert!(configuration.approvals.targets.contains("ops"));
        assert_eq!(ops.events.len(), 4);
    }
}

#[test]
fn a_target_that_cannot_be_used_is_an_error() {
    for (target, message) in [
        ("{ kind: slack }", "key is missing"),
        (
            "{ kind: slack, url: \"https://hooks.example/canary\" }",
            "the URL of an incoming webhook is a secret",
        ),
        (
            "{ kind: slack, url: \"file:/s\", secret: \"file:/s\" }",
            "a slack target has no secret but its URL",
        ),
        (
            "{ kind: generic, url: \"file:/s\" }",
            "a generic target needs a secret",
        ),
        (
            "{ kind: generic, url: \"http://t.example\", secret: \"file:/s\" }",
            "https, or to this machine",
        ),
        (
            "{ kind: generic, url: \"https://t.example\", secret: canary }",
            "a reference begins with",
        ),
        ("{ kind: mail, url: \"file:/s\" }", "one of generic, slack"),
        (
            "{ kind: slack, url: \"file:/s\", events: [] }",
            "at least one entry",
        ),
        (
            "{ kind: slack, url: \"file:/s\", events: [asked] }",
            "one of requested, reminder, decided, ended",
        ),
        (
            "{ kind: slack, url: \"file:/s\", timeout: 2m }",
            "the longest is 1m",
        ),
    ] {
        let report = read(&with(target), &[]).expect_err(target).to_string();
        assert!(report.contains(message), "{target}: {report}");
        assert!(!report.contains("canary"), "{report}");
    }
    let target = "approvals: { notify: { ops: { kind: slack, url: \"file:/s\" } } }\n";
    let report = read(&format!("{SMALL}{target}"), &[]).expect_err("an error");
    assert!(report.contains("admin.public_url is missing"));
}
