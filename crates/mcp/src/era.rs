//! Which revision a body speaks, from headers and body together.
//!
//! The rules (2026-07-28 basic/versioning.mdx and streamable-http.mdx, 2025-11-25 basic/transports.mdx), first match wins:
//!
//! 1. Modern: the body's `_meta` has one of the keys only modern requests have, or `MCP-Protocol-Version` names a
//!    stateless revision. Then header and `_meta` must both name the same revision, and `Mcp-Method` and `Mcp-Name` must
//!    equal the body. `Mcp-Session-Id` and `Last-Event-ID` are ignored, as the revision demands: a modern body never
//!    touches a session, whoever's id stands in the header, so there is nothing to disagree with.
//! 2. `initialize` opens a stateful session; it speaks the revision it asks for, if that is a stateful one we know.
//! 3. Everything else speaks its session's revision, whichever of those with sessions the header names; without a session
//!    what the header names, or 2025-03-26.
//!
//! On stateful revisions the mirrored headers mean nothing and are not looked at.

mod error;
#[cfg(test)]
mod tests;

pub use error::{EraError, EraFault};

use crate::header::Mirrored;
use crate::json::Raw;
use crate::message::{Body, Message, Meta, Request};
use crate::method::Method;
use crate::revision::{Era, Revision};

/// The keys of `_meta` that say a body is modern.
const MODERN_KEYS: [&str; 3] = [
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
];

/// How a body is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The revision it speaks.
    pub revision: Revision,
    /// With a session or without.
    pub era: Era,
}

impl Framing {
    fn of(revision: Revision) -> Self {
        Self {
            revision,
            era: revision.era(),
        }
    }
}

/// Decides which revision `body` speaks.
///
/// `session` is the revision of the live session that `Mcp-Session-Id` named, if it named one. Whether a method belongs to
/// the revision is not asked here; see [`Revision::permits`].
///
/// # Errors
/// Headers and body that disagree, revisions we do not speak, and what the revision does not have (batches, answers from
/// clients). All of them are answered with status 400.
pub fn classify(
    headers: &Mirrored<'_>,
    body: &Body,
    session: Option<Revision>,
) -> Result<Framing, EraError> {
    let named = headers.protocol_version.and_then(Revision::parse);
    let stateless = named.filter(|revision| revision.era() == Era::Stateless);
    match body {
        Body::Single(message) if stateless.is_some() || is_modern(message) => {
            modern(headers, message)
        }
        Body::Single(message) => {
            if let Some(request) = initialize(message) {
                known(headers)?;
                return opening(request);
            }
            stateful(headers, session).map(Framing::of)
        }
        Body::Batch(messages) => {
            if stateless.is_some() || messages.iter().any(is_modern) {
                return Err(EraError::of(EraFault::Batch));
            }
            let revision = stateful(headers, session)?;
            batch(messages, revision)?;
            Ok(Framing::of(revision))
        }
    }
}

/// Whether the body itself says that it is modern.
fn is_modern(message: &Message) -> bool {
    match message {
        Message::Request(request) => has_modern_keys(request.meta()),
        Message::Notification(notification) => has_modern_keys(notification.meta()),
        Message::Response(_) => false,
    }
}

fn has_modern_keys(meta: Meta<'_>) -> bool {
    !meta.is_empty() && MODERN_KEYS.iter().any(|key| meta.member(key).is_some())
}

fn initialize(message: &Message) -> Option<&Request> {
    match message {
        Message::Request(request) if *request.method() == Method::Initialize => Some(request),
        Message::Request(_) | Message::Notification(_) | Message::Response(_) => None,
    }
}

/// A modern body: one request, or one notification.
fn modern(headers: &Mirrored<'_>, message: &Message) -> Result<Framing, EraError> {
    match message {
        Message::Request(request) => {
            let revision = modern_revision(headers, request.meta(), true)?;
            mirrors(headers, request)?;
            Ok(Framing::of(revision))
        }
        // The revision defines no headers for notifications; those that are there must still be true.
        Message::Notification(notification) => {
            let revision = modern_revision(headers, notification.meta(), false)?;
            mirrors_method(headers, notification.method(), false)?;
            Ok(Framing::of(revision))
        }
        Message::Response(_) => Err(EraError::of(EraFault::ClientResponse)),
    }
}

fn modern_revision(
    headers: &Mirrored<'_>,
    meta: Meta<'_>,
    request: bool,
) -> Result<Revision, EraError> {
    let header = headers
        .protocol_version
        .ok_or_else(|| EraError::missing_header("MCP-Protocol-Version"))?;
    let body = match meta.member("io.modelcontextprotocol/protocolVersion") {
        Some(raw) => Some(
            raw.string()
                .ok_or_else(|| EraError::of(EraFault::Metadata))?,
        ),
        None if request => return Err(EraError::of(EraFault::Metadata)),
        None => None,
    };
    if request && meta.client_capabilities().is_none() {
        return Err(EraError::of(EraFault::Metadata));
    }
    if body.is_some_and(|version| version != header) {
        return Err(EraError::mismatch("MCP-Protocol-Version"));
    }
    Revision::parse(header)
        .filter(|revision| revision.era() == Era::Stateless)
        .ok_or_else(|| EraError::unsupported(header))
}

/// `Mcp-Method` and `Mcp-Name` against the body.
fn mirrors(headers: &Mirrored<'_>, request: &Request) -> Result<(), EraError> {
    mirrors_method(headers, request.method(), true)?;
    let Some(key) = mirrored_param(request.method()) else {
        return Ok(());
    };
    match (request.param(key).and_then(Raw::string), &headers.name) {
        (Some(body), Some(header)) if body == *header => Ok(()),
        (Some(_), None) => Err(EraError::missing_header("Mcp-Name")),
        // A name in neither place is the method's own fault, not the header's.
        (None, None) => Ok(()),
        (Some(_) | None, Some(_)) => Err(EraError::mismatch("Mcp-Name")),
    }
}

fn mirrors_method(headers: &Mirrored<'_>, method: &Method, required: bool) -> Result<(), EraError> {
    match &headers.method {
        Some(header) if header == method.as_str() => Ok(()),
        Some(_) => Err(EraError::mismatch("Mcp-Method")),
        None if required => Err(EraError::missing_header("Mcp-Method")),
        None => Ok(()),
    }
}

/// The member of `params` that `Mcp-Name` mirrors. For completions and subscriptions none is defined.
fn mirrored_param(method: &Method) -> Option<&'static str> {
    if matches!(method, Method::ToolsCall | Method::PromptsGet) {
        return Some("name");
    }
    if *method == Method::ResourcesRead {
        return Some("uri");
    }
    // `tasks/result` is gone in 2026-07-28: an unknown method is refused as that, whatever its headers.
    let tasks = [Method::TasksGet, Method::TasksUpdate, Method::TasksCancel];
    tasks.contains(method).then_some("taskId")
}

/// A version header we do not know is refused on every stateful message, `initialize` too.
fn known(headers: &Mirrored<'_>) -> Result<Option<Revision>, EraError> {
    match headers.protocol_version {
        Some(name) => match Revision::parse(name) {
            Some(revision) => Ok(Some(revision)),
            None => Err(EraError::of(EraFault::UnknownVersion)),
        },
        None => Ok(None),
    }
}

/// `initialize` names its revision in the body. A header beside it may name another one: a client that opens a second
/// session still carries the revision of its first.
fn opening(request: &Request) -> Result<Framing, EraError> {
    let requested = request.param("protocolVersion").and_then(Raw::string);
    let requested = requested.ok_or_else(|| EraError::of(EraFault::Metadata))?;
    Ok(Framing::of(Revision::negotiate(&requested)))
}

fn stateful(headers: &Mirrored<'_>, session: Option<Revision>) -> Result<Revision, EraError> {
    let named = known(headers)?;
    Ok(session.or(named).unwrap_or(Revision::ASSUMED))
}

/// 2025-03-26 basic/transports.mdx: requests and notifications, or responses, and never `initialize`.
fn batch(messages: &[Message], revision: Revision) -> Result<(), EraError> {
    if !revision.facts().batches {
        return Err(EraError::of(EraFault::Batch));
    }
    if messages.iter().any(|message| initialize(message).is_some()) {
        return Err(EraError::of(EraFault::BatchedInitialize));
    }
    let responses = messages
        .iter()
        .filter(|message| matches!(message, Message::Response(_)))
        .count();
    if responses != 0 && responses != messages.len() {
        return Err(EraError::of(EraFault::MixedBatch));
    }
    for (count, message) in messages.iter().enumerate() {
        let earlier = messages.iter().take(count);
        if message.id().is_some()
            && earlier
                .filter_map(Message::id)
                .any(|id| Some(id) == message.id())
        {
            return Err(EraError::of(EraFault::BatchedTwice));
        }
    }
    Ok(())
}
