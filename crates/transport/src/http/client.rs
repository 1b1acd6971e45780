//! The calling end: how connections to upstream servers are made.
//!
//! Redirects are never followed, cookies never kept or sent, and a request whose bytes may have left is never sent again:
//! a tool would run twice.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue, Uri, header::USER_AGENT, uri::PathAndQuery};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use super::{
    pool::{Maker, Pool},
    tls::{TlsError, read_certificates},
    upstream::Endpoint,
};

/// Time for which the system's certificate authorities count as read.
const ROOTS_AGE: Duration = Duration::from_secs(10);

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
    /// Lines that every request carries which has none of that name.
    pub headers: Vec<(HeaderName, HeaderValue)>,
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
            headers: Vec::new(),
        }
    }
}

/// Why a client or an endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of extra certificate authorities cannot be used.
    #[error("could not load extra certificate authorities")]
    Roots(#[source] TlsError),
    /// The TLS library refused its own defaults or a certificate of a file.
    #[error("could not set up TLS for upstreams")]
    Tls(#[source] rustls::Error),
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
    connector: HttpConnector,
    tls: TlsConnector,
    tasks: TaskTracker,
}

impl Client {
    /// Loads the roots.
    ///
    /// # Errors
    /// [`ClientError`] when a file of certificate authorities cannot be used.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let tls = TlsConnector::from(Arc::new(tls_config(&settings)?));
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(Duration::from_secs(60)));
        Ok(Self {
            settings: Arc::new(settings),
            connector,
            tls,
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
            tls: target
                .server_name
                .clone()
                .map(|name| (self.tls.clone(), name)),
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
    /// The whole address.
    pub(super) uri: Uri,
    /// What HTTP/1.1 writes in its request line.
    pub(super) path: Uri,
    /// What goes into `Host`.
    pub(super) host: HeaderValue,
    /// The name the certificate must be for; `None` for plain `http`.
    server_name: Option<ServerName<'static>>,
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.clone();
        // A user in the address would be a credential in the config; nobody would send it.
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let server_name = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let host = authority
                    .host()
                    .trim_start_matches('[')
                    .trim_end_matches(']');
                Some(ServerName::try_from(host.to_owned()).ok()?)
            }
            Some(_) | None => return None,
        };
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/"));
        let host = HeaderValue::from_str(authority.as_str()).ok()?;
        Some(Self {
            path: Uri::from(path),
            uri,
            host,
            server_name,
        })
    }
}

/// The system's certificate authorities, shared by the clients of all servers: reading them takes milliseconds, which thousands
/// of servers would pay each. Read again after [`ROOTS_AGE`], for a reload.
fn native_roots() -> Arc<RootCertStore> {
    static ROOTS: Mutex<Option<(Instant, Arc<RootCertStore>)>> = Mutex::new(None);
    let mut held = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((read, roots)) = held.as_ref()
        && read.elapsed() < ROOTS_AGE
    {
        return Arc::clone(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "could not load some of the system's certificate authorities");
    }
    let mut roots = RootCertStore::empty();
    // The system's store is not ours to correct: what cannot be used is left out.
    roots.add_parsable_certificates(native.certs);
    let roots = Arc::new(roots);
    *held = Some((Instant::now(), Arc::clone(&roots)));
    roots
}

fn tls_config(settings: &ClientSettings) -> Result<ClientConfig, ClientError> {
    let mut roots = if settings.native_roots {
        native_roots()
    } else {
        Arc::new(RootCertStore::empty())
    };
    for path in &settings.extra_roots {
        for certificate in read_certificates(path).map_err(ClientError::Roots)? {
            let own = Arc::make_mut(&mut roots);
            own.add(certificate).map_err(ClientError::Tls)?;
        }
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_authorities_are_read_once_for_all_servers() {
        let (one, two) = (native_roots(), native_roots());
        assert!(Arc::ptr_eq(&one, &two));
        let more = ClientSettings {
            extra_roots: vec!["/nonexistent/ca.pem".into()],
            ..ClientSettings::default()
        };
        assert!(matches!(tls_config(&more), Err(ClientError::Roots(_))));
        assert_eq!(
            native_roots().len(),
            one.len(),
            "nobody's extra ones are kept"
        );
    }
}
