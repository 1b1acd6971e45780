//! The published descriptions of what rules see and of what they may say, as JSON Schema (draft 2020-12).

/// Every field of `input`.
pub const INPUT: &str = include_str!("../../../policies/schema/input.schema.json");
/// What the sets of package `mcp.authz` may hold.
pub const DECISION: &str = include_str!("../../../policies/schema/decision.schema.json");
/// A server's definition: the `mcp_server` document.
pub const DEFINITION: &str = include_str!("../../../policies/schema/definition.schema.json");

#[cfg(test)]
mod tests;
