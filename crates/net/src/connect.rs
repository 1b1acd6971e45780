//! Connections: to the server or to the egress proxy, through which the server is reached; then TLS.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tower::ServiceExt;

use crate::{
    BoxError,
    certificate::{TlsError, TlsFiles},
    egress::Egress,
    handshake::HandshakeError,
    roots::client_config,
    target::Target,
    tunnel::{self, TunnelError},
};

/// Silence on a connection after which the kernel asks whether the other side is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A fresh connection, with or without TLS.
pub type Connected = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Whether HTTP/2 was agreed on.
pub(crate) fn is_h2(connected: &Connected) -> bool {
    match connected {
        Either::Left(_) => false,
        Either::Right(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
    }
}

/// The versions of HTTP that are offered over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// HTTP/2, and HTTP/1.1 if the server does not know it.
    #[default]
    Both,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Versions {
    pub(crate) fn alpn(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Both => vec![two, one],
            Self::Http1 => vec![one],
            Self::Http2 => vec![two],
        }
    }
}

/// Settings of connections.
#[derive(Debug, Clone)]
pub struct ConnectorSettings {
    /// Time for DNS, TCP, the proxy and TLS together.
    pub timeout: Duration,
    /// Files of certificate authorities (PEM) that are trusted.
    pub extra_roots: Vec<PathBuf>,
    /// Whether the system's certificate authorities are trusted too.
    pub native_roots: bool,
    /// File of the one certificate (PEM, the first in it) that is trusted in place of all authorities; for a listener on this
    /// machine, reached by its address. No `identity` is shown to it.
    pub pinned: Option<PathBuf>,
    /// The certificate shown to servers that ask for one.
    pub identity: Option<TlsFiles>,
    /// The way to other machines.
    pub egress: Egress,
    /// The versions of HTTP that are offered over TLS.
    pub versions: Versions,
}

impl Default for ConnectorSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            extra_roots: Vec::new(),
            native_roots: true,
            pinned: None,
            identity: None,
            egress: Egress::Direct,
            versions: Versions::Both,
        }
    }
}

/// Settings with which no connections can be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// A file of extra certificate authorities cannot be used.
    #[error("could not load extra certificate authorities")]
    Roots(#[source] TlsError),
    /// The certificate for servers that ask for one cannot be used.
    #[error("could not load the client certificate")]
    Identity(#[source] TlsError),
    /// The TLS library refused its own defaults or a certificate of a file.
    #[error("could not set up TLS for clients")]
    Tls(#[source] rustls::Error),
}

/// A connection that failed. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `http` or `https` with a host.
    #[error("not an address that can be connected to")]
    Address,
    /// Neither name nor address led to a listener.
    #[error("could not open a connection")]
    Tcp(#[source] BoxError),
    /// The proxy did not answer. There is no way past it.
    #[error("the egress proxy cannot be reached: `{proxy}`")]
    Proxy {
        /// Its host and port.
        proxy: String,
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// The proxy opened no tunnel. There is no way past it.
    #[error("the egress proxy opened no tunnel: `{proxy}`")]
    Tunnel {
        /// Its host and port.
        proxy: String,
        /// The reason.
        #[source]
        source: TunnelError,
    },
    /// No agreement on TLS.
    #[error(transparent)]
    Handshake(HandshakeError),
    /// Not in time.
    #[error("no connection in time: `{after:?}`")]
    TimedOut {
        /// The time it had.
        after: Duration,
    },
}

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    tls: TlsConnector,
    egress: Egress,
    timeout: Duration,
}

impl Connector {
    /// Reads certificates; connects to nobody.
    ///
    /// # Errors
    /// [`ConnectorError`] when a file cannot be used.
    pub fn new(settings: &ConnectorSettings) -> Result<Self, ConnectorError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // A small request in one packet must not wait for another.
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        Ok(Self {
            tcp,
            tls: TlsConnector::from(Arc::new(client_config(settings)?)),
            egress: settings.egress.clone(),
            timeout: settings.timeout,
        })
    }

    /// Connects to `target`: through the proxy, where that is the way to it, and with TLS, where the address is https.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, target: &Target) -> Result<Connected, ConnectError> {
        let after = self.timeout;
        timeout(after, self.connect_unhurried(target))
            .await
            .unwrap_or(Err(ConnectError::TimedOut { after }))
    }

    async fn connect_unhurried(&self, target: &Target) -> Result<Connected, ConnectError> {
        let tcp = match self.egress.proxy(target) {
            None => {
                let opened = self.open(target.uri()).await;
                opened.map_err(ConnectError::Tcp)?
            }
            Some(proxy) => {
                let opened = self.open(proxy.uri()).await;
                let mut tcp = opened.map_err(|source| ConnectError::Proxy {
                    proxy: proxy.name(),
                    source,
                })?;
                let tunnel = tunnel::open(&mut tcp, proxy, &target.authority()).await;
                tunnel.map_err(|source| ConnectError::Tunnel {
                    proxy: proxy.name(),
                    source,
                })?;
                tcp
            }
        };
        let Some(name) = &target.server_name else {
            return Ok(Either::Left(tcp));
        };
        let stream = self
            .tls
            .connect(name.clone(), tcp)
            .await
            .map_err(|source| {
                ConnectError::Handshake(HandshakeError::new(source, target.name()))
            })?;
        Ok(Either::Right(Box::new(stream)))
    }

    async fn open(&self, uri: &Uri) -> Result<TcpStream, BoxError> {
        let connector = self.tcp.clone();
        let opened = connector.oneshot(uri.clone()).await;
        Ok(opened?.into_inner())
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("egress", &self.egress)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
