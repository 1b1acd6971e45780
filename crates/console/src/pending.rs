//! Numbers of approvals that wait, for the navigation. No page waits for them: their store may hang, and the kill switch is a page.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use keepgate_call::Tenant;
use tokio::sync::Semaphore;

/// Time a page gives the store: one that answers takes a few milliseconds.
const WAIT: Duration = Duration::from_millis(50);

/// Numbers of approvals that wait, by tenant.
pub(crate) type Counts = BTreeMap<Tenant, u64>;

/// The numbers as they were last read. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct PendingCounts {
    last: Arc<Mutex<Option<Arc<Counts>>>>,
    turn: Arc<Semaphore>,
}

impl Default for PendingCounts {
    fn default() -> Self {
        Self {
            last: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl PendingCounts {
    /// The numbers that `read` gives, or, when it takes longer than a page may, those of the last time. `None` when they are not
    /// known.
    pub(crate) async fn latest(
        &self,
        read: impl Future<Output = Option<Counts>> + Send + 'static,
    ) -> Option<Arc<Counts>> {
        // One reader at a time: however many pages are opened, a store that hangs holds one task.
        if let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() {
            let last = Arc::clone(&self.last);
            let reading = tokio::spawn(async move {
                let counts = read.await.map(Arc::new);
                *last.lock().unwrap_or_else(PoisonError::into_inner) = counts;
                drop(turn);
            });
            let _late = tokio::time::timeout(WAIT, reading).await;
        }
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: u64) -> Option<Counts> {
        Some([(Tenant::default(), count)].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_holds_up_no_page() {
        let pending = PendingCounts::default();
        let known = pending.latest(async { counts(3) }).await;
        assert_eq!(known.as_deref(), counts(3).as_ref());
        // It does not answer: the last numbers are shown, by each page, and one reader waits.
        for _page in 0..100 {
            let shown = pending.latest(std::future::pending()).await;
            assert_eq!(shown.as_deref(), counts(3).as_ref());
        }
        assert_eq!(pending.turn.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn numbers_that_cannot_be_read_are_not_shown() {
        let pending = PendingCounts::default();
        assert!(pending.latest(async { counts(3) }).await.is_some());
        assert_eq!(pending.latest(async { None }).await, None);
        assert!(pending.latest(async { counts(4) }).await.is_some());
    }
}
