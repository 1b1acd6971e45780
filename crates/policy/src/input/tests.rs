//! The document of every kind of call, beside its golden copy and the published schema.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::facts::{
    ApprovalFacts, CallerFacts, CallerFields, ClientFacts, ClientFields, HistoryFacts,
    ResponseFacts, ServerFacts, ServerFields, ToolFacts, ToolFields,
};
use crate::schema::INPUT as SCHEMA;

/// One document for each subject and phase.
#[expect(clippy::too_many_lines, reason = "a table of one document per subject")]
fn documents() -> Vec<(&'static str, Value)> {
    let caller = CallerFacts::new(&CallerFields {
        subject: "alice",
        issuer: "https://idp.example",
        kind: "user",
        roles: &["support"],
        groups: &["emea"],
        scopes: &["mcp:call"],
        claims: Some(r#"{"cost_center": 9007199254740993}"#),
        actor: Some("agent-7"),
        acr: Some("mfa"),
        auth_time: Some(1_795_170_000),
    })
    .unwrap();
    let server = ServerFacts::new(&ServerFields {
        name: "crm",
        owner: "crm-team",
        environment: "production",
        trust: "vetted",
        labels: &[("reads", "private")],
        definition: Some(r#"{"permissions": {"allowed_objects": ["Case"]}}"#),
    });
    let client = ClientFacts::new(&ClientFields {
        id: Some("c1"),
        name: "agent",
        version: "2",
    });
    let tool = ToolFacts::new(&ToolFields {
        name: "search",
        annotations: Some(r#"{"readOnlyHint": true}"#),
        annotations_trusted: true,
        pinned: true,
        fingerprint: Some("b3:00"),
        parameters: Some(&["query", "limit"]),
        labels: &[("writes", "external")],
    })
    .unwrap();
    let resource = ResourceFacts {
        uri: "file:///srv/a b.md",
        scheme: "file",
        authority: Some("host:1"),
        host: Some(("host", "name")),
        port: Some(1),
        path: &["srv", "a b.md"],
        template: false,
    };
    let full = Facts {
        phase: Phase::Call,
        caller: &caller,
        server: &server,
        client: Some(&client),
        session: Some(SessionFacts {
            id: Some("s1"),
            age_s: Some(12),
            revision: "2025-11-25",
            transport: "http",
            initiated_by: Some("alice"),
        }),
        tenant: "acme",
        method: "tools/call",
        subject: Subject::Tool {
            name: "search",
            definition: Some(&tool),
        },
        arguments: Some(r#"{"amount": 18446744073709551615, "text": "x"}"#),
        response: None,
        history: HistoryFacts::NONE,
        labels: &[],
        approval: None,
        id: "",
        request: RequestFacts {
            unix_nanos: 1_795_170_600_123_456_789,
            // As a listener for both families has it; a rule sees the form of IPv4.
            ip: Some(IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped())),
            size: 321,
            trace: None,
        },
    };
    let anonymous = CallerFacts::new(&CallerFields {
        kind: "anonymous",
        ..CallerFields::default()
    })
    .unwrap();
    let bare = Facts {
        caller: &anonymous,
        client: None,
        session: None,
        tenant: "",
        arguments: None,
        subject: Subject::Tool {
            name: "search",
            definition: None,
        },
        response: None,
        history: HistoryFacts::NONE,
        labels: &[],
        approval: None,
        id: "",
        request: RequestFacts {
            ip: None,
            ..full.request
        },
        ..full
    };
    let words = Words::new();
    let groups = [Arc::from("crm")];
    let of = |method: &'static str, subject: Subject<'_>| {
        Document::new(
            &words,
            &Facts {
                method,
                subject,
                ..bare
            },
        )
        .value(Wanted::ALL)
        .unwrap()
    };
    let params = Some(r#"{"message": "which?"}"#);
    vec![
        (
            "tool, everything known",
            Document::new(&words, &full).value(Wanted::ALL).unwrap(),
        ),
        (
            "tool, nothing known",
            Document::new(&words, &bare).value(Wanted::ALL).unwrap(),
        ),
        (
            "tool, approved",
            Document::new(
                &words,
                &Facts {
                    approval: Some(ApprovalFacts {
                        groups: &groups,
                        age_s: 7,
                        is_edited: false,
                        kind: "once",
                        uses_left: 1,
                        until_s: 1_795_171_000,
                    }),
                    ..full
                },
            )
            .value(Wanted::ALL)
            .unwrap(),
        ),
        (
            "tool in a list",
            Document::new(
                &words,
                &Facts {
                    phase: Phase::List,
                    ..full
                },
            )
            .value(Wanted::ALL)
            .unwrap(),
        ),
        (
            "prompt",
            of("prompts/get", Subject::Prompt { name: "greet" }),
        ),
        (
            "resource",
            of("resources/read", Subject::Resource(resource)),
        ),
        (
            "completion of a prompt",
            of(
                "completion/complete",
                Subject::Completion {
                    of: CompletionKind::Prompt("greet"),
                    argument: "name",
                    value: "a",
                },
            ),
        ),
        (
            "completion of a template",
            of(
                "completion/complete",
                Subject::Completion {
                    of: CompletionKind::Resource(ResourceFacts {
                        template: true,
                        authority: None,
                        host: None,
                        port: None,
                        ..resource
                    }),
                    argument: "name",
                    value: "a",
                },
            ),
        ),
        ("task", of("tasks/get", Subject::Task { id: "t1" })),
        (
            "server request",
            Document::new(
                &words,
                &Facts {
                    phase: Phase::ServerRequest,
                    method: "elicitation/create",
                    subject: Subject::ServerRequest { params },
                    ..bare
                },
            )
            .value(Wanted::ALL)
            .unwrap(),
        ),
        (
            "answer",
            Document::new(
                &words,
                &Facts {
                    phase: Phase::Response,
                    response: Some(ResponseFacts {
                        is_error: false,
                        size: 512,
                        records: 2,
                        json: Some(r#"{"structuredContent": {"items": [{"id": 1}, {"id": 2}]}}"#),
                    }),
                    labels: &["pii".into()],
                    history: &HistoryFacts {
                        calls_by_tool: &[("search".into(), 3)],
                        ..*HistoryFacts::NONE
                    },
                    ..full
                },
            )
            .value(Wanted::ALL)
            .unwrap(),
        ),
    ]
}

/// Checks a value against the subset of JSON Schema the published file uses.
fn conforms(schema: &serde_json::Value, value: &serde_json::Value, at: &str) {
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{at}");
    }
    if let Some(choices) = schema.get("enum") {
        assert!(choices.as_array().unwrap().contains(value), "{at}: {value}");
    }
    match schema.get("type").map(|kind| kind.as_str().unwrap()) {
        Some("object") => {
            let object = value
                .as_object()
                .unwrap_or_else(|| panic!("{at} is no object"));
            let fields = schema
                .get("properties")
                .map(|fields| fields.as_object().unwrap());
            for (key, value) in object {
                let at = format!("{at}.{key}");
                match fields.and_then(|fields| fields.get(key)) {
                    Some(schema) => conforms(schema, value, &at),
                    None => match schema.get("additionalProperties") {
                        Some(serde_json::Value::Bool(false)) => panic!("{at} is not in the schema"),
                        Some(schema) => conforms(schema, value, &at),
                        None => {}
                    },
                }
            }
            for key in schema
                .get("required")
                .and_then(|keys| keys.as_array())
                .into_iter()
                .flatten()
            {
                assert!(
                    object.contains_key(key.as_str().unwrap()),
                    "{at} has no {key}"
                );
            }
        }
        Some("array") => {
            for item in value
                .as_array()
                .unwrap_or_else(|| panic!("{at} is no array"))
            {
                conforms(&schema["items"], item, &format!("{at}[]"));
            }
        }
        Some("string") => assert!(value.is_string(), "{at}"),
        Some("integer") => assert!(value.is_u64(), "{at}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}"),
        Some(other) => panic!("{at}: unknown type {other}"),
        None => {}
    }
}

#[test]
fn every_document_conforms_to_the_published_schema() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    for (name, document) in documents() {
        let text = document.to_json_str().unwrap();
        conforms(&schema, &serde_json::from_str(&text).unwrap(), name);
    }
}

#[test]
fn every_field_of_the_schema_is_filled_by_some_document() {
    fn missing(schema: &serde_json::Value, values: &[&serde_json::Value], at: &str) -> Vec<String> {
        let Some(fields) = schema
            .get("properties")
            .and_then(|fields| fields.as_object())
        else {
            return Vec::new();
        };
        let below = |key: &String| {
            values
                .iter()
                .filter_map(|value| value.get(key))
                .collect::<Vec<_>>()
        };
        let visit = |(key, schema): (&String, &serde_json::Value)| match below(key) {
            found if found.is_empty() => vec![format!("{at}.{key}")],
            found => missing(schema, &found, &format!("{at}.{key}")),
        };
        fields.iter().flat_map(visit).collect()
    }
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let documents: Vec<serde_json::Value> = documents()
        .iter()
        .map(|(_, document)| serde_json::from_str(&document.to_json_str().unwrap()).unwrap())
        .collect();
    let missing = missing(&schema, &documents.iter().collect::<Vec<_>>(), "input");
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn documents_are_as_published() {
    let mut drawn = String::new();
    for (name, document) in documents() {
        writeln!(drawn, "# {name}\n{}\n", document.to_json_str().unwrap()).unwrap();
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/input/documents.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(golden, drawn).unwrap();
        return;
    }
    assert_eq!(
        std::fs::read_to_string(golden).unwrap(),
        drawn,
        "write it anew with UPDATE=1"
    );
}

#[test]
fn what_was_promised_is_checked() {
    let caller = CallerFacts::new(&CallerFields::default()).unwrap();
    let server = ServerFacts::new(&ServerFields::default());
    let tool = ToolFacts::new(&ToolFields {
        name: "a",
        ..ToolFields::default()
    })
    .unwrap();
    let facts = Facts {
        phase: Phase::Call,
        caller: &caller,
        server: &server,
        client: None,
        session: None,
        tenant: "",
        method: "tools/call",
        subject: Subject::Tool {
            name: "b",
            definition: Some(&tool),
        },
        arguments: None,
        response: None,
        history: HistoryFacts::NONE,
        labels: &[],
        approval: None,
        id: "",
        request: RequestFacts {
            unix_nanos: 0,
            ip: None,
            size: 0,
            trace: None,
        },
    };
    let words = Words::new();
    assert!(matches!(
        Document::new(&words, &facts).value(Wanted::ALL),
        Err(InputError::Definition(_))
    ));
    let facts = Facts {
        subject: Subject::None,
        arguments: Some(r#"{"a": 1, "a": 2}"#),
        ..facts
    };
    assert!(matches!(
        Document::new(&words, &facts).value(Wanted::ALL),
        Err(InputError::Json("arguments", _))
    ));
    assert!(
        CallerFacts::new(&CallerFields {
            claims: Some("[]"),
            ..CallerFields::default()
        })
        .is_err()
    );
    assert!(
        ToolFacts::new(&ToolFields {
            annotations: Some("{"),
            ..ToolFields::default()
        })
        .is_err()
    );
}
