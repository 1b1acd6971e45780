//! One request to Vault: a connection of its own, bounded in time and length, never redirected.
//!
//! There are a few requests a minute at most, so connections are not kept.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use keepgate_net::{
    ConnectError, ConnectorError, ConnectorSettings, ExchangeError, OneShot, Target, exchange,
};
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
    /// Connections to it cannot be made.
    #[error("failed to set up connections to the vault")]
    Connector(#[source] ConnectorError),
    /// A namespace or token that is no header value.
    #[error("the namespace of the vault cannot be sent in a header")]
    Namespace,
}

/// The way to one Vault.
pub(super) struct Way {
    target: Target,
    connector: OneShot,
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
        let target = Target::new(settings.address.clone())
            .ok_or_else(|| WayError::Address(settings.address.clone()))?;
        let connector = OneShot::new(ConnectorSettings {
            timeout: settings.timeout,
            extra_roots: settings.ca.iter().cloned().collect(),
            egress: settings.egress.clone(),
            ..ConnectorSettings::default()
        })
        .map_err(WayError::Connector)?;
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = &settings.namespace {
            let value = HeaderValue::from_str(namespace).map_err(|_| WayError::Namespace)?;
            headers.insert(NAMESPACE, value);
        }
        Ok(Self {
            target,
            connector,
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
        let request = self.request(method, path, token, body)?;
        let (connector, target) = (&self.connector, &self.target);
        let answered = exchange(connector, target, request, LONGEST, self.timeout).await;
        let (head, body) = answered.map_err(|error| self.fault(error))?.into_parts();
        let retry_after = head.headers.get(header::RETRY_AFTER);
        Ok(Answer {
            status: head.status,
            retry_after: retry_after.and_then(|value| value.to_str().ok()?.parse().ok()),
            body,
        })
    }

    fn fault(&self, error: ExchangeError) -> Fault {
        match error {
            ExchangeError::Connect(ConnectError::TimedOut { .. })
            | ExchangeError::TimedOut { .. } => Fault::Slow {
                after: self.timeout,
            },
            ExchangeError::Connect(error) => Fault::Unreachable(Arc::new(error)),
            ExchangeError::Broken(_) => Fault::Broken,
            ExchangeError::TooLarge { .. } => Fault::TooLarge,
        }
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
            .field("uri", self.target.uri())
            .finish_non_exhaustive()
    }
}
