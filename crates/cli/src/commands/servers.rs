//! `servers list`: the inventory of the configuration; `servers processes`: what runs for them.

use http::Method;
use keepgate_admin::Server;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use super::api::Gateway;
use crate::arguments::Api;
use crate::failure::Failure;
use crate::output::table;
use crate::serve::inventory;

/// All servers.
#[derive(Serialize)]
struct Inventory {
    servers: Vec<Server>,
}

/// `servers list`.
pub(super) fn list(context: &mut Context<'_>) -> Result<(), Failure> {
    let configuration = context.configuration()?;
    let inventory = Inventory {
        servers: inventory(&configuration.gateway),
    };
    Ok(context.output.print(&inventory, text)?)
}

/// `servers processes`.
pub(super) fn processes(api: &Api, context: &mut Context<'_>) -> Result<(), Failure> {
    let gateway = Gateway::of(api, context)?;
    let answer = gateway.ask(Method::GET, "/api/v1/processes", None)?;
    Ok(context.output.print(&answer, running)?)
}

fn running(answer: &Value) -> String {
    let processes = answer["processes"].as_array().map(Vec::as_slice);
    let cell = |value: &Value, none: &str| match value {
        Value::Null => none.to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    let row = |process: &Value| {
        [
            cell(&process["server"], "-"),
            cell(&process["caller"], "(shared)"),
            cell(&process["pid"], "-"),
            cell(&process["age_s"], "-"),
            cell(&process["idle_s"], "in use"),
        ]
    };
    let rows: Vec<_> = processes.unwrap_or_default().iter().map(row).collect();
    table(["SERVER", "CALLER", "PID", "AGE_S", "IDLE_S"], &rows)
}

fn text(inventory: &Inventory) -> String {
    let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let row = |server: &Server| {
        let labels = if server.labels.is_empty() {
            "-".to_owned()
        } else {
            server.labels.join(",")
        };
        [
            server.name.clone(),
            server.kind.to_owned(),
            server.target.clone(),
            dash(&server.owner),
            dash(&server.environment),
            server.trust.to_owned(),
            labels,
        ]
    };
    let rows: Vec<_> = inventory.servers.iter().map(row).collect();
    table(
        [
            "NAME",
            "KIND",
            "TARGET",
            "OWNER",
            "ENVIRONMENT",
            "TRUST",
            "LABELS",
        ],
        &rows,
    )
}
