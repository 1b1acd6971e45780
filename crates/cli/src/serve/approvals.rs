//! Approvals of the running gateway: what they ask of the rest of it, and who looks after them.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, SystemTime};

use keepgate_admin::{Operators, Part};
use keepgate_approval::{Approvals, Person, Surroundings};
use keepgate_gateway::{Shared, wall_clock::WallClock};
use keepgate_store::kill::{Facts, Ledger};
use keepgate_telemetry::metrics::{About, Registry};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::open::Opened;
use crate::config::Configuration;
use crate::failure::chain;

/// Interval of looks: a request expires, and is void after a kill, within this.
const TEND: Duration = Duration::from_secs(1);
/// Time of the last look.
const LAST: Duration = Duration::from_secs(3);

/// Facts of the running gateway for its approvals.
pub(super) struct Around {
    clock: Arc<WallClock>,
    operators: Arc<Operators>,
    /// Known before anybody can call.
    kills: OnceLock<Arc<Ledger>>,
    /// The reason the store cannot be used.
    problem: Mutex<Option<String>>,
}

impl Surroundings for Around {
    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn person(&self, id: &str) -> Option<Person> {
        self.operators.approver(id)
    }

    fn is_operator(&self, name: &str) -> bool {
        self.operators.is_known(name)
    }

    fn killed(&self, facts: &Facts<'_>, since: SystemTime) -> Option<Arc<str>> {
        // Kills have the system's time, which may be behind ours.
        let behind = self.clock.now().duration_since(SystemTime::now());
        let since = since.checked_sub(behind.unwrap_or_default())?;
        self.kills.get()?.covering_since(facts, since)
    }

    fn kills(&self) -> (usize, Option<Arc<str>>) {
        let kills = self.kills.get();
        kills.map_or((0, None), |kills| kills.latest())
    }
}

impl Around {
    /// The facts there are before the kills are read.
    pub(super) fn new(clock: &Arc<WallClock>, operators: &Arc<Operators>) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(clock),
            operators: Arc::clone(operators),
            kills: OnceLock::new(),
            problem: Mutex::default(),
        })
    }

    /// With the kills, before anybody can call.
    pub(super) fn knows_kills(&self, kills: &Arc<Ledger>) {
        let _once = self.kills.set(Arc::clone(kills));
    }

    /// State of the store, for readiness. Calls that need no approval go on without it.
    pub(super) fn part(&self) -> Part {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        Part {
            name: "approvals",
            ready: true,
            state: match &*problem {
                Some(_) => "FAILING, calls that need an approval are refused",
                None => "ok",
            }
            .into(),
        }
    }

    /// Notes how the last look went; the log hears of changes alone.
    fn note(&self, problem: Option<String>) {
        let mut known = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*known, &problem) {
            (None, Some(error)) => {
                tracing::error!(
                    error,
                    "approvals cannot be used: calls that need one are refused"
                );
            }
            (Some(_), None) => tracing::info!("approvals can be used again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        *known = problem;
    }
}

/// The approvals of this gateway.
pub(super) fn open(
    configuration: &Configuration,
    shared: &Shared,
    around: &Arc<Around>,
) -> Approvals {
    let around: Arc<dyn Surroundings> = Arc::clone(around) as _;
    let settings = configuration.approvals.clone();
    Approvals::open(&configuration.state, shared.log.clone(), settings, around)
}

/// Looks after the approvals from now on, on the operators' runtime.
pub(super) fn tend(opened: &Opened, operators: &Handle) -> Option<Tending> {
    let approvals = opened.shared.approvals.clone()?;
    let tended = approvals.clone();
    let around = Arc::clone(&opened.around);
    let gauges = Gauges::new(opened.shared.meters.registry());
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let task = operators.spawn(async move {
        loop {
            let looked = async {
                approvals.tend().await?;
                approvals.counts().await
            };
            match looked.await {
                Ok((pending, approved)) => {
                    let held = u64::try_from(approvals.held()).unwrap_or(u64::MAX);
                    gauges.set([pending, approved, held, approvals.key_losses()]);
                    around.note(approvals.key_problem().map(|problem| problem.to_string()));
                }
                Err(error) => around.note(Some(chain(&error))),
            }
            // Between two looks: what one has done it also records.
            tokio::select! {
                () = tokio::time::sleep(TEND) => {}
                () = stopped.notified() => return,
            }
        }
    });
    Some(Tending {
        approvals: tended,
        stop,
        task,
    })
}

/// Somebody who looks after the approvals.
pub(super) struct Tending {
    approvals: Approvals,
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

/// The first look, which makes the database: before anybody learns that the gateway is ready. A store that cannot be used ends
/// no start.
pub(super) async fn first_look(opened: &Opened) {
    let Some(approvals) = &opened.shared.approvals else {
        return;
    };
    let looked = tokio::time::timeout(LAST, approvals.tend()).await;
    opened.around.note(match looked {
        Ok(Ok(())) => approvals.key_problem().map(|problem| problem.to_string()),
        Ok(Err(error)) => Some(chain(&error)),
        Err(_elapsed) => Some("no answer in time".to_owned()),
    });
}

/// A last look, after the last call: uses that are not settled would count as calls whose outcome nobody knows.
pub(super) async fn end(tending: Option<Tending>) {
    let Some(Tending {
        approvals,
        stop,
        mut task,
    }) = tending
    else {
        return;
    };
    stop.notify_one();
    if tokio::time::timeout(LAST, &mut task).await.is_err() {
        task.abort();
    }
    match tokio::time::timeout(LAST, approvals.tend()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(error = chain(&error), "approvals could not be settled"),
        Err(_elapsed) => tracing::error!("approvals could not be settled in time"),
    }
}

/// Approvals, as metrics show them: those that wait, those that may be used, the calls that are held, and those that were
/// cancelled since their key is lost.
#[derive(Clone, Default)]
struct Gauges(Arc<[AtomicU64; 4]>);

impl Gauges {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts beyond 2^53 may lose their last digit"
    )]
    fn new(registry: &Registry) -> Self {
        let gauges = Self::default();
        let shown = gauges.clone();
        let about = About::gauge(
            "keepgate.approvals",
            "Approvals that wait for a decision or may be used, calls that are held, approvals whose key is lost",
            &["keepgate.state"],
        );
        registry.observe(about, move |out| {
            for (state, count) in ["pending", "approved", "held", "key_lost"]
                .into_iter()
                .zip(&*shown.0)
            {
                out.add([state], count.load(Ordering::Relaxed) as f64);
            }
        });
        gauges
    }

    fn set(&self, counts: [u64; 4]) {
        for (shown, count) in self.0.iter().zip(counts) {
            shown.store(count, Ordering::Relaxed);
        }
    }
}
