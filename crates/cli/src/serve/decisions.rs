//! Keeps the decision log: a thread of its own with a runtime of its own, so that a disk or a receiver that is slow, dead or
//! hangs costs calls nothing. What cannot be kept is dropped and counted: this log is for learning, the signed record is
//! the audit log.

mod upload;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keepgate_files::Rotated;
use keepgate_gateway::Shared;
use keepgate_policy::{EventWriter, Judged, Labels, Written};
use keepgate_telemetry::metrics::About;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use self::upload::Uploader;
use crate::config::Configuration;
use crate::exit::Exit;
use crate::failure::Failure;

/// How many decisions may wait for the thread, whatever their size.
const QUEUE: usize = 16_384;
/// What the thread gets to keep the last of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What became of decisions.
#[derive(Debug, Default)]
struct Tally {
    logged: AtomicU64,
    bare: AtomicU64,
    full: AtomicU64,
    rate: AtomicU64,
    rule: AtomicU64,
    file: AtomicU64,
    buffer: AtomicU64,
    refused: AtomicU64,
    uploaded: AtomicU64,
    failures: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// The running log.
pub(super) struct DecisionLog {
    stop: CancellationToken,
    done: threads::Receiver<()>,
}

/// Starts the log, if the configuration wants one.
pub(super) fn start(
    configuration: &Configuration,
    shared: &Arc<Shared>,
    node: &str,
) -> Result<Option<DecisionLog>, Failure> {
    let wanted = &configuration.decisions;
    if wanted.file.is_none() && wanted.upload.is_none() {
        return Ok(None);
    }
    let file = wanted.file.as_ref().map(|wanted| {
        let path = configuration.state.join(keepgate_policy::DECISION_FILE);
        Rotated::open(&path, wanted.max_size, wanted.keep).map_err(|error| unusable(&path, &error))
    });
    let tally = Arc::new(Tally::default());
    observe(shared, &tally);
    let held = Arc::new(AtomicUsize::new(0));
    let (sender, inbox) = mpsc::channel(QUEUE);
    let mut worker = Worker {
        writer: EventWriter::new(Arc::clone(&shared.policy), &labels(node)?, wanted.content),
        file: file.transpose()?,
        file_fails: false,
        pace: wanted.per_second.map(|most| Pace::new(most.get())),
        pending: Pending::new(wanted.buffer, wanted.upload.is_some()),
        tally: Arc::clone(&tally),
        held: Arc::clone(&held),
    };
    let uploader = wanted.upload.as_ref().map(|upload| {
        let credentials = &configuration.gateway.credentials;
        let live = shared.credentials.live();
        Uploader::new(upload, credentials, live, Arc::clone(&tally))
    });
    let mut uploader = uploader.transpose()?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let (finished, done) = threads::sync_channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| not_started(&error))?;
    std::thread::Builder::new()
        .name("keepgate-decisions".to_owned())
        .spawn(move || {
            runtime.block_on(worker.run(inbox, uploader.as_mut(), &stopping));
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
            drop(finished);
        })
        .map_err(|error| not_started(&error))?;
    let buffer = wanted.buffer;
    shared.policy.observe(Box::new(move |judged| {
        let size = judged.size();
        // What waits is bounded by bytes and by count; nobody who judges waits for either.
        let fits = held.fetch_add(size, Ordering::Relaxed).saturating_add(size) <= buffer;
        if !fits || sender.try_send(judged).is_err() {
            held.fetch_sub(size, Ordering::Relaxed);
            add(&tally.full, 1);
        }
    }));
    tracing::info!(
        file = wanted.file.is_some(),
        upload = wanted.upload.as_ref().map(|upload| upload.url.to_string()),
        content = wanted.content,
        "decisions are logged"
    );
    Ok(Some(DecisionLog { stop, done }))
}

/// Keeps what waits, for a bounded time.
pub(super) async fn end(log: Option<DecisionLog>) {
    let Some(DecisionLog { stop, done }) = log else {
        return;
    };
    stop.cancel();
    // Disconnected is the good end, and after a timeout nobody waits any longer.
    let waited = tokio::task::spawn_blocking(move || done.recv_timeout(PATIENCE));
    let _ended_or_late = waited.await.is_err();
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::State,
        format!(
            "failed to open the decision log `{}`: {error}",
            path.display()
        ),
    )
}

fn not_started(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Start,
        format!("failed to start the decision log: {error}"),
    )
}

/// Which gateway decided.
fn labels(node: &str) -> Result<Labels, Failure> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Failure::new(Exit::Start, format!("failed to read random bytes: {error}"))
    })?;
    // A UUID of random bits (RFC 9562 §5.4): version 4, variant 2.
    let number = u128::from_be_bytes(random) & !(0xf << 76) & !(0b11 << 62);
    let digits = format!("{:032x}", number | 4 << 76 | 0b10 << 62);
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    Ok(Labels {
        id: [
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32),
        ]
        .join("-"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: node.to_owned(),
    })
}

/// What the thread runs.
struct Worker {
    writer: EventWriter,
    file: Option<Rotated>,
    file_fails: bool,
    pace: Option<Pace>,
    pending: Pending,
    tally: Arc<Tally>,
    held: Arc<AtomicUsize>,
}

impl Worker {
    /// Keeps decisions until it is told to stop, and then what is left.
    async fn run(
        &mut self,
        mut inbox: mpsc::Receiver<Judged>,
        uploader: Option<&mut Uploader>,
        stop: &CancellationToken,
    ) {
        let pending = self.pending.clone();
        let taking = async {
            loop {
                tokio::select! {
                    biased;
                    judged = inbox.recv() => match judged {
                        Some(judged) => self.keep(&judged),
                        None => break,
                    },
                    () = stop.cancelled() => break,
                }
                // Sending must get its turn when decisions come without a pause.
                tokio::task::yield_now().await;
            }
            while let Ok(judged) = inbox.try_recv() {
                self.keep(&judged);
            }
            self.pending.end();
        };
        match uploader {
            Some(uploader) => {
                tokio::join!(taking, uploader.run(&pending, stop));
            }
            None => taking.await,
        }
    }

    fn keep(&mut self, judged: &Judged) {
        self.held.fetch_sub(judged.size(), Ordering::Relaxed);
        if self.pace.as_mut().is_some_and(|pace| !pace.allows()) {
            return add(&self.tally.rate, 1);
        }
        let event = match self.writer.write(judged) {
            Written::Event(event) => {
                add(&self.tally.logged, 1);
                event
            }
            Written::Bare(event) => {
                add(&self.tally.bare, 1);
                event
            }
            Written::Dropped => return add(&self.tally.rule, 1),
        };
        if let Some(file) = &mut self.file {
            match file.write_line(&event) {
                Ok(()) => self.file_fails = false,
                Err(error) => {
                    add(&self.tally.file, 1);
                    if !std::mem::replace(&mut self.file_fails, true) {
                        tracing::warn!(%error, "failed to write the decision log; calls are not affected");
                    }
                }
            }
        }
        add(&self.tally.buffer, self.pending.push(event));
    }
}

/// So many a second, and no more.
struct Pace {
    most: usize,
    left: usize,
    began: Instant,
}

impl Pace {
    fn new(most: usize) -> Self {
        Self {
            most,
            left: most,
            began: Instant::now(),
        }
    }

    fn allows(&mut self) -> bool {
        if self.began.elapsed() >= Duration::from_secs(1) {
            self.began = Instant::now();
            self.left = self.most;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// Events that wait to be sent.
#[derive(Clone)]
struct Pending(Arc<Waiting>);

struct Waiting {
    events: Mutex<Events>,
    /// The most they may take, in bytes.
    most: usize,
    /// Nothing waits where nobody sends.
    is_on: bool,
    changed: Notify,
}

#[derive(Default)]
struct Events {
    queue: VecDeque<String>,
    bytes: usize,
    ended: bool,
}

impl Pending {
    fn new(most: usize, is_on: bool) -> Self {
        Self(Arc::new(Waiting {
            events: Mutex::default(),
            most,
            is_on,
            changed: Notify::new(),
        }))
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event; gives how many old ones had to make room for it.
    fn push(&self, event: String) -> u64 {
        if !self.0.is_on {
            return 0;
        }
        let mut events = self.events();
        events.bytes += event.len();
        events.queue.push_back(event);
        let mut dropped = 0;
        while events.bytes > self.0.most {
            let Some(oldest) = events.queue.pop_front() else {
                break;
            };
            events.bytes -= oldest.len();
            dropped += 1;
        }
        if events.bytes >= upload::BATCH {
            self.0.changed.notify_one();
        }
        dropped
    }

    /// Takes the oldest events, together at most so many bytes, and at least one if there is one.
    fn take(&self, most: usize) -> Vec<String> {
        let mut events = self.events();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = events.queue.front() {
            if !taken.is_empty() && bytes + next.len() > most {
                break;
            }
            bytes += next.len();
            events.bytes -= next.len();
            taken.extend(events.queue.pop_front());
        }
        taken
    }

    /// Says that nothing comes any more.
    fn end(&self) {
        self.events().ended = true;
        self.0.changed.notify_one();
    }

    fn has_ended(&self) -> bool {
        self.events().ended
    }
}

/// Lets the meters show what became of decisions.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
fn observe(shared: &Shared, tally: &Arc<Tally>) {
    let registry = shared.meters.registry();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
    let counted = Arc::clone(tally);
    let events = About::counter(
        "keepgate.decision_log.events",
        "Events of the decision log: whole, or without input and result because the mask failed",
        &["keepgate.result"],
    );
    registry.observe(events, move |out| {
        out.add(["whole"], read(&counted.logged));
        out.add(["mask_failed"], read(&counted.bare));
    });
    let counted = Arc::clone(tally);
    let dropped = About::counter(
        "keepgate.decision_log.dropped",
        "Decisions that are not in the decision log, or did not reach its file or receiver, by reason",
        &["keepgate.reason"],
    );
    registry.observe(dropped, move |out| {
        out.add(["queue_full"], read(&counted.full));
        out.add(["rate"], read(&counted.rate));
        out.add(["drop_rule"], read(&counted.rule));
        out.add(["file_failed"], read(&counted.file));
        out.add(["buffer_full"], read(&counted.buffer));
        out.add(["refused"], read(&counted.refused));
    });
    let counted = Arc::clone(tally);
    let uploaded = About::counter(
        "keepgate.decision_log.uploaded",
        "Events that the receiver of the decision log took",
        &[],
    );
    registry.observe(uploaded, move |out| out.add([], read(&counted.uploaded)));
    let counted = Arc::clone(tally);
    let failures = About::counter(
        "keepgate.decision_log.upload_failures",
        "Attempts to send the decision log that failed",
        &[],
    );
    registry.observe(failures, move |out| out.add([], read(&counted.failures)));
}

#[cfg(test)]
mod tests;
