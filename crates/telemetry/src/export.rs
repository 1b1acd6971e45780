//! Sends traces and metrics away: a thread of its own with a runtime of its own, so that a collector that is dead, slow or
//! hangs costs calls nothing. What cannot be sent is dropped and counted.

mod client;
mod file;
mod worker;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::Duration,
};

use http::{HeaderName, HeaderValue, Uri};
use keepgate_net::{ConnectorError, Egress};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{client::Client, worker::Worker};
pub use crate::otlp::Resource;
use crate::{
    metrics::Reading,
    trace::{Queue, Tally, Tracer, Tracing},
};

/// How messages travel to a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`.
    Http,
}

/// A collector.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// How messages travel.
    pub protocol: Protocol,
    /// Where to: over HTTP the whole URL, over gRPC scheme and host.
    pub url: Uri,
    /// Header lines that go with every message. They may be secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Certificates (PEM) trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
}

/// Where traces go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Which calls are recorded.
    pub tracing: Tracing,
    /// The collector, if there is one.
    pub collector: Option<Collector>,
    /// A file that takes one line of OTLP JSON a batch.
    pub file: Option<PathBuf>,
    /// How many spans may wait; one more is dropped.
    pub queue: usize,
    /// How many spans travel in one message.
    pub batch: usize,
    /// How long a span waits for others at most.
    pub delay: Duration,
}

/// Where metrics go, and how often. Prometheus needs none of this.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// The collector.
    pub collector: Collector,
    /// How often.
    pub interval: Duration,
}

/// What is sent away, and where to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Who sends.
    pub resource: Resource,
    /// Traces, if wanted.
    pub traces: Option<Traces>,
    /// Metrics, if wanted.
    pub metrics: Option<Metrics>,
}

/// Why nothing can be sent away.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Connections to the collector cannot be made.
    #[error("failed to set up connections to the collector")]
    Connector(#[source] ConnectorError),
    /// The trace file cannot be opened.
    #[error("failed to open the trace file `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The system gave no thread or runtime.
    #[error("failed to start the exporter")]
    Thread(#[source] std::io::Error),
}

/// The running exporter.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    done: Receiver<()>,
}

impl Exporter {
    /// Starts sending: switches `tracer` on if traces are wanted, and reads metrics with `read`. What became of it all is
    /// counted in `tally`. `None` if nothing is wanted.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn start(
        settings: Settings,
        tracer: &Tracer,
        tally: &Arc<Tally>,
        read: impl Fn() -> Vec<Reading> + Send + 'static,
    ) -> Result<Option<Self>, ExportError> {
        if settings.traces.is_none() && settings.metrics.is_none() {
            return Ok(None);
        }
        let stop = CancellationToken::new();
        let mut worker = Worker::new(settings.resource, Arc::clone(tally), stop.clone());
        if let Some(traces) = &settings.traces {
            let (sender, inbox) = sync_channel(traces.queue.max(1));
            let full = Arc::new(Notify::new());
            let client = traces.collector.as_ref().map(Client::new).transpose()?;
            let file = traces.file.as_deref().map(file::TraceFile::open);
            worker.take_spans(traces, inbox, Arc::clone(&full), client, file.transpose()?);
            let queue = Queue {
                spans: sender,
                tally: Arc::clone(tally),
                full,
                batch: u64::try_from(traces.batch.max(1)).unwrap_or(u64::MAX),
            };
            tracer.switch_on(traces.tracing.clone(), queue);
        }
        if let Some(metrics) = &settings.metrics {
            let client = Client::new(&metrics.collector)?;
            worker.take_metrics(metrics.interval, client, Box::new(read));
        }
        let (finished, done) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ExportError::Thread)?;
        thread::Builder::new()
            .name("keepgate-otlp".to_owned())
            .spawn(move || {
                runtime.block_on(worker.run());
                // A name that is still being looked up must not hold up the end.
                runtime.shutdown_background();
                drop(finished);
            })
            .map_err(ExportError::Thread)?;
        Ok(Some(Self { stop, done }))
    }

    /// Sends what waits, for at most `patience`; what is left then is lost. Blocks.
    pub fn end(self, patience: Duration) {
        self.stop.cancel();
        // Disconnected is the good end, and after a timeout nobody waits any longer.
        let _ended_or_late = self.done.recv_timeout(patience).is_err();
    }
}
