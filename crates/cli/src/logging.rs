//! Log lines of a running gateway, on standard error.

mod queue;
mod thin;

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal};
use std::time::Duration;

use keepgate_telemetry::metrics::{About, Registry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use queue::LogQueue;
use thin::Thinning;

/// Longest time the end of the process waits for its last lines to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of the process. Dropped, it writes what is queued.
#[derive(Debug)]
pub(crate) struct Logging {
    queue: LogQueue,
    thinning: Thinning,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.thinning.flush();
        // Lines that nobody reads by then are lost with the process.
        self.queue.flush(FLUSH);
    }
}

impl Logging {
    /// Counts the dropped lines in a metric.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 may lose their last digit"
    )]
    pub(crate) fn observe(&self, registry: &Registry) {
        let queue = self.queue.clone();
        let about = About::counter(
            "keepgate.log.dropped_lines",
            "Log lines dropped because standard error was not read",
            &[],
        );
        registry.observe(about, move |out| out.add([], queue.dropped() as f64));
        let thinning = self.thinning.clone();
        let about = About::counter(
            "keepgate.log.counted_lines",
            "Log lines equal to an earlier one, counted instead of written",
            &[],
        );
        registry.observe(about, move |out| out.add([], thinning.thinned() as f64));
    }
}

/// Starts logging for the whole process. A second start changes nothing.
///
/// # Errors
/// Those of the system, when it gives no thread.
pub(crate) fn start(log: &Log) -> io::Result<Logging> {
    // The level was checked when the configuration was read.
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let (queue, thinning) = (LogQueue::default(), Thinning::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(thinning.clone());
    let started = match log.format {
        LogFormat::Text => registry
            .with(lines.with_ansi(io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
        return Ok(Logging { queue, thinning });
    }
    let (writer, counts) = (queue.clone(), thinning.clone());
    std::thread::Builder::new()
        .name("keepgate-log".to_owned())
        .spawn(move || {
            writer.write(io::stderr(), |dropped| {
                report(dropped);
                counts.report();
            });
        })?;
    // The default hook writes on the panicking thread, which must not wait for a reader either.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a bug: a thread panicked");
    }));
    Ok(Logging { queue, thinning })
}

/// Reports dropped lines, in the line that follows them.
fn report(dropped: u64) {
    if dropped == 0 {
        return;
    }
    tracing::warn!(
        dropped,
        "log lines were dropped: standard error was not read"
    );
}
