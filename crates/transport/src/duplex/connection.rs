//! Many calls over one way to a server.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use keepgate_mcp::{Body, Id, Message, Method, Notification, Request, Response, encode};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Answers, DuplexError,
    pipe::{Dispatch, Envelope, Pipe, Sending},
    queue::Queue,
    route::{Added, Routed, Routes},
    usage::{Busy, Usage},
};
use crate::{Clearance, memory::Budget, stdio::flatten};

/// Messages that wait to be written; a caller beyond waits itself.
pub(crate) const OUTBOX: usize = 64;

/// Messages nobody asked for that wait for a reader.
const UNSOLICITED: usize = 256;

/// Time in which a server may accept a posted call: its answer comes on the stream, and some servers accept the call when they
/// have answered it. Whoever waits for the answer has a limit of its own.
const ACCEPTANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Time for which a post may go on whose call was answered, so that its connection can be used again.
const AFTER_ANSWER: Duration = Duration::from_millis(250);

/// Whether clients of one process know of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One caller, or one session.
    Exclusive,
    /// Several callers: progress tokens get replaced like ids.
    Shared,
}

/// Meaning of replies that are dropped before the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallMode {
    /// The call is cancelled: the process gets `notifications/cancelled` (2026-07-28).
    CancelOnDrop,
    /// The call goes on, its answer is dropped (the stateful revisions: a disconnect is no cancel).
    KeepOnDrop,
}

/// One way to a server and the calls on it.
///
/// Dropping it ends it. A process is ended with its whole group: stdin is closed, then SIGTERM, then SIGKILL.
pub struct Connection {
    core: Arc<Core>,
    pipe: Pipe,
    stop: DropGuard,
}

pub(crate) struct Core {
    /// The server's name, for the log.
    pub(crate) name: String,
    /// Most bytes of one message in either direction.
    pub(crate) max_message: usize,
    state: Mutex<State>,
    unsolicited: Queue,
    /// Cancelled once no message will come any more.
    pub(crate) over: CancellationToken,
    /// Cancelled when the server's side is to end.
    pub(crate) stop: CancellationToken,
    /// Cancelled when a process is to end without being asked to.
    pub(crate) now: CancellationToken,
    /// Processes it started that could not be ended.
    pub(crate) left: Arc<AtomicUsize>,
    pub(crate) tasks: TaskTracker,
    pub(crate) usage: Arc<Usage>,
}

struct State {
    routes: Routes,
    ended: Option<(DuplexError, Instant)>,
}

impl Connection {
    /// Calls over `pipe`, whose other direction is handed to `core` by whoever reads it.
    pub(crate) fn new(core: &Arc<Core>, pipe: Pipe) -> Self {
        Self {
            core: Arc::clone(core),
            pipe,
            stop: core.stop.clone().drop_guard(),
        }
    }

    /// Sends a request. What belongs to it comes out of [`Replies`], at last its response, with the client's own ids.
    ///
    /// # Errors
    /// [`DuplexError`]; [`DuplexError::is_before_sending`] is false where the server can have seen the request.
    pub async fn call_for(
        &self,
        sender: impl Into<Dispatch>,
        request: &Request,
        mode: CallMode,
    ) -> Result<Replies, DuplexError> {
        let Dispatch { owner, envelope } = sender.into();
        let busy = self.hold()?;
        let Added {
            wire,
            request,
            queue,
        } = {
            let mut state = self.core.state();
            if let Some((error, _)) = &state.ended {
                return Err(error.clone());
            }
            state.routes.add_for(owner, request)?
        };
        // From here on the entry is removed when the replies are dropped, also by a caller who leaves while it waits.
        let mut replies = Replies {
            core: Arc::clone(&self.core),
            pipe: self.pipe.clone(),
            sending: None,
            queue,
            wire,
            mode,
            cut: false,
            phase: Phase::Unsent,
            _busy: busy,
        };
        match &self.pipe {
            Pipe::Lines(outbox) => {
                let line = self.core.framed(request.bytes())?;
                match envelope.clearance {
                    Some(clearance) => self.write_cleared(outbox, line, &*clearance).await?,
                    None => self.write(outbox, line).await?,
                }
            }
            // Sent by whoever waits for the replies: an answer may come before the server has accepted the request.
            Pipe::Posts(posts) => {
                let (posts, bytes) = (Arc::clone(posts), request.bytes().clone());
                replies.sending = Some(Box::pin(posts.post(envelope, bytes, ACCEPTANCE)));
            }
        }
        replies.phase = Phase::Open;
        Ok(replies)
    }

    /// Sends a notification of a client. One that cancels a request which is over, which is another client's, or which
    /// cannot be distinguished from another, is left out.
    ///
    /// # Errors
    /// [`DuplexError`].
    pub async fn notify_for(
        &self,
        sender: impl Into<Dispatch>,
        notification: &Notification,
    ) -> Result<(), DuplexError> {
        let Dispatch { owner, envelope } = sender.into();
        let translated = self.core.state().routes.translate_for(owner, notification);
        let Some(translated) = translated else {
            tracing::debug!(
                server = self.core.name,
                "a cancellation of no open request was left out"
            );
            return Ok(());
        };
        self.send(translated.bytes(), envelope).await
    }

    /// Sends a client's answer to a request of the server, once per request.
    ///
    /// # Errors
    /// [`DuplexError::Foreign`] if the process has no such request open; the other errors of sending.
    pub async fn respond(
        &self,
        response: &Response,
        envelope: Envelope,
    ) -> Result<(), DuplexError> {
        // What cannot be sent answers nothing.
        self.core.framed(response.bytes())?;
        self.core.state().routes.answer(response)?;
        self.send(response.bytes(), envelope).await
    }

    /// Envelope of a message that is sent by ourselves; `None` where no credential may be used.
    pub fn own_envelope(&self) -> Option<Envelope> {
        match &self.pipe {
            Pipe::Lines(_) => Some(Envelope::default()),
            Pipe::Posts(posts) => (posts.own)(),
        }
    }

    /// The messages that belong to no call, oldest dropped when too many wait. One reader at a time.
    pub fn unsolicited(&self) -> Unsolicited {
        Unsolicited {
            core: Arc::clone(&self.core),
        }
    }

    /// Keeps the process from being taken for idle, as a call does.
    ///
    /// # Errors
    /// The reason it cannot be used any more.
    pub fn hold(&self) -> Result<Busy, DuplexError> {
        let busy = self.core.usage.enter();
        busy.ok_or_else(|| self.ended().unwrap_or(DuplexError::Closed))
    }

    /// Reason that the connection cannot be used any more; `None` while it can.
    pub fn ended(&self) -> Option<DuplexError> {
        let ended = self.core.state().ended.clone().map(|(error, _)| error);
        // It was chosen to make room; its end is under way.
        ended.or_else(|| self.core.usage.is_closed().then_some(DuplexError::Closed))
    }

    /// Waits until the process has ended.
    pub async fn wait(&self) {
        self.core.over.cancelled().await;
    }

    /// Ends the server's side. Nobody waits for it.
    pub fn stop(&self) {
        self.core.stop.cancel();
    }

    /// Kills the process with everything it started, or closes the stream, and waits until that is done.
    ///
    /// Returns how many processes could not be ended. Of several that wait one has the number, so that a sum is true.
    pub async fn kill(&self) -> usize {
        self.core.now.cancel();
        self.core.stop.cancel();
        self.wait().await;
        self.core.left.swap(0, Ordering::Relaxed)
    }

    /// Ends the process and waits until nothing of it is left.
    pub async fn close(self) {
        let Self { core, pipe, stop } = self;
        drop(pipe);
        drop(stop);
        core.tasks.wait().await;
    }

    /// When the process had ended.
    pub(crate) fn ended_at(&self) -> Option<Instant> {
        let ended = self.core.state().ended.as_ref().map(|(_, at)| *at);
        ended.or_else(|| self.core.usage.is_closed().then(Instant::now))
    }

    async fn send(&self, message: &Bytes, envelope: Envelope) -> Result<(), DuplexError> {
        match &self.pipe {
            Pipe::Lines(outbox) => self.write(outbox, self.core.framed(message)?).await,
            Pipe::Posts(posts) => {
                if let Some(ended) = self.ended() {
                    return Err(ended);
                }
                let head = posts.head();
                Arc::clone(posts)
                    .post(envelope, message.clone(), head)
                    .await
            }
        }
    }

    /// Asks for clearance when there is room for the line.
    async fn write_cleared(
        &self,
        outbox: &mpsc::Sender<Bytes>,
        line: Bytes,
        clearance: &dyn Clearance,
    ) -> Result<(), DuplexError> {
        let Ok(room) = outbox.reserve().await else {
            return Err(self.ended().unwrap_or(DuplexError::Closed));
        };
        if !clearance.ask().await {
            return Err(DuplexError::NotCleared);
        }
        room.send(line);
        Ok(())
    }

    async fn write(&self, outbox: &mpsc::Sender<Bytes>, line: Bytes) -> Result<(), DuplexError> {
        if outbox.send(line).await.is_err() {
            return Err(self.ended().unwrap_or(DuplexError::Closed));
        }
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("server", &self.core.name)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// No calls yet. Messages that wait are counted in `memory`.
    pub(crate) fn new(
        name: &str,
        max_message: usize,
        sharing: Sharing,
        memory: Budget,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            max_message,
            unsolicited: Queue::new(UNSOLICITED, &memory),
            state: Mutex::new(State {
                routes: Routes::new(sharing == Sharing::Shared, memory),
                ended: None,
            }),
            over: CancellationToken::new(),
            stop: CancellationToken::new(),
            now: CancellationToken::new(),
            left: Arc::default(),
            tasks: TaskTracker::new(),
            usage: Arc::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message as one line within the cap, its end not included.
    fn framed(&self, message: &Bytes) -> Result<Bytes, DuplexError> {
        let cap = self.max_message;
        if message.len() > cap {
            return Err(DuplexError::TooLarge { cap });
        }
        flatten(message).ok_or(DuplexError::Unframeable)
    }

    /// The first reason given is the one that counts.
    pub(crate) fn end(&self, error: DuplexError) {
        let error = {
            let mut state = self.state();
            let (error, _) = state.ended.get_or_insert_with(|| (error, Instant::now()));
            let error = error.clone();
            state.routes.fail(&error);
            error
        };
        self.unsolicited.end(Err(error));
    }

    /// Ends the call whose answer is too long; all that run where it is not known which, since it is lost. The server and
    /// everybody else's calls go on. Returns how many calls ended.
    pub(crate) fn fail_too_long(&self, answers: Answers) -> usize {
        let error = DuplexError::LineTooLong {
            cap: self.max_message,
        };
        self.state().routes.fail_answered(answers, &error)
    }

    /// Ends the call whose answer cannot be read; the only one that runs where it is not known which: of several nobody knows
    /// whose it is, nor whether it is an answer. Returns how many calls ended.
    pub(crate) fn fail_unreadable(&self, answers: Answers) -> usize {
        let mut state = self.state();
        let answers = state.routes.narrowed(answers);
        state
            .routes
            .fail_answered(answers, &DuplexError::Unreadable)
    }

    /// Hands the messages of the server to their owners.
    pub(crate) fn deliver(&self, body: &Body) {
        let server = self.name.as_str();
        for message in body.messages() {
            let routed = self.state().routes.route(message.clone());
            match routed {
                Routed::Call => {}
                Routed::Unsolicited(message) => {
                    if self.unsolicited.push(message) > 0 {
                        tracing::warn!(
                            server,
                            "too many messages nobody reads: the oldest was dropped"
                        );
                    }
                }
                Routed::Displaced => {
                    tracing::warn!(
                        server,
                        "a caller reads too slowly: its oldest message was dropped"
                    );
                }
                Routed::Dropped(what) => tracing::warn!(server, "{what} was dropped"),
            }
        }
    }
}

/// Place of a call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The server has not seen it.
    Unsent,
    /// The server works on it.
    Open,
    /// The last message was taken.
    Done,
}

/// Messages of one call, in order: requests and notifications of the server, and at last the response.
pub struct Replies {
    core: Arc<Core>,
    pipe: Pipe,
    /// The request, while it is on its way.
    sending: Option<Sending>,
    queue: Arc<Queue>,
    wire: Id,
    mode: CallMode,
    cut: bool,
    phase: Phase,
    _busy: Busy,
}

impl Replies {
    /// The call is cut off whatever its mode: when this is dropped the server gets its cancellation.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Tells the server that nobody waits any more.
    fn cancel(&self) {
        let params = format!(r#"{{"requestId":{}}}"#, self.wire.as_json());
        let line = encode::notification(&Method::Cancelled, Some(&params));
        match &self.pipe {
            Pipe::Lines(outbox) => {
                if let Err(mpsc::error::TrySendError::Full(line)) = outbox.try_send(line) {
                    let outbox = outbox.clone();
                    self.core.tasks.spawn(async move {
                        // The process is gone if it fails, and the call with it.
                        outbox.send(line).await.ok();
                    });
                }
            }
            Pipe::Posts(posts) => posts.tell(line, &self.core.name, &self.core.tasks),
        }
    }

    /// The end of the request's way, if it ends the call: the server has not accepted it.
    fn poll_sending(&mut self, context: &mut Context<'_>) -> Poll<DuplexError> {
        let Some(sending) = &mut self.sending else {
            return Poll::Pending;
        };
        let Poll::Ready(sent) = sending.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.sending = None;
        match sent {
            Ok(()) => Poll::Pending,
            Err(error) => {
                self.core.state().routes.remove(&self.wire);
                Poll::Ready(error)
            }
        }
    }

    /// Lets the way of an answered request come to its end, which is near: its connection can be used again.
    fn end_sending(&mut self) {
        let Some(sending) = self.sending.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            self.core.tasks.spawn(async move {
                drop(tokio::time::timeout(AFTER_ANSWER, sending).await);
            });
        }
    }
}

impl Stream for Replies {
    type Item = Result<Message, DuplexError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut polled = self.queue.poll(context);
        if polled.is_pending()
            && let Poll::Ready(error) = self.poll_sending(context)
        {
            polled = Poll::Ready(Some(Err(error)));
        }
        if let Poll::Ready(Some(Ok(Message::Response(_)) | Err(_)) | None) = &polled {
            self.phase = Phase::Done;
        }
        polled
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        match (self.phase, self.mode) {
            (Phase::Done, _) => self.end_sending(),
            (Phase::Unsent, _) => {
                self.core.state().routes.remove(&self.wire);
            }
            (Phase::Open, CallMode::KeepOnDrop) => {
                // Kept in the routes even if it is cut: what the server still sends for it is no other call's.
                self.core.state().routes.abandon(&self.wire);
                if self.cut {
                    self.cancel();
                }
            }
            (Phase::Open, CallMode::CancelOnDrop) => {
                let open = self.core.state().routes.remove(&self.wire);
                if open {
                    self.cancel();
                }
            }
        }
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Replies")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// The messages of a server that belong to no call; ends with the connection, whose error is the last item.
pub struct Unsolicited {
    core: Arc<Core>,
}

impl Stream for Unsolicited {
    type Item = Result<Message, DuplexError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.core.unsolicited.poll(context)
    }
}

impl fmt::Debug for Unsolicited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Unsolicited")
            .finish_non_exhaustive()
    }
}
