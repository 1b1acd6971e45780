//! The ends of the certificates in use: those of our listeners, and those that servers are shown.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use keepgate_admin::Part;
use keepgate_gateway::settings::Settings;
use keepgate_net::Certificate;
use keepgate_telemetry::metrics::{About, Registry, Unit};
use keepgate_transport::http::tls::Tls;

use super::open::Opened;

/// Remaining validity of a certificate below which readiness reports it.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Certificates shown to servers: the key that names each, and its end.
type Shown = Vec<(String, SystemTime)>;

/// The certificates in use.
pub(super) struct Certificates {
    data: Option<Tls>,
    admin: Option<Tls>,
    shown: Arc<ArcSwap<Shown>>,
}

impl Certificates {
    /// The listeners' and those of the settings.
    pub(super) fn new(opened: &Opened, settings: &Settings) -> Self {
        Self {
            data: opened.tls.clone(),
            admin: opened.admin_tls.clone(),
            shown: Arc::new(ArcSwap::from_pointee(shown(settings))),
        }
    }

    /// Notes the certificates of settings that came into use.
    pub(super) fn set_shown(&self, settings: &Settings) {
        self.shown.store(Arc::new(shown(settings)));
    }

    /// The state of the data listeners' certificate; `fresh` is whether its last reload was applied.
    pub(super) fn data(&self, fresh: bool) -> &'static str {
        own(self.data.as_ref(), fresh)
    }

    /// That of the operators' listener.
    pub(super) fn admin(&self, fresh: bool) -> &'static str {
        own(self.admin.as_ref(), fresh)
    }

    /// The state of the certificate that ends first of those that servers are shown.
    pub(super) fn part(&self) -> Option<Part> {
        let shown = self.shown.load();
        let first = shown.iter().map(|(_, end)| *end).min()?;
        let state = match remaining(first) {
            Duration::ZERO => "EXPIRED",
            left if left < SOON => "expires within 14 days",
            _ => "ok",
        };
        // The other servers can be called.
        Some(Part::ready("client_certificates", state))
    }

    /// Lets the metrics show when each certificate ends.
    pub(super) fn observe(&self, registry: &Registry) {
        let about = About::gauge(
            "keepgate.certificate.expiration_timestamp",
            "Time the certificate in use expires, in seconds since 1970",
            &["keepgate.certificate"],
        )
        .unit(Unit::Seconds);
        let own = [
            ("tls.certificate", self.data.clone()),
            ("admin.tls.certificate", self.admin.clone()),
        ];
        let shown = Arc::clone(&self.shown);
        registry.observe(about, move |out| {
            let mut add = |name: &str, end: SystemTime| {
                let end = end.duration_since(SystemTime::UNIX_EPOCH);
                out.add([name], end.unwrap_or_default().as_secs_f64());
            };
            for (name, tls) in &own {
                if let Some(tls) = tls {
                    add(name, tls.validity().not_after);
                }
            }
            for (name, end) in shown.load().iter() {
                add(name, *end);
            }
        });
    }
}

/// The state of a listener's certificate.
fn own(tls: Option<&Tls>, fresh: bool) -> &'static str {
    let end = tls.map(|tls| tls.validity().not_after);
    match (end.map(remaining), fresh) {
        (Some(Duration::ZERO), true) => "EXPIRED",
        (Some(Duration::ZERO), false) => "EXPIRED, last reload failed",
        (Some(left), true) if left < SOON => "expires within 14 days",
        (Some(left), false) if left < SOON => "expires within 14 days, last reload failed",
        (_, true) => "ok",
        (_, false) => "stale, last reload failed",
    }
}

/// The time until `end`; zero when that is over.
fn remaining(end: SystemTime) -> Duration {
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

fn shown(settings: &Settings) -> Shown {
    let named = settings.identities().filter_map(|(name, files)| {
        // Read a moment ago for the connections; who cannot read it now could not then.
        let end = Certificate::read(files.clone()).ok()?.validity().not_after;
        Some((format!("servers.{name}.tls.client_certificate"), end))
    });
    named.collect()
}
