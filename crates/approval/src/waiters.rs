//! Calls that are held until somebody decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::Notify;

/// Entries before those nobody waits for any more are looked for.
const SWEEP: usize = 64;

/// Those who wait for a transition, by approval.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<Arc<str>, Weak<Notify>>>);

impl Waiters {
    fn waiters(&self) -> MutexGuard<'_, HashMap<Arc<str>, Weak<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notified at the next transition of this approval.
    pub(crate) fn of(&self, id: &Arc<str>) -> Arc<Notify> {
        let mut waiters = self.waiters();
        if waiters.len() >= SWEEP {
            waiters.retain(|_, waiter| waiter.strong_count() > 0);
        }
        if let Some(waiter) = waiters.get(id).and_then(Weak::upgrade) {
            return waiter;
        }
        let waiter = Arc::new(Notify::new());
        waiters.insert(Arc::clone(id), Arc::downgrade(&waiter));
        waiter
    }

    /// Wakes those who wait for this approval.
    pub(crate) fn wake(&self, id: &str) {
        let waiter = self.waiters().remove(id);
        if let Some(waiter) = waiter.and_then(|waiter| waiter.upgrade()) {
            waiter.notify_waiters();
        }
    }

    /// Number of approvals somebody waits for.
    pub(crate) fn count(&self) -> usize {
        let waiters = self.waiters();
        waiters.values().filter(|it| it.strong_count() > 0).count()
    }
}
