//! One accepted connection: handshake, choice of HTTP version, requests, drain.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use hyper::{
    body::Incoming,
    rt::Executor,
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::util::Oneshot;

use super::{
    Connection as Place, HttpService, ListenerSettings, Peer, PeerTls, Proxies,
    framing::Framed,
    patience::{Limits, Patient, Running, RunningGuard},
};
use crate::{
    body::{Body, BodyError},
    http::BUFFER,
};

/// What a connection needs to run.
pub(super) struct Open<S> {
    pub(super) settings: Arc<ListenerSettings>,
    pub(super) service: S,
    pub(super) cut: CancellationToken,
    pub(super) tracker: TaskTracker,
}

/// The HTTP versions we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    H1,
    H2,
}

impl<S: HttpService> Open<S> {
    /// Runs the connection to its end. Its errors are the peer's and go to the debug log.
    pub(super) async fn run(self, stream: TcpStream, mut peer: Peer) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not switch off Nagle's algorithm");
        }
        // A peer that says nothing is waited for no longer than one whose head does not end, and not in a drain.
        let patience = self.settings.header_timeout;
        let drain = peer.connection.end.clone();
        let Some(tls) = self.settings.tls.clone() else {
            let sniffed = drain
                .run_until_cancelled(timeout(patience, sniff(&stream)))
                .await;
            if let Some(Ok(Ok(version))) = sniffed {
                self.speak(version, stream, peer).await;
            }
            return;
        };
        let handshake = timeout(patience, tls.acceptor().accept(stream));
        match drain.run_until_cancelled(handshake).await {
            Some(Ok(Ok(stream))) => {
                let (_, session) = stream.get_ref();
                let h2 = session.alpn_protocol() == Some(b"h2");
                let tls13 = session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
                let server_name = session.server_name().map(str::to_owned);
                peer.tls = Some(Arc::new(PeerTls { server_name, tls13 }));
                self.speak(if h2 { Version::H2 } else { Version::H1 }, stream, peer)
                    .await;
            }
            Some(Ok(Err(error))) => {
                tracing::debug!(peer = %peer.addr, %error, "TLS handshake failed");
            }
            Some(Err(_elapsed)) => {
                tracing::debug!(peer = %peer.addr, "TLS handshake took too long");
            }
            None => {}
        }
    }

    /// Serves requests on an established connection.
    async fn speak<T>(self, version: Version, socket: T, peer: Peer)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings = &self.settings;
        let place = Arc::clone(&peer.connection);
        let running = Arc::clone(&place.running);
        let limits = Limits {
            head: (version == Version::H1).then_some(settings.header_timeout),
            idle: settings.idle_timeout,
            write: settings.write_timeout,
        };
        let addr = peer.addr;
        let socket = Patient::new(socket, limits, Arc::clone(&running));
        let service = Requests {
            service: self.service,
            peer,
            running,
            max_headers: settings.max_headers,
            trusted: settings.trusted_proxies.clone(),
        };
        let ended = match version {
            Version::H1 => {
                let socket = TokioIo::new(Framed::new(socket, addr));
                let connection = h1(settings).serve_connection(socket, service);
                drive(connection, &place, &self.cut, |connection| {
                    connection.graceful_shutdown()
                })
                .await
            }
            Version::H2 => {
                let socket = TokioIo::new(socket);
                let connection =
                    h2(settings, Tracked(self.tracker)).serve_connection(socket, service);
                drive(connection, &place, &self.cut, |connection| {
                    connection.graceful_shutdown()
                })
                .await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %addr, %error, "connection ended");
        }
    }
}

/// Polls a connection to its end; once `drain` is cancelled, tells it to finish what runs and take nothing new. At the cut
/// it is dropped, its socket and all it was doing with it.
async fn drive<C>(
    connection: C,
    place: &Place,
    cut: &CancellationToken,
    finish: impl FnOnce(Pin<&mut C>),
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    // A token of its own per connection: waiting on the shared one would take its lock on every wake.
    if let Some(ended) = place.end.run_until_cancelled(connection.as_mut()).await {
        return ended;
    }
    // One that has never sent a whole head owes and is owed nothing; another may still be writing its last answer.
    if place.is_closed() && place.running.begun() == 0 {
        return Ok(());
    }
    finish(connection.as_mut());
    cut.run_until_cancelled(connection).await.unwrap_or(Ok(()))
}

/// Looks at the first bytes without taking them: the preface of HTTP/2 begins with a method no HTTP/1.1 server has.
async fn sniff(stream: &TcpStream) -> std::io::Result<Version> {
    const PREFACE: &[u8] = b"PRI ";
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await?;
        let begin = seen.get(..count).unwrap_or_default();
        if begin == PREFACE {
            return Ok(Version::H2);
        }
        if begin.is_empty() || !PREFACE.starts_with(begin) {
            return Ok(Version::H1);
        }
        // Peeking is ready as long as one byte is there, so the rest can only be asked for again.
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn h1(settings: &ListenerSettings) -> http1::Builder {
    /// What hyper takes without allocating per request.
    const HYPER_HEADERS: usize = 100;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `Patient` does it for the whole connection with one timer.
        .header_read_timeout(None)
        .max_buf_size(BUFFER.max(settings.max_header_bytes))
        .max_header_size(settings.max_header_bytes)
        .half_close(false);
    if settings.max_headers != HYPER_HEADERS {
        builder.max_headers(settings.max_headers);
    }
    builder
}

fn h2(settings: &ListenerSettings, executor: Tracked) -> http2::Builder<Tracked> {
    let limits = &settings.h2;
    let header_bytes = u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_pending_accept_reset_streams(limits.max_pending_resets)
        .max_local_error_reset_streams(limits.max_error_resets)
        .max_send_buf_size(limits.send_buffer)
        .max_header_list_size(header_bytes)
        .keep_alive_interval(limits.ping)
        .keep_alive_timeout(limits.ping);
    builder
}

/// Spawns the streams of HTTP/2 where the drain can count them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The service of one connection: adds the peer, counts what runs.
#[derive(Clone)]
struct Requests<S> {
    service: S,
    peer: Peer,
    running: Arc<Running>,
    max_headers: usize,
    trusted: Proxies,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for Requests<S> {
    type Response = Response<Counted>;
    type Error = Infallible;
    type Future = Answering<S>;

    fn call(&self, mut request: Request<Incoming>) -> Answering<S> {
        let guard = Some(self.running.begin());
        // HTTP/1.1 counts while parsing; HTTP/2 knows only bytes.
        if request.headers().len() > self.max_headers {
            return Answering::TooManyHeaders { guard };
        }
        let mut peer = self.peer.clone();
        peer.client = self.trusted.client(peer.addr, request.headers());
        request.extensions_mut().insert(peer);
        Answering::Running {
            answer: Oneshot::new(self.service.clone(), request),
            guard,
        }
    }
}

pin_project_lite::pin_project! {
    /// The future of one request; dropped by hyper when the client is gone.
    #[project = AnsweringProjection]
    enum Answering<S: HttpService> {
        Running { #[pin] answer: Oneshot<S, Request<Incoming>>, guard: Option<RunningGuard> },
        TooManyHeaders { guard: Option<RunningGuard> },
    }
}

impl<S: HttpService> Future for Answering<S> {
    type Output = Result<Response<Counted>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (response, guard) = match self.project() {
            AnsweringProjection::Running { answer, guard } => {
                let response = match ready!(answer.poll(context)) {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                (response, guard.take())
            }
            AnsweringProjection::TooManyHeaders { guard } => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                (response, guard.take())
            }
        };
        Poll::Ready(Ok(response.map(|body| Counted {
            body,
            _guard: guard,
        })))
    }
}

/// A response body that keeps its request counted until it is sent or dropped.
struct Counted {
    body: Body,
    _guard: Option<RunningGuard>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
