//! Reading again what changed: each part is applied whole or not at all, and the last good one stays active.
//!
//! The configuration is one part with everything its keys name: it is applied when a start with it would succeed, so not
//! while its policies or its certificate cannot be used, whichever of the files has changed. The others are parts of their own
//! since they withdraw rights: a revoked key or a stricter policy does not wait for somebody to correct another file.

mod access;
mod changes;
mod configuration;
mod files;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keepgate_audit::{Kind, Reason, Record};
use keepgate_gateway::settings::Upstream;
use keepgate_gateway::{Gateway, Shared};
use keepgate_policy::LoadErrors;
use keepgate_transport::http::server::Drained;
use keepgate_transport::http::tls::Tls;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::context::TokioContext;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::files::Contents;
use super::CLOSE_PATIENCE;
use super::bundles::{Bundles, News};
use super::clock;
use super::kills::Tending;
use super::open::Opened;
use super::shadow;
use super::source::{Reloaded, View};
use super::watch::{Subject, Watch, Watched};
use crate::config::Configuration;
use crate::failure::chain;
use crate::logging::SetLog;

/// Time after which a reload that is not over is reported; it goes on.
const SLOW: Duration = Duration::from_secs(10);

/// Everything but [`Access`], in the order in which it is read: policies before the stack that asks them.
const ALL: [Subject; 3] = [
    Subject::Certificate,
    Subject::Policy,
    Subject::Configuration,
];

/// Reloads the running gateway, and ends it.
pub(super) struct Reloader {
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
    /// The one in use; what needs a restart in it is as it was at the start.
    configuration: Configuration,
    pub(super) shared: Arc<Shared>,
    access: Arc<Access>,
    tls: Option<Tls>,
    admin_tls: Option<Tls>,
    gateway: Gateway,
    view: Arc<View>,
    bundles: Arc<Bundles>,
    /// Runtime of the stack's own tasks.
    data: Handle,
    /// Changes level and format of the log.
    set_log: SetLog,
    /// Content of files that are read once, as it is in use.
    contents: Contents,
    /// Files that a rejected configuration names: one that is right by now may make it right.
    rejected: Vec<PathBuf>,
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
        (data, set_log): (Handle, SetLog),
    ) -> Self {
        let Opened {
            shared,
            operators,
            tls,
            admin_tls,
            bundles,
            sessions: _resumed,
            around: _shared,
        } = opened;
        view.set_plaintext(!configuration.plaintext.is_empty());
        Self {
            contents: Contents::read(&configuration),
            rejected: Vec::new(),
            path,
            variables,
            configuration,
            access: Access::new(&shared, operators, &gateway, &view, &data),
            shared,
            tls,
            admin_tls,
            gateway,
            view,
            bundles,
            data,
            set_log,
        }
    }

    /// Time in which everything is still answered after a signal to end.
    pub(super) fn drain_delay(&self) -> Duration {
        self.configuration.drain.delay
    }

    /// The files that matter now.
    pub(super) fn watched(&self) -> Watched {
        let mut configuration = vec![self.path.clone(), self.configuration.definitions.clone()];
        for server in self.configuration.gateway.servers.values() {
            match &server.upstream {
                Upstream::Http { way, .. } => configuration.extend(way.files().cloned()),
                Upstream::Child { .. } => {}
            }
        }
        configuration.extend(self.contents.paths().map(Path::to_path_buf));
        configuration.extend(self.rejected.iter().cloned());
        let tls = self.configuration.own_tls();
        let mut policies = self.configuration.policy_directories();
        policies.extend(self.bundles.files());
        let shadow = self.configuration.shadow.iter();
        policies.extend(shadow.flat_map(|shadow| shadow.policies.iter().cloned()));
        Watched::from([
            (Subject::Configuration, configuration),
            (Subject::Policy, policies),
            (
                Subject::Certificate,
                tls.flat_map(|tls| [tls.certificate.clone(), tls.key.clone()])
                    .collect(),
            ),
        ])
    }

    /// Puts policies and configuration of the start on record.
    pub(super) async fn record_start(&self) {
        self.record(Kind::PolicyActivated).await;
        self.record_configuration(&[]).await;
    }

    /// Reads everything again.
    pub(super) async fn reload_all(&mut self) {
        self.bundles.look_now();
        self.access.reload().await;
        self.reload(&ALL).await;
    }

    /// Reads again what changed.
    pub(super) async fn reload(&mut self, changed: &[Subject]) {
        for subject in ALL.iter().filter(|subject| changed.contains(subject)) {
            let view = Arc::clone(&self.view);
            match subject {
                Subject::Configuration => {
                    let work = self.reload_configuration();
                    reported(&view, Reloaded::Configuration, work).await;
                }
                Subject::Policy => {
                    reported(&view, Reloaded::Policy, self.reload_policy()).await;
                }
                Subject::Certificate => self.reload_certificates(),
                Subject::Keys | Subject::Token => {}
            }
        }
    }

    /// Reloads who may come in, as long as it is polled: what changes from now on is noticed.
    pub(super) fn follow_access(&self) -> impl Future<Output = ()> + Send + use<> {
        let changes = Watch::start(Access::watched(&self.configuration.state));
        Arc::clone(&self.access).follow(changes)
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
                    self.shared.changes.all();
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
    pub(super) async fn take_bundle(&mut self, news: News) {
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
                    // Every directory was read with it.
                    self.view.set_fresh(Reloaded::Policy, true);
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
                    // Whose fault it is shows without the bundle: what then loads has nothing wrong with it.
                    let others = self.load_policy().await.is_ok();
                    self.view.set_fresh(Reloaded::Policy, others);
                    if others {
                        let generation = self.shared.policy.generation().number;
                        held.standing.rejected(Some(&fetched), &errors, generation);
                    } else {
                        held.standing.deferred(&fetched, &errors, generation);
                    }
                }
            }
        }
        if decided.send(()).is_err() {
            tracing::debug!("who fetched the bundle has ended meanwhile");
        }
        // The policies it is with may have been the reason why it was rejected.
        if self.view.is_fresh(Reloaded::Policy) && !self.view.is_fresh(Reloaded::Configuration) {
            self.reload_configuration().await;
        }
    }

    /// The certificates of our listeners.
    fn reload_certificates(&self) {
        self.reload_certificate(self.tls.as_ref(), Reloaded::Certificate);
        self.reload_certificate(self.admin_tls.as_ref(), Reloaded::AdminCertificate);
    }

    fn reload_certificate(&self, tls: Option<&Tls>, part: Reloaded) {
        let Some(tls) = tls else { return };
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
        self.view.set_fresh(part, taken);
    }

    /// Puts on record which policies are in force, or that new ones were refused.
    async fn record(&self, kind: Kind) {
        let revision = self.shared.policy.revision();
        self.append(&Record {
            policy_rev: Some(&revision),
            ..Record::new(kind, SystemTime::now())
        })
        .await;
    }

    /// Puts on record that the configuration is active, but for the keys that wait for a restart.
    async fn record_configuration(&self, restart: &[&'static str]) {
        let digest = Reason {
            code: "sha256",
            message: &self.configuration.digest,
        };
        let waiting = restart.iter().map(|key| Reason {
            code: "restart_required",
            message: key,
        });
        let reasons: Vec<_> = std::iter::once(digest).chain(waiting).collect();
        self.append(&Record {
            reasons: &reasons,
            ..Record::new(Kind::ConfigActivated, SystemTime::now())
        })
        .await;
    }

    async fn append(&self, record: &Record<'_>) {
        if let Err(error) = self.shared.log.append(record).await {
            // Calls are refused for the same reason, so nothing happens under policies that are not on record.
            tracing::error!(%error, kind = record.kind.as_str(), "an activation is not on record");
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

/// Does a reload. One that hangs, as on a disk that does not answer, is not over: the part is stale meanwhile, and that is logged.
async fn reported(view: &View, part: Reloaded, work: impl Future<Output = ()>) {
    let mut work = std::pin::pin!(work);
    if tokio::time::timeout(SLOW, &mut work).await.is_ok() {
        return;
    }
    tracing::error!(
        part = part.name(),
        "a reload is not over after {SLOW:?}: a file or a disk does not answer; the last good state stays active"
    );
    view.set_fresh(part, false);
    work.await;
}
