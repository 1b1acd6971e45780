//! The driver's steps, by theme, and the few things they share.

pub(super) mod ask;
pub(super) mod basics;
pub(super) mod catalog;
pub(super) mod feed;
pub(super) mod long;

use rmcp::model::{CallToolRequestParams, CallToolResult};
use serde_json::Value;

use super::Session;
use super::report::{Outcome, StepError};

/// What a step gives.
type Ended = Result<Outcome, StepError>;

pub(super) fn call(name: &'static str, arguments: Value) -> CallToolRequestParams {
    CallToolRequestParams::new(name).with_arguments(crate::reply::object(arguments))
}

/// Calls a tool to its end (through `input_required` rounds too) and wants a good result.
async fn called(
    session: &Session,
    name: &'static str,
    arguments: Value,
) -> Result<CallToolResult, StepError> {
    let result = session.client.call_tool(call(name, arguments)).await?;
    if result.is_error == Some(true) {
        return Err(StepError::Unexpected(text(&result)));
    }
    Ok(result)
}

/// The text of a result.
fn text(result: &CallToolResult) -> String {
    let texts: Vec<&str> = result
        .content
        .iter()
        .filter_map(|block| block.as_text())
        .map(|block| block.text.as_str())
        .collect();
    texts.join(" ")
}

/// The member `name` of a structured result.
fn member(result: &CallToolResult, name: &str) -> Option<Value> {
    result.structured_content.as_ref()?.get(name).cloned()
}
