//! A call under way at the endpoint.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keepgate_call::{Call, Code, HttpTransport, Refusal, Reply};
use tower::Service;

use super::{Inner, answer, detach::Detached};
use crate::{render::challenge, stack::Calls};

/// A call in the layers, boxed by the outermost of them.
pub(super) type Running = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

/// A call under way, which can be handed on while it runs.
pub(super) enum Run {
    /// Ends with whoever waits for it.
    Tied(Running),
    /// Goes on when nobody waits for it any more.
    Detached(Detached),
}

impl Future for Run {
    type Output = Result<Reply, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Tied(running) => running.as_mut().poll(context),
            Self::Detached(detached) => Pin::new(detached).poll(context),
        }
    }
}

impl Inner {
    /// Carries a call through the layers. A client of the stateful revisions that goes away does not take its call with it: there, a closed
    /// connection is no cancellation (2025-11-25 `basic/transports`); in 2026-07-28 it is.
    pub(super) fn begin(&self, call: &Arc<Call>) -> Run {
        let running = Calls::clone(&self.calls).call(Arc::clone(call));
        if call.revision.facts().disconnect_cancels {
            return Run::Tied(running);
        }
        let tasks = self.shared.tasks.clone();
        let owed = Arc::clone(call);
        // Within what is detached, so that a stream which begins when its client has gone is read to its end as well.
        let kept = async move { running.await.map(|reply| answer::kept(&owed, reply, tasks)) };
        Run::Detached(Detached::new(call, Box::pin(kept), &self.shared.tasks))
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
