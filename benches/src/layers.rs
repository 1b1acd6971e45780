//! Keepgate's crates put together step by step, so that the table shows what each one costs.
//!
//! The gateway itself has no switch that leaves a layer out, and must not get one for a bench. So this is not the gateway:
//! it is the shortest path through the same crates, with each stage called as the gateway calls it and nothing between.
//! Sessions, authentication, host checks and the tower stack are only in the rows that run the whole
//! gateway.

mod stage;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use futures_util::StreamExt as _;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use keepgate_mcp::sse::Event;
use keepgate_net::ConnectorSettings;
use keepgate_policy::Effect;
use keepgate_transport::Body;
use keepgate_transport::body::read_capped;
use keepgate_transport::http::client::{Client, ClientSettings};
use keepgate_transport::http::server::{Listener, ListenerSettings, serve as serve_http};
use keepgate_transport::http::upstream::{Answer, AnswerHead, Endpoint, Events, Limits};
use keepgate_transport::sse;
use tokio_util::sync::CancellationToken;

use self::stage::{Call, Judge, Judged, Stages};
use crate::error::Error;
use crate::serve;
use crate::usage::Usage;
use crate::workload::Workload;

/// How far the composition goes. Each has all the stages of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum With {
    /// `transport` at both ends; bodies are read whole, nothing is parsed.
    Relay,
    /// and `mcp`: both messages decoded strictly, headers compared with the body.
    Decode,
    /// and `policy`: the call judged by Rego on its arguments.
    Policy,
    /// and `audit`: intent before dispatch, outcome before release.
    Audit,
}

/// What the composition is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How far it goes.
    pub(crate) with: With,
    /// Where it sends calls.
    pub(crate) upstream: SocketAddr,
    /// The folder of Rego policies.
    pub(crate) policy: PathBuf,
    /// The folder of the audit log.
    pub(crate) log: PathBuf,
}

/// The longest request, in bytes; the gateway's default.
const MAX_REQUEST: usize = 1 << 20;

/// How long a request may take to arrive; the gateway's default.
const DEADLINE: Duration = Duration::from_secs(30);

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Runs the composition until the parent is gone.
pub(crate) fn run(settings: &Settings) -> Result<(), Error> {
    serve::runtime()?.block_on(serve_until_parent_ends(settings))
}

async fn serve_until_parent_ends(settings: &Settings) -> Result<(), Error> {
    let client = Client::new(ClientSettings {
        connector: ConnectorSettings {
            native_roots: false,
            ..ConnectorSettings::default()
        },
        ..ClientSettings::default()
    })
    .map_err(Error::part("set up a client"))?;
    let endpoint = client
        .endpoint(&format!("http://{}/bench/mcp", settings.upstream))
        .map_err(Error::part("set up an endpoint"))?;
    let relay = Arc::new(Relay {
        endpoint,
        limits: Limits::default(),
        stages: Stages::start(settings)?,
    });
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(address, ListenerSettings::default())
        .await
        .map_err(Error::part("listen"))?;
    serve::announce(listener.addr())?;
    let service = tower::service_fn(move |request| {
        let relay = Arc::clone(&relay);
        async move { Ok::<_, Infallible>(relay.answer(request).await) }
    });
    let shutdown = CancellationToken::new();
    tokio::select! {
        _ = serve_http(listener, service, shutdown.clone()) => {}
        _ = serve::parent_end() => {}
    }
    Ok(())
}

/// Judges the call of `workload` again and again for `measure` and prints the CPU microseconds of one judgement.
///
/// The gateway's API has no way to allow without judging, and gets none for a bench. So "everything but Rego" is derived:
/// the whole gateway's CPU less this figure. It contains building the input and the verdict as well as evaluating.
pub(crate) fn judge(policy: &Path, workload: Workload, measure: Duration) -> Result<(), Error> {
    const BATCH: u32 = 64;
    let judge = Judge::load(policy)?;
    let call = Call::of(workload)?;
    let batch = || {
        let allowed = (0..BATCH)
            .filter(|_| judge.decide(&call, workload.tool().name()).effect == Effect::Allow);
        allowed.count() == BATCH as usize
    };
    let warm = Instant::now() + measure / 3;
    while Instant::now() < warm {
        batch();
    }
    let id = std::process::id();
    let (before, end) = (Usage::of(id)?, Instant::now() + measure);
    let mut judged = 0_u32;
    while Instant::now() < end {
        if !batch() {
            return Err(Error::Reply("the policy refuses the bench's call".into()));
        }
        judged += BATCH;
    }
    let used = Usage::of(id)?.since(&before);
    serve::say(&(used.as_secs_f64() * 1e6 / f64::from(judged.max(1))).to_string())
}

/// Why a call got no answer of the upstream's. The driver only counts it.
struct Refused(StatusCode);

/// The composition.
struct Relay {
    endpoint: Endpoint,
    limits: Limits,
    stages: Stages,
}

impl Relay {
    async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        match self.call(request).await {
            Ok(reply) => reply,
            Err(Refused(status)) => empty(status),
        }
    }

    async fn call(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        let (mut parts, body) = request.into_parts();
        // As the gateway does: the caller's credential is not for the upstream.
        parts.headers.remove(http::header::AUTHORIZATION);
        parts.headers.remove(http::header::HOST);
        if parts.method == Method::DELETE {
            let ended = self.endpoint.delete(parts.headers, &self.limits).await;
            return match ended {
                Ok(_) => Ok(empty(StatusCode::OK)),
                Err(_) => Err(Refused(StatusCode::BAD_GATEWAY)),
            };
        }
        let body = read_capped(body, MAX_REQUEST, DEADLINE)
            .await
            .map_err(|_| Refused(StatusCode::BAD_REQUEST))?;
        let judged = self.stages.request(&parts.headers, body).await?;
        let answer = self
            .endpoint
            .post(parts.headers, judged.bytes().clone(), &self.limits)
            .await
            .map_err(|_| Refused(StatusCode::BAD_GATEWAY))?;
        match answer {
            Answer::Accepted => Ok(empty(StatusCode::ACCEPTED)),
            Answer::Message { head, body } => {
                let body = self.stages.reply(&judged, body.tied()).await?;
                Ok(with_session(Body::full(body), "application/json", head))
            }
            Answer::Stream { head, events } => {
                self.stages.open(&judged).await?;
                let events = self.events(judged, events);
                Ok(with_session(events, "text/event-stream", head))
            }
            Answer::Rejected { status, body } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                let mut reply = empty(status);
                *reply.body_mut() = Body::full(body.unwrap_or_default());
                Ok(reply)
            }
        }
    }
}

impl Relay {
    /// The upstream's events, each through the stages before the client sees it. What fails ends the stream.
    fn events(self: &Arc<Self>, judged: Judged, events: Events) -> Body {
        const QUIET: Duration = Duration::from_secs(15);
        let (relay, judged) = (Arc::clone(self), Arc::new(judged));
        let events = events
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok()))
            .then(move |event| {
                let (relay, judged) = (Arc::clone(&relay), Arc::clone(&judged));
                async move {
                    if !event.has_data {
                        return Some(event);
                    }
                    let data = relay.stages.reply(&judged, event.data.clone()).await.ok()?;
                    Some(Event { data, ..event })
                }
            })
            .take_while(|event| std::future::ready(event.is_some()))
            .filter_map(std::future::ready);
        sse::relay(events, QUIET)
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

fn with_session(body: Body, kind: &'static str, head: AnswerHead) -> Response<Body> {
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(session) = head.session {
        headers.insert(SESSION, session);
    }
    reply
}
