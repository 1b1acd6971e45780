//! `servers list`: the inventory of the configuration.

use keepgate_admin::Server;
use serde::Serialize;

use super::Context;
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
            dash(&server.trust),
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
