//! What the data plane counts. Labels are bounded: configured servers, tools they have listed, and words of our own.
//!
//! A layer that counts something new registers it itself, in [`Meters::registry`], and names it in `docs/telemetry.md`:
//! `let cut = meters.registry().counter("keepgate.kill.cut", "Calls cut", &["scope"]);`, then
//! `cut.with(["server"], Counter::increment)`; what others count already is read by `registry().observe(...)`.

use std::time::Duration;

use keepgate_call::ServerName;
use keepgate_telemetry::metrics::{Counter, Family, Histogram, Registry, text};

/// Upper bounds for the duration of an operation, in nanoseconds: those of the MCP conventions, and finer ones below them
/// for what the gateway itself costs.
const OPERATION: &[u64] = &[
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
];

/// Everything that is counted.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    calls: Family<Counter, 2>,
    turned_away: Family<Counter, 1>,
    server: Family<Histogram, 1>,
}

impl Default for Meters {
    fn default() -> Self {
        let registry = Registry::default();
        Self {
            calls: registry.counter(
                "keepgate.calls",
                "Calls by server and by how they ended",
                &["keepgate.server.name", "keepgate.result"],
            ),
            turned_away: registry.counter(
                "keepgate.turned_away",
                "Requests refused before they were calls, by code",
                &["keepgate.code"],
            ),
            server: registry.histogram(
                "mcp.server.operation.duration",
                "Time from a client's message to its answer",
                &["keepgate.server.name"],
                OPERATION,
            ),
            registry,
        }
    }
}

impl Meters {
    /// Where metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a call.
    pub fn call(&self, server: &ServerName, result: &'static str, took: Duration) {
        let server = server.as_str();
        self.calls.with([server, result], Counter::increment);
        self.server
            .with([server], |histogram| histogram.observe(took));
    }

    /// Counts a request that was refused before it was a call.
    pub fn turned_away(&self, code: &'static str) {
        self.turned_away.with([code], Counter::increment);
    }

    /// Everything in the text format Prometheus scrapes.
    pub fn text(&self) -> String {
        text::encode(&self.registry.read())
    }
}
