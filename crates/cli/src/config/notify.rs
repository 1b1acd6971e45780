//! `approvals.notify`: who hears of approvals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use keepgate_approval::NoticeEvent;
use keepgate_credential::Use;
use keepgate_net::Egress;

use super::decode::{At, Decode, Fields, choice};
use super::document::Node;
use super::fault::Faults;
use super::raw::ServerTls;

/// Time for one attempt to send.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A target of notifications.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifyTarget {
    /// Form of the messages.
    pub kind: NotifyKind,
    /// Address they are posted to.
    pub url: NotifyUrl,
    /// Secret that signs them.
    pub secret: Option<Use>,
    /// Events that are sent.
    pub events: BTreeSet<NoticeEvent>,
    /// Certificates (PEM) trusted in addition to the system's.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
    /// Time for one attempt.
    pub timeout: Duration,
}

/// Form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyKind {
    /// JSON of ours, signed as Standard Webhooks has it.
    Generic,
    /// An incoming webhook of Slack, or one that is compatible.
    Slack,
}

/// Address of a target.
#[derive(Debug, Clone, PartialEq)]
pub enum NotifyUrl {
    /// Written in the configuration.
    Plain(Uri),
    /// A secret of its own, read where it is kept.
    Secret(Use),
}

/// `approvals.notify.<name>` as it is written.
#[derive(Debug)]
pub(crate) struct RawTarget {
    pub(crate) kind: Option<NotifyKind>,
    pub(crate) url: Option<At<String>>,
    pub(crate) secret: Option<At<String>>,
    pub(crate) events: Vec<NoticeEvent>,
    pub(crate) ca: Option<At<String>>,
    pub(crate) timeout: At<Duration>,
}

impl Decode for RawTarget {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tls: Option<ServerTls> = fields.optional("tls");
        let timeout = At {
            value: TIMEOUT,
            origin: node.origin.clone(),
            path: format!("{path}.timeout"),
        };
        let target = Self {
            kind: fields.required("kind", "write `kind: generic` or `kind: slack`"),
            url: fields.required(
                "url",
                "name where the URL is kept, like `url: file:/run/secrets/webhook`",
            ),
            secret: fields.optional("secret"),
            events: fields.or("events", NoticeEvent::ALL.to_vec()),
            ca: tls.and_then(|tls| tls.ca),
            timeout: fields.or("timeout", timeout),
        };
        fields.refuse_empty("events");
        fields.finish();
        Some(target)
    }
}

impl Decode for NotifyKind {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = [("generic", Self::Generic), ("slack", Self::Slack)];
        choice(node, path, faults, &words, &[])
    }
}

impl Decode for NoticeEvent {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = Self::ALL.map(|event| (event.as_str(), event));
        choice(node, path, faults, &words, &[])
    }
}
