//! Session: binds a call to the session it names, opens one at `initialize`, and keeps on each stream only what belongs
//! to the session.

mod open;
mod stream;

use std::sync::Arc;

use bytes::Bytes;
use keepgate_call::{Answer, Ask, Call, Code, Refusal, Reply};
use keepgate_mcp::{
    Era,
    id::Id,
    message::{Message, Request},
    method::{ListKind, Method, Subject},
};
use tracing::debug;

use crate::{
    around::Around,
    session::{InUse, Seat, Session, Sessions},
    settings::Limits,
};

/// A call with the session it belongs to.
#[derive(Debug)]
pub struct Bound {
    /// The call.
    pub call: Arc<Call>,
    /// Its session.
    pub session: Binding,
    /// Where a stream resumes: the server's own event id, out of the sealed one the client presented.
    pub resume: Option<Bytes>,
}

/// How a call stands to sessions.
#[derive(Debug, Clone)]
pub enum Binding {
    /// The revision has none.
    Stateless,
    /// The call opens this one; it is in no table yet.
    Opening(Arc<Session>),
    /// The call belongs to this one.
    Held(Arc<Session>),
}

impl Binding {
    /// The session, opening or held.
    pub fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Self::Stateless => None,
            Self::Opening(session) | Self::Held(session) => Some(session),
        }
    }
}

/// The session a call belongs to, with what keeps its place in the table.
enum Found {
    None,
    Opening(Arc<Session>, Seat),
    Held(InUse),
}

/// Binds calls to sessions.
#[derive(Debug)]
pub struct Bind {
    sessions: Arc<Sessions>,
    limits: Limits,
}

impl Bind {
    /// A layer over the table of sessions.
    pub fn new(limits: &Limits, sessions: &Arc<Sessions>) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            limits: limits.clone(),
        }
    }

    fn find(&self, call: &Call) -> Result<Found, Refusal> {
        if call.revision.era() == Era::Stateless {
            return Ok(Found::None);
        }
        match (&call.session, call.opens()) {
            (None, true) => {
                let (session, seat) = open::begin(&self.sessions, &self.limits, call)?;
                Ok(Found::Opening(session, seat))
            }
            // A client that names a session and opens one at once means two things.
            (Some(_), true) => {
                Err(Refusal::new(Code::HeaderMismatch).detail("`initialize` within a session"))
            }
            (None, false) => Err(Refusal::new(Code::SessionMissing)),
            (Some(id), false) => self
                .sessions
                .enter(&call.caller, &call.server, id)
                .map(Found::Held)
                .ok_or_else(|| Refusal::new(Code::SessionUnknown)),
        }
    }
}

/// Tells the span which session the call belongs to.
fn note(call: &Call, session: &Session) {
    if let Some(spans) = &call.trace.spans {
        // Set once: a call is bound once.
        let _first = spans.session.set(session.public.as_ref().into());
    }
}

impl Around<Arc<Call>> for Bind {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, call: Arc<Call>, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let in_use = match self.find(&call)? {
            Found::None => return stateless(call, next).await,
            Found::Opening(session, seat) => {
                note(&call, &session);
                let bound = Bound {
                    call,
                    session: Binding::Opening(Arc::clone(&session)),
                    resume: None,
                };
                return open::finish(&self.sessions, (session, seat), bound, next).await;
            }
            Found::Held(in_use) => in_use,
        };
        let session = Arc::clone(in_use.session());
        note(&call, &session);
        if !is_handshake(&call) {
            in_use.serves();
        }
        let answered = answered(&session, &call)?;
        let resume = match &call.passed.last_event_id {
            None => None,
            Some(sealed) => Some(
                session
                    .open_event(sealed)
                    .ok_or_else(|| Refusal::new(Code::EventUnknown))?,
            ),
        };
        let bound = Bound {
            call,
            session: Binding::Held(Arc::clone(&session)),
            resume,
        };
        let reply = self.held(in_use, bound, next).await;
        if let (Some((id, method)), Err(refusal)) = (answered, &reply)
            && matches!(refusal.code, Code::RateLimited | Code::ConcurrencyLimited)
        {
            session.unanswered(&id, method);
        }
        reply
    }
}

/// Runs a call that belongs to no session.
async fn stateless<N, F>(call: Arc<Call>, next: N) -> Result<Reply, Refusal>
where
    N: FnOnce(Bound) -> F + Send,
    F: Future<Output = Result<Reply, Refusal>> + Send,
{
    let awaited = asked(&call).map(|request| request.id().clone());
    let reply = next(Bound {
        call,
        session: Binding::Stateless,
        resume: None,
    })
    .await?;
    Ok(match (reply.answer, awaited) {
        (Answer::Stream(events), Some(id)) => Answer::Stream(stream::answering(events, id)).into(),
        (answer, _) => answer.into(),
    })
}

/// Takes the question a response answers: the server asked it in this session, and nobody has answered it.
fn answered(session: &Session, call: &Call) -> Result<Option<(Id, Method)>, Refusal> {
    let Ask::Message(Message::Response(response)) = &call.ask else {
        return Ok(None);
    };
    let question = response
        .id()
        .and_then(|id| Some((id.clone(), session.answered(id)?)));
    if question.is_none() {
        debug!(server = %call.server, "dropped an answer to a question that was not asked in this session");
        return Err(Refusal::new(Code::ResponseForeign));
    }
    Ok(question)
}

/// Whether a message is the end of the handshake, which is no use of the session yet.
fn is_handshake(call: &Call) -> bool {
    match &call.ask {
        Ask::Message(Message::Notification(note)) => *note.method() == Method::Initialized,
        Ask::Message(Message::Request(_) | Message::Response(_)) | Ask::Listen | Ask::End => false,
    }
}

fn asked(call: &Call) -> Option<&Request> {
    match &call.ask {
        Ask::Message(Message::Request(request)) => Some(request),
        Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::Listen | Ask::End => {
            None
        }
    }
}

fn listed(request: &Request) -> Option<ListKind> {
    if let Subject::Listing(kind) = request.subject() {
        Some(kind)
    } else {
        None
    }
}

impl Bind {
    async fn held<N, F>(&self, in_use: InUse, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let session = Arc::clone(in_use.session());
        let ends = matches!(bound.call.ask, Ask::End);
        let awaited = asked(&bound.call).map(|request| (request.id().clone(), listed(request)));
        let reply = {
            let ended = session.ended.clone();
            let running = next(bound);
            // An ended session takes its running calls with it.
            tokio::select! {
                biased;
                reply = running => reply,
                () = ended.cancelled(), if !ends => Err(Refusal::new(Code::SessionUnknown)),
            }
        };
        if ends {
            self.sessions.end(&session);
        }
        let reply = match reply {
            // The server has forgotten the session: so do we, and the client begins anew.
            Err(refusal) if refusal.code == Code::SessionUnknown => {
                self.sessions.end(&session);
                return Err(refusal);
            }
            other => other?,
        };
        Ok(match reply.answer {
            Answer::Stream(events) => {
                if let Some((id, list)) = &awaited {
                    session.await_response(id, *list);
                }
                let kept = stream::kept(events, in_use, Arc::clone(&self.sessions));
                Reply {
                    answer: Answer::Stream(kept),
                    session: None,
                }
            }
            answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => {
                answer.into()
            }
        })
    }
}
