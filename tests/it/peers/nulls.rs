//! Nulls of servers where an SDK's schemas take none: each member that is optional in them and null is dropped.

use keepgate_mcp::{Body, Limits, Message, repair};
use serde_json::{Value, json};

use super::process::run;

/// The messages the schemas are of, but for the member; a result by what only it has.
fn bare(schema: &str) -> Value {
    let answer = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    let sent = |method: &str| json!({"jsonrpc": "2.0", "method": method, "params": {}});
    let asked = |method: &str| json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}});
    match schema {
        "ListToolsResult" => answer(json!({"tools": []})),
        "ListPromptsResult" => answer(json!({"prompts": []})),
        "ListResourcesResult" => answer(json!({"resources": []})),
        "ListResourceTemplatesResult" => answer(json!({"resourceTemplates": []})),
        "ReadResourceResult" => answer(json!({"contents": []})),
        "CallToolResult" => answer(json!({"content": []})),
        "GetPromptResult" => answer(json!({"messages": []})),
        "CompleteResult" => answer(json!({"completion": {"values": []}})),
        "InitializeResult" => answer(json!({"protocolVersion": "2025-11-25"})),
        "CreateMessageRequest" => asked("sampling/createMessage"),
        "ElicitRequest" => asked("elicitation/create"),
        "ProgressNotification" => sent("notifications/progress"),
        "LoggingMessageNotification" => sent("notifications/message"),
        "CancelledNotification" => sent("notifications/cancelled"),
        "ResourceUpdatedNotification" => sent("notifications/resources/updated"),
        other => panic!("a schema that this test does not know: {other}"),
    }
}

/// Members that stay, with the reason.
const KEPT: [(&str, &str, &str); 3] = [
    (
        "CallToolResult",
        "content",
        "only this SDK lets it be left out: the specification demands it",
    ),
    (
        "CancelledNotification",
        "params.requestId",
        "a cancellation of nothing is not for a client",
    ),
    (
        "InitializeResult",
        "capabilities.tasks.",
        "`tasks` is taken out whole",
    ),
];

/// The place of a member, made where it is missing.
fn place<'a>(within: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(within, |at, name| {
        if name == "[]" {
            if !at.is_array() {
                *at = json!([]);
            }
            let items = at.as_array_mut().expect("a list");
            if items.is_empty() {
                items.push(Value::Null);
            }
            return items.first_mut().expect("an item");
        }
        if !at.is_object() {
            *at = json!({});
        }
        &mut at[name.replace('\\', ".")]
    })
}

/// The message as a client gets it.
fn repaired(message: &Value) -> Value {
    let decoded = repair::decode(message.to_string().into(), &Limits::reply(), |_| {});
    let Ok(Body::Single(message)) = decoded else {
        panic!("{decoded:?}: {message}");
    };
    let bytes = match &message {
        Message::Request(request) => request.bytes(),
        Message::Notification(notification) => notification.bytes(),
        Message::Response(response) => response.bytes(),
    };
    serde_json::from_slice(bytes).expect("JSON")
}

#[tokio::test]
async fn every_null_that_an_sdk_does_not_take_is_dropped() {
    let schemas = run("optional.mjs", &[], &[]).await.json();
    let schemas = schemas.as_object().expect("schemas");
    let mut stayed = Vec::new();
    let mut dropped = 0;
    for (schema, paths) in schemas {
        for path in paths.as_array().expect("paths") {
            let path = path.as_str().expect("a path");
            let mut message = bare(schema);
            let within = if message["result"].is_null() {
                &mut message
            } else {
                &mut message["result"]
            };
            *place(within, path) = Value::Null;
            let is_kept = KEPT.iter().any(|(of, kept, _)| {
                of == schema && (path == *kept || kept.ends_with('.') && path.starts_with(kept))
            });
            match (repaired(&message) == message, is_kept) {
                (true, false) => stayed.push(format!("{schema}: {path}")),
                (false, true) => panic!("{schema}: {path} is dropped, and KEPT names it"),
                (false, false) => dropped += 1,
                (true, true) => {}
            }
        }
    }
    assert!(stayed.is_empty(), "nulls that stay:\n{}", stayed.join("\n"));
    assert!(dropped > 200, "too few to be the SDK's schemas: {dropped}");
}
