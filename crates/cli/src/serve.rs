//! `serve`: opens what the gateway stands on, listens, reloads, and ends in order.

mod approvals;
mod bundles;
mod certificates;
mod clock;
mod decisions;
mod descriptors;
mod event_key;
mod kills;
mod known;
mod listen;
mod notifications;
mod open;
mod receiver;
mod reload;
mod runtimes;
mod sessions;
mod shadow;
mod source;
mod telemetry;
mod tokens;
pub(crate) mod watch;
mod watchdog;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keepgate_admin::Kills;
use keepgate_gateway::{Gateway, Shared};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{self, AuthMode, Configuration};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::logging::{self, Logging};
use descriptors::Descriptors;
use open::Opened;
pub(crate) use open::{AUDIT_DIRECTORY, log_of};
use reload::Reloader;
use runtimes::Runtimes;
use source::View;
pub(crate) use source::inventory;

/// What sessions and their work get to end after the listeners are drained.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// Runs the gateway until a signal ends it.
pub(crate) fn run(path: PathBuf, variables: Vec<(OsString, OsString)>) -> Result<(), Failure> {
    let configuration = config::load(&path, variables.clone())
        .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
    // Dropped last: it writes what is still queued.
    let logging = logging::start(&configuration.log)
        .map_err(|error| Failure::new(Exit::Start, format!("failed to start the log: {error}")))?;
    keepgate_credential::provide(variables.clone());
    // Nobody but root reads our memory, our environment and our files through /proc, and no core of it is written.
    nix::sys::prctl::set_dumpable(false).map_err(|error| {
        Failure::new(
            Exit::Start,
            format!("failed to close this process to others: {error}"),
        )
    })?;
    // Before the first child: a process that leaves its parent falls to us, and is ended with its server.
    keepgate_transport::stdio::adopt().map_err(|error| {
        Failure::new(Exit::Start, format!("failed to adopt processes: {error}"))
    })?;
    // And what a killed gateway leaves is ended by a process that outlives it.
    keepgate_transport::stdio::guard(config::PROGRAM);
    let runtimes = Runtimes::start()?;
    let main = runtimes::control()?;
    let ended = main.block_on(serve(configuration, path, variables, (&runtimes, &logging)));
    main.shutdown_timeout(Duration::from_secs(1));
    runtimes.end();
    let left = keepgate_transport::stdio::end_all();
    if left > 0 {
        tracing::error!(left, "processes of child servers outlive the gateway");
    }
    ended
}

fn abort(tasks: impl Iterator<Item = JoinHandle<()>>) {
    for task in tasks {
        task.abort();
    }
}

/// The gateway from its first to its last moment.
async fn serve(
    configuration: Configuration,
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
    (runtimes, logging): (&Runtimes, &Logging),
) -> Result<(), Failure> {
    // Signals first: one that comes during the start must not be lost.
    let mut signals = Signals::new()?;
    announce(&configuration);
    // Before the first of them is opened.
    let descriptors = Descriptors::raise();
    // A disk, a policy or a bundle's server may hold the start up for long, and somebody else decides to wait no longer.
    let (opened, kills, gateway) = tokio::select! {
        biased;
        opened = open(&configuration, runtimes) => opened?,
        () = signals.end() => return ended_early(),
    };
    let bundles = Arc::clone(&opened.bundles);
    let exporter = telemetry::start(&configuration.telemetry, &opened.shared)?;
    let log = decisions::start(&configuration, &opened.shared, &open::node())?;
    let notifications = notifications::start(&configuration, &opened.shared)?;
    let notified = notifications.clone();
    let view = View::new(&configuration.gateway, &opened, kills.ledger(), notified);
    let tasks = accompany(runtimes, &gateway, logging, &configuration.state);

    let (data_stop, admin_stop) = (CancellationToken::new(), CancellationToken::new());
    let data = listen::data(&configuration, &opened, &gateway, descriptors, &data_stop);
    let data = runtimes.within_data(data).await?;
    let admin = listen::admin(&configuration, &view, &opened, &kills, &admin_stop);
    let (admin, _announced) = runtimes.within_operators(admin).await?;
    let tending = kills::tend(kills.clone(), runtimes.operators());
    let approving = approvals::tend(&opened, runtimes.operators());

    let mut reloader = Reloader::new(
        path,
        variables,
        configuration,
        opened,
        gateway,
        Arc::clone(&view),
        (runtimes.data().clone(), logging.set()),
    );
    reloader.record_start().await;
    // Before anybody is told that it is ready: what changes from then on is noticed.
    let mut changes = watch::Watch::start(reloader.watched());
    let access = runtimes.operators().spawn(reloader.follow_access());
    let looking = async { bundles.start(&reloader.shared) };
    let mut looking = runtimes.within_data(looking).await;
    view.set_serving(true);
    tracing::info!("ready");
    reload_until_the_end(&mut signals, &mut changes, &mut looking, &mut reloader).await;
    looking.end();
    signals.drain_window(&view, reloader.drain_delay()).await;
    let end = async {
        let ending = reloader.end(data_stop, data, tending, admin_stop, admin);
        ending.await;
        decisions::end(log).await;
        notifications::end(notifications).await;
        telemetry::end(exporter).await;
    };
    tokio::select! {
        () = end => tracing::info!("ended"),
        () = signals.end() => tracing::warn!("ended by a second signal: calls that ran have no outcome on record, `keepgate audit verify` counts them"),
    }
    approvals::end(approving).await;
    abort(tasks.into_iter().chain([access]));
    runtimes.within_data(bundles.close()).await;
    runtimes.within_operators(kills.ledger().close()).await;
    Ok(())
}

/// The end of a start that a signal has ended: what it made is gone on from by the next.
fn ended_early() -> Result<(), Failure> {
    tracing::info!("ended by a signal before it was ready");
    Ok(())
}

/// Opens all there is to stand on and builds the gateway, each part on threads of the runtime it belongs to: it blocks, and
/// this thread listens for signals.
async fn open(
    configuration: &Configuration,
    runtimes: &Runtimes,
) -> Result<(Opened, Kills, Gateway), Failure> {
    let configuration = Arc::new(configuration.clone());
    let own = Arc::clone(&configuration);
    let mut opened = on(runtimes.data(), async move { Opened::open(&own).await }).await??;
    // Before anybody can call: what was cut off stays so.
    let (own, shared) = (Arc::clone(&configuration), Arc::clone(&opened.shared));
    let kills = async move { kills::open(&own, &shared).await };
    let kills = on(runtimes.operators(), kills).await?;
    opened.around.knows_kills(kills.ledger());
    approvals::first_look(&opened).await;
    let shared = Arc::clone(&opened.shared);
    let gateway = async move { Gateway::new(&configuration.gateway, shared) };
    let gateway = on(runtimes.data(), gateway).await?;
    let gateway = gateway.map_err(|error| Failure::caused(Exit::Start, &error))?;
    let (own, rows) = (gateway.clone(), std::mem::take(&mut opened.sessions));
    let ledger = Arc::clone(kills.ledger());
    on(runtimes.data(), async move {
        sessions::restore(&own, rows, &ledger)
    })
    .await?;
    Ok((opened, kills, gateway))
}

/// Runs a part of the start on the threads of `runtime`.
async fn on<T: Send + 'static>(
    runtime: &Handle,
    part: impl Future<Output = T> + Send + 'static,
) -> Result<T, Failure> {
    let ran = runtime.spawn(part).await;
    ran.map_err(|error| Failure::new(Exit::Start, format!("a part of the start failed: {error}")))
}

/// Starts what runs next to the listeners to the end: what data cause on the data runtime, what watches over them on the
/// operators'.
fn accompany(
    runtimes: &Runtimes,
    gateway: &Gateway,
    logging: &Logging,
    state: &Path,
) -> [JoinHandle<()>; 7] {
    let (data, operators) = (runtimes.data(), runtimes.operators());
    let registry = gateway.shared().meters.registry();
    logging.observe(registry);
    let stalls = Arc::default();
    watchdog::observe(registry, &stalls);
    let shared = gateway.shared();
    clock::observe(registry, &shared.clock);
    [
        data.spawn(gateway.enforce()),
        data.spawn(gateway.announce()),
        data.spawn(gateway.clone().sweep()),
        data.spawn(keep_fresh(Arc::clone(gateway.shared()))),
        operators.spawn(gateway.clone().end_overdue()),
        operators.spawn(watchdog::watch(data.clone(), stalls)),
        operators.spawn(clock::watch(Arc::clone(shared), state.to_owned())),
    ]
}

/// Keeps the keys of issuers fresh, as long as it is polled.
async fn keep_fresh(shared: Arc<Shared>) {
    shared.authn.keep_fresh().await;
}

/// Work of the main task.
enum Due {
    Asked(Asked),
    Bundle(bundles::News),
    Changed(Vec<watch::Subject>),
}

/// Reloads what changes, until a signal asks for the end.
async fn reload_until_the_end(
    signals: &mut Signals,
    changes: &mut watch::Watch,
    looking: &mut bundles::Looking,
    reloader: &mut Reloader,
) {
    let mut asked = None;
    loop {
        let due = match asked.take() {
            Some(asked) => Due::Asked(asked),
            None => tokio::select! {
                biased;
                asked = signals.next() => Due::Asked(asked),
                news = looking.next() => Due::Bundle(news),
                changed = changes.next() => Due::Changed(changed),
            },
        };
        asked = match due {
            Due::Asked(Asked::End) => return,
            Due::Asked(Asked::Reload) => {
                tracing::info!("reload asked for by SIGHUP");
                signals.during(reloader.reload_all()).await
            }
            Due::Bundle(news) => signals.during(reloader.take_bundle(news)).await,
            Due::Changed(changed) => signals.during(reloader.reload(&changed)).await,
        };
        changes.set(reloader.watched());
    }
}

/// Says aloud what an operator should know from the first line on.
fn announce(configuration: &Configuration) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "keepgate starts");
    if configuration.auth == AuthMode::Anonymous {
        tracing::warn!(
            "auth.mode is anonymous: everybody on this machine can call, as far as policies let anonymous callers"
        );
    }
    for warning in &configuration.warnings {
        tracing::warn!("{warning}");
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The end.
    End,
    /// That everything is read again.
    Reload,
}

/// The signals that steer a gateway.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// Whether somebody at a terminal asked for the end.
    is_interrupted: bool,
}

impl Signals {
    /// Takes the signals over from the system's defaults.
    fn new() -> Result<Self, Failure> {
        let take = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::Start,
                    format!("failed to listen for signals: {error}"),
                )
            })
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hangup: take(SignalKind::hangup())?,
            is_interrupted: false,
        })
    }

    /// What the next signal asks for. Cancel-safe.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => {
                self.is_interrupted = true;
                Asked::End
            }
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Does `work`, which the end of the process does not wait for: a reload can hang on a disk or a large policy. Returns the
    /// last signal that came meanwhile.
    async fn during(&mut self, work: impl Future<Output = ()>) -> Option<Asked> {
        let mut work = std::pin::pin!(work);
        let mut last = None;
        loop {
            tokio::select! {
                biased;
                asked = self.next() => match asked {
                    Asked::End => return Some(Asked::End),
                    Asked::Reload => last = Some(Asked::Reload),
                },
                () = &mut work => return last,
            }
        }
    }

    /// Waits while load balancers learn that the gateway is not ready any more; until then everything is answered as before.
    /// Another signal cuts it short, and nobody at a terminal waits for it.
    async fn drain_window(&mut self, view: &View, delay: Duration) {
        view.set_serving(false);
        if !self.is_interrupted {
            tracing::info!(
                delay_s = delay.as_secs(),
                "draining: not ready any more, and still answering"
            );
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.end() => {}
            }
        }
        tracing::info!("ending: no new calls, running ones may finish, another signal cuts them");
    }

    /// Resolves when the gateway shall end, whatever else is asked for.
    async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}
