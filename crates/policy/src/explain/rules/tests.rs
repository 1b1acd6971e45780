//! Rules taken apart: what held, what failed where, and what cannot be taken apart.

use std::path::PathBuf;

use super::{Outcome, rules};
use crate::json;
use crate::load;
use crate::load::files::{File, Kind};

const POLICY: &str = r##"package mcp.authz

import data.teams

# METADATA
# title: Support reads cases
allow contains "support reads cases" if {
	"support" in input.caller.roles # who
	input.server.name == "crm"
	input.tool.name in {"search_cases", "get_case"}
}

allow contains "everything" if input.caller.sub == "root"

deny contains {"code": "sql_not_select", "message": sprintf("not %s", [verb])} if {
	input.tool.name == "query"; verb := lower(split(input.arguments.sql, " ")[0])
	verb != "select"
}

deny contains "# not a team" if {
	some team in teams
	team.name == input.caller.sub
	not team.active
}

deny contains "late" if { count(input.caller.roles) > most }

most := 2

approve contains "always"

redact contains {"result": "/a"} if {
	some x
	x > 0
	x = count(input.caller.roles)
}

timeout contains "5s" if startswith(input.tool.name, 7)
"##;

#[expect(
    clippy::too_many_lines,
    reason = "it spells out every form a report can take"
)]
fn report(input: &str) -> String {
    let file = |name: &str, kind, text: &str| File {
        path: PathBuf::from(name),
        mount: Vec::new(),
        kind,
        text: text.into(),
    };
    let files = [
        file("a.rego", Kind::Rules, POLICY),
        file(
            "data.json",
            Kind::Json,
            r#"{"teams": [{"name": "ann", "active": false}, {"name": "bob", "active": true}]}"#,
        ),
    ];
    let checked = load::check_files(&files, false).unwrap();
    let input = json::parse(input).unwrap();
    let reports = rules(
        &files,
        &checked.sites,
        &checked.data,
        &input,
        &input,
        |site| site.line != 13,
    );
    let mut text = String::new();
    for report in reports.unwrap() {
        text.push_str(&format!(
            "{}:{} {}",
            report.file.display(),
            report.line,
            report.set
        ));
        if let Some(title) = report.title {
            text.push_str(&format!(" ({title})"));
        }
        let at = match report.outcome {
            Outcome::Held { entries } => {
                text.push_str(&format!(" held {}\n", entries.join(" ")));
                continue;
            }
            Outcome::NotAsked => {
                text.push_str(" not asked\n");
                continue;
            }
            Outcome::Failed { at } => at,
            Outcome::Error { message, at } => {
                text.push_str(&format!(" error <{message}>"));
                at
            }
        };
        if let Some(at) = at {
            text.push_str(&format!(" failed at {}: {}", at.line, at.text));
            for looked in at.values {
                text.push_str(&format!(
                    " | {} = {}",
                    looked.name,
                    looked.value.as_deref().unwrap_or("-")
                ));
            }
        }
        text.push('\n');
    }
    text
}

#[test]
fn each_rule_says_where_it_stopped() {
    let input = r#"{"caller":{"sub":"ann","roles":["support"]},"server":{"name":"wiki"},"tool":{"name":"query"},
        "arguments":{"sql":"DROP table"}}"#;
    assert_eq!(
        report(input),
        r##"a.rego:15 deny held {"code":"sql_not_select","message":"not drop"}
a.rego:20 deny held "# not a team"
a.rego:26 deny failed at 26: count(input.caller.roles) > most | input.caller.roles = ["support"] | most = 2
a.rego:32 redact held {"result":"/a"}
a.rego:38 timeout error <`startswith` expects string argument. Got `7` instead> failed at 38: startswith(input.tool.name, 7) | input.tool.name = "query"
a.rego:30 approve held "always"
a.rego:7 allow (Support reads cases) failed at 9: input.server.name == "crm" | input.server.name = "wiki"
a.rego:13 allow not asked
"##
    );
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() {
    let report = report(
        r#"{"caller":{"sub":"bob","roles":["support","a","b"]},"tool":{"name":"query"},"arguments":{}}"#,
    );
    for line in [
        r#"a.rego:15 deny failed at 16: verb := lower(split(input.arguments.sql, " ")[0]) | input.arguments.sql = -"#,
        "a.rego:20 deny failed at 23: not team.active",
        r#"a.rego:26 deny held "late""#,
        r#"a.rego:7 allow (Support reads cases) failed at 9: input.server.name == "crm" | input.server.name = -"#,
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}
