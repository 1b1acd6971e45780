//! The endpoint clients speak to: from bytes to calls, and from replies back to bytes.

mod answer;
mod batch;
mod detach;
mod held;
mod narrow;
mod post;
mod run;
mod sse;
mod state;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll},
    time::SystemTime,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts};
use keepgate_call::{
    Ask, Call, Caller, Code, HttpTransport, Passed, Refusal, ServerName, Trace, Wait, trace::Remote,
};
use keepgate_mcp::{Era, Mirrored, header::HeaderError, message::Message, revision::Revision};
use keepgate_telemetry::trace::Carrier;
use keepgate_transport::{Body, http::server::Peer};
use tower::Service;

use super::{authn::Identified, room::Continuing};
use crate::{
    active::StackServers,
    layers::{kill, limit::CallerRate},
    render::{self, Asked},
    session::{Definition, Session},
    settings::{Limits, Settings},
    shared::Shared,
    stack::Calls,
};

/// The endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    shared: Arc<Shared>,
    calls: Arc<Calls>,
    /// Registers the event streams of clients over HTTP+SSE, whose sessions begin later.
    kill: kill::Cut,
    /// The rate that opening one of these is charged to.
    rate: CallerRate,
    definitions: BTreeMap<ServerName, Definition>,
    /// The path under which clients find the gateway.
    path: Box<str>,
}

/// The endpoint of the stack in use, for what outlives the stack it came to: event streams of clients over HTTP+SSE. A stream
/// that held a stack would run what comes on it by the policy's facts, the limits and the processes of before a reload.
#[derive(Debug, Default)]
pub struct CurrentEndpoint(Mutex<Weak<Inner>>);

impl CurrentEndpoint {
    fn replace(&self, inner: &Arc<Inner>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(inner);
    }

    /// The endpoint; `None` once the gateway is gone.
    fn current(&self) -> Option<Arc<Inner>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade()
    }
}

/// Everything about one request but its body.
#[derive(Clone)]
struct Arrived {
    caller: Arc<Caller>,
    server: ServerName,
    transport: HttpTransport,
    peer: Option<SocketAddr>,
    headers: HeaderMap,
    /// Whether the gateway drains, so that nothing begins with it.
    is_draining: bool,
}

impl Endpoint {
    /// An endpoint in front of `calls`.
    pub fn new(
        settings: &Settings,
        shared: &Arc<Shared>,
        servers: &StackServers,
        calls: Arc<Calls>,
    ) -> Self {
        let inner = Arc::new(Inner {
            limits: settings.limits.clone(),
            shared: Arc::clone(shared),
            calls,
            kill: kill::Cut::new(settings, shared, servers),
            rate: CallerRate::new(settings, &shared.budgets),
            definitions: Definition::all(settings),
            path: settings.path.as_str().into(),
        });
        shared.endpoint.replace(&inner);
        Self(inner)
    }
}

impl Service<Identified> for Endpoint {
    type Response = Response<Body>;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Refusal>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, identified: Identified) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let Identified {
                request,
                caller,
                server,
                transport,
                channel,
            } = identified;
            let (
                Parts {
                    method,
                    headers,
                    extensions,
                    ..
                },
                body,
            ) = request.into_parts();
            let peer = extensions.get::<Peer>().and_then(|peer| peer.client);
            let arrived = Arrived {
                caller,
                server,
                transport,
                peer,
                headers,
                is_draining: extensions.get::<Continuing>().is_some(),
            };
            match (transport, method, channel) {
                (HttpTransport::Streamable, Method::POST, _) => inner.post(arrived, body).await,
                (HttpTransport::Streamable, Method::GET, _) => {
                    inner.stream(arrived, Ask::Listen).await
                }
                (HttpTransport::Streamable, Method::DELETE, _) => {
                    inner.stream(arrived, Ask::End).await
                }
                (HttpTransport::Sse, Method::GET, None) => inner.open_stream(&arrived).await,
                (HttpTransport::Sse, Method::POST, Some(id)) => {
                    inner.post_to_stream(arrived, id, body).await
                }
                (HttpTransport::Streamable, ..) => {
                    Ok(inner.not_allowed(&arrived, "POST, GET, DELETE"))
                }
                (HttpTransport::Sse, _, None) => Ok(inner.not_allowed(&arrived, "GET")),
                (HttpTransport::Sse, _, Some(_)) => Ok(inner.not_allowed(&arrived, "POST")),
            }
        })
    }
}

impl Inner {
    /// A refusal that is not an error of the endpoint, so that the door does not note it: it is noted here.
    fn noted(&self, code: Code, arrived: &Arrived) -> Refusal {
        let source = arrived.peer.map(|peer| peer.ip());
        let (id, _is_new) = self.shared.door.note(code, source, None);
        Refusal::new(code).decision(id)
    }

    fn not_allowed(&self, arrived: &Arrived, allowed: &'static str) -> Response<Body> {
        let mut response = render::over_http(&self.noted(Code::HttpMethod, arrived));
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static(allowed));
        response
    }

    /// `GET` and `DELETE`: only sessions have them. Without one they are what 2026-07-28 says they are, not allowed.
    async fn stream(
        self: Arc<Self>,
        arrived: Arrived,
        ask: Ask,
    ) -> Result<Response<Body>, Refusal> {
        let mirrored = mirrored(&arrived.headers)?;
        if mirrored.session_id.is_none() {
            return Ok(self.not_allowed(&arrived, "POST, GET, DELETE"));
        }
        let listens = matches!(ask, Ask::Listen);
        if listens && !accepts(&arrived.headers, "text/event-stream")? {
            return Err(Refusal::new(Code::NotAcceptable));
        }
        let session = self.session(&arrived, &mirrored);
        let agreed = session.map(|session| session.revision());
        let revision = agreed.unwrap_or(Revision::LATEST_STATEFUL);
        match mirrored
            .protocol_version
            .map(|named| (named, Revision::parse(named)))
        {
            // A session keeps the revision it began in, whichever of its era a request names.
            Some((_, Some(named))) if named.era() == Era::Stateful => {}
            Some((named, _)) => {
                return Err(Refusal::new(Code::RevisionUnsupported).detail(named.to_owned()));
            }
            None => {}
        }
        let call = Arc::new(self.call(&arrived, &mirrored, revision, ask));
        let asked = Asked::of(&call);
        match self.run(Arc::clone(&call)).await {
            Ok(reply) => Ok(answer::respond(&self, &call, reply)),
            Err(refusal) => Ok(render::in_band(&refusal, &asked)),
        }
    }

    /// The session a request names, if it is the caller's.
    fn session(&self, arrived: &Arrived, mirrored: &Mirrored<'_>) -> Option<Arc<Session>> {
        let id = mirrored.session_id?;
        self.shared
            .sessions
            .find(&arrived.caller, &arrived.server, id.as_bytes())
    }

    /// The call of a message that was posted.
    ///
    /// # Errors
    /// `draining` for one that does not go on with what has begun, where only such may come.
    async fn posted(
        &self,
        arrived: &Arrived,
        mirrored: &Mirrored<'_>,
        revision: Revision,
        message: Message,
    ) -> Result<Call, Refusal> {
        let approvals = self.shared.approvals.as_ref();
        let (ask, state) = state::taken(approvals, Ask::Message(message)).await?;
        if arrived.is_draining && state.is_none() {
            return Err(Refusal::new(Code::Draining));
        }
        let mut call = self.call(arrived, mirrored, revision, ask);
        call.wait.state = state;
        Ok(call)
    }

    fn call(
        &self,
        arrived: &Arrived,
        mirrored: &Mirrored<'_>,
        revision: Revision,
        ask: Ask,
    ) -> Call {
        let received = SystemTime::now();
        let (id, random) = self.shared.ids.next(received);
        let trace = match &ask {
            Ask::Message(message) if message.method().is_some() => {
                let carried = Carried {
                    message,
                    headers: &arrived.headers,
                };
                self.shared.tracer.begin(random, &carried)
            }
            Ask::Message(_) | Ask::Listen | Ask::End => Trace::default(),
        };
        let stateful = revision.era() == Era::Stateful;
        Call {
            transport: arrived.transport,
            // 2026-07-28 has no sessions: a session id means nothing there and is not looked at.
            session: mirrored
                .session_id
                .filter(|_| stateful)
                .map(|id| Bytes::copy_from_slice(id.as_bytes())),
            passed: passed(&arrived.headers, mirrored, stateful),
            peer: arrived.peer,
            wait: Wait::new(stateful),
            trace,
            ..Call::new(
                id,
                self.shared.ids.upstream(),
                received,
                Arc::clone(&arrived.caller),
                arrived.server.clone(),
                revision,
                ask,
            )
        }
    }
}

/// The trace context of a client, where it can stand (W3C Trace Context; SEP-414 for `_meta`).
struct Carried<'a> {
    message: &'a Message,
    headers: &'a HeaderMap,
}

impl Carrier for Carried<'_> {
    fn message(&self) -> Option<Remote<'_>> {
        let meta = self.message.meta();
        Remote::parse(meta.traceparent()?.as_bytes(), meta.tracestate())
    }

    fn header(&self) -> Option<Remote<'_>> {
        let mut parents = self.headers.get_all("traceparent").iter();
        let parent = parents.next()?;
        // Two of them are none (§3.2.1).
        if parents.next().is_some() {
            return None;
        }
        let state = self.headers.get("tracestate");
        let state = state.and_then(|state| state.to_str().ok());
        Remote::parse(parent.as_bytes(), state.map(Into::into))
    }
}

fn mirrored(headers: &HeaderMap) -> Result<Mirrored<'_>, Refusal> {
    Mirrored::read(
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
    .map_err(|error: HeaderError| Refusal::new(Code::HeaderInvalid).detail(error.to_string()))
}

fn passed(headers: &HeaderMap, mirrored: &Mirrored<'_>, stateful: bool) -> Passed {
    if stateful {
        let last_event_id = mirrored
            .last_event_id
            .map(|id| Bytes::copy_from_slice(id.as_bytes()));
        return Passed {
            params: Vec::new(),
            last_event_id,
        };
    }
    let params = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("mcp-param-"));
    let params = params.map(|(name, value)| {
        (
            name.as_str().into(),
            Bytes::copy_from_slice(value.as_bytes()),
        )
    });
    Passed {
        params: params.collect(),
        last_event_id: None,
    }
}

/// Whether the client accepts a media type, by that name or a wildcard.
///
/// # Errors
/// `not_acceptable` when the header cannot be read.
fn accepts(headers: &HeaderMap, media: &str) -> Result<bool, Refusal> {
    let (kind, _) = media.split_once('/').unwrap_or((media, ""));
    for line in headers.get_all(header::ACCEPT) {
        let line = line
            .to_str()
            .map_err(|error| Refusal::new(Code::NotAcceptable).source(error))?;
        for range in line.split(',') {
            let range = range.split(';').next().unwrap_or_default().trim();
            let wild = range
                .split_once('/')
                .is_some_and(|(top, sub)| sub == "*" && (top == "*" || top == kind));
            if wild || range.eq_ignore_ascii_case(media) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The status of a reply that has no body.
fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
