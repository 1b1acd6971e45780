//! The connections of one endpoint.
//!
//! Why not hyper-util's pooled client: there every HTTP/1.1 connection is a task of its own, so a call costs two wakes
//! across tasks. Here whoever makes the call drives its connection, and a call that is dropped closes its socket at once
//! because nobody else holds it. HTTP/2 connections carry many calls and do have a task each.
//!
//! **Sending once.** A request is handed to a connection that was just looked at for an end. If the connection ends before
//! hyper has begun to write, hyper gives the request back untouched (`TrySendError::take_message`), and only then another
//! connection is tried. Once hyper has taken it, a failure is the call's failure.

mod shared;

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, Version, header::HOST, uri::PathAndQuery};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use keepgate_net::{ConnectError, Connected, Connector};
use tokio::time::{Instant, timeout};
use tokio_util::{either::Either, task::TaskTracker};

use crate::{
    alarm::Alarm,
    clearance::Carried,
    descriptors::{self, Descriptor},
};

use self::shared::{Driver, Shared, StreamPlace, Streams};
use super::{
    BUFFER,
    client::{ClientSettings, Target},
    upstream::{Place, UpstreamError},
};

/// What is sent.
pub(super) type Out = Full<Bytes>;

type Socket = TokioIo<Connected>;

/// Makes connections to one address.
pub(super) struct Maker {
    pub(super) settings: Arc<ClientSettings>,
    pub(super) connector: Connector,
    pub(super) target: Arc<Target>,
    pub(super) tasks: TaskTracker,
}

/// An HTTP/1.1 connection with its driver.
struct H1 {
    sender: http1::SendRequest<Out>,
    driver: http1::Connection<Socket, Out>,
    /// How long it may rest: our setting or what the upstream says in `Keep-Alive`, if that is less.
    rest: Duration,
    /// Rings when the head of a response does not come.
    alarm: Alarm,
    _descriptor: Descriptor,
}

/// A connection at rest.
struct Resting {
    connection: Box<H1>,
    until: Instant,
}

/// All connections to one address.
pub(super) struct Pool {
    maker: Maker,
    resting: Mutex<VecDeque<Resting>>,
    shared: Shared,
    /// Whether a task is about that closes what rested too long.
    sweeping: AtomicBool,
}

/// What a new connection turned out to be.
enum Made {
    H1(Box<H1>),
    H2(http2::SendRequest<Out>, Arc<Streams>),
}

impl Maker {
    async fn make(&self) -> Result<Made, UpstreamError> {
        let after = self.settings.connector.timeout;
        match timeout(after, self.make_unhurried()).await {
            Ok(made) => made,
            Err(_elapsed) => Err(UpstreamError::ConnectTimeout { after }),
        }
    }

    async fn make_unhurried(&self) -> Result<Made, UpstreamError> {
        let descriptor =
            Descriptor::take().map_err(|source| UpstreamError::NoDescriptor(source.into()))?;
        let socket = self.connect().await?;
        let chosen_h2 = match &socket {
            Either::Left(_) => false,
            Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        };
        if chosen_h2 {
            self.h2(socket, descriptor).await
        } else {
            self.h1(socket, descriptor).await
        }
    }

    /// A connection on which nothing has been sent, but for the handshake of TLS.
    async fn connect(&self) -> Result<Connected, UpstreamError> {
        let connected = self.connector.connect(&self.target.net).await;
        connected.map_err(|error| match error {
            ConnectError::TimedOut { after } => UpstreamError::ConnectTimeout { after },
            error @ (ConnectError::Address
            | ConnectError::Tcp(_)
            | ConnectError::Proxy { .. }
            | ConnectError::Tunnel { .. }
            | ConnectError::Handshake(_)) => match descriptors::is_exhausted(&error) {
                true => UpstreamError::NoDescriptor(error.into()),
                false => UpstreamError::Connect(error.into()),
            },
        })
    }

    async fn h1(&self, socket: Connected, descriptor: Descriptor) -> Result<Made, UpstreamError> {
        /// What hyper takes without allocating per response.
        const HYPER_HEADERS: usize = 100;
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(BUFFER.max(self.settings.max_header_bytes))
            .max_header_size(self.settings.max_header_bytes);
        if self.settings.max_headers != HYPER_HEADERS {
            builder.max_headers(self.settings.max_headers);
        }
        let (sender, driver) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|source| UpstreamError::Connect(source.into()))?;
        let rest = self.settings.pool_idle;
        Ok(Made::H1(Box::new(H1 {
            sender,
            driver,
            rest,
            alarm: Alarm::default(),
            _descriptor: descriptor,
        })))
    }

    async fn h2(&self, socket: Connected, descriptor: Descriptor) -> Result<Made, UpstreamError> {
        const PING: Duration = Duration::from_secs(20);
        let header_bytes = u32::try_from(self.settings.max_header_bytes).unwrap_or(u32::MAX);
        let (sender, driver) = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(TokioTimer::new())
            .max_header_list_size(header_bytes)
            .initial_stream_window_size(256 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|source| UpstreamError::Connect(source.into()))?;
        let driver = Driver::new(driver);
        let streams = driver.streams();
        self.tasks.spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "an HTTP/2 connection to an upstream ended");
            }
            drop(descriptor);
        });
        Ok(Made::H2(sender, streams))
    }
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(maker: Maker) -> Arc<Self> {
        Arc::new(Self {
            maker,
            resting: Mutex::default(),
            shared: Shared::default(),
            sweeping: AtomicBool::new(false),
        })
    }

    /// Connects and closes again.
    pub(super) async fn probe(&self) -> Result<(), UpstreamError> {
        self.maker.connect().await.map(drop)
    }

    /// Sends one request, once, and waits up to `head` for the head of its response. The address is the pool's. Its clearance is
    /// asked for once there is a connection.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Out>,
        mut clearance: Option<Carried>,
        head: Duration,
    ) -> Result<Response<Received>, UpstreamError> {
        let target = &*self.maker.target;
        if let Some((sender, place)) = self.shared_sender() {
            cleared(&mut clearance).await?;
            request = match send_h2(sender, place, to_h2(request, target), head).await? {
                Sent::Answered(response) => return Ok(response),
                Sent::NotTaken(request) => request,
            };
        }
        request = to_h1(request, target);
        while let Some(connection) = self.take_resting() {
            cleared(&mut clearance).await?;
            request = match self.send_h1(connection, request, head).await? {
                Sent::Answered(response) => return Ok(response),
                Sent::NotTaken(request) => request,
            };
        }
        // Boxed because it is large and rare: every call would carry and copy the space for it.
        let made = Box::pin(self.maker.make()).await?;
        cleared(&mut clearance).await?;
        let sent = match made {
            Made::H1(connection) => self.send_h1(connection, request, head).await?,
            Made::H2(sender, streams) => {
                let place = self.shared.add(&sender, &streams);
                send_h2(sender, place, to_h2(request, target), head).await?
            }
        };
        match sent {
            Sent::Answered(response) => Ok(response),
            Sent::NotTaken(_) => Err(UpstreamError::Connect(
                "a new connection closed at once".into(),
            )),
        }
    }

    /// An HTTP/2 connection with room for a stream, if there is one that still lives.
    fn shared_sender(&self) -> Option<(http2::SendRequest<Out>, StreamPlace)> {
        // Plain addresses never have one; do not take their lock.
        if !self.maker.target.net.is_https() {
            return None;
        }
        self.shared.take()
    }

    /// The connection that rested last and lives.
    fn take_resting(&self) -> Option<Box<H1>> {
        loop {
            let Resting {
                mut connection,
                until,
            } = lock(&self.resting).pop_back()?;
            if Instant::now() < until && connection.lives() {
                return Some(connection);
            }
        }
    }

    /// Lets a connection rest for the next call.
    fn rest(self: &Arc<Self>, connection: Box<H1>) {
        let now = Instant::now();
        let until = now + connection.rest;
        let mut resting = lock(&self.resting);
        if resting.len() >= self.maker.settings.pool_max_idle {
            resting.pop_front();
        }
        resting.push_back(Resting { connection, until });
        let sweeping = self.sweeping.swap(true, Ordering::AcqRel);
        drop(resting);
        if !sweeping {
            self.sweep_later();
        }
    }

    /// Closes what rested too long, until nothing rests. One task per pool at most, and only while connections rest.
    fn sweep_later(self: &Arc<Self>) {
        let pool = Arc::downgrade(self);
        let pause = self.maker.settings.pool_idle.max(Duration::from_secs(1));
        self.maker.tasks.spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                let Some(pool) = Weak::upgrade(&pool) else {
                    return;
                };
                if pool.sweep() {
                    return;
                }
            }
        });
    }

    /// Drops the dead and the overdue; tells whether nothing is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut resting = lock(&self.resting);
        resting.retain_mut(|resting| now < resting.until && resting.connection.lives());
        let empty = resting.is_empty();
        if empty {
            // Under the lock, so that a connection put to rest now starts the next sweep.
            self.sweeping.store(false, Ordering::Release);
        }
        empty
    }

    /// Sends on an HTTP/1.1 connection and drives it.
    async fn send_h1(
        self: &Arc<Self>,
        mut connection: Box<H1>,
        request: Request<Out>,
        head: Duration,
    ) -> Result<Sent, UpstreamError> {
        let H1 {
            sender,
            driver,
            alarm,
            ..
        } = connection.as_mut();
        alarm.restart(head);
        let mut answer = pin!(sender.try_send_request(request));
        let mut ended = false;
        let answered = poll_fn(|context| {
            // Made here: a context held across the wait would tie the future to one thread.
            let mut nobody = Context::from_waker(Waker::noop());
            if !ended {
                ended = Pin::new(&mut *driver).poll(context).is_ready();
            }
            // Only the driver, just polled, can have made it ready: a waker of its own would only wake us twice.
            match answer.as_mut().poll(&mut nobody) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(Some(error))),
                Poll::Pending if ended => Poll::Ready(Err(None)),
                Poll::Pending if alarm.rings(context) => Poll::Ready(Err(None)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match answered {
            Ok(response) => {
                alarm.clear();
                Ok(Sent::Answered(self.receive(response, connection, ended)))
            }
            Err(Some(error)) => not_answered(error),
            Err(None) if ended => Err(UpstreamError::Broken(
                "the connection ended without an answer".into(),
            )),
            // The connection is dropped here, and with it the call at the other side.
            Err(None) => Err(UpstreamError::HeadTimeout { after: head }),
        }
    }

    fn receive(
        self: &Arc<Self>,
        response: Response<Incoming>,
        mut connection: Box<H1>,
        ended: bool,
    ) -> Response<Received> {
        if let Some(hint) = keep_alive_hint(response.headers()) {
            connection.rest = connection.rest.min(hint);
        }
        let lease = (!ended).then(|| Lease {
            connection,
            pool: Arc::clone(self),
        });
        response.map(|body| {
            let mut received = Received {
                body,
                lease,
                _place: None,
            };
            if received.body.is_end_stream() {
                received.release();
            }
            received
        })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // The HTTP/2 driver ends when the last sender is gone; nothing else holds on.
        lock(&self.resting).clear();
    }
}

impl H1 {
    /// Whether a resting connection has not been ended by the other side meanwhile.
    fn lives(&mut self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        Pin::new(&mut self.driver).poll(&mut nobody).is_pending() && self.sender.is_ready()
    }
}

/// Asks for clearance, unless that was done.
async fn cleared(clearance: &mut Option<Carried>) -> Result<(), UpstreamError> {
    match clearance.take() {
        Some(Carried(clearance)) if !clearance.ask().await => Err(UpstreamError::NotCleared),
        Some(_) | None => Ok(()),
    }
}

/// Where a request is after an attempt.
enum Sent {
    Answered(Response<Received>),
    /// Given back; no byte of it was written.
    NotTaken(Request<Out>),
}

fn not_answered(mut error: TrySendError<Request<Out>>) -> Result<Sent, UpstreamError> {
    match error.take_message() {
        Some(request) => Ok(Sent::NotTaken(request)),
        None => Err(UpstreamError::Broken(error.into_error().into())),
    }
}

async fn send_h2(
    mut sender: http2::SendRequest<Out>,
    place: StreamPlace,
    request: Request<Out>,
    head: Duration,
) -> Result<Sent, UpstreamError> {
    let Ok(answered) = timeout(head, sender.try_send_request(request)).await else {
        return Err(UpstreamError::HeadTimeout { after: head });
    };
    match answered {
        Ok(response) => Ok(Sent::Answered(response.map(|body| Received {
            body,
            lease: None,
            _place: Some(place),
        }))),
        Err(error) => not_answered(error),
    }
}

/// HTTP/1.1 has the path in the request line and the rest in `Host`.
fn to_h1(mut request: Request<Out>, target: &Target) -> Request<Out> {
    *request.uri_mut() = placed(&request, &target.path);
    *request.version_mut() = Version::HTTP_11;
    request
        .headers_mut()
        .insert(HOST, target.net.host().clone());
    request
}

/// HTTP/2 has the whole address in pseudo-headers, and no `Host`.
fn to_h2(mut request: Request<Out>, target: &Target) -> Request<Out> {
    *request.uri_mut() = placed(&request, target.net.uri());
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(HOST);
    request
}

/// The address, with the request's own path or query, if it has one.
fn placed(request: &Request<Out>, address: &Uri) -> Uri {
    let Some(Place { path, query }) = request.extensions().get() else {
        return address.clone();
    };
    let own = path.as_ref().or_else(|| address.path_and_query());
    let whole = match (own, query) {
        (Some(own), None) => own.as_str().to_owned(),
        (Some(own), Some(query)) if own.query().is_some() => format!("{own}&{query}"),
        (own, query) => {
            let path = own.map_or("/", PathAndQuery::as_str);
            let query = query.as_deref().unwrap_or_default();
            format!("{path}?{query}")
        }
    };
    let mut parts = address.clone().into_parts();
    parts.path_and_query = whole.parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| address.clone())
}

/// What the upstream says about resting, less a second for the way.
fn keep_alive_hint(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds: u64 = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.saturating_sub(1)))
}

/// A lock that outlives a panic elsewhere: what it guards is whole between any two of our statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Spawns what HTTP/2 needs where it is counted.
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

/// A connection on loan.
struct Lease {
    connection: Box<H1>,
    pool: Arc<Pool>,
}

/// A response body that drives its own connection. Dropped before its end it closes the connection (HTTP/1.1) or resets
/// the stream (HTTP/2): the upstream learns at once that nobody listens.
pub(super) struct Received {
    body: Incoming,
    lease: Option<Lease>,
    /// The stream's place on an HTTP/2 connection.
    _place: Option<StreamPlace>,
}

impl Received {
    /// Gives the connection back; the body is whole.
    fn release(&mut self) {
        if let Some(Lease {
            mut connection,
            pool,
        }) = self.lease.take()
            && !connection.rest.is_zero()
            && connection.lives()
        {
            pool.rest(connection);
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(lease) = &mut this.lease else {
            return Pin::new(&mut this.body).poll_frame(context);
        };
        // The body first: what is there needs no system call, and asking for more lets the driver read it.
        let mut nobody = Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut this.body).poll_frame(&mut nobody);
        if frame.is_pending() {
            let ended = Pin::new(&mut lease.connection.driver)
                .poll(context)
                .is_ready();
            frame = Pin::new(&mut this.body).poll_frame(&mut nobody);
            if ended {
                this.lease = None;
                if frame.is_pending() {
                    return Pin::new(&mut this.body).poll_frame(context);
                }
            }
        }
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                // Known at once where a length was announced; else the end comes as `None`.
                if this.body.is_end_stream() {
                    this.release();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.release();
                Poll::Ready(None)
            }
            other @ (Poll::Ready(Some(Err(_))) | Poll::Pending) => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
