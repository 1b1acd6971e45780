//! `--output json` on errors: whatever command fails, there is one object, the answer or one with code, message and exit code.

use clap::CommandFactory as _;
use serde_json::Value;

use super::{Bench, run_with};
use crate::arguments::Arguments;

/// A way to fail for each command, and the code it ends with.
const TABLE: [(&[&str], u8); 41] = [
    (&["serve"], 3),
    (&["check"], 3),
    (&["health"], 3),
    (&["import", "absent.json"], 2),
    (&["stdio"], 2),
    (&["servers", "list"], 3),
    (&["servers", "processes"], 3),
    (&["policy", "check", "absent"], 4),
    (&["policy", "test", "absent"], 4),
    (&["policy", "coverage", "absent"], 4),
    (&["policy", "schema", "absent"], 2),
    (&["policy", "new", "--nonsense"], 2),
    (&["policy", "eval", "absent"], 3),
    (&["policy", "explain", "absent"], 3),
    (&["policy", "record", "absent"], 2),
    (&["policy", "replay", "absent"], 3),
    (&["policy", "bundle", "build", "--nonsense"], 2),
    (&["policy", "bundle", "sign", "absent"], 2),
    (&["policy", "bundle", "verify", "absent"], 1),
    (&["keys", "create", "--subject", "a"], 3),
    (&["keys", "list"], 3),
    (&["keys", "revoke", "a"], 3),
    (&["audit", "verify"], 3),
    (&["audit", "tail"], 3),
    (&["audit", "show", "a"], 3),
    (&["kill", "set", "everything", "--reason", "a"], 3),
    (&["kill", "clear", "k_0", "--reason", "a"], 3),
    (&["kill", "list"], 3),
    (&["kill", "drill", "everything"], 3),
    (&["approvals", "list"], 3),
    (&["approvals", "show", "a"], 3),
    (
        &["approvals", "approve", "a", "--shown", "a", "--reason", "a"],
        3,
    ),
    (
        &["approvals", "deny", "a", "--shown", "a", "--reason", "a"],
        3,
    ),
    (&["approvals", "watch"], 3),
    (&["approvals", "notify-test", "a"], 3),
    (&["grants", "list"], 3),
    (&["grants", "revoke", "a", "--reason", "a"], 3),
    (&["state", "rekey"], 3),
    (&["operators", "add", "a"], 2),
    (&["operators", "list"], 3),
    (&["operators", "revoke", "a"], 3),
];

/// Every command that can be given, but for those that nobody gives.
fn leaves(command: &clap::Command, before: &[String], found: &mut Vec<String>) {
    let own = command.get_subcommands().filter(|it| !it.is_hide_set());
    let own: Vec<_> = own.collect();
    if own.is_empty() {
        found.push(before.join(" "));
    }
    for command in own {
        let words = [before, &[command.get_name().to_owned()]].concat();
        leaves(command, &words, found);
    }
}

#[test]
fn errors_are_one_object_where_answers_are() {
    let bench = Bench::new();
    bench.write("broken.yaml", "version: 1\nlisten: [\n");
    let broken = bench.path("broken.yaml").display().to_string();
    let (mut failed, mut wrong) = (Vec::new(), Vec::new());
    for (words, code) in TABLE {
        let words = [words, &["--config", &broken, "--output", "json"]].concat();
        let ran = run_with(&words, Vec::new());
        if ran.exit.code() != code {
            wrong.push(format!("{words:?}: {} {}", ran.exit.code(), ran.stderr));
            continue;
        }
        let place = match ran.stderr.is_empty() {
            true => &ran.stdout,
            false => &ran.stderr,
        };
        let object: Value = serde_json::from_str(place)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {place}"));
        if ran.stderr.is_empty() {
            // The answer is the error.
            failed.push(words.join(" "));
            continue;
        }
        let error = &object["error"];
        assert_eq!(error["exit"], code, "{object}");
        assert_eq!(error["code"], ran.exit.as_str(), "{object}");
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty() && ran.stdout.is_empty(), "{object}");
        failed.push(words.join(" "));
    }
    assert_eq!(wrong, Vec::<String>::new());
    let mut commands = Vec::new();
    leaves(&Arguments::command(), &[], &mut commands);
    let has = |command: &String| failed.iter().any(|it| it.starts_with(command.as_str()));
    // Nothing it does can fail.
    let missing: Vec<_> = commands
        .iter()
        .filter(|it| *it != "version" && !has(it))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

#[test]
fn an_error_has_its_hint_and_people_get_text() {
    let absent = ["kill", "list", "--config", "/absent"];
    let text = run_with(&absent, Vec::new());
    assert!(
        text.stderr.contains("\n  hint: --state DIR"),
        "{}",
        text.stderr
    );
    let json = run_with(&[&absent[..], &["--output=json"]].concat(), Vec::new());
    let object: Value = serde_json::from_str(&json.stderr).unwrap();
    let hint = object["error"]["hint"].as_str().unwrap();
    assert!(hint.starts_with("--state DIR"), "{object}");
    // An answer that ends with a code of its own is complete.
    let bench = Bench::new();
    bench.write(
        "policies/time_test.rego",
        "package mcp.authz_test\n\ntest_no if false\n",
    );
    let ran = bench.run(&["policy", "test", "--output", "json"]);
    assert_eq!((ran.exit.code(), &*ran.stderr), (1, ""));
    assert!(
        serde_json::from_str::<Value>(&ran.stdout)
            .unwrap()
            .is_object()
    );
}
