//! Kill: refuses what an operator has cut off, and cuts it while it runs.
//!
//! The longest life of calls and streams ends here too, and so do those of callers that are not admitted any more, since all
//! of them are registered here and nowhere else.
//!
//! A call is registered before it is looked up, and stays so to the end of its stream; see `keepgate_store::kill`. The cut
//! drops everything below this layer, so the server's connection goes with it, and whatever the call was waiting for:
//! an approval, a record, a credential.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, TryLockError, Weak},
    task::{Context, Poll},
};

use futures_core::Stream;
use keepgate_call::{
    Answer, Ask, Call, Code, Cut as Broken, Events, Item, Refusal, Reply, ServerName,
};
use keepgate_store::kill::{CallEnd, CutStream, Kill, Running, Switch, Ticket};

use super::session::Bound;
use crate::{
    active::{StackServers, redefined},
    admission::Admission,
    around::Around,
    render,
    session::Session,
    settings::Settings,
    shared::Shared,
};

/// Refuses and cuts.
#[derive(Debug)]
pub struct Cut {
    switch: Arc<Switch>,
    authn: Arc<Admission>,
    references: BTreeMap<ServerName, Arc<[Arc<str>]>>,
    servers: StackServers,
}

impl Cut {
    /// An around that asks the kill switch, for the stack with these servers.
    pub fn new(settings: &Settings, shared: &Shared, servers: &StackServers) -> Self {
        Self {
            switch: Arc::clone(&shared.kill),
            authn: Arc::clone(&shared.authn),
            references: settings.references(),
            servers: servers.clone(),
        }
    }
}

impl Cut {
    /// Registers what is about to run.
    ///
    /// # Errors
    /// `killed`, `authn_invalid` where the caller is not admitted any more, or `upstream_unreachable` where the server is another
    /// one now.
    pub(crate) fn admit(
        &self,
        call: &Arc<Call>,
        session: Option<&Session>,
    ) -> Result<Ticket, Refusal> {
        let running = Running {
            call: Arc::clone(call),
            session: session.map(|session| Arc::clone(&session.public)),
            credentials: self.references.get(&call.server).cloned(),
        };
        let ticket = self.switch.admit(running).map_err(|kill| refused(&kill))?;
        // Registered first, looked up after: a key or an issuer may have gone since the edge let the caller in.
        if !self.authn.admits(&call.caller) {
            return Err(ended(CallEnd::Unadmitted));
        }
        self.servers.check(&call.server)?;
        Ok(ticket)
    }

    /// The events of a stream that only listens, until what was registered is cut or over.
    pub(crate) fn held(ticket: Ticket, call: &Arc<Call>, events: Events) -> Events {
        Held::over(ticket, events, None, Arc::clone(call))
    }

    /// The kill that covers a session.
    pub(crate) fn covering(&self, session: &Session) -> Option<Arc<Kill>> {
        let references = self.references.get(&session.server);
        let references = references.map_or(&[][..], |all| all);
        self.switch.find(&session.facts(references))
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
        let call = Arc::clone(&bound.call);
        let ticket = self.admit(&call, session.as_deref())?;
        let reply = match while_it_may(&ticket, next(bound)).await {
            Ok(reply) => reply?,
            Err(refusal) => {
                if let Some(session) = &session {
                    unasked(session, &call);
                }
                return Err(refusal);
            }
        };
        Ok(match reply.answer {
            Answer::Stream(events) => Reply {
                answer: Answer::Stream(Held::over(ticket, events, session, call)),
                session: reply.session,
            },
            answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => Reply {
                answer,
                session: reply.session,
            },
        })
    }
}

/// Runs a call until it is done, cut off, or as old as it may get; that is looked for first, so that nothing gets out after.
async fn while_it_may<F: Future>(ticket: &Ticket, work: F) -> Result<F::Output, Refusal> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        if let Poll::Ready(kill) = ticket.poll_cut(context) {
            return Poll::Ready(Err(refused(&kill)));
        }
        if let Some(end) = ticket.ended() {
            return Poll::Ready(Err(ended(end)));
        }
        work.as_mut().poll(context).map(Ok)
    })
    .await
}

/// The end of a call that has run for as long as a limit lets it, or whose caller is not admitted any more.
fn ended(end: CallEnd) -> Refusal {
    match end {
        CallEnd::Limit(limit) => Refusal::new(Code::CallExpired)
            .detail(format!("{limit} is over"))
            .over(limit),
        CallEnd::Unadmitted => {
            Refusal::new(Code::AuthnInvalid).detail("the caller is not admitted any more")
        }
        CallEnd::Redefined => redefined(),
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
pub(crate) fn unasked(session: &Session, call: &Call) {
    if let Some(link) = session.link.get()
        && call.request().is_some()
        && call.is_intended()
    {
        link.cancel(call.upstream_id);
    }
}

/// A stream that can be cut. The cut is looked for before each event, so nothing comes after it.
struct Held(Arc<HeldStream>);

/// The stream and its ticket, for its reader and for whoever ends it when nobody reads.
struct HeldStream {
    progress: Mutex<Progress>,
    session: Option<Arc<Session>>,
    call: Arc<Call>,
}

enum Progress {
    Open {
        events: Events,
        /// Given back with the stream's end.
        ticket: Ticket,
    },
    /// Cut while nobody read; the last event is for whoever still reads.
    Unread(Option<Result<Item, Broken>>),
    Over,
}

impl Held {
    fn over(
        ticket: Ticket,
        events: Events,
        session: Option<Arc<Session>>,
        call: Arc<Call>,
    ) -> Events {
        let held = Arc::new_cyclic(|stream: &Weak<HeldStream>| {
            let stream: Weak<dyn CutStream> = stream.clone();
            ticket.held_by(stream);
            HeldStream {
                progress: Mutex::new(Progress::Open { events, ticket }),
                session,
                call,
            }
        });
        Box::pin(Self(held))
    }
}

impl HeldStream {
    /// The last event of a stream that was cut or has ended; `None` while it may go on. First its server's side ends, then its
    /// place in the registry.
    fn last(&self, ticket: &Ticket) -> Option<Option<Result<Item, Broken>>> {
        if let Some(kill) = ticket.cut() {
            return Some(Some(Err(Broken::Killed(Box::new(refused(kill))))));
        }
        let end = ticket.ended()?;
        // Graceful where it only listens: its client opens another.
        if self.call.listens() {
            return Some(render::subscription_end(&self.call).map(|last| Ok(Item::from(last))));
        }
        Some(Some(Err(Broken::Ended(Box::new(ended(end))))))
    }

    /// Ends the stream if it was cut. Gives its last event.
    fn end(&self, progress: &mut Progress) -> Option<Option<Result<Item, Broken>>> {
        let Progress::Open { ticket, .. } = progress else {
            return None;
        };
        let is_killed = ticket.cut().is_some();
        let last = self.last(ticket)?;
        if let Progress::Open { events, ticket } = std::mem::replace(progress, Progress::Over) {
            drop(events);
            drop(ticket);
        }
        if let Some(session) = &self.session
            && (is_killed || !self.call.listens())
        {
            unasked(session, &self.call);
        }
        Some(last)
    }
}

impl CutStream for HeldStream {
    fn end_cut(&self) {
        // Whoever reads at this moment sees the cut by itself.
        let mut progress = match self.progress.try_lock() {
            Ok(progress) => progress,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if let Some(last) = self.end(&mut progress) {
            *progress = Progress::Unread(last);
        }
    }
}

impl fmt::Debug for HeldStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldStream")
            .field("call", &self.call.id)
            .finish_non_exhaustive()
    }
}

impl Stream for Held {
    type Item = Result<Item, Broken>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let held = &self.0;
        let mut progress = held.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Progress::Open { ticket, .. } = &*progress {
            // For its waker; the outcome is looked at below.
            let _is_cut = ticket.poll_cut(context).is_ready();
        }
        if let Some(last) = held.end(&mut progress) {
            return Poll::Ready(last);
        }
        let events = match &mut *progress {
            Progress::Open { events, .. } => events,
            Progress::Unread(last) => {
                let last = last.take();
                *progress = Progress::Over;
                return Poll::Ready(last);
            }
            Progress::Over => return Poll::Ready(None),
        };
        let item = std::task::ready!(events.as_mut().poll_next(context));
        if item.is_none() {
            *progress = Progress::Over;
        }
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests;
