//! From the places of members to a message: the rules of JSON-RPC 2.0, and the splices.

use std::sync::Arc;

use bytes::Bytes;

use super::{MAX_METHOD, Message, Notification, Parts, Request, Response};
use crate::error::{DecodeError, DecodeFault};
use crate::json::{Envelope, Kind, Limits, Place, Raw, Scanner, Span};
use crate::{Id, Method};

/// Makes a message of its bytes. `origin` is where they start in the body, for offsets.
pub(super) fn message(
    bytes: Bytes,
    envelope: Envelope,
    origin: usize,
) -> Result<Message, DecodeError> {
    let fault = |fault, span: Option<Span>| DecodeError {
        fault,
        offset: origin + span.map_or(0, |span| span.start as usize),
    };
    let mut parts = Parts {
        bytes,
        envelope,
        method: Method::Ping,
    };
    let seen = &parts.envelope;
    if seen.jsonrpc.map(|span| parts.raw(span).as_bytes()) != Some(br#""2.0""#) {
        return Err(fault(DecodeFault::Version, seen.jsonrpc));
    }
    let meta = meta_fault(&parts);
    if let Some(span) = meta {
        return Err(fault(DecodeFault::InvalidMeta, Some(span)));
    }
    match (seen.method, seen.id, seen.result, seen.error) {
        (Some(name), id, None, None) => {
            if let Some(span) = seen.params
                && !parts.raw(span).is_object()
            {
                return Err(fault(DecodeFault::InvalidParams, Some(span)));
            }
            let id = match id {
                Some(span) => {
                    Some(Id::from_raw(parts.raw(span)).ok_or(fault(DecodeFault::InvalidId, id))?)
                }
                None => None,
            };
            parts.method =
                method(parts.raw(name)).ok_or(fault(DecodeFault::InvalidMethod, Some(name)))?;
            let parts = Arc::new(parts);
            Ok(match id {
                Some(id) => Message::Request(Request { parts, id }),
                None => Message::Notification(Notification { parts }),
            })
        }
        (None, id, result, error)
            if seen.params.is_none() && result.is_some() != error.is_some() =>
        {
            if let Some(span) = result
                && !parts.raw(span).is_object()
            {
                return Err(fault(DecodeFault::InvalidResult, result));
            }
            if error.is_some() && !is_error(&parts) {
                return Err(fault(DecodeFault::InvalidError, error));
            }
            let id = match id {
                Some(span) if !(parts.raw(span).is_null() && error.is_some()) => {
                    Some(Id::from_raw(parts.raw(span)).ok_or(fault(DecodeFault::InvalidId, id))?)
                }
                Some(_) => None,
                None if error.is_some() => None,
                None => return Err(fault(DecodeFault::InvalidId, None)),
            };
            Ok(Message::Response(Response {
                parts: Arc::new(parts),
                id,
            }))
        }
        _ => Err(fault(DecodeFault::Shape, None)),
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

/// The parts under another id. The id is known to be one, so only the places after it move; nothing is judged again.
pub(super) fn with_id(parts: &Parts, id: &Id) -> Arc<Parts> {
    let Some(span) = parts.envelope.id else {
        // An error response without an id: it gets one in front.
        return with_first_id(parts, id);
    };
    let json = id.as_json();
    let mut envelope = parts.envelope.clone();
    let (from, to) = (span.end, span.start + json.len() as u32);
    shift(&mut envelope, from, |place| place - from + to);
    envelope.id = Some(Span {
        start: span.start,
        end: to,
    });
    Arc::new(Parts {
        bytes: parts.spliced(span, json),
        envelope,
        method: parts.method.clone(),
    })
}

fn with_first_id(parts: &Parts, id: &Id) -> Arc<Parts> {
    let member = format!(r#""id":{},"#, id.as_json());
    let mut envelope = parts.envelope.clone();
    let grown = member.len() as u32;
    shift(&mut envelope, 1, |place| place + grown);
    envelope.id = Some(Span {
        start: 1 + 5,
        end: 1 + grown - 1,
    });
    Arc::new(Parts {
        bytes: parts.spliced(Span { start: 1, end: 1 }, &member),
        envelope,
        method: parts.method.clone(),
    })
}

/// Moves every span that starts at `from` or later.
fn shift(envelope: &mut Envelope, from: u32, to: impl Fn(u32) -> u32) {
    let moved = |span: &mut Span| {
        if span.start >= from {
            *span = Span {
                start: to(span.start),
                end: to(span.end),
            };
        }
    };
    let slots = [
        &mut envelope.jsonrpc,
        &mut envelope.id,
        &mut envelope.method,
        &mut envelope.params,
        &mut envelope.result,
        &mut envelope.error,
    ];
    slots.into_iter().flatten().for_each(moved);
    for member in &mut envelope.members {
        moved(&mut member.key);
        moved(&mut member.value);
    }
}

/// Judges changed bytes like any reply (the wider limits: what was added is ours).
fn judge(bytes: Bytes) -> Result<Message, DecodeError> {
    let mut scanner = Scanner::new(&bytes, &Limits::reply())?;
    let (span, envelope) = scanner.message(1)?;
    scanner.end()?;
    message(bytes.slice(span.range()), envelope, span.start as usize)
}

fn params_spliced(parts: &Parts, params: &str) -> Result<Message, DecodeError> {
    match parts.envelope.params {
        Some(span) => judge(parts.spliced(span, params)),
        None => {
            let end = parts.bytes.len().saturating_sub(1) as u32;
            judge(parts.spliced(Span { start: end, end }, &format!(r#","params":{params}"#)))
        }
    }
}

pub(super) fn with_params(parts: &Parts, params: &str) -> Result<Request, DecodeError> {
    match params_spliced(parts, params)? {
        Message::Request(request) => Ok(request),
        Message::Notification(_) | Message::Response(_) => Err(shape()),
    }
}

pub(super) fn notification_with_params(
    parts: &Parts,
    params: &str,
) -> Result<Notification, DecodeError> {
    match params_spliced(parts, params)? {
        Message::Notification(notification) => Ok(notification),
        Message::Request(_) | Message::Response(_) => Err(shape()),
    }
}

pub(super) fn with_result(parts: &Parts, result: &str) -> Result<Response, DecodeError> {
    let span = parts.envelope.result.ok_or(shape())?;
    match judge(parts.spliced(span, result))? {
        Message::Response(response) => Ok(response),
        Message::Request(_) | Message::Notification(_) => Err(shape()),
    }
}

fn shape() -> DecodeError {
    DecodeError {
        fault: DecodeFault::Shape,
        offset: 0,
    }
}
