//! Equal refusals share records: the first is written whole, those that follow are counted.
//!
//! A refusal costs its caller nothing, so a record for each lets any caller fill the log, and a full log refuses everybody.
//! Every refusal is counted, and the id it is answered with finds its record: a repeat has the id of its first and a number.

mod group;

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use keepgate_audit::{Kind, Log, Repeat, Scope};
use keepgate_authn::{AuthnError, KeyName};
use keepgate_call::{Call, Caller, Code, DecisionId, Principal, Refusal, ServerName};

use self::group::Group;
use super::describe::Names;
use crate::shards::{SHARDS, Shards};

/// Time in which equal refusals share a record.
const WITHIN: Duration = Duration::from_secs(10);
/// Policy denials of one caller, and other refusals that are rare from a caller of good will, that have a record of their
/// own in a minute.
const OWN_MOST: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);
/// Different refusals of one caller that open a count of their own within [`WITHIN`]; beyond it, those of one code share.
const OPENED_MOST: u32 = 32;
/// Bytes of a client's own names that cost as much as one more record: names may be as long as a body.
const NAMES_UNIT: usize = 1024;
/// Callers whose refusals are counted separately.
const CALLERS_MOST: usize = 4_096;
/// Counts that are open at once; the last quarter is kept for those all refusals of a caller share.
const GROUPS_MOST: usize = 4_096;

/// The refusals that share records.
pub struct Refusals {
    log: Log,
    tables: Shards<Mutex<Table>>,
    /// Counts of refusals that have no other place: bounded by the number of codes.
    codes: Mutex<HashMap<(Kind, &'static str), Group>>,
    hasher: RandomState,
    is_closed: AtomicBool,
}

/// The callers of one shard, and what is being counted of them.
#[derive(Default)]
struct Table {
    callers: HashMap<Option<Principal>, Spent>,
    /// By the keyed hash of what makes refusals equal: nobody outside can make two of them meet.
    groups: HashMap<u64, Group>,
}

/// Records a caller has had.
struct Spent {
    own: Window,
    opened: Window,
    causes: Window,
}

/// A number that begins again with each window of time.
struct Window {
    since: Instant,
    spent: u32,
}

impl Window {
    fn take(&mut self, now: Instant, window: Duration, cost: u32, most: u32) -> bool {
        if now.saturating_duration_since(self.since) >= window {
            *self = Self {
                since: now,
                spent: 0,
            };
        }
        let spent = self.spent.saturating_add(cost);
        // One as long as all that is left still has its record.
        let has_room = self.spent < most;
        if has_room {
            self.spent = spent;
        }
        has_room
    }
}

/// A refusal, as far as others can equal it.
#[derive(Clone, Copy)]
pub(super) struct Refused<'a> {
    kind: Kind,
    caller: Option<&'a Arc<Caller>>,
    session: Option<&'a [u8]>,
    server: Option<&'a ServerName>,
    method: Option<&'a str>,
    names: Names<'a>,
    code: &'static str,
    /// Whether it shares a record from the first on.
    at_once: bool,
    rule: Option<&'a str>,
    key: Option<KeyName>,
    source: Option<IpAddr>,
}

/// The way a refusal gets on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// By a record of its own.
    Own,
    /// By a record of its own, which opens a count of equal ones.
    First(Repeat),
    /// By being counted, under this id.
    Counted(DecisionId),
    /// By being counted under the id `answered`, and by a record with the cause next to the one that opened the count.
    Cause {
        /// Id of the answer.
        answered: DecisionId,
        /// Id of the count.
        first: DecisionId,
        /// Relation of the record to equal ones.
        repeat: Repeat,
    },
}

impl<'a> Refused<'a> {
    /// A call that ended before it had an intent: refused, or with nobody waiting for it.
    pub(super) fn call(call: &'a Call, names: Names<'a>, refusal: Option<&'a Refusal>) -> Self {
        let rule = refusal.and_then(|refusal| match refusal.reasons.first() {
            Some((code, _)) => Some(&**code),
            None => refusal.limit.map(|limit| limit.name),
        });
        Self {
            kind: Kind::CallRefused,
            caller: Some(&call.caller),
            session: call.session.as_deref(),
            server: Some(&call.server),
            method: Some(call.ask.method()),
            names,
            code: refusal.map_or("abandoned", |refusal| refusal.code.as_str()),
            at_once: refusal.is_some_and(|refusal| shares_at_once(refusal.code)),
            rule,
            key: None,
            source: None,
        }
    }

    /// A question of a server, and what came of it: a server asks as often as it likes.
    pub(super) fn question(
        call: &'a Call,
        method: &'a str,
        allowed: bool,
        rule: Option<&'a str>,
    ) -> Self {
        Self {
            kind: Kind::ServerRequest,
            method: Some(method),
            code: if allowed {
                "allowed"
            } else {
                Code::PolicyDenied.as_str()
            },
            at_once: false,
            rule,
            ..Self::call(call, Names::default(), None)
        }
    }

    /// A request that was refused before it was a call; `cause` is what is wrong with its credential.
    pub(super) fn request(code: Code, source: Option<IpAddr>, cause: Option<&AuthnError>) -> Self {
        Self {
            kind: Kind::AuthDenied,
            caller: None,
            session: None,
            server: None,
            method: None,
            names: Names::default(),
            code: code.as_str(),
            at_once: true,
            rule: cause.map(AuthnError::code),
            key: cause.and_then(AuthnError::key),
            source,
        }
    }

    /// As much of it as whoever was rejected may learn from the ids of the answers: strangers must not see by them which key ids
    /// there are, so the cause is none of it.
    fn answered(self) -> Self {
        if self.kind != Kind::AuthDenied {
            return self;
        }
        Self {
            rule: None,
            key: None,
            ..self
        }
    }

    /// As much of it as those of `scope` have in common.
    fn within(self, scope: Scope) -> Self {
        match scope {
            Scope::Equal => self,
            Scope::Caller | Scope::Code => Self {
                caller: self.caller.filter(|_| scope == Scope::Caller),
                session: None,
                server: None,
                method: None,
                names: Names::default(),
                rule: None,
                key: None,
                source: None,
                ..self
            },
        }
    }

    /// Number of records it counts for.
    fn cost(&self) -> u32 {
        let Names {
            tool,
            prompt,
            resource,
        } = self.names;
        let names = [self.method, tool, prompt, resource];
        let bytes: usize = names.iter().flatten().map(|name| name.len()).sum();
        u32::try_from(bytes / NAMES_UNIT).map_or(u32::MAX, |more| more.saturating_add(1))
    }
}

/// Whether a caller of good will has little use for each of them: they come as often as anybody calls again, and say no
/// more than that.
fn shares_at_once(code: Code) -> bool {
    matches!(
        code,
        Code::RateLimited
            | Code::ConcurrencyLimited
            | Code::SessionMissing
            | Code::SessionUnknown
            | Code::SessionLimit
            | Code::SessionSuspended
            | Code::ResponseForeign
            | Code::EventUnknown
            | Code::UpstreamCircuitOpen
            | Code::Overloaded
            | Code::Draining
            | Code::AuditUnavailable
    )
}

impl Refusals {
    /// None yet; their counts are written to `log`.
    pub fn new(log: &Log) -> Self {
        Self {
            log: log.clone(),
            tables: Shards::default(),
            codes: Mutex::default(),
            hasher: RandomState::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The log they are written to.
    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Decides how the refusal `id` gets on record.
    pub(super) fn note(&self, refused: Refused<'_>, id: DecisionId, at: SystemTime) -> Written {
        self.note_at(refused, id, at, Instant::now())
    }

    fn note_at(
        &self,
        refused: Refused<'_>,
        id: DecisionId,
        at: SystemTime,
        now: Instant,
    ) -> Written {
        let mut over = None;
        let written = self.noted(refused, (id, at, now), &mut over);
        // Outside of the lock: the log has one of its own.
        if let Some(group) = over {
            group.write(&self.log, at);
        }
        written
    }

    fn noted(
        &self,
        refused: Refused<'_>,
        (id, at, now): (DecisionId, SystemTime, Instant),
        over: &mut Option<Group>,
    ) -> Written {
        let caller = refused.caller.map(|caller| caller.principal());
        let mut table = locked(self.tables.of(&caller));
        // Looked at under the lock: what is counted after the counts were written would be lost.
        if self.is_closed.load(Ordering::SeqCst) {
            return Written::Own;
        }
        let cost = refused.cost();
        if !refused.at_once
            && let Some(spent) = table.spent(caller, now)
            && spent.own.take(now, MINUTE, cost, OWN_MOST)
        {
            return Written::Own;
        }
        let cause = (refused.kind == Kind::AuthDenied)
            .then(|| self.hasher.hash_one((refused.rule, refused.key)));
        let refused = refused.answered();
        let equal = self.key(refused, Scope::Equal);
        if let Some(counted) = table.count(equal, at, now, over) {
            let cause = cause.and_then(|cause| table.cause(equal, cause, counted, caller, now));
            return cause.unwrap_or(counted);
        }
        let opened = |scope| Group::new(refused.within(scope), cause, scope, id, now + WITHIN);
        if table.may_open(caller, now, cost) {
            return table.open(equal, opened(Scope::Equal));
        }
        if caller.is_some() {
            let same = self.key(refused, Scope::Caller);
            if let Some(counted) = table.count(same, at, now, over) {
                return counted;
            }
            if table.groups.len() < GROUPS_MOST / SHARDS {
                return table.open(same, opened(Scope::Caller));
            }
        }
        let mut codes = locked(&self.codes);
        match codes.entry((refused.kind, refused.code)) {
            Entry::Occupied(group) if group.get().is_open(now) => group.into_mut().count(at),
            Entry::Occupied(mut group) => {
                let fresh = opened(Scope::Code);
                let first = fresh.first();
                *over = Some(group.insert(fresh));
                first
            }
            Entry::Vacant(place) => place.insert(opened(Scope::Code)).first(),
        }
    }

    /// The key of those that `refused` equals in `scope`.
    fn key(&self, refused: Refused<'_>, scope: Scope) -> u64 {
        let Refused {
            kind,
            caller,
            session,
            server,
            method,
            names,
            code,
            at_once: _,
            rule,
            key,
            source,
        } = refused.within(scope);
        let caller = caller.map(|caller| caller.principal());
        let about = (server, method, names, code, rule, key);
        self.hasher
            .hash_one((scope, kind, caller, session, about, source))
    }

    /// Writes the counts whose time is over.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.write_unless(|group| group.is_open(now));
    }

    /// Writes every count; from now on each refusal has a record of its own. For the end of the process.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.write_unless(|_| false);
    }

    fn write_unless(&self, stays: impl Fn(&Group) -> bool) {
        let mut over = Vec::new();
        for table in self.tables.iter() {
            let mut table = locked(table);
            over.extend(
                table
                    .groups
                    .extract_if(|_, group| !stays(group))
                    .map(|(_, group)| group),
            );
        }
        let mut codes = locked(&self.codes);
        over.extend(
            codes
                .extract_if(|_, group| !stays(group))
                .map(|(_, group)| group),
        );
        drop(codes);
        let at = SystemTime::now();
        for group in over {
            group.write(&self.log, at);
        }
    }
}

impl Table {
    /// Records `caller` has had; `None` if there is no room to remember it.
    fn spent(&mut self, caller: Option<&Principal>, now: Instant) -> Option<&mut Spent> {
        let key = caller.cloned();
        if !self.callers.contains_key(&key) && self.callers.len() >= CALLERS_MOST / SHARDS {
            // Who was refused nothing for a minute is as if it had never been.
            let recent = |window: &Window| now.saturating_duration_since(window.since) < MINUTE;
            self.callers
                .retain(|_, spent| recent(&spent.own) || recent(&spent.opened));
            if self.callers.len() >= CALLERS_MOST / SHARDS {
                return None;
            }
        }
        let fresh = || Window {
            since: now,
            spent: 0,
        };
        Some(self.callers.entry(key).or_insert_with(|| Spent {
            own: fresh(),
            opened: fresh(),
            causes: fresh(),
        }))
    }

    /// Counts one more of a group that is open; takes out one whose time is over.
    fn count(
        &mut self,
        key: u64,
        at: SystemTime,
        now: Instant,
        over: &mut Option<Group>,
    ) -> Option<Written> {
        let group = self.groups.get_mut(&key)?;
        if group.is_open(now) {
            return Some(group.count(at));
        }
        *over = self.groups.remove(&key);
        None
    }

    /// A record for a cause that the open count has not met yet, as long as there are few of them.
    fn cause(
        &mut self,
        key: u64,
        cause: u64,
        counted: Written,
        caller: Option<&Principal>,
        now: Instant,
    ) -> Option<Written> {
        let Written::Counted(answered) = counted else {
            return None;
        };
        if self.groups.get(&key)?.has_met(cause)
            || !self
                .spent(caller, now)?
                .causes
                .take(now, WITHIN, 1, OPENED_MOST)
        {
            return None;
        }
        let (first, repeat) = self.groups.get_mut(&key)?.meet(cause);
        Some(Written::Cause {
            answered,
            first,
            repeat,
        })
    }

    /// Whether `caller` may open a count of its own for refusals that are equal in everything.
    fn may_open(&mut self, caller: Option<&Principal>, now: Instant, cost: u32) -> bool {
        let most = GROUPS_MOST / SHARDS;
        self.groups.len() < most - most / 4
            && self
                .spent(caller, now)
                .is_some_and(|spent| spent.opened.take(now, WITHIN, cost, OPENED_MOST))
    }

    fn open(&mut self, key: u64, group: Group) -> Written {
        let first = group.first();
        self.groups.insert(key, group);
        first
    }
}

/// A poisoned lock guards plain counts; going on is safe.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusals").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
