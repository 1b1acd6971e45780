//! Sessions of an earlier process, resumed: each by the rules of a session that never stopped, or not at all.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use keepgate_call::{Caller, HttpTransport, ServerName};
use keepgate_store::sessions::SessionRow;

use super::{Beginning, Definition, Session, Sessions, row};
use crate::{
    settings::Limits,
    upstream::{Link, LinkState},
};

/// Conditions under which sessions are resumed.
pub(crate) struct Restoring<'a> {
    /// The limits of sessions.
    pub(crate) limits: &'a Limits,
    /// The time.
    pub(crate) now: SystemTime,
    /// The servers there are.
    pub(crate) definitions: &'a BTreeMap<ServerName, Definition>,
    /// Makes the server's side of a session.
    pub(crate) link: &'a dyn Fn(&ServerName, LinkState) -> Option<Link>,
    /// Whether a caller is admitted still.
    pub(crate) admits: &'a dyn Fn(&Caller) -> bool,
    /// Whether a kill covers a session.
    pub(crate) is_killed: &'a dyn Fn(&Session) -> bool,
    /// Whether policies read what sessions did before, which is not known.
    pub(crate) reads_past: bool,
}

/// Sessions that were resumed, and those that were not.
#[derive(Debug, Default)]
pub struct Restored {
    /// Number of sessions that go on.
    pub resumed: usize,
    /// Number of those that do not, by cause.
    pub dropped: BTreeMap<&'static str, usize>,
}

/// Cause for which a session is not resumed.
#[derive(Debug, Clone, Copy)]
enum Dropped {
    Unreadable,
    Idle,
    Server,
    Caller,
    Killed,
    Limit,
    Past,
}

impl Dropped {
    fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Idle => "idle",
            Self::Server => "server_changed",
            Self::Caller => "caller_not_admitted",
            Self::Killed => "killed",
            Self::Limit => "limit",
            Self::Past => "policy_reads_history",
        }
    }
}

impl Sessions {
    /// Resumes the sessions of `rows`, the latest first. Those that cannot be are taken out of the store.
    pub(crate) fn restore(&self, mut rows: Vec<SessionRow>, restoring: &Restoring<'_>) -> Restored {
        rows.sort_by_key(|row| std::cmp::Reverse(row.used_ms));
        let mut restored = Restored::default();
        for row in &rows {
            match self.resume(row, restoring) {
                Ok(()) => restored.resumed += 1,
                Err(dropped) => {
                    *restored.dropped.entry(dropped.word()).or_default() += 1;
                    if let Some(store) = self.store() {
                        drop(store.remove(row.id));
                    }
                }
            }
        }
        restored
    }

    fn resume(&self, row: &SessionRow, restoring: &Restoring<'_>) -> Result<(), Dropped> {
        if restoring.reads_past {
            return Err(Dropped::Past);
        }
        let now_ms = row::millis(restoring.now);
        let idle = Duration::from_millis(now_ms.saturating_sub(row.used_ms));
        if idle > restoring.limits.session_idle {
            return Err(Dropped::Idle);
        }
        let opened = self.row_key().session(row, restoring.now);
        let opened = opened.ok_or(Dropped::Unreadable)?;
        let definition = restoring.definitions.get(&opened.server);
        let definition = definition.filter(|now| now.digest() == Some(opened.definition));
        let definition = *definition.ok_or(Dropped::Server)?;
        if !(restoring.admits)(&opened.caller) || !opened.caller.reaches(&opened.server) {
            return Err(Dropped::Caller);
        }
        let link = (restoring.link)(&opened.server, opened.link).ok_or(Dropped::Server)?;
        let seat = self.reserve(restoring.limits, opened.caller.principal());
        let seat = seat.map_err(|_limit| Dropped::Limit)?;
        let session = self.begun(Beginning {
            digest: row.id,
            caller: opened.caller,
            server: opened.server,
            definition,
            client: opened.client,
            // The event stream of the others was their session.
            transport: HttpTransport::Streamable,
            aged: opened.age,
        });
        let session = session.map_err(|_no_memory| Dropped::Limit)?;
        // Set once: nobody knows it yet.
        let _first = (
            session.link.set(link),
            session.revision.set(opened.revision),
            session.lists.set(opened.lists),
        );
        session.links.declare(opened.shows_links);
        session.standing.restore(opened.rules);
        session.set_kept();
        if (restoring.is_killed)(&session) {
            // Its client is to learn of the kill, and not that it should open another.
            self.note_killed(&session);
            return Err(Dropped::Killed);
        }
        let used_ms = self
            .now_ms()
            .saturating_sub(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX));
        self.enter_table(&session, seat, used_ms);
        Ok(())
    }
}
