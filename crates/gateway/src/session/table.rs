//! The table of sessions: places are reserved before a server is asked, and a caller that has taken all of its own makes
//! room with the one that serves it least.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use keepgate_call::{Call, Caller, Code, HttpTransport, Principal, Refusal, ServerName};
use keepgate_mcp::revision::Revision;
use keepgate_policy::ClientFacts;
use keepgate_store::sessions::{SessionDigest, SessionStore, Write};
use keepgate_transport::memory::Budget;
use tracing::warn;

use super::{
    Beginning, Definition, EventKey, RunningCall, Session,
    channel::Channels,
    digest, locked, public_id,
    row::{self, RowKey},
};
use crate::{hash::HashMap, metrics::Meters, oblige::Rules, settings::Limits, shards::Shards};

/// Delay after which a refused client may try again: calls and streams end when they end.
const RETRY: Duration = Duration::from_secs(5);

/// Memory one session is charged for: itself, its place in the table, its client's name and version, the server's id of it and
/// the ids of calls and questions that wait, as clients and servers of good will have them.
const SESSION: usize = 8 * 1024;

/// Longest time before this process at which a resumed session may have been used last, in milliseconds.
const EARLIER: u64 = 366 * 24 * 3600 * 1000;

/// Time a change of a session's rules may take to be durable; then the session ends with the process.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sessions killed by name that are remembered.
const MAX_KILLED: usize = 256;

/// Use of a session, as far as it decides which one makes room for another.
#[derive(Debug, Default)]
pub(super) struct Usage {
    last_used_ms: AtomicU64,
    /// Calls and streams that run.
    running: AtomicUsize,
    /// Whether anything but the handshake came.
    used: AtomicBool,
}

/// A session with a call or a stream in it, whose place no other session is given.
#[derive(Debug)]
pub struct InUse(Arc<Session>);

impl InUse {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        session.usage.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(session))
    }

    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.0
    }

    /// Marks the session as one that serves somebody: more than the handshake came.
    pub fn serves(&self) {
        self.0.usage.used.store(true, Ordering::Relaxed);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.usage.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A reserved place for one session of a caller; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    counts: Arc<Mutex<Counts>>,
    principal: Principal,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        if let Some(held) = counts.by_caller.get_mut(&self.principal) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                counts.by_caller.remove(&self.principal);
            }
        }
    }
}

/// Places taken, those of sessions that are still opening included.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_caller: HashMap<Principal, usize>,
}

/// A session in the table, and its place.
#[derive(Debug)]
struct Kept {
    session: Arc<Session>,
    seat: Seat,
}

type Shard = HashMap<SessionDigest, Kept>;

/// A session that is being opened: its place, and the id its client will know it by.
#[derive(Debug)]
pub struct Opening {
    /// The session.
    pub session: Arc<Session>,
    /// Its place.
    pub seat: Seat,
    /// The id, which nobody else learns.
    pub id: Box<str>,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    shards: Shards<RwLock<Shard>>,
    /// The event streams of clients over HTTP+SSE.
    pub(super) channels: Channels,
    counts: Arc<Mutex<Counts>>,
    epoch: Instant,
    key: EventKey,
    row_key: RowKey,
    /// Store of sessions that outlive the process; `None` if none does.
    store: Option<SessionStore>,
    /// When uses were written last.
    uses_written_ms: AtomicU64,
    /// Losses of the store that are made up for.
    losses: AtomicU64,
    meters: Arc<Meters>,
    pub(super) memory: Budget,
    /// Public ids of sessions that were killed by name, and their callers; the latest last.
    killed: Mutex<VecDeque<(Arc<str>, Arc<Caller>)>>,
}

impl Sessions {
    /// An empty table. Event ids are sealed with `key`; sessions are measured from their beginning to their end, charged to
    /// `memory`, and kept in `store` if there is one.
    pub fn new(
        meters: &Arc<Meters>,
        memory: &Budget,
        key: EventKey,
        store: Option<SessionStore>,
    ) -> Self {
        Self {
            shards: Shards::default(),
            channels: Channels::default(),
            counts: Arc::default(),
            epoch: Instant::now(),
            row_key: key.rows(),
            key,
            store,
            uses_written_ms: AtomicU64::new(0),
            losses: AtomicU64::new(0),
            meters: Arc::clone(meters),
            memory: memory.clone(),
            killed: Mutex::default(),
        }
    }

    /// The key event ids are sealed with.
    pub(crate) fn key(&self) -> &EventKey {
        &self.key
    }

    /// Store of sessions that outlive the process.
    pub fn store(&self) -> Option<&SessionStore> {
        self.store.as_ref()
    }

    pub(super) fn row_key(&self) -> &RowKey {
        &self.row_key
    }

    /// Notes that `call` runs in `session`. An id of its client that another running call has is counted and no more.
    pub fn begin(&self, session: &Arc<Session>, call: &Arc<Call>) -> RunningCall {
        let running = RunningCall::begin(session, call);
        if running.is_reused {
            self.meters.reused_id(&session.server);
        }
        running
    }

    /// A session that is not in the table yet: nobody can use it before the server has accepted it. Its place is taken
    /// already, so that no number of clients that open at once gets past the limit.
    ///
    /// # Errors
    /// `session_limit` when the caller or the gateway holds as many as it may, and none of the caller's is idle;
    /// `memory_full`.
    pub(crate) fn open(
        &self,
        limits: &Limits,
        caller: &Arc<Caller>,
        server: &ServerName,
        definition: Definition,
        client: Option<ClientFacts>,
        transport: HttpTransport,
    ) -> Result<Opening, Refusal> {
        let seat = match self.reserve(limits, caller.principal()) {
            Ok(seat) => seat,
            Err(limit) => self
                .make_room(caller, limit)
                .ok_or_else(|| Refusal::new(Code::SessionLimit).limit(limit, RETRY))?,
        };
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random)
            .map_err(|_| Refusal::new(Code::Internal).detail("no randomness"))?;
        let id = URL_SAFE_NO_PAD.encode(random).into_boxed_str();
        let session = self.begun(Beginning {
            digest: digest(id.as_bytes()),
            caller: Arc::clone(caller),
            server: server.clone(),
            definition,
            client,
            transport,
            aged: Duration::ZERO,
        })?;
        Ok(Opening { session, seat, id })
    }

    /// A session that is charged for, and in no table yet.
    pub(super) fn begun(&self, beginning: Beginning) -> Result<Arc<Session>, Refusal> {
        let mut charge = self.memory.charge();
        let full = |spent| Refusal::new(Code::MemoryFull).source(spent);
        charge.add(SESSION).map_err(full)?;
        Session::new(beginning, &self.key, charge).map(Arc::new)
    }

    /// Takes a place, or names the limit that leaves none.
    pub(super) fn reserve(
        &self,
        limits: &Limits,
        principal: &Principal,
    ) -> Result<Seat, &'static str> {
        let mut counts = locked(&self.counts);
        if counts.all >= limits.sessions.get() {
            return Err("limits.sessions");
        }
        let held = counts.by_caller.entry(principal.clone()).or_default();
        if *held >= limits.sessions_per_caller.get() {
            return Err("limits.sessions_per_caller");
        }
        *held += 1;
        counts.all += 1;
        Ok(Seat {
            counts: Arc::clone(&self.counts),
            principal: principal.clone(),
        })
    }

    /// Ends the session that serves the caller least and gives its place to another of the same caller: one that was
    /// never used after `initialize` before all others, then the one idle longest. Agents that crash and start again
    /// leave such sessions behind, and must not lock their caller out until these expire.
    fn make_room(&self, caller: &Caller, limit: &'static str) -> Option<Seat> {
        // A call may come to the one that was chosen in the meantime: then another has to go.
        for _ in 0..4 {
            let session = self.idlest(caller.principal())?;
            let Some(seat) = self.remove_idle(&session) else {
                continue;
            };
            warn!(
                caller = %caller.subject,
                server = %session.server,
                session = %session.public,
                idle_s = self.idle_s(&session),
                limit,
                "session limit reached: ended the caller's session that was idle longest"
            );
            self.finish(&session);
            if let Some(link) = session.link.get() {
                link.end();
            }
            return Some(seat);
        }
        None
    }

    /// The session of a caller that goes first.
    fn idlest(&self, principal: &Principal) -> Option<Arc<Session>> {
        let mut idlest: Option<((bool, u64), Arc<Session>)> = None;
        for shard in self.shards.iter() {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            for Kept { session, .. } in shard.values() {
                if session.caller.principal() != principal || !session.usage.is_idle() {
                    continue;
                }
                let rank = session.usage.rank();
                if idlest.as_ref().is_none_or(|(least, _)| rank < *least) {
                    idlest = Some((rank, Arc::clone(session)));
                }
            }
        }
        idlest.map(|(_, session)| session)
    }

    /// Takes a session out of the table unless something runs in it. Calls enter under the same lock.
    fn remove_idle(&self, session: &Session) -> Option<Seat> {
        let mut shard = self.shard_mut(&session.digest);
        if !shard.get(&session.digest)?.session.usage.is_idle() {
            return None;
        }
        shard.remove(&session.digest).map(|kept| kept.seat)
    }

    fn shard_mut(&self, digest: &SessionDigest) -> RwLockWriteGuard<'_, Shard> {
        let shard = self.shards.of(digest);
        shard.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an accepted session into the table, in the place that was reserved for it. Returns its way to the store, where it
    /// outlives the process.
    pub fn keep(&self, session: &Arc<Session>, seat: Seat, revision: Revision) -> Option<Write> {
        // A second `initialize` reply cannot come: the session was not in the table.
        let _first = session.revision.set(revision);
        // Before anybody can end it.
        let write = self.written(session);
        self.enter_table(session, seat, self.now_ms());
        write
    }

    /// Puts a session into the table that was used at `used_ms`, by the table's own clock.
    pub(super) fn enter_table(&self, session: &Arc<Session>, seat: Seat, used_ms: u64) {
        let usage = &session.usage;
        usage.last_used_ms.store(used_ms, Ordering::Relaxed);
        let kept = Kept {
            session: Arc::clone(session),
            seat,
        };
        self.shard_mut(&session.digest).insert(session.digest, kept);
    }

    /// Puts the row of a session into the store, if it can outlive the process.
    fn written(&self, session: &Session) -> Option<Write> {
        // An event stream ends with the process, and its session with it.
        let outlives = session.transport == HttpTransport::Streamable;
        let store = self.store.as_ref().filter(|_| outlives)?;
        // Under the lock of its rules, so that no row with fewer of them comes after one with more, and none after its end.
        let written = session.standing.with_rules(|rules: &[Arc<Rules>]| {
            let row = self.row_key.row(session, rules, SystemTime::now())?;
            session.is_kept.store(true, Ordering::Release);
            Some(store.put(row))
        });
        written.flatten()
    }

    /// Writes the row of a session again, whose rules are more now. One whose rules could not be kept is not resumed.
    pub async fn rewrite(&self, session: &Session) {
        if !session.is_kept.load(Ordering::Acquire) {
            return;
        }
        let is_durable = match self.written(session) {
            Some(write) => write.is_durable(PATIENCE).await,
            None => false,
        };
        if !is_durable {
            warn!(server = %session.server, session = %session.public, "session ends with this process: its rules could not be kept");
            let _write = self.forget(session);
        }
    }

    /// Takes the row of a session out of the store.
    fn forget(&self, session: &Session) -> Option<Write> {
        let was_kept = session.is_kept.swap(false, Ordering::AcqRel);
        let store = self.store.as_ref().filter(|_| was_kept)?;
        Some(store.remove(session.digest))
    }

    /// The session with this id, if it belongs to `caller` and `server`. Another caller's session is as unknown as one
    /// that never was, and so is one of the same caller by another client or sign-in.
    pub fn find(&self, caller: &Caller, server: &ServerName, id: &[u8]) -> Option<Arc<Session>> {
        let transport = HttpTransport::Streamable;
        self.found(caller, server, transport, id, Arc::clone)
    }

    /// As [`Self::find`], for a call or a stream: until what it gives is dropped, the session makes room for no other.
    pub fn enter(&self, call: &Call, id: &[u8]) -> Option<InUse> {
        self.found(&call.caller, &call.server, call.transport, id, InUse::new)
    }

    fn found<T>(
        &self,
        caller: &Caller,
        server: &ServerName,
        transport: HttpTransport,
        id: &[u8],
        take: impl FnOnce(&Arc<Session>) -> T,
    ) -> Option<T> {
        let digest = digest(id);
        let shard = self.shards.of(&digest);
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        let session = &shard.get(&digest)?.session;
        if !session.belongs_to(caller, server) || session.transport != transport {
            return None;
        }
        self.touch(session);
        Some(take(session))
    }

    /// Ends a session: it is unknown from now on, and what runs in it is cut. Returns the way of its end to the store.
    pub fn end(&self, session: &Session) -> Option<Write> {
        let removed = self.shard_mut(&session.digest).remove(&session.digest);
        if removed.is_some() {
            return self.finish(session);
        }
        Self::cut(session);
        None
    }

    /// Cuts what runs in a session, and leaves it to a later process: `false` for one that ends with this one.
    pub fn leave(&self, session: &Session) -> bool {
        let is_kept = session.is_kept.load(Ordering::Acquire);
        if is_kept {
            self.shard_mut(&session.digest).remove(&session.digest);
            Self::cut(session);
        }
        is_kept
    }

    /// Cuts what runs in a session that was taken out of the table.
    fn finish(&self, session: &Session) -> Option<Write> {
        self.meters
            .session(&session.server, session.revision(), session.age());
        // First: what was cut writes no row any more.
        Self::cut(session);
        self.forget(session)
    }

    fn cut(session: &Session) {
        session.standing.end();
        session.calls.end();
        session.ended.cancel();
    }

    /// Ends a session that was killed by name, and remembers whose it was: its client is to learn of it.
    pub fn end_killed(&self, session: &Session) {
        self.note_killed(session);
        let _write = self.end(session);
    }

    /// Remembers a session that was killed.
    pub(super) fn note_killed(&self, session: &Session) {
        let mut killed = locked(&self.killed);
        killed.push_back((Arc::clone(&session.public), Arc::clone(&session.caller)));
        if killed.len() > MAX_KILLED {
            killed.pop_front();
        }
    }

    /// The public id of a session of `caller` that was killed by name. `None` for every other caller, as of a session that
    /// never was.
    pub fn killed(&self, caller: &Caller, id: &[u8]) -> Option<Arc<str>> {
        let public = public_id(&digest(id));
        let killed = locked(&self.killed);
        let mut own = killed.iter().filter(|(known, owner)| {
            *known == public && owner.session_key() == caller.session_key()
        });
        own.next().map(|(known, _)| Arc::clone(known))
    }

    /// Takes out the sessions that have been idle longer than `idle`.
    pub fn expire(&self, idle: Duration) -> Vec<Arc<Session>> {
        let oldest = self.now_ms().saturating_sub(millis(idle));
        let mut expired = self.all();
        // One with a running call or an open stream is in use, however long nothing came.
        expired.retain(|session| {
            let usage = &session.usage;
            usage.is_idle() && usage.last_used_ms.load(Ordering::Relaxed) < oldest
        });
        for session in &expired {
            let _write = self.end(session);
        }
        expired
    }

    /// Writes when sessions were used since the last time, and puts in again what the store has lost.
    pub fn tend(&self) {
        let Some(store) = &self.store else { return };
        let all = self.all();
        let losses = store.losses();
        if self.losses.swap(losses, Ordering::Relaxed) != losses {
            for session in all
                .iter()
                .filter(|session| session.is_kept.load(Ordering::Acquire))
            {
                let _write = self.written(session);
                // It may have ended meanwhile.
                let shard = self.shard_mut(&session.digest);
                if !shard.contains_key(&session.digest) {
                    drop(store.remove(session.digest));
                }
            }
        }
        let now = self.now_ms();
        let before = self.uses_written_ms.swap(now, Ordering::Relaxed);
        let now_unix = row::millis(SystemTime::now());
        let used = all.iter().filter_map(|session| {
            let used = session.usage.last_used_ms.load(Ordering::Relaxed);
            let is_news = used >= before && session.is_kept.load(Ordering::Acquire);
            is_news.then(|| {
                (
                    session.digest,
                    now_unix.saturating_sub(now.saturating_sub(used)),
                )
            })
        });
        drop(store.touch(used.collect::<Vec<_>>()));
    }

    /// Every session, those that `initialize` has yet to open on their stream included.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let of = |shard: &RwLock<Shard>| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let sessions = shard.values().map(|kept| Arc::clone(&kept.session));
            sessions.collect::<Vec<_>>()
        };
        let all = self.shards.iter().flat_map(of);
        all.chain(self.channels.waiting()).collect()
    }

    /// Number of sessions, those that are still opening included.
    pub fn count(&self) -> usize {
        locked(&self.counts).all
    }

    /// Marks the session as used now, so that a long stream keeps it alive.
    pub fn touch(&self, session: &Session) {
        let now = self.now_ms();
        session.usage.last_used_ms.store(now, Ordering::Relaxed);
    }

    /// Seconds since the session was last used.
    pub fn idle_s(&self, session: &Session) -> u64 {
        let used = session.usage.last_used_ms.load(Ordering::Relaxed);
        self.now_ms().saturating_sub(used) / 1000
    }

    pub(super) fn now_ms(&self) -> u64 {
        EARLIER.saturating_add(millis(self.epoch.elapsed()))
    }
}

impl Usage {
    fn is_idle(&self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    /// The lowest goes first.
    fn rank(&self) -> (bool, u64) {
        (
            self.used.load(Ordering::Relaxed),
            self.last_used_ms.load(Ordering::Relaxed),
        )
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
