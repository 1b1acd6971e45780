//! Credential: the only place where a call gets the header lines the server will see.
//!
//! They are built from nothing, so no line of the client's can travel by accident: not its `Authorization`, not its
//! `Cookie`, no hop-by-hop line. Servers that need a credential of their own get it here in a later version.

mod context;

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use keepgate_call::{Ask, Call, Code, Refusal};
use keepgate_mcp::{
    Era, header as mirror,
    message::{Message, Request},
    method::{Method, Subject},
};

use keepgate_telemetry::trace::Tracer;

use super::{audit::Recorded, session::Bound};
use crate::gate::Gate;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Arms calls for their way to the server.
#[derive(Debug, Clone)]
pub struct Attach {
    tracer: Arc<Tracer>,
}

impl Attach {
    /// A gate that tells servers the trace context as `tracer` allows.
    pub fn new(tracer: &Arc<Tracer>) -> Self {
        Self {
            tracer: Arc::clone(tracer),
        }
    }
}

/// A call ready to be sent. Only this file makes one, and only from a call whose intent is on record.
#[derive(Debug)]
pub struct Armed {
    bound: Bound,
    headers: HeaderMap,
}

impl Armed {
    /// The call.
    pub fn call(&self) -> &Arc<Call> {
        &self.bound.call
    }

    /// The call and every header line that goes with it.
    pub fn into_parts(self) -> (Bound, HeaderMap) {
        (self.bound, self.headers)
    }
}

impl Gate<Recorded> for Attach {
    type Out = Armed;

    async fn pass(&self, recorded: Recorded) -> Result<Armed, Refusal> {
        let bound = recorded.into_bound();
        let mut headers = headers(&bound.call)?;
        if let Some(id) = &bound.resume {
            headers.insert(LAST_EVENT_ID, value(id.clone())?);
        }
        context::attach(&bound.call, &self.tracer, &mut headers)?;
        Ok(Armed { bound, headers })
    }
}

fn headers(call: &Call) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(8);
    let accept = match call.ask {
        Ask::Message(_) => {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            "application/json, text/event-stream"
        }
        Ask::Listen => "text/event-stream",
        Ask::End => "application/json",
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    // 2025-03-26 knows no such header, and at `initialize` the version is still being agreed on.
    if call.revision.facts().version_header && !is_initialize(call) {
        headers.insert(
            PROTOCOL_VERSION,
            HeaderValue::from_static(call.revision.as_str()),
        );
    }
    if call.revision.era() == Era::Stateless {
        mirrored(call, &mut headers)?;
    }
    Ok(headers)
}

fn is_initialize(call: &Call) -> bool {
    matches!(&call.ask, Ask::Message(Message::Request(request)) if *request.method() == Method::Initialize)
}

/// Mirrors the body, never the client's lines: they were compared with it already, and what we say must be what we
/// judged (SEP-2243).
fn mirrored(call: &Call, headers: &mut HeaderMap) -> Result<(), Refusal> {
    let Ask::Message(message) = &call.ask else {
        return Ok(());
    };
    if let Some(method) = message.method() {
        headers.insert(METHOD, text(method.as_str())?);
    }
    if let Message::Request(request) = message
        && let Some(name) = mirrored_name(request)
    {
        headers.insert(NAME, text(&name)?);
    }
    for (name, line) in &call.passed.params {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| Refusal::new(Code::HeaderInvalid).source(error))?;
        headers.insert(name, value(line.clone())?);
    }
    Ok(())
}

/// What `Mcp-Name` mirrors, for the methods that have one.
fn mirrored_name(request: &Request) -> Option<Cow<'_, str>> {
    match request.subject() {
        Subject::Tool(name) | Subject::Prompt(name) | Subject::Task(name) => Some(name),
        Subject::Resource(uri) if *request.method() == Method::ResourcesRead => Some(uri),
        Subject::Resource(_)
        | Subject::Completion { .. }
        | Subject::Listing(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

fn text(text: &str) -> Result<HeaderValue, Refusal> {
    value(bytes::Bytes::copy_from_slice(
        mirror::encode_value(text).as_bytes(),
    ))
}

fn value(bytes: bytes::Bytes) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_maybe_shared(bytes)
        .map_err(|error| Refusal::new(Code::HeaderInvalid).source(error))
}
