//! HTTP+SSE (2024-11-05) for clients: a stream that names an address, and messages posted there whose answers come on the stream.
//!
//! Nothing here decides. The address holds the id of a session; a message that is posted to it becomes the call it would be at
//! `/{server}/mcp` in that session, and what the layers give back goes on the stream instead of into the response. The server's own
//! messages come by the `GET` that any other client would make, and so does the rest of an answer whose stream broke.

mod follow;

use std::{
    future::{pending, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Response, StatusCode};
use hyper::body::Incoming;
use keepgate_call::{Ask, Call, Code, Cut, Events, HttpTransport, Item, Refusal};
use keepgate_mcp::{
    Era, Mirrored,
    era::classify,
    message::{Body as Decoded, Message},
    revision::Revision,
    sse::Event,
};
use keepgate_store::kill::Scope;
use keepgate_transport::Body;
use tracing::error;

use super::{
    Arrived, Inner, accepts, answer, empty, mirrored,
    narrow::narrowed,
    post::{era_code, plain_json},
};
use crate::{
    layers::{audit, kill},
    render::{self, Asked},
    session::{Channel, Messages, Session, Sessions},
    shared::Shared,
};

/// Places for requests on one stream where none are bounded by `limits.concurrency.session`.
const PLACES: usize = 1024;

/// Delay after which a client whose answers wait on its stream may try again.
const RETRY: Duration = Duration::from_secs(1);

/// Time in which the refusals of what ran in a session that ended are still handed out.
const FAREWELL: Duration = Duration::from_secs(1);

/// A message that was posted, and the stream its answer goes to.
#[derive(Clone)]
struct Posted {
    arrived: Arc<Arrived>,
    id: Arc<str>,
    channel: Arc<Channel>,
    shared: Arc<Shared>,
}

impl Posted {
    /// The same as its stream would ask: by the credential that the stream was opened with, and ends with.
    fn as_stream(&self) -> Self {
        let arrived = Arrived {
            caller: Arc::clone(&self.channel.session.caller),
            ..Arrived::clone(&self.arrived)
        };
        Self {
            arrived: Arc::new(arrived),
            ..self.clone()
        }
    }
}

impl Inner {
    /// `GET`: opens a stream and reserves the session that will begin on it.
    pub(super) async fn open_stream(&self, arrived: &Arrived) -> Result<Response<Body>, Refusal> {
        if !accepts(&arrived.headers, "text/event-stream")? {
            return Err(Refusal::new(Code::NotAcceptable));
        }
        let nothing = Mirrored::default();
        let call = self.call(arrived, &nothing, Revision::V2024_11_05, Ask::Listen);
        let call = Arc::new(call);
        match self.opened(&call) {
            Ok(response) => Ok(response),
            Err(refusal) => {
                self.shared.meters.rejected(refusal.code.as_str());
                let refusal = audit::rejected(&self.shared.refusals, &call, refusal).await;
                Ok(render::over_http(&refusal))
            }
        }
    }

    fn opened(&self, call: &Arc<Call>) -> Result<Response<Body>, Refusal> {
        // Before it takes a place, perhaps that of another session.
        drop(self.kill.admit(call, None)?);
        self.rate.spend(call.caller.principal())?;
        let definition = self.definitions.get(&call.server);
        let opening = self.shared.sessions.open(
            &self.limits,
            &call.caller,
            &call.server,
            *definition.ok_or_else(|| Refusal::new(Code::PathUnknown))?,
            None,
            HttpTransport::Sse,
        )?;
        let ticket = self.kill.admit(call, Some(&opening.session))?;
        // On whichever origin the client found the gateway, under the path it is found at.
        let address = format!("{}/{}/sse/{}", self.path, call.server, opening.id);
        let shared = &self.shared;
        let (channel, messages) = shared.sessions.attach(opening, self.places());
        let end = ended(
            Arc::clone(shared),
            Arc::clone(&channel),
            self.limits.session_idle,
        );
        let events: Events = Box::pin(Delivery {
            end: Box::pin(end),
            messages,
            is_over: false,
            _opened: Opened {
                shared: Arc::clone(shared),
                channel,
            },
        });
        // Cut off by kills as calls are, and with the credential it was opened with.
        let events = kill::Cut::held(ticket, call, events);
        let events = answer::while_known(shared, call, events);
        let events = events.filter_map(|item| ready(item.ok().and_then(|item| item.message)));
        let named = stream::once(ready(event("endpoint", address.into())));
        let events = named.chain(events.map(|message| event("message", message.bytes().clone())));
        Ok(answer::event_stream(self, events))
    }

    /// Requests that may wait on one stream: twice those that may run, so that one too many is refused by the limit of those that
    /// run as long as the client reads.
    fn places(&self) -> u32 {
        let running = self.limits.concurrency.session;
        let places = running.map_or(PLACES, |most| most.get().saturating_mul(2));
        u32::try_from(places.min(tokio::sync::Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX)
    }

    /// `POST`: a message to the address that a stream named.
    pub(super) async fn post_to_stream(
        self: Arc<Self>,
        arrived: Arrived,
        id: Box<str>,
        body: Incoming,
    ) -> Result<Response<Body>, Refusal> {
        plain_json(&arrived.headers)?;
        let body = self.read(body).await?;
        // The address names the session here, and nothing else does.
        let mirrored = Mirrored {
            session_id: Some(&id),
            last_event_id: None,
            ..mirrored(&arrived.headers)?
        };
        let (caller, server) = (&arrived.caller, &arrived.server);
        let channel = self.shared.sessions.channel(caller, server, id.as_bytes());
        // On its way to its end it takes nothing any more.
        let channel = channel.filter(|it| self.kill.covering(&it.session).is_none());
        let session = match &body {
            Decoded::Single(_) => channel.as_ref().map(|channel| channel.session.revision()),
            // There are none on this transport, whatever the session's revision has.
            Decoded::Batch(_) => Some(Revision::V2024_11_05),
        };
        let framing = match classify(&mirrored, &body, session) {
            Ok(framing) => framing,
            Err(error) => {
                let refusal = self.noted(era_code(&error), &arrived);
                return Ok(render::era(&error, &refusal, body.messages()));
            }
        };
        let Decoded::Single(message) = body else {
            return Err(Refusal::new(Code::MessageInvalid));
        };
        if framing.era == Era::Stateless {
            return Err(Refusal::new(Code::RevisionUnsupported).detail(framing.revision.as_str()));
        }
        let message = narrowed(message, framing.revision)?;
        let call = self.posted(&arrived, &mirrored, framing.revision, message);
        let call = Arc::new(call.await?);
        let Some(channel) = channel else {
            // The layers know why: there was none, it is another caller's, it is closed, or a kill has closed it.
            return Ok(self.at_once(&call).await);
        };
        let posted = Posted {
            arrived: Arc::new(arrived.without_headers()),
            id: id.into(),
            channel,
            shared: Arc::clone(&self.shared),
        };
        let response = match call.request() {
            Some(_) => self.on_stream(&posted, call)?,
            None => self.at_once(&call).await,
        };
        if posted.channel.begins_to_listen() {
            self.shared.tasks.spawn(posted.as_stream().listen());
        }
        Ok(response)
    }

    /// Runs a call whose answer, if there is any, is the response. Clients read its status alone.
    async fn at_once(&self, call: &Arc<Call>) -> Response<Body> {
        match self.run(Arc::clone(call)).await {
            Ok(reply) => answer::respond(self, call, reply),
            Err(refusal) => {
                let asked = Asked {
                    id: None,
                    ..Asked::of(call)
                };
                render::in_band(&refusal, &asked)
            }
        }
    }

    /// Accepts a request; its answer comes on the stream.
    fn on_stream(
        self: &Arc<Self>,
        posted: &Posted,
        call: Arc<Call>,
    ) -> Result<Response<Body>, Refusal> {
        let Some(place) = posted.channel.enter() else {
            return Err(
                Refusal::new(Code::ConcurrencyLimited).limit("limits.concurrency.session", RETRY)
            );
        };
        let held = (place, self.shared.load.enter());
        let mut work = Box::pin(deliver(Arc::clone(self), posted.clone(), call, held));
        // Once before the client learns that it was accepted, so that what it sends next finds the call running.
        let mut context = Context::from_waker(std::task::Waker::noop());
        if work.as_mut().poll(&mut context).is_pending() {
            self.shared.tasks.spawn(work);
        }
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// Waits for the end of a stream: that of its session, a drain when everything is answered, or `unused` without `initialize`.
async fn ended(shared: Arc<Shared>, channel: Arc<Channel>, unused: Duration) {
    let drained = async {
        shared.load.drained().await;
        channel.answered().await;
    };
    let unused = async {
        tokio::time::sleep(unused).await;
        if !channel.is_waiting() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = channel.session.ended.cancelled() => {
            let _in_time = tokio::time::timeout(FAREWELL, channel.answered()).await.is_ok();
        }
        () = drained => {}
        () = unused => {}
    }
}

/// Runs a request to its end and puts what answers it on the stream.
async fn deliver(inner: Arc<Inner>, posted: Posted, call: Arc<Call>, _held: impl Send) {
    let (channel, sessions) = (&posted.channel, &posted.shared.sessions);
    let answered = AssertUnwindSafe(posted.answer(inner, &call)).catch_unwind();
    if call.opens() {
        // Also for a client that has gone: the session it opens has to end.
        settle(&call, channel, answered.await.is_err()).await;
        let is_left = channel.is_closed() || !channel.session.is_open();
        if is_left && channel.is_opened_by(&call) {
            end(sessions, &channel.session);
        }
        return;
    }
    tokio::select! {
        answered = answered => settle(&call, channel, answered.is_err()).await,
        // Nobody can have the answer any more.
        () = channel.closed() => {}
        // Nor here, however long a client keeps a stream that it does not read.
        () = over(channel) => {}
    }
    if channel.is_stalled() {
        end(sessions, &channel.session);
    }
}

/// A panic is a bug; the client must not wait for what it has ended.
async fn settle(call: &Call, channel: &Channel, has_panicked: bool) {
    if has_panicked {
        error!("a request ended in a panic");
        refuse(Refusal::new(Code::Internal), call, channel).await;
    }
}

/// Waits until a session has ended and the refusals of what ran in it had their time.
async fn over(channel: &Channel) {
    channel.session.ended.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// Puts the refusal of a request on its stream. Whatever refuses it: what its server has got may have had its effect, and the
/// client must not take it for a call that can be made again.
async fn refuse(refusal: Refusal, call: &Call, channel: &Channel) {
    let refusal = if call.is_dispatched() {
        refusal.dispatched()
    } else {
        refusal
    };
    let asked = Asked::of(call);
    let message = asked.id.as_ref();
    let message = message.and_then(|id| render::said(&refusal, &asked, id));
    if let Some(message) = message {
        channel.send(message).await;
    }
}

/// Ends a session, at its server too.
fn end(sessions: &Sessions, session: &Session) {
    let _write = sessions.end(session);
    if let Some(link) = session.link.get() {
        link.end();
    }
}

fn event(name: &'static str, data: Bytes) -> Event {
    Event {
        name: Some(Bytes::from_static(name.as_bytes())),
        ..Event::message(data)
    }
}

impl Arrived {
    /// The same without its header lines, for calls that go on when it was answered.
    fn without_headers(self) -> Self {
        Self {
            headers: HeaderMap::new(),
            ..self
        }
    }
}

/// The session of a stream that is open; it ends with it. Holds no stack: the stream outlives reloads.
struct Opened {
    shared: Arc<Shared>,
    channel: Arc<Channel>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let (sessions, session) = (&self.shared.sessions, &self.channel.session);
        sessions.detach(&self.channel);
        let current = self.shared.endpoint.current();
        match current.and_then(|inner| inner.kill.covering(session)) {
            // Whoever enforces the kill ends its sessions and their processes, and remembers those that it names.
            Some(kill) => {
                if !session.is_open() && matches!(kill.scope, Scope::Session(_)) {
                    sessions.end_killed(session);
                }
            }
            None if !self.shared.authn.admits(&session.caller) => {}
            None => end(sessions, session),
        }
    }
}

/// The messages of a stream, to its end; those that are there then still go out.
struct Delivery {
    messages: Messages,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_over: bool,
    /// Dropped after the messages, so that nobody waits for a place among them any more.
    _opened: Opened,
}

impl Stream for Delivery {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if !this.is_over && this.end.as_mut().poll(context).is_ready() {
            this.is_over = true;
            this.messages.close();
        }
        let message = std::task::ready!(this.messages.poll_next_unpin(context));
        Poll::Ready(message.map(|message: Message| Ok(message.into())))
    }
}
