//! A walk over a list of servers, for tests that compare clients: one line for each server.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{CallToolResult, ClientRequest, PingRequest};
use rmcp::service::{ClientInitializeError, RunningService};
use rmcp::{ErrorData, RoleClient, ServiceError};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::client::Asked;
use super::steps::call;
use crate::connect::{self, ConnectError, Era, Target};
use crate::explain;

/// Servers walked at once.
const AT_ONCE: usize = 8;
/// Time one step may take. Only a client that hangs takes that long.
const PATIENCE: Duration = Duration::from_secs(40);

type Client = RunningService<RoleClient, Asked>;

/// Opens a session at each server, lists its tools and calls `echo` twice, and returns `NAME<tab>OUTCOME` for each:
/// `works`, or the first step that failed with the reason, a refusal's code or the number of the error.
///
/// A target is a URL, or a command as an array.
pub async fn walk(targets: Vec<(String, Value)>) -> Vec<String> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut walks = JoinSet::new();
    for (name, target) in targets {
        let places = Arc::clone(&places);
        walks.spawn(async move {
            let _place = places.acquire_owned().await;
            let outcome = visit(&target)
                .await
                .map_or_else(|it| it, |()| "works".to_owned());
            format!("{name}\t{outcome}")
        });
    }
    walks.join_all().await
}

async fn visit(target: &Value) -> Result<(), String> {
    let revision = Era::Stateful.revision();
    let target = read(target).ok_or("connect: no target")?;
    let handler = Asked::new(revision.clone());
    let opened = connect::connect(handler, &target, Era::Stateful, revision);
    let client = match tokio::time::timeout(PATIENCE, opened).await {
        Err(_) => return Err("connect: no answer".to_owned()),
        Ok(Err(error)) => return Err(format!("connect: {}", unopened(&error))),
        Ok(Ok(client)) => client,
    };
    let visited = steps(&client).await;
    // How a session ends is no step of it.
    client.cancel().await.ok();
    visited
}

fn read(target: &Value) -> Option<Target> {
    if let Some(url) = target.as_str() {
        return Target::http(url, None).ok();
    }
    let words = target.as_array()?.iter();
    let command = words.map(|word| word.as_str().map(str::to_owned));
    Some(Target::Stdio {
        command: command.collect::<Option<_>>()?,
    })
}

async fn steps(client: &Client) -> Result<(), String> {
    let ping = ClientRequest::PingRequest(PingRequest::default());
    // A server need not know it.
    step("ping", client.send_request(ping)).await.ok();
    step("list", client.list_tools(None)).await?;
    for name in ["call", "again"] {
        let result = step(name, client.call_tool(call("echo", json!({})))).await?;
        if result.is_error == Some(true) {
            return Err(format!("{name}: {}", refused(&result)));
        }
    }
    Ok(())
}

async fn step<T>(
    name: &str,
    work: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, work).await {
        Err(_) => Err(format!("{name}: no answer")),
        Ok(Ok(done)) => Ok(done),
        Ok(Err(ServiceError::McpError(error))) => Err(format!("{name}: {}", code(&error))),
        Ok(Err(error)) => Err(format!("{name}: {}", quoted(&explain(&error), "failed"))),
    }
}

fn unopened(error: &ConnectError) -> String {
    if let ConnectError::Open(open) = error
        && let ClientInitializeError::JsonRpcError(error) = &**open
    {
        return code(error);
    }
    quoted(&explain(error), "failed")
}

/// The code of a refusal, else the number of the error.
fn code(error: &ErrorData) -> String {
    let named = error
        .data
        .as_ref()
        .and_then(|data| data.get("code")?.as_str());
    named.map_or_else(|| error.code.0.to_string(), str::to_owned)
}

fn refused(result: &CallToolResult) -> String {
    let meta = serde_json::to_value(&result.meta).unwrap_or_default();
    let code = meta
        .pointer("/dev.keepgate~1refusal/code")
        .and_then(Value::as_str);
    code.unwrap_or("isError").to_owned()
}

/// The code of a refusal in a body that rmcp quotes.
fn quoted(text: &str, otherwise: &str) -> String {
    let text = text.replace('\\', "");
    let mut codes = text.split("\"code\":\"").skip(1);
    let code = codes.find_map(|rest| rest.split_once('"'));
    code.map_or(otherwise, |(code, _)| code).to_owned()
}
