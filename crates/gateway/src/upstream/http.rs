//! Servers over Streamable HTTP.

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use keepgate_call::{Answer, Ask, Code, Cut, Events, Item, Refusal, Reply, ServerName};
use keepgate_credential::Source;
use keepgate_mcp::{
    error,
    message::{self, Body, Message, Request, Response},
    sse::Event,
};
use keepgate_store::kill::Switch;
use keepgate_transport::{
    http::{
        client::{Client, ClientError, ClientSettings},
        upstream::{
            Answer as Received, Endpoint, Events as Incoming, Limits as Bounds, StreamError,
            UpstreamError,
        },
    },
    memory::Weighed,
};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::{
    Link,
    matching::{self, Matched, Matching},
};
use crate::{
    inspection::Inspection,
    layers::{
        credential::{self, Credential},
        session::{Binding, Bound},
    },
    settings::{Limits, Server},
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
        url: &Uri,
        ca: Option<&Path>,
        server: &Server,
        limits: &Limits,
        shared: &Shared,
    ) -> Result<Self, ClientError> {
        let settings = ClientSettings {
            connect_timeout: server.timeouts.connect,
            extra_roots: ca.map(Path::to_path_buf).into_iter().collect(),
            ..ClientSettings::default()
        };
        let bounds = Bounds {
            max_message: limits.result,
            max_event: limits.event,
            head: server.timeouts.request,
            body: server.timeouts.request,
            idle: server.timeouts.idle,
            memory: shared.memory.clone(),
            ..Bounds::default()
        };
        Ok(Self {
            name: name.clone(),
            endpoint: Client::new(settings)?.endpoint(&url.to_string())?,
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

    /// The endpoint, with what of the credential goes into its URL.
    fn armed(&self, credential: Option<&Credential>) -> Cow<'_, Endpoint> {
        match credential.and_then(|credential| credential.held.material().query()) {
            None => Cow::Borrowed(&self.endpoint),
            Some(query) => Cow::Owned(self.endpoint.with_query(query)),
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
        source: Option<&Arc<Source>>,
    ) {
        // Now, and not when the task runs: by then the credential may have been ended.
        let Some((mut headers, credential)) = own(session, source, &self.switch) else {
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
            let posted = endpoint.post(headers, message, &http.bounds);
            if !matches!(tokio::time::timeout(COURTESY, posted).await, Ok(Ok(_))) {
                debug!(server = %http.name, "the server did not take note of a message");
            }
        });
    }

    pub(super) fn end(
        self: &Arc<Self>,
        session: Option<HeaderValue>,
        source: Option<&Arc<Source>>,
    ) {
        if session.is_none() {
            return;
        }
        let Some((headers, credential)) = own(session, source, &self.switch) else {
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
    source: Option<&Arc<Source>>,
    switch: &Switch,
) -> Option<(HeaderMap, Option<Credential>)> {
    let (mut headers, credential) = credential::own(source, switch)?;
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
    credential: Option<Credential>,
) -> Result<Reply, Refusal> {
    let call = Arc::clone(&bound.call);
    within(&bound, &mut headers);
    let endpoint = http.armed(credential.as_ref());
    let (received, request) = match &call.ask {
        Ask::Message(judged) => {
            // The evaluated bytes, but for a trace context and ids of ours.
            let message = call.message().unwrap_or(judged);
            let (bytes, request) = match message {
                Message::Request(request) => (matching::sent(&call, request), Some(request)),
                Message::Notification(notification) => {
                    let Some(notification) = matching::notified(&bound, notification) else {
                        return Ok(Answer::Accepted.into());
                    };
                    (notification.bytes().clone(), None)
                }
                Message::Response(response) => (response.bytes().clone(), None),
            };
            (endpoint.post(headers, bytes, &http.bounds).await, request)
        }
        Ask::Listen => (endpoint.get(headers, &http.bounds).await, None),
        Ask::End => {
            return Ok(ended(&http, endpoint.delete(headers, &http.bounds).await));
        }
    };
    let answer = match received.map_err(failed)? {
        Received::Accepted => accepted(request)?,
        Received::Message { head, body } => {
            open(&http, &bound, head.session, credential.as_ref());
            match request {
                Some(_) => {
                    let matching = Matching::new(&bound);
                    let response = match Inspection::is_long_to_read(body.len()) {
                        false => response(&http, matching, body)?,
                        true => {
                            let reader = Arc::clone(&http);
                            let read = move || response(&reader, matching, body);
                            http.inspection.run(read).await??
                        }
                    };
                    Answer::Message(Message::Response(response))
                }
                // Some servers say more than "accepted" to a notification; nobody asked.
                None => Answer::Accepted,
            }
        }
        Received::Stream { head, events } => {
            open(&http, &bound, head.session, credential.as_ref());
            if request.is_none() && matches!(call.ask, Ask::Message(_)) {
                return Err(Refusal::new(Code::UpstreamInvalid)
                    .detail("a stream in answer to what needs none"));
            }
            Answer::Stream(items(&http, Matching::new(&bound), events))
        }
        Received::Rejected { status: 401, .. } if credential.is_some() => {
            return Err(Refusal::new(Code::CredentialRejected));
        }
        Received::Rejected { status, body } => rejected(&http, &bound, status, body)?,
    };
    Ok(answer.into())
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
            source: credential.map(|credential| Arc::clone(&credential.source)),
        });
    }
}

/// The one response to a request: strict JSON, and the id that was asked under.
fn response(http: &Http, mut matching: Matching, body: Weighed) -> Result<Response, Refusal> {
    let refused =
        || Refusal::new(Code::UpstreamInvalid).detail("the answer does not answer the request");
    // Tied to its share after the client's id is in: that is done in place where nobody else has the bytes.
    let (bytes, mut share) = body.apart();
    match message::decode(bytes, &http.decode) {
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
        Err(error) => Err(Refusal::new(Code::UpstreamInvalid).source(error)),
    }
}

/// A 4xx. Clients read the protocol era out of its JSON-RPC body, so that goes on unchanged but for the id; nothing else of it
/// does.
fn rejected(
    http: &Http,
    bound: &Bound,
    status: u16,
    body: Option<Bytes>,
) -> Result<Answer, Refusal> {
    let refused = || Refusal::new(Code::UpstreamRefused).detail(format!("HTTP {status}"));
    match (status, &bound.session) {
        // The server's own idea of who may call it is between it and the gateway.
        (401 | 403 | 407, _) => return Err(refused()),
        (404, Binding::Held(_)) => return Err(Refusal::new(Code::SessionUnknown)),
        (405, _) if matches!(bound.call.ask, Ask::Listen) => {
            return Ok(Answer::Passed {
                status,
                body: Bytes::new(),
            });
        }
        _ => {}
    }
    let Some(body) = body else {
        return Err(refused());
    };
    match message::decode(body.clone(), &http.decode) {
        Ok(Body::Single(Message::Response(response)))
            if response.error().is_some()
                // It asks for something, and passed on like this nobody would judge what.
                && response.error_code() != Some(error::URL_ELICITATION_REQUIRED) =>
        {
            if response.id().is_none() {
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

/// A stream's events, each decoded and matched once.
fn items(http: &Arc<Http>, mut matching: Matching, events: Incoming) -> Events {
    let http = Arc::clone(http);
    Box::pin(
        events.filter_map(move |event| {
            std::future::ready(item(&http, &mut matching, event).transpose())
        }),
    )
}

fn item(
    http: &Http,
    matching: &mut Matching,
    event: Result<Event, StreamError>,
) -> Result<Option<Item>, Cut> {
    let event = event.map_err(|error| broken(&error))?;
    if event.name.as_deref().is_some_and(|name| name != b"message") {
        warn!(server = %http.name, "dropped an event of an unknown name");
        return Ok(None);
    }
    let message = if event.data.is_empty() {
        None
    } else {
        let (length, data) = (event.data.len(), event.data);
        let decode = || message::decode(data, &http.decode);
        let decoded = match Inspection::is_long_to_read(length) {
            false => decode(),
            true => http
                .inspection
                .here(length, decode)
                .map_err(|refusal| Cut::Ended(Box::new(refusal)))?,
        };
        match decoded {
            Ok(Body::Single(message)) => matching.passed(message),
            // 2025-03-26 lets servers batch; we never send batches, so nobody has to understand one.
            Ok(Body::Batch(_)) => return Err(Cut::Upstream("a batch on a stream".to_owned())),
            Err(error) => return Err(Cut::Upstream(error.to_string())),
        }
    };
    let empty = message.is_none() && event.id.is_none() && event.retry.is_none();
    Ok((!empty).then_some(Item {
        id: event.id,
        retry: event.retry,
        message,
    }))
}

fn broken(error: &StreamError) -> Cut {
    match error {
        StreamError::Noise { most } => {
            let said = format!("more than {most} bytes in a minute");
            Cut::Ended(Box::new(Refusal::new(Code::UpstreamFlood).detail(said)))
        }
        StreamError::Broken(_)
        | StreamError::Silent { .. }
        | StreamError::Malformed(_)
        | StreamError::NoMemory(_) => Cut::Upstream(error.to_string()),
    }
}

fn failed(error: UpstreamError) -> Refusal {
    let code = match &error {
        UpstreamError::NoMemory(_) => Code::MemoryFull,
        UpstreamError::Connect(_)
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
        | UpstreamError::ContentType
        | UpstreamError::ContentEncoding => Code::UpstreamInvalid,
    };
    Refusal::new(code).source(error)
}
