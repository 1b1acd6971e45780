//! Reloads of who may come in: API keys, operators, the admin token. They are watched and read by a task of their own: what they
//! withdraw does not wait for a policy or a configuration that cannot be read.

use std::path::Path;
use std::sync::Arc;

use keepgate_admin::{Operators, Token};
use keepgate_authn::ApiKeys;
use keepgate_gateway::{Gateway, Shared};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use super::super::source::{Reloaded, View};
use super::super::watch::{Subject, Watch, Watched};
use crate::failure::chain;

/// Reloads keys, operators and the admin token of a running gateway.
pub(super) struct Access {
    shared: Arc<Shared>,
    operators: Arc<Operators>,
    gateway: Gateway,
    view: Arc<View>,
    /// Runtime of the stack's own tasks.
    data: Handle,
    /// Held while files are read, so that of two reloads the later one counts.
    reading: Mutex<()>,
}

impl Access {
    pub(super) fn new(
        shared: &Arc<Shared>,
        operators: Arc<Operators>,
        gateway: &Gateway,
        view: &Arc<View>,
        data: &Handle,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            operators,
            gateway: gateway.clone(),
            view: Arc::clone(view),
            data: data.clone(),
            reading: Mutex::new(()),
        })
    }

    /// The files, in the state directory.
    pub(super) fn watched(state: &Path) -> Watched {
        Watched::from([
            (Subject::Keys, vec![state.join(ApiKeys::FILE)]),
            (
                Subject::Token,
                vec![state.join(Token::FILE), state.join(Operators::FILE)],
            ),
        ])
    }

    /// Reloads what changes, as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>, mut changes: Watch) {
        loop {
            for subject in changes.next().await {
                match subject {
                    Subject::Keys => self.reload_keys().await,
                    Subject::Token => self.reload_operators().await,
                    Subject::Configuration | Subject::Policy | Subject::Certificate => {}
                }
            }
        }
    }

    /// Reloads all of it.
    pub(super) async fn reload(&self) {
        self.reload_keys().await;
        self.reload_operators().await;
    }

    async fn reload_keys(&self) {
        let _reading = self.reading.lock().await;
        let authn = Arc::clone(&self.shared.authn);
        let loaded = tokio::task::spawn_blocking(move || authn.reload()).await;
        let taken = match loaded {
            Ok(Ok(count)) => {
                tracing::info!(count, "keys reloaded");
                true
            }
            Ok(Err(error)) => {
                tracing::error!(
                    error = chain(&error),
                    "keys not taken, the last good ones stay active"
                );
                false
            }
            Err(error) => {
                tracing::error!(%error, "keys not taken, the last good ones stay active");
                false
            }
        };
        self.view.set_fresh(Reloaded::Keys, taken);
        let _within = self.data.enter();
        self.gateway.end_unadmitted();
    }

    async fn reload_operators(&self) {
        let _reading = self.reading.lock().await;
        let operators = Arc::clone(&self.operators);
        let loaded = tokio::task::spawn_blocking(move || {
            (operators.reload(), operators.bootstrap().reload())
        });
        let (operators, token) = match loaded.await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::error!(%error, "operators not taken, the last good ones stay active");
                self.view.set_fresh(Reloaded::Operators, false);
                return;
            }
        };
        match &operators {
            Ok(count) => tracing::info!(count, "operators reloaded"),
            Err(error) => tracing::error!(
                error = chain(error),
                "operators not taken, the last good ones stay active"
            ),
        }
        match &token {
            Ok(()) => tracing::info!("admin token reloaded"),
            Err(error) => tracing::error!(
                error = chain(error),
                "admin token not taken, the last good one stays active"
            ),
        }
        let taken = operators.is_ok() && token.is_ok();
        self.view.set_fresh(Reloaded::Operators, taken);
    }
}
