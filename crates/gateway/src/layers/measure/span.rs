//! From a call to its span: names and attributes of the OpenTelemetry conventions for MCP, and ours under `keepgate.`.
//!
//! Never an argument, never a result, never what a server words an error with, never a name a client made up.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use keepgate_call::{Ask, Call, trace::Spans};
use keepgate_mcp::{message::Message, method::Subject};
use keepgate_telemetry::{metrics::OTHER, trace::Span};
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanKind},
};

use super::{Destination, ended::Ended, method};

/// The longest text of a client that stands in an attribute, in bytes.
const TEXT_LONGEST: usize = 256;

/// What was measured.
pub(super) struct Measured<'a> {
    pub(super) kind: SpanKind,
    pub(super) context: &'a SpanContext,
    pub(super) spans: &'a Spans,
    pub(super) to: Option<&'a Destination>,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
}

type Attributes = Vec<KeyValue>;

impl Measured<'_> {
    /// The span.
    pub(super) fn span(self, call: &Call, ended: &Ended<'_>) -> Span {
        let method = method(call).unwrap_or(OTHER);
        let mut attributes = Attributes::with_capacity(20);
        attributes.push(KeyValue::new("mcp.method.name", method));
        let about = about(call, &mut attributes);
        // A refusal that shares a record is found under the id it was answered with.
        let decision = if let Ended::Refused(refusal) = ended {
            refusal.decision.unwrap_or(call.id)
        } else {
            call.id
        };
        attributes.extend([
            KeyValue::new("mcp.protocol.version", call.revision.as_str()),
            KeyValue::new("keepgate.server.name", call.server.to_string()),
            KeyValue::new("keepgate.tenant", call.caller.tenant.to_string()),
            KeyValue::new("keepgate.decision.id", decision.to_string()),
        ]);
        if let Some(session) = self.spans.session.get() {
            attributes.push(KeyValue::new("mcp.session.id", session.to_string()));
        }
        let is_client = self.kind == SpanKind::Client;
        if is_client {
            self.server(&mut attributes);
        } else {
            self.client(call, ended, &mut attributes);
        }
        let error = ended.error();
        if let Some(error) = &error {
            attributes.push(KeyValue::new("error.type", error.clone()));
        }
        if let Some(code) = ended.status() {
            attributes.push(KeyValue::new("rpc.response.status_code", code.to_string()));
        }
        let (parent, is_remote, links) = if is_client {
            (Some(self.spans.server.span_id()), false, Vec::new())
        } else {
            let spans = self.spans;
            (spans.parent, spans.is_remote, spans.links.clone())
        };
        Span {
            kind: self.kind,
            context: self.context.clone(),
            parent,
            is_remote,
            links,
            name: match about {
                Some(about) => format!("{method} {about}"),
                None => method.to_owned(),
            },
            began: self.began,
            took: self.took,
            attributes,
            error,
        }
    }

    /// What the client span says of the server.
    fn server(&self, attributes: &mut Attributes) {
        let Some(to) = self.to else { return };
        attributes.push(KeyValue::new("network.transport", to.transport));
        if let Some(address) = &to.address {
            attributes.extend([
                KeyValue::new("network.protocol.name", "http"),
                KeyValue::new("server.address", address.clone()),
            ]);
        }
        if let Some(port) = to.port {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
    }

    /// What the server span says of the client, and of the decision.
    fn client(&self, call: &Call, ended: &Ended<'_>, attributes: &mut Attributes) {
        attributes.extend([
            KeyValue::new("network.transport", "tcp"),
            KeyValue::new("network.protocol.name", "http"),
        ]);
        if let Some(peer) = call.peer {
            attributes.push(KeyValue::new("client.address", peer.ip().to_string()));
            // Proxies name addresses without ports.
            if peer.port() != 0 {
                attributes.push(KeyValue::new("client.port", i64::from(peer.port())));
            }
        }
        let judged = self.spans.judgement.get();
        if let Some(judged) = judged {
            attributes.extend([
                KeyValue::new("keepgate.policy.effect", judged.effect),
                KeyValue::new("keepgate.policy.revision", Arc::clone(&judged.revision)),
            ]);
        }
        if let Some(beside) = call.beside.noted() {
            attributes.extend([
                KeyValue::new("keepgate.policy.shadow", beside.would),
                KeyValue::new("keepgate.policy.shadow.codes", beside.codes.clone()),
            ]);
        }
        let denied = if let Ended::Refused(refusal) = ended {
            Some(*refusal)
        } else {
            None
        };
        if let (None, Some(revision)) = (judged, denied.and_then(|refusal| refusal.policy.as_ref()))
        {
            attributes.extend([
                KeyValue::new("keepgate.policy.effect", "deny"),
                KeyValue::new("keepgate.policy.revision", revision.to_string()),
            ]);
        }
        let reason = judged.and_then(|judged| judged.reason.as_ref());
        let reason = denied
            .and_then(|refusal| refusal.reasons.first())
            .map(|(code, _)| code)
            .or(reason);
        if let Some(reason) = reason {
            let reason = cut(reason).to_owned();
            attributes.push(KeyValue::new("keepgate.policy.reason_code", reason));
        }
    }
}

/// What a request is about, as attributes; gives what belongs into the span's name. A tool by the name the server has
/// listed, a prompt or resource only when policy has let it pass: everything else is a client's own text.
fn about(call: &Call, attributes: &mut Attributes) -> Option<String> {
    let Ask::Message(Message::Request(request)) = &call.ask else {
        return None;
    };
    let id = request.id().to_string();
    attributes.push(KeyValue::new("jsonrpc.request.id", cut(&id).to_owned()));
    match request.subject() {
        Subject::Tool(name) => {
            attributes.push(KeyValue::new("gen_ai.operation.name", "execute_tool"));
            let name = if call.trace.is_listed() {
                cut(&name).to_owned()
            } else {
                OTHER.to_owned()
            };
            attributes.push(KeyValue::new("gen_ai.tool.name", name.clone()));
            Some(name)
        }
        Subject::Prompt(name) if call.is_intended() => {
            let name = cut(&name).to_owned();
            attributes.push(KeyValue::new("gen_ai.prompt.name", name.clone()));
            Some(name)
        }
        Subject::Resource(uri) if call.is_intended() => {
            attributes.push(KeyValue::new("mcp.resource.uri", bare(&uri)));
            None
        }
        Subject::Prompt(_)
        | Subject::Resource(_)
        | Subject::Completion { .. }
        | Subject::Task(_)
        | Subject::Listing(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

/// A URI without what often is a secret: user, query and fragment.
fn bare(uri: &str) -> String {
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let uri = uri.get(..end).unwrap_or_default();
    let Some((scheme, rest)) = uri.split_once("://") else {
        return cut(uri).to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    cut(&format!("{scheme}://{host}{path}")).to_owned()
}

/// At most [`TEXT_LONGEST`] bytes of a text.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
