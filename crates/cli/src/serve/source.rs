//! What operators are shown: inventory, readiness, meters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use keepgate_admin::{Part, Server, Source};
use keepgate_audit::State;
use keepgate_gateway::Shared;
use keepgate_gateway::settings::{Settings, Upstream};

/// The servers of the settings, in the order of their names.
pub(crate) fn inventory(settings: &Settings) -> Vec<Server> {
    let servers = settings.servers.iter();
    servers
        .map(|(name, server)| {
            let (kind, target) = match &server.upstream {
                Upstream::Http { url, .. } => ("http", url.to_string()),
                Upstream::Child { program, .. } => ("child", program.clone()),
            };
            Server {
                name: name.to_string(),
                kind,
                target,
                owner: server.owner.clone(),
                environment: server.environment.clone(),
                trust: server.trust.clone(),
                labels: server.labels.clone(),
            }
        })
        .collect()
}

/// The operators' view of the running gateway.
pub(super) struct View {
    servers: ArcSwap<Vec<Server>>,
    shared: Arc<Shared>,
    serving: AtomicBool,
    /// Whether the last reload of each part was taken; the last good one stays in force otherwise.
    fresh: [AtomicBool; FRESH.len()],
}

/// The parts that are reloaded, as readiness and meters name them.
const FRESH: [&str; 4] = ["configuration", "policy", "keys", "certificate"];

/// A part that is reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reloaded {
    Configuration,
    Policy,
    Keys,
    Certificate,
}

impl View {
    /// A view of a gateway that does not serve yet.
    pub(super) fn new(settings: &Settings, shared: Arc<Shared>) -> Self {
        Self {
            servers: ArcSwap::from_pointee(inventory(settings)),
            shared,
            serving: AtomicBool::new(false),
            fresh: [const { AtomicBool::new(true) }; FRESH.len()],
        }
    }

    /// Whether calls are taken.
    pub(super) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Shows the servers of new settings.
    pub(super) fn set_servers(&self, settings: &Settings) {
        self.servers.store(Arc::new(inventory(settings)));
    }

    /// Notes whether the last reload of a part was taken.
    pub(super) fn set_fresh(&self, part: Reloaded, fresh: bool) {
        if let Some(flag) = self.fresh.get(part as usize) {
            flag.store(fresh, Ordering::Relaxed);
        }
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
            state,
        }
    }

    /// Meters without labels: name, what it tells, value now.
    fn gauges(&self) -> [(&'static str, &'static str, u64); 9] {
        let health = self.shared.log.health();
        let ready = u64::from(self.parts().iter().all(|part| part.ready));
        [
            ("keepgate_ready", "Whether calls can be served", ready),
            (
                "keepgate_audit_records",
                "Records in the audit log",
                health.size,
            ),
            (
                "keepgate_audit_signed_records",
                "Records under a signed checkpoint",
                health.signed,
            ),
            (
                "keepgate_audit_checkpoint_age_seconds",
                "Age of the last checkpoint",
                health.checkpoint_age.as_secs(),
            ),
            (
                "keepgate_audit_queued_records",
                "Records waiting to be written",
                health.queued as u64,
            ),
            (
                "keepgate_audit_lost_records",
                "Records that could not be kept since the start",
                health.lost,
            ),
            (
                "keepgate_audit_free_bytes",
                "Free bytes of the log's file system",
                health.free_bytes,
            ),
            (
                "keepgate_requests_running",
                "Requests of clients that run now",
                self.shared.load.running() as u64,
            ),
            (
                "keepgate_policy_generation",
                "Number of the policies in force",
                self.shared.policy.generation().number,
            ),
        ]
    }
}

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
                state,
            },
            self.audit(),
        ];
        for (name, fresh) in FRESH.into_iter().zip(&self.fresh) {
            // Stale is not unready: the last good one serves on.
            let state = if fresh.load(Ordering::Relaxed) {
                "ok"
            } else {
                "stale, last reload failed"
            };
            parts.push(Part {
                name,
                ready: true,
                state,
            });
        }
        parts
    }

    fn metrics(&self) -> String {
        let mut text = self.shared.meters.text();
        let end = text.rfind("# EOF").unwrap_or(text.len());
        text.truncate(end);
        for (name, help, value) in self.gauges() {
            text.push_str(&format!(
                "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}\n"
            ));
        }
        let name = "keepgate_reload_fresh";
        text.push_str(&format!(
            "# HELP {name} Whether the last reload of a part was taken.\n# TYPE {name} gauge\n"
        ));
        for (part, fresh) in FRESH.into_iter().zip(&self.fresh) {
            text.push_str(&format!(
                "{name}{{part=\"{part}\"}} {}\n",
                u8::from(fresh.load(Ordering::Relaxed))
            ));
        }
        text.push_str("# EOF\n");
        text
    }

    fn servers(&self) -> Vec<Server> {
        self.servers.load().as_ref().clone()
    }
}
