//! Bundles of policies: read or fetched at the start, looked after while the gateway runs, kept for when their server is
//! down.
//!
//! A bundle that came is tried by a load of all policies; only what came into force is kept, and named to its server as
//! the one we have. What cannot be had, or is not taken, changes nothing but the status.

mod fetch;
mod report;
mod standing;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepgate_admin::{InForce, Plugin, PolicyStatus};
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Form, Live, Use};
use keepgate_gateway::Shared;
use keepgate_policy::bundle::BundleSource;
use keepgate_policy::{LoadErrors, Policy, Settings, Sources};
use keepgate_telemetry::metrics::{About, Registry, Unit};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use self::fetch::{Fetcher, Looked};
use self::report::Reporter;
use self::standing::Standing;
use self::store::Store;
use crate::config::{self, Configuration, Place};
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// Longest wait for a bundle's server at a start that has the last good bundle.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// All bundles of the configuration.
pub(super) struct Bundles {
    all: Vec<Arc<Held>>,
    /// Asks everybody to look now.
    look: Arc<Notify>,
    credentials: Arc<Credentials>,
    /// Until it begins to report.
    reporter: Mutex<Option<Reporter>>,
}

/// One bundle and how it stands.
pub(super) struct Held {
    bundle: config::Bundle,
    source: Arc<BundleSource>,
    remote: Option<(Fetcher, Store)>,
    pub(super) standing: Standing,
    /// The bundle that is to be in the store.
    active: Mutex<Option<Fetched>>,
    /// Whether the start did not wait for its server's answer.
    is_due: AtomicBool,
}

/// A bundle that was fetched, and what its server calls it.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) bytes: Arc<[u8]>,
    pub(super) etag: Option<String>,
}

/// A bundle that wants to come into force.
pub(super) struct News {
    pub(super) held: Arc<Held>,
    pub(super) fetched: Fetched,
    /// Answered when it is decided.
    pub(super) decided: oneshot::Sender<()>,
}

/// The tasks that look for news.
pub(super) struct Looking {
    tasks: JoinSet<()>,
    news: mpsc::Receiver<News>,
}

/// Opens the bundles and loads the policies for the first time.
/// Whatever secrets that takes are among those of `live`.
pub(super) async fn open(
    configuration: &Configuration,
    live: &Arc<Live>,
) -> Result<(Arc<Bundles>, Policy), Failure> {
    let bundles = Bundles::open(configuration, live)?;
    let policy = bundles.load(configuration, &Settings::default()).await?;
    Ok((Arc::new(bundles), policy))
}

impl Bundles {
    /// Reads keys and what was kept; fetches nothing. The state directory must be there.
    fn open(configuration: &Configuration, live: &Arc<Live>) -> Result<Self, Failure> {
        let credentials = Arc::new(Credentials::sharing(&TaskTracker::new(), live));
        let mut uses = BTreeMap::new();
        for (name, bundle) in named(configuration) {
            if let Place::Http(remote) = &bundle.place
                && let Some(reference) = &remote.credential
            {
                let wanted = Use {
                    reference: reference.clone(),
                    form: Form::Bearer,
                    terms: Default::default(),
                };
                uses.insert(name, vec![wanted]);
            }
        }
        credentials
            .configure(&configuration.gateway.credentials, &uses)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let reporter = configuration.status.as_ref();
        let reporter = reporter
            .map(|upload| Reporter::new(upload, &configuration.gateway.credentials, live))
            .transpose()?;
        let mut all = Vec::new();
        for (name, bundle) in named(configuration) {
            let source = bundle
                .source()
                .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
            let remote = match &bundle.place {
                Place::File(_) => None,
                Place::Http(remote) => {
                    let credential = credentials.of(&name);
                    let fetcher = Fetcher::new(remote, credential)
                        .map_err(|error| Failure::caused(Exit::Start, &error))?;
                    let store = Store::new(&configuration.state, &bundle.name());
                    Some((fetcher, store))
                }
            };
            all.push(Arc::new(Held {
                bundle: bundle.clone(),
                source,
                remote,
                standing: Standing::default(),
                active: Mutex::default(),
                is_due: AtomicBool::new(false),
            }));
        }
        Ok(Self {
            all,
            look: Arc::default(),
            credentials,
            reporter: Mutex::new(reporter),
        })
    }

    /// Loads the policies for the first time: with what is fetched now, else with what was kept.
    async fn load(
        &self,
        configuration: &Configuration,
        settings: &Settings,
    ) -> Result<Policy, Failure> {
        let fetched = self.fetch_all().await;
        for (held, fetched) in &fetched {
            held.prepare(fetched.as_ref())?;
        }
        let loaded = match Policy::load(self.join(configuration.sources()), settings) {
            Err(errors) if self.fall_back(&fetched, &errors) => {
                Policy::load(self.join(configuration.sources()), settings)
            }
            loaded => loaded,
        };
        let policy = loaded.map_err(|errors| Failure::caused(Exit::Policy, &errors))?;
        for held in &self.all {
            held.in_force();
        }
        for (held, fetched) in fetched {
            // What was not taken has been said.
            if let Some(fetched) = fetched
                && !held.standing.is_rejected()
            {
                held.activated(&fetched);
                held.keep(&fetched);
            }
        }
        Ok(policy)
    }

    /// Fetches every bundle that is at a URL, at once.
    async fn fetch_all(&self) -> Vec<(Arc<Held>, Option<Fetched>)> {
        let mut fetching = JoinSet::new();
        for held in self.all.iter().filter(|held| held.remote.is_some()) {
            let held = Arc::clone(held);
            fetching.spawn(async move {
                held.remember();
                let fetched = match held.look_first().await {
                    Looked::New(fetched) => Some(fetched),
                    Looked::Unchanged | Looked::Failed => None,
                };
                (held, fetched)
            });
        }
        fetching.join_all().await
    }

    /// Puts what was kept in the place of what was fetched and is not taken; whether there was anything to exchange.
    fn fall_back(&self, fetched: &[(Arc<Held>, Option<Fetched>)], errors: &LoadErrors) -> bool {
        let mut exchanged = false;
        for (held, fetched) in fetched {
            if fetched.is_none() || !held.remembers() {
                continue;
            }
            tracing::error!(
                bundle = %held.source.name().display(),
                "what the bundle's server has now was not taken, the last good one comes into force:\n{errors}"
            );
            held.standing.rejected(fetched.as_ref(), errors, 0);
            held.restore();
            exchanged = true;
        }
        exchanged
    }

    /// The sources with all bundles in their layers.
    pub(super) fn join(&self, mut sources: Sources) -> Sources {
        for held in &self.all {
            config::add(&mut sources, &held.bundle, Arc::clone(&held.source));
        }
        sources
    }

    /// The files to watch.
    pub(super) fn files(&self) -> Vec<std::path::PathBuf> {
        let files = self.all.iter().filter_map(|held| held.bundle.file());
        files.map(std::path::Path::to_path_buf).collect()
    }

    /// Every bundle.
    pub(super) fn all(&self) -> &[Arc<Held>] {
        &self.all
    }

    /// Asks every bundle's server now.
    pub(super) fn look_now(&self) {
        self.look.notify_waiters();
    }

    /// How all of them stand, in a word for readiness; `None` where there are none.
    pub(super) fn state(&self) -> Option<&'static str> {
        let stale = self.all.iter().any(|held| held.standing.is_stale());
        let unkept = self.all.iter().any(|held| held.standing.is_unkept());
        (!self.all.is_empty()).then_some(match (stale, unkept) {
            (false, false) => "ok",
            (true, false) => "stale, the last good one is active",
            (false, true) => "NOT KEPT, a restart without its server goes back",
            (true, true) => "stale and NOT KEPT, a restart without its server goes back",
        })
    }

    /// How everything stands, for operators; `id` is what the gateway's log calls it.
    pub(super) fn status(&self, id: &str, policy: &Policy) -> PolicyStatus {
        let generation = policy.generation();
        let bundles = self.all.iter();
        let bundles: BTreeMap<String, _> = bundles
            .map(|held| (held.name(), held.standing.status(&held.name())))
            .collect();
        let stale = bundles.values().any(|bundle| bundle.stale);
        let state = if stale { "WARN" } else { "OK" };
        PolicyStatus {
            labels: BTreeMap::from([
                ("id", id.to_owned()),
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ]),
            policy: InForce {
                revision: generation.revision.to_string(),
                generation: generation.number,
                files: generation.files,
            },
            bundles,
            plugins: BTreeMap::from([("bundle", Plugin { state })]),
        }
    }

    /// Notes what a load of everything came to, for the bundles in files; others are told apart by what they brought, and one
    /// that waited for the other policies is asked for at once.
    pub(super) fn reloaded(&self, result: Result<(), &LoadErrors>) {
        for held in &self.all {
            match (&held.remote, result) {
                (Some(_), Ok(())) if held.standing.retry() => self.look_now(),
                (None, Ok(())) => held.in_force(),
                (None, Err(errors)) if held.is_named_by(errors) => {
                    held.standing.rejected(None, errors, 0);
                }
                (Some(_) | None, Ok(()) | Err(_)) => {}
            }
        }
    }

    /// Begins to look for news, and to tell how everything stands, if somebody is to be told.
    pub(super) fn start(self: &Arc<Self>, shared: &Shared) -> Looking {
        let (sender, news) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        let reporter = self.reporter.lock();
        if let Some(reporter) = reporter.unwrap_or_else(PoisonError::into_inner).take() {
            let id = shared.log.public_key().origin().to_owned();
            tasks.spawn(reporter.run(id, Arc::clone(self), Arc::clone(&shared.policy)));
        }
        for held in self.all.iter().filter(|held| held.remote.is_some()) {
            tasks.spawn(fetch::keep_looking(
                Arc::clone(held),
                Arc::clone(&self.look),
                sender.clone(),
            ));
        }
        Looking { tasks, news }
    }

    /// Gives the credentials back.
    pub(super) async fn close(&self) {
        self.credentials.close().await;
    }
}

impl Looking {
    /// The next bundle that came. Never, where none is fetched. Cancel-safe.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Ends the looking.
    pub(super) fn end(&mut self) {
        self.tasks.abort_all();
    }
}

impl Held {
    /// Its name.
    pub(super) fn name(&self) -> String {
        self.bundle.name()
    }

    /// Takes what was kept, if anything was, and its tag: until something newer is in force, it is what we have.
    fn remember(&self) {
        let Some((_, store)) = &self.remote else {
            return;
        };
        match store.read() {
            Ok(Some(kept)) => {
                self.standing.remembers(kept.etag.clone());
                self.source.hold(Some(Arc::clone(&kept.bytes)));
                *self.active() = Some(kept);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(
                bundle = %self.name(),
                error = chain(&error),
                "the last good bundle cannot be read"
            ),
        }
    }

    /// Whether anything was kept.
    fn remembers(&self) -> bool {
        let kept = self.remote.as_ref().map(|(_, store)| store.read());
        matches!(kept, Some(Ok(Some(_))))
    }

    /// Holds what was kept.
    fn restore(&self) {
        if let Some((_, store)) = &self.remote
            && let Ok(Some(kept)) = store.read()
        {
            self.source.hold(Some(kept.bytes));
        }
    }

    /// Holds what was fetched at the start, or says what is in force in its stead.
    fn prepare(&self, fetched: Option<&Fetched>) -> Result<(), Failure> {
        if let Some(fetched) = fetched {
            self.source.hold(Some(Arc::clone(&fetched.bytes)));
            return Ok(());
        }
        let trouble = self.standing.trouble();
        if !self.remembers() {
            let why = trouble.unwrap_or_default();
            let message = format!("failed to fetch the bundle `{}`: {why}", self.name());
            return Err(Failure::new(Exit::Start, message).hint(
                "there is no last good one to start with: without policies nothing is served",
            ));
        }
        if let Some(why) = trouble {
            tracing::error!(
                bundle = %self.name(),
                why,
                "THE BUNDLE'S SERVER IS DOWN: the last good bundle comes into force, which may not be the newest"
            );
        }
        Ok(())
    }

    /// Notes that what the source holds is in force.
    fn in_force(&self) {
        self.standing
            .in_force(self.source.seen(), self.remote.is_none());
    }

    /// Notes that what was fetched is in force.
    pub(super) fn activated(&self, fetched: &Fetched) {
        self.standing
            .activated(self.source.seen(), fetched.etag.clone());
    }

    fn active(&self) -> MutexGuard<'_, Option<Fetched>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the bundle that was fetched and is active. Blocks.
    pub(super) fn keep(&self, fetched: &Fetched) {
        *self.active() = Some(fetched.clone());
        self.write(fetched);
    }

    /// Keeps the active bundle again if the disk did not take it, or lost it. Blocks.
    fn keep_again(&self) {
        let lost = match &self.remote {
            Some((_, store)) => self.standing.is_unkept() || !store.is_there(),
            None => false,
        };
        let active = self.active().clone();
        if lost && let Some(active) = active {
            self.write(&active);
        }
    }

    fn write(&self, active: &Fetched) {
        let Some((_, store)) = &self.remote else {
            return;
        };
        let written = store.write(active);
        let changed = self.standing.set_unkept(written.is_err());
        match written {
            Err(error) if changed => tracing::error!(
                bundle = %self.name(),
                error = chain(&error),
                "the bundle is active and could not be kept: a start without its server would not have it"
            ),
            Ok(()) if changed => tracing::info!(bundle = %self.name(), "the bundle is kept again"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Holds `fetched` for the next load; gives what was held.
    pub(super) fn hold(&self, bytes: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        self.source.hold(bytes)
    }

    /// Whether any of the problems is in it.
    fn is_named_by(&self, errors: &LoadErrors) -> bool {
        let mut problems = errors.problems.iter();
        problems.any(|problem| problem.file.starts_with(self.source.name()))
    }

    /// Asks its server at the start; not for long where the last good bundle is there to start with.
    async fn look_first(&self) -> Looked {
        if self.active().is_none() {
            return self.look(false).await;
        }
        match tokio::time::timeout(FIRST_LOOK, self.look(false)).await {
            Ok(looked) => looked,
            Err(_elapsed) => {
                let why = format!("no answer for {FIRST_LOOK:?}, the start does not wait longer");
                self.standing.failed(why);
                self.is_due.store(true, Ordering::Relaxed);
                Looked::Failed
            }
        }
    }

    /// Asks its server.
    async fn look(&self, wait: bool) -> Looked {
        match &self.remote {
            Some((fetcher, _)) => fetcher.look(&self.name(), &self.standing, wait).await,
            None => Looked::Unchanged,
        }
    }
}

/// The bundles, each with a name of its own for its credential.
fn named(configuration: &Configuration) -> impl Iterator<Item = (ServerName, &config::Bundle)> {
    let bundles = configuration.bundles.iter().enumerate();
    bundles.filter_map(|(index, bundle)| {
        let name = ServerName::parse(&format!("bundle-{index}"))?;
        Some((name, bundle))
    })
}

/// Lets the meters show every bundle.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
pub(super) fn observe(registry: &Registry, bundles: &Arc<Bundles>) {
    const OF: &[&str] = &["keepgate.bundle"];
    let all = |read: fn(&Standing) -> Option<f64>| {
        let bundles = Arc::downgrade(bundles);
        move |out: &mut keepgate_telemetry::metrics::Observed| {
            for held in bundles.upgrade().iter().flat_map(|bundles| bundles.all()) {
                if let Some(value) = read(&held.standing) {
                    out.add([held.name().as_str()], value);
                }
            }
        }
    };
    let about = About::gauge(
        "keepgate.bundle.last_reload_successful",
        "Whether the bundle in force is the newest, as far as its server was asked",
        OF,
    );
    registry.observe(about, all(|standing| Some(f64::from(!standing.is_stale()))));
    let about = About::gauge(
        "keepgate.bundle.unpersisted",
        "Whether the disk did not take the active bundle: a restart without its server goes back to an older one",
        OF,
    );
    registry.observe(about, all(|standing| Some(f64::from(standing.is_unkept()))));
    let about = About::gauge(
        "keepgate.bundle.last_success",
        "When the bundle in force was last known to be the newest, in Unix time",
        OF,
    );
    registry.observe(about.unit(Unit::Seconds), all(Standing::last_success));
    let about = About::counter(
        "keepgate.bundle.failures",
        "Bundles that could not be had or were not taken since the start",
        OF,
    );
    registry.observe(about, all(|standing| Some(standing.failures() as f64)));
    let about = About::gauge(
        "keepgate.bundle.info",
        "Always 1; the labels tell the revision in force",
        &["keepgate.bundle", "keepgate.bundle.revision"],
    );
    let bundles = Arc::downgrade(bundles);
    registry.observe(about, move |out| {
        for held in bundles.upgrade().iter().flat_map(|bundles| bundles.all()) {
            let revision = held.standing.revision().unwrap_or_default();
            out.add([held.name().as_str(), revision.as_str()], 1.0);
        }
    });
}
