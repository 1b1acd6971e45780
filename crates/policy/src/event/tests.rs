//! Events: their form, what is left out of them, and what happens when the rules cannot say.

use std::sync::{Arc, Mutex};

use super::{EventWriter, Judged, Labels, TraceIds, Written};
use crate::facts::{Facts, RequestFacts};
use crate::json;
use crate::policy::Policy;
use crate::policy::tests::{caller, facts, folder, server, settings};

const RULES: &str = r#"package mcp.authz
allow contains "yes" if input.tool.name == "query"
redact contains {"field": "ssn"} if input.tool.name == "query"
max_bytes contains 65536 if input.tool.name == "query"
"#;

/// The events of one call to `query`, under the rules above and these on the log.
fn written(on_log: &str, content: bool) -> Written {
    let folder = folder(&[("a.rego", RULES), ("log.rego", on_log)]);
    let policy = match Policy::load(&[folder.path().to_owned()], &settings()) {
        Ok(policy) => Arc::new(policy),
        Err(errors) => panic!("{errors}"),
    };
    let seen: Arc<Mutex<Vec<Judged>>> = Arc::default();
    let kept = Arc::clone(&seen);
    policy.observe(Box::new(move |judged| kept.lock().unwrap().push(judged)));
    let (caller, server) = (caller(&["support"]), server("crm"));
    let judge = |id, method| {
        let _decision = policy.judge(&Facts {
            id,
            method,
            arguments: Some(r#"{"sql":"select 1","password":"hunter2"}"#),
            request: RequestFacts {
                unix_nanos: 1_763_618_690_000_000_000,
                ip: Some([10, 0, 0, 1].into()),
                size: 321,
                trace: Some(TraceIds {
                    trace: [0xab; 16],
                    span: [0xcd; 8],
                }),
            },
            ..facts(&caller, &server, "query")
        });
    };
    // Neither what nobody will ask for by its id, nor what is not judged.
    judge("", "tools/call");
    judge("1", "ping");
    judge("0190-1", "tools/call");
    let seen = seen.lock().unwrap();
    let [judged] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    let labels = Labels {
        id: "gw-1".into(),
        version: "0.1".into(),
        node: "n1".into(),
    };
    EventWriter::new(Arc::clone(&policy), &labels, content).write(judged)
}

fn event(on_log: &str, content: bool) -> serde_json::Value {
    match written(on_log, content) {
        Written::Event(text) => serde_json::from_str(&text).unwrap(),
        other @ (Written::Bare(_) | Written::Dropped) => panic!("{other:?}"),
    }
}

const NO_RULES: &str = "package unused\nx := 1";

#[test]
fn an_event_has_the_members_opa_gives_it() {
    let event = event(NO_RULES, false);
    assert_eq!(event["labels"]["id"], "gw-1");
    assert_eq!(event["labels"]["node"], "n1");
    assert_eq!(event["decision_id"], "0190-1");
    assert_eq!(event["trace_id"], "ab".repeat(16));
    assert_eq!(event["span_id"], "cd".repeat(8));
    assert_eq!(event["path"], "mcp/authz/decision");
    assert_eq!(event["requested_by"], "10.0.0.1");
    assert_eq!(event["result"]["effect"], "allow");
    assert_eq!(event["result"]["reasons"][0]["message"], "yes");
    assert_eq!(event["result"]["obligations"]["redact"][0]["field"], "ssn");
    assert_eq!(event["result"]["obligations"]["max_bytes"], 65536);
    assert_eq!(event["req_id"], 1);
    assert!(
        event["metrics"]["timer_rego_query_eval_ns"]
            .as_u64()
            .unwrap()
            > 0
    );
    let revision = event["bundles"]["keepgate"]["revision"].as_str().unwrap();
    assert_eq!(revision.len(), 32);
    let timestamp = event["timestamp"].as_str().unwrap();
    assert_eq!(
        (timestamp.len(), timestamp.ends_with('Z')),
        (30, true),
        "{timestamp}"
    );
    // What the rules did not read is there too, for candidates that will.
    assert_eq!(event["input"]["caller"]["roles"][0], "support");
    assert_eq!(event["input"]["request"]["size"], 321);
}

#[test]
fn arguments_are_there_only_when_wanted_and_then_without_secrets() {
    let without = event(NO_RULES, false);
    assert_eq!(without["input"].get("arguments"), None);
    assert_eq!(without["erased"], serde_json::json!(["/input/arguments"]));
    let with = event(NO_RULES, true);
    assert_eq!(with["input"]["arguments"]["sql"], "select 1");
    assert_eq!(with["input"]["arguments"]["password"], "[masked]");
    assert_eq!(
        with["masked"],
        serde_json::json!(["/input/arguments/password"])
    );
    assert!(!with.to_string().contains("hunter2"));
}

#[test]
fn the_rules_erase_replace_and_drop() {
    let mask = r#"package system.log
mask contains "/input/arguments/sql" if input.result.effect == "allow"
mask contains {"op": "upsert", "path": "/input/caller/sub", "value": "someone"} if startswith(input.path, "mcp/")
drop if input.input.server.name == "other"
"#;
    let event = event(mask, true);
    assert_eq!(event["input"]["arguments"].get("sql"), None);
    assert_eq!(event["input"]["caller"]["sub"], "someone");
    assert_eq!(event["erased"], serde_json::json!(["/input/arguments/sql"]));
    let drop = "package system.log\ndrop if input.input.server.name == \"crm\"";
    assert_eq!(written(drop, true), Written::Dropped);
}

#[test]
fn when_the_rules_cannot_say_the_event_is_bare() {
    for rules in [
        "package system.log\nmask contains 7",
        "package system.log\nmask contains \"/labels/id\"",
        "package system.log\nmask contains {\"op\": \"shred\", \"path\": \"/input\"}",
        "package system.log\nmask contains \"/input\" if startswith(input.input.tool.name, 7)",
        "package system.log\ndrop := \"yes\"",
        "package system.log\ndrop if { some x in numbers.range(1, 9999); some y in numbers.range(1, 9999); x * y < 0 }",
    ] {
        let text = match written(rules, true) {
            Written::Bare(text) => text,
            other @ (Written::Event(_) | Written::Dropped) => panic!("{rules}: {other:?}"),
        };
        let event = json::parse(&text).unwrap();
        let event = event.as_object().unwrap();
        for gone in ["input", "result"] {
            assert!(!event.contains_key(&gone.into()), "{rules}");
        }
        assert_eq!(
            event.get(&"mask_failed".into()),
            Some(&true.into()),
            "{rules}"
        );
        assert!(!text.contains("hunter2"), "{rules}");
        assert!(event.contains_key(&"decision_id".into()), "{rules}");
    }
}

#[test]
fn rules_on_the_log_are_checked_like_the_others() {
    for (rules, told) in [
        (
            "package system.log\nmask contains \"/input\" if input.tool.name == \"x\"",
            "input has no field `input.tool`",
        ),
        (
            "package system.log\nmask contains \"/input\" if input.input.tol.name == \"x\"",
            "input has no field `input.input.tol`",
        ),
        (
            "package system.log\nmask := [\"/input\"]",
            "`mask` must be a set",
        ),
        (
            "package system.log\ndrop contains \"x\"",
            "`drop` must be true or false",
        ),
        (
            "package system.logs\nmask contains \"/input\"",
            "package `system.logs` decides nothing",
        ),
        (
            "package mcp.authz\ndeny contains \"x\" if input.input.tool",
            "input has no field `input.input`",
        ),
    ] {
        let folder = folder(&[("a.rego", RULES), ("log.rego", rules)]);
        let errors = Policy::load(&[folder.path().to_owned()], &settings()).unwrap_err();
        assert!(errors.to_string().contains(told), "{rules}: {errors}");
    }
}
