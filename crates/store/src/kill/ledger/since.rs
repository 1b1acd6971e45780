//! Kills set since a moment, also those that have ended: what they cut off stays void.

use std::{sync::Arc, time::SystemTime};

use super::{Ledger, locked};
use crate::kill::Facts;

impl Ledger {
    /// The id of a kill of what `facts` name that was set at `since` or later, whether or not it has ended.
    pub fn covering_since(&self, facts: &Facts<'_>, since: SystemTime) -> Option<Arc<str>> {
        let book = locked(&self.book);
        let mut kills = book.values().map(|page| &page.kill);
        let found = kills.find(|kill| kill.set_at >= since && kill.covers(facts))?;
        Some(Arc::clone(&found.id))
    }

    /// Number of kills that are known, and the id of the one that was set last: differs after every kill.
    pub fn latest(&self) -> (usize, Option<Arc<str>>) {
        let book = locked(&self.book);
        let latest = book.values().max_by_key(|page| page.kill.set_at);
        (book.len(), latest.map(|page| Arc::clone(&page.kill.id)))
    }
}
