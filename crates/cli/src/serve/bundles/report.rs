//! Tells a receiver how the bundles stand, as OPA does: `POST {url}/status`, one message whenever something of it changed,
//! and once a minute so that silence means something. What is not taken is not kept: the next one says more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use keepgate_admin::PolicyStatus;
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Settings};
use keepgate_policy::Policy;
use keepgate_transport::http::client::{Client, ClientSettings};
use keepgate_transport::http::upstream::{Answer, Endpoint, Limits, UpstreamError};
use tokio_util::task::TaskTracker;

use super::Bundles;
use crate::config::Upload;
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(60);
/// Under which name the credential is kept.
const RECEIVER: &str = "policy-status";

/// The way to the receiver.
pub(in crate::serve) struct Reporter {
    endpoint: Endpoint,
    limits: Limits,
    interval: Duration,
    credentials: Credentials,
}

impl Reporter {
    /// Sets the way up; nothing is sent yet.
    pub(in crate::serve) fn new(upload: &Upload, providers: &Settings) -> Result<Self, Failure> {
        let client = Client::new(ClientSettings {
            connect_timeout: upload.timeout,
            pool_max_idle: 1,
            extra_roots: upload.ca.iter().cloned().collect(),
            ..ClientSettings::default()
        })
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let address = format!("{}/status", upload.url.to_string().trim_end_matches('/'));
        let endpoint = client
            .endpoint(&address)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let credentials = Credentials::new(&TaskTracker::new());
        let named = upload.token.clone().zip(ServerName::parse(RECEIVER));
        let uses: BTreeMap<_, _> = named
            .map(|(wanted, name)| (name, wanted))
            .into_iter()
            .collect();
        credentials
            .configure(providers, &uses)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        Ok(Self {
            endpoint,
            limits: Limits {
                max_message: 64 * 1024,
                head: upload.timeout,
                body: upload.timeout,
                ..Limits::default()
            },
            interval: upload.interval,
            credentials,
        })
    }

    /// Reports until it is dropped.
    pub(in crate::serve) async fn run(
        self,
        id: String,
        bundles: Arc<Bundles>,
        policy: Arc<Policy>,
    ) {
        let mut told: Option<(PolicyStatus, Instant)> = None;
        let mut is_failing = false;
        loop {
            let status = bundles.status(&id, &policy);
            let seen = seen(&status);
            let old = told
                .as_ref()
                .is_some_and(|(before, at)| *before == seen && at.elapsed() < SILENCE);
            if !old {
                let sent = self.send(&status).await;
                match &sent {
                    Ok(()) => told = Some((seen, Instant::now())),
                    Err(why) if !is_failing => {
                        tracing::warn!(why, "the status of the policies could not be sent");
                    }
                    Err(_) => {}
                }
                is_failing = sent.is_err();
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    async fn send(&self, status: &PolicyStatus) -> Result<(), String> {
        let body = serde_json::to_vec(status).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        let source = ServerName::parse(RECEIVER).and_then(|name| self.credentials.of(&name));
        if let Some(source) = source {
            let held = source.acquire().await.map_err(|error| chain(&error))?;
            if let Some((name, value)) = held.material().line() {
                headers.insert(name.clone(), value.clone());
            }
        }
        match self.endpoint.post(headers, body.into(), &self.limits).await {
            // Whatever the body of a success is, nobody here wants it.
            Ok(Answer::Accepted | Answer::Message { .. } | Answer::Stream { .. })
            | Err(UpstreamError::ContentType | UpstreamError::ContentEncoding) => Ok(()),
            Ok(Answer::Rejected { status, .. }) => Err(format!("HTTP {status}")),
            Err(error) => Err(chain(&error)),
        }
    }
}

/// The status without the times of looks that brought nothing.
fn seen(status: &PolicyStatus) -> PolicyStatus {
    let mut seen = status.clone();
    for bundle in seen.bundles.values_mut() {
        bundle.last_request = None;
        bundle.last_successful_request = None;
        bundle.failures = 0;
    }
    seen
}
