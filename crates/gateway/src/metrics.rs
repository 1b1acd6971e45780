//! What the data plane counts. Labels are bounded: configured servers, tools they have listed, and words of our own.
//!
//! A layer that counts something new registers it itself, in [`Meters::registry`], and names it in `docs/telemetry.md`:
//! `let cut = meters.registry().counter("keepgate.kill.cut", "Calls cut", &["scope"]);`, then
//! `cut.with(["server"], Counter::increment)`; what others count already is read by `registry().observe(...)`.

use std::{borrow::Cow, time::Duration};

use keepgate_call::{Call, ServerName};
use keepgate_mcp::revision::Revision;
use keepgate_telemetry::metrics::{Bound, Counter, Family, Gauge, Histogram, Registry, text};

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

/// Upper bounds for the duration of a session, in nanoseconds.
const SESSION: &[u64] = &[
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    300_000_000_000,
    900_000_000_000,
    1_800_000_000_000,
    3_600_000_000_000,
    14_400_000_000_000,
    86_400_000_000_000,
];

/// Upper bounds for the duration of a decision, in nanoseconds.
const DECISION: &[u64] = &[
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
];

/// One request or notification, as its duration is labelled.
#[derive(Debug)]
pub struct Operation<'a> {
    /// The call.
    pub call: &'a Call,
    /// Its method, `_OTHER` if it is none of MCP's.
    pub method: &'static str,
    /// The tool it is for, `_OTHER` if the server has not listed it; empty if it is for none.
    pub tool: Cow<'a, str>,
    /// `error.type`; empty if nothing went wrong.
    pub error: &'static str,
}

/// The durations of the MCP conventions.
#[derive(Debug)]
struct Durations {
    served: Family<Histogram, 6>,
    asked: Family<Histogram, 7>,
    sessions: Family<Histogram, 2>,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    calls: Family<Counter, 3>,
    rejected: Family<Counter, 1>,
    reused_ids: Family<Counter, 1>,
    durations: Durations,
    decisions: Family<Counter, 3>,
    judging: Family<Histogram, 1>,
    upstreams: Family<Gauge, 1>,
}

impl Default for Meters {
    fn default() -> Self {
        let registry = Registry::default();
        let version = env!("CARGO_PKG_VERSION");
        registry
            .gauge(
                "keepgate.build.info",
                "Always 1; the label tells which keepgate runs",
                &["keepgate.version"],
            )
            .with([version], |gauge| gauge.set(1));
        Self {
            calls: registry.counter(
                "keepgate.calls",
                "Calls that ended, by how they ended: ok, or the code of a refusal",
                &["keepgate.tenant", "keepgate.server.name", "keepgate.result"],
            ),
            rejected: registry.counter(
                "keepgate.rejected_requests",
                "Requests refused before they were calls, by code",
                &["keepgate.code"],
            ),
            reused_ids: registry.counter(
                "keepgate.session.reused_ids",
                "Requests made under an id that a running call of the session has already",
                &["keepgate.server.name"],
            ),
            durations: Durations::of(&registry),
            decisions: registry.counter(
                "keepgate.decisions",
                "Decisions of policy on calls, by effect",
                &[
                    "keepgate.tenant",
                    "keepgate.server.name",
                    "keepgate.policy.effect",
                ],
            ),
            judging: registry.histogram(
                "keepgate.policy.duration",
                "Time policy took to decide on a call",
                &["keepgate.server.name"],
                DECISION,
            ),
            upstreams: registry.gauge(
                "keepgate.upstream.up",
                "Whether the last call to the server reached it",
                &["keepgate.server.name"],
            ),
            registry,
        }
    }
}

impl Durations {
    fn of(registry: &Registry) -> Self {
        Self {
            served: registry.histogram(
                "mcp.server.operation.duration",
                "Time from a client's message to its answer",
                &[
                    "keepgate.tenant",
                    "keepgate.server.name",
                    "mcp.method.name",
                    "gen_ai.tool.name",
                    "error.type",
                    "mcp.protocol.version",
                ],
                OPERATION,
            ),
            asked: registry.histogram(
                "mcp.client.operation.duration",
                "Time a server took to answer",
                &[
                    "keepgate.tenant",
                    "keepgate.server.name",
                    "mcp.method.name",
                    "gen_ai.tool.name",
                    "error.type",
                    "mcp.protocol.version",
                    "network.transport",
                ],
                OPERATION,
            ),
            sessions: registry.histogram(
                "mcp.server.session.duration",
                "How long sessions lasted that have ended",
                &["keepgate.server.name", "mcp.protocol.version"],
                SESSION,
            ),
        }
    }
}

impl Meters {
    /// Where metrics are registered.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts a call that ended with `result`.
    pub fn call(&self, call: &Call, result: &'static str) {
        let labels = [call.caller.tenant.as_str(), call.server.as_str(), result];
        self.calls.with(labels, Counter::increment);
    }

    /// Notes how long a client waited.
    pub fn served(&self, operation: &Operation<'_>, took: Duration) {
        let [tenant, server, method, tool, error, revision] = operation.labels();
        self.durations.served.with(
            [tenant, server, method, tool, error, revision],
            |histogram| histogram.observe(took),
        );
    }

    /// Notes how long a server took; `transport` is `tcp` or `pipe`.
    pub fn asked(&self, operation: &Operation<'_>, transport: &'static str, took: Duration) {
        let [tenant, server, method, tool, error, revision] = operation.labels();
        self.durations.asked.with(
            [tenant, server, method, tool, error, revision, transport],
            |histogram| histogram.observe(took),
        );
    }

    /// Notes how long a session lasted.
    pub fn session(&self, server: &ServerName, revision: Revision, lasted: Duration) {
        self.durations
            .sessions
            .with([server.as_str(), revision.as_str()], |histogram| {
                histogram.observe(lasted);
            });
    }

    /// Counts a decision of policy: `allow`, `deny`, `approve`, or `failed`.
    pub fn judged(&self, call: &Call, effect: &'static str, took: Duration) {
        let server = call.server.as_str();
        self.decisions.with(
            [call.caller.tenant.as_str(), server, effect],
            Counter::increment,
        );
        self.judging
            .with([server], |histogram| histogram.observe(took));
    }

    /// Where it is noted whether a server is reached.
    pub fn upstream(&self, server: &ServerName) -> Bound<Gauge> {
        self.upstreams.bind([server.as_str()])
    }

    /// Counts a request that was refused before it was a call.
    pub fn rejected(&self, code: &'static str) {
        self.rejected.with([code], Counter::increment);
    }

    /// Counts a request whose id a running call of its session has already.
    pub fn reused_id(&self, server: &ServerName) {
        self.reused_ids.with([server.as_str()], Counter::increment);
    }

    /// Everything in the text format Prometheus scrapes.
    pub fn text(&self) -> String {
        text::encode(&self.registry.read())
    }
}

impl Operation<'_> {
    fn labels(&self) -> [&str; 6] {
        [
            self.call.caller.tenant.as_str(),
            self.call.server.as_str(),
            self.method,
            &self.tool,
            self.error,
            self.call.revision.as_str(),
        ]
    }
}
