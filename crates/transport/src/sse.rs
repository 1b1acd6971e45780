//! Events towards a client: each one flushed by itself, comments while there is nothing to say.
//!
//! The response that carries such a body needs `Content-Type: text/event-stream`, `Cache-Control: no-cache` and
//! `X-Accel-Buffering: no` (2026-07-28 `basic/transports/streamable-http`); whoever makes the response sets them.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::Frame;
use keepgate_mcp::sse::{Event, comment, encode};

use crate::{
    alarm::Alarm,
    body::{Body, BodyError},
};

/// A body that writes every event of `events` as it comes, and a comment after `quiet` without one.
///
/// Nothing is buffered: the next event is asked for when the client has taken the one before, so a slow reader slows its
/// source. The body ends with the stream. Dropping the body drops the stream.
pub fn relay<S>(events: S, quiet: Duration) -> Body
where
    S: Stream<Item = Event> + Send + 'static,
{
    Body::frames(Relay {
        events,
        quiet,
        silence: Alarm::default(),
    })
}

pin_project_lite::pin_project! {
    struct Relay<S> {
        #[pin]
        events: S,
        quiet: Duration,
        silence: Alarm,
    }
}

impl<S: Stream<Item = Event>> http_body::Body for Relay<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.project();
        if let Poll::Ready(event) = this.events.poll_next(context) {
            this.silence.clear();
            return Poll::Ready(event.map(|event| Ok(Frame::data(encode(&event)))));
        }
        this.silence.set(*this.quiet);
        if this.silence.rings(context) {
            this.silence.clear();
            return Poll::Ready(Some(Ok(Frame::data(comment()))));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
