//! A call under way at the endpoint.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keepgate_call::{Call, Code, HttpTransport, Refusal, Reply};
use tower::Service;
use tracing::error;

use super::{Inner, answer, detach::Detached};
use crate::{render::challenge, stack::Calls};

/// A call in the layers, boxed by the outermost of them.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

/// A call under way, which can be handed on while it runs. It always ends in a reply.
pub(super) struct Run {
    call: Arc<Call>,
    stage: Stage,
}

enum Stage {
    /// Ends with whoever waits for it.
    Tied(Running),
    /// Goes on when nobody waits for it any more.
    Detached(Detached),
    /// Has ended in a panic.
    Over,
}

impl Run {
    /// A call that ends with whoever waits for it.
    pub(super) fn tied(call: &Arc<Call>, running: Running) -> Self {
        Self {
            call: Arc::clone(call),
            stage: Stage::Tied(running),
        }
    }
}

impl Future for Run {
    type Output = Result<Reply, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let stage = &mut self.stage;
        // A layer that panics leaves nothing behind that is used again: the call is dropped whole.
        let polled = panic::catch_unwind(AssertUnwindSafe(|| match stage {
            Stage::Tied(running) => running.as_mut().poll(context),
            Stage::Detached(detached) => Pin::new(detached).poll(context),
            Stage::Over => Poll::Pending,
        }));
        polled.unwrap_or_else(|_panic| {
            self.stage = Stage::Over;
            Poll::Ready(Err(panicked(&self.call)))
        })
    }
}

/// The refusal of a call that ended in a panic, which is a bug. Its client must not take one that was sent for a call that can
/// be made again.
pub(super) fn panicked(call: &Call) -> Refusal {
    error!(decision = %call.id, "a request ended in a panic");
    let refusal = Refusal::new(Code::Internal).decision(call.id);
    if call.is_dispatched() {
        refusal.dispatched()
    } else {
        refusal
    }
}

impl Inner {
    /// Carries a call through the layers. A client of the stateful revisions that goes away does not take its call with it: there, a closed
    /// connection is no cancellation (2025-11-25 `basic/transports`); in 2026-07-28 it is.
    pub(super) fn begin(&self, call: &Arc<Call>) -> Run {
        let running = Calls::clone(&self.calls).call(Arc::clone(call));
        if call.revision.facts().disconnect_cancels {
            return Run::tied(call, running);
        }
        let tasks = self.shared.tasks.clone();
        let owed = Arc::clone(call);
        // Within what is detached, so that a stream which begins when its client has gone is read to its end as well.
        let kept = async move { running.await.map(|reply| answer::kept(&owed, reply, tasks)) };
        Run {
            call: Arc::clone(call),
            stage: Stage::Detached(Detached::new(call, Box::pin(kept), &self.shared.tasks)),
        }
    }

    /// Runs a call to its reply.
    pub(super) async fn run(&self, call: Arc<Call>) -> Result<Reply, Refusal> {
        let reply = self.begin(&call).await;
        self.challenged(&call, reply)
    }

    /// The reply of a call. For a client whose token lacks scopes, with the way to come by them.
    pub(super) fn challenged(
        &self,
        call: &Call,
        reply: Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        reply.map_err(|mut refusal| {
            if refusal.code == Code::InsufficientScope
                && let authn = self.shared.authn.current()
                && let Some(resource) = authn.resource()
            {
                let place = match call.transport {
                    HttpTransport::Streamable => "mcp",
                    HttpTransport::Sse => "sse",
                };
                let path = format!("/{}/{place}", call.server);
                refusal.challenge = Some(challenge::scopes(resource, &path, &refusal));
            }
            refusal
        })
    }
}

#[cfg(test)]
mod tests;
