//! Watches the data runtime from the operators' thread: reports workers that one poll keeps, and how long a task waits.
//!
//! No poll should take longer than a few milliseconds. One that takes a second is a bug, and the calls it delays are
//! visible long before anybody knows why; the log has it while it lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keepgate_telemetry::metrics::{About, Registry, Unit};
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::sync::oneshot;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// Time without progress after which a worker counts as stalled, and a task as late.
const STALL: Duration = Duration::from_secs(1);

/// Counts for metrics.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    /// Since the start.
    count: AtomicU64,
    /// Workers that are stalled now.
    now: AtomicU64,
    /// Longest wait of the last heartbeats, in microseconds.
    delay_us: AtomicU64,
}

/// Progress of one worker as last seen.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Parks and unparks; even while the worker is active.
    turns: u64,
    busy: Duration,
    since: Instant,
    reported: bool,
}

impl Progress {
    fn of(metrics: &RuntimeMetrics, worker: usize, now: Instant) -> Self {
        Self {
            turns: metrics.worker_park_unpark_count(worker),
            busy: metrics.worker_total_busy_duration(worker),
            since: now,
            reported: false,
        }
    }

    /// Takes a new look; gives whether the worker has been in one stretch of work for too long.
    ///
    /// A worker accounts for its time whenever it parks and after a few polls, so an active one that does not is in a poll.
    fn look(&mut self, seen: Self) -> bool {
        let parked = seen.turns % 2 == 1;
        if parked || (seen.turns, seen.busy) != (self.turns, self.busy) {
            *self = seen;
            return false;
        }
        seen.since.duration_since(self.since) >= STALL
    }
}

/// Watches `data` until dropped.
pub(super) async fn watch(data: Handle, stalls: Arc<Stalls>) {
    let metrics = data.metrics();
    let now = Instant::now();
    let workers = 0..metrics.num_workers();
    let mut progress: Vec<Progress> = workers
        .map(|worker| Progress::of(&metrics, worker, now))
        .collect();
    let mut heartbeat = Heartbeat::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let mut stalled = 0;
        for (worker, known) in progress.iter_mut().enumerate() {
            if !known.look(Progress::of(&metrics, worker, now)) {
                continue;
            }
            stalled += 1;
            if !std::mem::replace(&mut known.reported, true) {
                stalls.count.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    worker,
                    for_ms = known.since.elapsed().as_millis(),
                    "long poll: a worker of the data runtime makes no progress, its calls wait"
                );
            }
        }
        stalls.now.store(stalled, Ordering::Relaxed);
        let delay = heartbeat.beat(&data, now);
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        stalls.delay_us.store(delay_us, Ordering::Relaxed);
    }
}

/// A task that the data runtime is asked to run, one at a time.
#[derive(Debug, Default)]
struct Heartbeat {
    pending: Option<(Instant, oneshot::Receiver<Duration>)>,
    last: Duration,
    late: bool,
}

impl Heartbeat {
    /// Gives how long the last one waited, or this one waits already, and sends the next if there is none.
    fn beat(&mut self, data: &Handle, now: Instant) -> Duration {
        if let Some((sent, answer)) = &mut self.pending {
            match answer.try_recv() {
                Ok(waited) => self.last = waited,
                Err(oneshot::error::TryRecvError::Empty) => {
                    let waits = now.duration_since(*sent);
                    if waits >= STALL && !std::mem::replace(&mut self.late, true) {
                        tracing::warn!(
                            for_ms = waits.as_millis(),
                            "the data runtime is overloaded: it has run no new task"
                        );
                    }
                    return waits.max(self.last);
                }
                // It ends.
                Err(oneshot::error::TryRecvError::Closed) => return self.last,
            }
        }
        let (sender, answer) = oneshot::channel();
        self.late = false;
        self.pending = Some((now, answer));
        drop(data.spawn(async move {
            // Nobody listens any more at the end of the process.
            sender.send(now.elapsed()).ok();
        }));
        self.last
    }
}

/// Lets metrics show what the watchdog sees.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
pub(super) fn observe(registry: &Registry, stalls: &Arc<Stalls>) {
    let gauge = |about: About, read: fn(&Stalls) -> f64| {
        let stalls = Arc::clone(stalls);
        registry.observe(about, move |out| out.add([], read(&stalls)));
    };
    gauge(
        About::counter(
            "keepgate.runtime.stalls",
            "Times a worker of the data runtime made no progress for a second",
            &[],
        ),
        |stalls| stalls.count.load(Ordering::Relaxed) as f64,
    );
    gauge(
        About::gauge(
            "keepgate.runtime.stalled_workers",
            "Workers of the data runtime that make no progress now",
            &[],
        ),
        |stalls| stalls.now.load(Ordering::Relaxed) as f64,
    );
    gauge(
        About::gauge(
            "keepgate.runtime.delay",
            "Time a new task of the data runtime waited before it ran",
            &[],
        )
        .unit(Unit::Seconds),
        |stalls| stalls.delay_us.load(Ordering::Relaxed) as f64 / 1e6,
    );
}
