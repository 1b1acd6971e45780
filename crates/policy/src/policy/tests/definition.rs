//! The shipped library enforces every field of a definition: calls out of a table, and what they oblige to.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::*;
use crate::facts::SessionFacts;
use crate::obligations::{AuditLevel, Redact};
use crate::sources::{Source, Sources};

const CASES: &str = include_str!("../../../../../policies/lib/definition_cases.yaml");
const SEED: &str = include_str!("../../../../../policies/servers.d/crm-readonly-agent.yaml");
/// A platform that refuses nothing: what is refused is the definition's doing.
const OPEN: &str = "package mcp.authz\nallow contains \"x\" if input.server.name\n";
const NOW: u64 = 1_763_618_690;

fn seed() -> serde_json::Value {
    let document = Value::from_yaml_str(SEED).unwrap();
    serde_json::from_str(&document["mcp_server"].to_string()).unwrap()
}

/// Sets a value by pointer, making what is on the way; null takes it away.
fn set(at: &mut serde_json::Value, pointer: &str, value: serde_json::Value) {
    let steps: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
    let (last, way) = steps.split_last().unwrap();
    let mut at = at;
    // A method has a slash of its own, but no pointer of the table ends in one.
    for step in way {
        at = at
            .as_object_mut()
            .unwrap()
            .entry(*step)
            .or_insert_with(|| serde_json::json!({}));
    }
    if value.is_null() {
        at.as_object_mut().unwrap().remove(*last);
    } else {
        at[*last] = value;
    }
}

fn defined(definition: &serde_json::Value) -> Policy {
    let platform = folder(&[("open.rego", OPEN)]);
    let sources = Sources {
        platform: vec![Source::Directory(platform.path().to_owned())],
        definitions: BTreeMap::from([("crm".to_owned(), definition.to_string().into())]),
        ..Sources::default()
    };
    Policy::load(sources, &settings()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What the server has shown of the tool.
fn shown_tool(case: &serde_json::Value, name: &str) -> ToolFacts {
    let annotations = case
        .get("annotations")
        .map(std::string::ToString::to_string);
    let parameters: Option<Vec<&str>> = case["parameters"]
        .as_array()
        .map(|names| names.iter().filter_map(|name| name.as_str()).collect());
    ToolFacts::new(&ToolFields {
        name,
        annotations: annotations.as_deref(),
        parameters: parameters.as_deref(),
        ..ToolFields::default()
    })
    .unwrap()
}

fn decided(policy: &Policy, case: &serde_json::Value) -> Decision {
    let claims = case["sid"]
        .as_str()
        .map(|sid| serde_json::json!({ "sid": sid }).to_string());
    let caller = CallerFacts::new(&CallerFields {
        subject: "alice",
        kind: "user",
        claims: claims.as_deref(),
        auth_time: case["auth_age"].as_u64().map(|age| NOW - age),
        ..CallerFields::default()
    })
    .unwrap();
    let tool = case["call"].as_str().unwrap_or_default();
    let definition = shown_tool(case, tool);
    let session = (case["session"] != "none").then(|| SessionFacts {
        id: Some("s"),
        age_s: Some(case["session"].as_u64().unwrap_or(60)),
        revision: "2025-11-25",
        transport: "http",
        initiated_by: None,
    });
    let server = server("crm");
    let arguments = case["with"].to_string();
    let mut facts = Facts {
        session,
        arguments: Some(&arguments),
        subject: Subject::Tool {
            name: tool,
            definition: Some(&definition),
        },
        request: RequestFacts {
            unix_nanos: NOW * 1_000_000_000,
            ip: None,
            size: 1,
            trace: None,
        },
        ..facts(&caller, &server, tool)
    };
    if let Some(method) = case["method"].as_str() {
        facts.method = method;
        facts.arguments = None;
        facts.subject = Subject::Resource(ResourceFacts {
            uri: "file:///x",
            scheme: "file",
            authority: None,
            host: None,
            port: None,
            path: &["x"],
            template: false,
        });
    }
    policy.judge(&facts)
}

/// The effect and the codes of what refuses or asks, each once.
fn told(decision: &Decision) -> String {
    let told = codes(decision);
    let (effect, codes) = told.split_once(' ').unwrap();
    if effect == "allow" {
        return effect.to_owned();
    }
    let codes: BTreeSet<&str> = codes.split(' ').collect();
    let codes: Vec<&str> = codes.into_iter().collect();
    format!("{effect} {}", codes.join(" "))
}

fn table() -> Vec<serde_json::Value> {
    let table = Value::from_yaml_str(CASES).unwrap();
    serde_json::from_str(&table.to_string()).unwrap()
}

/// The definition a case is about.
fn changed(case: &serde_json::Value) -> serde_json::Value {
    let mut definition = seed();
    for (pointer, value) in case["set"].as_object().into_iter().flatten() {
        set(&mut definition, pointer, value.clone());
    }
    definition
}

#[test]
fn calls_are_decided_as_the_table_says() {
    let table = table();
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &table {
        let definition = changed(case);
        let policy = policies
            .entry(definition.to_string())
            .or_insert_with(|| defined(&definition));
        let want = case["want"].as_str().unwrap();
        let (effect, codes) = want.split_once(' ').unwrap_or((want, ""));
        let codes: BTreeSet<&str> = codes.split(' ').filter(|code| !code.is_empty()).collect();
        let codes: Vec<&str> = codes.into_iter().collect();
        let want = format!("{effect} {}", codes.join(" "));
        let got = told(&decided(policy, case));
        if got.trim() != want.trim() {
            wrong.push(format!("{case}\n   got {got}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Each field does what it is for, and nothing does it without the field.
#[test]
fn obligations_follow_the_definition() {
    let call = serde_json::json!({"call": "get_account", "with": {}});
    let obligations = |definition: &serde_json::Value| {
        let decision = decided(&defined(definition), &call);
        assert_eq!(told(&decision), "allow");
        decision.obligations.map(|it| *it).unwrap_or_default()
    };
    let all = obligations(&seed());
    let fields: Vec<(&str, bool)> = all
        .redact
        .iter()
        .map(|redaction| match &redaction.what {
            Redact::Field(name) => (&**name, redaction.remove),
            Redact::Result(_) | Redact::Pattern(_) => panic!("{redaction:?}"),
        })
        .collect();
    let denied = [
        ("BankAccount__c", true),
        ("SSN__c", true),
        ("Salary__c", true),
    ];
    assert_eq!(fields, denied);
    assert_eq!(all.max_records.len(), 1);
    assert_eq!(all.max_records[0].max, 100);
    assert_eq!(all.audit, AuditLevel::Summary);

    let without = |pointer: &str| {
        let mut definition = seed();
        set(&mut definition, pointer, serde_json::Value::Null);
        obligations(&definition)
    };
    assert!(without("/permissions/denied_fields").redact.is_empty());
    assert!(
        without("/permissions/max_records_per_query")
            .max_records
            .is_empty()
    );
    assert_eq!(
        without("/audit/log_response_summary").audit,
        AuditLevel::Metadata
    );
}

/// Which tools, a prompt and a resource are shown.
fn shown(policy: &Policy, session: bool) -> Vec<bool> {
    let (caller, server) = (caller(&["support"]), server("crm"));
    let tool = |name| Subject::Tool {
        name,
        definition: None,
    };
    let resource = ResourceFacts {
        uri: "file:///x",
        scheme: "file",
        authority: None,
        host: None,
        port: None,
        path: &["x"],
        template: false,
    };
    let items = [
        tool("get_account"),
        tool("execute_sql"),
        tool("delete_account"),
        tool("mystery"),
        Subject::Prompt { name: "p" },
        Subject::Resource(resource),
    ];
    let facts = Facts {
        phase: Phase::List,
        method: "tools/list",
        session: session.then_some(SessionFacts {
            id: Some("s"),
            age_s: Some(60),
            revision: "2025-11-25",
            transport: "http",
            initiated_by: None,
        }),
        ..facts(&caller, &server, "")
    };
    policy.visible(&facts, &items).shown
}

/// A tool is shown when its name does not say that it does what nobody may.
#[test]
fn lists_show_what_may_be_called() {
    let policy = defined(&seed());
    let tools = [true, true, false, true];
    assert_eq!(shown(&policy, true)[..4], tools);
    assert_eq!(shown(&policy, true)[4..], [false, false]);
    assert_eq!(shown(&policy, false), [false; 6]);
    for (method, others) in [
        ("prompts/get", [true, false]),
        ("resources/read", [false, true]),
    ] {
        let mut definition = seed();
        set(
            &mut definition,
            "/mapping/methods",
            serde_json::json!([method]),
        );
        let policy = defined(&definition);
        assert_eq!(shown(&policy, true)[4..], others, "{method}");
    }
}

/// A server without a definition is none of this layer's business, and a definition never lets through what another
/// layer refuses.
#[test]
fn definitions_only_narrow() {
    let definition = seed();
    let sources = Sources {
        definitions: BTreeMap::from([("crm".to_owned(), definition.to_string().into())]),
        platform: vec![Source::Directory(
            folder(&[(
                "p.rego",
                "package mcp.authz\nallow contains \"x\" if input.server.name == \"other\"\n",
            )])
            .keep(),
        )],
        ..Sources::default()
    };
    let policy = Policy::load(sources, &settings()).unwrap();
    let call = serde_json::json!({"call": "get_account", "with": {}});
    assert_eq!(told(&decided(&policy, &call)), "deny no_rule");
    let (caller, server) = (caller(&[]), server("other"));
    let other = policy.judge(&Facts {
        arguments: Some(r#"{"sql": "DROP TABLE x"}"#),
        ..facts(&caller, &server, "anything")
    });
    assert_eq!(codes(&other), "allow allowed");
}

/// Everything that is decided about the cases, under the library as `text` has it.
fn all_decided<'a>(
    text: &str,
    cases: &'a [(serde_json::Value, serde_json::Value)],
) -> impl Iterator<Item = Result<String, String>> + use<'a> {
    let text = text.to_owned();
    let mut policies: BTreeMap<String, Policy> = BTreeMap::new();
    cases.iter().map(move |(definition, case)| {
        let key = definition.to_string();
        if !policies.contains_key(&key) {
            let mut data: serde_json::Value = serde_json::from_str(load::files::TABLES).unwrap();
            data["servers"] = serde_json::json!({ "crm": definition });
            // One letter more, or it would be taken for the library itself.
            let rules = format!("{text}\n");
            let folder = folder(&[("a.rego", &rules), ("data.json", &data.to_string())]);
            let policy = Policy::load(&[folder.path().to_owned()], &settings());
            policies.insert(key.clone(), policy.map_err(|error| error.to_string())?);
        }
        let decision = decided(&policies[&key], case);
        let shown = shown(&policies[&key], true);
        Ok(format!(
            "{} {:?} {shown:?}",
            told(&decision),
            decision.obligations
        ))
    })
}

/// Without any one of the rules some case is decided otherwise, or nothing loads.
#[test]
fn every_rule_counts() {
    let cases: Vec<_> = table()
        .into_iter()
        .map(|case| (changed(&case), case))
        .collect();
    let text = load::files::DEFINITION;
    let sound: Vec<_> = all_decided(text, &cases).collect();
    assert!(sound.iter().all(Result::is_ok), "{sound:?}");
    let blocks: Vec<&str> = text.split("\n\n").collect();
    let mut idle = Vec::new();
    for (number, block) in blocks.iter().enumerate().skip(1) {
        let rule = block.lines().find(|line| !line.starts_with('#'));
        let Some(rule) = rule else { continue };
        let mut left = blocks.clone();
        left.remove(number);
        let left = left.join("\n\n");
        let counts = all_decided(&left, &cases)
            .zip(&sound)
            .any(|(now, then)| now != *then);
        if !counts {
            idle.push(rule);
        }
    }
    assert!(idle.is_empty(), "no case needs:\n{}", idle.join("\n"));
}
