//! Kill: refuses what an operator has cut off, and cuts it while it runs.
//!
//! A call is registered before it is looked up, and stays so to the end of its stream; see `keepgate_store::kill`. The cut
//! drops everything below this layer, so the server's connection goes with it, and whatever the call was waiting for:
//! an approval, a record, a credential.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use keepgate_call::{
    Answer, Ask, Call, Code, Cut as Broken, Events, Item, Refusal, Reply, ServerName,
};
use keepgate_mcp::message::Message;
use keepgate_store::kill::{Kill, Running, Switch, Ticket};

use super::session::Bound;
use crate::{around::Around, session::Session, settings::Settings};

/// Refuses and cuts.
#[derive(Debug)]
pub struct Cut {
    switch: Arc<Switch>,
    references: BTreeMap<ServerName, Arc<str>>,
}

impl Cut {
    /// An around that asks `switch`.
    pub fn new(settings: &Settings, switch: &Arc<Switch>) -> Self {
        Self {
            switch: Arc::clone(switch),
            references: settings.references(),
        }
    }
}

impl Around<Bound> for Cut {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        // A session may always end: that takes something away and gives nothing.
        if matches!(bound.call.ask, Ask::End) {
            return next(bound).await;
        }
        let session = bound.session.session().cloned();
        let running = Running {
            call: Arc::clone(&bound.call),
            session: session.as_ref().map(|session| Arc::clone(&session.public)),
            credential: self.references.get(&bound.call.server).cloned(),
        };
        let call = Arc::clone(&bound.call);
        let ticket = self.switch.admit(running).map_err(|kill| refused(&kill))?;
        let reply = match ticket.hold(next(bound)).await {
            Ok(reply) => reply?,
            Err(kill) => {
                if let Some(session) = &session {
                    unasked(session, &call);
                }
                return Err(refused(&kill));
            }
        };
        Ok(match reply.answer {
            Answer::Stream(events) => Reply {
                answer: Answer::Stream(Box::pin(Held {
                    events: Some(events),
                    ticket: Some(ticket),
                    session,
                    call,
                })),
                session: reply.session,
            },
            answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => Reply {
                answer,
                session: reply.session,
            },
        })
    }
}

/// What a client is told: the kill's id, by which an operator finds the rest, and its kind. The reason is the operators'.
pub(super) fn refused(kill: &Kill) -> Refusal {
    let mut refusal = Refusal::new(Code::Killed);
    let said = format!("{}, {} kill", kill.id, kill.scope.word());
    refusal.reasons = vec![(Arc::clone(&kill.id), said.into())];
    refusal
}

/// Tells the server of a session that nobody waits for its answer any more.
fn unasked(session: &Session, call: &Call) {
    if let (Ask::Message(Message::Request(request)), Some(link)) = (&call.ask, session.link.get())
        && call.is_intended()
    {
        link.cancel(request.id());
    }
}

/// A stream that can be cut. The cut is looked for before each event, so nothing comes after it.
struct Held {
    events: Option<Events>,
    /// Given back with the stream's end.
    ticket: Option<Ticket>,
    session: Option<Arc<Session>>,
    call: Arc<Call>,
}

impl Stream for Held {
    type Item = Result<Item, Broken>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let (Some(events), Some(ticket)) = (this.events.as_mut(), this.ticket.as_ref()) else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(kill) = ticket.poll_cut(context) {
            // First the server's side of the stream, then the place in the registry.
            this.events = None;
            this.ticket = None;
            if let Some(session) = &this.session {
                unasked(session, &this.call);
            }
            return Poll::Ready(Some(Err(Broken::Killed(Box::new(refused(&kill))))));
        }
        let item = std::task::ready!(events.as_mut().poll_next(context));
        if item.is_none() {
            this.events = None;
            this.ticket = None;
        }
        Poll::Ready(item)
    }
}
