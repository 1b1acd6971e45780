//! Messages with one part replaced and every other byte as it was.

use std::sync::Arc;

use super::{Message, Notification, Parts, Request, Response, build};
use crate::Id;
use crate::error::{DecodeError, DecodeFault};
use crate::json::{Envelope, Limits, Place, Scanner, Span};

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

/// The message with `span` replaced by `before` and `json`, judged again like any reply (the wider limits: what was added is
/// ours). What `find` finds in it must be `json` and nothing else, so that no text closes its member and opens others.
fn judged(
    parts: &Parts,
    span: Span,
    before: &str,
    json: &str,
    find: impl Fn(&Parts) -> Option<Span>,
) -> Result<Message, DecodeError> {
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    let bytes = parts.spliced(span, &format!("{before}{json}"));
    let mut scanner = Scanner::new(&bytes, &Limits::reply())?;
    let (whole, envelope) = scanner.message(1)?;
    scanner.end()?;
    let message = build::message(bytes.slice(whole.range()), envelope, whole.start as usize)?;
    let start = span.start as usize + before.len();
    match find(message.parts()) {
        Some(found) if found.range() == (start..start + json.len()) => Ok(message),
        Some(_) | None => Err(shape()),
    }
}

/// With other `params`, put at the end if there are none.
pub(super) fn with_params(parts: &Parts, params: &str) -> Result<Message, DecodeError> {
    let find = |parts: &Parts| parts.envelope.params;
    match parts.envelope.params {
        Some(span) => judged(parts, span, "", params, find),
        None => {
            let end = parts.bytes.len().saturating_sub(1) as u32;
            judged(
                parts,
                Span { start: end, end },
                r#","params":"#,
                params,
                find,
            )
        }
    }
}

/// With another `result`; only where there is one.
pub(super) fn with_result(parts: &Parts, result: &str) -> Result<Message, DecodeError> {
    let span = parts.envelope.result.ok_or_else(shape)?;
    judged(parts, span, "", result, |parts| parts.envelope.result)
}

/// With the value of one member replaced; nothing if there is no such member.
pub(super) fn with_member(
    parts: &Parts,
    place: Place,
    key: &str,
    json: &str,
) -> Result<Option<Message>, DecodeError> {
    let find = |parts: &Parts| parts.find(place, key).map(|member| member.value);
    match find(parts) {
        Some(span) => judged(parts, span, "", json, find).map(Some),
        None => Ok(None),
    }
}

/// With keys of `params._meta` set to raw JSON, or left out; `_meta` and `params` are put in if something is to be set and
/// they are not there.
pub(super) fn with_meta_keys(
    parts: &Parts,
    changes: &[(&str, Option<&str>)],
) -> Result<Option<Message>, DecodeError> {
    const META: &str = "_meta";
    let find = |parts: &Parts| parts.find(Place::Params, META).map(|member| member.value);
    let there = find(parts);
    let kept = there
        .into_iter()
        .flat_map(|span| parts.raw(span).members())
        .filter(|(key, _)| !changes.iter().any(|(changed, _)| key.is_text(changed)))
        .map(|(key, value)| format!("{}:{}", key.as_str(), value.as_str()));
    let set = changes
        .iter()
        .filter_map(|(key, value)| Some(format!("\"{key}\":{}", (*value)?)));
    let members: Vec<String> = kept.chain(set).collect();
    let meta = format!("{{{}}}", members.join(","));
    match (there, parts.envelope.params) {
        (Some(span), _) => judged(parts, span, "", &meta, find).map(Some),
        (None, _) if members.is_empty() => Ok(None),
        (None, None) => with_params(parts, &format!("{{\"{META}\":{meta}}}")).map(Some),
        (None, Some(params)) => {
            let end = params.end.saturating_sub(1);
            let is_empty = parts.raw(params).members().next().is_none();
            let before = if is_empty { "" } else { "," };
            let before = format!("{before}\"{META}\":");
            judged(parts, Span { start: end, end }, &before, &meta, find).map(Some)
        }
    }
}

/// The message as the kind it was before the splice.
pub(super) fn request(message: Message) -> Result<Request, DecodeError> {
    match message {
        Message::Request(request) => Ok(request),
        Message::Notification(_) | Message::Response(_) => Err(shape()),
    }
}

/// See [`request`].
pub(super) fn notification(message: Message) -> Result<Notification, DecodeError> {
    match message {
        Message::Notification(notification) => Ok(notification),
        Message::Request(_) | Message::Response(_) => Err(shape()),
    }
}

/// See [`request`].
pub(super) fn response(message: Message) -> Result<Response, DecodeError> {
    match message {
        Message::Response(response) => Ok(response),
        Message::Request(_) | Message::Notification(_) => Err(shape()),
    }
}

pub(super) fn shape() -> DecodeError {
    DecodeError {
        fault: DecodeFault::Shape,
        offset: 0,
    }
}
