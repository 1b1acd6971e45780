//! What operators are shown: inventory, readiness, meters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use keepgate_admin::{
    Known, Operators, Part, PolicyStatus, Process, Server, Session, Source, TestNotification,
    TestingNotification,
};
use keepgate_audit::State;
use keepgate_authn::KeyState;
use keepgate_call::ServerName;
use keepgate_gateway::Shared;
use keepgate_gateway::settings::{Settings, Upstream};
use keepgate_store::kill::{Kill, Ledger, Scope};
use keepgate_telemetry::metrics::{About, Unit};

use super::approvals::Around;
use super::bundles::{self, Bundles};
use super::certificates::Certificates;
use super::notifications::Notifications;
use super::open::Opened;

/// The servers of the settings, in the order of their names.
pub(crate) fn inventory(settings: &Settings) -> Vec<Server> {
    let servers = settings.servers.iter();
    servers
        .map(|(name, server)| {
            let (kind, target) = match &server.upstream {
                Upstream::Http { transport, url, .. } => (transport.as_str(), url.to_string()),
                Upstream::Child { program, .. } => ("child", program.clone()),
            };
            Server {
                name: name.to_string(),
                kind,
                target,
                owner: server.owner.clone(),
                environment: server.environment.clone(),
                trust: server.trust.as_str(),
                labels: server.labels.clone(),
            }
        })
        .collect()
}

/// The operators' view of the running gateway.
pub(super) struct View {
    servers: ArcSwap<Vec<Server>>,
    pub(super) shared: Arc<Shared>,
    pub(super) ledger: Arc<Ledger>,
    /// The references of the servers' credentials.
    references: ArcSwap<BTreeMap<ServerName, Arc<[Arc<str>]>>>,
    bundles: Arc<Bundles>,
    operators: Arc<Operators>,
    around: Arc<Around>,
    notifications: Option<Arc<Notifications>>,
    serving: AtomicBool,
    /// Whether the last reload of each part was taken; the last good one stays in force otherwise.
    fresh: [AtomicBool; FRESH.len()],
    /// Keys of the configuration whose value in the file needs a restart.
    restart: ArcSwap<Vec<&'static str>>,
    /// Whether a secret is sent over http to another machine.
    plaintext: AtomicBool,
    certificates: Certificates,
}

/// The parts that are reloaded, as readiness and meters name them.
const FRESH: [&str; 6] = [
    "configuration",
    "policy",
    "keys",
    CERTIFICATE,
    "operators",
    ADMIN_CERTIFICATE,
];

/// The part of the data listeners' certificate.
const CERTIFICATE: &str = "certificate";
/// That of the operators' listener.
const ADMIN_CERTIFICATE: &str = "admin_certificate";

/// A part that is reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    Configuration,
    Policy,
    Keys,
    Certificate,
    Operators,
    AdminCertificate,
}

impl Reloaded {
    /// The word of readiness and metrics.
    pub(super) fn name(self) -> &'static str {
        FRESH.get(self as usize).copied().unwrap_or_default()
    }
}

impl View {
    /// A view of a gateway that does not serve yet.
    pub(super) fn new(
        settings: &Settings,
        opened: &Opened,
        ledger: &Arc<Ledger>,
        notifications: Option<Arc<Notifications>>,
    ) -> Arc<Self> {
        let view = Arc::new(Self {
            servers: ArcSwap::from_pointee(inventory(settings)),
            shared: Arc::clone(&opened.shared),
            ledger: Arc::clone(ledger),
            references: ArcSwap::from_pointee(settings.references()),
            bundles: Arc::clone(&opened.bundles),
            operators: Arc::clone(&opened.operators),
            around: Arc::clone(&opened.around),
            notifications,
            serving: AtomicBool::new(false),
            fresh: [const { AtomicBool::new(true) }; FRESH.len()],
            restart: ArcSwap::default(),
            plaintext: AtomicBool::new(false),
            certificates: Certificates::new(opened, settings),
        });
        view.observe();
        view.observe_processes();
        view.certificates.observe(view.shared.meters.registry());
        bundles::observe(view.shared.meters.registry(), &view.bundles);
        view
    }

    /// Names of the servers of the configuration.
    pub(super) fn server_names(&self) -> impl Iterator<Item = String> + use<> {
        let servers = self.servers.load_full();
        let names: Vec<String> = servers.iter().map(|server| server.name.clone()).collect();
        names.into_iter()
    }

    /// References of the servers' credentials.
    pub(super) fn credential_names(&self) -> impl Iterator<Item = String> + use<> {
        let references = self.references.load_full();
        let all = references.values().flat_map(|all| all.iter());
        let names: Vec<String> = all.map(ToString::to_string).collect();
        names.into_iter()
    }

    /// Whether calls are taken.
    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Shows the servers of new settings.
    pub(super) fn set_servers(&self, settings: &Settings) {
        self.servers.store(Arc::new(inventory(settings)));
        self.references.store(Arc::new(settings.references()));
        self.certificates.set_shown(settings);
    }

    /// Notes whether the last reload of a part was taken.
    pub(super) fn set_fresh(&self, part: Reloaded, fresh: bool) {
        if let Some(flag) = self.fresh.get(part as usize) {
            flag.store(fresh, Ordering::Relaxed);
        }
    }

    /// Whether the last reload of a part was taken.
    pub(super) fn is_fresh(&self, part: Reloaded) -> bool {
        let flag = self.fresh.get(part as usize);
        flag.is_none_or(|flag| flag.load(Ordering::Relaxed))
    }

    /// The state of a part whose file has vanished.
    fn gone(&self, part: &str) -> Option<&'static str> {
        let keys = || self.shared.authn.key_state(self.shared.clock.now()) == Some(KeyState::Gone);
        match part {
            "keys" if keys() => Some("keys.json is GONE, its keys count until a restart"),
            "operators" if self.operators.is_gone() => {
                Some("operators.json is GONE, its operators count until a restart")
            }
            _ => None,
        }
    }

    fn has_no_key(&self) -> bool {
        self.shared.authn.key_state(self.shared.clock.now()) == Some(KeyState::Empty)
    }

    /// Shows whether a secret is sent over http to another machine.
    pub(super) fn set_plaintext(&self, is_sent: bool) {
        self.plaintext.store(is_sent, Ordering::Relaxed);
    }

    /// Shows which keys of the configuration need a restart.
    pub(super) fn set_restart(&self, keys: Vec<&'static str>) {
        self.restart.store(Arc::new(keys));
    }

    /// The keys that need a restart, a line for each.
    fn restart_parts(&self) -> Vec<Part> {
        let keys = self.restart.load();
        let part = |key: &&'static str| Part::ready("restart_required", *key);
        keys.iter().map(part).collect()
    }

    /// How the log is, and whether it takes records.
    fn audit(&self) -> Part {
        let (ready, state) = match self.shared.log.health().state {
            State::Ok => (true, "ok"),
            State::Full => (false, "full"),
            State::Slow => (false, "slow"),
            State::Failing => (false, "failing"),
            State::Closed => (false, "closed"),
        };
        Part {
            name: "audit",
            ready,
            state: state.into(),
        }
    }

    /// Lets the metrics show how many processes run.
    fn observe_processes(self: &Arc<Self>) {
        let registry = self.shared.meters.registry();
        let about = About::gauge(
            "keepgate.server.processes",
            "Processes started for the server that are not gone yet",
            &["keepgate.server.name"],
        );
        let view = Arc::downgrade(self);
        registry.observe(about, move |out| {
            let Some(view) = view.upgrade() else { return };
            let mut counts = BTreeMap::<ServerName, u32>::new();
            for process in view.shared.processes.all() {
                *counts.entry(process.server).or_default() += 1;
            }
            for (server, count) in counts {
                out.add([server.as_str()], f64::from(count));
            }
        });
    }

    /// Lets the meters show what is read when somebody looks.
    fn observe(self: &Arc<Self>) {
        let registry = self.shared.meters.registry();
        for (about, read) in GAUGES {
            let view = Arc::downgrade(self);
            registry.observe(about, move |out| {
                if let Some(view) = view.upgrade() {
                    out.add([], read(&view));
                }
            });
        }
        let about = About::gauge(
            "keepgate.credential.ok",
            "Whether the credential could be had when it was last wanted",
            &["keepgate.server.name", "keepgate.credential.reference"],
        );
        let view = Arc::downgrade(self);
        registry.observe(about, move |out| {
            let Some(view) = view.upgrade() else { return };
            for status in view.shared.credentials.status() {
                let failed = matches!(status.state, keepgate_credential::State::Failed(_));
                let labels = [status.server.as_str(), &status.reference];
                out.add(labels, f64::from(!failed));
            }
        });
        let about = About::gauge(
            "keepgate.credential.overdue",
            "Whether nobody has changed the credential for longer than its server's definition allows; only where its age is known",
            &["keepgate.server.name", "keepgate.credential.reference"],
        );
        let view = Arc::downgrade(self);
        registry.observe(about, move |out| {
            let Some(view) = view.upgrade() else { return };
            for status in view.shared.credentials.status() {
                if let Some(overdue) = status.overdue {
                    let labels = [status.server.as_str(), &status.reference];
                    out.add(labels, f64::from(overdue));
                }
            }
        });
        let about = About::gauge(
            "keepgate.last_reload_successful",
            "Whether the last reload of a part was taken",
            &["keepgate.part"],
        );
        let view = Arc::downgrade(self);
        registry.observe(about, move |out| {
            let Some(view) = view.upgrade() else { return };
            for (part, fresh) in FRESH.into_iter().zip(&view.fresh) {
                let is_whole = fresh.load(Ordering::Relaxed) && view.gone(part).is_none();
                out.add([part], f64::from(is_whole));
            }
        });
    }
}

/// Meters without labels: what they are, and how they are read.
type Gauge = (About, fn(&View) -> f64);

#[expect(
    clippy::cast_precision_loss,
    reason = "counts beyond 2^53 may lose their last digit"
)]
const GAUGES: [Gauge; 15] = [
    (
        About::gauge("keepgate.ready", "Whether calls can be served", &[]),
        |view| f64::from(view.parts().iter().all(|part| part.ready)),
    ),
    (
        About::gauge("keepgate.audit.records", "Records in the audit log", &[]),
        |view| view.shared.log.health().size as f64,
    ),
    (
        About::gauge(
            "keepgate.audit.signed_records",
            "Records under a signed checkpoint",
            &[],
        ),
        |view| view.shared.log.health().signed as f64,
    ),
    (
        About::gauge(
            "keepgate.audit.checkpoint_age",
            "Age of the last checkpoint",
            &[],
        )
        .unit(Unit::Seconds),
        |view| view.shared.log.health().checkpoint_age.as_secs_f64(),
    ),
    (
        About::gauge(
            "keepgate.audit.queued_records",
            "Records waiting to be written",
            &[],
        ),
        |view| view.shared.log.health().queued as f64,
    ),
    (
        About::counter(
            "keepgate.audit.lost_records",
            "Records that could not be kept since the start",
            &[],
        ),
        |view| view.shared.log.health().lost as f64,
    ),
    (
        About::gauge(
            "keepgate.audit.free",
            "Free bytes of the log's file system",
            &[],
        )
        .unit(Unit::Bytes),
        |view| view.shared.log.health().free_bytes as f64,
    ),
    (
        About::gauge(
            "keepgate.requests.running",
            "Requests of clients that run now",
            &[],
        ),
        |view| view.shared.load.running() as f64,
    ),
    (
        About::gauge("keepgate.sessions", "Sessions that are open", &[]),
        |view| view.shared.sessions.count() as f64,
    ),
    (
        About::gauge(
            "keepgate.memory.left",
            "What is left for bodies and events that are held whole",
            &[],
        )
        .unit(Unit::Bytes),
        |view| {
            view.shared
                .memory
                .left()
                .map_or(f64::INFINITY, |left| left as f64)
        },
    ),
    (
        About::gauge(
            "keepgate.circuit_breakers_open",
            "Servers that failed and are not called for a while",
            &[],
        ),
        |view| view.shared.budgets.servers.open() as f64,
    ),
    (
        About::gauge(
            "keepgate.caller_circuit_breakers_open",
            "Breakers that are open for one caller at one server",
            &[],
        ),
        |view| view.shared.budgets.servers.open_for_callers() as f64,
    ),
    (
        About::gauge(
            "keepgate.sessions.suspended",
            "Sessions that were refused so often that they are suspended",
            &[],
        ),
        |view| view.shared.budgets.sessions.open() as f64,
    ),
    (
        About::gauge(
            "keepgate.restart_required_keys",
            "Keys of the configuration that have changed and are not active until a restart",
            &[],
        ),
        |view| view.restart.load().len() as f64,
    ),
    (
        About::gauge(
            "keepgate.policy.generation",
            "Number of the policies in force",
            &[],
        ),
        |view| view.shared.policy.generation().number as f64,
    ),
];

impl Source for View {
    fn parts(&self) -> Vec<Part> {
        let serving = self.serving.load(Ordering::Relaxed);
        let state = if serving {
            "ok"
        } else {
            "starting or draining"
        };
        let mut parts = vec![
            Part {
                name: "gateway",
                ready: serving,
                state: state.into(),
            },
            self.audit(),
            super::kills::part(&self.ledger),
            self.around.part(),
        ];
        parts.extend(self.notifications.iter().map(|all| all.part()));
        for (name, fresh) in FRESH.into_iter().zip(&self.fresh) {
            // Stale is not unready: the last good one serves on.
            let state = match (self.gone(name), fresh.load(Ordering::Relaxed)) {
                (Some(gone), _) => gone,
                (None, fresh) if name == CERTIFICATE => self.certificates.data(fresh),
                (None, fresh) if name == ADMIN_CERTIFICATE => self.certificates.admin(fresh),
                (None, false) => "stale, last reload failed",
                (None, true) if name == "keys" && self.has_no_key() => {
                    "none, no key lets anybody in"
                }
                (None, true) => "ok",
            };
            parts.push(Part::ready(name, state));
        }
        parts.extend(super::kills::partial(&self.ledger));
        parts.extend(super::sessions::part(&self.shared));
        parts.extend(super::kills::stray(&self.stray_kills()));
        parts.extend(self.certificates.part());
        parts.extend(super::clock::part(&self.shared.clock));
        parts.extend(self.restart_parts());
        let plaintext = self.plaintext.load(Ordering::Relaxed);
        let in_clear = "allowed, a secret travels in clear";
        parts.extend(plaintext.then(|| Part::ready("plaintext", in_clear)));
        // Nor is what a bundle's server does: without a bundle there is no start.
        let bundles = self.bundles.state();
        parts.extend(bundles.map(|state| Part::ready("bundles", state)));
        parts.extend(super::shadow::part(&self.shared));
        parts
    }

    fn metrics(&self) -> String {
        self.shared.meters.text()
    }

    fn sessions(&self) -> Vec<Session> {
        let references = self.references.load();
        let sessions = self.shared.sessions.all();
        let shown = sessions.iter().map(|session| {
            let caller = &session.caller;
            let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
            Session {
                id: session.public.to_string(),
                tenant: caller.tenant.to_string(),
                caller: caller.subject.to_string(),
                client: text(&caller.client),
                grant: text(&caller.grant),
                key: text(&caller.key_id),
                server: session.server.to_string(),
                credentials: references
                    .get(&session.server)
                    .map_or_else(Vec::new, |all| all.to_vec()),
                age_s: session.age_s(),
                idle_s: self.shared.sessions.idle_s(session),
            }
        });
        shown.collect()
    }

    fn processes(&self) -> Vec<Process> {
        let shown = self.shared.processes.all().into_iter().map(|process| {
            let caller = process.caller.as_ref();
            Process {
                server: process.server.to_string(),
                tenant: caller.map(|caller| caller.tenant().to_string()),
                caller: caller.map(|caller| caller.subject().to_string()),
                pid: process.pid,
                age_s: process.age.as_secs(),
                idle_s: process.idle.map(|idle| idle.as_secs()),
            }
        });
        shown.collect()
    }

    fn knows(&self, scope: &Scope) -> Known {
        self.known(scope)
    }

    fn stray_kills(&self) -> Vec<Arc<Kill>> {
        self.stray()
    }

    fn servers(&self) -> Vec<Server> {
        self.servers.load().as_ref().clone()
    }

    fn policy(&self) -> PolicyStatus {
        let key = self.shared.log.public_key();
        self.bundles.status(key.origin(), &self.shared.policy)
    }

    fn test_notification<'a>(&'a self, target: &'a str, by: &'a str) -> TestingNotification<'a> {
        Box::pin(async move {
            match &self.notifications {
                Some(notifications) => notifications.test(target, by).await,
                None => TestNotification::Unknown { known: Vec::new() },
            }
        })
    }
}
