//! Notifications of approvals: a thread of its own with a runtime of its own, and a task for each target. A target that is slow, down
//! or hangs delays neither calls nor operators, nor another target. What is due is in the store of approvals (the outbox); here is
//! nothing that a restart could lose.

mod message;
mod sender;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as threads;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use keepgate_admin::{Part, TestNotification};
use keepgate_approval::{Approvals, DueNotice, Notice, NoticeEvent};
use keepgate_credential::{Live, Settings};
use keepgate_gateway::Shared;
use keepgate_telemetry::metrics::{About, Registry};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::message::Message;
use self::sender::{Sender, Undelivered};
use crate::config::{Configuration, NotifyKind, NotifyTarget};
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// First and longest pause after failures.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Attempts after which a message is given up.
const MAX_ATTEMPTS: u32 = 30;
/// Age of an event after which a failed attempt to report it was the last.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// Messages whose attempts are counted; beyond it they are counted again.
const MAX_COUNTED: usize = 4096;
/// Notifications read from the store at a time.
const BATCH: u32 = 16;
/// Interval of looks without a transition: reminders come due by time alone.
const LOOK: Duration = Duration::from_secs(2);
/// Pause after a transition, in which others may follow.
const SETTLE: Duration = Duration::from_millis(50);
/// Pause between two messages to Slack, which takes one a second.
const SLACK_PACE: Duration = Duration::from_secs(1);
/// Time the thread gets to end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for the outcome of a test: the command line waits little longer for its answer.
const TEST: Duration = Duration::from_secs(12);
/// Tests of a target that wait.
const TESTS: usize = 2;

/// The running notifications.
pub(super) struct Notifications {
    targets: BTreeMap<Arc<str>, Target>,
    stop: CancellationToken,
    done: Mutex<Option<threads::Receiver<()>>>,
}

/// A target, as the rest of the gateway has it.
struct Target {
    timeout: Duration,
    health: Arc<Health>,
    tests: mpsc::Sender<Test>,
}

/// A test message, and who waits for its outcome.
struct Test {
    by: String,
    outcome: oneshot::Sender<Result<(), String>>,
}

/// Outcomes of one target.
#[derive(Debug, Default)]
struct Health {
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Messages that were given up.
    dead: AtomicU64,
    /// Of these, since the last one that was delivered.
    dead_lately: AtomicU64,
    is_failing: AtomicBool,
}

/// Starts the notifications, if the configuration has targets.
pub(super) fn start(
    configuration: &Configuration,
    shared: &Arc<Shared>,
) -> Result<Option<Arc<Notifications>>, Failure> {
    let Some(approvals) = shared.approvals.clone() else {
        return Ok(None);
    };
    if configuration.notify.is_empty() {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| not_started(&error))?;
    let (mut targets, mut workers) = (BTreeMap::new(), Vec::new());
    for (name, settings) in &configuration.notify {
        let (tests, inbox) = mpsc::channel(TESTS);
        let health = Arc::<Health>::default();
        workers.push(Worker {
            sender: {
                let _within = runtime.enter();
                sender(settings, &configuration.gateway.credentials, shared)?
            },
            name: Arc::clone(name),
            settings: settings.clone(),
            approvals: approvals.clone(),
            health: Arc::clone(&health),
            tests: inbox,
            attempts: HashMap::new(),
            passed: None,
            has_sent: false,
            streak: 0,
        });
        let timeout = settings.timeout;
        let target = Target {
            timeout,
            health,
            tests,
        };
        targets.insert(Arc::clone(name), target);
    }
    let stop = CancellationToken::new();
    let done = run(runtime, workers, &stop).map_err(|error| not_started(&error))?;
    let notifications = Arc::new(Notifications {
        targets,
        stop,
        done: Mutex::new(Some(done)),
    });
    notifications.observe(shared.meters.registry());
    Ok(Some(notifications))
}

fn sender(
    settings: &NotifyTarget,
    providers: &Settings,
    shared: &Shared,
) -> Result<Sender, Failure> {
    let live: &Arc<Live> = shared.credentials.live();
    Sender::new(settings, providers, live)
}

fn not_started(error: &std::io::Error) -> Failure {
    let message = format!("failed to start the notifications: {error}");
    Failure::new(Exit::Start, message)
}

/// Runs the workers on a thread of their own.
fn run(
    runtime: tokio::runtime::Runtime,
    workers: Vec<Worker>,
    stop: &CancellationToken,
) -> std::io::Result<threads::Receiver<()>> {
    let (finished, done) = threads::sync_channel(1);
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("keepgate-notify".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut running = JoinSet::new();
                for worker in workers {
                    running.spawn(worker.run(stop.clone()));
                }
                while running.join_next().await.is_some() {}
            });
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
            drop(finished);
        })?;
    Ok(done)
}

/// Ends the notifications. What was not sent is sent by the next process.
pub(super) async fn end(notifications: Option<Arc<Notifications>>) {
    let Some(notifications) = notifications else {
        return;
    };
    notifications.stop.cancel();
    let done = notifications.done.lock();
    let done = done.unwrap_or_else(PoisonError::into_inner).take();
    if let Some(done) = done {
        // Disconnected is the good end, and after a timeout nobody waits any longer.
        let waited = tokio::task::spawn_blocking(move || done.recv_timeout(PATIENCE));
        let _ended_or_late = waited.await.is_err();
    }
}

impl Notifications {
    /// State of the targets, for readiness: few words, since everybody sees them who can reach the listener.
    pub(super) fn part(&self) -> Part {
        let mut wrong = Vec::new();
        for (name, target) in &self.targets {
            let dead = target.health.dead_lately.load(Ordering::Relaxed);
            if dead > 0 {
                wrong.push(format!("`{name}`: {dead} not delivered"));
            } else if target.health.is_failing.load(Ordering::Relaxed) {
                wrong.push(format!("`{name}` does not take messages"));
            }
        }
        if wrong.is_empty() {
            return Part::ready("notifications", "ok");
        }
        Part::ready("notifications", format!("DEGRADED, {}", wrong.join(", ")))
    }

    /// Sends a test message to a target, and waits for its outcome.
    pub(super) async fn test(&self, name: &str, by: &str) -> TestNotification {
        let Some(target) = self.targets.get(name) else {
            let known = self.targets.keys().map(ToString::to_string).collect();
            return TestNotification::Unknown { known };
        };
        let (outcome, waited) = oneshot::channel();
        let by = by.to_owned();
        if target.tests.try_send(Test { by, outcome }).is_err() {
            return TestNotification::Failed("other messages are being sent, try again".to_owned());
        }
        // Behind a message that is being sent, and then itself.
        let patience = target.timeout.saturating_mul(2).saturating_add(SLACK_PACE);
        let patience = patience.min(TEST);
        match tokio::time::timeout(patience, waited).await {
            Ok(Ok(Ok(()))) => TestNotification::Delivered,
            Ok(Ok(Err(reason))) => TestNotification::Failed(reason),
            Ok(Err(_)) | Err(_) => TestNotification::Failed("no answer in time".to_owned()),
        }
    }

    fn observe(self: &Arc<Self>, registry: &Registry) {
        let about = About::counter(
            "keepgate.notifications",
            "Notifications of approvals by outcome: delivered, failed attempts, and dead: given up after the last of them",
            &["keepgate.target", "keepgate.outcome"],
        );
        let all = Arc::downgrade(self);
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts beyond 2^53 may lose their last digit"
        )]
        registry.observe(about, move |out| {
            let Some(all) = all.upgrade() else { return };
            for (name, target) in &all.targets {
                let health = &target.health;
                for (outcome, count) in [
                    ("delivered", &health.delivered),
                    ("failed", &health.failed),
                    ("dead", &health.dead),
                ] {
                    out.add([name, outcome], count.load(Ordering::Relaxed) as f64);
                }
            }
        });
    }
}

/// Sender of what is due to one target.
struct Worker {
    name: Arc<str>,
    settings: NotifyTarget,
    sender: Sender,
    approvals: Approvals,
    health: Arc<Health>,
    tests: mpsc::Receiver<Test>,
    /// The last event that could not be sent of each approval, and how often it was tried.
    attempts: HashMap<DueKey, (NoticeEvent, u32)>,
    /// The last notification that was looked at: after a failure others have their turn.
    passed: Option<DueNotice>,
    /// Whether anything was sent, or tried, since all was looked at.
    has_sent: bool,
    /// Failures since the last success.
    streak: u32,
}

/// A request: its tenant and id.
type DueKey = (String, Arc<str>);

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.approvals.changes();
        loop {
            changes.borrow_and_update();
            let pause = tokio::select! {
                pause = self.pass() => pause,
                // An attempt is cut off, and made again by the next process.
                () = stop.cancelled() => break,
            };
            let is_failing = self.streak > 0;
            let end = Instant::now() + pause;
            let test = tokio::select! {
                () = tokio::time::sleep_until(end.into()) => None,
                Ok(()) = changes.changed(), if !is_failing => {
                    tokio::time::sleep(SETTLE).await;
                    None
                }
                test = self.tests.recv() => test,
                () = stop.cancelled() => break,
            };
            if let Some(test) = test {
                tokio::select! {
                    () = self.test(test) => {}
                    () = stop.cancelled() => break,
                }
                // The test does not shorten a back-off.
                if is_failing {
                    tokio::select! {
                        () = tokio::time::sleep_until(end.into()) => {}
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        self.sender.close().await;
    }

    /// Sends some of what is due, up to the first failure. The pause until the next look.
    async fn pass(&mut self) -> Duration {
        let due = self
            .approvals
            .due_notices(&self.name, self.passed.as_ref(), BATCH);
        let due = match due.await {
            Ok(due) => due,
            // The store is reported elsewhere.
            Err(_unavailable) => return LOOK,
        };
        if due.is_empty() {
            // The end of all there was: from the first again, if that could find more.
            let is_from_first = self.passed.take().is_none();
            let has_more = std::mem::take(&mut self.has_sent) && !is_from_first;
            return if has_more { Duration::ZERO } else { LOOK };
        }
        for due in due {
            let pause = self.report(&due).await;
            self.passed = Some(due);
            if let Some(pause) = pause {
                return pause;
            }
        }
        Duration::ZERO
    }

    /// Sends one notification, if it is due. The pause that its target needs after a failure.
    async fn report(&mut self, due: &DueNotice) -> Option<Duration> {
        let notice = match self.approvals.notice(due).await {
            Ok(notice) => notice?,
            Err(_unavailable) => return Some(LOOK),
        };
        self.has_sent = true;
        let key = (due.tenant.as_str().to_owned(), Arc::clone(&due.approval));
        if let Some((event, _)) = self.attempts.get(&key).copied()
            && event != notice.event
        {
            self.attempts.remove(&key);
            self.give_up(due, event, "another event came first");
        }
        if !self.settings.events.contains(&notice.event) {
            self.done(due, &notice).await;
            return None;
        }
        let message = Message::of(&notice, self.settings.kind);
        let Err(reason) = self.sender.send(&message).await else {
            self.attempts.remove(&key);
            self.note_delivered();
            self.done(due, &notice).await;
            self.pace().await;
            return None;
        };
        let count = self.attempts.get(&key).map_or(0, |(_, count)| *count) + 1;
        let age = self.approvals.notice_age(&notice);
        if is_last(&reason, count, age) {
            self.attempts.remove(&key);
            self.give_up(due, notice.event, &reason.to_string());
            self.done(due, &notice).await;
        } else {
            if self.attempts.len() >= MAX_COUNTED {
                self.attempts.clear();
            }
            self.attempts.insert(key, (notice.event, count));
        }
        Some(self.failed(&reason))
    }

    /// Notes a message that needs no further attempt. One that cannot be noted is sent again.
    async fn done(&self, due: &DueNotice, notice: &Notice) {
        let noted = self.approvals.note_notice(&self.name, due, notice).await;
        if let Err(error) = noted {
            tracing::warn!(
                error = chain(&error),
                notify_target = &*self.name,
                "a notification is sent once more: that it was sent could not be noted"
            );
        }
    }

    fn note_delivered(&mut self) {
        self.streak = 0;
        self.health.delivered.fetch_add(1, Ordering::Relaxed);
        self.health.dead_lately.store(0, Ordering::Relaxed);
        if self.health.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!(
                notify_target = &*self.name,
                "the target takes notifications again"
            );
        }
    }

    /// Notes a failed attempt. The pause after it.
    fn failed(&mut self, reason: &Undelivered) -> Duration {
        self.health.failed.fetch_add(1, Ordering::Relaxed);
        if !self.health.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                notify_target = &*self.name,
                %reason,
                "the target does not take notifications; calls and decisions are not affected"
            );
        }
        let pause = pause_after(self.streak, reason.retry_after());
        self.streak = self.streak.saturating_add(1);
        pause
    }

    fn give_up(&self, due: &DueNotice, event: NoticeEvent, reason: &str) {
        self.health.dead.fetch_add(1, Ordering::Relaxed);
        self.health.dead_lately.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            notify_target = &*self.name,
            approval = &*due.approval,
            tenant = due.tenant.as_str(),
            event = event.as_str(),
            reason,
            "a notification was not delivered and is given up"
        );
    }

    async fn pace(&self) {
        match self.settings.kind {
            NotifyKind::Slack => tokio::time::sleep(SLACK_PACE).await,
            NotifyKind::Generic => {}
        }
    }

    async fn test(&self, test: Test) {
        let at = keepgate_store::kill::text(SystemTime::now());
        let mut random = [0_u8; 8];
        let _zeros_are_an_id_too = getrandom::fill(&mut random);
        let id = format!("test_{:016x}", u64::from_be_bytes(random));
        let message = Message::test(id, &test.by, &at, self.settings.kind);
        let sent = self.sender.send(&message).await;
        let outcome = sent.map_err(|reason| reason.to_string());
        tracing::info!(
            notify_target = &*self.name,
            by = test.by,
            outcome = outcome.as_ref().err().map_or("delivered", String::as_str),
            "a test notification was sent"
        );
        let _nobody_waits_any_more = test.outcome.send(outcome);
    }
}

/// Whether a failed attempt was the last.
fn is_last(reason: &Undelivered, attempts: u32, age: Duration) -> bool {
    reason.is_final() || attempts >= MAX_ATTEMPTS || age >= MAX_AGE
}

/// The pause after so many failures before this one.
fn pause_after(streak: u32, asked: Option<Duration>) -> Duration {
    let (first, longest) = BACK_OFF;
    let factor = 1_u32.checked_shl(streak).unwrap_or(u32::MAX);
    let pause = first.saturating_mul(factor).min(longest);
    asked.map_or(pause, |asked| asked.max(pause))
}

#[cfg(test)]
mod tests;
