//! Policy as it is active, and readiness.

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{BundleStatus, Part, Source};

use super::{Desk, Frame, Nav, approval::FactLine};
use crate::{respond::page, text::Hostile};

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    generation: u64,
    files: usize,
    revision: Hostile,
    plugins: Vec<PluginLine>,
    bundles: Vec<BundlePanel>,
}

struct PluginLine {
    name: &'static str,
    value: Hostile,
}

struct BundlePanel {
    name: Hostile,
    is_stale: bool,
    message: Option<Hostile>,
    errors: Vec<Hostile>,
    facts: Vec<FactLine>,
}

#[derive(Template)]
#[template(path = "readiness.html")]
struct ReadinessPage {
    frame: Frame,
    is_ready: bool,
    parts: Vec<PartLine>,
}

struct PartLine {
    name: &'static str,
    state: Hostile,
    class: &'static str,
}

impl<S: Source> Desk<'_, S> {
    /// The active policy and its bundles.
    pub(super) async fn policy(&self) -> Response<Bytes> {
        let status = self.admin.source().policy();
        let plugins = status.plugins.iter().map(|(name, plugin)| PluginLine {
            name,
            value: Hostile::brief(plugin.state),
        });
        let template = PolicyPage {
            frame: self.frame(Some(Nav::Policy)).await,
            generation: status.policy.generation,
            files: status.policy.files,
            revision: Hostile::brief(&status.policy.revision),
            plugins: plugins.collect(),
            bundles: status.bundles.values().map(bundle).collect(),
        };
        page(StatusCode::OK, &template)
    }

    /// The parts of the gateway.
    pub(super) async fn readiness(&self) -> Response<Bytes> {
        let parts = self.admin.source().parts();
        let template = ReadinessPage {
            frame: self.frame(Some(Nav::Readiness)).await,
            is_ready: parts.iter().all(|part| part.ready),
            parts: parts.iter().map(part_line).collect(),
        };
        page(StatusCode::OK, &template)
    }
}

fn part_line(part: &Part) -> PartLine {
    PartLine {
        name: part.name,
        state: Hostile::brief(&part.state),
        class: match (part.ready, &*part.state) {
            (false, _) => "bad",
            (true, "ok") => "good",
            (true, _) => "warn",
        },
    }
}

fn bundle(bundle: &BundleStatus) -> BundlePanel {
    let mut facts = Vec::new();
    for (name, value) in [
        ("Revision", &bundle.active_revision),
        ("Signed by", &bundle.signed_by),
        ("Last request", &bundle.last_request),
        ("Last success", &bundle.last_successful_request),
        ("Last download", &bundle.last_successful_download),
        ("Active since", &bundle.last_successful_activation),
    ] {
        if let Some(value) = value {
            let value = Hostile::whole(value);
            facts.push(FactLine { name, value });
        }
    }
    BundlePanel {
        name: Hostile::brief(&bundle.name),
        is_stale: bundle.stale,
        message: bundle.message.as_deref().map(Hostile::whole),
        errors: bundle.errors.iter().map(|it| Hostile::whole(it)).collect(),
        facts,
    }
}
