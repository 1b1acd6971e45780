//! One request to Vault: a connection of its own, bounded in time and length, never redirected.
//!
//! There are a few requests a minute at most, so connections are not kept.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::{error::Fault, secret::Secret, settings::VaultSettings};

/// The longest answer, in bytes: a secret of the longest kind with much around it.
const LONGEST: usize = 64 * 1024;
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Vault refuses what lacks it where its listener demands it; a request forged through a browser cannot carry it.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Why the way to Vault cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WayError {
    /// The address has no host, or its host is no name a certificate could be for.
    #[error("not an address of a vault: `{0}`")]
    Address(http::Uri),
    /// A file of certificates cannot be read.
    #[error("failed to read certificates: `{path}`")]
    Certificates {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// A file of certificates has none.
    #[error("no certificate in the file: `{0}`")]
    NoCertificate(String),
    /// The TLS library refuses.
    #[error("failed to set up TLS for the vault")]
    Tls(#[source] rustls::Error),
    /// A namespace or token that is no header value.
    #[error("the namespace of the vault cannot be sent in a header")]
    Namespace,
}

/// The way to one Vault.
pub(super) struct Way {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    headers: HeaderMap,
    timeout: Duration,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Retry-After` in seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Way {
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, WayError> {
        let address = || WayError::Address(settings.address.clone());
        let authority = settings.address.authority().ok_or_else(address)?;
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let secure = settings.address.scheme_str() == Some("https");
        let tls = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|_| address())?;
            Some((connector(settings.ca.as_deref())?, name))
        } else {
            None
        };
        let mut headers = HeaderMap::new();
        let written = HeaderValue::from_str(authority.as_str()).map_err(|_| address())?;
        headers.insert(header::HOST, written);
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &settings.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_| WayError::Namespace)?;
            headers.insert(NAMESPACE, value);
        }
        Ok(Self {
            host,
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            tls,
            headers,
            timeout: settings.timeout,
        })
    }

    /// Sends one request to `/v1/{path}` and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Answer, Fault> {
        let exchange = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port))
                .await
                .map_err(unreachable)?;
            // A small request in one packet must not wait for another.
            tcp.set_nodelay(true).map_err(unreachable)?;
            let request = self.request(method, path, token, body)?;
            match &self.tls {
                None => exchange(tcp, request).await,
                Some((connector, name)) => {
                    let tls = connector
                        .connect(name.clone(), tcp)
                        .await
                        .map_err(unreachable)?;
                    exchange(tls, request).await
                }
            }
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(Fault::Slow {
                after: self.timeout,
            }))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Request<Full<Bytes>>, Fault> {
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            let copy = Secret::new(token.expose().to_vec());
            let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(copy))
                .map_err(|_| Fault::Unsendable)?;
            value.set_sensitive(true);
            headers.insert(TOKEN, value);
        }
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let body = body.map_or_else(Bytes::new, |mut body| {
            Bytes::from_owner(Secret::new(std::mem::take(&mut *body)))
        });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = format!("/v1/{path}").parse().map_err(|_| Fault::NotFound)?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Way")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

fn unreachable(error: io::Error) -> Fault {
    Fault::Unreachable(Arc::new(error))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Fault::Broken)?;
    // Ends with this function: dropped, the set aborts what is in it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| Fault::Broken)?;
    let retry_after = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Answer {
        status: response.status(),
        retry_after,
        body: read(response.into_body()).await?,
    })
}

async fn read(mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // With room for all of it, so that nothing is moved and left behind while it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::Broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > LONGEST {
            return Err(Fault::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, WayError> {
    let mut roots = RootCertStore::empty();
    // The system's store is not ours to correct: what cannot be used is left out.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let failed = |source| WayError::Certificates {
            path: path.display().to_string(),
            source,
        };
        let mut any = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
            roots
                .add(certificate.map_err(failed)?)
                .map_err(WayError::Tls)?;
            any = true;
        }
        if !any {
            return Err(WayError::NoCertificate(path.display().to_string()));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(WayError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
