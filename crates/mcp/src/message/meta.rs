//! The view of `_meta`: the keys the gateway reads.

use std::borrow::Cow;

use super::Parts;
use crate::Id;
use crate::json::{Place, Raw};

/// `params._meta` of a request or notification, or `result._meta` of an answer. Every accessor gives nothing when the key
/// is missing or its value has another kind than the specification says.
#[derive(Debug, Clone, Copy)]
pub struct Meta<'a> {
    parts: &'a Parts,
}

impl<'a> Meta<'a> {
    pub(super) fn of(parts: &'a Parts) -> Self {
        Self { parts }
    }

    /// Any key.
    pub fn member(self, key: &str) -> Option<Raw<'a>> {
        self.parts.member(Place::Meta, key)
    }

    /// Whether the message has a `_meta` with members.
    pub fn is_empty(self) -> bool {
        !self
            .parts
            .envelope
            .members
            .iter()
            .any(|member| member.place == Place::Meta)
    }

    fn text(self, key: &str) -> Option<Cow<'a, str>> {
        self.member(key)?.string()
    }

    /// `io.modelcontextprotocol/protocolVersion` (2026-07-28 basic/index.mdx), if it is a string.
    pub fn protocol_version(self) -> Option<Cow<'a, str>> {
        self.text("io.modelcontextprotocol/protocolVersion")
    }

    /// Whether `io.modelcontextprotocol/protocolVersion` is there, of whatever kind: what makes a request modern.
    pub fn names_protocol_version(self) -> bool {
        self.member("io.modelcontextprotocol/protocolVersion")
            .is_some()
    }

    /// `io.modelcontextprotocol/clientInfo`, an object. Self-reported: never a ground for a decision about security.
    pub fn client_info(self) -> Option<Raw<'a>> {
        self.member("io.modelcontextprotocol/clientInfo")
            .filter(|raw| raw.is_object())
    }

    /// `io.modelcontextprotocol/clientCapabilities`, an object.
    pub fn client_capabilities(self) -> Option<Raw<'a>> {
        self.member("io.modelcontextprotocol/clientCapabilities")
            .filter(|raw| raw.is_object())
    }

    /// `io.modelcontextprotocol/logLevel`.
    pub fn log_level(self) -> Option<Cow<'a, str>> {
        self.text("io.modelcontextprotocol/logLevel")
    }

    /// `io.modelcontextprotocol/subscriptionId`: the id of the `subscriptions/listen` request.
    pub fn subscription_id(self) -> Option<Id> {
        Id::from_echo(self.member(super::SUBSCRIPTION)?)
    }

    /// `progressToken`: a string or an integer, like an id.
    pub fn progress_token(self) -> Option<Id> {
        Id::from_raw(self.member(super::PROGRESS_TOKEN)?)
    }

    /// `traceparent` (W3C Trace Context).
    pub fn traceparent(self) -> Option<Cow<'a, str>> {
        self.text("traceparent")
    }

    /// `tracestate` (W3C Trace Context).
    pub fn tracestate(self) -> Option<Cow<'a, str>> {
        self.text("tracestate")
    }

    /// `baggage` (W3C Baggage). Untrusted.
    pub fn baggage(self) -> Option<Cow<'a, str>> {
        self.text("baggage")
    }
}
