//! The one code path of every transition: asked for, decided, used, taken back.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use keepgate_audit::Log;
use keepgate_call::{Call, Caller, Tenant};
use keepgate_store::{
    approvals::{
        ApprovalRow, ApprovalState, ApprovalStore, CallKey, Caps, DatabaseError, DecisionRow,
        GrantSession, Insertion, MAX_SEALED, REQUEST_RECORDED, Transition,
    },
    kill::Facts,
};
use tokio::sync::{Notify, OnceCell, watch};

use crate::{
    Attempt, CallDigest, FrozenCall, HeldPlace, Person, Settings,
    bound::BoundSessions,
    keyring::KeyState,
    outcome::{Denial, EndedUse, HeldEnd, Use},
    records,
    waiters::{HeldCalls, Waiters},
};

/// Longest frozen call, in bytes.
const MAX_PLAIN: usize = MAX_SEALED - 64;
/// Time in which requests of one caller are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Attempts to use an approval that others use at the same time.
const ATTEMPTS: usize = 4;
/// Time a call waits for the use of an identical one to end: its client has the reply a moment before the use is given up.
const END_OF_USE: Duration = Duration::from_millis(200);

/// Facts that approvals need of the gateway around them.
pub trait Surroundings: Send + Sync + 'static {
    /// The time, which does not go back.
    fn now(&self) -> SystemTime;

    /// The operator with this id as of now; `None` for one who may not approve (any more).
    fn person(&self, id: &str) -> Option<Person>;

    /// Whether an operator has, or had, this name.
    fn is_operator(&self, name: &str) -> bool;

    /// The id of a kill of what `facts` name that was set at `since` or later, also of one that has ended.
    fn killed(&self, facts: &Facts<'_>, since: SystemTime) -> Option<Arc<str>>;

    /// Differs after every kill that was set.
    fn kills(&self) -> (usize, Option<Arc<str>>);
}

/// Approvals of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Approvals(pub(crate) Arc<Inner>);

/// State shared by clones.
pub(crate) struct Inner {
    pub(crate) directory: PathBuf,
    pub(crate) store: ApprovalStore,
    pub(crate) key: Mutex<KeyState>,
    /// Requests that were cancelled since their key is lost.
    pub(crate) key_losses: AtomicU64,
    pub(crate) log: Log,
    pub(crate) surroundings: Arc<dyn Surroundings>,
    settings: ArcSwap<Settings>,
    /// Set once what an earlier process left was put right: before this one uses anything.
    pub(crate) resumed: OnceCell<()>,
    /// The kills up to which open requests were looked through.
    pub(crate) looked_through: Mutex<Option<(usize, Option<Arc<str>>)>>,
    /// Sessions that grants are bound to.
    pub(crate) bound: BoundSessions,
    /// Uses that have ended, until the store has them.
    pub(crate) ended: Mutex<Vec<EndedUse>>,
    /// Held while these are put into the store: whoever gets it finds all of them there that ended before.
    pub(crate) settling: tokio::sync::Mutex<()>,
    /// Held while the records of a request are written.
    pub(crate) recording: tokio::sync::Mutex<()>,
    /// Notified when a use ends.
    pub(crate) use_ended: Notify,
    /// Minute of the last removal of what is over.
    pub(crate) pruned_minute: AtomicU64,
    /// Those who wait for a transition.
    pub(crate) waiters: Waiters,
    /// Changes after a transition.
    pub(crate) changes: watch::Sender<()>,
    /// Calls that are held.
    held: Arc<HeldCalls>,
}

impl std::fmt::Debug for Approvals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Approvals").finish_non_exhaustive()
    }
}

/// Result of a request for an approval.
enum Asked {
    /// The caller is answered so.
    Answer(Denial),
    /// Somebody has decided meanwhile: look again.
    Decided,
    /// A use of this approval of the same call is under way.
    InUse(Arc<str>),
}

/// Result of an attempt to use an approval.
enum Taking {
    Taken(Use),
    /// It may not be used any more, and was taken back.
    Revoked,
    /// Another was quicker.
    Lost,
}

/// Milliseconds of Unix time.
pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time at these milliseconds.
pub(crate) fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn random_id(prefix: &str) -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(format!("{prefix}{:032x}", u128::from_ne_bytes(bytes)))
}

impl Approvals {
    /// The approvals of `state_directory`. Store and key are opened by the first use, so that neither a full disk nor a key that
    /// is gone ends a start.
    pub fn open(
        state_directory: &Path,
        log: Log,
        settings: Settings,
        surroundings: Arc<dyn Surroundings>,
    ) -> Self {
        Self(Arc::new(Inner {
            directory: state_directory.to_path_buf(),
            store: ApprovalStore::new(state_directory),
            key: Mutex::default(),
            key_losses: AtomicU64::new(0),
            log,
            surroundings,
            settings: ArcSwap::from_pointee(settings),
            resumed: OnceCell::new(),
            looked_through: Mutex::default(),
            bound: BoundSessions::default(),
            ended: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            recording: tokio::sync::Mutex::default(),
            use_ended: Notify::new(),
            pruned_minute: AtomicU64::new(0),
            waiters: Waiters::default(),
            changes: watch::Sender::new(()),
            held: Arc::default(),
        }))
    }

    /// Puts other settings in the place of those of now. Requests that wait keep their times.
    pub fn configure(&self, settings: Settings) {
        self.0.settings.store(Arc::new(settings));
    }

    /// The settings of now.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.settings.load_full()
    }

    /// Notified at the next transition of this approval: whoever waits gets this first and looks at the approval after.
    pub fn transition(&self, tenant: &Tenant, id: &Arc<str>) -> Arc<Notify> {
        self.0.waiters.of(tenant, id)
    }

    /// Place of a call that is to be held; `None` when as many are held as may be.
    pub fn hold(&self, caller: &Caller) -> Option<HeldPlace> {
        let settings = self.settings();
        let limits = (settings.held_calls, settings.held_calls_per_caller);
        self.0.held.enter(caller.principal(), limits)
    }

    /// Number of calls that are held.
    pub fn held(&self) -> usize {
        self.0.held.count()
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.0.surroundings.now()
    }

    pub(crate) fn ended_uses(&self) -> std::sync::MutexGuard<'_, Vec<EndedUse>> {
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one use of an approval of this call, or asks for one.
    ///
    /// # Errors
    /// [`Denial`] when there is none to use.
    pub async fn enter(
        &self,
        call: &Arc<Call>,
        frozen: FrozenCall,
        attempt: &dyn Attempt,
    ) -> Result<Use, Denial> {
        let entrant = (call, &frozen, attempt);
        self.resume().await.map_err(unavailable)?;
        let tenant = &call.caller.tenant;
        let digest = CallDigest::of(&*self.usable_key()?, tenant, &frozen);
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let session = self.session(attempt, &frozen, now)?;
            let key = CallKey {
                digest: digest.0,
                session,
            };
            let found = self.0.store.find(tenant, &key, millis(now)).await;
            let Some((row, decisions)) = found.map_err(unavailable)? else {
                match self.ask(tenant, key, &frozen, now).await {
                    Asked::Answer(denial) => return Err(denial),
                    Asked::Decided => {}
                    Asked::InUse(id) => self.end_of_use(tenant, digest, id).await?,
                }
                continue;
            };
            match row.state {
                ApprovalState::Approved => {
                    match self.take(&row, &decisions, entrant, now).await? {
                        Taking::Taken(used) => return Ok(used),
                        // It asks again.
                        Taking::Revoked => {}
                        Taking::Lost => self.is_over(tenant, &row.id).await?,
                    }
                }
                ApprovalState::Pending => return Err(pending(&row, now)),
                ApprovalState::Denied => return Err(denied(&row, now)),
                ApprovalState::Expired
                | ApprovalState::Cancelled
                | ApprovalState::Consumed
                | ApprovalState::Revoked => {}
            }
        }
        Err(Denial::Unavailable("others use this approval".into()))
    }

    /// Takes one use of the approval that a held call has waited for. Asks for no other: one that is over was decided, used
    /// by an identical call or ended, and its caller has to learn that.
    ///
    /// # Errors
    /// [`Denial`] when it cannot be used.
    pub async fn enter_held(
        &self,
        call: &Arc<Call>,
        frozen: FrozenCall,
        id: &Arc<str>,
        attempt: &dyn Attempt,
    ) -> Result<Use, Denial> {
        let entrant = (call, &frozen, attempt);
        let tenant = &call.caller.tenant;
        let digest = CallDigest::of(&*self.usable_key()?, tenant, &frozen);
        let ended = |end| Denial::Ended {
            id: Arc::clone(id),
            end,
        };
        for _ in 0..ATTEMPTS {
            let now = self.now();
            let found = self.0.store.get(tenant, id).await.map_err(unavailable)?;
            let (row, decisions) = found.ok_or_else(|| ended(HeldEnd::Expired))?;
            if row.digest != digest.0 {
                return Err(ended(HeldEnd::Changed));
            }
            match row.state {
                ApprovalState::Approved => {
                    match self.take(&row, &decisions, entrant, now).await? {
                        Taking::Taken(used) => return Ok(used),
                        Taking::Revoked => return Err(ended(HeldEnd::Changed)),
                        Taking::Lost => {}
                    }
                    if row.usable_until_ms.is_some_and(|end| end <= millis(now)) {
                        return Err(ended(HeldEnd::Expired));
                    }
                }
                ApprovalState::Pending if row.expires_ms > millis(now) => {
                    return Err(pending(&row, now));
                }
                ApprovalState::Pending | ApprovalState::Expired => {
                    return Err(ended(HeldEnd::Expired));
                }
                ApprovalState::Denied => return Err(denied(&row, now)),
                ApprovalState::Consumed => return Err(ended(HeldEnd::Used)),
                ApprovalState::Cancelled | ApprovalState::Revoked => {
                    return Err(ended(HeldEnd::Withdrawn));
                }
            }
        }
        Err(Denial::Unavailable("others use this approval".into()))
    }

    /// Waits a moment for the use of an identical call to end. While it may be given back nobody is asked: a yes and a no to the
    /// same call would stand next to each other.
    ///
    /// # Errors
    /// [`Denial::Ended`] when it goes on.
    async fn end_of_use(
        &self,
        tenant: &Tenant,
        digest: CallDigest,
        id: Arc<str>,
    ) -> Result<(), Denial> {
        let end = tokio::time::Instant::now() + END_OF_USE;
        loop {
            let mut ended = std::pin::pin!(self.0.use_ended.notified());
            ended.as_mut().enable();
            self.settle_ended().await.map_err(unavailable)?;
            let is_in_use = self.0.store.is_in_use(tenant, &digest.0).await;
            if !is_in_use.map_err(unavailable)? {
                return Ok(());
            }
            if tokio::time::timeout_at(end, ended).await.is_err() {
                let end = HeldEnd::Used;
                return Err(Denial::Ended { id, end });
            }
        }
    }

    /// Fails when the approval that another was quicker to take is used up: the loser of a race does not ask for another.
    async fn is_over(&self, tenant: &Tenant, id: &Arc<str>) -> Result<(), Denial> {
        let state = self.0.store.state(tenant, id).await.map_err(unavailable)?;
        if state == Some(ApprovalState::Consumed) {
            let (id, end) = (Arc::clone(id), HeldEnd::Used);
            return Err(Denial::Ended { id, end });
        }
        Ok(())
    }

    /// Takes a use of an approved request, after everything was checked again with what holds now.
    async fn take(
        &self,
        row: &ApprovalRow,
        decisions: &[DecisionRow],
        (call, frozen, attempt): (&Arc<Call>, &FrozenCall, &dyn Attempt),
        now: SystemTime,
    ) -> Result<Taking, Denial> {
        if let Some(begins_in) = not_yet(row, now) {
            let id = Arc::clone(&row.id);
            return Err(Denial::NotYet { id, begins_in });
        }
        let before = self.opened(row);
        let approved = self.approved(row, before.as_ref(), decisions, frozen);
        let holds = match self.still_holds(row, before.as_ref(), decisions, frozen) {
            Ok(()) => {
                let now = (frozen, attempt.evaluate(&approved));
                self.last_word(row, before.as_ref(), decisions, now)?
            }
            Err(changed) => Err(changed),
        };
        if let Err((code, message)) = holds {
            self.finish(row, None, (code, &message))
                .await
                .map_err(unavailable)?;
            return Ok(Taking::Revoked);
        }
        // What the log lacks did not happen: it is written by the next look.
        let has_request = row.recorded & REQUEST_RECORDED != 0;
        if !has_request || !decisions.iter().all(|it| it.is_recorded) {
            return Err(Denial::Unavailable(
                "the approval is not on record yet".into(),
            ));
        }
        let no_randomness = || Denial::Unavailable("no random bytes".into());
        let use_id = random_id("au_").ok_or_else(no_randomness)?;
        let decision_id = call.id.as_str();
        let session = self.session(attempt, frozen, now)?;
        let (tenant, store) = (&row.tenant, &self.0.store);
        let taken = store
            .consume(
                tenant,
                &row.id,
                (&use_id, decision_id),
                session,
                millis(now),
            )
            .await
            .map_err(unavailable)?;
        let Some((taken, before)) = taken.zip(before) else {
            return Ok(Taking::Lost);
        };
        let shown = before.shown();
        let used = Use::new(self, row, &use_id, call, (before.outline(), approved));
        taken.claim();
        // On record before it is made; else the use is given back as it is dropped.
        if !records::consumed(&self.0.log, row, frozen, (decision_id, &shown), now).await {
            return Err(Denial::Unavailable("the use is not recorded".into()));
        }
        Ok(Taking::Taken(used))
    }

    /// Number of the call's session, if anything is bound to it, or is to be.
    fn session(
        &self,
        attempt: &dyn Attempt,
        frozen: &FrozenCall,
        now: SystemTime,
    ) -> Result<Option<GrantSession>, Denial> {
        let session = attempt.session();
        let known = |session| match frozen.requirement.is_session_bound {
            true => self.0.bound.enter(session, now),
            false => self.0.bound.find(session, now),
        };
        let number = session.as_ref().and_then(known);
        if frozen.requirement.is_session_bound && number.is_none() {
            return Err(Denial::Unavailable("the session has ended".into()));
        }
        Ok(number)
    }

    /// Adds a request.
    async fn ask(
        &self,
        tenant: &Tenant,
        key: CallKey,
        frozen: &FrozenCall,
        now: SystemTime,
    ) -> Asked {
        let settings = self.settings();
        let row = match self.row(tenant, key, frozen, now) {
            Ok(row) => row,
            Err(denial) => return Asked::Answer(denial),
        };
        let caps = Caps {
            pending: settings.pending_per_caller,
            requests: settings.requests_per_minute,
            window_ms: u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX),
            all: Settings::MAX_PENDING,
            bytes: Settings::MAX_PENDING_BYTES,
            caller_bytes: Settings::MAX_PENDING_BYTES_PER_CALLER,
        };
        let targets = settings.targets_of(&frozen.requirement);
        let inserted = self.0.store.insert_notifying(row.clone(), targets, &caps);
        let inserted = match inserted.await {
            Ok(inserted) => inserted,
            Err(error) => return Asked::Answer(unavailable(error)),
        };
        Asked::Answer(match inserted {
            Insertion::Decided => return Asked::Decided,
            Insertion::InUse(id) => return Asked::InUse(id),
            Insertion::Inserted => {
                // On record before anybody hears of it.
                if records::requested(&self.0.log, &row, Some(frozen), now).await {
                    self.note_recorded(&row, &Transition::Requested).await;
                    self.0.changes.send_replace(());
                    pending(&row, now)
                } else {
                    Denial::Unavailable("the request is not recorded yet".into())
                }
            }
            Insertion::Joined(id) => Denial::Pending {
                id,
                expires_in: Duration::from_secs(frozen.requirement.ttl_s),
            },
            Insertion::PendingCap => {
                Denial::Limit("approvals.pending_per_caller", Duration::from_secs(60))
            }
            Insertion::BytesCap => Denial::Limit("approvals.pending_bytes_per_caller", WINDOW),
            Insertion::RateCap => Denial::Limit("approvals.requests_per_minute", WINDOW),
            Insertion::Full => Denial::Limit("approvals.pending", WINDOW),
        })
    }

    fn row(
        &self,
        tenant: &Tenant,
        call: CallKey,
        frozen: &FrozenCall,
        now: SystemTime,
    ) -> Result<ApprovalRow, Denial> {
        let failed = |what: &'static str| Denial::Unavailable(what.into());
        let key = self.usable_key()?;
        let id = random_id("ap_").ok_or_else(|| failed("no random bytes"))?;
        let plain =
            serde_json::to_vec(frozen).map_err(|error| Denial::Unavailable(error.into()))?;
        if plain.len() > MAX_PLAIN {
            return Err(failed("the request is too long to be shown to anybody"));
        }
        let sealed = key.seal(tenant, &id, &plain);
        let created_ms = millis(now);
        let requirement = &frozen.requirement;
        Ok(ApprovalRow {
            tenant: tenant.clone(),
            id: id.into(),
            digest: call.digest,
            caller: CallDigest::of_caller(&key, tenant, frozen),
            state: ApprovalState::Pending,
            created_ms,
            expires_ms: created_ms.saturating_add(requirement.ttl_s.saturating_mul(1000)),
            decided_ms: None,
            usable_until_ms: None,
            not_before_ms: requirement.not_before_ms(),
            session: call.session.filter(|_| requirement.is_session_bound),
            uses_left: requirement.uses,
            cooldown_until_ms: None,
            end: None,
            recorded: 0,
            key_id: key.id().into(),
            sealed: sealed.ok_or_else(|| failed("the request cannot be sealed"))?,
        })
    }

    /// The frozen call of a row; `None` when the key it was sealed with is lost.
    pub(crate) fn opened(&self, row: &ApprovalRow) -> Option<FrozenCall> {
        let plain = self.key()?.open_row(&row.tenant, &row.id, &row.sealed)?;
        serde_json::from_slice(&plain).ok()
    }
}

pub(crate) fn unavailable(error: DatabaseError) -> Denial {
    Denial::Unavailable(error.into())
}

/// Time until an approval may be used, when that has not come.
fn not_yet(row: &ApprovalRow, now: SystemTime) -> Option<Duration> {
    let begins_ms = row.not_before_ms.unwrap_or_default();
    let left = begins_ms.saturating_sub(millis(now));
    (left > 0).then(|| Duration::from_millis(left))
}

fn denied(row: &ApprovalRow, now: SystemTime) -> Denial {
    let until = row.cooldown_until_ms.unwrap_or_default();
    Denial::Denied {
        id: Arc::clone(&row.id),
        again_in: Duration::from_millis(until.saturating_sub(millis(now))),
    }
}

fn pending(row: &ApprovalRow, now: SystemTime) -> Denial {
    Denial::Pending {
        id: Arc::clone(&row.id),
        expires_in: Duration::from_millis(row.expires_ms.saturating_sub(millis(now))),
    }
}

#[cfg(test)]
mod tests;
