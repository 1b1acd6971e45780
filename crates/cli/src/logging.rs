//! Log lines of a running gateway, on standard error.

mod queue;

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal};
use std::time::Duration;

use keepgate_telemetry::metrics::{About, Registry};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat};
use queue::LogQueue;

/// Longest time the end of the process waits for its last lines to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// The log of the process. Dropped, it writes what is queued.
#[derive(Debug)]
pub(crate) struct Logging {
    queue: LogQueue,
}

impl Drop for Logging {
    fn drop(&mut self) {
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
    }
}

/// Starts logging for the whole process. A second start changes nothing.
///
/// # Errors
/// Those of the system, when it gives no thread.
pub(crate) fn start(log: &Log) -> io::Result<Logging> {
    // The level was checked when the configuration was read.
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let queue = LogQueue::default();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue.clone());
    let started = match log.format {
        LogFormat::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .finish()
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
        return Ok(Logging { queue });
    }
    let writer = queue.clone();
    std::thread::Builder::new()
        .name("keepgate-log".to_owned())
        .spawn(move || writer.write(io::stderr(), report))?;
    // The default hook writes on the panicking thread, which must not wait for a reader either.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        tracing::error!(%panic, %backtrace, "a bug: a thread panicked");
    }));
    Ok(Logging { queue })
}

/// Reports dropped lines, in the line that follows them.
fn report(dropped: u64) {
    tracing::warn!(
        dropped,
        "log lines were dropped: standard error was not read"
    );
}
