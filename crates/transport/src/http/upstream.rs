//! One MCP server over Streamable HTTP: post a message, open the server's stream, end a session.
//!
//! What comes back is sorted into the few shapes MCP knows. Anything else (redirects, HTML, encoded other than as gzip,
//! oversized or truncated bodies, 5xx) is an error of ours and none of the upstream's words.

mod error;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, ETAG, EXPECT,
        IF_NONE_MATCH, TE, TRANSFER_ENCODING, UPGRADE,
    },
    uri::PathAndQuery,
};
use http_body::Body;
use http_body_util::Full;

pub use self::error::UpstreamError;
pub use super::stream::{Events, StreamError};
use super::{
    client::Target,
    decoded::{Decoded, UnknownCoding, is_gzip},
    pool::{Pool, Received},
};
use crate::{
    body::{read_capped, read_within},
    clearance::{Carried, Clearance},
    memory::{Budget, Weighed},
};

/// What an upstream's answer may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of a message, in a JSON body or an SSE event.
    pub max_message: usize,
    /// Time until the head of the answer.
    pub head: Duration,
    /// Time for a JSON body after its head.
    pub body: Duration,
    /// Time an event stream may be silent, comments not counted as silence.
    pub idle: Duration,
    /// Most bytes a minute of an event stream that bring no message: blank lines, comments, events without data.
    pub noise: usize,
    /// What is held whole is counted here.
    pub memory: Budget,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 16 * 1024 * 1024,
            head: Duration::from_secs(60),
            body: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            noise: 8 * 1024 * 1024,
            memory: Budget::default(),
        }
    }
}

/// Header lines of an answer that the gateway looks at; never relayed by themselves.
#[derive(Debug, Clone, Default)]
pub struct AnswerHead {
    /// `Mcp-Session-Id`: the upstream's own id, which stays inside.
    pub session: Option<HeaderValue>,
    /// `MCP-Protocol-Version`.
    pub revision: Option<HeaderValue>,
}

/// What an upstream answered.
#[derive(Debug)]
pub enum Answer {
    /// Taken note of (202, or a success without a body).
    Accepted,
    /// One JSON body.
    Message {
        /// Headers of interest.
        head: AnswerHead,
        /// The whole body, at most [`Limits::max_message`] bytes, not yet decoded.
        body: Weighed,
    },
    /// An event stream. Dropping it aborts the upstream request.
    Stream {
        /// Headers of interest.
        head: AnswerHead,
        /// The events.
        events: Events,
    },
    /// A 4xx.
    Rejected {
        /// The status.
        status: u16,
        /// The body, unchanged, if it is JSON by its content type; `None` for HTML and all else.
        body: Option<Bytes>,
    },
}

/// What a look at a document brought.
#[derive(Debug)]
pub enum Fetched {
    /// It is the one that is known (304).
    Unchanged,
    /// The whole of it.
    New {
        /// Its `ETag`.
        etag: Option<HeaderValue>,
        /// Its `Content-Type`.
        media: Option<HeaderValue>,
        /// Its body.
        body: Bytes,
    },
}

/// One upstream address with its connections. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    target: Arc<Target>,
    pool: Arc<Pool>,
    place: Place,
    /// Lines that a request carries which has none of that name. A later one replaces an earlier one.
    lines: Arc<[(HeaderName, HeaderValue)]>,
    /// Asked before a request leaves.
    clearance: Option<Carried>,
}

/// Difference of a request's URL from the address. It may be secret, so it shows nothing of itself.
#[derive(Clone, Default)]
pub(super) struct Place {
    /// Path and query instead of the address's own.
    pub(super) path: Option<PathAndQuery>,
    /// End of the query.
    pub(super) query: Option<Arc<str>>,
}

impl Endpoint {
    pub(super) fn new(
        target: Arc<Target>,
        pool: Arc<Pool>,
        lines: Arc<[(HeaderName, HeaderValue)]>,
    ) -> Self {
        Self {
            target,
            pool,
            place: Place::default(),
            lines,
            clearance: None,
        }
    }

    /// The same endpoint with `query` (encoded, without `?`) at the end of its address; connections are shared. The address
    /// that is shown stays as it was.
    #[must_use]
    pub fn with_query(&self, query: &str) -> Self {
        let mut other = self.clone();
        other.place.query = Some(query.into());
        other
    }

    /// The same endpoint, whose requests leave with the consent of `clearance`; connections are shared.
    #[must_use]
    pub fn cleared_by(&self, clearance: Arc<dyn Clearance>) -> Self {
        let mut other = self.clone();
        other.clearance = Some(Carried(clearance));
        other
    }

    /// An endpoint of the same server under another path and query; connections are shared.
    #[must_use]
    pub(crate) fn at(&self, path: PathAndQuery) -> Self {
        let mut other = self.clone();
        other.place = Place {
            path: Some(path),
            query: None,
        };
        other
    }

    /// Whether the path it was moved to has this parameter in its own query.
    pub(crate) fn names(&self, parameter: &str) -> bool {
        let own = self.place.path.as_ref().and_then(PathAndQuery::query);
        own.is_some_and(|own| own.split('&').any(|part| part == parameter))
    }

    /// Whether the server can be connected to, over TLS where the address is https. Nothing is sent, and the connection is
    /// closed.
    ///
    /// # Errors
    /// [`UpstreamError::Connect`] and [`UpstreamError::ConnectTimeout`].
    pub async fn probe(&self) -> Result<(), UpstreamError> {
        self.pool.probe().await
    }

    /// The address.
    pub fn uri(&self) -> &Uri {
        self.target.net.uri()
    }

    #[cfg(test)]
    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Posts one message: exactly `body`, once.
    ///
    /// `headers` are sent as given, less what belongs to one hop and cookies, plus `Host`, `Content-Length`,
    /// `Accept-Encoding: identity`, and where they are missing `Content-Type` and `Accept`.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        let response = self.posted(headers, body, limits).await?;
        classify(response, limits).await
    }

    /// Posts a message that has no answer. Any 2xx is acceptance, whatever its body holds: nobody asked for one.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn notify(
        &self,
        headers: HeaderMap,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        let response = self.posted(headers, body, limits).await?;
        if response.status().is_success() {
            discard(response.into_body()).await;
            return Ok(Answer::Accepted);
        }
        classify(response, limits).await
    }

    async fn posted(
        &self,
        mut headers: HeaderMap,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Response<Received>, UpstreamError> {
        fill(
            &mut headers,
            &CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        fill(
            &mut headers,
            &ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        self.send(Method::POST, headers, body, limits).await
    }

    /// Opens the server's own stream (stateful revisions); an [`Answer::Rejected`] with 405 says there is none.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn get(
        &self,
        mut headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        fill(
            &mut headers,
            &ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let response = self
            .send(Method::GET, headers, Bytes::new(), limits)
            .await?;
        classify(response, limits).await
    }

    /// Ends a session (stateful revisions); an [`Answer::Rejected`] with 405 says that the server does not end it.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn delete(
        &self,
        headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Answer, UpstreamError> {
        let response = self
            .send(Method::DELETE, headers, Bytes::new(), limits)
            .await?;
        // Whatever a server says about a session it has ended, nobody waits for it.
        match response.status().as_u16() {
            200..=299 => {
                discard(response.into_body()).await;
                Ok(Answer::Accepted)
            }
            _ => classify(response, limits).await,
        }
    }

    /// Fetches a document that is no message of MCP, such as the keys of an authorization server: the body of a 200,
    /// whatever its type, at most [`Limits::max_message`] bytes.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn document(&self, limits: &Limits) -> Result<Bytes, UpstreamError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        match self.fetch(headers, limits).await? {
            Fetched::New { body, .. } => Ok(body),
            Fetched::Unchanged => Err(UpstreamError::Status { status: 304 }),
        }
    }

    /// Looks whether a document is another than the one its `If-None-Match` among `headers` names (RFC 9110 §13.1.2), and
    /// fetches it if so: the body of a 200, whatever its type, at most [`Limits::max_message`] bytes. Redirects are not
    /// followed.
    ///
    /// # Errors
    /// [`UpstreamError`].
    pub async fn fetch(
        &self,
        headers: HeaderMap,
        limits: &Limits,
    ) -> Result<Fetched, UpstreamError> {
        let conditional = headers.contains_key(IF_NONE_MATCH);
        let response = self
            .send(Method::GET, headers, Bytes::new(), limits)
            .await?;
        match response.status().as_u16() {
            200 => {
                let (head, body) = response.into_parts();
                let line = |name: HeaderName| head.headers.get(name).cloned();
                let (etag, media) = (line(ETAG), line(CONTENT_TYPE));
                let body = decoded(&head.headers, body, limits)?;
                let body = read_capped(body, limits.max_message, limits.body);
                let body = body.await.map_err(UpstreamError::of_body)?;
                Ok(Fetched::New { etag, media, body })
            }
            304 if conditional => {
                discard(response.into_body()).await;
                Ok(Fetched::Unchanged)
            }
            status @ 300..=399 => Err(UpstreamError::Redirect { status }),
            status @ 500..=599 => Err(UpstreamError::Server { status }),
            status => Err(UpstreamError::Status { status }),
        }
    }

    async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Bytes,
        limits: &Limits,
    ) -> Result<Response<Received>, UpstreamError> {
        for name in &NOT_SENT {
            headers.remove(name);
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in self.lines.iter().rev() {
            fill(&mut headers, name, value.clone());
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        if self.place.path.is_some() || self.place.query.is_some() {
            request.extensions_mut().insert(self.place.clone());
        }
        let clearance = self.clearance.clone();
        self.pool.send(request, clearance, limits.head).await
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("uri", self.target.net.uri())
            .finish_non_exhaustive()
    }
}

/// Header lines that are between two hops or ours to write, and cookies, which nobody here keeps.
const NOT_SENT: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
    EXPECT,
    COOKIE,
];

fn fill(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, value);
    }
}

/// What a body says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Json,
    Events,
    Nothing,
    /// Neither, for this reason.
    Other(&'static str),
}

/// The body without its content coding.
fn decoded(headers: &HeaderMap, body: Received, limits: &Limits) -> Result<Decoded, UpstreamError> {
    let is_gzip =
        is_gzip(headers).map_err(|UnknownCoding(name)| UpstreamError::ContentEncoding { name })?;
    Decoded::new(body, is_gzip, &limits.memory).map_err(UpstreamError::NoMemory)
}

/// Sorts a response into the shapes MCP knows.
async fn classify(response: Response<Received>, limits: &Limits) -> Result<Answer, UpstreamError> {
    let status = response.status().as_u16();
    framing(response.headers())?;
    match status {
        200..=299 => accept(response, limits).await,
        300..=399 => Err(UpstreamError::Redirect { status }),
        400..=499 => {
            let (parts, body) = response.into_parts();
            let readable = content(&parts.headers) == Content::Json;
            let body = match decoded(&parts.headers, body, limits) {
                Ok(body) if readable => {
                    read_within(body, limits.max_message, limits.body, &limits.memory)
                        .await
                        .map(Weighed::tied)
                        .ok()
                }
                Ok(_) | Err(_) => None,
            };
            let body = body.filter(|body| !body.is_empty());
            Ok(Answer::Rejected { status, body })
        }
        500..=599 => Err(UpstreamError::Server { status }),
        _ => Err(UpstreamError::Status { status }),
    }
}

/// Sorts a success.
async fn accept(response: Response<Received>, limits: &Limits) -> Result<Answer, UpstreamError> {
    let (parts, body) = response.into_parts();
    if matches!(parts.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        discard(body).await;
        return Ok(Answer::Accepted);
    }
    let is_empty = body.is_end_stream();
    let body = decoded(&parts.headers, body, limits)?;
    let head = AnswerHead {
        session: parts.headers.get("mcp-session-id").cloned(),
        revision: parts.headers.get("mcp-protocol-version").cloned(),
    };
    match content(&parts.headers) {
        Content::Json => {
            let body = read_within(body, limits.max_message, limits.body, &limits.memory)
                .await
                .map_err(UpstreamError::of_body)?;
            Ok(Answer::Message { head, body })
        }
        Content::Events => {
            let events = Events::new(body, limits);
            Ok(Answer::Stream { head, events })
        }
        Content::Nothing if is_empty => Ok(Answer::Accepted),
        Content::Nothing => Err(UpstreamError::ContentType("it has no `Content-Type`")),
        Content::Other(why) => Err(UpstreamError::ContentType(why)),
    }
}

/// Reads what little a body without meaning holds, so that its connection can be used again; else lets both go.
async fn discard(body: Received) {
    const LITTLE: usize = 4096;
    const SHORTLY: Duration = Duration::from_millis(100);
    if let Err(error) = read_capped(body, LITTLE, SHORTLY).await {
        tracing::debug!(%error, "a connection is closed because of a body nobody needs");
    }
}

fn content(headers: &HeaderMap) -> Content {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let Some(value) = types.next() else {
        return Content::Nothing;
    };
    // Two of them could be read in two ways.
    if types.next().is_some() {
        return Content::Other("it has more than one `Content-Type`");
    }
    let mut parts = value.as_bytes().split(|&byte| byte == b';');
    let essence = parts.next().unwrap_or_default().trim_ascii();
    if !parts.all(is_utf8) {
        return Content::Other("its `charset` is not UTF-8");
    }
    if essence.eq_ignore_ascii_case(b"application/json") {
        Content::Json
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Content::Events
    } else {
        Content::Other("it is of another `Content-Type`")
    }
}

/// Whether a parameter of a content type leaves the text UTF-8, which JSON and event streams are (RFC 8259 §8.1).
fn is_utf8(parameter: &[u8]) -> bool {
    let mut halves = parameter.splitn(2, |&byte| byte == b'=');
    let name = halves.next().unwrap_or_default().trim_ascii();
    let value = halves.next().unwrap_or_default().trim_ascii();
    let plain: Vec<u8> = value.iter().copied().filter(|byte| *byte != b'"').collect();
    !name.eq_ignore_ascii_case(b"charset")
        || [&b"utf-8"[..], b"utf8", b"us-ascii"]
            .iter()
            .any(|known| plain.eq_ignore_ascii_case(known))
}

/// Refuses a head that another reader may see another body behind: a length next to a transfer coding, whatever it is, and any
/// coding but `chunked`, once (RFC 9112 §6.3).
fn framing(headers: &HeaderMap) -> Result<(), UpstreamError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(UpstreamError::Framing(
            "`Content-Length` next to `Transfer-Encoding`",
        ));
    }
    let is_chunked = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    if codings.next().is_some() || !is_chunked {
        return Err(UpstreamError::Framing(
            "a `Transfer-Encoding` other than `chunked`, or more than one",
        ));
    }
    Ok(())
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it wants and fails on the rest"
)]
mod tests;
