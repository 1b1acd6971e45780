//! Servers over Streamable HTTP.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use keepgate_call::{Answer, Ask, Code, Refusal, Reply, ServerName};
use keepgate_credential::CredentialSet;
use keepgate_mcp::{
    error,
    message::{Body, Message, Request, Response},
    repair::{self, Repair},
};
use keepgate_net::ConnectorSettings;
use keepgate_store::kill::Switch;
use keepgate_transport::{
    Clearance,
    http::{
        client::{Client, ClientError, ClientSettings},
        upstream::{Answer as Received, Endpoint, Limits as Bounds, UpstreamError},
    },
    memory::Weighed,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

mod incoming;
pub mod sse;

use self::incoming::Incoming;
pub(super) use self::incoming::broken;
use super::{
    Declines, Link,
    matching::{self, Matched, Matching},
    too_long,
};
use crate::{
    inspection::Inspection,
    layers::{
        credential::{self, Credential},
        session::{Binding, Bound},
    },
    settings::{Limits, Server, Upstream},
    shared::Shared,
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// How long a server may take to note that a session is over or a question declined; nobody waits for it.
const COURTESY: Duration = Duration::from_secs(5);

/// One server.
#[derive(Debug)]
pub struct Http {
    name: ServerName,
    endpoint: Endpoint,
    bounds: Bounds,
    decode: keepgate_mcp::Limits,
    inspection: Arc<Inspection>,
    tasks: TaskTracker,
    switch: Arc<Switch>,
}

impl Http {
    pub(super) fn new(
        name: &ServerName,
        server: &Server,
        limits: &Limits,
        shared: &Shared,
    ) -> Result<Self, ClientError> {
        let (url, way, headers) = match &server.upstream {
            Upstream::Http {
                url, way, headers, ..
            } => (url.to_string(), way.clone(), headers.clone()),
            Upstream::Child { .. } => Default::default(),
        };
        let settings = ClientSettings {
            connector: ConnectorSettings {
                timeout: server.timeouts.connect,
                extra_roots: way.ca.into_iter().collect(),
                identity: way.identity,
                egress: way.egress,
                ..ConnectorSettings::default()
            },
            headers,
            ..ClientSettings::default()
        };
        let bounds = Bounds {
            max_message: limits.result,
            head: server.timeouts.request,
            body: server.timeouts.request,
            idle: server.timeouts.idle,
            memory: shared.memory.clone(),
            ..Bounds::default()
        };
        Ok(Self {
            name: name.clone(),
            endpoint: Client::new(settings)?.endpoint(&url)?,
            bounds,
            decode: keepgate_mcp::Limits {
                bytes: limits.result,
                ..keepgate_mcp::Limits::reply()
            },
            inspection: Arc::clone(&shared.inspection),
            tasks: shared.tasks.clone(),
            switch: Arc::clone(&shared.kill),
        })
    }

    /// The endpoint, with what of the credentials goes into its URL.
    fn armed(&self, credential: Option<&Credential>) -> Cow<'_, Endpoint> {
        match credential.and_then(|credential| credential.held.query()) {
            None => Cow::Borrowed(&self.endpoint),
            Some(query) => Cow::Owned(self.endpoint.with_query(&query)),
        }
    }

    /// Whether the server can be connected to; nothing is sent.
    pub(super) async fn is_reachable(&self) -> bool {
        let probed = self.endpoint.probe().await;
        if let Err(error) = &probed {
            debug!(server = %self.name, %error, "probe failed");
        }
        probed.is_ok()
    }

    /// Sends a message that has no answer. Nobody waits for it.
    pub(super) fn tell(
        self: &Arc<Self>,
        message: Bytes,
        session: Option<HeaderValue>,
        credentials: Option<&Arc<CredentialSet>>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        // Now, and not when the task runs: by then the credential may have been ended.
        let Some((mut headers, credential)) = own(session, credentials, &self.switch) else {
            return;
        };
        let http = Arc::clone(self);
        self.tasks.spawn(async move {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            headers.insert(
                header::ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            );
            let endpoint = http.armed(credential.as_ref());
            let posted = endpoint.notify(headers, message, &http.bounds);
            if !matches!(tokio::time::timeout(COURTESY, posted).await, Ok(Ok(_))) {
                debug!(server = %http.name, "the server did not take note of a message");
            }
            drop(permit);
        });
    }

    pub(super) fn end(
        self: &Arc<Self>,
        session: Option<HeaderValue>,
        credentials: Option<&Arc<CredentialSet>>,
    ) {
        if session.is_none() {
            return;
        }
        let Some((headers, credential)) = own(session, credentials, &self.switch) else {
            return;
        };
        let http = Arc::clone(self);
        self.tasks.spawn(async move {
            let endpoint = http.armed(credential.as_ref());
            let ended = endpoint.delete(headers, &http.bounds);
            if !matches!(tokio::time::timeout(COURTESY, ended).await, Ok(Ok(_))) {
                debug!(server = %http.name, "the server did not take note that a session ended");
            }
        });
    }
}

/// The header lines of what we say by ourselves.
fn own(
    session: Option<HeaderValue>,
    credentials: Option<&Arc<CredentialSet>>,
    switch: &Switch,
) -> Option<(HeaderMap, Option<Credential>)> {
    let (mut headers, credential) = credential::own(credentials, switch)?;
    if let Some(session) = session {
        headers.insert(SESSION_ID, session);
    }
    Some((headers, credential))
}

/// Sends a call, once.
pub(super) async fn send(
    http: Arc<Http>,
    bound: Bound,
    mut headers: HeaderMap,
    (credential, clearance): (Option<Credential>, Option<Arc<dyn Clearance>>),
) -> Result<Reply, Refusal> {
    let call = Arc::clone(&bound.call);
    within(&bound, &mut headers);
    let is_in_session = headers.contains_key(SESSION_ID);
    let mut endpoint = http.armed(credential.as_ref());
    if let Some(clearance) = clearance {
        endpoint = Cow::Owned(endpoint.cleared_by(clearance));
    }
    let (received, request) = match &call.ask {
        Ask::Message(judged) => {
            // The evaluated bytes, but for a trace context and ids of ours.
            let message = call.message().unwrap_or(judged);
            match message {
                Message::Request(request) => {
                    let bytes = matching::sent(&call, request);
                    let posted = endpoint.post(headers, bytes, &http.bounds).await;
                    (posted, Some(request))
                }
                Message::Notification(notification) => {
                    let Some(notification) = matching::notified(&bound, notification) else {
                        return Ok(Answer::Accepted.into());
                    };
                    let bytes = notification.bytes().clone();
                    (endpoint.notify(headers, bytes, &http.bounds).await, None)
                }
                Message::Response(response) => {
                    let bytes = response.bytes().clone();
                    (endpoint.notify(headers, bytes, &http.bounds).await, None)
                }
            }
        }
        Ask::Listen => (listen(&http, &endpoint, headers).await, None),
        Ask::End => {
            return Ok(ended(&http, endpoint.delete(headers, &http.bounds).await));
        }
    };
    let received = received.map_err(failed)?;
    let credential = credential.as_ref();
    answered(&http, &bound, request, credential, is_in_session, received)
        .await
        .map(Reply::from)
}

/// Sorts the answer to a message or a `GET`.
async fn answered(
    http: &Arc<Http>,
    bound: &Bound,
    request: Option<&Request>,
    credential: Option<&Credential>,
    is_in_session: bool,
    received: Received,
) -> Result<Answer, Refusal> {
    Ok(match received {
        Received::Accepted => accepted(request)?,
        Received::Message { head, body } => {
            open(http, bound, head.session, credential);
            match request {
                Some(_) => {
                    let matching = Matching::new(bound);
                    let response = match Inspection::is_long_to_read(body.len()) {
                        false => response(http, matching, body)?,
                        true => {
                            let reader = Arc::clone(http);
                            let read = move || response(&reader, matching, body);
                            http.inspection.run(read).await??
                        }
                    };
                    Answer::Message(Message::Response(response))
                }
                // To a `GET`: no stream.
                None => return Err(failed(UpstreamError::ContentType("it is no event stream"))),
            }
        }
        Received::Stream { head, events } => {
            open(http, bound, head.session, credential);
            Answer::Stream(Box::pin(Incoming::new(http, Matching::new(bound), events)))
        }
        Received::Rejected { status: 401, .. } if credential.is_some() => {
            return Err(Refusal::new(Code::CredentialRejected));
        }
        Received::Rejected { status, body } => rejected(http, bound, is_in_session, status, body)?,
    })
}

/// Opens a stream of the server's own, or resumes one. A server may not have noticed yet that the connection before is gone,
/// and refuses a second one as long (409): then it is asked again for about a second. A `GET` has no effect that could double.
async fn listen(
    http: &Http,
    endpoint: &Endpoint,
    headers: HeaderMap,
) -> Result<Received, UpstreamError> {
    const PAUSES: [u64; 5] = [10, 30, 100, 300, 600];
    for pause in PAUSES {
        match endpoint.get(headers.clone(), &http.bounds).await {
            Ok(Received::Rejected { status: 409, .. }) => {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            other => return other,
        }
    }
    endpoint.get(headers, &http.bounds).await
}

/// Adds what names the server's session.
fn within(bound: &Bound, headers: &mut HeaderMap) {
    let Binding::Held(session) = &bound.session else {
        return;
    };
    if let Some(Link::Http {
        session: Some(id), ..
    }) = session.link.get()
    {
        headers.insert(SESSION_ID, id.clone());
    }
    // What was agreed on at `initialize`, whatever this one request said.
    if session.revision().facts().version_header {
        headers.insert(
            PROTOCOL_VERSION,
            HeaderValue::from_static(session.revision().as_str()),
        );
    }
}

fn accepted(request: Option<&Request>) -> Result<Answer, Refusal> {
    match request {
        None => Ok(Answer::Accepted),
        Some(_) => Err(Refusal::new(Code::UpstreamInvalid).detail("no answer to a request")),
    }
}

/// A `DELETE` ends our session whatever the server makes of it.
fn ended(http: &Http, received: Result<Received, UpstreamError>) -> Reply {
    if let Err(error) = received {
        debug!(server = %http.name, %error, "the server did not take note that a session ended");
    }
    Answer::Accepted.into()
}

/// Keeps the server's session id where `initialize` has opened one.
fn open(
    http: &Arc<Http>,
    bound: &Bound,
    session: Option<HeaderValue>,
    credential: Option<&Credential>,
) {
    if let Binding::Opening(opening) = &bound.session {
        // Set once: an opening session makes one call.
        let _first = opening.link.set(Link::Http {
            http: Arc::clone(http),
            session,
            credentials: credential.map(|credential| Arc::clone(&credential.set)),
            declines: Declines::default(),
        });
    }
}

/// Logs how a message had to be repaired.
fn repaired(http: &Http, repair: Repair) {
    warn!(server = %http.name, "{repair}");
}

/// The one response to a request: strict JSON, and the id that was asked under.
fn response(http: &Http, mut matching: Matching, body: Weighed) -> Result<Response, Refusal> {
    let refused =
        || Refusal::new(Code::UpstreamInvalid).detail("the answer does not answer the request");
    // Tied to its share after the client's id is in: that is done in place where nobody else has the bytes.
    let (bytes, mut share) = body.apart();
    match repair::decode(bytes, &http.decode, |repair| repaired(http, repair)) {
        Ok(Body::Single(message)) => match matching.matched(message) {
            Matched::Answer(response) => {
                share
                    .fit(response.bytes().len())
                    .map_err(|spent| Refusal::new(Code::MemoryFull).source(spent))?;
                Ok(response.held(|bytes| share.hold(bytes)))
            }
            Matched::Other(_) | Matched::Foreign(_) => Err(refused()),
        },
        Ok(Body::Batch(_)) => Err(refused()),
        Err(error) => {
            let detail = error.to_string();
            Err(Refusal::new(Code::UpstreamInvalid)
                .detail(detail)
                .source(error))
        }
    }
}

/// A 4xx. Clients read the protocol era out of its JSON-RPC body, so that goes on unchanged but for the id; nothing else of it
/// does.
fn rejected(
    http: &Http,
    bound: &Bound,
    is_in_session: bool,
    status: u16,
    body: Option<Bytes>,
) -> Result<Answer, Refusal> {
    let refused = || refused_with(status);
    let empty = |status| Answer::Passed {
        status,
        body: Bytes::new(),
    };
    match (status, &bound.call.ask) {
        // The server's own idea of who may call it is between it and the gateway.
        (401 | 403 | 407, _) => return Err(refused()),
        // No such path, or no such method of it: servers of many frameworks have no streams of their own and answer 404, which
        // a client takes for the end of its session.
        (404 | 405, Ask::Listen) if bound.resume.is_none() => return Ok(empty(405)),
        (404 | 405, Ask::Listen) => return Ok(empty(status)),
        (404, Ask::Message(_) | Ask::End) if is_in_session => {
            return missing(http, bound, body);
        }
        _ => {}
    }
    let Some(body) = body else {
        return Err(refused());
    };
    match repair::decode(body, &http.decode, |repair| repaired(http, repair)) {
        Ok(Body::Single(Message::Response(response)))
            if response.error().is_some()
                // It asks for something, and passed on like this nobody would judge what.
                && response.error_code() != Some(error::URL_ELICITATION_REQUIRED) =>
        {
            if response.id().is_none() {
                let body = response.bytes().clone();
                return Ok(Answer::Passed { status, body });
            }
            match Matching::new(bound).matched(Message::Response(response)) {
                Matched::Answer(response) => Ok(Answer::Passed {
                    status,
                    body: response.bytes().clone(),
                }),
                Matched::Other(_) | Matched::Foreign(_) => Err(refused()),
            }
        }
        Ok(Body::Single(_) | Body::Batch(_)) => Err(refused()),
        Err(error) => Err(refused().source(error)),
    }
}

/// A 404 to what named the server's session: the session is gone, unless the body answers this very request with another error
/// than that. SDK servers say that a session is gone with -32001, under no id.
fn missing(http: &Http, bound: &Bound, body: Option<Bytes>) -> Result<Answer, Refusal> {
    let gone = || Refusal::new(Code::SessionUnknown);
    let body = body.ok_or_else(gone)?;
    let decoded = repair::decode(body, &http.decode, |repair| repaired(http, repair));
    let Ok(Body::Single(message @ Message::Response(_))) = decoded else {
        return Err(gone());
    };
    match Matching::new(bound).matched(message) {
        Matched::Answer(response) if response.error().is_none() => {
            Ok(Answer::Message(Message::Response(response)))
        }
        Matched::Answer(response)
            if !matches!(
                response.error_code(),
                Some(error::SESSION_GONE | error::URL_ELICITATION_REQUIRED)
            ) =>
        {
            Ok(Answer::Passed {
                status: 404,
                body: response.bytes().clone(),
            })
        }
        Matched::Answer(_) | Matched::Other(_) | Matched::Foreign(_) => Err(gone()),
    }
}

/// The refusal of a compressed answer that inflates to too much.
pub(super) fn inflated() -> Refusal {
    Refusal::new(Code::UpstreamInvalid)
        .detail("a compressed answer is more than 100 times its size")
        .over("gzip 100:1")
}

fn failed(error: UpstreamError) -> Refusal {
    refusal_of(&error).source(error)
}

/// The refusal for a failed request to a server, without its cause. Names the limit or the status that it met.
pub(super) fn refusal_of(error: &UpstreamError) -> Refusal {
    if matches!(error, UpstreamError::TooLarge { .. }) {
        return too_long();
    }
    if matches!(error, UpstreamError::Inflated) {
        return inflated();
    }
    let refusal = || {
        let code = code_of(error);
        // The kind of the fault alone: the server's own words stay out.
        let detail = if matches!(error, UpstreamError::ContentEncoding { .. }) {
            "a content encoding that is not read".to_owned()
        } else {
            error.to_string()
        };
        let refusal = Refusal::new(code);
        if matches!(code, Code::UpstreamInvalid | Code::Overloaded) {
            return refusal.detail(detail);
        }
        refusal
    };
    error.status().map_or_else(refusal, refused_with)
}

/// The refusal of what a server refuses by an HTTP status.
pub(crate) fn refused_with(status: u16) -> Refusal {
    let refusal = Refusal::new(Code::UpstreamRefused).detail(format!("HTTP {status}"));
    refusal.upstream_status(status)
}

/// The code of a failed request to a server.
fn code_of(error: &UpstreamError) -> Code {
    match error {
        UpstreamError::NoMemory(_) => Code::MemoryFull,
        UpstreamError::NoDescriptor(_) => Code::Overloaded,
        // Of no consequence: whoever refused the clearance has the reason.
        UpstreamError::NotCleared
        | UpstreamError::Connect(_)
        | UpstreamError::ConnectTimeout { .. }
        | UpstreamError::Broken(_) => Code::UpstreamUnreachable,
        UpstreamError::HeadTimeout { .. } | UpstreamError::BodyTimeout { .. } => {
            Code::UpstreamTimeout
        }
        UpstreamError::Redirect { .. }
        | UpstreamError::Server { .. }
        | UpstreamError::Status { .. } => Code::UpstreamRefused,
        UpstreamError::TooLarge { .. }
        | UpstreamError::Truncated(_)
        | UpstreamError::ContentType(_)
        | UpstreamError::Framing(_)
        | UpstreamError::Inflated
        | UpstreamError::ContentEncoding { .. } => Code::UpstreamInvalid,
    }
}
