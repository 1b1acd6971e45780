//! Work that goes on when nobody waits for it any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
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
        let Some(running) = self.running.as_mut() else {
            return Poll::Pending;
        };
        let output = ready!(running.as_mut().poll(cx));
        self.running = None;
        Poll::Ready(output)
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
        let Some(events) = self.events.as_mut() else {
            return Poll::Ready(None);
        };
        let item = ready!(events.as_mut().poll_next(cx));
        if item.is_none() {
            self.events = None;
        }
        Poll::Ready(item)
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
