//! The kill switch of the running gateway: loaded before anybody can call, looked after until the end.

use std::sync::Arc;
use std::time::Duration;

use keepgate_admin::{Kills, Part};
use keepgate_gateway::Shared;
use keepgate_store::kill::{Kill, Ledger, Scope};
use keepgate_telemetry::metrics::{About, Registry};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::open::AUDIT_DIRECTORY;
use crate::config::Configuration;

/// How often file and database are looked after: a command's kill counts within this.
const TEND: Duration = Duration::from_millis(500);
/// Interval of looks for acts without a record.
const RETRY: Duration = Duration::from_secs(5);
/// Most kills without a target that readiness names.
const MAX_STRAY: usize = 8;
/// What the last look gets to end.
const LAST: Duration = Duration::from_secs(5);

/// Puts into force what was cut off before, and on record what no gateway has told of yet.
pub(super) async fn open(configuration: &Configuration, shared: &Shared) -> Kills {
    let state = &configuration.state;
    let ledger = Ledger::open(state, &shared.kill).await;
    for kill in shared.kill.in_force() {
        tracing::warn!(id = %kill.id, scope = %kill.scope, by = %kill.by, "cut off");
    }
    observe(shared.meters.registry(), &ledger);
    let kills = Kills::new(ledger, shared.log.clone(), state);
    // What a command set while no gateway ran, and what the last one did not come to put on record.
    kills.catch_up(&state.join(AUDIT_DIRECTORY)).await;
    kills
}

/// Somebody who looks after the kills.
pub(super) struct Tending {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Looks after the kills from now on, on the operators' runtime.
pub(super) fn tend(kills: Kills, operators: &Handle) -> Tending {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let task = operators.spawn(async move {
        // What is begun is finished, its record too.
        let tend = async {
            while stopped
                .run_until_cancelled(tokio::time::sleep(TEND))
                .await
                .is_some()
            {
                for event in kills.ledger().tend().await {
                    kills.happened(&event).await;
                }
                kills.follow().await;
            }
        };
        // Of its own, since a log that hangs holds each of these up for seconds.
        let retry = async {
            while stopped
                .run_until_cancelled(tokio::time::sleep(RETRY))
                .await
                .is_some()
            {
                kills.retry().await;
            }
        };
        tokio::join!(tend, retry);
    });
    Tending { stop, task }
}

impl Tending {
    /// Stops in order, before the log is closed.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if tokio::time::timeout(LAST, self.task).await.is_err() {
            tracing::error!("what happened last to kills may not be on record");
        }
    }
}

/// How the switch is, for readiness. It is never unready: it works from memory, and what it cannot read cuts everything
/// off, which is a state to be cleared and not one that passes by waiting.
pub(super) fn part(ledger: &Ledger) -> Part {
    let health = ledger.health();
    let in_force = !ledger.switch().in_force().is_empty();
    let state = match (&health.file, &health.database) {
        (Some(_), Some(_)) => "NOT DURABLE, kill.log and the database failing",
        (Some(_), None) => "kill.log failing",
        (None, Some(_)) => "the database failing",
        (None, None) if in_force => "in force",
        (None, None) => "ok",
    };
    Part::ready("kill", state)
}

/// The part for partial kills, while there is any.
pub(super) fn partial(ledger: &Ledger) -> Option<Part> {
    let state = "PARTIAL, something is not revoked, cut or ended";
    (!ledger.switch().partial().is_empty()).then(|| Part::ready("kill_partial", state))
}

/// A part for each kill that cuts nothing, since the configuration does not have its target. Whoever can reach the listener
/// reads it: of a credential, whose reference may be a path, there is the id of the kill alone.
pub(super) fn stray(kills: &[Arc<Kill>]) -> Vec<Part> {
    let part = |state: String| Part::ready("kill_target", state);
    let mut parts: Vec<Part> = kills
        .iter()
        .take(MAX_STRAY)
        .map(|kill| {
            let target = match &kill.scope {
                Scope::Credential(_) => kill.scope.word().to_owned(),
                Scope::Everything
                | Scope::Tenant(_)
                | Scope::Server(_)
                | Scope::Tool { .. }
                | Scope::Caller(_)
                | Scope::Session(_) => kill.scope.to_string(),
            };
            part(format!(
                "NOT CONFIGURED, {} ({target}) cuts nothing",
                kill.id
            ))
        })
        .collect();
    let more = kills.len().saturating_sub(MAX_STRAY);
    if more > 0 {
        parts.push(part(format!(
            "NOT CONFIGURED, {more} more: `keepgate kill list`"
        )));
    }
    parts
}

/// Lets the meters show the switch.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
fn observe(registry: &Registry, ledger: &Arc<Ledger>) {
    let gauge = |about: About, read: fn(&Ledger) -> f64| {
        let ledger = Arc::downgrade(ledger);
        registry.observe(about, move |out| {
            if let Some(ledger) = ledger.upgrade() {
                out.add([], read(&ledger));
            }
        });
    };
    gauge(
        About::gauge("keepgate.kill.in_force", "Kills in force", &[]),
        |ledger| ledger.switch().in_force().len() as f64,
    );
    gauge(
        About::gauge(
            "keepgate.kill.running",
            "Calls and streams a kill could cut now",
            &[],
        ),
        |ledger| ledger.switch().running() as f64,
    );
    gauge(
        About::counter(
            "keepgate.kill.cut",
            "Calls and streams that kills have cut",
            &[],
        ),
        |ledger| ledger.switch().cut() as f64,
    );
    gauge(
        About::gauge(
            "keepgate.kill.partial",
            "Kills in whose scope something is not revoked, cut or ended",
            &[],
        ),
        |ledger| ledger.switch().partial().len() as f64,
    );
    let ledger = Arc::downgrade(ledger);
    let about = About::gauge(
        "keepgate.kill.unpersisted",
        "Kills a place does not hold yet",
        &["keepgate.place"],
    );
    registry.observe(about, move |out| {
        if let Some(ledger) = ledger.upgrade() {
            let (file, database) = ledger.behind();
            out.add(["file"], file as f64);
            out.add(["database"], database as f64);
        }
    });
}
