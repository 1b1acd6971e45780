//! The listening end: TCP or TLS, HTTP/1.1 or HTTP/2, limits on what a peer may hold, and a drain that ends.
//!
//! A client that goes away is noticed at once: the service's future, or the response body, is dropped. The cancel of the
//! stateless revision (2026-07-28) hangs on that, so half-closed connections are not kept.

mod admission;
mod connection;
mod framing;
mod patience;
mod proxies;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::tls::Tls;
use crate::body::Body;
use admission::{Connection, Connections, Place};
pub use proxies::Proxies;

/// Connections the kernel queues for us, as far as `net.core.somaxconn` lets it.
const BACKLOG: u32 = 4096;

/// What a listener allows its peers.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Certificate and key; `None` is plain TCP.
    pub tls: Option<Tls>,
    /// Time for the TLS handshake, and for the head of a request from its first byte on.
    pub header_timeout: Duration,
    /// Time a connection may rest between two requests.
    pub idle_timeout: Duration,
    /// Time a peer may take none of the bytes we have for it.
    pub write_timeout: Duration,
    /// Most header fields of a request.
    pub max_headers: usize,
    /// Most bytes of a request's head.
    pub max_header_bytes: usize,
    /// Most connections open at a time. When they are, silent ones give way; where none is silent, further ones wait in the
    /// kernel's queue. One address that has not authenticated holds at most half of them.
    pub max_connections: usize,
    /// Proxies whose connections are not counted by address, and whose word on the client's address is taken.
    pub trusted_proxies: Proxies,
    /// Time running requests get after the shutdown token before they are cut.
    pub drain: Duration,
    /// Limits of HTTP/2.
    pub h2: H2Limits,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            tls: None,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(30),
            max_headers: 100,
            max_header_bytes: 32 * 1024,
            max_connections: 4096,
            trusted_proxies: Proxies::default(),
            drain: Duration::from_secs(30),
            h2: H2Limits::default(),
        }
    }
}

/// Limits of one HTTP/2 connection.
#[derive(Debug, Clone)]
pub struct H2Limits {
    /// Most streams open at a time.
    pub max_streams: u32,
    /// Bytes a peer may send on one stream before we take them.
    pub stream_window: u32,
    /// Bytes a peer may send on all streams before we take them.
    pub connection_window: u32,
    /// Streams opened and reset before we saw them (rapid reset, CVE-2023-44487) that end the connection.
    pub max_pending_resets: usize,
    /// Streams we had to reset for the peer's errors that end the connection.
    pub max_error_resets: usize,
    /// Bytes held back for a slow reader, per stream.
    pub send_buffer: usize,
    /// Time between pings on a quiet connection, and for their answer.
    pub ping: Duration,
}

impl Default for H2Limits {
    fn default() -> Self {
        Self {
            max_streams: 100,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            max_pending_resets: 20,
            max_error_resets: 256,
            send_buffer: 128 * 1024,
            ping: Duration::from_secs(20),
        }
    }
}

/// Who is at the other end of the connection a request came on; in the request's extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Address of the other end.
    pub addr: SocketAddr,
    /// Address of the client: the other end's, or what trusted proxies in between say, then without a port. `None` when they
    /// do not say.
    pub client: Option<SocketAddr>,
    /// Address of this end.
    pub local: SocketAddr,
    /// What TLS agreed on; `None` on plain TCP.
    pub tls: Option<Arc<PeerTls>>,
    connection: Arc<Connection>,
}

impl Peer {
    /// Notes that who is at the other end has authenticated: its connection is no stranger's any more.
    pub fn authenticated(&self) {
        self.connection.authenticated();
    }
}

/// Facts of a TLS connection.
#[derive(Debug, Clone)]
pub struct PeerTls {
    /// The name the client asked for (SNI), not trusted for anything but routing.
    pub server_name: Option<String>,
    /// Whether it is TLS 1.3.
    pub tls13: bool,
}

/// Why a listener could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address could not be bound.
    #[error("could not listen on `{addr}`")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A bound socket with its settings.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddr,
    settings: Arc<ListenerSettings>,
}

impl Listener {
    /// Binds `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError::Bind`] with the system's reason.
    pub async fn bind(addr: SocketAddr, settings: ListenerSettings) -> Result<Self, ListenError> {
        let bound = async {
            let socket = queueing(addr)?;
            let addr = socket.local_addr()?;
            Ok((socket, addr))
        };
        let (socket, addr) = bound
            .await
            .map_err(|source| ListenError::Bind { addr, source })?;
        Ok(Self {
            socket,
            addr,
            settings: Arc::new(settings),
        })
    }

    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Binds a socket whose queue holds a burst of connections. `TcpListener::bind` asks for 128, and the kernel drops the packets
/// of the 130th, whose client tries again after a second.
fn queueing(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // As `TcpListener::bind` has it: a restart need not wait for connections of its predecessor to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// What a server runs: any cloneable tower service over requests that cannot fail.
pub trait HttpService:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Serves until `shutdown` is cancelled, then drains: no new connections, GOAWAY and `Connection: close` on the open
/// ones, running requests up to the drain deadline, then the rest is cut. Returns when nothing is left.
///
/// Errors of accepting (no file descriptors left, a peer that was gone already) never end the loop.
pub async fn serve<S: HttpService>(
    listener: Listener,
    service: S,
    shutdown: CancellationToken,
) -> Drained {
    let Listener {
        socket,
        addr,
        settings,
    } = listener;
    let tracker = TaskTracker::new();
    let cut = CancellationToken::new();
    let connections = Connections::new(settings.max_connections, settings.trusted_proxies.clone());
    // Owns the service, which need not be `Sync`.
    let start = {
        let (tracker, cut) = (tracker.clone(), cut.clone());
        let settings = Arc::clone(&settings);
        move |stream, peer, place: Place| {
            let peer = Peer {
                addr: peer,
                client: Some(peer),
                local: addr,
                tls: None,
                connection: Arc::clone(&place.0),
            };
            let open = connection::Open {
                settings: Arc::clone(&settings),
                service: service.clone(),
                cut: cut.clone(),
                tracker: tracker.clone(),
            };
            tracker.spawn(async move {
                open.run(stream, peer).await;
                drop(place);
            });
        }
    };
    let accepted = accept_all(&socket, &connections, &shutdown, start);
    shutdown.run_until_cancelled(accepted).await;
    drop(socket);
    tracker.close();
    let drained = tokio::time::timeout(settings.drain, tracker.wait())
        .await
        .is_ok();
    let left = tracker.len();
    cut.cancel();
    tracker.wait().await;
    if drained {
        Drained::Whole
    } else {
        Drained::Cut { tasks: left }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything that ran came to its end.
    Whole,
    /// Something was cut at the deadline.
    Cut {
        /// Connections and HTTP/2 streams still open then.
        tasks: usize,
    },
}

/// Where connections come from.
trait Accept: Sync {
    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Accepts for ever.
async fn accept_all(
    source: &impl Accept,
    connections: &Arc<Connections>,
    drain: &CancellationToken,
    start: impl Fn(TcpStream, SocketAddr, Place),
) {
    /// The pause after an error that will not pass by itself; the kernel's queue holds what comes meanwhile.
    const PAUSE: Duration = Duration::from_millis(100);
    /// Errors of which one is logged: they come every pause.
    const OFTEN: u64 = 100;
    let mut failures: u64 = 0;
    loop {
        match source.accept().await {
            // One connection waits here for its place, the others in the kernel's queue.
            Ok((stream, peer)) => {
                if let Some(place) = connections.admit(peer.ip(), drain).await {
                    start(stream, peer, place);
                }
            }
            Err(error) if is_of_the_peer(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                if failures.is_multiple_of(OFTEN) {
                    tracing::error!(%error, "could not accept a connection");
                }
                failures += 1;
                // Mostly for want of descriptors: a silent connection has one.
                connections.make_room();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Errors of `accept` that speak of one connection and not of the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it wants and fails on the rest"
)]
mod tests;
