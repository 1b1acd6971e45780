//! `state rekey`: changes what no running gateway may see change.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use keepgate_approval::{Approvals, Person, Settings, Surroundings};
use keepgate_store::kill::Facts;

use super::Context;
use crate::arguments::{State, StateCommand};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::serve;

/// Time after which the runtime no longer waits for the store.
const LAST: Duration = Duration::from_secs(3);

/// `state ..`.
pub(super) fn run(command: StateCommand, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        StateCommand::Rekey { state } => rekey(state, context),
    }
}

/// Facts without a gateway: nobody decides, and no call can come.
struct Offline;

impl Surroundings for Offline {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn person(&self, _id: &str) -> Option<Person> {
        None
    }

    fn is_operator(&self, _name: &str) -> bool {
        false
    }

    fn killed(&self, _facts: &Facts<'_>, _since: SystemTime) -> Option<Arc<str>> {
        None
    }

    fn kills(&self) -> (usize, Option<Arc<str>>) {
        (0, None)
    }
}

fn rekey(state: State, context: &mut Context<'_>) -> Result<(), Failure> {
    let directory = context.known_state(state.directory)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Exit::State, &error))?;
    // Its lock keeps a gateway out, and what is cancelled is recorded in it.
    let log = serve::log_of(&directory, None)?;
    let done = runtime.block_on(async {
        let surroundings: Arc<dyn Surroundings> = Arc::new(Offline);
        let approvals = Approvals::open(&directory, log.clone(), Settings::default(), surroundings);
        approvals.rekey().await
    });
    runtime.shutdown_timeout(LAST);
    log.close();
    let done = done.map_err(|error| Failure::caused(Exit::State, &error))?;
    context.output.report(&done, |done| {
        format!(
            "key {} seals approvals from now on: {} sealed again, {} cancelled, {} that have ended cannot be read\n",
            done.key, done.resealed, done.cancelled, done.unreadable
        )
    });
    Ok(())
}
