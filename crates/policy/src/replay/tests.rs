//! Recorded decisions against candidates: wider, narrower, both, and what cannot be said.

use super::{Replay, Verdict, replay};
use crate::policy::tests::policy;

const NOW: &str = r#"package mcp.authz
allow contains "cases" if input.tool.name == "search_cases"
approve contains {"code": "delete", "approvers": ["group:leads"], "quorum": 2, "ttl": "10m"} if input.tool.name == "delete"
redact contains {"field": "ssn"}
max_records contains 100
"#;

fn line(id: &str, tool: &str, result: &str) -> String {
    format!(
        r#"{{"decision_id":"{id}","input":{{"version":"keepgate/v1","phase":"call","method":"tools/call","tenant":"",
        "caller":{{"sub":"ann","roles":["support"]}},"server":{{"name":"crm"}},"tool":{{"name":"{tool}"}},
        "arguments":{{}}}},"result":{result}}}"#
    )
    .replace('\n', "")
}

const OBLIGED: &str = r#""obligations":{"redact":[{"field":"ssn"}],"max_records":[{"max":100}]}"#;

fn recorded() -> Vec<String> {
    vec![
        line(
            "1",
            "search_cases",
            &format!(
                r#"{{"effect":"allow","reasons":[{{"code":"allowed","message":"cases"}}],{OBLIGED}}}"#
            ),
        ),
        line(
            "2",
            "delete",
            &format!(
                r#"{{"effect":"approve","reasons":[{{"code":"delete"}}],"approval":{{"approvers":["group:leads"],"quorum":2,"ttl_s":600}},{OBLIGED}}}"#
            ),
        ),
        line(
            "3",
            "export",
            r#"{"effect":"deny","reasons":[{"code":"no_rule"}]}"#,
        ),
    ]
}

fn against(candidate: &str, lines: &[String]) -> Replay {
    replay(&policy(candidate), lines.iter().map(String::as_str))
}

#[test]
fn the_policies_that_decided_change_nothing() {
    let replay = against(NOW, &recorded());
    assert_eq!((replay.total, replay.same, replay.other_reasons), (3, 3, 0));
    assert_eq!(replay.verdict(), Verdict::Same);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one change per row")]
fn changes_are_told_apart() {
    let wider = "allow contains \"export\" if input.tool.name == \"export\"\n";
    for (change, to, verdict, kinds) in [
        (
            "allow contains \"cases\"",
            "allow contains \"x\" if false #",
            Verdict::Narrowed,
            "allow -> deny",
        ),
        (
            "package mcp.authz\n",
            &format!("package mcp.authz\n{wider}"),
            Verdict::Widened,
            "deny -> allow",
        ),
        (
            "\"quorum\": 2",
            "\"quorum\": 1",
            Verdict::Widened,
            "approval changed",
        ),
        (
            "\"quorum\": 2",
            "\"quorum\": 3",
            Verdict::Narrowed,
            "approval changed",
        ),
        (
            "group:leads",
            "group:all",
            Verdict::Widened,
            "approval changed",
        ),
        ("10m", "5m", Verdict::Narrowed, "approval changed"),
        ("10m", "1h", Verdict::Widened, "approval changed"),
        (
            "approve contains {\"code\": \"delete\", \"approvers\": [\"group:leads\"], \"quorum\": 2, \"ttl\": \"10m\"}",
            "deny contains \"no\"",
            Verdict::Narrowed,
            "approve -> deny",
        ),
        (
            "redact contains {\"field\": \"ssn\"}\n",
            "",
            Verdict::Widened,
            "obligations changed",
        ),
        (
            "max_records contains 100",
            "max_records contains 500",
            Verdict::Widened,
            "obligations changed",
        ),
        (
            "max_records contains 100",
            "max_records contains 50",
            Verdict::Narrowed,
            "obligations changed",
        ),
        (
            "max_records contains 100",
            "max_records contains 100\nmax_bytes contains 9",
            Verdict::Narrowed,
            "obligations changed",
        ),
    ] {
        assert!(NOW.contains(change), "{change}");
        let replay = against(&NOW.replace(change, to), &recorded());
        assert_eq!(replay.verdict(), verdict, "{change} {to}: {replay:#?}");
        let found: Vec<&str> = replay.changes.keys().map(String::as_str).collect();
        assert_eq!(found.join(", "), kinds, "{change} {to}");
    }
}

#[test]
fn what_changed_is_counted_by_tool_and_caller_with_examples() {
    let replay = against("package mcp.authz\nallow contains \"all\"", &recorded());
    let deny = &replay.changes["deny -> allow"];
    assert_eq!((deny.count, deny.widened, deny.narrowed), (1, 1, 0));
    assert_eq!(deny.by_tool["crm.export"], 1);
    assert_eq!(deny.by_caller["ann"], 1);
    assert_eq!(deny.examples[0].id, "3");
    assert_eq!(
        (
            deny.examples[0].before[0].as_str(),
            deny.examples[0].after[0].as_str()
        ),
        ("no_rule", "allowed")
    );
    // Without its obligations even what stays allowed is wider.
    assert_eq!(
        replay.changes["obligations changed"].examples[0]
            .details
            .len(),
        2
    );
    assert_eq!(replay.widened, 3);
}

#[test]
fn what_is_left_out_counts_only_where_it_is_read() {
    let erased = recorded()
        .remove(2)
        .replace(r#""arguments":{}"#, r#""flow":{}"#)
        .replacen('{', r#"{"erased":["/input/arguments"],"#, 1);
    let lines = [
        erased,
        r#"{"decision_id":"4","mask_failed":true}"#.to_owned(),
        "{".to_owned(),
    ];
    let replay = against(NOW, &lines);
    assert_eq!((replay.same, replay.not_replayed), (1, 2));
    assert_eq!(replay.verdict(), Verdict::Incomplete);
    let reads = format!("{NOW}deny contains \"x\" if input.arguments.all == true\n");
    let replay = against(&reads, &lines);
    assert_eq!((replay.same, replay.not_replayed), (0, 3));
    let why = "`input.arguments` is left out, and the candidate reads it";
    assert_eq!(replay.reasons[why].ids, ["3"]);
    // Whatever else could not be said, something did widen.
    let replay = against("package mcp.authz\nallow contains \"all\"", &lines);
    assert_eq!(replay.verdict(), Verdict::Widened);
}
