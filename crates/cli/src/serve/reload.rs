//! Reading again what changed: each part is taken whole or not at all, and the last good one stays in force.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keepgate_admin::{Operators, Token};
use keepgate_audit::{Kind, Record};
use keepgate_authn::ApiKeys;
use keepgate_gateway::settings::Upstream;
use keepgate_gateway::{Gateway, Shared};
use keepgate_policy::LoadErrors;
use keepgate_transport::http::server::Drained;
use keepgate_transport::http::tls::Tls;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::context::TokioContext;
use tokio_util::sync::CancellationToken;

use super::CLOSE_PATIENCE;
use super::bundles::{Bundles, News};
use super::clock;
use super::kills::Tending;
use super::open::Opened;
use super::shadow;
use super::source::{Reloaded, View};
use super::watch::{Subject, Watched};
use crate::config::{self, Configuration};
use crate::failure::chain;

/// Everything, in the order in which it is read: keys and policies before the stack that asks them.
const ALL: [Subject; 5] = [
    Subject::Certificate,
    Subject::Keys,
    Subject::Token,
    Subject::Policy,
    Subject::Configuration,
];

/// Reloads the running gateway, and ends it.
pub(super) struct Reloader {
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
    /// What is in force; the parts that need a restart stay as they were at the start.
    configuration: Configuration,
    pub(super) shared: Arc<Shared>,
    operators: Arc<Operators>,
    tls: Option<Tls>,
    gateway: Gateway,
    view: Arc<View>,
    bundles: Arc<Bundles>,
    /// Runtime of the stack's own tasks.
    data: Handle,
}

impl Reloader {
    /// Takes over what was started.
    pub(super) fn new(
        path: PathBuf,
        variables: Vec<(OsString, OsString)>,
        configuration: Configuration,
        opened: Opened,
        gateway: Gateway,
        view: Arc<View>,
        data: Handle,
    ) -> Self {
        let Opened {
            shared,
            operators,
            tls,
            bundles,
        } = opened;
        Self {
            path,
            variables,
            configuration,
            shared,
            operators,
            tls,
            gateway,
            view,
            bundles,
            data,
        }
    }

    /// The files that matter now.
    pub(super) fn watched(&self) -> Watched {
        let state = &self.configuration.state;
        let mut configuration = vec![self.path.clone(), self.configuration.definitions.clone()];
        for server in self.configuration.gateway.servers.values() {
            match &server.upstream {
                Upstream::Http { ca, .. } => configuration.extend(ca.clone()),
                Upstream::Child { .. } => {}
            }
        }
        let tls = self.configuration.tls.iter();
        let mut policies = self.configuration.policy_directories();
        policies.extend(self.bundles.files());
        let shadow = self.configuration.shadow.iter();
        policies.extend(shadow.flat_map(|shadow| shadow.policies.iter().cloned()));
        Watched::from([
            (Subject::Configuration, configuration),
            (Subject::Policy, policies),
            (Subject::Keys, vec![state.join(ApiKeys::FILE)]),
            (
                Subject::Token,
                vec![state.join(Token::FILE), state.join(Operators::FILE)],
            ),
            (
                Subject::Certificate,
                tls.flat_map(|tls| [tls.certificate.clone(), tls.key.clone()])
                    .collect(),
            ),
        ])
    }

    /// Puts the policies of the start on record.
    pub(super) async fn record_start(&self) {
        self.record(Kind::PolicyActivated).await;
    }

    /// Reads everything again.
    pub(super) async fn reload_all(&mut self) {
        self.bundles.look_now();
        self.reload(&ALL).await;
    }

    /// Reads again what changed.
    pub(super) async fn reload(&mut self, changed: &[Subject]) {
        for subject in ALL.iter().filter(|subject| changed.contains(subject)) {
            match subject {
                Subject::Configuration => self.reload_configuration().await,
                Subject::Policy => self.reload_policy().await,
                Subject::Keys => self.reload_keys().await,
                Subject::Token => self.reload_token(),
                Subject::Certificate => self.reload_certificate(),
            }
        }
    }

    /// The configuration: a new stack from a file that is right, nothing from one that is not.
    async fn reload_configuration(&mut self) {
        let (path, variables) = (self.path.clone(), self.variables.clone());
        // Aside, so that reading cannot hold up the listeners, and so that a bug in reading is a bad file and no more.
        let loaded = tokio::task::spawn_blocking(move || config::load(&path, variables)).await;
        let taken = match loaded {
            Ok(Ok(configuration)) => self.take(configuration).await,
            Ok(Err(error)) => {
                tracing::error!(
                    "configuration not taken, the last good one stays in force:\n{error}"
                );
                false
            }
            Err(error) => {
                tracing::error!(%error, "configuration not taken, the last good one stays in force");
                false
            }
        };
        self.view.set_fresh(Reloaded::Configuration, taken);
    }

    /// Puts a configuration into force as far as that can be done without a restart.
    async fn take(&mut self, configuration: Configuration) -> bool {
        let fixed = needs_restart(&self.configuration, &configuration);
        if !fixed.is_empty() {
            tracing::warn!(
                keys = fixed.join(", "),
                "these keys have changed and need a restart"
            );
        }
        let before = self.configuration.gateway.definitions();
        let definitions = configuration.gateway.definitions();
        let defined = definitions != before;
        // First what is allowed, then who is reached: a server that is new is never without its definition.
        if defined && !self.reload_definitions(definitions).await {
            return false;
        }
        let built = {
            let _within = self.data.enter();
            self.gateway.reload(&configuration.gateway)
        };
        if let Err(error) = built {
            tracing::error!(
                error = chain(&error),
                "configuration not taken, the last good one stays in force"
            );
            if defined {
                self.reload_definitions(before).await;
            }
            return false;
        }
        for warning in &configuration.warnings {
            tracing::warn!("{warning}");
        }
        self.view.set_servers(&configuration.gateway);
        self.configuration.gateway = configuration.gateway;
        tracing::info!(
            servers = self.configuration.gateway.servers.len(),
            "configuration reloaded"
        );
        true
    }

    /// The layer of the servers' definitions, with the policies as they are on disk.
    async fn reload_definitions(&self, definitions: BTreeMap<String, Arc<str>>) -> bool {
        let policy = Arc::clone(&self.shared.policy);
        let loaded = tokio::task::spawn_blocking(move || policy.redefine(definitions)).await;
        match loaded {
            Ok(Ok(generation)) => {
                self.record(Kind::PolicyActivated).await;
                tracing::info!(revision = %generation.revision, "definitions reloaded");
                true
            }
            Ok(Err(errors)) => {
                tracing::error!(
                    "configuration not taken, the last good one stays in force:\n{errors}"
                );
                false
            }
            Err(error) => {
                tracing::error!(%error, "configuration not taken, the last good one stays in force");
                false
            }
        }
    }

    /// The policies.
    async fn reload_policy(&self) {
        let loaded = self.load_policy().await;
        let taken = match &loaded {
            Ok(()) => {
                self.bundles.reloaded(Ok(()));
                true
            }
            Err(errors) => {
                if let Some(errors) = errors {
                    self.bundles.reloaded(Err(errors));
                }
                false
            }
        };
        self.view.set_fresh(Reloaded::Policy, taken);
        shadow::reload(&self.shared).await;
    }

    /// Loads all policies from where they are, and says and records what came of it. The error holds the problems, if it
    /// was them.
    async fn load_policy(&self) -> Result<(), Option<LoadErrors>> {
        let policy = Arc::clone(&self.shared.policy);
        let loaded = tokio::task::spawn_blocking(move || policy.reload()).await;
        let errors = match loaded {
            Ok(Ok(generation)) => {
                if generation.changed {
                    self.record(Kind::PolicyActivated).await;
                    tracing::info!(revision = %generation.revision, files = generation.files, "policies reloaded");
                }
                return Ok(());
            }
            Ok(Err(errors)) => {
                tracing::error!("policies not taken, the last good ones stay in force:\n{errors}");
                Some(errors)
            }
            Err(error) => {
                tracing::error!(%error, "policies not taken, the last good ones stay in force");
                None
            }
        };
        self.record(Kind::PolicyRejected).await;
        Err(errors)
    }

    /// Tries a bundle that was fetched: what does not come into force leaves everything as it was.
    pub(super) async fn take_bundle(&self, news: News) {
        let News {
            held,
            fetched,
            decided,
        } = news;
        let generation = self.shared.policy.generation().number;
        if held.standing.knows_as_bad(&fetched, generation) {
            held.standing.rejected_again();
            tracing::debug!(bundle = %held.name(), "the bundle that was not taken came again");
        } else {
            let before = held.hold(Some(Arc::clone(&fetched.bytes)));
            match self.load_policy().await {
                Ok(()) => {
                    held.activated(&fetched);
                    let revision = held.standing.revision();
                    tracing::info!(bundle = %held.name(), revision, "bundle in force");
                    let kept = Arc::clone(&held);
                    if let Err(error) =
                        tokio::task::spawn_blocking(move || kept.keep(&fetched)).await
                    {
                        tracing::error!(%error, "the bundle could not be kept");
                    }
                }
                Err(errors) => {
                    held.hold(before);
                    let errors = errors.unwrap_or_else(|| LoadErrors {
                        problems: Vec::new(),
                    });
                    held.standing.rejected(Some(&fetched), &errors, generation);
                }
            }
        }
        if decided.send(()).is_err() {
            tracing::debug!("who fetched the bundle has ended meanwhile");
        }
    }

    /// The API keys.
    async fn reload_keys(&self) {
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
                    "keys not taken, those known so far stay in force"
                );
                false
            }
            Err(error) => {
                tracing::error!(%error, "keys not taken, those known so far stay in force");
                false
            }
        };
        self.view.set_fresh(Reloaded::Keys, taken);
    }

    /// The operators and the admin token.
    fn reload_token(&self) {
        let operators = self.operators.reload();
        match &operators {
            Ok(count) => tracing::info!(count, "operators reloaded"),
            Err(error) => tracing::error!(
                error = chain(error),
                "operators not taken, those known so far stay in force"
            ),
        }
        let token = self.operators.bootstrap().reload();
        match &token {
            Ok(()) => tracing::info!("admin token reloaded"),
            Err(error) => tracing::error!(
                error = chain(error),
                "admin token not taken, the last one stays in force"
            ),
        }
        let taken = operators.is_ok() && token.is_ok();
        self.view.set_fresh(Reloaded::Operators, taken);
    }

    /// The certificate of the data listeners.
    fn reload_certificate(&self) {
        let Some(tls) = &self.tls else { return };
        let taken = match tls.reload() {
            Ok(()) => {
                tracing::info!("certificate reloaded");
                true
            }
            Err(error) => {
                tracing::error!(
                    error = chain(&error),
                    "certificate not taken, the last good one stays in force"
                );
                false
            }
        };
        self.view.set_fresh(Reloaded::Certificate, taken);
    }

    /// Puts on record which policies are in force, or that new ones were refused.
    async fn record(&self, kind: Kind) {
        let revision = self.shared.policy.revision();
        let record = Record {
            policy_rev: Some(&revision),
            ..Record::new(kind, SystemTime::now())
        };
        if let Err(error) = self.shared.log.append(&record).await {
            // Calls are refused for the same reason, so nothing happens under policies that are not on record.
            tracing::error!(%error, "the policies in force are not on record");
        }
    }

    /// Ends in order: no new calls, running ones to their end or the deadline, sessions, the log, operators last.
    pub(super) async fn end(
        self,
        data_stop: CancellationToken,
        data: JoinSet<Drained>,
        tending: Tending,
        admin_stop: CancellationToken,
        admin: JoinSet<Drained>,
    ) {
        self.gateway.drain();
        data_stop.cancel();
        for drained in data.join_all().await {
            match drained {
                Drained::Whole => {}
                Drained::Cut { tasks } => {
                    tracing::warn!(tasks, "connections were cut at the deadline")
                }
            }
        }
        let closed = self.gateway.close(CLOSE_PATIENCE);
        TokioContext::new(closed, self.data.clone()).await;
        tending.end().await;
        let (shared, state) = (self.shared, self.configuration.state);
        let close = move || {
            shared.log.close();
            clock::keep(&state, &shared.clock);
        };
        if tokio::task::spawn_blocking(close).await.is_err() {
            tracing::error!("the audit log could not be closed in order");
        }
        admin_stop.cancel();
        drop(tokio::time::timeout(Duration::from_secs(5), admin.join_all()).await);
    }
}

/// The keys that differ and count at the start only.
fn needs_restart(old: &Configuration, new: &Configuration) -> Vec<&'static str> {
    let differs = [
        ("listen", old.listen != new.listen),
        (
            "trusted_proxies",
            old.trusted_proxies != new.trusted_proxies,
        ),
        ("public_url", old.public_url != new.public_url),
        ("tls", old.tls != new.tls),
        ("admin", old.admin != new.admin),
        ("auth", old.auth != new.auth || old.oauth != new.oauth),
        ("state", old.state != new.state),
        (
            "policies",
            old.policies != new.policies || old.bundles != new.bundles,
        ),
        ("tenants", old.tenants != new.tenants),
        ("shadow", old.shadow != new.shadow),
        ("decisions", old.decisions != new.decisions),
        ("status", old.status != new.status),
        ("audit.durability", old.durability != new.durability),
        (
            "limits.header_timeout",
            old.header_timeout != new.header_timeout,
        ),
        ("limits.connections", old.connections != new.connections),
        ("limits.memory", old.memory != new.memory),
        ("limits.drain", old.drain != new.drain),
        ("log", old.log != new.log),
        ("telemetry", old.telemetry != new.telemetry),
    ];
    differs
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}
