//! From the places of members to a message: the rules of JSON-RPC 2.0.

use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_METHOD, Message, Notification, Parts, Request, Response};
use crate::error::{DecodeError, DecodeFault};
use crate::json::{Envelope, Kind, Place, Raw, Span};
use crate::{Id, Method};

/// Makes a message of its bytes. `origin` is where they start in the body, for offsets.
pub(super) fn message(
    bytes: Bytes,
    envelope: Envelope,
    origin: usize,
) -> Result<Message, DecodeError> {
    let parts = Parts {
        bytes,
        envelope,
        method: Method::Ping,
    };
    let judged = judge_version(&parts).and_then(|()| match parts.envelope.method {
        Some(name) => call(parts, name),
        None => response(parts),
    });
    judged.map_err(|error| DecodeError {
        offset: origin + error.offset,
        ..error
    })
}

fn judge_version(parts: &Parts) -> Result<(), DecodeError> {
    let version = parts.envelope.jsonrpc;
    if version.map(|span| parts.raw(span).as_bytes()) != Some(br#""2.0""#) {
        return Err(fault(DecodeFault::Version, version));
    }
    match meta_fault(parts) {
        Some(span) => Err(fault(DecodeFault::InvalidMeta, Some(span))),
        None => Ok(()),
    }
}

/// A message with a method: a request if it has an id.
fn call(mut parts: Parts, name: Span) -> Result<Message, DecodeError> {
    let seen = &parts.envelope;
    if seen.result.is_some() || seen.error.is_some() {
        return Err(fault(DecodeFault::Shape, None));
    }
    if let Some(span) = seen.params
        && !parts.raw(span).is_object()
    {
        return Err(fault(DecodeFault::InvalidParams, Some(span)));
    }
    let id = seen.id.map(|span| id(&parts, span)).transpose()?;
    parts.method = match method(parts.raw(name)) {
        Some(method) => method,
        None => return Err(fault(DecodeFault::InvalidMethod, Some(name))),
    };
    let parts = Arc::new(parts);
    Ok(match id {
        Some(id) => Message::Request(Request { parts, id }),
        None => Message::Notification(Notification { parts }),
    })
}

/// A message without a method: it answers. Only errors may have no id, or null: they answer what could not be read.
fn response(parts: Parts) -> Result<Message, DecodeError> {
    let seen = &parts.envelope;
    if seen.params.is_some() || seen.result.is_some() == seen.error.is_some() {
        return Err(fault(DecodeFault::Shape, None));
    }
    if let Some(span) = seen.result
        && !parts.raw(span).is_object()
    {
        return Err(fault(DecodeFault::InvalidResult, Some(span)));
    }
    let is_failure = seen.error.is_some();
    if is_failure && !is_error(&parts) {
        return Err(fault(DecodeFault::InvalidError, seen.error));
    }
    let id = match seen.id {
        Some(span) if is_failure && parts.raw(span).is_null() => None,
        Some(span) => Some(id(&parts, span)?),
        None if is_failure => None,
        None => return Err(fault(DecodeFault::InvalidId, None)),
    };
    let parts = Arc::new(parts);
    Ok(Message::Response(Response { parts, id }))
}

fn id(parts: &Parts, span: Span) -> Result<Id, DecodeError> {
    match Id::from_raw(parts.raw(span)) {
        Some(id) => Ok(id),
        None => Err(fault(DecodeFault::InvalidId, Some(span))),
    }
}

fn fault(fault: DecodeFault, span: Option<Span>) -> DecodeError {
    DecodeError {
        fault,
        offset: span.map_or(0, |span| span.start as usize),
    }
}

fn method(raw: Raw<'_>) -> Option<Method> {
    let name = raw.string()?;
    (!name.is_empty() && name.len() <= MAX_METHOD).then(|| Method::parse(&name))
}

/// A `_meta` that is no object.
fn meta_fault(parts: &Parts) -> Option<Span> {
    parts
        .envelope
        .members
        .iter()
        .find(|member| {
            matches!(member.place, Place::Params | Place::Result)
                && parts.raw(member.key).is_text("_meta")
                && !parts.raw(member.value).is_object()
        })
        .map(|member| member.value)
}

fn is_error(parts: &Parts) -> bool {
    let code = parts.member(Place::Error, "code").and_then(Raw::integer);
    let message = parts.member(Place::Error, "message").map(Raw::kind);
    code.is_some() && message == Some(Kind::String)
}
