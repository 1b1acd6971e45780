//! Sends the decision log to a receiver as OPA does: `POST {url}/logs`, a JSON array of events, gzipped.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use keepgate_credential::{Live, Settings};
use tokio_util::sync::CancellationToken;

use super::super::receiver::{Receiver, Refused};
use super::{Pending, Tally, add};
use crate::config::Upload;
use crate::failure::Failure;

/// What one message holds at most, in bytes of JSON; a larger event travels alone.
pub(super) const BATCH: usize = 512 * 1024;
/// The first wait after a failure, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Under which name the credential is kept.
const RECEIVER: &str = "decision-log";

/// The way to the receiver.
pub(super) struct Uploader {
    receiver: Receiver,
    interval: Duration,
    tally: Arc<Tally>,
    is_failing: bool,
}

impl Uploader {
    /// Sets the way up; nothing is sent yet.
    pub(super) fn new(
        upload: &Upload,
        providers: &Settings,
        live: &Arc<Live>,
        tally: Arc<Tally>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            receiver: Receiver::new(RECEIVER, "logs", upload, providers, live)?,
            interval: upload.interval,
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
        self.receiver.close().await;
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
                sent = self.receiver.post(message.clone(), Some("gzip")) => sent,
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
                // It never will be taken; trying again may help with all else.
                Err(why @ Refused::Status(400 | 413 | 422)) => {
                    add(&self.tally.failures, 1);
                    add(&self.tally.refused, count);
                    tracing::warn!(%why, count, "decisions refused by the receiver, dropped");
                    return;
                }
                Err(why) => why,
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
}

/// The events as one gzipped JSON array.
fn packed(batch: &[String]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for (index, event) in batch.iter().enumerate() {
        encoder.write_all(if index == 0 { b"[" } else { b"," })?;
        encoder.write_all(event.as_bytes())?;
    }
    encoder.write_all(b"]")?;
    encoder.finish().map(Bytes::from)
}
