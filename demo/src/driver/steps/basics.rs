//! Who is there, which tools, and calls that answer at once.

use rmcp::ServiceError;
use rmcp::model::{ClientRequest, ErrorCode, PingRequest};
use serde_json::json;

use super::super::Session;
use super::super::report::{Outcome, StepError, expect};
use super::{Ended, call, called, member, text};
use crate::connect::Era;

/// Tools the fixture has; a gate may hide some of its own choice, but not in these tests.
const TOOLS: [&str; 11] = [
    "echo",
    "add",
    "slow",
    "cancelled_count",
    "log",
    "change_list",
    "touch",
    "sample",
    "elicit",
    "elicit_url",
    "roots",
];

/// What the server said about itself.
pub(crate) fn peer(session: &Session) -> Outcome {
    let seen = session.client.peer_info().map_or_else(
        || "no word about itself".to_owned(),
        |info| {
            let name = info
                .server_info
                .as_ref()
                .map_or("unnamed", |server| server.name.as_str());
            format!("{name} in {}", info.protocol_version)
        },
    );
    Outcome::Done(seen)
}

pub(crate) async fn ping(session: &Session) -> Ended {
    match session.era {
        Era::Stateless => Ok(Outcome::Skipped("2026-07-28 has no ping")),
        Era::Stateful => {
            let ping = ClientRequest::PingRequest(PingRequest::default());
            session.client.send_request(ping).await?;
            Ok(Outcome::Done("pong".to_owned()))
        }
    }
}

pub(crate) async fn list_tools(session: &Session) -> Ended {
    let tools = session.client.list_all_tools().await?;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    expect(names == TOOLS, names.join(" "))
}

pub(crate) async fn echo(session: &Session) -> Ended {
    // Beyond ASCII, beyond the basic plane, and what JSON must escape.
    let said = "grüße 😀 \"quoted\" \\ \u{2028} </script>";
    let heard = text(&called(session, "echo", json!({ "text": said })).await?);
    expect(heard == said, heard)
}

pub(crate) async fn add(session: &Session) -> Ended {
    let result = called(session, "add", json!({ "a": 1.5, "b": 2 })).await?;
    let sum = member(&result, "sum");
    expect(sum == Some(json!(3.5)), format!("{sum:?}"))
}

pub(crate) async fn unknown_tool(session: &Session) -> Ended {
    match session
        .client
        .call_tool(call("no_such_tool", json!({})))
        .await
    {
        Err(ServiceError::McpError(error)) => expect(
            error.code == ErrorCode::INVALID_PARAMS,
            format!("{} {}", error.code.0, error.message),
        ),
        Err(error) => Err(error.into()),
        Ok(result) => Err(StepError::Unexpected(text(&result))),
    }
}
