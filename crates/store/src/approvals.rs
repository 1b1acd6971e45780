//! Approvals: requests that wait for a person, their decisions, and each use of a yes.
//!
//! Every transition is one statement that names the state it starts from, so of two that race exactly one happens; it is
//! durable (`synchronous=FULL`) when the function returns. The file is separate from that of the kills, since agents cause
//! its writes. Nothing of what was asked for can be read here: it is sealed by the crate `approval`.

mod database;
mod rows;
mod transaction;
mod upkeep;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use keepgate_call::Tenant;
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use self::database::Database;
pub use crate::sql::DatabaseError;

/// Name of the database in the state directory.
pub const FILE: &str = "approvals.db";
/// The files of the database.
pub const FILES: [&str; 3] = ["approvals.db-shm", "approvals.db-wal", FILE];
/// Longest sealed part of a row, in bytes: a request of 1 MiB, and as much again for its form.
pub const MAX_SEALED: usize = 2 * 1024 * 1024;

/// State of a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    /// Waits for a decision.
    Pending,
    /// May be used, until its time or its uses are over.
    Approved,
    /// Denied.
    Denied,
    /// Its time was over before a decision, or before the last use.
    Expired,
    /// Ended before a decision: by a kill, an operator, or because its key is lost.
    Cancelled,
    /// Used as often as it may be.
    Consumed,
    /// Taken back after it was approved.
    Revoked,
}

impl ApprovalState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Consumed,
        Self::Revoked,
    ];

    /// The word of the database, the API and the records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Consumed => "consumed",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A request as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// The tenant, first part of every key.
    pub tenant: Tenant,
    /// The id, `ap_` and random letters.
    pub id: Arc<str>,
    /// Digest of the call.
    pub digest: [u8; 32],
    /// Digest of the caller, by which limits are counted.
    pub caller: [u8; 32],
    /// The state.
    pub state: ApprovalState,
    /// Time of the request.
    pub created_ms: u64,
    /// End of the wait for a decision.
    pub expires_ms: u64,
    /// Time of the decision.
    pub decided_ms: Option<u64>,
    /// End of its use.
    pub usable_until_ms: Option<u64>,
    /// Uses that are left.
    pub uses_left: u32,
    /// End of the time in which an equal request is denied at once.
    pub cooldown_until_ms: Option<u64>,
    /// Transitions that are in the audit log; bits of the crate `approval`.
    pub recorded: u32,
    /// Id of the key it is sealed with.
    pub key_id: Box<str>,
    /// Everything else, sealed.
    pub sealed: Box<[u8]>,
}

/// One operator's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    /// Name of the operator.
    pub operator: Box<str>,
    /// Whether it is a yes.
    pub approves: bool,
    /// Time of it.
    pub decided_ms: u64,
    /// Digest of what the operator was shown.
    pub shown: Box<str>,
    /// The operator's reason.
    pub reason: Box<str>,
}

/// Limits under which a request is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Open requests of a caller.
    pub pending: u32,
    /// Requests of a caller in `window_ms`.
    pub requests: u32,
    /// Time in which they are counted, in milliseconds.
    pub window_ms: u64,
    /// Pending requests of everybody.
    pub all: u32,
    /// Sealed bytes of these.
    pub bytes: u64,
}

/// Result of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Insertion {
    /// It waits for a decision now.
    Inserted,
    /// An identical one waits already, with this id.
    Joined(Arc<str>),
    /// The caller has as many open requests as it may.
    PendingCap,
    /// The caller made as many requests lately as it may.
    RateCap,
    /// As many requests are open as may be.
    Full,
}

/// Result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It counts. The row as it is now.
    Counted(Box<ApprovalRow>),
    /// The operator has decided before.
    Twice,
    /// It is not pending any more: its state.
    Closed(ApprovalState),
    /// There is none with this id.
    Unknown,
}

/// Terms of a decision, from the policy and the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Time for which a yes may be used, in milliseconds.
    pub valid_ms: u64,
    /// Time after a no in which an equal request is denied at once, in milliseconds.
    pub cooldown_ms: u64,
}

/// The store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApprovalStore(Arc<Mutex<Connection>>);

/// The database, once it could be opened.
#[derive(Debug)]
struct Connection {
    directory: PathBuf,
    database: Option<Database>,
}

impl ApprovalStore {
    /// The open database, while nobody else uses it. One that could not be opened is tried again each time: a full disk may have room again. One that
    /// was removed or replaced while it was open is not: an older copy would bring back what was used.
    async fn database(&self) -> Result<MappedMutexGuard<'_, Database>, DatabaseError> {
        let mut connection = self.0.lock().await;
        if let Some(database) = &mut connection.database {
            database.reset().await;
        } else {
            connection.database = Some(Database::open(&connection.directory).await?);
        }
        let opened = MutexGuard::try_map(connection, |connection| connection.database.as_mut());
        opened.map_err(|_never_closed| DatabaseError::Slow)
    }
}

/// Part of a list.
#[derive(Debug, Clone)]
pub struct PageQuery {
    /// States that are wanted; empty for all.
    pub states: Vec<ApprovalState>,
    /// The last row of the page before: its time and id.
    pub after: Option<(u64, Arc<str>)>,
    /// Most rows.
    pub limit: u32,
}

impl ApprovalStore {
    /// The store in `state_directory`. The database is opened, made when there is none, and brought up to date by the first
    /// use.
    pub fn new(state_directory: &Path) -> Self {
        Self(Arc::new(Mutex::new(Connection {
            directory: state_directory.to_path_buf(),
            database: None,
        })))
    }

    /// The row that decides over a call with this digest: one that may be used, else one that is pending, else a denial
    /// whose cool-down lasts. With the decisions on it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn find(
        &self,
        tenant: &Tenant,
        digest: &[u8; 32],
        now_ms: u64,
    ) -> Result<Option<(ApprovalRow, Vec<DecisionRow>)>, DatabaseError> {
        self.database().await?.find(tenant, digest, now_ms).await
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
        self.database().await?.get(tenant, id).await
    }

    /// Adds a request, unless an identical one is open or a limit is reached.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn insert(&self, row: &ApprovalRow, caps: &Caps) -> Result<Insertion, DatabaseError> {
        self.database().await?.insert(row, caps).await
    }

    /// Counts a decision; the request is approved once all decisions so far are enough, and denied with the first no.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn decide(
        &self,
        tenant: &Tenant,
        id: &str,
        decision: &DecisionRow,
        terms: &Terms,
        is_enough: impl Fn(&[DecisionRow]) -> bool + Send,
    ) -> Result<Decided, DatabaseError> {
        self.database()
            .await?
            .decide(tenant, id, decision, terms, is_enough)
            .await
    }

    /// Takes one use of an approved request. `false` when another was quicker, or its time is over.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn consume(
        &self,
        tenant: &Tenant,
        id: &str,
        use_id: &str,
        decision_id: &str,
        now_ms: u64,
    ) -> Result<bool, DatabaseError> {
        self.database()
            .await?
            .consume(tenant, id, use_id, decision_id, now_ms)
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
        self.database()
            .await?
            .settle(tenant, use_id, released, now_ms)
            .await
    }

    /// Ends an open request: a pending one is cancelled, an approved one revoked. Its new state; `None` when it is not open.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn end(
        &self,
        tenant: &Tenant,
        id: &str,
        now_ms: u64,
    ) -> Result<Option<ApprovalState>, DatabaseError> {
        self.database().await?.end(tenant, id, now_ms).await
    }

    /// Expires what is due, at most `limit` rows. Those that expired.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn expire(&self, now_ms: u64, limit: u32) -> Result<Vec<ApprovalRow>, DatabaseError> {
        self.database().await?.expire(now_ms, limit).await
    }

    /// Some open requests, pending or approved, in the order of tenant and id, those that follow `after`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn open_rows(
        &self,
        after: Option<&(Tenant, Arc<str>)>,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        self.database().await?.open_rows(after, limit).await
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
        self.database().await?.page(tenant, query).await
    }

    /// Uses of an earlier process whose end is not known become indeterminate. Their requests.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn abandon_uses(&self, now_ms: u64) -> Result<Vec<ApprovalRow>, DatabaseError> {
        self.database().await?.abandon_uses(now_ms).await
    }

    /// Notes that transitions of a request are in the audit log.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn note_recorded(
        &self,
        tenant: &Tenant,
        id: &str,
        bits: u32,
    ) -> Result<(), DatabaseError> {
        self.database().await?.note_recorded(tenant, id, bits).await
    }

    /// Some open requests that lack one of these bits: pending ones the first, approved ones any.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn unrecorded(
        &self,
        requested: u32,
        decided: u32,
        limit: u32,
    ) -> Result<Vec<ApprovalRow>, DatabaseError> {
        self.database()
            .await?
            .unrecorded(requested, decided, limit)
            .await
    }

    /// Number of pending and of approved requests.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn counts(&self) -> Result<(u64, u64), DatabaseError> {
        self.database().await?.counts().await
    }

    /// Removes the oldest of what has ended until their sealed parts have at most `bytes`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune_to(&self, bytes: u64) -> Result<u64, DatabaseError> {
        self.database().await?.prune_to(bytes).await
    }

    /// Removes what ended before `before_ms`, at most `limit` rows.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn prune(&self, before_ms: u64, limit: u32) -> Result<u64, DatabaseError> {
        self.database().await?.prune(before_ms, limit).await
    }
}

#[cfg(test)]
mod tests;
