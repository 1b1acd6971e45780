//! The calling end: connections to upstream servers.
//!
//! Redirects are never followed, cookies never kept or sent, and a request whose bytes may have left is never sent again:
//! a tool would run twice.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Uri;

use super::upstream::Endpoint;

/// How connections to upstreams are made and kept.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Time for DNS, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Time a connection rests in the pool before it is closed.
    pub pool_idle: Duration,
    /// Most resting connections per endpoint.
    pub pool_max_idle: usize,
    /// Most bytes of a response head.
    pub max_header_bytes: usize,
    /// Most header fields of a response.
    pub max_headers: usize,
    /// Files of certificate authorities (PEM) trusted beside the system's.
    pub extra_roots: Vec<PathBuf>,
    /// Whether the system's certificate authorities are trusted at all.
    pub native_roots: bool,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            pool_idle: Duration::from_secs(30),
            pool_max_idle: 128,
            max_header_bytes: 32 * 1024,
            max_headers: 100,
            extra_roots: Vec::new(),
            native_roots: true,
        }
    }
}

/// Why a client or an endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of extra certificate authorities cannot be used.
    #[error("could not load extra certificate authorities")]
    Roots(#[source] super::tls::TlsError),
    /// The TLS library refused its own defaults or a certificate of a file.
    #[error("could not set up TLS for upstreams")]
    Tls(#[source] rustls::Error),
    /// The address is not an absolute `http` or `https` URI with a host, or carries a user.
    #[error("not an upstream address: `{uri}`")]
    Uri {
        /// What was given.
        uri: String,
    },
}

/// Makes endpoints that share TLS roots and settings. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    settings: Arc<ClientSettings>,
}

impl Client {
    /// Loads the roots.
    ///
    /// # Errors
    /// [`ClientError`] when a file of certificate authorities cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        Ok(Self {
            settings: Arc::new(settings),
        })
    }

    /// The endpoint at `uri`, with a connection pool of its own.
    ///
    /// # Errors
    /// [`ClientError::Uri`].
    pub fn endpoint(&self, uri: &str) -> Result<Endpoint, ClientError> {
        let parsed: Uri = uri.parse().map_err(|_| ClientError::Uri {
            uri: uri.to_owned(),
        })?;
        Ok(Endpoint::new(parsed))
    }
}
