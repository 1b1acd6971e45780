//! Targets of notifications: where they are, and what proves to them who sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keepgate_credential::{Form, Settings, Use};
use keepgate_gateway::settings::travels_clear;

use super::Resolver;
use crate::config::Admin;
use crate::config::decode::At;
use crate::config::notify::{NotifyKind, NotifyTarget, NotifyUrl, RawTarget};

/// Longest time for one attempt: what hangs keeps back the target's other messages.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// Most targets; each is a connection and a task.
const MAX_TARGETS: usize = 32;

impl Resolver<'_> {
    /// The targets of notifications.
    pub(super) fn notify(
        &mut self,
        raw: &BTreeMap<String, At<RawTarget>>,
        admin: Option<&Admin>,
        credentials: &Settings,
    ) -> BTreeMap<Arc<str>, NotifyTarget> {
        let Some(first) = raw.values().next() else {
            return BTreeMap::new();
        };
        if admin.is_some_and(|admin| admin.public_url.is_none()) {
            let hint = "write where operators' browsers reach the console: `admin.public_url: https://keepgate-console.example`";
            let message = "notifications link to the console, and admin.public_url is missing";
            self.faults.push(first.fault(message).hint(hint));
        }
        if raw.len() > MAX_TARGETS {
            let message = format!("{MAX_TARGETS} targets at most");
            self.faults.push(first.fault(message));
        }
        let mut targets = BTreeMap::new();
        for (name, target) in raw {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                let message = "a target's name is 1 to 64 letters, digits, `-` and `_`";
                self.faults.push(target.fault(message));
                continue;
            }
            if let Some(resolved) = self.notify_target(target, credentials) {
                targets.insert(name.as_str().into(), resolved);
            }
        }
        targets
    }

    fn notify_target(
        &mut self,
        target: &At<RawTarget>,
        credentials: &Settings,
    ) -> Option<NotifyTarget> {
        let raw = &target.value;
        let timeout = self.at_most(&raw.timeout, MAX_TIMEOUT, "1m");
        let ca = raw.ca.as_ref().map(|path| self.file(path));
        let secret = raw.secret.as_ref();
        let secret = secret.map(|text| self.whole_secret(text, credentials));
        match (raw.kind?, &raw.secret) {
            (NotifyKind::Generic, None) => {
                let hint = "write where it is kept, like `secret: file:/run/secrets/webhook-key`";
                let message =
                    "a generic target needs a secret: without, anybody could send what it gets";
                self.faults.push(target.fault(message).hint(hint));
                return None;
            }
            (NotifyKind::Slack, Some(text)) => {
                let message = "a slack target has no secret but its URL";
                self.faults.push(text.fault(message));
                return None;
            }
            (NotifyKind::Generic, Some(_)) | (NotifyKind::Slack, None) => {}
        }
        let url = self.notify_url(raw.kind?, raw.url.as_ref()?, credentials)?;
        Some(NotifyTarget {
            kind: raw.kind?,
            url,
            secret: secret.flatten(),
            events: raw.events.iter().copied().collect(),
            ca: ca.flatten(),
            egress: self.egress.clone(),
            timeout,
        })
    }

    fn notify_url(
        &mut self,
        kind: NotifyKind,
        text: &At<String>,
        credentials: &Settings,
    ) -> Option<NotifyUrl> {
        let is_plain = ["https://", "http://"]
            .iter()
            .any(|scheme| text.value.starts_with(scheme));
        if !is_plain {
            return self.whole_secret(text, credentials).map(NotifyUrl::Secret);
        }
        if kind == NotifyKind::Slack {
            // Whoever knows it can post.
            self.faults.hide(&text.origin);
            let hint = "write where it is kept, like `url: file:/run/secrets/slack`";
            let message = "the URL of an incoming webhook is a secret";
            self.faults.push(text.fault(message).hint(hint));
            return None;
        }
        let url = self.url(text)?;
        if travels_clear(&url) {
            let message = "notifications go over https, or to this machine";
            self.faults.push(text.fault(message));
            return None;
        }
        Some(NotifyUrl::Plain(url))
    }

    /// A secret that is used as it is.
    fn whole_secret(&mut self, text: &At<String>, credentials: &Settings) -> Option<Use> {
        let wanted = Use {
            reference: self.reference(text)?,
            // A form that changes nothing of it.
            form: Form::Environment {
                name: "VALUE".to_owned(),
                user: None,
            },
            terms: Default::default(),
        };
        if let Err(error) = wanted.check(credentials) {
            self.faults.push(text.fault(error.to_string()));
            return None;
        }
        Some(wanted)
    }
}
