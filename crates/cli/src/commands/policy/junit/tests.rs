//! The document, read by a parser that is not ours.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use keepgate_policy::runner::Part;

use super::*;

/// Tells what Python's parser finds: each test case with its verdict, and the counts of each suite.
const READER: &str = r#"
import sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.buffer.read())
for suite in root.findall("testsuite"):
    print(suite.get("name"), *(suite.get(name) for name in ("tests", "failures", "errors", "skipped")))
    for case in suite.findall("testcase"):
        found = [child.tag + " " + ascii(child.get("message") or child.text or "") for child in case]
        print(" ", ascii(case.get("name")), case.get("line"), *found)
"#;

fn read(xml: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "a parser that is not ours is a process of its own"
    )]
    let mut python = Command::new("python3")
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python
        .stdin
        .take()
        .unwrap()
        .write_all(xml.as_bytes())
        .unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "not XML:\n{xml}");
    String::from_utf8(output.stdout).unwrap()
}

fn case(name: &str, outcome: Outcome, parts: &[(&str, bool)], prints: &[&str]) -> Case {
    Case {
        file: "a_test.rego".into(),
        line: 7,
        package: "mcp.authz_test".to_owned(),
        name: name.to_owned(),
        outcome,
        parts: parts
            .iter()
            .map(|(name, passed)| Part {
                name: (*name).to_owned(),
                passed: *passed,
            })
            .collect(),
        prints: prints.iter().map(|line| (*line).to_owned()).collect(),
        elapsed: Duration::from_millis(2),
    }
}

#[test]
fn another_parser_reads_what_is_written() {
    let report = Report {
        cases: vec![
            case("test_a", Outcome::Passed, &[], &[]),
            case(
                "test_b",
                Outcome::Failed,
                &[("ok <&> \"it\"", true), ("bad\u{1b}[31m\u{0}", false)],
                &["a.rego:1: x < 1 && \"y\""],
            ),
            case(
                "test_c",
                Outcome::Error("3:4: ]]> not text".to_owned()),
                &[],
                &[],
            ),
            case("todo_test_d", Outcome::Skipped, &[], &[]),
        ],
        ..Report::default()
    };
    let picture = Picture {
        file: "matrix.yaml".to_owned(),
        golden: "matrix.txt".to_owned(),
        outcome: "differs",
        difference: "    - a\n    + b\n".to_owned(),
    };
    assert_eq!(
        read(&xml(&report, &[picture])),
        "matrix 1 1 0 0\n  'matrix.txt' 1 failure 'matrix.txt differs'\n\
         mcp.authz_test 5 1 1 1\n  'test_a' 7\n  'test_b[ok <&> \"it\"]' 7\n  \
         'test_b[bad\\ufffd[31m\\ufffd]' 7 failure 'it does not hold' system-out 'a.rego:1: x < 1 && \"y\"'\n  \
         'test_c' 7 error '3:4: ]]> not text'\n  'todo_test_d' 7 skipped ''\n"
    );
}

#[test]
fn nothing_is_a_document_too() {
    assert_eq!(read(&xml(&Report::default(), &[])), "");
}
