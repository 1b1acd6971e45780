//! From a call to its span: names and attributes of the OpenTelemetry conventions for MCP, and ours under `keepgate.`.
//!
//! Never an argument, never a result, never what a server words an error with, never a name a client made up.

use std::time::{Duration, SystemTime};

use keepgate_call::{
    Ask, Call,
    trace::{SpanContext, Spans},
};
use keepgate_mcp::{message::Message, method::Subject};
use keepgate_telemetry::{
    metrics::OTHER,
    trace::{Side, Span, Value},
};

use super::{Destination, ended::Ended, method};

/// The longest text of a client that stands in an attribute, in bytes.
const TEXT_LONGEST: usize = 256;

/// What was measured.
pub(super) struct Measured<'a> {
    pub(super) side: Side,
    pub(super) context: &'a SpanContext,
    pub(super) spans: &'a Spans,
    pub(super) to: Option<&'a Destination>,
    pub(super) began: SystemTime,
    pub(super) took: Duration,
}

type Attributes = Vec<(&'static str, Value)>;

impl Measured<'_> {
    /// The span.
    pub(super) fn span(self, call: &Call, ended: &Ended<'_>) -> Span {
        let method = method(call).unwrap_or(OTHER);
        let mut attributes = Attributes::with_capacity(20);
        attributes.push(("mcp.method.name", method.into()));
        let about = about(call, &mut attributes);
        attributes.push(("mcp.protocol.version", call.revision.as_str().into()));
        attributes.push(("keepgate.server.name", call.server.to_string().into()));
        attributes.push(("keepgate.tenant", call.caller.tenant.to_string().into()));
        attributes.push(("keepgate.decision.id", call.id.to_string().into()));
        if let Some(session) = self.spans.session.get() {
            attributes.push(("mcp.session.id", session.to_string().into()));
        }
        match self.side {
            Side::Client => self.server(&mut attributes),
            Side::Server | Side::Internal => self.client(call, ended, &mut attributes),
        }
        let error = ended.error();
        if let Some(error) = &error {
            attributes.push(("error.type", Value::Text(error.clone())));
        }
        if let Some(code) = ended.status() {
            attributes.push(("rpc.response.status_code", code.to_string().into()));
        }
        let (parent, is_remote) = match self.side {
            Side::Client => (Some(self.spans.server.span), false),
            Side::Server | Side::Internal => (self.spans.parent, self.spans.is_remote),
        };
        Span {
            side: self.side,
            context: self.context.clone(),
            parent,
            is_remote,
            links: match self.side {
                Side::Client => Vec::new(),
                Side::Server | Side::Internal => self.spans.links.clone(),
            },
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
        attributes.push(("network.transport", to.transport.into()));
        if let Some(address) = &to.address {
            attributes.push(("network.protocol.name", "http".into()));
            attributes.push(("server.address", address.clone().into()));
        }
        if let Some(port) = to.port {
            attributes.push(("server.port", i64::from(port).into()));
        }
    }

    /// What the server span says of the client, and of the decision.
    fn client(&self, call: &Call, ended: &Ended<'_>, attributes: &mut Attributes) {
        attributes.push(("network.transport", "tcp".into()));
        attributes.push(("network.protocol.name", "http".into()));
        if let Some(peer) = call.peer {
            attributes.push(("client.address", peer.ip().to_string().into()));
            attributes.push(("client.port", i64::from(peer.port()).into()));
        }
        let judged = self.spans.judgement.get();
        if let Some(judged) = judged {
            attributes.push(("keepgate.policy.effect", judged.effect.into()));
            attributes.push((
                "keepgate.policy.revision",
                judged.revision.to_string().into(),
            ));
        }
        let denied = if let Ended::Refused(refusal) = ended {
            Some(*refusal)
        } else {
            None
        };
        if let (None, Some(revision)) = (judged, denied.and_then(|refusal| refusal.policy.as_ref()))
        {
            attributes.push(("keepgate.policy.effect", "deny".into()));
            attributes.push(("keepgate.policy.revision", revision.to_string().into()));
        }
        let reason = judged.and_then(|judged| judged.reason.as_ref());
        let reason = denied
            .and_then(|refusal| refusal.reasons.first())
            .map(|(code, _)| code)
            .or(reason);
        if let Some(reason) = reason {
            attributes.push(("keepgate.policy.reason_code", cut(reason).to_owned().into()));
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
    attributes.push(("jsonrpc.request.id", cut(&id).to_owned().into()));
    match request.subject() {
        Subject::Tool(name) => {
            attributes.push(("gen_ai.operation.name", "execute_tool".into()));
            let name = if call.trace.is_listed() {
                cut(&name).to_owned()
            } else {
                OTHER.to_owned()
            };
            attributes.push(("gen_ai.tool.name", name.clone().into()));
            Some(name)
        }
        Subject::Prompt(name) if call.is_intended() => {
            let name = cut(&name).to_owned();
            attributes.push(("gen_ai.prompt.name", name.clone().into()));
            Some(name)
        }
        Subject::Resource(uri) if call.is_intended() => {
            attributes.push(("mcp.resource.uri", bare(&uri).into()));
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
