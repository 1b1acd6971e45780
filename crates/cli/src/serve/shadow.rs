//! Shadow mode: the candidate of the configuration, tried beside the policies in force. What is wrong with it changes
//! nothing.

use std::sync::Arc;

use keepgate_admin::Part;
use keepgate_gateway::Shared;
use keepgate_policy::{Shadow, Source, Sources};
use keepgate_telemetry::metrics::About;

use crate::config::Shadow as Wanted;

/// Loads the candidate and has it tried from now on, among the layers of `sources`: it stands in for the platform's.
pub(super) async fn start(wanted: Option<&Wanted>, sources: Sources, shared: &Arc<Shared>) {
    let Some(wanted) = wanted else { return };
    let directories = wanted.policies.iter().cloned();
    let sources = Sources {
        platform: directories.map(Source::Directory).collect(),
        ..sources
    };
    let shadow = Arc::new(Shadow::new(sources, wanted.sample));
    observe(shared, &shadow);
    shared.beside.cast(shadow);
    reload(shared).await;
}

/// Reads the candidate again, if there is one.
pub(super) async fn reload(shared: &Arc<Shared>) {
    let Some(shadow) = shared.beside.shadow().cloned() else {
        return;
    };
    let loaded = tokio::task::spawn_blocking(move || shadow.reload()).await;
    match loaded {
        Ok(Ok(generation)) if generation.changed || generation.number == 1 => tracing::info!(
            files = generation.files,
            revision = %generation.revision,
            "shadow policies are tried beside those in force"
        ),
        Ok(Ok(_)) => {}
        Ok(Err(errors)) => tracing::error!(
            "shadow policies not taken, which changes no decision; the last ones that could be read are tried:\n{errors}"
        ),
        Err(error) => {
            tracing::error!(%error, "shadow policies not taken, which changes no decision")
        }
    }
}

/// The part for shadow policies that are not those on disk; they decide nothing, so that nothing is unready.
pub(super) fn part(shared: &Shared) -> Option<Part> {
    let shadow = shared.beside.shadow()?;
    let state = "stale, last reload failed";
    (!shadow.is_fresh()).then(|| Part::ready("shadow", state))
}

/// Shows whether what is tried is what is on disk.
fn observe(shared: &Shared, shadow: &Arc<Shadow>) {
    let shadow = Arc::downgrade(shadow);
    let fresh = About::gauge(
        "keepgate.policy.shadow_last_reload_successful",
        "Whether the shadow policies on disk are those that are tried",
        &[],
    );
    shared.meters.registry().observe(fresh, move |out| {
        let fresh = shadow.upgrade().is_some_and(|shadow| shadow.is_fresh());
        out.add([], f64::from(u8::from(fresh)));
    });
}
