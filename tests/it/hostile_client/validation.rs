//! Values of arguments against the tool's whole schema, where the operator asks for it.

use std::sync::{Arc, Mutex};

use keepgate_gateway::settings::Validation;
use keepgate_tests::{FakeServer, Say, TestGateway, upstream::said};
use serde_json::{Value, json};

use super::session;

async fn server(schema: Arc<Mutex<Value>>) -> FakeServer {
    FakeServer::start(move |heard| {
        let id = &heard.json()["id"];
        if heard.method() == "tools/list" {
            let schema = schema.lock().unwrap().clone();
            let tools = json!({"tools": [{"name": "read", "inputSchema": schema}]});
            return Say::json(&json!({"jsonrpc": "2.0", "id": id, "result": tools}));
        }
        keepgate_tests::upstream::behave(heard).unwrap_or_else(|| Say::json(&said(id, "hello")))
    })
    .await
}

async fn gateway(server: &FakeServer, validation: Validation) -> TestGateway {
    TestGateway::http(&server.url())
        .policy("package mcp.authz\n\nallow contains \"all\"\n")
        .with(move |settings| {
            for server in settings.servers.values_mut() {
                server.validation = validation;
            }
        })
        .start()
        .await
}

fn strict() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {"type": "string", "pattern": "^/srv/[a-z]+$"},
            "max": {"type": "integer", "maximum": 100},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        },
        "required": ["path"],
    })
}

#[tokio::test]
async fn values_that_violate_the_schema_reach_no_server_where_that_is_asked_for() {
    let table = [
        (json!({"path": "/srv/a", "max": 100, "tags": ["a"]}), None),
        (json!({"path": "/srv/a", "toolCallId": "dropped"}), None),
        (json!({}), Some("`/path` is missing (`required`)")),
        (Value::Null, Some("`/path` is missing (`required`)")),
        (
            json!({"path": "/etc/shadow"}),
            Some("`/path` violates `pattern`"),
        ),
        (json!({"path": ["/srv/a"]}), Some("`/path` violates `type`")),
        (
            json!({"path": "/srv/a", "max": 101}),
            Some("`/max` violates `maximum`"),
        ),
        (
            json!({"path": "/srv/a", "tags": ["a", "c"]}),
            Some("`/tags/1` violates `enum`"),
        ),
    ];
    for validation in [Validation::Full, Validation::Names] {
        let server = server(Arc::new(Mutex::new(strict()))).await;
        let gateway = gateway(&server, validation).await;
        let client = session(&gateway).await;
        for (arguments, fault) in &table {
            let before = server.heard_of("tools/call").len();
            let answer = client.call("read", arguments.clone()).await;
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            let fault = fault.filter(|_| validation == Validation::Full);
            let heard = server.heard_of("tools/call").len() - before;
            match fault {
                Some(fault) => {
                    assert_eq!(answer.code().as_deref(), Some("params_invalid"), "{text}");
                    assert!(text.contains(fault), "{arguments}: {text}");
                    assert_eq!(heard, 0);
                }
                None => {
                    assert_eq!(answer.code(), None, "{validation:?} {arguments}: {text}");
                    assert_eq!(heard, 1);
                }
            }
        }
    }
}

/// Dropped arguments make nothing valid.
#[tokio::test]
async fn what_is_validated_is_what_is_sent() {
    for (schema, arguments) in [
        (
            json!({"properties": {"mode": {}}, "dependentRequired": {"mode": ["confirm"]}}),
            json!({"mode": "delete", "confirm": 1}),
        ),
        (
            json!({"properties": {"a": {}}, "minProperties": 1}),
            json!({"zz": 1}),
        ),
        (
            json!({"properties": {"a": {}}, "required": ["b"]}),
            json!({"b": 1}),
        ),
    ] {
        let server = server(Arc::new(Mutex::new(schema.clone()))).await;
        let gateway = gateway(&server, Validation::Full).await;
        let client = session(&gateway).await;
        let answer = client.call("read", arguments).await;
        assert_eq!(answer.code().as_deref(), Some("params_invalid"), "{schema}");
        assert!(server.heard_of("tools/call").is_empty());
    }
}

#[tokio::test]
async fn a_schema_that_cannot_be_evaluated_or_costs_too_much_admits_nothing() {
    let branches = json!({
        "anyOf": [{"$ref": "#/$defs/b"}, {"$ref": "#/$defs/b"}],
        "$defs": {"b": {"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"required": ["z"]}]}},
    });
    let nested = (0..50).fold(json!(1), |inner, _| json!({"a": inner}));
    for (schema, arguments, fault) in [
        (json!({"$dynamicRef": "#x"}), json!({}), "`$dynamicRef`"),
        (
            json!({"$ref": "https://elsewhere.example/s"}),
            json!({}),
            "`$ref`",
        ),
        (
            json!({"properties": {"p": {"pattern": "(?=x)"}}}),
            json!({}),
            "`pattern`",
        ),
        (json!({"$ref": "#"}), json!({}), "too many steps"),
        (branches, nested, "too many steps"),
    ] {
        let server = server(Arc::new(Mutex::new(schema.clone()))).await;
        let gateway = gateway(&server, Validation::Full).await;
        let client = session(&gateway).await;
        let answer = client.call("read", arguments).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.code().as_deref(), Some("params_invalid"), "{text}");
        for part in [fault, "`servers.up.validation: names`"] {
            assert!(text.contains(part), "{schema}: {text}");
        }
        assert!(server.heard_of("tools/call").is_empty());
    }
}

#[tokio::test]
async fn arguments_that_fit_a_newer_schema_are_validated_by_it() {
    let schema = Arc::new(Mutex::new(strict()));
    let server = server(Arc::clone(&schema)).await;
    let gateway = gateway(&server, Validation::Full).await;
    let client = session(&gateway).await;
    let before = client.call("read", json!({"path": "/srv/a"})).await;
    assert_eq!(before.code(), None, "{before:?}");
    *schema.lock().unwrap() = json!({"properties": {"path": {"const": "/new"}}});
    // The list is not looked at again before it is five seconds old: many wrong calls ask once.
    let newer = async {
        while client
            .call("read", json!({"path": "/new"}))
            .await
            .code()
            .is_some()
        {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(keepgate_tests::PATIENCE, newer)
        .await
        .expect("the newer schema");
}
