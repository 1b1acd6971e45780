//! The schemas, held to by a validator that is not ours: they say what the code does.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{DECISION, DEFINITION, INPUT};
use crate::load::entry;

fn validator(schema: &str) -> Validator {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

#[test]
fn every_documented_input_is_one() {
    let validator = validator(INPUT);
    let documents = include_str!("../input/documents.txt");
    let mut count = 0;
    for part in documents.split("\n# ") {
        let (title, document) = part.split_once('\n').unwrap();
        let document: Value = serde_json::from_str(document).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{title}: {wrong:?}");
        count += 1;
    }
    assert!(count >= 8, "{count}");
    assert!(!validator.is_valid(&json!({"version": "keepgate/v1"})));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of one entry per row")]
fn an_entry_is_one_for_the_schema_when_it_is_one_for_the_gateway() {
    let validator = validator(DECISION);
    for (set, entry, good) in [
        ("allow", json!("everyone reads"), true),
        ("allow", json!({"code": "read", "message": "x"}), true),
        ("allow", json!({"message": "x"}), false),
        ("allow", json!(5), false),
        ("visible", json!({"code": "two words"}), false),
        (
            "deny",
            json!({"code": "x", "scopes": ["files:write"]}),
            true,
        ),
        ("deny", json!({"code": "x", "scopes": []}), false),
        ("deny", json!({"code": "x", "scopes": ["a b"]}), false),
        ("deny", json!({"code": "x", "mesage": "y"}), false),
        (
            "approve",
            json!({"code": "x", "approvers": ["group:sec", "user:ann"], "quorum": 2, "ttl": "15m"}),
            true,
        ),
        ("approve", json!({"code": "x", "approvers": ["sec"]}), false),
        ("approve", json!({"code": "x", "quorum": 0}), false),
        ("approve", json!({"code": "x", "step": 2}), true),
        ("approve", json!({"code": "x", "step": 11}), false),
        ("approve", json!({"code": "x", "ttl": "15 minutes"}), false),
        ("approve", json!({"code": "x", "ttl": "0s"}), false),
        ("redact", json!({"result": "/items/*/ssn"}), true),
        ("redact", json!({"result": "/**/ssn", "remove": true}), true),
        ("redact", json!({"field": "SSN__c"}), true),
        ("redact", json!({"pattern": "email"}), true),
        ("redact", json!({"pattern": "email", "remove": true}), false),
        ("redact", json!({"pattern": "address"}), false),
        ("redact", json!({"result": "items"}), false),
        ("redact", json!({"result": "/a~2"}), false),
        ("redact", json!({"result": "/a", "field": "b"}), false),
        ("redact", json!({"remove": true}), false),
        ("redact", json!("/a"), false),
        ("max_records", json!(100), true),
        ("max_records", json!({"max": 100, "result": "/items"}), true),
        ("max_records", json!({"result": "/items"}), false),
        ("max_records", json!(-1), false),
        ("max_records", json!(1.5), false),
        ("max_bytes", json!(65536), true),
        ("max_bytes", json!("64k"), false),
        (
            "limit",
            json!({"name": "exports", "rate": "10/1h", "by": "session"}),
            true,
        ),
        ("limit", json!({"name": "exports", "rate": "10/1h"}), true),
        ("limit", json!({"name": "exports", "rate": "0/1h"}), false),
        ("limit", json!({"name": "exports", "rate": "10/h"}), false),
        (
            "limit",
            json!({"name": "exports", "rate": "10/1h", "by": "moon"}),
            false,
        ),
        ("limit", json!({"rate": "10/1h"}), false),
        (
            "set_arguments",
            json!({"path": "/dry_run", "value": true}),
            true,
        ),
        (
            "set_arguments",
            json!({"path": "/a/b", "value": null}),
            true,
        ),
        ("set_arguments", json!({"path": "/a/*", "value": 1}), false),
        ("set_arguments", json!({"path": "/**/a", "value": 1}), false),
        ("set_arguments", json!({"path": "/dry_run"}), false),
        ("timeout", json!("5s"), true),
        ("timeout", json!(5), false),
        ("audit", json!({"level": "summary"}), true),
        ("audit", json!({"level": "none"}), false),
        ("credential", json!({"ref": "vault:secret/x#y"}), true),
        ("credential", json!("vault:secret/x#y"), false),
        ("labels", json!("pii"), true),
        ("labels", json!("two words"), false),
        ("labels", json!({"label": "pii"}), false),
    ] {
        let document = json!({ set: [entry] });
        assert_eq!(validator.is_valid(&document), good, "schema: {document}");
        let value = regorus::Value::from_json_str(&entry.to_string()).unwrap();
        assert_eq!(
            entry::wrong(set, value).is_none(),
            good,
            "gateway: {document}"
        );
    }
    assert!(!validator.is_valid(&json!({"denny": []})));
}

#[test]
fn every_set_is_in_the_schema() {
    let schema: Value = serde_json::from_str(DECISION).unwrap();
    let mut named: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    named.sort_unstable();
    let mut sets: Vec<&str> = crate::load::check::DECISIONS
        .into_iter()
        .chain(crate::load::check::OBLIGATIONS)
        .collect();
    sets.sort_unstable();
    assert_eq!(named, sets);
}

#[test]
fn a_definition_is_one_as_it_was_printed_and_no_other() {
    let validator = validator(DEFINITION);
    let text = include_str!("../../../../policies/servers.d/crm-readonly-agent.yaml");
    let valid = |text: &str| {
        let value = regorus::Value::from_yaml_str(text).unwrap();
        let json: Value = serde_json::from_str(&value.to_json_str().unwrap()).unwrap();
        validator.is_valid(&json)
    };
    assert!(valid(text));
    for (from, to) in [
        ("denied_fields", "denied_field"),
        ("\"query\"]", "\"querry\"]"),
        ("rotation_days: 30", "rotation_days: 0"),
        ("rotation_days: 30", "as: cookie"),
        ("max_records_per_query: 100", "max_records_per_query: many"),
        ("  audit:", "  mapping: { dialect: cobol }\n  audit:"),
        ("mcp_server:", "server:"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(!valid(&changed), "{to}");
    }
}
