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

deny contains "negated" if {
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

approve contains {"code": "ask", "ttl": "5m", "quorum": 2} if input.arguments.n == 5

approve contains {"code": "ask", "quorum": input.arguments.quorum} if input.arguments.n == 6

visible contains "seen" if input.tool.name == "f"
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
    let (half, other) = FORMS.split_at(FORMS.find("deny contains \"negated\"").unwrap());
    let other = format!("package mcp.authz\n\n{other}");
    vec![
        pair(&[("a.rego", FORMS)]),
        pair(&[("a.rego", half), ("b.rego", &other)]),
        pair(&[("a.rego", &other), ("b.rego", half)]),
        pair(&[("a.rego", READ)]),
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
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_answers_are_those_of_the_whole(
        tool in text(&["a", "b", "c", "d", "e", "f", "read_file", "write_file", "query_database", "refund", "send_mail",
            "delete_account", "search_cases"]),
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
                prop_assert_eq!((&one.effect, &one.reasons), (&other.effect, &other.reasons), "policy {}", index);
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
    let plan = plan(
        &files,
        &checked.sites,
        &checked.graph,
        &BTreeSet::new(),
        true,
    );
    let asks = |units: &[Unit]| {
        units
            .iter()
            .filter(|unit| matches!(unit.then, Then::Ask(_)))
            .count()
    };
    assert_eq!(
        (asks(&plan.allow), plan.allow.len() > 10),
        (1, true),
        "{:#?}",
        plan.allow
    );
    assert_eq!(
        (asks(&plan.deny), plan.deny.len()),
        (6, 6),
        "{:#?}",
        plan.deny
    );
    assert_eq!((asks(&plan.visible), plan.visible.len()), (0, 1));
    let text = &plan.modules[0].1;
    assert!(!text.contains("\"constant\" if"), "{text}");
    assert_eq!(text.lines().count(), FORMS.lines().count());
}
