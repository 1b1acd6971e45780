//! Messages with one part replaced and every other byte as it was.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{Message, Notification, Parts, Request, Response, build};
use crate::Id;
use crate::error::{DecodeError, DecodeFault};
use crate::json::{Envelope, Limits, Place, Scanner, Span};

/// Text that takes the place of a part of a message. What it replaces and what it is are one JSON value each, so that nothing
/// has to be decoded again.
pub(super) struct Edit<'a> {
    span: Span,
    with: &'a str,
}

impl<'a> Edit<'a> {
    /// An id in place of the id of the message; in front where an error response has none.
    pub(super) fn of_id(parts: &Parts, id: &'a Id) -> Option<Self> {
        let with = id.as_json();
        parts.envelope.id.map(|span| Self { span, with })
    }

    /// An id in place of a member's value; none if there is no such member.
    pub(super) fn of_member(
        parts: &Parts,
        place: Place,
        key: &str,
        id: Option<&'a Id>,
    ) -> Option<Self> {
        let span = parts.find(place, key)?.value;
        let with = id?.as_json();
        Some(Self { span, with })
    }

    fn end(&self) -> u32 {
        self.span.start + self.with.len() as u32
    }
}

/// The bytes with all `edits` made, in one copy.
pub(super) fn edited(parts: &Parts, edits: &mut [Edit<'_>]) -> Bytes {
    edits.sort_unstable_by_key(|edit| edit.span.start);
    let grown: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = Vec::with_capacity(parts.bytes.len() + grown);
    let mut at = 0;
    for edit in &*edits {
        let range = edit.span.range();
        out.extend_from_slice(parts.bytes.get(at..range.start).unwrap_or_default());
        out.extend_from_slice(edit.with.as_bytes());
        at = range.end;
    }
    out.extend_from_slice(parts.bytes.get(at..).unwrap_or_default());
    out.into()
}

/// From this length on a message is edited in place where that can be done; below, a copy costs nothing and stays tidy.
const LONG: usize = 4096;

/// Makes `edits` in the bytes themselves: where nobody else has them, and each edit fits where it goes. Space after a value is
/// nothing in JSON; every place but those of the edits stays.
fn edit_in_place(parts: &mut Parts, edits: &[Edit<'_>]) -> bool {
    let fit = |edit: &Edit<'_>| edit.with.len() <= edit.span.range().len();
    if parts.bytes.len() < LONG || !edits.iter().all(fit) {
        return false;
    }
    let mut bytes = match std::mem::take(&mut parts.bytes).try_into_mut() {
        Ok(bytes) => bytes,
        Err(shared) => {
            parts.bytes = shared;
            return false;
        }
    };
    for edit in edits {
        // Never out of range: the span is of these bytes, and the text fits.
        if let Some((with, space)) = bytes
            .get_mut(edit.span.range())
            .and_then(|place| place.split_at_mut_checked(edit.with.len()))
        {
            with.copy_from_slice(edit.with.as_bytes());
            space.fill(b' ');
        }
    }
    parts.bytes = bytes.freeze();
    let ended = |span: &mut Span| {
        if let Some(edit) = edits.iter().find(|edit| edit.span == *span) {
            span.end = edit.end();
        }
    };
    places(&mut parts.envelope, ended);
    true
}

/// Makes `edits`, in place or in one copy of the bytes, and moves every place to where it is afterwards.
pub(super) fn edit(parts: &mut Arc<Parts>, edits: &mut [Edit<'_>]) {
    if edits.is_empty() {
        return;
    }
    if let Some(own) = Arc::get_mut(parts)
        && edit_in_place(own, edits)
    {
        return;
    }
    let bytes = edited(parts, edits);
    let whole = match Arc::get_mut(parts) {
        Some(own) => own,
        None => {
            *parts = Arc::new(Parts {
                bytes: Bytes::new(),
                envelope: parts.envelope.clone(),
                method: parts.method.clone(),
            });
            let Some(own) = Arc::get_mut(parts) else {
                return;
            };
            own
        }
    };
    whole.bytes = bytes;
    // A place moves by what was put in before it; one that holds the edit ends later, or earlier.
    let moved = |span: &mut Span| {
        let (mut start, mut end) = (i64::from(span.start), i64::from(span.end));
        for edit in &*edits {
            let by = i64::from(edit.end()) - i64::from(edit.span.end);
            if edit.span.end <= span.start {
                start += by;
            }
            if edit.span.end <= span.end {
                end += by;
            }
        }
        *span = Span {
            start: start as u32,
            end: end as u32,
        };
    };
    places(&mut whole.envelope, moved);
}

/// The parts under another id. The id is known to be one, so only the places after it move; nothing is judged again.
pub(super) fn with_id(parts: &Arc<Parts>, id: &Id) -> Arc<Parts> {
    let mut parts = Arc::clone(parts);
    set_id(&mut parts, id, None);
    parts
}

/// Sets the id, and makes one more edit.
pub(super) fn set_id(parts: &mut Arc<Parts>, id: &Id, more: Option<(Place, &str)>) {
    let member = more.and_then(|(place, key)| Edit::of_member(parts, place, key, Some(id)));
    match Edit::of_id(parts, id) {
        Some(own) => {
            let mut edits: SmallVec<[Edit<'_>; 2]> = [own].into_iter().chain(member).collect();
            edit(parts, &mut edits);
        }
        // An error response without an id: it gets one in front.
        None => *parts = with_first_id(parts, id),
    }
}

fn with_first_id(parts: &Parts, id: &Id) -> Arc<Parts> {
    let member = format!(r#""id":{},"#, id.as_json());
    let mut envelope = parts.envelope.clone();
    let grown = member.len() as u32;
    places(&mut envelope, |span| {
        *span = Span {
            start: span.start + grown,
            end: span.end + grown,
        };
    });
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

/// Every place there is.
fn places(envelope: &mut Envelope, moved: impl Fn(&mut Span)) {
    let slots = [
        &mut envelope.jsonrpc,
        &mut envelope.id,
        &mut envelope.method,
        &mut envelope.params,
        &mut envelope.result,
        &mut envelope.error,
    ];
    slots.into_iter().flatten().for_each(&moved);
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

#[cfg(test)]
mod tests;
