//! The stream on which a gateway speaks first (revisions with sessions).

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderName, HeaderValue};
use keepgate_transport::http::upstream::Answer;

use super::{Bridge, lock, note};

pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Pause before a stream is opened again, unless the gateway names one; it doubles with every failure.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The place in a stream from which it can be resumed.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    pub(super) last: Option<HeaderValue>,
    retry: Option<Duration>,
    failures: u32,
}

impl Cursor {
    /// Takes note of an event.
    pub(super) fn note(&mut self, event: &keepgate_mcp::sse::Event) {
        if let Some(id) = &event.id {
            self.last = HeaderValue::from_maybe_shared(id.clone())
                .ok()
                .filter(|id| !id.is_empty());
        }
        if let Some(retry) = event.retry {
            self.retry = Some(Duration::from_millis(retry).min(MAX_PAUSE));
        }
        self.failures = 0;
    }

    /// Waits before the next attempt; returns how many came before it.
    pub(super) async fn pause(&mut self) -> u32 {
        let first = self.retry.unwrap_or(PAUSE);
        let pause = first
            .saturating_mul(1 << self.failures.min(6))
            .min(MAX_PAUSE);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(pause).await;
        self.failures
    }
}

impl Bridge {
    /// Opens the stream of the session that is open now, in place of one of before.
    pub(super) fn listen(self: &Arc<Self>) {
        let token = self.over.child_token();
        let before = lock(&self.session).listener.replace(token.clone());
        if let Some(before) = before {
            before.cancel();
        }
        let bridge = Arc::clone(self);
        // Not among the tasks that the end waits for.
        tokio::spawn(async move {
            tokio::select! {
                () = bridge.hold_open() => {}
                () = token.cancelled() => {}
            }
        });
    }

    async fn hold_open(&self) {
        let mut cursor = Cursor::default();
        loop {
            let mut headers = self.session_headers(true);
            if let Some(last) = &cursor.last {
                headers.insert(LAST_EVENT_ID, last.clone());
            }
            match self.endpoint.get(headers, &self.limits).await {
                Ok(Answer::Stream { mut events, .. }) => {
                    while let Some(Ok(event)) = events.next().await {
                        cursor.note(&event);
                        if event.is_message() && !event.data.is_empty() {
                            self.deliver(&event.data).await;
                        }
                    }
                }
                // There is nothing to resume any more, but there may be a stream.
                Ok(Answer::Rejected { .. }) if cursor.last.is_some() => cursor.last = None,
                // The server has none, or the session is gone: the next request finds that out.
                Ok(Answer::Rejected { .. } | Answer::Accepted | Answer::Message { .. }) => return,
                Err(error) => note(&crate::failure::chain(&error)),
            }
            cursor.pause().await;
        }
    }
}
