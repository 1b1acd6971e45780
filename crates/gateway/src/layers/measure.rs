//! Measure: counts and times every call, and records the traces of those that are sampled: one span for the call itself,
//! and one for its way to the server ([`Depart`], the last layer before the router).

mod ended;
mod span;
mod stream;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use keepgate_call::{Answer, Ask, Call, Origin, Refusal, Reply, ServerName};
use keepgate_mcp::{message::Message, method::Method};
use keepgate_telemetry::{
    metrics::{Bound as Handle, Gauge, OTHER},
    trace::Tracer,
};
use opentelemetry::trace::SpanKind;

use self::{ended::Ended, stream::Timed};
use super::{approval::Release, credential::Armed};
use crate::{
    around::Around,
    hash::HashMap,
    metrics::{Meters, Operation},
    settings::{Settings, Upstream},
    shared::Shared,
};

/// Counts calls and records their server spans.
#[derive(Debug)]
pub struct Measure {
    probe: Arc<Probe>,
}

/// Times the servers and records the client spans.
#[derive(Debug)]
pub struct Depart {
    probe: Arc<Probe>,
    servers: HashMap<ServerName, Arc<Destination>>,
}

/// Where what is measured goes.
#[derive(Debug)]
struct Probe {
    meters: Arc<Meters>,
    tracer: Arc<Tracer>,
}

impl Probe {
    fn of(shared: &Shared) -> Self {
        Self {
            meters: Arc::clone(&shared.meters),
            tracer: Arc::clone(&shared.tracer),
        }
    }
}

/// One server, as spans and meters name it.
#[derive(Debug)]
struct Destination {
    /// `tcp` or `pipe`.
    transport: &'static str,
    address: Option<String>,
    port: Option<u16>,
    /// Whether the last call reached it.
    up: Handle<Gauge>,
}

impl Measure {
    /// An around that feeds the meters and the tracer of `shared`.
    pub fn new(shared: &Shared) -> Self {
        Self {
            probe: Arc::new(Probe::of(shared)),
        }
    }
}

impl Depart {
    /// An around that feeds the meters and the tracer of `shared` with what the servers of the settings do.
    pub fn new(settings: &Settings, shared: &Shared) -> Self {
        let destination = |upstream: &Upstream, name: &ServerName| {
            let up = shared.meters.upstream(name);
            match upstream {
                Upstream::Http { url, .. } => Destination {
                    transport: "tcp",
                    address: url.host().map(str::to_owned),
                    port: Some(url.port_u16().unwrap_or_else(|| {
                        if url.scheme_str() == Some("https") {
                            443
                        } else {
                            80
                        }
                    })),
                    up,
                },
                Upstream::Child { .. } => Destination {
                    transport: "pipe",
                    address: None,
                    port: None,
                    up,
                },
            }
        };
        let servers = settings.servers.iter().map(|(name, server)| {
            let destination = destination(&server.upstream, name);
            (name.clone(), Arc::new(destination))
        });
        Self {
            probe: Arc::new(Probe::of(shared)),
            servers: servers.collect(),
        }
    }
}

impl Around<Arc<Call>> for Measure {
    type Out = Arc<Call>;
    type Reply = Reply;

    async fn run<N, F>(&self, call: Arc<Call>, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Arc<Call>) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let running = Running::new(&self.probe, &call, None);
        running.watch(next(call).await)
    }
}

impl Around<Armed> for Depart {
    type Out = Armed;
    type Reply = Reply;

    async fn run<N, F>(&self, armed: Armed, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Armed) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let call = armed.call();
        let running = match self.servers.get(&call.server) {
            Some(server) => Running::new(&self.probe, call, Some(server)),
            // The router will say that there is no such server.
            None => return next(armed).await,
        };
        let reply = match armed.release().cloned() {
            None => {
                call.dispatch();
                next(armed).await
            }
            Some(release) => released(Arc::clone(call), &release, next(armed)).await,
        };
        running.watch(reply)
    }
}

/// Runs a call that a person agreed to: it notes by itself that it leaves, when its server's side asks for clearance.
async fn released(
    call: Arc<Call>,
    release: &Release,
    running: impl Future<Output = Result<Reply, Refusal>>,
) -> Result<Reply, Refusal> {
    let reply = running.await;
    match (release.refusal(), reply) {
        (Some(refusal), _) => Err(refusal.clone()),
        (None, Ok(reply)) => {
            // It was answered, so it was sent: never again with this use, whoever failed to ask.
            call.dispatch();
            Ok(reply)
        }
        (None, Err(refusal)) => Err(refusal),
    }
}

/// What is being measured. Ends once, however it ends; dropped without an end, nobody waited for it any more.
#[derive(Debug)]
struct Running {
    probe: Arc<Probe>,
    call: Arc<Call>,
    /// Where it goes, on the way to a server.
    to: Option<Arc<Destination>>,
    /// When it began, for its span; the call itself began when its message had arrived.
    at: Option<SystemTime>,
    since: Instant,
    is_open: bool,
}

impl Running {
    fn new(probe: &Arc<Probe>, call: &Arc<Call>, to: Option<&Arc<Destination>>) -> Self {
        let is_recorded = call.trace.spans.is_some();
        Self {
            probe: Arc::clone(probe),
            call: Arc::clone(call),
            to: to.map(Arc::clone),
            at: is_recorded.then(|| match to {
                None => call.received,
                Some(_) => SystemTime::now(),
            }),
            since: Instant::now(),
            is_open: true,
        }
    }

    /// Ends with the reply, or with the response on its stream.
    fn watch(mut self, reply: Result<Reply, Refusal>) -> Result<Reply, Refusal> {
        match reply {
            Err(refusal) => {
                self.end(&Ended::Refused(&refusal));
                Err(refusal)
            }
            Ok(Reply { answer, session }) => {
                let answer = match answer {
                    Answer::Stream(events) => {
                        // A stream that opened has reached its server.
                        self.reached(true);
                        Answer::Stream(Box::pin(Timed::new(events, self)))
                    }
                    other @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => {
                        self.end(&Ended::of(&other));
                        other
                    }
                };
                Ok(Reply { answer, session })
            }
        }
    }

    fn end(&mut self, ended: &Ended<'_>) {
        if !self.is_open {
            return;
        }
        self.is_open = false;
        let took = self.since.elapsed();
        let call = &*self.call;
        match &self.to {
            None => self.probe.meters.call(call, ended.result()),
            Some(_) => {
                if let Some(up) = ended.reached() {
                    self.reached(up);
                }
            }
        }
        if let Some(method) = method(call) {
            let operation = Operation {
                call,
                method,
                tool: tool_label(call),
                error: ended.label(),
            };
            match (&self.to, call.origin) {
                (Some(to), _) => self.probe.meters.asked(&operation, to.transport, took),
                (None, Origin::Client) => self.probe.meters.served(&operation, took),
                // What the gateway asks for its own sake, no client waits for by itself.
                (None, Origin::Gateway) => {}
            }
            if let (Some(at), Some(spans)) = (self.at, &call.trace.spans) {
                let (kind, context) = match (&self.to, call.origin) {
                    (Some(_), _) => (SpanKind::Client, &spans.client),
                    (None, Origin::Client) => (SpanKind::Server, &spans.server),
                    (None, Origin::Gateway) => (SpanKind::Internal, &spans.server),
                };
                let measured = span::Measured {
                    kind,
                    context,
                    spans,
                    to: self.to.as_deref(),
                    began: at,
                    took,
                };
                self.probe.tracer.end(measured.span(call, ended));
            }
        }
    }

    fn reached(&self, up: bool) {
        if let Some(to) = &self.to {
            to.up.set(i64::from(up));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(&Ended::Vanished);
    }
}

/// The method of a request or notification; what is neither is no operation in the sense of the conventions.
fn method(call: &Call) -> Option<&'static str> {
    let method = match &call.ask {
        Ask::Message(Message::Request(request)) => request.method(),
        Ask::Message(Message::Notification(notification)) => notification.method(),
        Ask::Message(Message::Response(_)) | Ask::Listen | Ask::End => return None,
    };
    Some(method.known().unwrap_or(OTHER))
}

/// The tool a call is for, by its name if the server has listed it: no client makes up labels.
fn tool_label(call: &Call) -> std::borrow::Cow<'_, str> {
    match &call.ask {
        Ask::Message(Message::Request(request)) if *request.method() == Method::ToolsCall => {
            if !call.trace.is_listed() {
                return OTHER.into();
            }
            request
                .param("name")
                .and_then(|raw| raw.string())
                .unwrap_or_else(|| OTHER.into())
        }
        Ask::Message(_) | Ask::Listen | Ask::End => "".into(),
    }
}
