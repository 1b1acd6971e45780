//! Messages: what a body decodes to, kept as the bytes that were judged plus the places of their members.

mod build;
mod meta;
mod splice;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
pub use meta::Meta;
use smallvec::SmallVec;

use crate::error::{DecodeError, DecodeFault};
use crate::json::{Envelope, Limits, Member, Place, Raw, Scanner, Span};
use crate::{Id, Method};

/// The most items of a batch.
pub const MAX_BATCH: usize = 100;

/// The longest method name, in bytes.
pub const MAX_METHOD: usize = 256;

/// Key that progress is reported under; the same in `params` and in `params._meta`.
const PROGRESS_TOKEN: &str = "progressToken";

/// Names the `subscriptions/listen` request a message belongs to (2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What one body holds.
#[derive(Debug, Clone)]
pub enum Body {
    /// One message.
    Single(Message),
    /// An array of messages, between 1 and [`MAX_BATCH`] of them. Only 2025-03-26 has these.
    Batch(Vec<Message>),
}

/// One JSON-RPC message. Cloning counts a reference.
#[derive(Debug, Clone)]
pub enum Message {
    /// A request: has a method and an id.
    Request(Request),
    /// A notification: has a method and no id.
    Notification(Notification),
    /// The answer to a request: has a result or an error.
    Response(Response),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    parts: Arc<Parts>,
    id: Id,
}

/// A notification.
#[derive(Debug, Clone)]
pub struct Notification {
    parts: Arc<Parts>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    parts: Arc<Parts>,
    id: Option<Id>,
}

/// The judged bytes of one message and what is where in them.
#[derive(Debug)]
struct Parts {
    bytes: Bytes,
    envelope: Envelope,
    method: Method,
}

/// Decodes one body, strictly. The messages share `body`'s memory.
///
/// # Errors
/// The first fault found; see [`DecodeFault`] for all of them and for the JSON-RPC code each answers with.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the messages keep the buffer alive; a caller has no use for it afterwards"
)]
pub fn decode(body: Bytes, limits: &Limits) -> Result<Body, DecodeError> {
    decode_shared(&body, limits)
}

/// As [`decode`], for a caller that has a use for the buffer when it is refused.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_shared(body: &Bytes, limits: &Limits) -> Result<Body, DecodeError> {
    let mut scanner = Scanner::new(body, limits)?;
    if scanner.peek() != Some(b'[') {
        let (span, envelope) = scanner.message(1)?;
        scanner.end()?;
        return build::message(body.slice(span.range()), envelope, span.start as usize)
            .map(Body::Single);
    }
    let parts = batch(&mut scanner)?;
    let messages: Result<Vec<_>, _> = parts
        .into_iter()
        .map(|(span, envelope)| {
            build::message(body.slice(span.range()), envelope, span.start as usize)
        })
        .collect();
    messages.map(Body::Batch)
}

fn batch(scanner: &mut Scanner<'_>) -> Result<Vec<(Span, Envelope)>, DecodeError> {
    scanner.advance();
    if scanner.peek() == Some(b']') {
        return Err(scanner.fault(DecodeFault::EmptyBatch));
    }
    let mut parts = Vec::new();
    loop {
        if parts.len() == MAX_BATCH {
            return Err(scanner.fault(DecodeFault::BatchTooLong));
        }
        parts.push(scanner.message(2)?);
        match scanner.peek() {
            Some(b',') => scanner.advance(),
            Some(b']') => {
                scanner.advance();
                scanner.end()?;
                return Ok(parts);
            }
            Some(_) => return Err(scanner.fault(DecodeFault::UnexpectedCharacter)),
            None => return Err(scanner.fault(DecodeFault::UnexpectedEnd)),
        }
    }
}

impl Parts {
    fn raw(&self, span: Span) -> Raw<'_> {
        Raw::trusted(self.bytes.get(span.range()).unwrap_or_default())
    }

    fn params(&self) -> Option<Raw<'_>> {
        self.envelope.params.map(|span| self.raw(span))
    }

    fn find(&self, place: Place, key: &str) -> Option<&Member> {
        self.envelope
            .members
            .iter()
            .find(|member| member.place == place && self.raw(member.key).is_text(key))
    }

    fn member(&self, place: Place, key: &str) -> Option<Raw<'_>> {
        self.find(place, key).map(|member| self.raw(member.value))
    }

    /// The bytes with `span` replaced.
    fn spliced(&self, span: Span, with: &str) -> Bytes {
        let range = span.range();
        let mut out = Vec::with_capacity(self.bytes.len() - range.len() + with.len());
        out.extend_from_slice(self.bytes.get(..range.start).unwrap_or_default());
        out.extend_from_slice(with.as_bytes());
        out.extend_from_slice(self.bytes.get(range.end..).unwrap_or_default());
        out.into()
    }
}

impl Body {
    /// The messages in order; one for a single body.
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::Single(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }

    /// Whether any message is a request, so that an answer is owed.
    pub fn has_request(&self) -> bool {
        self.messages()
            .iter()
            .any(|message| matches!(message, Message::Request(_)))
    }
}

impl Message {
    fn parts(&self) -> &Parts {
        match self {
            Self::Request(request) => &request.parts,
            Self::Notification(notification) => &notification.parts,
            Self::Response(response) => &response.parts,
        }
    }

    /// Exactly the bytes that were judged, without space around them: what goes on the wire.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Request(request) => request.bytes(),
            Self::Notification(notification) => notification.bytes(),
            Self::Response(response) => response.bytes(),
        }
    }

    /// The view of `params._meta` or `result._meta`; of nothing if there is none.
    pub fn meta(&self) -> Meta<'_> {
        Meta::of(self.parts())
    }

    /// The same request or notification with keys of `params._meta` set to raw JSON (`Some`) or left out (`None`), such as a
    /// trace context of our own; every byte outside `_meta` stays. Only where there is a method.
    ///
    /// # Errors
    /// If this is a response, or the outcome, judged like any message, is refused.
    pub fn with_meta_keys(&self, changes: &[(&str, Option<&str>)]) -> Result<Self, DecodeError> {
        let parts = match self {
            Self::Request(request) => &request.parts,
            Self::Notification(notification) => &notification.parts,
            Self::Response(_) => return Err(splice::shape()),
        };
        Ok(splice::with_meta_keys(parts, changes)?.unwrap_or_else(|| self.clone()))
    }

    /// The method of a request or notification.
    pub fn method(&self) -> Option<&Method> {
        match self {
            Self::Request(request) => Some(request.method()),
            Self::Notification(notification) => Some(notification.method()),
            Self::Response(_) => None,
        }
    }

    /// The id, where the message has one.
    pub fn id(&self) -> Option<&Id> {
        match self {
            Self::Request(request) => Some(request.id()),
            Self::Notification(_) => None,
            Self::Response(response) => response.id(),
        }
    }
}

impl Request {
    /// The id.
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// `params`, an object.
    pub fn params(&self) -> Option<Raw<'_>> {
        self.parts.params()
    }

    /// A member of `params`.
    pub fn param(&self, key: &str) -> Option<Raw<'_>> {
        self.parts.member(Place::Params, key)
    }

    /// The view of `params._meta`; of nothing if there is none.
    pub fn meta(&self) -> Meta<'_> {
        Meta::of(&self.parts)
    }

    /// Exactly the bytes that were judged.
    pub fn bytes(&self) -> &Bytes {
        &self.parts.bytes
    }

    /// The same request under another id; every other byte stays.
    pub fn with_id(&self, id: &Id) -> Self {
        Self {
            parts: splice::with_id(&self.parts, id),
            id: id.clone(),
        }
    }

    /// The bytes under another id, and under another progress token where there is one; every other byte stays. One copy.
    pub fn bytes_under(&self, id: &Id, token: Option<&Id>) -> Bytes {
        splice::edited(&self.parts, &mut self.edits(id, token))
    }

    /// The request under another id, and under another progress token where there is one; every other byte stays.
    #[must_use]
    pub fn under(&self, id: &Id, token: Option<&Id>) -> Self {
        let mut parts = Arc::clone(&self.parts);
        splice::edit(&mut parts, &mut self.edits(id, token));
        Self {
            parts,
            id: id.clone(),
        }
    }

    fn edits<'a>(&self, id: &'a Id, token: Option<&'a Id>) -> SmallVec<[splice::Edit<'a>; 2]> {
        let token = splice::Edit::of_member(&self.parts, Place::Meta, PROGRESS_TOKEN, token);
        splice::Edit::of_id(&self.parts, id)
            .into_iter()
            .chain(token)
            .collect()
    }

    /// The same request with other `params`; every other byte stays.
    ///
    /// # Errors
    /// If the result, judged like any request, is refused: `params` must be one JSON object by our rules.
    pub fn with_params(&self, params: &str) -> Result<Self, DecodeError> {
        splice::request(splice::with_params(&self.parts, params)?)
    }

    /// The same request with the value of one member of `params` replaced by raw JSON, such as arguments with some left out;
    /// unchanged if there is no such member.
    ///
    /// # Errors
    /// If the outcome, scanned like any message, is refused.
    pub fn with_param(&self, key: &str, json: &str) -> Result<Self, DecodeError> {
        let changed = splice::with_member(&self.parts, Place::Params, key, json)?;
        changed.map_or_else(|| Ok(self.clone()), splice::request)
    }

    /// The same request with the value of one key of `params._meta` replaced by raw JSON, such as a progress token of our own;
    /// unchanged if there is no such key.
    ///
    /// # Errors
    /// If the outcome, judged like any message, is refused.
    pub fn with_meta(&self, key: &str, json: &str) -> Result<Self, DecodeError> {
        let changed = splice::with_member(&self.parts, Place::Meta, key, json)?;
        changed.map_or_else(|| Ok(self.clone()), splice::request)
    }
}

impl Notification {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// `params`, an object.
    pub fn params(&self) -> Option<Raw<'_>> {
        self.parts.params()
    }

    /// A member of `params`.
    pub fn param(&self, key: &str) -> Option<Raw<'_>> {
        self.parts.member(Place::Params, key)
    }

    /// The view of `params._meta`; of nothing if there is none.
    pub fn meta(&self) -> Meta<'_> {
        Meta::of(&self.parts)
    }

    /// Exactly the bytes that were judged.
    pub fn bytes(&self) -> &Bytes {
        &self.parts.bytes
    }

    /// The same notification with other `params`; every other byte stays.
    ///
    /// # Errors
    /// If the result, judged like any notification, is refused.
    pub fn with_params(&self, params: &str) -> Result<Self, DecodeError> {
        splice::notification(splice::with_params(&self.parts, params)?)
    }

    /// The notification with an id as the value of one member of `params`, such as the request it is about; unchanged if there
    /// is no such member. One copy, and none of the places.
    #[must_use]
    pub fn under(mut self, key: &str, id: &Id) -> Self {
        let edit = splice::Edit::of_member(&self.parts, Place::Params, key, Some(id));
        splice::edit(
            &mut self.parts,
            edit.into_iter().collect::<SmallVec<[_; 1]>>().as_mut(),
        );
        self
    }

    /// The notification with an id as its subscription; unchanged if it names none.
    #[must_use]
    pub fn under_subscription(mut self, id: &Id) -> Self {
        let edit = splice::Edit::of_member(&self.parts, Place::Meta, SUBSCRIPTION, Some(id));
        splice::edit(
            &mut self.parts,
            edit.into_iter().collect::<SmallVec<[_; 1]>>().as_mut(),
        );
        self
    }

    /// The same notification with the value of one member of `params` replaced by raw JSON, such as the id of the request it
    /// is about; unchanged if there is no such member.
    ///
    /// # Errors
    /// If the outcome, judged like any message, is refused.
    pub fn with_param(&self, key: &str, json: &str) -> Result<Self, DecodeError> {
        let changed = splice::with_member(&self.parts, Place::Params, key, json)?;
        changed.map_or_else(|| Ok(self.clone()), splice::notification)
    }

    /// The same notification with the value of one key of `params._meta` replaced by raw JSON, such as a progress token of our own;
    /// unchanged if there is no such key.
    ///
    /// # Errors
    /// If the outcome, judged like any message, is refused.
    pub fn with_meta(&self, key: &str, json: &str) -> Result<Self, DecodeError> {
        let changed = splice::with_member(&self.parts, Place::Meta, key, json)?;
        changed.map_or_else(|| Ok(self.clone()), splice::notification)
    }
}

impl Response {
    /// The id of the request this answers. None only in errors about a message whose id could not be read.
    pub fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// `result`, an object.
    pub fn result(&self) -> Option<Raw<'_>> {
        self.parts.envelope.result.map(|span| self.parts.raw(span))
    }

    /// `error`, an object.
    pub fn error(&self) -> Option<Raw<'_>> {
        self.parts.envelope.error.map(|span| self.parts.raw(span))
    }

    /// A member of `result`.
    pub fn result_member(&self, key: &str) -> Option<Raw<'_>> {
        self.parts.member(Place::Result, key)
    }

    /// The view of `result._meta`; of nothing if there is none.
    pub fn meta(&self) -> Meta<'_> {
        Meta::of(&self.parts)
    }

    /// Whether the result says that the tool failed (`isError: true`).
    pub fn is_tool_error(&self) -> bool {
        self.result_member("isError").and_then(Raw::bool) == Some(true)
    }

    /// The code of an error.
    pub fn error_code(&self) -> Option<i64> {
        self.parts
            .member(Place::Error, "code")
            .and_then(Raw::integer)
    }

    /// Exactly the bytes that were judged.
    pub fn bytes(&self) -> &Bytes {
        &self.parts.bytes
    }

    /// The same answer with its bytes in another holder, such as one that charges a budget until the last of them is gone. `hold`
    /// returns equal bytes; of an answer that others share, nothing changes.
    #[must_use]
    pub fn held(mut self, hold: impl FnOnce(Bytes) -> Bytes) -> Self {
        if let Some(parts) = Arc::get_mut(&mut self.parts) {
            parts.bytes = hold(std::mem::take(&mut parts.bytes));
        }
        self
    }

    /// The same answer under another id; every other byte stays.
    pub fn with_id(&self, id: &Id) -> Self {
        Self {
            parts: splice::with_id(&self.parts, id),
            id: Some(id.clone()),
        }
    }

    /// The answer under another id; every other byte stays. One copy of the bytes, and none of the places where nobody else
    /// holds the answer.
    #[must_use]
    pub fn under(mut self, id: &Id) -> Self {
        splice::set_id(&mut self.parts, id, None);
        self.id = Some(id.clone());
        self
    }

    /// The same for an answer that names its subscription, which is the request's id (2026-07-28
    /// `basic/patterns/subscriptions`).
    #[must_use]
    pub fn under_subscription(mut self, id: &Id) -> Self {
        splice::set_id(&mut self.parts, id, Some((Place::Meta, SUBSCRIPTION)));
        self.id = Some(id.clone());
        self
    }

    /// The same answer with another `result`; every other byte stays.
    ///
    /// # Errors
    /// If this is an error response, or the outcome, judged like any reply, is refused.
    pub fn with_result(&self, result: &str) -> Result<Self, DecodeError> {
        splice::response(splice::with_result(&self.parts, result)?)
    }

    /// The same answer with the value of one key of `result._meta` replaced by raw JSON, such as a progress token of our own;
    /// unchanged if there is no such key.
    ///
    /// # Errors
    /// If the outcome, judged like any message, is refused.
    pub fn with_meta(&self, key: &str, json: &str) -> Result<Self, DecodeError> {
        let changed = splice::with_member(&self.parts, Place::Meta, key, json)?;
        changed.map_or_else(|| Ok(self.clone()), splice::response)
    }
}
