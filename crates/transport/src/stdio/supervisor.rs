//! Starts a process again when it has ended, but not faster than it deserves.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use super::ChildSettings;
use crate::duplex::{Connection, DuplexError, Reserve, Sharing};

/// How fast a process that ends is started again.
#[derive(Debug, Clone)]
pub struct Restart {
    /// The pause after the first end; doubled by every further one.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// A process that ran this long has done its duty: the pause begins anew.
    pub stable: Duration,
    /// A caller waits this long for a pause to end; for a longer one it is refused.
    pub patience: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            stable: Duration::from_secs(60),
            patience: Duration::from_secs(1),
        }
    }
}

/// Keeps one process for its callers; started when it is first asked for.
pub struct Supervisor {
    settings: ChildSettings,
    sharing: Sharing,
    restart: Restart,
    reserve: Option<Reserve>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<(Arc<Connection>, Instant)>,
    /// Ends in a row without a stable run.
    ends: u32,
    not_before: Option<Instant>,
}

impl Supervisor {
    /// Nothing is started yet.
    pub fn new(settings: ChildSettings, sharing: Sharing, restart: Restart) -> Self {
        Self {
            settings,
            sharing,
            restart,
            reserve: None,
            state: Mutex::default(),
        }
    }

    /// With a place to be taken before each start.
    #[must_use]
    pub fn reserving(self, reserve: Reserve) -> Self {
        Self {
            reserve: Some(reserve),
            ..self
        }
    }

    /// The running process, started if there is none.
    ///
    /// # Errors
    /// [`DuplexError::Full`], [`DuplexError::Spawn`], and [`DuplexError::BackingOff`] while the pause after an end is longer than the patience.
    pub async fn connection(&self) -> Result<Arc<Connection>, DuplexError> {
        // Held across the pause: callers queue here and share what the first of them starts.
        let mut state = self.state.lock().await;
        if let Some((connection, started)) = &state.current {
            match connection.ended_at() {
                None => return Ok(Arc::clone(connection)),
                Some(ended) => {
                    // One that we ended did nothing wrong.
                    let by_us = matches!(connection.ended(), Some(DuplexError::Closed));
                    if ended.duration_since(*started) >= self.restart.stable {
                        state.ends = 0;
                    }
                    state.current = None;
                    if !by_us {
                        self.punish(&mut state, ended);
                    }
                }
            }
        }
        if let Some(not_before) = state.not_before {
            let after = not_before.saturating_duration_since(Instant::now());
            if after > self.restart.patience {
                return Err(DuplexError::BackingOff { after });
            }
            sleep_until(not_before).await;
        }
        let settings = self.settings.clone();
        match Connection::start(settings, self.sharing, self.reserve.as_ref()).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                state.current = Some((Arc::clone(&connection), Instant::now()));
                Ok(connection)
            }
            Err(full @ DuplexError::Full { .. }) => Err(full),
            Err(error) => {
                self.punish(&mut state, Instant::now());
                Err(error)
            }
        }
    }

    /// Lets go of the process. It is ended as soon as no caller holds it.
    pub async fn release(&self) {
        self.state.lock().await.current = None;
    }

    /// Whether a process is running now.
    pub async fn is_running(&self) -> bool {
        let state = self.state.lock().await;
        state
            .current
            .as_ref()
            .is_some_and(|(connection, _)| connection.ended_at().is_none())
    }

    /// As [`Self::is_running`], without waiting: one that is just being started runs.
    pub fn seems_running(&self) -> bool {
        self.state.try_lock().map_or(true, |state| {
            let current = state.current.as_ref();
            current.is_some_and(|(connection, _)| connection.ended_at().is_none())
        })
    }

    fn punish(&self, state: &mut State, ended: Instant) {
        let doubled = 2_u32.saturating_pow(state.ends);
        let pause = self
            .restart
            .first
            .saturating_mul(doubled)
            .min(self.restart.longest);
        state.ends = state.ends.saturating_add(1);
        state.not_before = Some(ended + pause);
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("settings", &self.settings)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}
