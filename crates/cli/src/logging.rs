//! Log lines of a running gateway, on standard error.

mod filter;
mod queue;
mod thin;

use std::backtrace::Backtrace;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use keepgate_telemetry::metrics::{About, Registry};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, reload};

use crate::config::{Log, LogFormat};
pub(crate) use filter::check;
use queue::LogQueue;
use thin::Thinning;

/// Longest time the end of the process waits for its last lines to be read.
const FLUSH: Duration = Duration::from_secs(1);

/// Changes level and format.
pub(crate) type SetLog = Arc<dyn Fn(&Log) + Send + Sync>;

/// The log of the process. Dropped, it writes what is queued.
pub(crate) struct Logging {
    queue: LogQueue,
    thinning: Thinning,
    set: SetLog,
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.thinning.flush();
        // Lines that nobody reads by then are lost with the process.
        self.queue.flush(FLUSH);
    }
}

impl Logging {
    /// Whatever changes level and format while the process runs.
    pub(crate) fn set(&self) -> SetLog {
        Arc::clone(&self.set)
    }

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
    let (queue, thinning) = (LogQueue::default(), Thinning::default());
    let filter = filter::filter(&log.level);
    thinning.follow(&filter);
    let (filter, level) = reload::Layer::new(filter);
    let (lines, format) = reload::Layer::new(lines(log.format, &queue));
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(thinning.clone())
        .with(lines)
        .try_init();
    let (written, thinned) = (queue.clone(), thinning.clone());
    let set: SetLog = Arc::new(move |log| {
        let filter = filter::filter(&log.level);
        thinned.follow(&filter);
        let filtered = level.reload(filter);
        let formatted = format.reload(self::lines(log.format, &written));
        if let Err(error) = filtered.and(formatted) {
            tracing::error!(%error, "failed to change the log");
        }
    });
    let logging = Logging {
        queue: queue.clone(),
        thinning: thinning.clone(),
        set,
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
        return Ok(logging);
    }
    let (writer, counts) = (queue, thinning);
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
    Ok(logging)
}

/// Writes lines of this form.
fn lines<S>(format: LogFormat, queue: &LogQueue) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = fmt::layer().with_writer(queue.clone());
    match format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal())),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    }
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
