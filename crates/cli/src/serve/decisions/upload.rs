//! Sends the decision log to a receiver as OPA does: `POST {url}/logs`, a JSON array of events, gzipped.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, header};
use keepgate_call::ServerName;
use keepgate_credential::{Credentials, Settings};
use keepgate_transport::http::client::{Client, ClientSettings};
use keepgate_transport::http::upstream::{Answer, Endpoint, Limits, UpstreamError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Pending, Tally, add};
use crate::config::Upload;
use crate::exit::Exit;
use crate::failure::{Failure, chain};

/// What one message holds at most, in bytes of JSON; a larger event travels alone.
pub(super) const BATCH: usize = 512 * 1024;
/// The first wait after a failure, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Under which name the credential is kept.
const RECEIVER: &str = "decision-log";

/// Why a message was not taken.
enum Failed {
    /// It never will be.
    Refused(String),
    /// Trying again may help.
    Passing(String),
}

/// The way to the receiver.
pub(super) struct Uploader {
    endpoint: Endpoint,
    limits: Limits,
    interval: Duration,
    /// Kept apart from those of servers: it lives and ends with this thread.
    credentials: Option<(Credentials, ServerName)>,
    tally: Arc<Tally>,
    is_failing: bool,
}

impl Uploader {
    /// Sets the way up; nothing is sent yet.
    pub(super) fn new(
        upload: &Upload,
        providers: &Settings,
        tally: Arc<Tally>,
    ) -> Result<Self, Failure> {
        let client = Client::new(ClientSettings {
            connect_timeout: upload.timeout,
            pool_max_idle: 1,
            extra_roots: upload.ca.iter().cloned().collect(),
            ..ClientSettings::default()
        })
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let address = format!("{}/logs", upload.url.to_string().trim_end_matches('/'));
        let endpoint = client
            .endpoint(&address)
            .map_err(|error| Failure::caused(Exit::Start, &error))?;
        let credentials = upload.token.as_ref().and_then(|wanted| {
            let name = ServerName::parse(RECEIVER)?;
            let credentials = Credentials::new(&TaskTracker::new());
            Some((credentials, name, wanted.clone()))
        });
        let credentials = match credentials {
            None => None,
            Some((credentials, name, wanted)) => {
                let uses = BTreeMap::from([(name.clone(), wanted)]);
                credentials
                    .configure(providers, &uses)
                    .map_err(|error| Failure::caused(Exit::Start, &error))?;
                Some((credentials, name))
            }
        };
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
            tally,
            is_failing: false,
        })
    }

    /// Sends until nothing comes any more, then what is left, once.
    pub(super) async fn run(&mut self, pending: &Pending, stop: &CancellationToken) {
        loop {
            if !pending.has_ended() {
                tokio::select! {
                    () = pending.0.changed.notified() => {}
                    () = tokio::time::sleep(self.interval) => {}
                }
            }
            let ends = pending.has_ended();
            loop {
                let batch = pending.take(BATCH);
                if batch.is_empty() {
                    break;
                }
                self.insist(&batch, stop).await;
            }
            if ends {
                break;
            }
        }
        if let Some((credentials, _)) = &self.credentials {
            credentials.close().await;
        }
    }

    /// Tries until the message is taken or hopeless. Told to stop, it tries once more.
    async fn insist(&mut self, batch: &[String], stop: &CancellationToken) {
        let count = batch.len() as u64;
        let Ok(message) = packed(batch) else {
            return add(&self.tally.refused, count);
        };
        let (mut wait, longest) = BACK_OFF;
        loop {
            let stopping = stop.is_cancelled();
            let sent = tokio::select! {
                sent = self.send(&message) => sent,
                // What hangs now is given up and sent anew, so that the end waits for one attempt alone.
                () = stop.cancelled(), if !stopping => continue,
            };
            let why = match sent {
                Ok(()) => {
                    add(&self.tally.uploaded, count);
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!("the receiver takes the decision log again");
                    }
                    return;
                }
                Err(Failed::Refused(why)) => {
                    add(&self.tally.failures, 1);
                    add(&self.tally.refused, count);
                    tracing::warn!(%why, count, "decisions refused by the receiver, dropped");
                    return;
                }
                Err(Failed::Passing(why)) => why,
            };
            add(&self.tally.failures, 1);
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::warn!(%why, "the receiver does not take the decision log; calls are not affected");
            }
            if stopping {
                return add(&self.tally.refused, count);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
            wait = (wait * 2).min(longest);
        }
    }

    async fn send(&self, message: &[u8]) -> Result<(), Failed> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let gzip = HeaderValue::from_static("gzip");
        headers.insert(header::CONTENT_ENCODING, gzip);
        let mut held = None;
        if let Some((credentials, name)) = &self.credentials
            && let Some(source) = credentials.of(name)
        {
            let acquired = source.acquire().await;
            let acquired = acquired.map_err(|error| Failed::Passing(chain(&error)))?;
            if let Some((name, value)) = acquired.material().line() {
                headers.insert(name.clone(), value.clone());
            }
            held = Some((source, acquired));
        }
        let body = message.to_vec().into();
        match self.endpoint.post(headers, body, &self.limits).await {
            // Whatever the body of a success is, nobody here wants it.
            Ok(Answer::Accepted | Answer::Message { .. } | Answer::Stream { .. })
            | Err(UpstreamError::ContentType | UpstreamError::ContentEncoding) => Ok(()),
            Ok(Answer::Rejected {
                status: status @ (400 | 413 | 422),
                ..
            }) => Err(Failed::Refused(format!("HTTP {status}"))),
            Ok(Answer::Rejected { status, .. }) => {
                if let (401, Some((source, held))) = (status, held) {
                    source.reject(&held);
                }
                Err(Failed::Passing(format!("HTTP {status}")))
            }
            Err(error) => Err(Failed::Passing(chain(&error))),
        }
    }
}

/// The events as one gzipped JSON array.
fn packed(batch: &[String]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for (index, event) in batch.iter().enumerate() {
        encoder.write_all(if index == 0 { b"[" } else { b"," })?;
        encoder.write_all(event.as_bytes())?;
    }
    encoder.write_all(b"]")?;
    encoder.finish()
}
