//! Which rules speak in which phase.

use super::*;
use crate::facts::{Counts, HistoryFacts, ResponseFacts};

const RULES: &str = r#"package mcp.authz
allow contains "all" if input.tool.name == "t"
deny contains {"code": "robots_stay_out"} if {
    input.phase == "connect"
    "robot" in input.caller.roles
}
deny contains {"code": "never_at_connect"} if {
    input.phase == "connect"
    not input.tool.name == "x"
}
deny contains {"code": "too_many"} if input.response.records > 10
deny contains {"code": "not_small"} if not input.response.size < 100
redact contains {"field": "ssn"} if leaks
leaks if input.response.message.kind == "person"
deny contains {"code": "over_budget"} if input.history.hour.calls_ > 2
"#;

fn rules() -> String {
    RULES.replace("calls_", "calls")
}

fn phase(phase: Phase, roles: &[&str], response: Option<ResponseFacts<'_>>) -> Decision {
    let (caller, server) = (caller(roles), server("crm"));
    let facts = facts(&caller, &server, "t");
    policy(&rules()).judge(&Facts {
        phase,
        response,
        ..facts
    })
}

fn answered(size: u64, records: u64, json: &str) -> Option<ResponseFacts<'_>> {
    Some(ResponseFacts {
        is_error: false,
        size,
        records,
        json: Some(json),
    })
}

#[test]
fn connect_is_refused_by_rules_that_name_it() {
    assert_eq!(
        codes(&phase(Phase::Connect, &["user"], None)),
        "allow protocol"
    );
    assert_eq!(
        codes(&phase(Phase::Connect, &["robot"], None)),
        "deny robots_stay_out"
    );
    // A rule about connecting says nothing about calls.
    assert_eq!(
        codes(&phase(Phase::Call, &["robot"], None)),
        "allow allowed"
    );
}

#[test]
fn what_reads_the_answer_speaks_of_answers_alone() {
    let released = phase(Phase::Response, &[], answered(50, 3, "{}"));
    assert_eq!(
        (codes(&released).as_str(), released.obligations),
        ("allow protocol", None)
    );
    assert_eq!(
        codes(&phase(Phase::Response, &[], answered(50, 11, "{}"))),
        "deny too_many"
    );
    assert_eq!(
        codes(&phase(Phase::Response, &[], answered(100, 1, "{}"))),
        "deny not_small"
    );
    let redacted = phase(
        Phase::Response,
        &[],
        answered(1, 1, r#"{"kind": "person"}"#),
    );
    assert_eq!(redacted.obligations.unwrap().redact.len(), 1);
    // In a call there is no answer, not even under `not`.
    assert_eq!(codes(&phase(Phase::Call, &[], None)), "allow allowed");
}

#[test]
fn phases_nobody_wrote_for_are_not_asked() {
    let plain = policy("package mcp.authz\nallow contains \"x\" if input.tool.name == \"t\"\n");
    assert!(!plain.speaks(Phase::Connect) && !plain.speaks(Phase::Response));
    assert!(plain.speaks(Phase::Call) && !plain.reads_history() && !plain.reads_flow());
    let all = policy(&rules());
    assert!(all.speaks(Phase::Connect) && all.speaks(Phase::Response) && all.reads_history());
}

#[test]
fn history_is_counted_by_window() {
    let (caller, server) = (caller(&[]), server("crm"));
    let policy = policy(&rules());
    let at = |calls| {
        let history = HistoryFacts {
            hour: Counts {
                calls,
                ..Counts::NONE
            },
            ..*HistoryFacts::NONE
        };
        codes(&policy.judge(&Facts {
            history: &history,
            ..facts(&caller, &server, "t")
        }))
    };
    assert_eq!(at(2), "allow allowed");
    assert_eq!(at(3), "deny over_budget");
}

#[test]
fn rules_that_can_never_speak_are_refused() {
    for (rule, why) in [
        (
            "allow contains \"x\" if input.response.size > 1",
            "`allow` reads `input.response`",
        ),
        (
            "visible contains \"x\" if input.response.size > 1",
            "`visible` reads `input.response`",
        ),
        (
            "approve contains {\"code\": \"x\"} if big\nbig if input.response.size > 1",
            "`approve` reads `input.response`",
        ),
    ] {
        let folder = folder(&[("a.rego", &format!("package mcp.authz\n{rule}\n"))]);
        let errors = Policy::load(&[folder.path().to_owned()], &settings()).unwrap_err();
        assert!(errors.to_string().contains(why), "{errors}");
    }
}
