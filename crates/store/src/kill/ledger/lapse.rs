//! Kills whose time is over, ended for good.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use super::{Cleared, Kill, Ledger, OURSELVES, locked};

/// Reason of the end of a kill whose time is over.
pub(in crate::kill) const EXPIRED: &str = "its time is over";

impl Ledger {
    /// Kills whose time is over, and of which no place knows that yet.
    pub(super) fn over(&self) -> Vec<Arc<Kill>> {
        let now = Instant::now();
        let book = locked(&self.book);
        let kills = book.values().map(|page| &page.kill);
        let over = kills.filter(|kill| kill.cleared.is_none() && !kill.is_in_force(now));
        over.cloned().collect()
    }

    /// Ends a kill whose time is over, so that both places learn of it: it must not begin again when the clock is set back and the
    /// gateway started.
    pub(super) fn lapse(&self, kill: &Arc<Kill>) -> Arc<Kill> {
        let mut book = locked(&self.book);
        let Some(page) = book.get_mut(&kill.id) else {
            return Arc::clone(kill);
        };
        if page.kill.cleared.is_none() {
            let cleared = Cleared {
                at: kill.expires_at.unwrap_or_else(SystemTime::now),
                by: OURSELVES.into(),
                reason: EXPIRED.into(),
            };
            page.kill = Arc::new(Kill {
                cleared: Some(cleared),
                ..Kill::clone(&page.kill)
            });
            page.changed = Instant::now();
        }
        Arc::clone(&page.kill)
    }
}
