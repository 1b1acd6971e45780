//! Meters of the data plane, in the Prometheus data model. Labels are bounded: configured servers and our own codes.

use std::{fmt, time::Duration};

use keepgate_call::ServerName;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    server: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByServer {
    server: String,
}

/// Everything that is counted.
pub struct Meters {
    registry: Registry,
    calls: Family<ByResult, Counter>,
    seconds: Family<ByServer, Histogram>,
    turned_away: Family<ByCode, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    code: &'static str,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

impl Default for Meters {
    fn default() -> Self {
        let calls = Family::default();
        // From what the gateway itself costs up to what a slow tool takes, in seconds.
        let seconds = Family::<ByServer, Histogram>::new_with_constructor(|| {
            Histogram::new([
                0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0,
                300.0,
            ])
        });
        let turned_away = Family::default();
        let mut registry = Registry::with_prefix("keepgate");
        registry.register(
            "calls",
            "Calls by server and by how they ended",
            Family::clone(&calls),
        );
        registry.register_with_unit(
            "call_duration",
            "Time to the head of the reply",
            Unit::Seconds,
            Family::clone(&seconds),
        );
        registry.register(
            "turned_away",
            "Requests refused before they were calls, by code",
            Family::clone(&turned_away),
        );
        Self {
            registry,
            calls,
            seconds,
            turned_away,
        }
    }
}

impl Meters {
    /// Counts a call.
    pub fn call(&self, server: &ServerName, result: &'static str, took: Duration) {
        let server = server.as_str();
        self.calls
            .get_or_create(&ByResult {
                server: server.to_owned(),
                result,
            })
            .inc();
        self.seconds
            .get_or_create(&ByServer {
                server: server.to_owned(),
            })
            .observe(took.as_secs_f64());
    }

    /// Counts a request that was refused before it was a call.
    pub fn turned_away(&self, code: &'static str) {
        self.turned_away.get_or_create(&ByCode { code }).inc();
    }

    /// Everything in the text format Prometheus scrapes.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _infallible = text::encode(&mut out, &self.registry);
        out
    }
}
