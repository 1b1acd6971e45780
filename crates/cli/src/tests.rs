//! The whole program with its surroundings in hand: what it prints and the code it ends with.

use std::fs;
use std::path::Path;

use expect_test::{expect, expect_file};

use super::*;

mod bundles;
mod failures;
mod import;

/// What a run left behind.
struct Ran {
    exit: Exit,
    stdout: String,
    stderr: String,
}

/// A directory with a configuration and policies.
struct Bench {
    directory: tempfile::TempDir,
}

const POLICY: &str = "package mcp.authz\n\nallow contains \"time\" if input.tool.name == \"now\"\n";
const TEST: &str = "\
package mcp.authz_test

import data.mcp.authz

test_now if \"time\" in authz.allow with input as {\"tool\": {\"name\": \"now\"}}
";

impl Bench {
    fn new() -> Self {
        let bench = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        bench.write("policies/time.rego", POLICY);
        bench.write("policies/time_test.rego", TEST);
        bench.write(
            "keepgate.yaml",
            "version: 1\npolicies: [policies]\nservers:\n  crm: { url: http://crm.example/mcp, owner: sales }\n  files: { command: [cat, secret], labels: [a, b] }\n",
        );
        bench
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    /// Runs with the bench's configuration; its path in what is printed is replaced.
    fn run(&self, arguments: &[&str]) -> Ran {
        let config = self.path("keepgate.yaml").into_os_string();
        let variables = vec![(OsString::from("KEEPGATE_CONFIG"), config)];
        let ran = run_with(arguments, variables);
        let place = self.directory.path().display().to_string();
        Ran {
            stdout: ran.stdout.replace(&place, "<dir>"),
            stderr: ran.stderr.replace(&place, "<dir>"),
            ..ran
        }
    }
}

fn run_with(arguments: &[&str], variables: Vec<(OsString, OsString)>) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("keepgate")
        .chain(arguments.iter().copied())
        .map(OsString::from);
    let exit = run(
        arguments,
        Surroundings {
            variables,
            stdout: &mut stdout,
            stderr: &mut stderr,
        },
    );
    Ran {
        exit,
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

#[test]
fn help_is_as_reviewed() {
    let commands: [&[&str]; 26] = [
        &["-h"],
        &["--help"],
        &["serve", "--help"],
        &["check", "-h"],
        &["health", "--help"],
        &["import", "--help"],
        &["stdio", "--help"],
        &["servers", "-h"],
        &["servers", "list", "-h"],
        &["policy", "-h"],
        &["policy", "check", "-h"],
        &["policy", "test", "-h"],
        &["policy", "coverage", "-h"],
        &["policy", "schema", "--help"],
        &["policy", "new", "--help"],
        &["policy", "bundle", "-h"],
        &["policy", "bundle", "build", "-h"],
        &["policy", "bundle", "sign", "-h"],
        &["policy", "bundle", "verify", "-h"],
        &["keys", "-h"],
        &["keys", "create", "-h"],
        &["keys", "revoke", "-h"],
        &["audit", "-h"],
        &["audit", "verify", "-h"],
        &["audit", "tail", "-h"],
        &["audit", "show", "-h"],
    ];
    let mut golden = String::new();
    for command in commands {
        let ran = run_with(command, Vec::new());
        assert_eq!(
            (ran.exit, ran.stderr.as_str()),
            (Exit::Success, ""),
            "{command:?}"
        );
        golden.push_str(&format!(
            "$ keepgate {}\n{}\n",
            command.join(" "),
            ran.stdout
        ));
    }
    let plain: String = golden
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    expect_file!["../golden/help.txt"].assert_eq(&plain);
}

#[test]
fn every_code_is_its_own() {
    let mut codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

/// The playbook's table lists the codes `kill` ends with, and no other.
#[test]
fn the_playbook_has_the_codes_of_kill() {
    let playbook = include_str!("../../../docs/operations.md");
    let (_, after) = playbook.split_once("| exit | meaning | do |\n").unwrap();
    let rows = after
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let listed: std::collections::BTreeSet<u8> = rows
        .map(|row| row.split('|').nth(1).unwrap().trim().parse().unwrap())
        .collect();
    let ends = [
        Exit::Success,
        Exit::Negative,
        Exit::Usage,
        Exit::Configuration,
        Exit::Start,
        Exit::State,
        Exit::Unreachable,
        Exit::Forbidden,
        Exit::Fleeting,
        Exit::Partial,
    ];
    assert_eq!(listed, ends.map(Exit::code).into());
}

#[test]
fn wrong_command_lines_end_with_usage() {
    let wrong: [&[&str]; 8] = [
        &[],
        &["nonsense"],
        &["serve", "--fast"],
        &["keys", "create"],
        &["keys", "create", "--subject", "a", "--expires", "soon"],
        &["audit", "tail", "-n", "-1"],
        &["version", "--output", "xml"],
        &["servers"],
    ];
    for arguments in wrong {
        let ran = run_with(arguments, Vec::new());
        assert_eq!(ran.exit, Exit::Usage, "{arguments:?}");
        assert!(
            ran.stdout.is_empty() && !ran.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn check_tells_what_is_in_order() {
    let bench = Bench::new();
    let ran = bench.run(&["check"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Success, ""));
    let (head, rest) = ran.stdout.split_once("revision ").unwrap();
    expect![[r#"
        configuration ok: <dir>/keepgate.yaml (servers: 2, callers by keys)
        policies ok: 1 files, "#]]
    .assert_eq(head);
    let warning = rest.split_once('\n').unwrap().1;
    assert_eq!(
        warning,
        "warning: servers.crm.url is not https: calls and results travel in clear\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&bench.run(&["check", "--output", "json"]).stdout).unwrap();
    assert_eq!(json["servers"], 2);
    assert_eq!(json["warnings"].as_array().unwrap().len(), 1);
}

#[test]
fn check_warns_of_programs_and_paths_that_are_absent() {
    let bench = Bench::new();
    bench.write("tool", "");
    let here = bench.directory.path().display().to_string();
    bench.write(
        "keepgate.yaml",
        &format!(
            "version: 1\npolicies: [policies]\nservers:\n  a: {{ command: [keepgate-no-such-program] }}\n  b: {{ command: [{here}/tool, /usr/no-such-path, {here}, /api/v1, --x] }}\n  c: {{ command: [cat], env: {{ PATH: {here} }} }}\n  d: {{ command: [./policies/time.rego], directory: . }}\n  e: {{ command: [./gone], directory: . }}\n"
        ),
    );
    let ran = bench.run(&["check"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (Exit::Success, ""));
    let warnings: Vec<&str> = ran.stdout.lines().skip(2).collect();
    assert_eq!(
        warnings,
        [
            "warning: servers.a.command: no such program in the PATH of the process: `keepgate-no-such-program`",
            "warning: servers.b.command: not an executable file: `<dir>/tool`",
            "warning: servers.b.command: no such file or directory: `/usr/no-such-path`",
            "warning: servers.c.command: no such program in the PATH of the process: `cat`",
            "warning: servers.d.command: not an executable file: `./policies/time.rego`",
            "warning: servers.e.command: no such program: `./gone`",
        ]
    );
}

#[test]
fn a_wrong_configuration_and_a_wrong_policy_have_codes_of_their_own() {
    let bench = Bench::new();
    bench.write(
        "policies/time.rego",
        "package mcp.authz\n\nallow contains if if\n",
    );
    for arguments in [
        &["check"][..],
        &["policy", "check"],
        &["policy", "test"],
        &["serve"],
    ] {
        let ran = bench.run(arguments);
        assert_eq!(ran.exit, Exit::Policy, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("time.rego:3"), "{}", ran.stderr);
    }
    bench.write(
        "keepgate.yaml",
        "version: 1\npolicies: [policies]\nservrs: {}\n",
    );
    for arguments in [
        &["check"][..],
        &["policy", "check"],
        &["serve"],
        &["servers", "list"],
        &["keys", "list"],
    ] {
        let ran = bench.run(arguments);
        assert_eq!(ran.exit, Exit::Configuration, "{arguments:?}");
        assert!(
            ran.stderr.contains("did you mean `servers`?"),
            "{}",
            ran.stderr
        );
    }
    assert!(
        bench
            .run(&["keys", "list"])
            .stderr
            .ends_with("hint: --state DIR works without a configuration\n")
    );
    let missing = run_with(&["check", "--config", "/nowhere.yaml"], Vec::new());
    assert_eq!(missing.exit, Exit::Configuration);
}

#[test]
fn servers_are_listed_without_their_arguments() {
    let ran = Bench::new().run(&["servers", "list"]);
    expect![[r#"
        NAME   KIND   TARGET                  OWNER  ENVIRONMENT  TRUST   LABELS
        crm    http   http://crm.example/mcp  sales  -            vetted  -
        files  child  cat                     -      -            vetted  a,b
    "#]]
    .assert_eq(&ran.stdout);
}

#[test]
fn a_failing_policy_test_is_shown_and_ends_with_its_code() {
    let bench = Bench::new();
    let ran = bench.run(&["policy", "test"]);
    assert_eq!(ran.exit, Exit::Success, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .starts_with("ok: 1 passed, 0 failed, 0 skipped in "),
        "{}",
        ran.stdout
    );
    bench.write("policies/time.rego", &POLICY.replace("now", "then"));
    let ran = bench.run(&["policy", "test"]);
    assert_eq!(ran.exit, Exit::Negative);
    assert!(
        ran.stdout
            .contains("time_test.rego:5: failed: mcp.authz_test.test_now\n"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("FAILED: 0 passed, 1 failed"),
        "{}",
        ran.stdout
    );
    let json: serde_json::Value =
        serde_json::from_str(&bench.run(&["policy", "test", "--output", "json"]).stdout).unwrap();
    assert_eq!(
        (&json["passed"], &json["tests"][0]["outcome"]),
        (&false.into(), &"failed".into())
    );
}

#[test]
fn a_matrix_that_differs_is_a_failed_test_until_it_is_accepted() {
    let bench = Bench::new();
    bench.write(
        "policies/matrix.yaml",
        "callers: { nobody: { kind: anonymous } }\nservers: { clock: {} }\ncalls:\n  - { server: clock, tool: now }\n",
    );
    let ran = bench.run(&["policy", "test"]);
    assert_eq!(ran.exit, Exit::Negative, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("matrix.txt: has no golden matrix, make it with --update"),
        "{}",
        ran.stdout
    );
    assert_eq!(
        bench.run(&["policy", "test", "--update"]).exit,
        Exit::Success
    );
    assert_eq!(bench.run(&["policy", "test"]).exit, Exit::Success);
    bench.write(
        "policies/time.rego",
        &POLICY.replace("allow contains", "deny contains"),
    );
    bench.write("policies/time_test.rego", "package mcp.authz_test\n");
    let ran = bench.run(&["policy", "test"]);
    assert_eq!(ran.exit, Exit::Negative);
    assert!(
        ran.stdout
            .contains("differs from the golden matrix, accept it with --update\n    - "),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_key_is_made_listed_and_revoked() {
    let bench = Bench::new();
    let json = |arguments: &[&str]| {
        let ran = bench.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(ran.exit, Exit::Success, "{}", ran.stderr);
        serde_json::from_str::<serde_json::Value>(&ran.stdout).unwrap()
    };
    assert!(
        bench
            .run(&["keys", "list"])
            .stdout
            .starts_with("no keys yet")
    );
    let created = json(&[
        "keys",
        "create",
        "--subject",
        "bot",
        "--role",
        "b",
        "--role",
        "a",
        "--server",
        "crm",
        "--expires",
        "90d",
    ]);
    let key = created["key"].as_str().unwrap();
    let id = created["id"].as_str().unwrap();
    assert!(key.starts_with(&format!("kg_{id}_")));
    assert_eq!(created["roles"], serde_json::json!(["a", "b"]));
    assert_eq!(created["status"], "active");
    let list = json(&["keys", "list"]);
    assert_eq!(list["keys"][0]["id"], id);
    assert!(!list.to_string().contains(key), "the key is shown once");
    let text = bench.run(&["keys", "list"]).stdout;
    assert!(
        text.contains(id) && text.contains("active") && text.contains("crm"),
        "{text}"
    );
    assert_eq!(json(&["keys", "revoke", id])["status"], "revoked");
    assert_eq!(
        bench.run(&["keys", "revoke", "0123456789abcdef"]).exit,
        Exit::Negative
    );
    assert_eq!(
        bench
            .run(&["keys", "create", "--subject", "two words"])
            .exit,
        Exit::Usage
    );
}

#[test]
fn keys_can_be_reached_when_the_configuration_is_broken() {
    let bench = Bench::new();
    bench.run(&["keys", "create", "--subject", "bot"]);
    // Revoking must work when the configuration does not.
    bench.write("keepgate.yaml", "broken");
    let state = bench.path("keepgate-state");
    assert_eq!(
        bench
            .run(&["keys", "list", "--state", state.to_str().unwrap()])
            .exit,
        Exit::Success
    );
    fs::write(state.join("keys.json"), "{").unwrap();
    assert_eq!(
        bench
            .run(&["keys", "list", "--state", state.to_str().unwrap()])
            .exit,
        Exit::State
    );
}

/// A log with a few records in `directory`.
fn make_log(directory: &Path) {
    let log =
        keepgate_audit::Log::open(keepgate_audit::Settings::new(directory, "test/log", "node"))
            .unwrap();
    for id in ["first", "second", "second"] {
        let record = keepgate_audit::Record {
            decision_id: Some(id),
            server: Some("crm"),
            tool_name: Some("search\u{1b}[31m"),
            ..keepgate_audit::Record::new(
                keepgate_audit::Kind::CallRefused,
                std::time::SystemTime::now(),
            )
        };
        log.append(&record).wait().unwrap();
    }
    log.close();
}

#[test]
fn the_record_is_verified() {
    let bench = Bench::new();
    let directory = bench.path("log");
    make_log(&directory);
    let log = directory.to_str().unwrap();
    let ran = bench.run(&["audit", "verify", "--log", log]);
    assert_eq!(ran.exit, Exit::Success, "{}{}", ran.stdout, ran.stderr);
    expect![[r#"
        sound: <dir>/log (test/log): 5 records, 5 signed, 0 calls without an outcome
        note: the key came from the log itself; who rewrites a log can replace it. Keep a copy elsewhere and pass --key.
    "#]]
    .assert_eq(&ran.stdout);
    let key = directory.join("log.pub");
    let with_key = bench.run(&[
        "audit",
        "verify",
        "--log",
        log,
        "--key",
        key.to_str().unwrap(),
    ]);
    assert!(!with_key.stdout.contains("note:"));
    let text = fs::read_to_string(&key).unwrap();
    assert_eq!(
        bench
            .run(&["audit", "verify", "--log", log, "--key", text.trim()])
            .exit,
        Exit::Success
    );
}

#[test]
fn the_record_is_followed_and_searched() {
    let bench = Bench::new();
    let directory = bench.path("log");
    make_log(&directory);
    let log = directory.to_str().unwrap();
    assert_eq!(
        bench
            .run(&["audit", "tail", "--log", log])
            .stdout
            .lines()
            .count(),
        5
    );
    let last = bench
        .run(&["audit", "tail", "--log", log, "-n", "2"])
        .stdout;
    assert!(
        last.starts_with("3 ") && last.contains(" call.refused crm/search\\u{1b}[31m id=second\n"),
        "{last}"
    );
    let json = bench
        .run(&["audit", "show", "second", "--log", log, "--output", "json"])
        .stdout;
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["decision_id"], "second");
    assert_eq!(
        bench.run(&["audit", "show", "third", "--log", log]).exit,
        Exit::Negative
    );
    for arguments in [["audit", "tail"], ["audit", "verify"]] {
        assert_eq!(
            bench
                .run(&[&arguments[..], &["--log", "/nowhere"]].concat())
                .exit,
            Exit::State
        );
    }
}

#[test]
fn a_log_that_was_changed_has_codes_of_its_own() {
    let bench = Bench::new();
    let directory = bench.path("log");
    make_log(&directory);
    let log = directory.to_str().unwrap();
    let verify = || bench.run(&["audit", "verify", "--log", log]);
    let tail = directory.join("tail.0");
    let records = fs::read(&tail).unwrap();
    let at = records
        .windows(5)
        .position(|part| part == b"first")
        .unwrap();

    let mut flipped = records.clone();
    flipped[at] ^= 1;
    fs::write(&tail, flipped).unwrap();
    let ran = verify();
    assert_eq!(ran.exit, Exit::Tampered, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("TAMPERED") && ran.stdout.contains("hint: "),
        "{}",
        ran.stdout
    );

    fs::write(&tail, &records[..at - 60]).unwrap();
    assert_eq!(verify().exit, Exit::Truncated, "{}", verify().stdout);
    fs::write(&tail, &records).unwrap();
    assert_eq!(verify().exit, Exit::Success);

    let other = bench.path("other");
    make_log(&other);
    let key = other.join("log.pub");
    let ran = bench.run(&[
        "audit",
        "verify",
        "--log",
        log,
        "--key",
        key.to_str().unwrap(),
    ]);
    assert_eq!(ran.exit, Exit::Unsigned, "{}", ran.stdout);
}

#[test]
fn who_stops_reading_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in ["text", "json"] {
        let arguments = ["keepgate", "version", "--output", format].map(OsString::from);
        let mut stderr = Vec::new();
        let surroundings = Surroundings {
            variables: Vec::new(),
            stdout: &mut Closed,
            stderr: &mut stderr,
        };
        assert_eq!(run(arguments, surroundings), Exit::Success, "{format}");
        assert!(stderr.is_empty());
    }
}
