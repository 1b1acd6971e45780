//! Work that goes on when nobody waits for it any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use futures_util::StreamExt;
use keepgate_call::{Call, Cut, Events, Item, Refusal, Reply};
use tokio_util::task::TaskTracker;

use super::run::Running;

/// A future that, dropped before its end, runs on in the background; the call notes that its client has left.
pub(super) struct Detached {
    running: Option<Running>,
    call: Arc<Call>,
    tasks: TaskTracker,
}

impl Detached {
    pub(super) fn new(call: &Arc<Call>, running: Running, tasks: &TaskTracker) -> Self {
        Self {
            running: Some(running),
            call: Arc::clone(call),
            tasks: tasks.clone(),
        }
    }
}

impl Future for Detached {
    type Output = Result<Reply, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out while it is polled: what ends in a panic does not run on.
        let Some(mut running) = self.running.take() else {
            return Poll::Pending;
        };
        let polled = running.as_mut().poll(cx);
        if polled.is_pending() {
            self.running = Some(running);
        }
        polled
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.call.leave();
            self.tasks.spawn(running);
        }
    }
}

/// A stream that, dropped before its end, is read to its end in the background, so that the server is not cut off and the
/// outcome is known.
pub(super) struct Drained {
    events: Option<Events>,
    call: Arc<Call>,
    tasks: TaskTracker,
}

impl Drained {
    pub(super) fn new(call: &Arc<Call>, events: Events, tasks: TaskTracker) -> Self {
        Self {
            events: Some(events),
            call: Arc::clone(call),
            tasks,
        }
    }
}

impl Stream for Drained {
    type Item = Result<Item, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(mut events) = self.events.take() else {
            return Poll::Ready(None);
        };
        let polled = events.as_mut().poll_next(cx);
        if !matches!(polled, Poll::Ready(None)) {
            self.events = Some(events);
        }
        polled
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(mut events) = self.events.take()
            && tokio::runtime::Handle::try_current().is_ok()
        {
            self.call.leave();
            self.tasks
                .spawn(async move { while events.next().await.is_some() {} });
        }
    }
}
