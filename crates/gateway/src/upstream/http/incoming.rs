//! The events of a server's stream, each decoded and matched once. With the answer the stream is over, also where its server
//! leaves it open: what belongs to a call ends with its answer (2025-11-25 `basic/transports`), and its place is free again.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::StreamExt;
use keepgate_call::{Cut, Item};
use keepgate_mcp::{
    message::{Body, Message},
    repair,
    skim::Outline,
    sse::{Event, SseError},
};
use keepgate_transport::http::upstream::{Events, StreamError};
use tracing::{debug, warn};

use super::{super::duplex::stream_refused, Http, Matching, repaired};
use crate::inspection::Inspection;

/// Most bytes of a notification or a question, which nobody asked for.
const MAX_UNASKED: usize = 1 << 20;
/// Time that a server has to end a stream after the answer. Then its connection can be used again.
const COURTESY: Duration = Duration::from_millis(250);
/// Most events that are read meanwhile.
const MAX_LATE: usize = 16;

/// The events of one stream.
pub(super) struct Incoming {
    http: Arc<Http>,
    matching: Matching,
    events: Option<Events>,
    is_answered: bool,
}

impl Incoming {
    pub(super) fn new(http: &Arc<Http>, matching: Matching, events: Events) -> Self {
        Self {
            http: Arc::clone(http),
            matching,
            events: Some(events),
            is_answered: false,
        }
    }

    /// Lets go of the stream after the answer.
    fn end(&mut self, context: &mut Context<'_>) {
        let Some(mut events) = self.events.take() else {
            return;
        };
        if matches!(events.poll_next_unpin(context), Poll::Ready(None)) {
            return;
        }
        let server = self.http.name.clone();
        self.http.tasks.spawn(async move {
            let mut late = events.take(MAX_LATE);
            let end = async { while late.next().await.is_some() {} };
            if tokio::time::timeout(COURTESY, end).await.is_err() {
                debug!(%server, "closed a stream that its server left open after the answer");
            }
        });
    }
}

impl Stream for Incoming {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.is_answered {
            this.end(context);
            return Poll::Ready(None);
        }
        loop {
            let Some(events) = &mut this.events else {
                return Poll::Ready(None);
            };
            let Some(event) = ready!(events.poll_next_unpin(context)) else {
                this.events = None;
                return Poll::Ready(None);
            };
            let Some(item) = item(&this.http, &mut this.matching, event).transpose() else {
                continue;
            };
            this.is_answered = item.as_ref().is_ok_and(|item| item.answer().is_some());
            return Poll::Ready(Some(item));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Whoever has the answer may not ask for more.
        if self.is_answered && tokio::runtime::Handle::try_current().is_ok() {
            self.end(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }
}

fn item(
    http: &Http,
    matching: &mut Matching,
    event: Result<Event, StreamError>,
) -> Result<Option<Item>, Cut> {
    let event = event.map_err(|error| broken(&error))?;
    if event.name.as_deref().is_some_and(|name| name != b"message") {
        matching.drop("an event of an unknown name");
        return Ok(None);
    }
    let message = if event.data.is_empty() {
        None
    } else {
        let (length, data) = (event.data.len(), event.data);
        let text = data.clone();
        let decode = || repair::decode(data, &http.decode, |repair| repaired(http, repair));
        let decoded = match Inspection::is_long_to_read(length) {
            false => decode(),
            true => http
                .inspection
                .here(length, decode)
                .map_err(|refusal| Cut::Ended(Box::new(refusal)))?,
        };
        // The client's id is written in place where nobody else has the bytes.
        let text = decoded.is_err().then_some(text);
        match decoded {
            Ok(Body::Single(message)) if length > MAX_UNASKED && !is_answer(&message) => {
                warn!(server = %http.name, most = MAX_UNASKED, "dropped a notification or a question that is too long");
                None
            }
            Ok(Body::Single(message)) => matching.passed(message),
            // 2025-03-26 lets servers batch; we never send batches, so nobody has to understand one.
            Ok(Body::Batch(_)) => return Err(Cut::Upstream("a batch on a stream".to_owned())),
            Err(error) if text.is_none_or(|text| Outline::of(&text).may_answer()) => {
                return Err(Cut::Upstream(error.to_string()));
            }
            Err(error) => {
                matching.drop(&format!("an event that is no message: {error}"));
                None
            }
        }
    };
    let empty = message.is_none() && event.id.is_none() && event.retry.is_none();
    Ok((!empty).then_some(Item {
        id: event.id,
        retry: event.retry,
        message,
    }))
}

fn is_answer(message: &Message) -> bool {
    match message {
        Message::Response(_) => true,
        Message::Request(_) | Message::Notification(_) => false,
    }
}

/// The end of a stream that failed.
pub(in crate::upstream) fn broken(error: &StreamError) -> Cut {
    match error {
        StreamError::Noise { .. }
        | StreamError::Inflated
        | StreamError::Malformed(SseError::EventTooLarge | SseError::LineTooLong) => {
            Cut::Ended(Box::new(stream_refused(error)))
        }
        StreamError::Broken(_)
        | StreamError::Silent { .. }
        | StreamError::Malformed(_)
        | StreamError::NoMemory(_) => Cut::Upstream(error.to_string()),
    }
}
