//! Approvals: requests that wait for a person, their decisions, and each use of a yes.
//!
//! Every transition is one statement that names the state it starts from, so of two that race exactly one happens; it is
//! durable (`synchronous=FULL`) when the function returns. The file is separate from that of the kills, since agents cause
//! its writes. Nothing of what was asked for can be read here: it is sealed by the crate `approval`.
//!
//! An operation runs in a task of its own and always to its end: a caller that stops waiting, or is gone, must not leave a
//! commit behind whose outcome nobody learns. [`DatabaseError::OutcomeUnknown`] is the answer until then.

mod database;
mod model;
mod notices;
mod recorded;
mod rows;
mod shares;
mod statements;
mod transaction;
mod upkeep;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex as StdMutex},
};

use keepgate_call::Tenant;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::database::Database;
pub use self::model::{
    ActiveKey, ApprovalEnd, ApprovalRow, ApprovalState, CallKey, Caps, Decided, DecisionRow, Doubt,
    GrantSession, Insertion, PageQuery, Resealed, Terms, Transition,
};
pub use self::notices::{NoticeRow, NoticeSent};
use crate::locked;
pub use crate::sql::DatabaseError;
use crate::sql::PATIENCE;

/// Name of the database in the state directory.
pub const FILE: &str = "approvals.db";
/// The files of the database.
pub const FILES: [&str; 3] = ["approvals.db-shm", "approvals.db-wal", FILE];
/// Longest sealed part of a row, in bytes: a request of 1 MiB, and as much again for its form.
pub const MAX_SEALED: usize = 2 * 1024 * 1024;
/// Bit of [`ApprovalRow::recorded`]: the request is in the audit log.
pub const REQUEST_RECORDED: u32 = 0b001;
/// Bit of [`ApprovalRow::recorded`]: the end is in the audit log.
pub const END_RECORDED: u32 = 0b100;
/// Reason the outcome of a use is not known that an earlier process left.
const LEFT: &str = "the gateway ended during the call";
/// Reason the outcome of a use is not known that was taken or not.
const FAILED: &str = "the store failed as the use was taken";
/// Uses whose outcome is to be found out; beyond it the next start finds them.
const MAX_DOUBTFUL: usize = 10_000;

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApprovalStore {
    connection: Arc<Mutex<Connection>>,
    loose: Arc<StdMutex<LooseUses>>,
}

/// Uses of calls that are not made.
#[derive(Debug, Default)]
struct LooseUses {
    /// Taken after the caller had gone.
    unclaimed: Vec<(Tenant, Box<str>)>,
    /// Taken or not: the store has failed.
    doubtful: Vec<(Tenant, Box<str>)>,
}

/// A use that was taken. Unless it is claimed no call is made with it, and it is given back.
#[derive(Debug)]
pub struct TakenUse {
    loose: Arc<StdMutex<LooseUses>>,
    unclaimed: Option<(Tenant, Box<str>)>,
}

impl TakenUse {
    /// Takes it over: from now on whoever makes the call settles it.
    pub fn claim(mut self) {
        self.unclaimed = None;
    }
}

impl Drop for TakenUse {
    fn drop(&mut self) {
        if let Some(it) = self.unclaimed.take() {
            locked(&self.loose).unclaimed.push(it);
        }
    }
}

/// The database, once it could be opened.
#[derive(Debug)]
struct Connection {
    directory: PathBuf,
    database: Option<Database>,
}

impl Connection {
    /// The open database. One that could not be opened is tried again each time: a full disk may have room again. One that
    /// was removed or replaced while it was open is not: an older copy would bring back what was used.
    async fn database(&mut self) -> Result<&mut Database, DatabaseError> {
        if let Some(database) = &mut self.database {
            database.reset().await;
        } else {
            self.database = Some(Database::open(&self.directory).await?);
        }
        self.database.as_mut().ok_or(DatabaseError::Slow)
    }
}

/// An operation on the open database.
type Act<'a, T> = Pin<Box<dyn Future<Output = Result<T, DatabaseError>> + Send + 'a>>;

impl ApprovalStore {
    /// The store in `state_directory`. The database is opened, made when there is none, and brought up to date by the first
    /// use.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            connection: Arc::new(Mutex::new(Connection {
                directory: state_directory.to_path_buf(),
                database: None,
            })),
            loose: Arc::default(),
        }
    }

    /// The connection, while nobody else uses it. Waited for in the caller's own task: behind a disk that hangs, calls must
    /// not pile up.
    async fn connection(&self) -> Result<OwnedMutexGuard<Connection>, DatabaseError> {
        let waiting = Arc::clone(&self.connection).lock_owned();
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.map_err(|_elapsed| DatabaseError::Slow)
    }

    /// Runs an operation to its end, whether or not anybody waits for it, and gives what came of it.
    async fn run<T: Send + 'static>(
        &self,
        act: impl for<'a> FnOnce(&'a mut Database) -> Act<'a, T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let mut connection = self.connection().await?;
        let task = tokio::spawn(async move { act(connection.database().await?).await });
        task.await.unwrap_or(Err(DatabaseError::OutcomeUnknown))
    }

    /// As [`Self::run`], and waited for a short time only.
    async fn run_soon<T: Send + 'static>(
        &self,
        act: impl for<'a> FnOnce(&'a mut Database) -> Act<'a, T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let done = tokio::time::timeout(PATIENCE, self.run(act)).await;
        done.unwrap_or(Err(DatabaseError::OutcomeUnknown))
    }

    /// The row that decides over a call with this digest: one that may be used, else one that is pending, else a denial
    /// whose cool-down lasts. With the decisions on it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn find(
        &self,
        tenant: &Tenant,
        call: &CallKey,
        now_ms: u64,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        let (tenant, call) = (tenant.clone(), *call);
        self.run_soon(move |it| Box::pin(async move { it.find(&tenant, &call, now_ms).await }))
            .await
    }

    /// Whether a use of a request with this digest is under way and may be given back.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn is_in_use(
        &self,
        tenant: &Tenant,
        digest: &[u8; 32],
    ) -> Result<bool, DatabaseError> {
        let (tenant, digest) = (tenant.clone(), *digest);
        self.run_soon(move |it| Box::pin(async move { it.in_use(&tenant, &digest).await }))
            .await
    }

    /// The row with this id, and the decisions on it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn get(
        &self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        let (tenant, id): (_, Box<str>) = (tenant.clone(), id.into());
        self.run_soon(move |it| Box::pin(async move { it.get(&tenant, &id).await }))
            .await
    }

    /// The state of the row with this id.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn state(
        &self,
        tenant: &Tenant,
        id: &str,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        let (tenant, id): (_, Box<str>) = (tenant.clone(), id.into());
        self.run_soon(move |it| Box::pin(async move { it.state(&tenant, &id).await }))
            .await
    }

    /// Adds a request, unless an identical one is open, decided over or in use, or a limit is reached.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn insert(&self, row: ApprovalRow, caps: &Caps) -> Result<Insertion, DatabaseError> {
        self.insert_notifying(row, Vec::new(), caps).await
    }

    /// Counts a decision; the request is approved once all decisions so far are enough, and denied with the first no, which
    /// takes back every yes to the same call. Waits for as long as it takes: who must not wait so long runs it in a task.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn decide(
        &self,
        tenant: &Tenant,
        id: &str,
        decision: DecisionRow,
        terms: &Terms,
        is_enough: impl Fn(&[DecisionRow]) -> bool + Send + Sync + 'static,
    ) -> Result<Decided, DatabaseError> {
        let (tenant, id, terms): (_, Box<str>, _) = (tenant.clone(), id.into(), *terms);
        self.run(move |it| {
            Box::pin(async move {
                let decided = it.decide(&tenant, &id, &decision, &terms, &is_enough).await;
                if let Err(error) = decided {
                    // A commit that failed may have happened: the row knows.
                    it.reset().await;
                    return it.decided(&tenant, &id, &decision, error).await;
                }
                decided
            })
        })
        .await
    }

    /// Takes one use of an approved request. `None` when another was quicker, or its time is over.
    ///
    /// # Errors
    /// [`DatabaseError`]; the call must not be made then. A use that was taken all the same is found by
    /// [`Self::abandon_doubtful`] where the store has failed, and by [`Self::unclaimed`] where it was slow.
    pub async fn consume(
        &self,
        tenant: &Tenant,
        id: &str,
        (use_id, decision_id): (&str, &str),
        session: Option<GrantSession>,
        now_ms: u64,
    ) -> Result<Option<TakenUse>, DatabaseError> {
        let (id, decision_id): (Box<str>, Box<str>) = (id.into(), decision_id.into());
        let (tenant, use_id): (_, Box<str>) = (tenant.clone(), use_id.into());
        let loose = Arc::clone(&self.loose);
        self.run_soon(move |it| {
            Box::pin(async move {
                let taken = it
                    .consume(&tenant, &id, (&use_id, &decision_id), session, now_ms)
                    .await;
                if taken.is_err() {
                    let mut loose = locked(&loose);
                    if loose.doubtful.len() < MAX_DOUBTFUL {
                        loose.doubtful.push((tenant.clone(), use_id.clone()));
                    }
                }
                let unclaimed = Some((tenant, use_id));
                Ok(taken?.then_some(TakenUse { loose, unclaimed }))
            })
        })
        .await
    }

    /// Takes out the uses that were taken for callers who had gone.
    pub fn unclaimed(&self) -> Vec<(Tenant, Box<str>)> {
        std::mem::take(&mut locked(&self.loose).unclaimed)
    }

    /// Lets the call of a use go to its server: whoever takes the request back after this is too late. `false` when that, or the
    /// end of its time, has come first.
    ///
    /// # Errors
    /// [`DatabaseError`]; the call must not be sent then.
    pub async fn send(
        &self,
        tenant: &Tenant,
        use_id: &str,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        let (tenant, use_id): (_, Box<str>) = (tenant.clone(), use_id.into());
        self.run_soon(move |it| Box::pin(async move { it.send(&tenant, &use_id, now_ms).await }))
            .await
    }

    /// Ends a use: `released` when the call was sent, else it is given back, as long as the request may be used.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn settle(
        &self,
        tenant: &Tenant,
        use_id: &str,
        released: bool,
        now_ms: u64,
    ) -> Result<(), DatabaseError> {
        let (tenant, use_id): (_, Box<str>) = (tenant.clone(), use_id.into());
        self.run_soon(move |it| {
            Box::pin(async move { it.settle(&tenant, &use_id, released, now_ms).await })
        })
        .await
    }

    /// Ends an open request: a pending one is cancelled, an approved one revoked. Its new state; `None` when it is not open.
    /// Waits for as long as it takes.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn end(
        &self,
        tenant: &Tenant,
        id: &str,
        end: ApprovalEnd,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        let (tenant, id): (_, Box<str>) = (tenant.clone(), id.into());
        self.run(move |it| Box::pin(async move { it.end(&tenant, &id, &end).await }))
            .await
    }

    /// Expires what is due of a tenant, at most `limit` rows of each state. The ids of those that expired.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn expire(
        &self,
        tenant: &Tenant,
        now_ms: u64,
        limit: u32,
    ) -> Result<Vec<Arc<str>>, DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| Box::pin(async move { it.expire(&tenant, now_ms, limit).await }))
            .await
    }

    /// Some open requests of a tenant, pending or approved, in the order of their ids, those that follow `after`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_rows(
        &self,
        tenant: &Tenant,
        after: &str,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let (tenant, after): (_, Box<str>) = (tenant.clone(), after.into());
        self.run(move |it| Box::pin(async move { it.open_rows(&tenant, &after, limit).await }))
            .await
    }

    /// Open requests of a tenant that are bound to sessions, at most `limit`, with these.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn bound(
        &self,
        tenant: &Tenant,
        limit: u32,
    ) -> Result<Vec<(Arc<str>, GrantSession)>, DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| Box::pin(async move { it.bound(&tenant, limit).await }))
            .await
    }

    /// One page of a tenant's requests, newest first.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn page(
        &self,
        tenant: &Tenant,
        query: &PageQuery,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let (tenant, query) = (tenant.clone(), query.clone());
        self.run_soon(move |it| Box::pin(async move { it.page(&tenant, &query).await }))
            .await
    }

    /// Uses of an earlier process whose end is not known become indeterminate; [`Self::unrecorded`] has them until they are
    /// reported.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn abandon_uses(&self, now_ms: u64) -> Result<(), DatabaseError> {
        self.run(move |it| Box::pin(async move { it.abandon_uses(LEFT, now_ms).await }))
            .await
    }

    /// Looks at the uses that may have been taken although their call was refused: what was taken becomes indeterminate.
    ///
    /// # Errors
    /// [`DatabaseError`]; they are looked at again.
    pub async fn abandon_doubtful(&self, now_ms: u64) -> Result<(), DatabaseError> {
        loop {
            let Some((tenant, use_id)) = locked(&self.loose).doubtful.pop() else {
                return Ok(());
            };
            let (of, its) = (tenant.clone(), use_id.clone());
            let abandoned = self.run(move |it| {
                Box::pin(async move { it.abandon_use(&of, &its, FAILED, now_ms).await })
            });
            if let Err(error) = abandoned.await {
                locked(&self.loose).doubtful.push((tenant, use_id));
                return Err(error);
            }
        }
    }

    /// Notes that a transition of a request is in the audit log.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn note_recorded(
        &self,
        tenant: &Tenant,
        id: &str,
        transition: &Transition,
    ) -> Result<(), DatabaseError> {
        let (tenant, id): (_, Box<str>) = (tenant.clone(), id.into());
        let transition = transition.clone();
        self.run_soon(move |it| {
            Box::pin(async move { it.note_recorded(&tenant, &id, &transition).await })
        })
        .await
    }

    /// Uses of a request whose outcome nobody knows, and which are not in the audit log.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn doubts(&self, tenant: &Tenant, id: &str) -> Result<Vec<Doubt>, DatabaseError> {
        let (tenant, id): (_, Box<str>) = (tenant.clone(), id.into());
        self.run(move |it| Box::pin(async move { it.doubts(&tenant, &id).await }))
            .await
    }

    /// Ids of some requests of a tenant whose transitions so far are not all in the audit log.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn unrecorded(
        &self,
        tenant: &Tenant,
        limit: u32,
    ) -> Result<Vec<Arc<str>>, DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| Box::pin(async move { it.unrecorded(&tenant, limit).await }))
            .await
    }

    /// Number of requests by tenant and state.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn totals(&self) -> Result<Vec<(Tenant, ApprovalState, u64)>, DatabaseError> {
        self.run_soon(move |it| {
            Box::pin(async move {
                let totals = it.totals().await?;
                Ok(totals
                    .into_iter()
                    .map(|(tenant, state, requests, _bytes)| (tenant, state, requests))
                    .collect())
            })
        })
        .await
    }

    /// Removes what has ended of a tenant, the oldest of the callers with most, until their sealed parts have at most `bytes`, at
    /// most `limit` rows. A denial that still counts stays. Number of rows removed.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune_to(
        &self,
        tenant: &Tenant,
        bytes: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<u64, DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| {
            Box::pin(async move { it.prune_to(&tenant, bytes, now_ms, limit).await })
        })
        .await
    }

    /// Removes what ended of a tenant before `before_ms`, at most `limit` rows. Number of rows removed.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune(
        &self,
        tenant: &Tenant,
        before_ms: u64,
        now_ms: u64,
        limit: u32,
    ) -> Result<u64, DatabaseError> {
        let tenant = tenant.clone();
        self.run(move |it| {
            Box::pin(async move { it.prune(&tenant, before_ms, now_ms, limit).await })
        })
        .await
    }

    /// The key that seals the rows; `None` before the first.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn active_key(&self) -> Result<Option<ActiveKey>, DatabaseError> {
        self.run(move |it| Box::pin(async move { it.active_key().await }))
            .await
    }

    /// Makes a key the one that seals.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn use_key(&self, id: &str) -> Result<(), DatabaseError> {
        let id: Box<str> = id.into();
        self.run(move |it| Box::pin(async move { it.use_key(Some(&id)).await }))
            .await
    }

    /// Notes that the key is lost: another is used only when somebody makes one.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn lose_key(&self) -> Result<(), DatabaseError> {
        self.run(move |it| Box::pin(async move { it.use_key(None).await }))
            .await
    }

    /// Some requests of a tenant, in the order of their ids, that another key than this one has sealed.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn sealed_otherwise(
        &self,
        tenant: &Tenant,
        after: &str,
        key_id: &str,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        let (after, key_id): (Box<str>, Box<str>) = (after.into(), key_id.into());
        let tenant = tenant.clone();
        self.run(move |it| {
            Box::pin(async move { it.sealed_otherwise(&tenant, &after, &key_id, limit).await })
        })
        .await
    }

    /// Puts rows that were sealed again in the place of what they were, all or none.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn reseal(&self, rows: Vec<(ApprovalRow, Resealed)>) -> Result<(), DatabaseError> {
        self.run(move |it| Box::pin(async move { it.reseal(&rows).await }))
            .await
    }
}

#[cfg(test)]
mod plans;
#[cfg(test)]
mod tests;
