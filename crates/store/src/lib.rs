//! What must last beyond a restart, and what every call asks of it while it runs.
//!
//! The only crate that knows a database. Today it keeps the kill switch ([`kill`]); what has to last later (approvals,
//! grants, pins) joins it here.

pub mod kill;
mod sql;
