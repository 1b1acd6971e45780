//! Sessions that grants are bound to. A session is the one its client opened, or in 2026-07-28 the caller with its client and
//! sign-in, from one call to the next. Its number is random and of this process: a restart ends what is bound to a session.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use keepgate_call::{SessionKey, Tenant};
use keepgate_store::approvals::{DatabaseError, GrantSession};
use tokio_util::sync::CancellationToken;

use crate::Approvals;

/// Requests of ended sessions that one look ends.
const BATCH: u32 = 1_000;
/// Time a session is known before a request that is bound to it is in the store.
const GRACE: Duration = Duration::from_secs(60);

/// The session of a call.
#[derive(Debug, Clone)]
pub enum CallSession {
    /// The client opened it; it ends with this token.
    Opened(CancellationToken, Box<str>),
    /// The revision has none: a caller, alive for this time after its last call.
    Caller(SessionKey, Duration),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Opened(Box<str>),
    Caller(SessionKey),
}

#[derive(Debug)]
struct Life {
    number: GrantSession,
    session: CallSession,
    last_call: SystemTime,
}

impl Life {
    fn is_over(&self, now: SystemTime) -> bool {
        match &self.session {
            CallSession::Opened(ended, _) => ended.is_cancelled(),
            CallSession::Caller(_, idle) => {
                let passed = now.duration_since(self.last_call).unwrap_or_default();
                passed >= *idle
            }
        }
    }
}

/// The sessions that anything is bound to.
#[derive(Debug, Default)]
pub(crate) struct BoundSessions {
    all: Mutex<HashMap<Key, Life>>,
    /// Their number: most gateways have none, and calls then cost nothing.
    count: AtomicUsize,
}

fn key(session: &CallSession) -> Key {
    match session {
        CallSession::Opened(_, id) => Key::Opened(id.clone()),
        CallSession::Caller(key, _) => Key::Caller(key.clone()),
    }
}

impl BoundSessions {
    fn all(&self) -> MutexGuard<'_, HashMap<Key, Life>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of a session that something is bound to, at a call of it.
    pub(crate) fn find(&self, session: &CallSession, now: SystemTime) -> Option<GrantSession> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut all = self.all();
        let life = all.get_mut(&key(session))?;
        if life.is_over(now) {
            return None;
        }
        life.last_call = now;
        Some(life.number)
    }

    /// Number of a session to bind something to; none for one that has ended, and without random bytes.
    pub(crate) fn enter(&self, session: &CallSession, now: SystemTime) -> Option<GrantSession> {
        if let Some(known) = self.find(session, now) {
            return Some(known);
        }
        let mut number = GrantSession::default();
        getrandom::fill(&mut number).ok()?;
        let life = Life {
            number,
            session: session.clone(),
            last_call: now,
        };
        if life.is_over(now) {
            return None;
        }
        let mut all = self.all();
        all.insert(key(session), life);
        self.count.store(all.len(), Ordering::Release);
        Some(number)
    }

    /// Numbers of the sessions that live.
    fn alive(&self, now: SystemTime) -> HashSet<GrantSession> {
        let all = self.all();
        let alive = all.values().filter(|life| !life.is_over(now));
        alive.map(|life| life.number).collect()
    }

    /// Forgets the sessions that nothing is bound to, and those that have ended.
    fn keep(&self, bound: &HashSet<GrantSession>, now: SystemTime) {
        let mut all = self.all();
        all.retain(|_, life| {
            let passed = now.duration_since(life.last_call).unwrap_or_default();
            !life.is_over(now) && (passed < GRACE || bound.contains(&life.number))
        });
        self.count.store(all.len(), Ordering::Release);
    }
}

impl Approvals {
    /// Notes a call of a session: what is bound to it lives on.
    pub fn note_call(&self, session: impl FnOnce() -> CallSession) {
        if self.0.bound.count.load(Ordering::Acquire) > 0 {
            let _number = self.0.bound.find(&session(), self.now());
        }
    }

    /// Ends what is bound to sessions that have ended.
    pub(crate) async fn end_with_sessions(&self, tenants: &[Tenant]) -> Result<(), DatabaseError> {
        let mut bound = HashSet::new();
        for tenant in tenants {
            let found = self.0.store.bound(tenant, BATCH).await?;
            let alive = self.0.bound.alive(self.now());
            for (id, session) in found {
                if alive.contains(&session) {
                    bound.insert(session);
                } else if let Some((row, _)) = self.0.store.get(tenant, &id).await? {
                    let why = ("session_ended", "the session it was for has ended");
                    self.finish(&row, None, why).await?;
                }
            }
        }
        self.0.bound.keep(&bound, self.now());
        Ok(())
    }
}
