//! The calling end: how connections to upstream servers are made.
//!
//! Redirects are never followed, cookies never kept or sent, and a request whose bytes may have left is never sent again:
//! a tool would run twice.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Uri, header::USER_AGENT, uri::PathAndQuery};
use keepgate_net::{Connector, ConnectorError, ConnectorSettings};
use tokio_util::task::TaskTracker;

use super::{
    pool::{Maker, Pool},
    upstream::Endpoint,
};

/// How connections to upstreams are made and kept.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Settings with which they are opened.
    pub connector: ConnectorSettings,
    /// Time a connection rests in the pool before it is closed.
    pub pool_idle: Duration,
    /// Most resting connections per endpoint.
    pub pool_max_idle: usize,
    /// Most bytes of a response head.
    pub max_header_bytes: usize,
    /// Most header fields of a response.
    pub max_headers: usize,
    /// Lines that every request carries which has none of that name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connector: ConnectorSettings::default(),
            pool_idle: Duration::from_secs(30),
            pool_max_idle: 128,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            headers: Vec::new(),
        }
    }
}

/// Why a client or an endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Connections cannot be made.
    #[error("could not set up connections to upstreams")]
    Connector(#[source] Box<ConnectorError>),
    /// The address is not an absolute `http` or `https` URI with a host, or it carries a user.
    #[error("not an upstream address: `{uri}`")]
    Uri {
        /// What was given, without what stands before the `@`.
        uri: String,
    },
}

/// Makes endpoints that share TLS roots and settings. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    settings: Arc<ClientSettings>,
    connector: Connector,
    tasks: TaskTracker,
}

impl Client {
    /// Loads the roots.
    ///
    /// # Errors
    /// [`ClientError`] when a file of certificate authorities cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let connector = Connector::new(&settings.connector)
            .map_err(|error| ClientError::Connector(Box::new(error)))?;
        Ok(Self {
            settings: Arc::new(settings),
            connector,
            tasks: TaskTracker::new(),
        })
    }

    /// The endpoint at `uri`, with a connection pool of its own.
    ///
    /// # Errors
    /// [`ClientError::Uri`].
    pub fn endpoint(&self, uri: &str) -> Result<Endpoint, ClientError> {
        let target = Target::parse(uri)
            .map(Arc::new)
            .ok_or_else(|| ClientError::Uri {
                uri: uri.rsplit('@').next().unwrap_or_default().to_owned(),
            })?;
        let maker = Maker {
            settings: Arc::clone(&self.settings),
            connector: self.connector.clone(),
            target: Arc::clone(&target),
            tasks: self.tasks.clone(),
        };
        let mut lines = vec![(USER_AGENT, HeaderValue::from_static(OWN_NAME))];
        lines.extend(self.settings.headers.iter().cloned());
        Ok(Endpoint::new(target, Pool::new(maker), lines.into()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The name that servers and issuers see: some firewalls refuse requests without one.
const OWN_NAME: &str = concat!("keepgate/", env!("CARGO_PKG_VERSION"));

/// A parsed upstream address.
#[derive(Debug)]
pub(super) struct Target {
    /// The address.
    pub(super) net: keepgate_net::Target,
    /// What HTTP/1.1 writes in its request line.
    pub(super) path: Uri,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let net = keepgate_net::Target::parse(text)?;
        let path = net.uri().path_and_query().cloned();
        Some(Self {
            path: Uri::from(path.unwrap_or(PathAndQuery::from_static("/"))),
            net,
        })
    }
}
