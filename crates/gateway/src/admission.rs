//! Callers that are admitted now: the authenticator in use, which a reload replaces.
//!
//! A call is admitted at the edge and looked up here once more after it has registered with the kill switch. Whoever
//! replaces the authenticator, or reloads its keys, ends the registered calls afterwards. Whichever comes second sees the
//! other, so no call goes on that slipped in between.

use std::{fmt, sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use keepgate_authn::{Authenticator, KeyState, StoreError};
use keepgate_call::{Caller, Principal};
use tokio::sync::Notify;

/// The authenticator in use.
pub struct Admission {
    current: ArcSwap<Authenticator>,
    replaced: Notify,
}

impl Admission {
    /// An admission by `authenticator`.
    pub fn new(authenticator: Arc<Authenticator>) -> Self {
        Self {
            current: ArcSwap::new(authenticator),
            replaced: Notify::new(),
        }
    }

    /// The authenticator in use.
    pub fn current(&self) -> Arc<Authenticator> {
        self.current.load_full()
    }

    /// Replaces the authenticator: from now on calls whose caller it does not admit are refused.
    pub(crate) fn replace(&self, next: Arc<Authenticator>) {
        self.current.store(next);
        self.replaced.notify_waiters();
    }

    /// Reads the API keys again. Gives their number.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be used; the keys known so far then stay.
    pub fn reload(&self) -> Result<usize, StoreError> {
        self.current.load().reload()
    }

    /// The state of the keys, where callers have any.
    pub fn key_state(&self, now: SystemTime) -> Option<KeyState> {
        self.current.load().key_state(now)
    }

    /// Whether a caller that was let in before is admitted still.
    pub fn admits(&self, caller: &Caller) -> bool {
        self.current.load().admits(caller)
    }

    /// Whether a principal is admitted still, with whichever credential.
    pub fn admits_principal(&self, principal: &Principal) -> bool {
        self.current.load().admits_principal(principal)
    }

    /// Keeps what tokens are checked with up to date, of the authenticator in use. Runs until it is dropped.
    pub async fn keep_fresh(&self) {
        loop {
            // Before the authenticator is looked at, so that no replacement goes unnoticed.
            let mut replaced = std::pin::pin!(self.replaced.notified());
            replaced.as_mut().enable();
            let current = self.current();
            let fresh = async {
                current.keep_fresh().await;
                // There are no tokens.
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = replaced => {}
                () = fresh => {}
            }
        }
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
