//! Breaker: a server that fails again and again rests, and so does a session that is refused again and again.

use std::sync::Arc;

use keepgate_call::{Ask, Call, Code, Fault, Origin, Refusal, Reply};
use keepgate_mcp::message::Message;
use keepgate_policy::{Phase, is_judged};

use super::{limit::purse, session::Bound};
use crate::{
    around::Around,
    limit::{self, Budgets, Opinion},
    settings::Settings,
};

/// Lets calls pass while what they use works.
#[derive(Debug)]
pub struct Breaker {
    budgets: Arc<Budgets>,
    server: Option<limit::Breaker>,
    session: Option<limit::Breaker>,
}

impl Breaker {
    /// The breakers of the settings over what is known of failures.
    pub fn new(settings: &Settings, budgets: &Arc<Budgets>) -> Self {
        Self {
            budgets: Arc::clone(budgets),
            server: settings.limits.breaker,
            session: settings.limits.denial_breaker,
        }
    }
}

impl Around<Bound> for Breaker {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        // The end of a session, and what nobody waits for, must always be able to pass.
        let Some(judged) = asks(&bound.call) else {
            return next(bound).await;
        };
        let purse = purse(&bound);
        let session = match self.session {
            Some(settings) => Some(self.budgets.sessions.admit(&purse, settings).map_err(
                |wait| Refusal::new(Code::SessionSuspended).limit("limits.denial_breaker", wait),
            )?),
            None => None,
        };
        let server = (bound.call.caller.tenant.clone(), bound.call.server.clone());
        let upstream = match self.server {
            Some(settings) => Some(self.budgets.servers.admit(&server, settings).map_err(
                |wait| Refusal::new(Code::UpstreamCircuitOpen).limit("limits.breaker", wait),
            )?),
            None => None,
        };
        let reply = next(bound).await;
        let outcome = reply.as_ref().map(|_| ()).map_err(|refusal| refusal.code);
        if let Some(trial) = session {
            trial.opine(of_session(outcome, judged));
        }
        if let Some(trial) = upstream {
            trial.opine(of_server(outcome));
        }
        reply
    }
}

/// Whether a call is one that asks for something, and then whether policy judges it.
fn asks(call: &Call) -> Option<bool> {
    match (&call.ask, call.origin) {
        (Ask::Message(Message::Request(request)), Origin::Client) => {
            Some(is_judged(Phase::Call, request.method().as_str()))
        }
        (Ask::Listen, Origin::Client) => Some(false),
        (Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::End, _)
        | (Ask::Message(Message::Request(_)) | Ask::Listen, Origin::Gateway) => None,
    }
}

/// A ping between two denials does not break the row.
fn of_session(outcome: Result<(), Code>, judged: bool) -> Opinion {
    match outcome {
        Ok(()) if judged => Opinion::Good,
        Ok(()) => Opinion::None,
        Err(Code::PolicyDenied | Code::NotFound | Code::ApprovalRequired) => Opinion::Bad,
        Err(_) => Opinion::None,
    }
}

/// A server fails when it is not there or does not answer. What it answers is no failure, however wrong: a caller must
/// not be able to shut a server off for others by asking it for something it answers badly.
fn of_server(outcome: Result<(), Code>) -> Opinion {
    match outcome {
        Ok(()) => Opinion::Good,
        Err(Code::UpstreamUnreachable | Code::UpstreamTimeout) => Opinion::Bad,
        Err(code) if code.fault() == Fault::Upstream => Opinion::Good,
        Err(_) => Opinion::None,
    }
}
