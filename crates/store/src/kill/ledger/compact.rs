//! Keeps file, database and book from growing without end: a kill that is over for long is forgotten, and the file is written
//! again when most of its lines are out of date. The audit log keeps every act.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{Act, Clear, Entry, Kill, Ledger, Page, Set, locked};

/// Time for which a kill that is over is remembered.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Lines that may be out of date before the file is written again, and as many more as there are kills.
const SLACK: u64 = 1_000;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(60);

impl Page {
    /// Lines of the file that it needs.
    fn lines(&self) -> u64 {
        1 + u64::from(self.kill.cleared.is_some())
    }

    /// Whether it is over for so long that nobody looks for it here. One without its records stays.
    fn is_forgettable(&self, now: SystemTime) -> bool {
        let ended = match &self.kill.cleared {
            Some(cleared) => Some(cleared.at),
            None => self.kill.expires_at,
        };
        let over = !self.kill.is_in_force(Instant::now())
            && ended
                .is_some_and(|ended| now.duration_since(ended).is_ok_and(|ago| ago > RETENTION));
        over && self.noted.contains(Act::Set) && self.noted.contains(Act::Cleared)
    }
}

impl Ledger {
    /// Forgets and compacts, about once a minute.
    pub(super) async fn compact(&self) {
        let now = Instant::now();
        {
            let mut due = locked(&self.compacted);
            if due.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
                return;
            }
            *due = Some(now);
        }
        self.forget_old(SystemTime::now()).await;
        let (needed, pages) = {
            let book = locked(&self.book);
            let pages: Vec<Page> = book.values().cloned().collect();
            (pages.iter().map(Page::lines).sum::<u64>(), pages)
        };
        let lines = self.with_file(|file| Ok(file.lines())).await;
        let Ok(lines) = lines else { return };
        if lines > needed.saturating_mul(2).saturating_add(SLACK) {
            self.write_again(pages, lines).await;
        }
    }

    /// Forgets the kills that are over for long: first where a start would find them, then here.
    async fn forget_old(&self, now: SystemTime) {
        let partial = self.switch.partial();
        let old: Vec<Arc<Kill>> = locked(&self.book)
            .values()
            .filter(|page| page.is_forgettable(now) && !partial.contains_key(&page.kill.id))
            .map(|page| Arc::clone(&page.kill))
            .collect();
        if old.is_empty() {
            return;
        }
        let connected = self.database.lock().await;
        let Some(database) = &connected.database else {
            return;
        };
        if let Err(error) = database.forget(&old).await {
            tracing::warn!(%error, "kills that are over for long stay in the database");
            return;
        }
        drop(connected);
        let mut book = locked(&self.book);
        for kill in &old {
            book.remove(&kill.id);
        }
        tracing::info!(
            count = old.len(),
            "kills that are over for long are forgotten"
        );
    }

    async fn write_again(&self, mut pages: Vec<Page>, before: u64) {
        pages.sort_by_key(|page| page.kill.set_at);
        let entries: Vec<Entry> = pages
            .iter()
            .flat_map(|page| {
                let clear = Clear::of(&page.kill).map(Entry::Clear);
                std::iter::once(Entry::Set(Set::of(&page.kill))).chain(clear)
            })
            .collect();
        let after = entries.len();
        match self.with_file(move |file| file.compact(&entries)).await {
            Ok(true) => {
                self.mark(&pages, |page, written| {
                    page.file = page.file.max(written.whole())
                });
                tracing::info!(
                    before,
                    after,
                    "kill.log is written again without lines that are out of date"
                );
            }
            // Acts that nobody has read yet: the next look takes them along.
            Ok(false) => *locked(&self.compacted) = None,
            Err(error) => tracing::warn!(error, "kill.log cannot be written again, it grows on"),
        }
    }
}
