//! A socket that loses patience: with a head that does not end, with a connection at rest, with a reader that does not read.
//!
//! One timer serves a whole connection. It is moved by writing an instant, and looked at only when the socket has nothing
//! to do; a request costs no timer of its own.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::alarm::Alarm;

/// The number of requests running on a connection, from the end of their heads to the end of their response bodies.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Begun since the connection is open.
    begun: AtomicUsize,
    /// Running now.
    now: AtomicUsize,
}

impl Running {
    /// Counts one more, until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> RunningGuard {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.now.fetch_add(1, Ordering::Relaxed);
        RunningGuard(Arc::clone(self))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.now.load(Ordering::Relaxed) == 0
    }

    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }
}

/// One running request.
#[derive(Debug)]
pub(super) struct RunningGuard(Arc<Running>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long the socket waits for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For the rest of a head, from its first byte; `None` where a head cannot be told from other frames (HTTP/2).
    pub(super) head: Option<Duration>,
    /// For the next request.
    pub(super) idle: Duration,
    /// For the peer to take bytes.
    pub(super) write: Duration,
}

/// What a read is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// A request is running: its own deadlines hold.
    Nothing,
    /// The first byte of the next request.
    Request,
    /// The rest of a head.
    Head,
}

pin_project_lite::pin_project! {
    /// A socket with limits on waiting.
    pub(super) struct Patient<T> {
        #[pin]
        socket: T,
        limits: Limits,
        running: Arc<Running>,
        // Requests begun when the waiting began: one more, and what was waited for has come.
        begun: usize,
        waiting: Waiting,
        read: Alarm,
        write: Alarm,
    }
}

impl<T> Patient<T> {
    /// Wraps a socket. `running` is told by the service which requests run.
    pub(super) fn new(socket: T, limits: Limits, running: Arc<Running>) -> Self {
        Self {
            socket,
            limits,
            running,
            begun: 0,
            waiting: Waiting::Nothing,
            read: Alarm::default(),
            write: Alarm::default(),
        }
    }
}

/// What is watched on the reading side.
struct Watch<'a> {
    limits: &'a Limits,
    running: &'a Running,
    begun: &'a mut usize,
    waiting: &'a mut Waiting,
    alarm: &'a mut Alarm,
}

impl Watch<'_> {
    /// A request has begun since: what was waited for has come.
    fn catch_up(&mut self) {
        let begun = self.running.begun();
        if *self.begun != begun {
            *self.begun = begun;
            *self.waiting = Waiting::Nothing;
            self.alarm.clear();
        }
    }

    /// Bytes came.
    fn heard(&mut self) {
        let begins = self.running.is_idle() && *self.waiting != Waiting::Head;
        if let Some(head) = self.limits.head.filter(|_| begins) {
            *self.waiting = Waiting::Head;
            self.alarm.restart(head);
        }
    }

    /// Whether nothing came for too long. Otherwise the task is woken when it will be.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        if !self.running.is_idle() {
            return false;
        }
        if *self.waiting == Waiting::Nothing {
            *self.waiting = Waiting::Request;
            self.alarm.restart(self.limits.idle);
        }
        self.alarm.rings(context)
    }
}

macro_rules! watch {
    ($this:ident) => {
        Watch {
            limits: $this.limits,
            running: $this.running,
            begun: $this.begun,
            waiting: $this.waiting,
            alarm: $this.read,
        }
    };
}

impl<T: AsyncRead> AsyncRead for Patient<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let mut watch = watch!(this);
        watch.catch_up();
        let before = buffer.filled().len();
        if let Poll::Ready(read) = this.socket.poll_read(context, buffer) {
            if buffer.filled().len() > before {
                watch.heard();
            }
            return Poll::Ready(read);
        }
        if watch.is_overdue(context) {
            let error = io::Error::new(io::ErrorKind::TimedOut, "no request in time");
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite> Patient<T> {
    /// Judges the outcome of a write: bytes taken clear the alarm, none set it.
    fn judge<R>(
        write: &mut Alarm,
        limit: Duration,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            write.clear();
            return outcome;
        }
        write.set(limit);
        if write.rings(context) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the peer does not read",
            )));
        }
        Poll::Pending
    }
}

impl<T: AsyncWrite> AsyncWrite for Patient<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let outcome = this.socket.poll_write(context, data);
        Self::judge(this.write, this.limits.write, context, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let outcome = this.socket.poll_write_vectored(context, slices);
        Self::judge(this.write, this.limits.write, context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let outcome = this.socket.poll_flush(context);
        let outcome = Self::judge(this.write, this.limits.write, context, outcome);
        if outcome.is_ready() {
            // After a response hyper does not read until it is woken: the rest begins here.
            let mut watch = watch!(this);
            watch.catch_up();
            if watch.is_overdue(context) {
                context.waker().wake_by_ref();
            }
        }
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let outcome = this.socket.poll_shutdown(context);
        Self::judge(this.write, this.limits.write, context, outcome)
    }
}
