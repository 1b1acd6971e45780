//! Session: binds a call to the session it names, opens one at `initialize`, knows which of its calls run, and seals the event
//! ids of its streams.

mod announce;
mod open;
mod stream;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use keepgate_call::{Answer, Ask, Call, Code, HttpTransport, Refusal, Reply, ServerName};
use keepgate_mcp::{Era, id::Id, message::Message, method::Method};
use keepgate_store::kill::{Running, Switch};
use tracing::{debug, warn};

use self::announce::Announcing;
pub(crate) use self::announce::{Announced, Lists};
use crate::{
    active::StackServers,
    around::Around,
    changes::Changes,
    session::{Definition, InUse, Opening, Origin, Session, Sessions, TrackedCall},
    settings::{Limits, Settings},
    shared::Shared,
};

/// A call with the session it belongs to.
#[derive(Debug)]
pub struct Bound {
    /// The call.
    pub call: Arc<Call>,
    /// Its session.
    pub session: Binding,
    /// The call of the session whose answer the stream of this one may bring: itself, or the one whose stream it resumes.
    pub tracked: Option<Arc<TrackedCall>>,
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
    Opening(Opening),
    Held(InUse),
}

impl Bound {
    /// The call whose answer is owed: itself, or the one whose stream it resumes.
    pub fn owed(&self) -> &Arc<Call> {
        self.tracked
            .as_ref()
            .map_or(&self.call, |tracked| &tracked.call)
    }

    /// The same call in the same session, for whatever evaluates its answer.
    pub fn of_owed(&self) -> Self {
        Self {
            call: Arc::clone(self.owed()),
            session: self.session.clone(),
            // Held by the tracked call itself, perhaps.
            tracked: None,
            resume: None,
        }
    }

    /// The tracked call whose stream is resumed.
    pub fn resumed(&self) -> Option<&Arc<TrackedCall>> {
        self.tracked.as_ref().filter(|_| self.resume.is_some())
    }
}

/// Time the end of a session may take to be durable before its client learns of it.
const DURABLE: Duration = Duration::from_secs(2);

/// Binds calls to sessions.
#[derive(Debug)]
pub struct Bind {
    sessions: Arc<Sessions>,
    limits: Limits,
    switch: Arc<Switch>,
    changes: Arc<Changes>,
    references: BTreeMap<ServerName, Arc<[Arc<str>]>>,
    definitions: BTreeMap<ServerName, Definition>,
    servers: StackServers,
}

impl Bind {
    /// A layer over the table of sessions. What it refuses is asked for at the kill switch first.
    pub fn new(settings: &Settings, shared: &Shared, servers: &StackServers) -> Self {
        Self {
            sessions: Arc::clone(&shared.sessions),
            limits: settings.limits.clone(),
            switch: Arc::clone(&shared.kill),
            changes: Arc::clone(&shared.changes),
            references: settings.references(),
            definitions: Definition::all(settings),
            servers: servers.clone(),
        }
    }

    /// A refusal of this layer, unless the call is cut off: a kill ends sessions, and the client of one that is gone has to
    /// learn of the kill and not that it should open another.
    fn refusal(&self, call: &Arc<Call>, refusal: Refusal) -> Refusal {
        self.killed(call).unwrap_or(refusal)
    }

    /// The refusal of a call that is cut off. A session may end always.
    fn killed(&self, call: &Arc<Call>) -> Option<Refusal> {
        if matches!(call.ask, Ask::End) {
            return None;
        }
        let session = call.session.as_ref();
        let running = Running {
            call: Arc::clone(call),
            session: session.and_then(|id| self.sessions.killed(&call.caller, id)),
            credentials: self.references.get(&call.server).cloned(),
        };
        let kill = self.switch.find(&running.facts())?;
        Some(super::kill::refused(&kill))
    }

    fn opening(&self, call: &Arc<Call>) -> Result<Found, Refusal> {
        // Before it takes a place, perhaps that of another session.
        if let Some(killed) = self.killed(call) {
            return Err(killed);
        }
        let opening = open::begin(&self.sessions, &self.limits, &self.definitions, call)?;
        Ok(Found::Opening(opening))
    }

    fn find(&self, call: &Arc<Call>) -> Result<Found, Refusal> {
        if call.revision.era() == Era::Stateless {
            return Ok(Found::None);
        }
        match call.transport {
            HttpTransport::Sse => return self.find_on_stream(call),
            HttpTransport::Streamable => {}
        }
        match (&call.session, call.opens()) {
            (None, true) => self.opening(call),
            // Real clients replay the id of a session that is over. Within one that is alive it means two things.
            (Some(id), true) if self.sessions.enter(call, id).is_some() => {
                Err(Refusal::new(Code::MessageInvalid).detail("`initialize` within a session"))
            }
            (Some(_), true) => self.opening(call),
            (None, false) => Err(Refusal::new(Code::SessionMissing)),
            (Some(id), false) => self
                .sessions
                .enter(call, id)
                .map(Found::Held)
                .ok_or_else(|| Refusal::new(Code::SessionUnknown)),
        }
    }

    /// The session of an event stream, whose id its client has before `initialize`.
    fn find_on_stream(&self, call: &Arc<Call>) -> Result<Found, Refusal> {
        if call.opens() {
            if let Some(killed) = self.killed(call) {
                return Err(killed);
            }
            return open::claim(&self.sessions, call).map(Found::Opening);
        }
        let id = call.session.as_deref().unwrap_or_default();
        let entered = self.sessions.enter(call, id);
        entered
            .map(Found::Held)
            .ok_or_else(|| self.sessions.absent_on_stream(call))
    }
}

/// Whether it is the end of a handshake that names no session, as claude.ai sends it. There is nothing it could change: that a
/// client is ready is known by its first request.
fn is_stray(call: &Call) -> bool {
    let Ask::Message(Message::Notification(notification)) = &call.ask else {
        return false;
    };
    call.session.is_none()
        && call.revision.era() == Era::Stateful
        && *notification.method() == Method::Initialized
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
        if is_stray(&call) && self.killed(&call).is_none() {
            debug!("accepted and dropped `notifications/initialized` without a session id");
            return Ok(Answer::Accepted.into());
        }
        let found = self.find(&call);
        let in_use = match found.map_err(|refusal| self.refusal(&call, refusal))? {
            Found::None => return stateless(&self.changes, call, next).await,
            Found::Opening(opening) => {
                note(&call, &opening.session);
                opening.session.links.declare(shows_links(&call));
                let bound = Bound {
                    call,
                    session: Binding::Opening(Arc::clone(&opening.session)),
                    tracked: None,
                    resume: None,
                };
                return open::finish(
                    (&self.sessions, &self.changes, &self.servers),
                    opening,
                    bound,
                    next,
                )
                .await;
            }
            Found::Held(in_use) => in_use,
        };
        let session = Arc::clone(in_use.session());
        note(&call, &session);
        if !is_handshake(&call) {
            in_use.serves();
        }
        if let Ask::Message(Message::Response(response)) = &call.ask
            && session.links.answered(response)
        {
            return Ok(Answer::Accepted.into());
        }
        let refusal = |refusal| self.refusal(&call, refusal);
        let answered = answered(&session, &call).map_err(refusal)?;
        let resumed = resumed(&session, &call).map_err(refusal)?;
        let reply = self.held(in_use, call, resumed, next).await;
        if let (Some((id, method)), Err(refusal)) = (answered, &reply)
            && matches!(refusal.code, Code::RateLimited | Code::ConcurrencyLimited)
        {
            session.unanswered(&id, method);
        }
        reply
    }
}

/// Runs a call that belongs to no session.
async fn stateless<N, F>(changes: &Arc<Changes>, call: Arc<Call>, next: N) -> Result<Reply, Refusal>
where
    N: FnOnce(Bound) -> F + Send,
    F: Future<Output = Result<Reply, Refusal>> + Send,
{
    let subscribed = Announcing::subscribed(changes, &call);
    let reply = next(Bound {
        call,
        session: Binding::Stateless,
        tracked: None,
        resume: None,
    })
    .await?;
    Ok(match reply.answer {
        Answer::Stream(events) => {
            let events = stream::answering(events);
            Answer::Stream(match subscribed {
                // The server's acknowledgement comes first.
                Some(announcing) => announcing.among(events, 1),
                None => events,
            })
            .into()
        }
        answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => answer.into(),
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

/// Whether an `initialize` declares that its client sends users to URLs.
fn shows_links(call: &Call) -> bool {
    let capabilities = call.request().and_then(|it| it.param("capabilities"));
    let elicitation = capabilities.and_then(|all| all.member("elicitation"));
    let url = elicitation.and_then(|elicitation| elicitation.member("url"));
    url.is_some_and(|url| url.is_object())
}

/// Whether a message is the end of the handshake, which is no use of the session yet.
fn is_handshake(call: &Call) -> bool {
    match &call.ask {
        Ask::Message(Message::Notification(note)) => *note.method() == Method::Initialized,
        Ask::Message(Message::Request(_) | Message::Response(_)) | Ask::Listen | Ask::End => false,
    }
}

/// A stream that is resumed: the event id of the server, and the stream it was sealed to.
struct Resumed {
    event: Bytes,
    origin: Origin,
    /// The call whose stream it is.
    tracked: Option<Arc<TrackedCall>>,
}

impl Resumed {
    /// Ends the streams that had the call's answer so far: their connections are gone, or as good as gone. Returns the number of
    /// the one to come.
    fn replace(&self) -> u64 {
        let tracked = self.tracked.as_ref();
        tracked.map_or(0, |tracked| tracked.call.handover.replace())
    }
}

/// Opens the event id a `GET` presents. On anything else the header means nothing (2025-11-25 `basic/transports`).
fn resumed(session: &Session, call: &Call) -> Result<Option<Resumed>, Refusal> {
    let sealed = match (&call.ask, &call.passed.last_event_id) {
        (Ask::Listen, Some(sealed)) if !sealed.is_empty() => sealed,
        (Ask::Listen | Ask::Message(_) | Ask::End, _) => return Ok(None),
    };
    let unknown = || Refusal::new(Code::EventUnknown);
    let (origin, event) = session.open_event(sealed).ok_or_else(unknown)?;
    let tracked = match origin {
        Origin::Call(id) => {
            let tracked = session.calls.remembered(id).ok_or_else(unknown)?;
            // Set once: a call is bound once.
            let _first = call.resumes.set(Arc::clone(&tracked.call));
            Some(tracked)
        }
        Origin::Listening(_) => None,
    };
    Ok(Some(Resumed {
        event,
        origin,
        tracked,
    }))
}

impl Bind {
    /// Ends a session for good: also over a restart, unless the disk takes too long.
    async fn end(&self, session: &Session) {
        if let Some(write) = self.sessions.end(session)
            && !write.is_durable(DURABLE).await
        {
            warn!(server = %session.server, "the end of a session is not durable yet");
        }
    }

    async fn held<N, F>(
        &self,
        in_use: InUse,
        call: Arc<Call>,
        resumed: Option<Resumed>,
        next: N,
    ) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let session = Arc::clone(in_use.session());
        let ends = matches!(call.ask, Ask::End);
        let running = call.request().map(|_| self.sessions.begin(&session, &call));
        let is_resumed = resumed.is_some();
        let number = resumed.as_ref().map_or(0, Resumed::replace);
        let (origin, tracked, resume) = match (resumed, &running) {
            (Some(it), _) => (it.origin, it.tracked, Some(it.event)),
            (None, Some(running)) => {
                let own = Some(Arc::clone(&running.tracked));
                (Origin::Call(call.upstream_id), own, None)
            }
            (None, None) => (Origin::Listening(call.upstream_id), None, None),
        };
        let bound = Bound {
            call,
            session: Binding::Held(Arc::clone(&session)),
            tracked: tracked.clone(),
            resume,
        };
        let listens = tracked.is_none();
        let ended = session.ended.clone();
        // An ended session takes its running calls with it.
        let reply = tokio::select! {
            biased;
            reply = next(bound) => reply,
            () = ended.cancelled(), if !ends => Err(Refusal::new(Code::SessionUnknown)),
        };
        if ends {
            self.end(&session).await;
        }
        let reply = match reply {
            // The server has forgotten the session: so do we, and the client begins anew.
            Err(refusal) if refusal.code == Code::SessionUnknown => {
                let _write = self.sessions.end(&session);
                return Err(refusal);
            }
            other => other?,
        };
        Ok(match reply.answer {
            Answer::Stream(events) => {
                let kept = stream::Kept {
                    announcing: listens.then(|| Announcing::of(&self.changes, &session)),
                    in_use,
                    sessions: Arc::clone(&self.sessions),
                    origin,
                    tracked,
                    is_resumed,
                    number,
                    running,
                    is_remembered: None,
                    is_told: false,
                };
                Answer::Stream(kept.over(events)).into()
            }
            answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => {
                answer.into()
            }
        })
    }
}
