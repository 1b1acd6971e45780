//! `telemetry`: where traces and metrics go. The keys of the file, and the `OTEL_*` variables of the OpenTelemetry
//! specification, which win over them.
//!
//! A variable that cannot be read warns and is passed over, as the specification wants it; a key that cannot be read is an
//! error like any other.

mod variables;

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use keepgate_net::Egress;
use keepgate_telemetry::export::{Collector, Metrics, Protocol, Resource, Settings, Traces};
use keepgate_telemetry::trace::{Sampler, Tracing};

use super::decode::{At, Decode, Fields, choice};
use super::document::{Node, Value};
use super::fault::{Fault, Faults};
use super::raw::Plaintext;
use variables::Signal;
pub(crate) use variables::Variables;

/// How many spans may wait; more than the specification's 2048, because a span costs little and a burst of calls comes
/// quickly.
const QUEUE: usize = 16_384;
/// How many spans travel together.
const BATCH: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(5);
/// How often metrics are sent.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long one attempt to send may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Where collectors take gRPC, by registration.
const GRPC_PORT: u16 = 4317;

/// The section as it is written.
#[derive(Debug)]
pub(crate) struct Telemetry {
    service_name: Option<At<String>>,
    plaintext: Option<Plaintext>,
    otlp: Option<Otlp>,
    traces: RawTraces,
    metrics: RawMetrics,
}

impl Decode for Telemetry {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let telemetry = Self {
            service_name: fields.optional("service_name"),
            plaintext: fields.optional("plaintext"),
            otlp: fields.optional("otlp"),
            traces: fields.section("traces")?,
            metrics: fields.section("metrics")?,
        };
        fields.finish();
        Some(telemetry)
    }
}

/// `telemetry.otlp`: the collector.
#[derive(Debug)]
struct Otlp {
    endpoint: Option<At<String>>,
    protocol: Option<Protocol>,
    timeout: Option<Duration>,
    ca: Option<At<String>>,
}

impl Decode for Otlp {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let otlp = Self {
            endpoint: fields.required("endpoint", "name the collector, like http://127.0.0.1:4317"),
            protocol: fields.optional("protocol"),
            timeout: fields.optional("timeout"),
            ca: fields.optional("ca"),
        };
        fields.finish();
        Some(otlp)
    }
}

impl Decode for Protocol {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = [("grpc", Self::Grpc), ("http/protobuf", Self::Http)];
        choice(node, path, faults, &words, &["http/json"])
    }
}

/// `telemetry.traces`: which calls are recorded, and who is told.
#[derive(Debug)]
struct RawTraces {
    sample: Option<Share>,
    trust_clients: bool,
    propagate: bool,
    baggage: Vec<String>,
    file: Option<At<String>>,
    otlp: bool,
}

impl Decode for RawTraces {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let traces = Self {
            sample: fields.optional("sample"),
            trust_clients: fields.or("trust_clients", false),
            propagate: fields.or("propagate", true),
            baggage: fields.or("baggage", Vec::new()),
            file: fields.optional("file"),
            otlp: fields.or("otlp", true),
        };
        fields.finish();
        Some(traces)
    }
}

/// `telemetry.metrics`: what is sent beside what Prometheus reads.
#[derive(Debug)]
struct RawMetrics {
    interval: Option<Duration>,
    otlp: bool,
}

impl Decode for RawMetrics {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let metrics = Self {
            interval: fields.optional("interval"),
            otlp: fields.or("otlp", true),
        };
        fields.finish();
        Some(metrics)
    }
}

/// A share of all, 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share(pub(crate) f64);

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let share: f64 = text.parse().ok()?;
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }
}

impl Decode for Share {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let share = match &node.value {
            Value::Scalar(scalar) => Self::parse(&scalar.text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        if share.is_none() {
            let fault = Fault::new(node.origin.clone(), path, "expected a share from 0 to 1");
            faults.push(fault.hint("0.01 records one call in a hundred"));
        }
        share
    }
}

impl Telemetry {
    /// Whether headers may be sent in clear.
    pub(crate) fn plaintext(&self) -> Option<Plaintext> {
        self.plaintext
    }

    /// The collector's URL as it is written.
    pub(crate) fn endpoint(&self) -> Option<&At<String>> {
        self.otlp.as_ref()?.endpoint.as_ref()
    }

    /// The trace file as it is written.
    pub(crate) fn file(&self) -> Option<&At<String>> {
        self.traces.file.as_ref()
    }

    /// The certificates to trust as they are written.
    pub(crate) fn ca(&self) -> Option<&At<String>> {
        self.otlp.as_ref()?.ca.as_ref()
    }
}

/// What the section names, checked.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The collector.
    pub(crate) endpoint: Option<Uri>,
    /// The trace file.
    pub(crate) file: Option<PathBuf>,
    /// Certificates to trust.
    pub(crate) ca: Option<PathBuf>,
    /// The way to other machines.
    pub(crate) egress: Egress,
}

/// What the exporter is told.
pub(crate) fn resolve(
    raw: &Telemetry,
    places: Places,
    variables: &Variables,
    warnings: &mut Vec<String>,
) -> Settings {
    if variables.is_disabled(warnings) {
        return Settings::default();
    }
    let otlp = raw.otlp.as_ref();
    let written = places.endpoint.map(|url| Written {
        url,
        protocol: otlp.and_then(|otlp| otlp.protocol),
        timeout: otlp.and_then(|otlp| otlp.timeout),
        ca: places.ca,
    });
    let file = places.file;
    let traces = Collected {
        written: written.as_ref().filter(|_| raw.traces.otlp),
        signal: Signal::Traces,
        egress: &places.egress,
    };
    let collector = traces.collector(variables, warnings);
    let metrics = Collected {
        written: written.as_ref().filter(|_| raw.metrics.otlp),
        signal: Signal::Metrics,
        egress: &places.egress,
    };
    Settings {
        resource: resource(raw, variables, warnings),
        metrics: metrics
            .collector(variables, warnings)
            .map(|collector| Metrics {
                collector,
                interval: variables
                    .milliseconds("OTEL_METRIC_EXPORT_INTERVAL", warnings)
                    .or(raw.metrics.interval)
                    .unwrap_or(INTERVAL),
            }),
        traces: (collector.is_some() || file.is_some()).then(|| Traces {
            tracing: Tracing {
                sampler: sampler(raw, variables, warnings),
                trust_clients: raw.traces.trust_clients,
                propagate: raw.traces.propagate,
                baggage: raw.traces.baggage.clone(),
            },
            collector,
            file,
            queue: variables
                .count("OTEL_BSP_MAX_QUEUE_SIZE", warnings)
                .unwrap_or(QUEUE),
            batch: variables
                .count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", warnings)
                .unwrap_or(BATCH),
            delay: variables
                .milliseconds("OTEL_BSP_SCHEDULE_DELAY", warnings)
                .unwrap_or(DELAY),
        }),
    }
}

/// `telemetry.otlp`, as far as it could be read.
struct Written {
    url: Uri,
    protocol: Option<Protocol>,
    timeout: Option<Duration>,
    ca: Option<PathBuf>,
}

/// One signal's way to a collector.
struct Collected<'a> {
    written: Option<&'a Written>,
    signal: Signal,
    egress: &'a Egress,
}

impl Collected<'_> {
    fn collector(&self, variables: &Variables, warnings: &mut Vec<String>) -> Option<Collector> {
        if variables.is_switched_off(self.signal, warnings) {
            return None;
        }
        let own = variables.own_endpoint(self.signal, warnings);
        let base = variables.endpoint(warnings);
        let base = base.or_else(|| self.written.map(|written| written.url.clone()));
        let url = own.clone().or_else(|| base.clone())?;
        let protocol = variables
            .protocol(self.signal, warnings)
            .or_else(|| self.written.and_then(|written| written.protocol))
            .unwrap_or_else(|| {
                if url.port_u16() == Some(GRPC_PORT) {
                    Protocol::Grpc
                } else {
                    Protocol::Http
                }
            });
        let url = match (protocol, own) {
            (Protocol::Http, Some(own)) => own,
            (Protocol::Http, None) => self.signal.below(&base?)?,
            (Protocol::Grpc, _) => url,
        };
        Some(Collector {
            protocol,
            url,
            headers: variables.headers(self.signal, warnings),
            timeout: variables
                .timeout(self.signal, warnings)
                .or_else(|| self.written.and_then(|written| written.timeout))
                .unwrap_or(TIMEOUT),
            ca: variables
                .certificate(self.signal)
                .or_else(|| self.written.and_then(|written| written.ca.clone())),
            egress: self.egress.clone(),
        })
    }
}

/// Which calls are recorded: all, if nobody says otherwise.
fn sampler(raw: &Telemetry, variables: &Variables, warnings: &mut Vec<String>) -> Sampler {
    if let Some((ratio, by_parent)) = variables.sampler(warnings) {
        return Sampler::new(ratio, by_parent);
    }
    let share = raw.traces.sample.unwrap_or(Share(1.0));
    Sampler::new(share.0, true)
}

/// Who sends: what the variables and the file say, and what only the process knows.
fn resource(raw: &Telemetry, variables: &Variables, warnings: &mut Vec<String>) -> Resource {
    let mut attributes = variables.resource(warnings);
    let mut standard = |key: &str, value: String| {
        if attributes.iter().all(|(known, _)| known != key) {
            attributes.push((key.to_owned(), value));
        }
    };
    let written = raw.service_name.as_ref().map(|name| name.value.clone());
    standard("service.name", written.unwrap_or_else(|| "keepgate".into()));
    standard("service.version", env!("CARGO_PKG_VERSION").to_owned());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    standard("host.name", host.trim().to_owned());
    standard("process.pid", std::process::id().to_string());
    Resource(attributes)
}
