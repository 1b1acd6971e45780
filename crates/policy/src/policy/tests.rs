//! Judging with small policies.

use std::path::PathBuf;

use super::*;
use crate::facts::{
    CallerFacts, CallerFields, CompletionKind, Phase, RequestFacts, ResourceFacts, ServerFacts,
    ServerFields, Subject, ToolFacts, ToolFields,
};

/// A folder with files, gone when dropped.
pub(crate) fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

pub(crate) fn policy(text: &str) -> Policy {
    let folder = folder(&[("policy.rego", text)]);
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    match Policy::load(&[folder.path().to_owned()], &settings) {
        Ok(policy) => policy,
        Err(errors) => panic!("{errors}"),
    }
}

pub(crate) fn starter() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

pub(crate) fn caller(roles: &[&str]) -> CallerFacts {
    CallerFacts::new(&CallerFields {
        subject: "alice",
        kind: "user",
        roles,
        ..CallerFields::default()
    })
    .unwrap()
}

pub(crate) fn server(name: &str) -> ServerFacts {
    ServerFacts::new(&ServerFields {
        name,
        ..ServerFields::default()
    })
}

pub(crate) fn facts<'a>(
    caller: &'a CallerFacts,
    server: &'a ServerFacts,
    tool: &'a str,
) -> Facts<'a> {
    Facts {
        phase: Phase::Call,
        caller,
        server,
        client: None,
        session: None,
        tenant: "",
        method: "tools/call",
        subject: Subject::Tool {
            name: tool,
            definition: None,
        },
        arguments: None,
        request: RequestFacts {
            unix_nanos: 1_763_618_690_000_000_000,
            ip: None,
            size: 321,
        },
    }
}

pub(crate) fn codes(decision: &Decision) -> String {
    let codes: Vec<&str> = decision
        .reasons
        .iter()
        .map(|reason| &*reason.code)
        .collect();
    let effect = match &decision.effect {
        Effect::Allow => "allow",
        Effect::Approve(_) => "approve",
        Effect::Deny => "deny",
    };
    format!("{effect} {}", codes.join(" "))
}

/// Judges a call of `tool` with `arguments` under a policy of one file.
fn judged(text: &str, tool: &str, arguments: &str) -> String {
    let (caller, server) = (caller(&["support"]), server("crm"));
    codes(&policy(text).judge(&Facts {
        arguments: Some(arguments),
        ..facts(&caller, &server, tool)
    }))
}

const DESIGN: &str = r#"package mcp.authz
allow contains "support reads cases" if {
    "support" in input.caller.roles
    input.server.name == "crm"
    input.tool.name in {"search_cases", "query_database"}
}
deny contains {"code": "sql_not_select", "message": "only SELECT is allowed"} if {
    input.tool.name == "query_database"
    not startswith(lower(input.arguments.sql), "select")
}
approve contains {"code": "destructive", "approvers": ["group:crm-leads"], "quorum": 2, "ttl": "15m"} if {
    input.tool.name == "delete_account"
}
"#;

#[test]
fn the_contract_holds() {
    assert_eq!(judged(DESIGN, "search_cases", "{}"), "allow allowed");
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": "SELECT 1"}"#),
        "allow allowed"
    );
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": "drop table x"}"#),
        "deny sql_not_select"
    );
    assert_eq!(
        judged(DESIGN, "query_database", "{}"),
        "deny sql_not_select"
    );
    assert_eq!(
        judged(DESIGN, "delete_account", "{}"),
        "approve destructive"
    );
    assert_eq!(judged(DESIGN, "other", "{}"), "deny no_rule");
    // A wrong type must not slip through the `not`: OPA's own default would let it.
    assert_eq!(
        judged(DESIGN, "query_database", r#"{"sql": 5}"#),
        "deny policy_error"
    );
}

#[test]
fn an_approval_carries_what_the_rule_asked() {
    let (caller, server) = (caller(&[]), server("crm"));
    let decision = policy(DESIGN).judge(&facts(&caller, &server, "delete_account"));
    let Effect::Approve(approval) = decision.effect else {
        panic!("{decision:?}")
    };
    assert_eq!(approval.approvers, ["group:crm-leads".into()]);
    assert_eq!(
        (approval.quorum, approval.ttl),
        (2, Some(Duration::from_secs(900)))
    );
}

#[test]
fn the_starter_judges() {
    let policy = Policy::load(
        &[starter()],
        &Settings {
            workers: 1,
            ..Settings::default()
        },
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let (caller, server) = (caller(&["analyst"]), server("crm"));
    let call = facts(&caller, &server, "query_database");
    let sql = |text| {
        codes(&policy.judge(&Facts {
            arguments: Some(text),
            ..call
        }))
    };
    assert_eq!(sql(r#"{"sql": "select 1"}"#), "allow allowed");
    assert_eq!(sql(r#"{"sql": "delete from x"}"#), "deny sql_not_select");
}
