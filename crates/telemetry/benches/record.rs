//! What telemetry costs a call: the sampling decision, and the counters and histograms a call feeds.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use keepgate_call::trace::Remote;
use keepgate_telemetry::{
    export::{Exporter, Resource, Settings, Traces},
    metrics::{Counter, Registry},
    trace::{Carrier, Sampler, Tally, Tracer, Tracing},
};

struct Client;

impl Carrier for Client {
    fn message(&self) -> Option<Remote<'_>> {
        let parent = black_box(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        Remote::parse(parent, None)
    }

    fn header(&self) -> Option<Remote<'_>> {
        None
    }
}

fn tracer(trust_clients: bool) -> (Tracer, Exporter) {
    let tracer = Tracer::default();
    let settings = Settings {
        resource: Resource::default(),
        traces: Some(Traces {
            tracing: Tracing {
                sampler: Sampler::new(0.01, true),
                trust_clients,
                ..Tracing::default()
            },
            collector: None,
            file: Some("/dev/null".into()),
            queue: 16_384,
            batch: 512,
            delay: Duration::from_secs(5),
        }),
        metrics: None,
    };
    let exporter = Exporter::start(
        settings,
        &tracer,
        &std::sync::Arc::<Tally>::default(),
        Vec::new,
    );
    let exporter = exporter.ok().flatten();
    (tracer, exporter.unwrap_or_else(|| std::process::abort()))
}

fn sampling(criterion: &mut Criterion) {
    let off = Tracer::default();
    criterion.bench_function("sampling/off", |bench| {
        bench.iter(|| off.begin(black_box([7; 16]), &Client));
    });
    for (name, trust) in [("new trace", false), ("trusted parent", true)] {
        let (tracer, exporter) = tracer(trust);
        let mut number = 0_u64;
        criterion.bench_function(&format!("sampling/1 %, {name}"), |bench| {
            bench.iter(|| {
                number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let random = (u128::from(number) | 7 << 64).to_be_bytes();
                tracer.begin(black_box(random), &Client)
            });
        });
        exporter.end(Duration::from_secs(1));
    }
}

/// What `Meters` of the gateway does for one tool call.
fn call(criterion: &mut Criterion) {
    const BOUNDS: &[u64] = &[
        500_000,
        1_000_000,
        2_000_000,
        5_000_000,
        10_000_000,
        20_000_000,
        50_000_000,
        100_000_000,
    ];
    let registry = Registry::default();
    let calls = registry.counter("a", "a", &["tenant", "server", "result"]);
    let decisions = registry.counter("b", "b", &["tenant", "server", "effect"]);
    let judging = registry.histogram("c", "c", &["server"], BOUNDS);
    let served = registry.histogram("d", "d", &["a", "b", "c", "d", "e", "f"], BOUNDS);
    let asked = registry.histogram("e", "e", &["a", "b", "c", "d", "e", "f", "g"], BOUNDS);
    for number in 0..1_000 {
        let tool = format!("tool-{number}");
        let labels = ["default", "crm", "tools/call", &tool, "", "2025-11-25"];
        served.with(labels, |histogram| histogram.observe(Duration::ZERO));
    }
    criterion.bench_function("metrics of a call", |bench| {
        bench.iter(|| {
            let took = black_box(Duration::from_micros(130));
            let [a, b, c, d, e, f] =
                black_box(["default", "crm", "tools/call", "tool-17", "", "2025-11-25"]);
            calls.with([a, b, "ok"], Counter::increment);
            decisions.with([a, b, "allow"], Counter::increment);
            judging.with([b], |histogram| histogram.observe(took));
            served.with([a, b, c, d, e, f], |histogram| histogram.observe(took));
            asked.with([a, b, c, d, e, f, "tcp"], |histogram| {
                histogram.observe(took)
            });
        });
    });
}

criterion_group!(benches, sampling, call);
criterion_main!(benches);
