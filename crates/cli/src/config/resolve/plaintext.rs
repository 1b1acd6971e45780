//! Secrets that would be sent over http to another machine: an error, unless `plaintext: allowed` is next to the URL.

use std::collections::BTreeMap;

use http::Uri;
use keepgate_call::ServerName;
use keepgate_gateway::settings::{Server, travels_clear};
use keepgate_telemetry::export;

use super::Resolver;
use crate::config::decode::At;
use crate::config::fault::{Fault, Origin};
use crate::config::raw::Plaintext;

impl Resolver<'_> {
    /// Checks the way of the servers' credentials. Only now: definitions give some of them theirs.
    pub(super) fn plaintext(&mut self, servers: &BTreeMap<ServerName, Server>) {
        for (name, text) in std::mem::take(&mut self.urls) {
            let server = servers.get(&name).filter(|it| !it.credentials.is_empty());
            if let Some(server) = server
                && let Ok(url) = text.value.parse()
            {
                let allowed = server.plaintext.then_some(Plaintext::Allowed);
                self.secret_to(&text, &url, allowed);
            }
        }
    }

    /// Checks the way of a secret to `url`, which is written in `text`.
    pub(super) fn secret_to(&mut self, text: &At<String>, url: &Uri, plaintext: Option<Plaintext>) {
        if !travels_clear(url) {
            return;
        }
        let section = text.path.rsplit_once('.');
        let section = section.map_or(text.path.as_str(), |(section, _)| section);
        match plaintext {
            Some(Plaintext::Allowed) => self.allow(section),
            None => {
                let hint = format!(
                    "use https, or write `{section}.plaintext: allowed` where nobody else is on the network"
                );
                let message =
                    "a secret would travel in clear: the URL is http, and another machine's";
                self.faults.push(text.fault(message).hint(hint));
            }
        }
    }

    /// Checks the way of the headers that variables give to collectors: they are keys as a rule.
    pub(super) fn collectors(&mut self, settings: &export::Settings, plaintext: Option<Plaintext>) {
        let traces = settings.traces.as_ref();
        let traces = traces.and_then(|traces| traces.collector.as_ref());
        let metrics = settings.metrics.as_ref().map(|metrics| &metrics.collector);
        let mut clear = traces
            .into_iter()
            .chain(metrics)
            .filter(|collector| !collector.headers.is_empty() && travels_clear(&collector.url));
        let Some(collector) = clear.next() else {
            return;
        };
        match plaintext {
            Some(Plaintext::Allowed) => self.allow("telemetry"),
            None => {
                let message = format!(
                    "the headers of OTEL_EXPORTER_OTLP_HEADERS would travel in clear to `{}`",
                    collector.url
                );
                let hint = "use https, or write `telemetry.plaintext: allowed` where nobody else is on the network";
                self.faults
                    .push(Fault::new(Origin::Whole, "telemetry", message).hint(hint));
            }
        }
    }

    /// Notes that a secret of `section` travels in clear, as it may.
    pub(super) fn allow(&mut self, section: &str) {
        self.warnings.push(format!(
            "{section}.plaintext is allowed: a secret travels in clear"
        ));
        self.plaintext.push(section.to_owned());
    }
}
