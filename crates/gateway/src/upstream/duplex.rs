//! Sessions over one way that brings the messages of all their calls: a child process, or the event stream of HTTP+SSE.

mod replies;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use keepgate_call::{Answer, Ask, Code, Cut, Events, Item, Refusal};
use keepgate_mcp::{
    Era,
    message::{Message, Request, Response},
    method::Method,
    sse::SseError,
};
use keepgate_transport::{
    duplex::{CallMode, Connection, Dispatch, DuplexError},
    http::upstream::StreamError,
    memory::Budget,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use self::replies::{Cuttable, item, requested};
use super::{
    Declines, child, http,
    matching::{self, Matching},
    too_long,
};
use crate::{layers::session::Bound, settings::Server};

/// Times that calls wait for their messages, and the budget these are counted in.
#[derive(Debug)]
pub(super) struct Terms {
    request: Duration,
    idle: Duration,
    memory: Option<Budget>,
}

impl Terms {
    /// Those of a server. Without `memory` the number of its connections bounds what is held.
    pub(super) fn new(server: &Server, memory: Option<Budget>) -> Self {
        Self {
            request: server.timeouts.request,
            idle: server.timeouts.idle,
            memory,
        }
    }

    /// Does `work` in the time a request has.
    pub(super) async fn within_request<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::time::timeout(self.request, work)
            .await
            .unwrap_or_else(|_elapsed| Err(Refusal::new(Code::UpstreamTimeout).into()))
    }
}

/// Reason that a call got no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Something about the connection.
    Connection(DuplexError),
    /// Something else.
    Refused(Refusal),
}

impl From<DuplexError> for Failure {
    fn from(error: DuplexError) -> Self {
        Self::Connection(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connection(error) => refused(error),
            Failure::Refused(refusal) => refusal,
        }
    }
}

/// A session's hold on a connection.
#[derive(Debug)]
pub struct Attached {
    connection: Arc<Connection>,
    tasks: TaskTracker,
    /// Ends the listening stream before this one: the server has one voice.
    listener: Mutex<CancellationToken>,
    /// Whether the server knows already that its client is ready.
    ready: bool,
    is_shared: bool,
    /// Questions that are declined.
    declines: Declines,
    /// Of the credential a process was started with; `None` where each message has the credential of its moment.
    generation: Option<u64>,
}

impl Attached {
    /// The connection is the session's own.
    pub(super) fn new(connection: Arc<Connection>, tasks: &TaskTracker) -> Self {
        Self {
            connection,
            tasks: tasks.clone(),
            listener: Mutex::default(),
            ready: false,
            is_shared: false,
            declines: Declines::default(),
            generation: None,
        }
    }

    /// A hold on a process, which `is_shared` with other sessions and was started with the credential of this generation.
    pub(super) fn of_process(self, is_shared: bool, generation: u64) -> Self {
        Self {
            is_shared,
            generation: Some(generation),
            ..self
        }
    }

    /// With a server that may know already that its client is ready.
    pub(super) fn with_ready(self, ready: bool) -> Self {
        Self { ready, ..self }
    }

    /// Whether the process has a credential older than that of generation `now`.
    pub(super) fn is_outdated(&self, now: u64) -> bool {
        self.generation.is_some_and(|generation| generation < now)
    }

    /// Ends the connection and waits until that is done, unless others share it. Returns how many processes could not be ended.
    pub(super) async fn kill(&self) -> usize {
        if self.is_shared {
            return 0;
        }
        self.connection.kill().await
    }

    /// Ends the connection, unless others share it. Nobody waits for it.
    pub(super) fn end(&self) {
        if !self.is_shared {
            self.connection.stop();
        }
    }

    pub(super) fn declines(&self) -> &Declines {
        &self.declines
    }

    pub(super) fn decline(&self, answer: Response, permit: OwnedSemaphorePermit) {
        // Now, and not when the task runs: by then the credential may have been ended.
        let Some(envelope) = self.connection.own_envelope() else {
            return;
        };
        let connection = Arc::clone(&self.connection);
        self.tasks.spawn(async move {
            if let Err(error) = connection.respond(&answer, envelope).await {
                debug!(%error, "a question could not be declined");
            }
            drop(permit);
        });
    }

    /// Sends a call of the session, once.
    pub(super) async fn send(
        &self,
        bound: &Bound,
        sender: Dispatch,
        terms: &Terms,
    ) -> Result<Answer, Failure> {
        let call = &bound.call;
        // The connection is the session: without it the client must begin again.
        if self.connection.ended().is_some() {
            return Err(Refusal::new(Code::SessionUnknown).into());
        }
        let is_ready = matches!(&call.ask, Ask::Message(Message::Notification(note)) if *note.method() == Method::Initialized);
        match &call.ask {
            Ask::Listen => Ok(Answer::Stream(self.listen(bound)?)),
            Ask::End => Ok(Answer::Accepted),
            Ask::Message(_) if is_ready && self.ready => Ok(Answer::Accepted),
            Ask::Message(_) => {
                debug_assert_eq!(call.revision.era(), Era::Stateful, "sessions are stateful");
                message(&self.connection, bound, sender, CallMode::KeepOnDrop, terms).await
            }
        }
    }

    /// The messages of the server that belong to no call. A shared process has none that belong to one session.
    fn listen(&self, bound: &Bound) -> Result<Events, Failure> {
        // A session that listens is in use: its process makes room for none.
        let busy = self.connection.hold()?;
        let token = CancellationToken::new();
        let before = {
            let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *listener, token.clone())
        };
        before.cancel();
        if self.is_shared {
            let silence = stream::pending().map(move |never: Result<Item, Cut>| {
                let _held = &busy;
                never
            });
            return Ok(Box::pin(
                silence.take_until(Box::pin(token.cancelled_owned())),
            ));
        }
        let mut matching = Matching::new(bound);
        let items = self.connection.unsolicited();
        let items = items.filter_map(move |message| {
            let _held = &busy;
            std::future::ready(item(&mut matching, message).transpose())
        });
        Ok(Box::pin(
            items.take_until(Box::pin(token.cancelled_owned())),
        ))
    }
}

/// The response to a request, whatever comes before it.
pub(super) async fn first_response(
    connection: &Connection,
    sender: Dispatch,
    request: &Request,
    mode: CallMode,
) -> Result<Response, Failure> {
    let mut replies = connection.call_for(sender, request, mode).await?;
    while let Some(message) = replies.next().await {
        if let Message::Response(response) = message? {
            return Ok(response);
        }
    }
    Err(Refusal::new(Code::UpstreamInvalid).into())
}

/// Sends a message, and waits for its answer if it has one.
pub(super) async fn message(
    connection: &Connection,
    bound: &Bound,
    sender: Dispatch,
    mode: CallMode,
    terms: &Terms,
) -> Result<Answer, Failure> {
    let call = &bound.call;
    match call.message() {
        Some(Message::Request(request)) => {
            let request = matching::renamed(call, request);
            let cuttable = Cuttable {
                replies: connection.call_for(sender, &request, mode).await?,
                call: Arc::clone(call),
                matching: Matching::new(bound),
                memory: terms.memory.clone(),
            };
            requested(terms, cuttable).await
        }
        Some(Message::Notification(notification)) => {
            let Some(notification) = matching::notified(bound, notification) else {
                return Ok(Answer::Accepted);
            };
            connection.notify_for(sender, &notification).await?;
            Ok(Answer::Accepted)
        }
        Some(Message::Response(response)) => {
            connection.respond(response, sender.envelope).await?;
            Ok(Answer::Accepted)
        }
        None => Err(Refusal::new(Code::HttpMethod).into()),
    }
}

/// The refusal of a call whose connection failed.
pub(super) fn refused(error: DuplexError) -> Refusal {
    let code = match &error {
        DuplexError::Spawn { .. }
        | DuplexError::BackingOff { .. }
        | DuplexError::Exited { .. }
        | DuplexError::Silent
        | DuplexError::Pipe(_)
        | DuplexError::StreamEnded
        | DuplexError::NotCleared
        | DuplexError::Closed => Code::UpstreamUnreachable,
        DuplexError::LineTooLong { .. } => {
            return too_long().source(error);
        }
        DuplexError::Unframeable | DuplexError::Unreadable => Code::UpstreamInvalid,
        DuplexError::Full { limit } => {
            let limit = *limit;
            return Refusal::new(Code::ProcessLimit)
                .detail(format!("`{limit}` is reached"))
                .limit(limit, child::RETRY);
        }
        DuplexError::TooLarge { .. } => Code::BodyTooLarge,
        DuplexError::Foreign { .. } => Code::ResponseForeign,
        DuplexError::Cancelled => Code::Cancelled,
        DuplexError::Post(failed) => return http::refusal_of(failed).source(error),
        DuplexError::Rejected { status, .. } => {
            return http::refused_with(*status);
        }
        DuplexError::Stream(failed) => return stream_refused(failed).source(error),
        DuplexError::Moved => Code::UpstreamEndpoint,
        DuplexError::NoMemory(_) => Code::MemoryFull,
    };
    Refusal::new(code).source(error)
}

/// The refusal of a call whose event stream failed.
pub(super) fn stream_refused(error: &StreamError) -> Refusal {
    match error {
        StreamError::Malformed(SseError::EventTooLarge | SseError::LineTooLong) => too_long(),
        StreamError::Inflated => http::inflated(),
        StreamError::Noise { most } => {
            Refusal::new(Code::UpstreamFlood).detail(format!("more than {most} bytes in a minute"))
        }
        StreamError::Malformed(_) => Refusal::new(Code::UpstreamInvalid),
        StreamError::NoMemory(_) => Refusal::new(Code::MemoryFull),
        StreamError::Broken(_) | StreamError::Silent { .. } => {
            Refusal::new(Code::UpstreamUnreachable)
        }
    }
}
