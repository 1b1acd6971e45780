//! The kill switch: what is cut off, since when, by whom and why.
//!
//! [`Switch`] is the live set: every call registers with it and learns at once whether it is cut off, then or while it
//! runs. It holds nothing but memory, so it works whatever becomes of disks. [`Ledger`] makes it last, in a database and in
//! [`KillFile`].

mod entry;
mod file;
mod index;
mod ledger;
mod offline;
mod registry;
mod remains;
mod scope;
mod switch;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub use entry::{Clear, Entry, Set, text};
pub use file::{Content, Damage, FileError, KillFile};
pub use keepgate_call::Tenant;
pub(crate) use ledger::Acts;
pub use ledger::{Act, ActError, Done, Durable, Event, Health, Ledger};
use ledger::{EXPIRED, OURSELVES};
pub use registry::{Age, Blast, CallEnd, CutStream, Running};
pub use remains::Remains;
pub use scope::{CLIENT, Facts, GRANT, KEY, Scope, ScopeError, is_nameable};
pub use switch::{Applied, Switch, Ticket};

/// Longest reason, in bytes.
pub const LONGEST_REASON: usize = 1024;
/// The longest a kill that ends by itself may last; one for longer needs no end.
pub const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// One thing that is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Its id: `k_` and 16 hexadecimal letters. Told to whoever is cut off, so that an operator finds the rest.
    pub id: Arc<str>,
    /// What is cut off.
    pub scope: Scope,
    /// Only of this tenant; `None` for all of them.
    pub tenant: Option<Tenant>,
    /// Why, in the operator's words. For operators and records, never for clients.
    pub reason: Arc<str>,
    /// The operator who set it.
    pub by: Arc<str>,
    /// When.
    pub set_at: SystemTime,
    /// When it ends by itself, if it does.
    pub expires_at: Option<SystemTime>,
    /// The same on the clock that nobody can set; computed when the kill is set or loaded.
    pub deadline: Option<Instant>,
    /// How it ended, if somebody ended it.
    pub cleared: Option<Cleared>,
}

/// How a kill ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// When.
    pub at: SystemTime,
    /// By which operator.
    pub by: Arc<str>,
    /// Why.
    pub reason: Arc<str>,
}

/// What an operator wants cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// What.
    pub scope: Scope,
    /// Only of this tenant; `None` for all of them.
    pub tenant: Option<Tenant>,
    /// Why.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// After how long it ends by itself.
    pub lasts: Option<Duration>,
}

/// Why a wish cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WishError {
    /// There is no reason, or it is too long or has control characters.
    #[error("a reason of 1 to {LONGEST_REASON} bytes without control characters is needed: `{0}`")]
    Reason(String),
    /// It would end at once or in an unreasonable time.
    #[error("a kill may last from 1 second to 365 days: `{0:?}`")]
    Life(Duration),
    /// The system gave no random bytes.
    #[error("failed to read random bytes from the system")]
    Random,
}

/// Whether a text can stand as a reason.
pub(crate) fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST_REASON && !text.chars().any(char::is_control)
}

impl Kill {
    /// Makes the kill a wish asks for.
    ///
    /// # Errors
    /// [`WishError`] when it cannot be taken as it is.
    pub fn new(wish: Wish, now: SystemTime) -> Result<Self, WishError> {
        if !is_reason(&wish.reason) {
            return Err(WishError::Reason(wish.reason));
        }
        if let Some(lasts) = wish.lasts
            && !(Duration::from_secs(1)..=LONGEST_LIFE).contains(&lasts)
        {
            return Err(WishError::Life(lasts));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(|_| WishError::Random)?;
        Ok(Self {
            id: format!("k_{:016x}", u64::from_be_bytes(random)).into(),
            scope: wish.scope,
            tenant: wish.tenant,
            reason: wish.reason.into(),
            by: wish.by.into(),
            set_at: now,
            expires_at: wish.lasts.and_then(|lasts| now.checked_add(lasts)),
            deadline: wish
                .lasts
                .and_then(|lasts| Instant::now().checked_add(lasts)),
            cleared: None,
        })
    }

    /// Whether it cuts anything off at `now`.
    pub fn is_in_force(&self, now: Instant) -> bool {
        self.cleared.is_none() && self.deadline.is_none_or(|deadline| now < deadline)
    }

    /// Whether it cuts off what `facts` say.
    pub fn covers(&self, facts: &Facts<'_>) -> bool {
        self.tenant
            .as_ref()
            .is_none_or(|tenant| tenant.as_str() == facts.tenant)
            && self.scope.covers(facts)
    }

    /// Whether it also cuts off all that `other` does.
    pub fn is_wider(&self, other: &Self) -> bool {
        let of_all = self.tenant.is_none() || self.tenant == other.tenant;
        of_all && (self.scope == Scope::Everything || self.scope == other.scope)
    }

    /// How it stands, for lists.
    pub fn state(&self, now: Instant) -> State {
        match (&self.cleared, self.is_in_force(now)) {
            (Some(cleared), _) if &*cleared.by == OURSELVES && &*cleared.reason == EXPIRED => {
                State::Expired
            }
            (Some(_), _) => State::Cleared,
            (None, true) => State::Active,
            (None, false) => State::Expired,
        }
    }
}

/// How a kill stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It cuts off.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Cleared,
}

impl State {
    /// The word for lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Cleared => "cleared",
        }
    }
}

impl fmt::Display for Kill {
    /// What a client may know: the id and the kind of scope.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.id, self.scope.word())
    }
}
