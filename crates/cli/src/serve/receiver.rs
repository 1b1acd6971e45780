//! A receiver of what the gateway tells in OPA's protocols: its address, how long it is waited for, and what lets us in.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Live, Settings};
use keepgate_net::ConnectorSettings;
use keepgate_transport::http::client::{Client, ClientSettings};
use keepgate_transport::http::upstream::{Answer, Endpoint, Limits, UpstreamError};
use tokio_util::task::TaskTracker;

use crate::config::Upload;
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// Why a message was not taken.
pub(super) enum Refused {
    /// By this status.
    Status(u16),
    /// Nobody was reached, or our own credential could not be had.
    Unreached(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::Unreached(why) => f.write_str(why),
        }
    }
}

/// The way to a receiver.
pub(super) struct Receiver {
    endpoint: Endpoint,
    limits: Limits,
    /// Kept apart from those of servers: they live and end with whoever sends.
    credentials: Option<(Credentials, ServerName)>,
}

impl Receiver {
    /// Sets the way up to `path` below the receiver's address; nothing is sent yet. Its credential is kept under `name`.
    pub(super) fn new(
        name: &str,
        path: &str,
        upload: &Upload,
        providers: &Settings,
        live: &Arc<Live>,
    ) -> Result<Self, Failure> {
        let client = Client::new(ClientSettings {
            connector: ConnectorSettings {
                timeout: upload.timeout,
                extra_roots: upload.ca.iter().cloned().collect(),
                egress: upload.egress.clone(),
                ..ConnectorSettings::default()
            },
            pool_max_idle: 1,
            ..ClientSettings::default()
        })
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let address = format!("{}/{path}", upload.url.to_string().trim_end_matches('/'));
        let endpoint = client
            .endpoint(&address)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let credentials = match (&upload.token, ServerName::parse(name)) {
            (Some(wanted), Some(name)) => {
                let credentials = Credentials::sharing(&TaskTracker::new(), live);
                let uses = BTreeMap::from([(name.clone(), vec![wanted.clone()])]);
                credentials
                    .configure(providers, &uses)
                    .map_err(|error| Failure::caused(Exit::Start, &error))?;
                Some((credentials, name))
            }
            (_, _) => None,
        };
        Ok(Self {
            endpoint,
            limits: Limits {
                max_message: 64 * 1024,
                head: upload.timeout,
                body: upload.timeout,
                ..Limits::default()
            },
            credentials,
        })
    }

    /// Posts JSON, in this encoding if in any, once.
    pub(super) async fn post(
        &self,
        body: Bytes,
        encoding: Option<&'static str>,
    ) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        let mut held = None;
        if let Some((credentials, name)) = &self.credentials
            && let Some(source) = credentials.of(name)
        {
            let acquired = source.acquire().await;
            let acquired = acquired.map_err(|error| Refused::Unreached(chain(&error)))?;
            if let Some((name, value)) = acquired.material().line() {
                headers.insert(name.clone(), value.clone());
            }
            held = Some((source, acquired));
        }
        match self.endpoint.post(headers, body, &self.limits).await {
            // Whatever the body of a success is, nobody here wants it.
            Ok(Answer::Accepted | Answer::Message { .. } | Answer::Stream { .. })
            | Err(UpstreamError::ContentType(_) | UpstreamError::ContentEncoding { .. }) => Ok(()),
            Ok(Answer::Rejected { status, .. }) => {
                if let (401, Some((source, held))) = (status, held) {
                    source.reject(&held);
                }
                Err(Refused::Status(status))
            }
            Err(error) => Err(Refused::Unreached(chain(&error))),
        }
    }

    /// Gives back what let us in.
    pub(super) async fn close(&self) {
        if let Some((credentials, _)) = &self.credentials {
            credentials.close().await;
        }
    }
}
