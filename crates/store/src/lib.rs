//! What must last beyond a restart, and what every call asks of it while it runs.
//!
//! The only crate that knows a database. It keeps the kill switch ([`kill`]), the sessions a restart resumes ([`sessions`]) and
//! approvals ([`approvals`]), each in a file of its own; what has to last later (pins) joins them here.

use keepgate_call::chain;
use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub mod approvals;
pub mod kill;
pub mod sessions;
mod sql;

/// Name of the database in the state directory.
pub const DATABASE: &str = "keepgate.db";

/// Whether a gateway has run on this state directory: a first start makes the database after every file of keys,
/// operators and the log, so one that is missing while there is a database has vanished.
pub fn is_in_use(state_directory: &Path) -> bool {
    state_directory.join(DATABASE).exists()
}

/// The guard of a mutex, also after a holder panicked.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Holders leave plain data whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
