//! Sessions that outlive the process: resumed at the start, watched while it runs.

use keepgate_admin::Part;
use keepgate_gateway::{Gateway, Shared};
use keepgate_store::{kill::Ledger, sessions::SessionRow};
use keepgate_telemetry::metrics::About;

/// Resumes the sessions of an earlier process that no kill has ended, and reports how many.
pub(super) fn restore(gateway: &Gateway, rows: Vec<SessionRow>, ledger: &Ledger) {
    observe(gateway.shared());
    if rows.is_empty() {
        return;
    }
    let restored = gateway.restore(rows, &ledger.list());
    tracing::info!(sessions = restored.resumed, "sessions resumed");
    for (cause, sessions) in restored.dropped {
        tracing::info!(
            cause,
            sessions,
            "sessions not resumed, their clients begin again"
        );
    }
}

/// The part for a database of sessions that fails. A gateway without it is ready: only a restart would end sessions.
pub(super) fn part(shared: &Shared) -> Option<Part> {
    let problem = shared.sessions.store().and_then(|store| store.problem());
    let state = "NOT KEPT, sessions.db failing";
    problem.map(|_problem| Part::ready("sessions", state))
}

/// Lets the metrics show what the database lacks.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
fn observe(shared: &Shared) {
    let about = About::gauge(
        "keepgate.sessions.unpersisted",
        "Sessions whose beginning or end the database does not hold yet",
        &[],
    );
    let store = shared.sessions.store().cloned();
    shared.meters.registry().observe(about, move |out| {
        if let Some(store) = &store {
            out.add([], store.behind() as f64);
        }
    });
}
