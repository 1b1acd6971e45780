//! Starts what sends traces and metrics away, and shows what became of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use keepgate_gateway::Shared;
use keepgate_telemetry::export::{Exporter, Settings};
use keepgate_telemetry::metrics::About;
use keepgate_telemetry::trace::Tally;

use crate::exit::Exit;
use crate::failure::Failure;

/// What the exporter gets to send the last of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Starts the exporter, if the settings want one.
pub(super) fn start(
    settings: &Settings,
    shared: &Arc<Shared>,
) -> Result<Option<Exporter>, Failure> {
    let tally = Arc::new(Tally::default());
    observe(shared, &tally);
    for (what, collector) in [
        (
            "traces",
            settings
                .traces
                .as_ref()
                .and_then(|traces| traces.collector.as_ref()),
        ),
        (
            "metrics",
            settings.metrics.as_ref().map(|metrics| &metrics.collector),
        ),
    ] {
        if let Some(collector) = collector {
            tracing::info!(what, url = %collector.url, protocol = ?collector.protocol, "telemetry goes out");
        }
    }
    let meters = Arc::clone(&shared.meters);
    Exporter::start(settings.clone(), &shared.tracer, &tally, move || {
        meters.registry().read()
    })
    .map_err(|error| Failure::caused(Exit::Start, &error))
}

/// Sends what waits, for a bounded time.
pub(super) async fn end(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        // The thread that waits is not the one that sends; if it dies there is nothing to wait for.
        let _waited = tokio::task::spawn_blocking(move || exporter.end(PATIENCE))
            .await
            .is_ok();
    }
}

/// Lets the meters show what became of traces and metrics.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
fn observe(shared: &Shared, tally: &Arc<Tally>) {
    let registry = shared.meters.registry();
    let counted = Arc::clone(tally);
    let dropped = About::counter(
        "keepgate.telemetry.dropped",
        "Spans that were not sent: the queue was full, or the collector did not take them",
        &["keepgate.reason"],
    );
    registry.observe(dropped, move |out| {
        let full = counted.dropped_full.load(Ordering::Relaxed);
        let failed = counted.dropped_failed.load(Ordering::Relaxed);
        out.add(["queue_full"], full as f64);
        out.add(["export_failed"], failed as f64);
    });
    let counted = Arc::clone(tally);
    let failures = About::counter(
        "keepgate.telemetry.export_failures",
        "Attempts to send telemetry that failed",
        &["keepgate.signal"],
    );
    registry.observe(failures, move |out| {
        let traces = counted.failures.load(Ordering::Relaxed);
        let metrics = counted.metric_failures.load(Ordering::Relaxed);
        out.add(["traces"], traces as f64);
        out.add(["metrics"], metrics as f64);
    });
    let counted = Arc::clone(tally);
    let sent = About::counter(
        "keepgate.telemetry.spans",
        "Spans a collector or the trace file took",
        &[],
    );
    registry.observe(sent, move |out| {
        out.add([], counted.sent.load(Ordering::Relaxed) as f64);
    });
    let counted = Arc::clone(tally);
    let queued = About::gauge(
        "keepgate.telemetry.queued",
        "Spans that wait to be sent",
        &[],
    );
    registry.observe(queued, move |out| {
        out.add([], counted.queued.load(Ordering::Relaxed) as f64);
    });
    let meters = Arc::downgrade(&shared.meters);
    let refused = About::counter(
        "keepgate.telemetry.overflow",
        "Times a label set was counted under _OTHER because its metric had too many",
        &[],
    );
    registry.observe(refused, move |out| {
        if let Some(meters) = meters.upgrade() {
            out.add([], meters.registry().refused() as f64);
        }
    });
}
