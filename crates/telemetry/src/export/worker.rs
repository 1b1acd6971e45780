//! The exporter's own loop: takes batches off the queue, sends them, and gives up on what will not go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Resource, Traces,
    client::{Client, SendError, Signal},
    file::TraceFile,
};
use crate::{
    metrics::Reading,
    otlp,
    trace::{Span, Tally},
};

/// How often a batch is tried; the waits between are one second, then twice as long each.
const ATTEMPTS: u32 = 5;

type Read = Box<dyn Fn() -> Vec<Reading> + Send>;

/// What the exporter's thread runs.
pub(super) struct Worker {
    resource: Resource,
    tally: Arc<Tally>,
    stop: CancellationToken,
    start: SystemTime,
    spans: Option<Spans>,
    metrics: Option<(Duration, Client, Read)>,
}

struct Spans {
    inbox: Receiver<Box<Span>>,
    full: Arc<Notify>,
    batch: usize,
    delay: Duration,
    client: Option<Client>,
    file: Option<TraceFile>,
    is_failing: bool,
}

impl Worker {
    pub(super) fn new(resource: Resource, tally: Arc<Tally>, stop: CancellationToken) -> Self {
        Self {
            resource,
            tally,
            stop,
            start: SystemTime::now(),
            spans: None,
            metrics: None,
        }
    }

    pub(super) fn take_spans(
        &mut self,
        traces: &Traces,
        inbox: Receiver<Box<Span>>,
        full: Arc<Notify>,
        client: Option<Client>,
        file: Option<TraceFile>,
    ) {
        self.spans = Some(Spans {
            inbox,
            full,
            batch: traces.batch.max(1),
            delay: traces.delay,
            client,
            file,
            is_failing: false,
        });
    }

    pub(super) fn take_metrics(&mut self, interval: Duration, client: Client, read: Read) {
        self.metrics = Some((interval, client, read));
    }

    /// Sends until it is told to stop, and then what is left.
    pub(super) async fn run(mut self) {
        let spans = self.spans.take();
        let metrics = self.metrics.take();
        let traces = async {
            if let Some(spans) = spans {
                self.send_spans(spans).await;
            }
        };
        let metrics = async {
            if let Some((interval, client, read)) = &metrics {
                self.send_metrics(*interval, client, read).await;
            }
        };
        tokio::join!(traces, metrics);
    }

    async fn send_spans(&self, mut spans: Spans) {
        loop {
            let ends = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                () = spans.full.notified() => false,
                () = tokio::time::sleep(spans.delay) => false,
            };
            loop {
                let taken = spans.inbox.try_iter().take(spans.batch);
                let batch: Vec<Span> = taken.map(|span| *span).collect();
                let taken = batch.len();
                if taken == 0 {
                    break;
                }
                let count = taken as u64;
                self.tally.queued.fetch_sub(count, Ordering::Relaxed);
                self.send_batch(&mut spans, batch, count).await;
                if taken < spans.batch && !ends {
                    break;
                }
            }
            if ends {
                return;
            }
        }
    }

    async fn send_batch(&self, spans: &mut Spans, batch: Vec<Span>, count: u64) {
        let request = otlp::traces(&self.resource, batch);
        if let Some(file) = &mut spans.file
            && let Err(error) = file.write(&request)
        {
            add(&self.tally.failures, 1);
            told(&mut spans.is_failing, &error);
            if spans.client.is_none() {
                add(&self.tally.dropped_failed, count);
                return;
            }
        }
        let Some(client) = &spans.client else {
            add(&self.tally.sent, count);
            spans.is_failing = false;
            return;
        };
        match self.insist(client, &request.encode_to_vec()).await {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                add(&self.tally.sent, count - rejected);
                add(&self.tally.dropped_failed, rejected);
                if std::mem::take(&mut spans.is_failing) {
                    tracing::info!("the collector takes traces again");
                }
            }
            Err(error) => {
                add(&self.tally.dropped_failed, count);
                told(&mut spans.is_failing, &error);
            }
        }
    }

    /// Tries until the message is taken or hopeless; gives how many spans the collector rejected. Told to stop, it tries
    /// once more.
    async fn insist(&self, client: &Client, message: &[u8]) -> Result<u64, SendError> {
        let mut wait = Duration::from_secs(1);
        let mut attempt = 1;
        loop {
            let stopping = self.stop.is_cancelled();
            let sent = tokio::select! {
                sent = client.send(Signal::Traces, message) => sent,
                // What hangs now is given up and sent anew, so that the end waits for one attempt alone.
                () = self.stop.cancelled(), if !stopping => continue,
            };
            match sent {
                Ok(answer) => return Ok(rejected(&answer)),
                Err(error) => {
                    add(&self.tally.failures, 1);
                    if !error.may_pass || attempt == ATTEMPTS || stopping {
                        return Err(error);
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
            wait *= 2;
            attempt += 1;
        }
    }

    async fn send_metrics(&self, interval: Duration, client: &Client, read: &Read) {
        let mut is_failing = false;
        loop {
            let ends = tokio::select! {
                biased;
                () = self.stop.cancelled() => true,
                () = tokio::time::sleep(interval) => false,
            };
            let now = SystemTime::now();
            let message = otlp::metrics(&self.resource, &read(), self.start, now).encode_to_vec();
            let sent = tokio::select! {
                sent = client.send(Signal::Metrics, &message) => sent.map(|_answer| ()),
                () = self.stop.cancelled(), if !ends => continue,
            };
            match sent {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the collector takes metrics again");
                    }
                }
                Err(error) => {
                    // The next ones say it all again: they are cumulative.
                    add(&self.tally.metric_failures, 1);
                    told(&mut is_failing, &error);
                }
            }
            if ends {
                return;
            }
        }
    }
}

/// How many spans a collector that took the message did not take.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
    let rejected = answer
        .partial_success
        .map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or_default()
}

/// Says aloud that something begins to fail, and quietly that it goes on failing.
fn told(is_failing: &mut bool, error: &(dyn std::error::Error + 'static)) {
    if std::mem::replace(is_failing, true) {
        tracing::debug!(error, "telemetry not taken, dropped");
    } else {
        tracing::warn!(
            error,
            "telemetry not taken, dropped; calls are not affected"
        );
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
