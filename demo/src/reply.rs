//! Small pieces every server of the demo needs: tool definitions, arguments, answers.

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::model::{
    CallToolResponse, CallToolResult, ContentBlock, JsonObject, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, Tool,
};
use serde_json::Value;

/// What a tool may do, told to the client as annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reads only.
    Reads,
    /// Adds or changes something that can be put back.
    Writes,
    /// Takes something away for good.
    Destroys,
}

/// A tool called `name`. `properties` is the JSON Schema of its arguments by name; all names in
/// `required` must be given.
pub fn tool(
    name: &'static str,
    description: &'static str,
    effect: Effect,
    properties: &Value,
    required: &[&str],
) -> Tool {
    let schema = serde_json::json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    let hints = rmcp::model::ToolAnnotations::new()
        .read_only(effect == Effect::Reads)
        .destructive(effect == Effect::Destroys);
    Tool::new(name, description, Arc::new(object(schema))).with_annotations(hints)
}

/// The object inside `value`; an empty one if it is something else.
pub fn object(value: Value) -> JsonObject {
    if let Value::Object(map) = value {
        map
    } else {
        JsonObject::new()
    }
}

/// The string argument `name`.
///
/// # Errors
///
/// `-32602` if it is missing or is not a string.
pub fn text_argument<'a>(
    arguments: Option<&'a JsonObject>,
    name: &str,
) -> Result<&'a str, ErrorData> {
    arguments
        .and_then(|map| map.get(name))
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params(format!("missing string argument `{name}`"), None))
}

/// The number argument `name`.
///
/// # Errors
///
/// `-32602` if it is missing or is not a number.
pub fn number_argument(arguments: Option<&JsonObject>, name: &str) -> Result<f64, ErrorData> {
    arguments
        .and_then(|map| map.get(name))
        .and_then(Value::as_f64)
        .ok_or_else(|| ErrorData::invalid_params(format!("missing number argument `{name}`"), None))
}

/// The whole-number argument `name`, or `default` if it is not given.
pub fn count_argument(arguments: Option<&JsonObject>, name: &str, default: u64) -> u64 {
    arguments
        .and_then(|map| map.get(name))
        .and_then(Value::as_u64)
        .unwrap_or(default)
}

/// A finished call that says `text`.
pub fn said(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

/// A finished call that failed in a way the model can read.
pub fn failed(text: impl Into<String>) -> CallToolResponse {
    CallToolResult::error(vec![ContentBlock::text(text)]).into()
}

/// A finished call with a structured result (and the same as text, for clients that want text).
pub fn structured(value: Value) -> CallToolResponse {
    CallToolResult::structured(value).into()
}

/// The answer to a call of a tool that does not exist (-32602, as the specification words it).
pub fn unknown_tool(name: &str) -> ErrorData {
    ErrorData::invalid_params(format!("Unknown tool: {name}"), None)
}

/// A text resource for a list.
pub fn resource(uri: &str, name: &str, description: &str) -> Resource {
    Resource::new(uri, name)
        .with_description(description)
        .with_mime_type("text/markdown")
}

/// The contents of a text resource.
pub fn contents(uri: &str, text: impl Into<String>) -> ReadResourceResponse {
    ReadResourceResult::new(vec![
        ResourceContents::text(text, uri).with_mime_type("text/markdown"),
    ])
    .into()
}

/// The answer to a read of a resource that does not exist.
pub fn unknown_resource(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(format!("Resource not found: {uri}"), None)
}
