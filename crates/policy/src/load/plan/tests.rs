//! Taken apart or whole: the answers are the same.

use proptest::prelude::*;

use super::*;
use crate::decision::Decision;
use crate::facts::{CallerFacts, CallerFields, Facts, Subject, ToolFacts, ToolFields};
use crate::policy::Policy;
use crate::policy::tests::{facts, folder, server, settings, starter};
use crate::settings::Settings;

/// Rules of every form a guard has, behind and before statements that fail, with constants and without.
const FORMS: &str = r#"package mcp.authz

allow contains "constant" if input.server.name == "crm"
allow contains "reversed" if "files" == input.server.name
allow contains "one of" if input.tool.name in {"a", "b"}
allow contains "in an array" if input.tool.name in ["c", 5, "d"]
allow contains "role" if "editor" in input.caller.roles
allow contains "in an object" if "x" in input.arguments.object
allow contains "truth" if input.tool.annotations_trusted
allow contains "bracket" if input["tool"]["name"] == "e"
allow contains {"code": "object", "message": "constant"} if input.arguments.n == 1
allow contains sprintf("%v", [input.tool.name]) if input.arguments.n == 2
allow contains "number" if input.arguments.n == 1.0
allow contains "null" if input.arguments.n == null
allow contains "bare" if input.arguments.n
allow contains "into a text" if input.tool.name.deeper == "x"
allow contains "set" if input.arguments.n == {1}

deny contains "later failure" if {
	input.tool.name == "a"
	lower(input.arguments.n) == "x"
}

deny contains "earlier failure" if {
	lower(input.arguments.object) == "x"
	input.tool.name == "b"
}

allow contains "negated" if {
	input.tool.name == "c"
	not startswith(input.arguments.sql, "select")
}

deny contains "loop" if {
	input.tool.name == "d"
	some item in input.arguments.list
	item == "bad"
}

deny contains "loop first" if {
	some item in input.arguments.list
	item == "worse"
	input.server.name == "crm"
}

deny contains "helper" if {
	input.server.name == "files"
	bad
}

bad if input.arguments.n == 3

deny contains "replaced" if {
	input.tool.name == "nobody" with input as {"tool": {"name": "nobody"}}
	input.arguments.n == 4
}

deny contains "compared" if {
	input.tool.name == "e"
	input.arguments.n > 3
	input.arguments.n != 5
}

deny contains "smaller" if input.arguments.object < input.arguments.list

deny contains "called" if contains(input.arguments.sql, "drop")

allow contains "nested" if {
	input.tool.name in {"e", "f"}
	not startswith(lower(trim_space(input.arguments.sql)), "select ")
}

deny contains "counted" if count(input.arguments.list) == 2

deny contains "defaulted" if object.get(input.arguments, ["deep", "limit"], 7) == input.arguments.quorum

allow contains "pattern" if {
	not regex.match(`^[a-z./]+$`, input.arguments.path)
	input.tool.name == "write_file"
}

allow contains "not in" if {
	input.tool.name == "search_cases"
	not input.arguments.n in {1, "x"}
}

deny contains "of the right kind" if {
	is_string(input.arguments.path)
	input.arguments.path in input.arguments.list
}

allow contains "network" if {
	input.tool.name == "refund"
	not net.cidr_contains("10.0.0.0/8", input.arguments.path)
}

deny contains "covered" if to_number(input.arguments.quorum) == 2

deny contains "own function" if {
	input.tool.name == "delete_account"
	upper(input.arguments.path) == "OWN"
}

upper(path) := "OWN" if path == "a/b"

approve contains {"code": "ask", "ttl": "5m", "quorum": 2} if input.arguments.n == 5

approve contains {"code": "ask", "quorum": input.arguments.quorum} if input.arguments.n == 6

visible contains "seen" if input.tool.name == "f"
"#;

/// Local names, loops, helpers, data and entries made from the input: forms that are run without the evaluator.
const LOCAL: &str = r#"package mcp.authz

import data.limits
import input.arguments as given

allow contains sprintf("%v may", [input.tool.name]) if input.tool.name

deny contains {"code": "loop", "message": table} if {
	input.tool.name == "a"
	some table in ["drop", "payroll"]
	contains(lower(input.arguments.sql), table)
}
deny contains {"code": "key"} if {
	input.tool.name == "a"
	some place, item in input.arguments.list
	place == 1
	item == "bad"
}
deny contains {"code": "object"} if {
	input.tool.name == "b"
	some name, item in input.arguments.object
	sprintf("%v-%v", [name, item]) == "k-x"
}
deny contains {"code": "literal"} if {
	input.tool.name == "c"
	some item in input.arguments.list
	startswith(item, "b")
}
deny contains "plain literal" if {
	input.tool.name == "d"
	some item in input.arguments.list
	startswith(item, "b")
}
deny contains {"code": "order"} if {
	input.tool.name == "e"
	some zebra in input.arguments.list
	some ant in input.arguments.list
	lower(zebra) != lower(ant)
	input.arguments.n == 3
}
deny contains {"code": "named"} if {
	input.tool.name == "f"
	words := split(input.arguments.path, "/")
	count(words) > 1
	last := words[count(words) - 1]
	last == "b"
}
deny contains {"code": "named_simply"} if {
	input.tool.name == "f"
	words := split(given.path, "/")
	first := words[0]
	first == ".."
}
deny contains {"code": "helper"} if {
	input.tool.name == "refund"
	not reasonable
}
deny contains {"code": "defaulted"} if {
	input.tool.name == "send_mail"
	size == "small"
}
deny contains {"code": "two_values"} if {
	input.tool.name == "own"
	level == 1
}
deny contains {"code": "data"} if {
	input.tool.name == "query_database"
	input.arguments.n > limits[input.caller.kind].rows
}
deny contains {"code": "grant"} if {
	input.tool.name == "search_cases"
	is_string(input.arguments.path)
	not data.grants[input.server.name][input.arguments.path]
}
allow contains {"code": "listed"} if {
	input.tool.name == "write_file"
	not input.arguments.list[0] in data.limits.user.names
}
deny contains {"code": "through_a_rule", "message": concat(" ", ["held by", holder])} if {
	input.tool.name == "delete_account"
	holder
}
deny contains {"code": "unused"} if {
	input.tool.name == "with"
	some _ in input.arguments.list
}
deny contains {"code": input.arguments.sql} if {
	input.tool.name == "read_file"
	input.arguments.n == 1
}
redact contains {"field": name} if {
	input.tool.name == "read_file"
	some name in data.limits.user.names
}

allow contains {"code": "function"} if {
	input.tool.name == "search_cases"
	not short(input.arguments.path, 4)
}
deny contains {"code": "function_of_two_values"} if {
	input.tool.name == "own"
	kind(input.arguments.n) == "number"
}
deny contains {"code": "function_that_fails"} if {
	input.tool.name == "with"
	some item in input.arguments.list
	loud(item) == "BAD"
}
allow contains {"code": "function_of_the_undefined"} if {
	input.tool.name == "delete_account"
	not short(input.arguments.missing, 4)
}

deny contains {"code": "written_order"} if {
	input.tool.name == "write_file"
	zebra := to_number(input.arguments.quorum)
	ant := input.arguments.missing
	zebra > ant
}
deny contains {"code": "written_order_before_a_test"} if {
	input.tool.name == "read_file"
	zebra := lower(input.arguments.sql)
	input.arguments.n == 1
	zebra != "x"
}
deny contains {"code": "a_test_before"} if {
	input.tool.name == "send_mail"
	is_string(input.arguments.sql)
	text := lower(input.arguments.sql)
	some item in input.arguments.list
	length := count(text)
	length > 3
	item != "bad"
}
deny contains {"code": "one_name_for_another"} if {
	input.tool.name == "refund"
	one := lower(input.arguments.path)
	other := one
	other == "a/b"
}

short(text, most) if {
	is_string(text)
	count(text) < most
}
kind(value) := "number" if is_number(value)
kind(value) := "one" if value == 1
kind(value) := "text" if is_string(value)
loud(text) := upper(text)

reasonable if {
	input.arguments.limit > 0
	input.arguments.limit <= 5
}
reasonable if input.arguments.path == "a/b"
reasonable if lower(input.arguments.sql) == "drop"

default size := "large"
size := "small" if count(input.arguments.list) < 2
level := 1 if input.arguments.n == 1
level := 2 if input.arguments.quorum == 1
holder := input.arguments.path if reasonable
"#;
const LOCAL_DATA: &str = r#"{"limits": {"user": {"rows": 2, "names": ["bad", "worse"]}, "machine": {"rows": 5}},
 "grants": {"crm": {"a/b": true, "../b": false}, "files": {"a/.env": 1}}}"#;

/// The same kinds of rules, each behind a tool of its own: an error in one must not hide the answers of the others.
const APART: &str = r#"package mcp.authz

allow contains "all" if input.tool
deny contains "1" if {
	input.tool.name == "a"
	contains(input.arguments.sql, "drop")
}
allow contains "2" if {
	input.tool.name == "b"
	not startswith(lower(trim_space(input.arguments.sql)), "select ")
}
allow contains "3" if {
	input.tool.name == "c"
	not regex.match(`^[a-z./]+$`, input.arguments.path)
}
allow contains "4" if {
	input.tool.name == "d"
	not input.arguments.n in {1, "x"}
}
deny contains "5" if {
	input.tool.name == "e"
	count(input.arguments.list) >= 1
	input.arguments.n <= 3
}
deny contains "6" if {
	input.tool.name == "f"
	to_number(input.arguments.quorum) > 1
}
allow contains "7" if {
	input.tool.name == "refund"
	not object.get(input.arguments, "n", 9) < 4
}
deny contains "8" if {
	input.tool.name == "read_file"
	split(input.arguments.path, "/") == ["a", "b"]
}
allow contains "9" if {
	input.tool.name == "write_file"
	not is_string(input.arguments.path)
}
deny contains "10" if {
	input.tool.name == "send_mail"
	input.arguments.list != input.arguments.object
}
allow contains "11" if {
	input.tool.name == "query_database"
	not "bad" in input.arguments.list
	not input.arguments.missing
}
allow contains "12" if {
	input.tool.name == "search_cases"
	replace(input.arguments.path, "/", "") == "ab"
	not lower(input.arguments.missing) == "x"
}
deny contains "13" if {
	input.tool.name == "delete_account"
	input.arguments.n != input.arguments.missing
}
deny contains "14" if {
	input.tool.name == "own"
	upper(input.arguments.path) == "OWN"
}
deny contains "15" if {
	input.tool.name == "with"
	not input.arguments.n == 1 with input as {"arguments": {"n": 1}}
}
upper(path) := "OWN" if path == "a/b"
"#;

/// A set that another rule reads stays whole.
const READ: &str = r#"package mcp.authz

allow contains "a" if input.tool.name == "a"
allow contains "b" if input.tool.name == "b"
deny contains "not allowed twice" if {
	input.server.name == "crm"
	count(allow) == 0
}
deny contains "c" if input.tool.name == "c"
"#;

fn pair(files: &[(&str, &str)]) -> [Policy; 2] {
    let folder = folder(files);
    [true, false].map(|split| {
        let settings = Settings {
            split,
            ..settings()
        };
        Policy::load(&[folder.path().to_owned()], &settings)
            .unwrap_or_else(|errors| panic!("{errors}"))
    })
}

fn pairs() -> Vec<[Policy; 2]> {
    let twelve = include_str!("../../../benches/twelve.rego");
    let starter = [true, false].map(|split| {
        let settings = Settings {
            split,
            ..settings()
        };
        Policy::load(&[starter()], &settings).unwrap()
    });
    let (half, other) = FORMS.split_at(FORMS.find("allow contains \"negated\"").unwrap());
    let other = format!("package mcp.authz\n\n{other}");
    vec![
        pair(&[("a.rego", FORMS)]),
        pair(&[("a.rego", half), ("b.rego", &other)]),
        pair(&[("a.rego", &other), ("b.rego", half)]),
        pair(&[("a.rego", APART)]),
        pair(&[("a.rego", READ)]),
        pair(&[("a.rego", LOCAL), ("data.json", LOCAL_DATA)]),
        pair(&[("a.rego", twelve)]),
        starter,
    ]
}

fn text(choices: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(choices)
}

fn arguments() -> impl Strategy<Value = String> {
    let number = text(&[
        "0", "1", "1.0", "2", "3", "4", "5", "6", "null", "false", "true", "\"x\"", "[1]",
    ]);
    let list = text(&[
        "[]",
        "[\"bad\"]",
        "[\"worse\"]",
        "[1, \"bad\"]",
        "\"bad\"",
        "5",
        "{\"k\": \"bad\"}",
        "null",
    ]);
    let object = text(&["{}", "{\"k\": \"x\"}", "[\"x\"]", "\"x\"", "7"]);
    let sql = text(&["\"select 1\"", "\"drop\"", "5", "null", "[\"select\"]"]);
    let path = text(&["\"a/b\"", "\"../b\"", "\"a/.env\"", "5", "[\"..\"]"]);
    let quorum = text(&["1", "0", "\"2\"", "3"]);
    (number, list, object, sql, path, quorum).prop_map(|(n, list, object, sql, path, quorum)| {
        format!(
            "{{\"n\": {n}, \"list\": {list}, \"object\": {object}, \"sql\": {sql}, \"path\": {path}, \
             \"paths\": {list}, \"limit\": {n}, \"amount\": {n}, \"to\": {list}, \"quorum\": {quorum}}}"
        )
    })
}

thread_local! {
    static PAIRS: Vec<[Policy; 2]> = pairs();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answers_are_those_of_the_whole(
        tool in text(&["a", "b", "c", "d", "e", "f", "read_file", "write_file", "query_database", "refund", "send_mail",
            "delete_account", "own", "with", "search_cases"]),
        on in text(&["crm", "files", "other"]),
        role in text(&["editor", "analyst", "support", "none"]),
        arguments in prop::option::of(arguments()),
        trusted in any::<bool>(),
        annotations in text(&["{}", "{\"readOnlyHint\": true}", "{\"destructiveHint\": true}", "{\"readOnlyHint\": 1}"]),
    ) {
        let fields = CallerFields { kind: "user", roles: &[role], ..CallerFields::default() };
        let (caller, server) = (CallerFacts::new(&fields).unwrap(), server(on));
        let fields = ToolFields { name: tool, annotations: Some(annotations), annotations_trusted: trusted, ..ToolFields::default() };
        let definition = ToolFacts::new(&fields).unwrap();
        let subject = Subject::Tool { name: tool, definition: Some(&definition) };
        let facts = Facts { subject, arguments: arguments.as_deref(), ..facts(&caller, &server, tool) };
        PAIRS.with(|pairs| {
            for (index, [split, whole]) in pairs.iter().enumerate() {
                let (one, other) = (split.judge(&facts), whole.judge(&facts));
                prop_assert_eq!((&one.effect, &one.reasons, &one.obligations), (&other.effect, &other.reasons, &other.obligations), "policy {}", index);
                let (one, other) = (split.visible(&facts, &[subject]), whole.visible(&facts, &[subject]));
                prop_assert_eq!((one.shown, one.failure), (other.shown, other.failure), "policy {}", index);
            }
            // The first three are one policy, in one file and in two, in either order.
            let first: Vec<Decision> = pairs.iter().take(3).map(|[split, _]| split.judge(&facts)).collect();
            for other in &first {
                prop_assert_eq!((&first[0].effect, &first[0].reasons), (&other.effect, &other.reasons));
            }
            Ok(())
        })?;
    }
}

#[test]
fn rules_that_are_guards_alone_leave_the_evaluator() {
    let folder = folder(&[("a.rego", FORMS)]);
    let files = crate::load::files::read(&[folder.path().to_owned()], &settings(), false).unwrap();
    let checked = crate::load::check_files(&files, false).unwrap();
    let plan = plan(&files, &checked.sites, &checked.graph, &|_| true, true).unwrap();
    let asks = |units: &[Unit]| {
        units
            .iter()
            .filter(|unit| matches!(unit.then, Then::Ask(_)))
            .count()
    };
    let checks = |units: &[Unit]| {
        units
            .iter()
            .filter(|unit| matches!(unit.then, Then::Run(_)))
            .count()
    };
    assert_eq!(
        (asks(&plan.allow), checks(&plan.allow)),
        (0, 6),
        "{:#?}",
        plan.allow
    );
    // Left to the evaluator: a `with`.
    assert_eq!(
        (asks(&plan.deny), checks(&plan.deny)),
        (1, 13),
        "{:#?}",
        plan.deny
    );
    assert_eq!((asks(&plan.visible), plan.visible.len()), (0, 1));
    let text = &plan.modules[0].1;
    assert!(!text.contains("\"constant\" if"), "{text}");
    assert_eq!(text.lines().count(), FORMS.lines().count());
    // One computes, one gives a name to a name.
    assert_eq!(asked(&[("a.rego", LOCAL), ("data.json", LOCAL_DATA)]), 2);
    let twelve = include_str!("../../../benches/twelve.rego");
    assert_eq!(asked(&[("a.rego", twelve)]), 0);
}

/// The evaluator finds `"5"` by the number 5; here that is an error, so that a call is refused and not let through.
#[test]
fn data_is_looked_into_by_texts() {
    let rule = "package mcp.authz\nallow contains \"listed\" if data.listed[input.arguments.n]\n";
    let [split, _] = pair(&[
        ("a.rego", rule),
        ("data.json", r#"{"listed": {"5": true}}"#),
    ]);
    let (caller, server) = (
        CallerFacts::new(&CallerFields::default()).unwrap(),
        server("crm"),
    );
    let said = |arguments| {
        let facts = Facts {
            arguments: Some(arguments),
            ..facts(&caller, &server, "t")
        };
        split
            .judge(&facts)
            .reasons
            .first()
            .unwrap()
            .code
            .to_string()
    };
    assert_eq!(said(r#"{"n": "5"}"#), "allowed");
    assert_eq!(said(r#"{"n": 5}"#), "policy_error");
    assert_eq!(said("{}"), "no_rule");
}

/// How many units of a policy need the evaluator.
fn asked(files: &[(&str, &str)]) -> usize {
    let folder = folder(files);
    let files = crate::load::files::read(&[folder.path().to_owned()], &settings(), false).unwrap();
    let checked = crate::load::check_files(&files, false).unwrap();
    let plan = plan(&files, &checked.sites, &checked.graph, &|_| true, true).unwrap();
    let asks = plan
        .units()
        .filter(|unit| matches!(unit.then, Then::Ask(_)));
    asks.count()
}
