//! Tells a receiver how the bundles stand, as OPA does: `POST {url}/status`, one message whenever something of it changed,
//! and once a minute so that silence means something. What is not taken is not kept: the next one says more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keepgate_admin::PolicyStatus;
use keepgate_credential::{Live, Settings};
use keepgate_policy::Policy;

use super::super::receiver::Receiver;
use super::Bundles;
use crate::config::Upload;
use crate::failure::Failure;

/// The longest silence.
const SILENCE: Duration = Duration::from_secs(60);
/// Under which name the credential is kept.
const RECEIVER: &str = "policy-status";

/// The way to the receiver.
pub(in crate::serve) struct Reporter {
    receiver: Receiver,
    interval: Duration,
}

impl Reporter {
    /// Sets the way up; nothing is sent yet.
    pub(in crate::serve) fn new(
        upload: &Upload,
        providers: &Settings,
        live: &Arc<Live>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            receiver: Receiver::new(RECEIVER, "status", upload, providers, live)?,
            interval: upload.interval,
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
        let sent = self.receiver.post(body.into(), None).await;
        sent.map_err(|why| why.to_string())
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
