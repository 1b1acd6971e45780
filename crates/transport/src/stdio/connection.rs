//! Many calls over one child process.

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
use keepgate_mcp::{Id, Limits, Message, Method, Notification, Request, Response, encode, repair};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    StdioError,
    child::{Child, ChildSettings, Pipes},
    line::{TooLong, flatten},
    pump::{read_all, write},
    queue::Queue,
    route::{Added, Owner, Routed, Routes},
    tree::Known,
    usage::{Busy, Handle, Place, Reserve, Usage},
};

/// Messages that wait to be written; a caller beyond waits itself.
pub(super) const OUTBOX: usize = 64;

/// Messages nobody asked for that wait for a reader.
const UNSOLICITED: usize = 256;

/// Whether clients of one process know of one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// One caller, or one session.
    Exclusive,
    /// Several callers: progress tokens get replaced like ids.
    Shared,
}

/// What it means when the replies of a call are dropped before the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallMode {
    /// The call is cancelled: the process gets `notifications/cancelled` (2026-07-28).
    CancelOnDrop,
    /// The call goes on, its answer is dropped (the stateful revisions: a disconnect is no cancel).
    KeepOnDrop,
}

/// One child process and the calls on it.
///
/// Dropping it ends the process: stdin is closed, then SIGTERM, then SIGKILL, to the whole group.
pub struct Connection {
    core: Arc<Core>,
    outbox: mpsc::Sender<Bytes>,
    stop: DropGuard,
}

pub(super) struct Core {
    pub(super) settings: ChildSettings,
    state: Mutex<State>,
    unsolicited: Queue,
    /// Cancelled once no message will come any more.
    pub(super) over: CancellationToken,
    /// Cancelled when the process is to end.
    stop: CancellationToken,
    /// Cancelled when it is to end without being asked to.
    now: CancellationToken,
    /// Processes it started that could not be ended.
    left: AtomicUsize,
    tasks: TaskTracker,
    usage: Arc<Usage>,
}

struct State {
    routes: Routes,
    ended: Option<(StdioError, Instant)>,
}

impl Connection {
    /// Starts the process, once it has a place. Must be called within a runtime.
    ///
    /// # Errors
    /// [`StdioError::Full`] and [`StdioError::Spawn`].
    pub async fn start(
        settings: ChildSettings,
        sharing: Sharing,
        reserve: Option<&Reserve>,
    ) -> Result<Self, StdioError> {
        let place = match reserve {
            Some(reserve) => Some(reserve().await?),
            None => None,
        };
        Self::spawn(settings, sharing, place)
    }

    pub(super) fn spawn(
        settings: ChildSettings,
        sharing: Sharing,
        place: Option<Box<dyn Place>>,
    ) -> Result<Self, StdioError> {
        let tasks = TaskTracker::new();
        let (child, pipes) = Child::spawn(&settings, &tasks)?;
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let stop = CancellationToken::new();
        let core = Arc::new(Core {
            settings,
            state: Mutex::new(State {
                routes: Routes::new(sharing == Sharing::Shared),
                ended: None,
            }),
            unsolicited: Queue::new(UNSOLICITED),
            over: CancellationToken::new(),
            stop: stop.clone(),
            now: CancellationToken::new(),
            left: AtomicUsize::new(0),
            tasks: tasks.clone(),
            usage: Arc::default(),
        });
        if let Some(place) = &place {
            place.started(Handle {
                usage: Arc::clone(&core.usage),
                stop: stop.clone(),
                pid: child.pid(),
            });
        }
        let Pipes { stdin, stdout } = pipes;
        let read = CancellationToken::new();
        tasks.spawn(write(stdin, messages, stop.clone(), Arc::clone(&core)));
        tasks.spawn(read_all(
            stdout,
            read.clone().drop_guard(),
            Arc::clone(&core),
        ));
        tasks.spawn(keep(child, read, stop.clone(), Arc::clone(&core), place));
        tasks.close();
        Ok(Self {
            core,
            outbox,
            stop: stop.drop_guard(),
        })
    }

    /// Sends a request. What belongs to it comes out of [`Replies`], at last its response, with the client's own ids.
    ///
    /// # Errors
    /// [`StdioError`]; [`StdioError::is_before_sending`] tells whether the process can have seen the request.
    pub async fn call_for(
        &self,
        owner: Owner,
        request: &Request,
        mode: CallMode,
    ) -> Result<Replies, StdioError> {
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
            outbox: self.outbox.clone(),
            queue,
            wire,
            mode,
            cut: false,
            phase: Phase::Unsent,
            _busy: busy,
        };
        let line = self.core.framed(request.bytes())?;
        self.send(line).await?;
        replies.phase = Phase::Open;
        Ok(replies)
    }

    /// Sends a notification of a client. One that cancels a request which is over, which is another client's, or which
    /// cannot be distinguished from another, is left out.
    ///
    /// # Errors
    /// [`StdioError`].
    pub async fn notify_for(
        &self,
        owner: Owner,
        notification: &Notification,
    ) -> Result<(), StdioError> {
        let translated = self.core.state().routes.translate_for(owner, notification);
        let Some(translated) = translated else {
            tracing::debug!(
                server = self.core.settings.name,
                "a cancellation of no open request was left out"
            );
            return Ok(());
        };
        let line = self.core.framed(translated.bytes())?;
        self.send(line).await
    }

    /// Sends a client's answer to a request of the process, once per request.
    ///
    /// # Errors
    /// [`StdioError::Foreign`] if the process has no such request open; the other errors of sending.
    pub async fn respond(&self, response: &Response) -> Result<(), StdioError> {
        let line = self.core.framed(response.bytes())?;
        self.core.state().routes.answer(response)?;
        self.send(line).await
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
    pub fn hold(&self) -> Result<Busy, StdioError> {
        let busy = self.core.usage.enter();
        busy.ok_or_else(|| self.ended().unwrap_or(StdioError::Closed))
    }

    /// Why the process cannot be used any more; `None` while it can.
    pub fn ended(&self) -> Option<StdioError> {
        let ended = self.core.state().ended.clone().map(|(error, _)| error);
        // It was chosen to make room; its end is under way.
        ended.or_else(|| self.core.usage.is_closed().then_some(StdioError::Closed))
    }

    /// Waits until the process has ended.
    pub async fn wait(&self) {
        self.core.over.cancelled().await;
    }

    /// Kills the process with everything it started and waits until that is done.
    ///
    /// Returns how many processes could not be ended.
    pub async fn kill(&self) -> usize {
        self.core.now.cancel();
        self.core.stop.cancel();
        self.wait().await;
        self.core.left.load(Ordering::Relaxed)
    }

    /// Ends the process and waits until nothing of it is left.
    pub async fn close(self) {
        let Self { core, outbox, stop } = self;
        drop(outbox);
        drop(stop);
        core.tasks.wait().await;
    }

    /// When the process had ended.
    pub(super) fn ended_at(&self) -> Option<Instant> {
        let ended = self.core.state().ended.as_ref().map(|(_, at)| *at);
        ended.or_else(|| self.core.usage.is_closed().then(Instant::now))
    }

    async fn send(&self, line: Bytes) -> Result<(), StdioError> {
        if self.outbox.send(line).await.is_err() {
            return Err(self.ended().unwrap_or(StdioError::Closed));
        }
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("server", &self.core.settings.name)
            .field("ended", &self.ended())
            .finish_non_exhaustive()
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message as one line within the cap, its end not included.
    fn framed(&self, message: &Bytes) -> Result<Bytes, StdioError> {
        let cap = self.settings.max_line;
        if message.len() > cap {
            return Err(StdioError::TooLarge { cap });
        }
        flatten(message).ok_or(StdioError::Unframeable)
    }

    /// The first reason given is the one that counts.
    pub(super) fn end(&self, error: StdioError) {
        let error = {
            let mut state = self.state();
            let (error, _) = state.ended.get_or_insert_with(|| (error, Instant::now()));
            let error = error.clone();
            state.routes.fail(&error);
            error
        };
        self.unsolicited.end(Err(error));
    }

    /// Ends the call whose answer is too long. The process and everybody else's calls go on.
    pub(super) fn fail_answered(&self, line: &TooLong) {
        let cap = self.settings.max_line;
        let error = StdioError::LineTooLong { cap };
        let calls = self.state().routes.fail_answered(line.answers(), &error);
        let server = self.settings.name.as_str();
        tracing::warn!(
            server,
            cap,
            calls,
            "dropped a line on stdout that is longer than limits.result"
        );
    }

    /// Decodes a line and hands its messages to their owners.
    pub(super) fn receive(&self, line: Bytes) {
        let server = self.settings.name.as_str();
        let limits = Limits {
            bytes: self.settings.max_line,
            ..Limits::reply()
        };
        let repaired = |repair| tracing::warn!(server, "{repair}");
        let body = match repair::decode(line, &limits, repaired) {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(server, %error, "a line on stdout is no message and was dropped");
                return;
            }
        };
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

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The process has not seen it.
    Unsent,
    /// The process works on it.
    Open,
    /// The last message was taken.
    Done,
}

/// What belongs to one call, in order: requests and notifications of the process, and at last the response.
pub struct Replies {
    core: Arc<Core>,
    outbox: mpsc::Sender<Bytes>,
    queue: Arc<Queue>,
    wire: Id,
    mode: CallMode,
    cut: bool,
    phase: Phase,
    _busy: Busy,
}

impl Replies {
    /// The call is cut off whatever its mode: when this is dropped the process is told to stop.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Tells the process that nobody waits any more.
    fn cancel(&self) {
        let params = format!(r#"{{"requestId":{}}}"#, self.wire.as_json());
        let line = encode::notification(&Method::Cancelled, Some(&params));
        if let Err(mpsc::error::TrySendError::Full(line)) = self.outbox.try_send(line) {
            let outbox = self.outbox.clone();
            self.core.tasks.spawn(async move {
                // The process is gone if it fails, and the call with it.
                outbox.send(line).await.ok();
            });
        }
    }
}

impl Stream for Replies {
    type Item = Result<Message, StdioError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.queue.poll(context);
        if let Poll::Ready(Some(Ok(Message::Response(_)) | Err(_)) | None) = &polled {
            self.phase = Phase::Done;
        }
        polled
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        match (self.phase, self.mode) {
            (Phase::Done, _) => {}
            (Phase::Unsent, _) => {
                self.core.state().routes.remove(&self.wire);
            }
            (Phase::Open, CallMode::KeepOnDrop) => {
                // Kept in the routes even if it is cut: what the process still says of it is no other call's.
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

/// The messages of a process that belong to no call; ends with the process, whose error is the last item.
pub struct Unsolicited {
    core: Arc<Core>,
}

impl Stream for Unsolicited {
    type Item = Result<Message, StdioError>;

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

/// Watches over the process to its end, and ends it when it is told to or when it has nothing more to say.
///
/// `place` is given back when this returns, and by then nothing of the process is left.
async fn keep(
    mut child: Child,
    read: CancellationToken,
    stop: CancellationToken,
    core: Arc<Core>,
    place: Option<Box<dyn Place>>,
) {
    /// What a process wrote before it ended is read; a grandchild that holds the pipe open is not waited for.
    const LAST_WORDS: Duration = Duration::from_secs(1);
    let name = core.settings.name.as_str();
    let exited = tokio::select! {
        status = child.ended() => Some(status),
        () = stop.cancelled() => None,
        () = read.cancelled() => {
            // Often the end of the process itself, seen through the pipe first.
            timeout(Duration::from_millis(100), child.ended()).await.ok()
        }
    };
    let error = match exited {
        Some(status) => {
            let left = child.clear(Known::new()).await;
            core.left.store(left, Ordering::Relaxed);
            let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::info!(server = name, status, "the server process ended");
            drop(timeout(LAST_WORDS, read.cancelled()).await);
            StdioError::Exited { status }
        }
        None => {
            let error = if stop.is_cancelled() {
                StdioError::Closed
            } else {
                StdioError::Silent
            };
            // Whoever waits learns it now, not after the grace.
            core.end(error.clone());
            stop.cancel();
            let (status, left) = child.terminate(&core.now).await;
            core.left.store(left, Ordering::Relaxed);
            match status {
                Ok(status) => {
                    tracing::info!(server = name, %status, "the server process was ended")
                }
                Err(error) => {
                    tracing::error!(server = name, %error, "the server process could not be waited for")
                }
            }
            error
        }
    };
    stop.cancel();
    core.end(error);
    drop(child);
    drop(place);
    core.over.cancel();
}
