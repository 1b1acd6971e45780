//! The bridge for clients that speak only stdio: lines of standard input become requests to a gateway, its answers and its own
//! messages become lines of standard output.
//!
//! Both eras. With sessions (to 2025-11-25) the bridge keeps the session id, holds the stream of the gateway open, resumes streams
//! that break and opens the session again when it is gone. Without (2026-07-28) each request carries everything, header lines repeat
//! its body, and a cancelled request is one whose connection is closed. A `tools/call` is sent once, whatever happens.

mod exchange;
mod headers;
mod lines;
mod listen;
mod mirrors;
mod session;

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use keepgate_mcp::error::{INTERNAL_ERROR, PARSE_ERROR};
use keepgate_mcp::{Body, Id, Limits, Message, Method, Notification, Request, decode, encode};
use keepgate_transport::http::upstream::{self, Endpoint};
use keepgate_transport::memory::Budget;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use lines::{Line, read_lines};
use mirrors::Mirrors;
use session::Session;

/// Largest message in either direction, in bytes.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
/// Memory for messages that are held whole.
const MEMORY: usize = 256 << 20;
/// Requests of the client that run at once; one more is refused.
const MAX_RUNNING: usize = 256;
/// Messages that wait for standard output.
const OUTBOX: usize = 64;
/// Time until the head of an answer: longer than a gateway waits for its servers.
const HEAD: Duration = Duration::from_secs(600);
/// Time a stream may be silent; a gateway sends a comment every 15 s.
const IDLE: Duration = Duration::from_secs(300);
/// Time running requests have to end once standard input is closed. Clients kill after two seconds.
const GRACE: Duration = Duration::from_secs(1);
/// Time for the end of the session.
const GOODBYE: Duration = Duration::from_millis(500);

/// A bridge to one endpoint.
pub(crate) struct Bridge {
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    outbox: mpsc::Sender<Bytes>,
    limits: upstream::Limits,
    session: Mutex<Session>,
    /// Held while a session is opened again.
    opening: tokio::sync::Mutex<()>,
    mirrors: Mutex<Mirrors>,
    running: Mutex<HashMap<Id, Running>>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Ends the streams that only listen.
    over: CancellationToken,
}

/// A request of the client that has no answer yet.
struct Running {
    is_stateless: bool,
    abort: AbortHandle,
}

/// Carries messages until `lines` ends, then ends the session. What goes to the client comes out of the receiver.
pub(crate) fn start(
    endpoint: Endpoint,
    authorization: Option<HeaderValue>,
    lines: mpsc::Receiver<Line>,
) -> mpsc::Receiver<Bytes> {
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let bridge = Arc::new(Bridge {
        endpoint,
        authorization,
        outbox,
        limits: upstream::Limits {
            max_message: MAX_MESSAGE,
            head: HEAD,
            idle: IDLE,
            memory: Budget::new(MEMORY),
            ..upstream::Limits::default()
        },
        session: Mutex::default(),
        opening: tokio::sync::Mutex::default(),
        mirrors: Mutex::default(),
        running: Mutex::default(),
        room: Arc::new(Semaphore::new(MAX_RUNNING)),
        tasks: TaskTracker::new(),
        over: CancellationToken::new(),
    });
    tokio::spawn(bridge.carry(lines));
    messages
}

impl Bridge {
    async fn carry(self: Arc<Self>, mut lines: mpsc::Receiver<Line>) {
        while let Some(line) = lines.recv().await {
            match line {
                Line::Text(bytes) => self.receive(bytes).await,
                Line::TooLong => {
                    let message = format!("message longer than {MAX_MESSAGE} bytes");
                    self.refuse(None, PARSE_ERROR, &message).await;
                }
            }
        }
        self.tasks.close();
        // Those that run on are cut with the process: their outcome is in the gateway's log.
        drop(tokio::time::timeout(GRACE, self.tasks.wait()).await);
        self.over.cancel();
        drop(tokio::time::timeout(GOODBYE, self.end_session()).await);
        for (_, running) in lock(&self.running).drain() {
            running.abort.abort();
        }
    }

    /// One line of the client: a message, or a batch of them (2025-03-26), each of which goes its own way.
    async fn receive(self: &Arc<Self>, line: Bytes) {
        match decode(line, &limits()) {
            Ok(Body::Single(message)) => self.dispatch(message).await,
            Ok(Body::Batch(messages)) => {
                for message in messages {
                    self.dispatch(message).await;
                }
            }
            Err(error) => {
                let message = crate::failure::chain(&error);
                self.refuse(None, PARSE_ERROR, &message).await;
            }
        }
    }

    async fn dispatch(self: &Arc<Self>, message: Message) {
        match message {
            Message::Request(request) if *request.method() == Method::Initialize => {
                // What follows belongs to the session that this opens.
                let request = Arc::new(request);
                self.answer(&request).await;
            }
            Message::Request(request) => self.run(request).await,
            Message::Notification(notification) => self.notify(notification).await,
            Message::Response(_) => self.post_aside(message),
        }
    }

    /// Starts a request.
    async fn run(self: &Arc<Self>, request: Request) {
        let id = request.id().clone();
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let message = format!("more than {MAX_RUNNING} requests run at once");
            return self.refuse(Some(&id), INTERNAL_ERROR, &message).await;
        };
        let is_stateless = headers::is_stateless(&Message::Request(request.clone()));
        let (bridge, own) = (Arc::clone(self), id.clone());
        // Held until the entry is there, so that a request that ends at once removes it.
        let mut running = lock(&self.running);
        let task = self.tasks.spawn(async move {
            bridge.answer(&Arc::new(request)).await;
            lock(&bridge.running).remove(&own);
            drop(permit);
        });
        let entry = Running {
            is_stateless,
            abort: task.abort_handle(),
        };
        running.insert(id, entry);
    }

    async fn notify(self: &Arc<Self>, notification: Notification) {
        let method = notification.method().clone();
        if method == Method::Cancelled {
            let id = notification.param("requestId").and_then(Id::from_raw);
            let mut running = lock(&self.running);
            let stateless = id.filter(|id| running.get(id).is_some_and(|it| it.is_stateless));
            if let Some(entry) = stateless.and_then(|id| running.remove(&id)) {
                // Without sessions a request is cancelled by closing its connection.
                entry.abort.abort();
                return;
            }
        }
        let message = Message::Notification(notification);
        if method == Method::Initialized {
            self.post(message).await;
            self.listen();
        } else {
            self.post_aside(message);
        }
    }

    /// Posts a message that has no answer, next to all else.
    fn post_aside(self: &Arc<Self>, message: Message) {
        let bridge = Arc::clone(self);
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            note("dropped a message: too many are on their way");
            return;
        };
        self.tasks.spawn(async move {
            bridge.post(message).await;
            drop(permit);
        });
    }

    /// Posts a message that has no answer.
    async fn post(&self, message: Message) {
        let headers = self.headers(&message, &[]);
        let posted = self
            .endpoint
            .notify(headers, message.bytes().clone(), &self.limits);
        match posted.await {
            Ok(upstream::Answer::Accepted) => {}
            Ok(upstream::Answer::Rejected { status, .. }) => {
                note(&format!("the gateway refused a message: status {status}"));
            }
            Ok(upstream::Answer::Message { .. } | upstream::Answer::Stream { .. }) => {}
            Err(error) => note(&crate::failure::chain(&error)),
        }
    }

    /// Gives a message to the client, on one line.
    async fn deliver(&self, message: &Bytes) {
        let line = if message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            // Within a text they would be escaped: these are between tokens.
            let plain = message.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                other => *other,
            });
            plain.collect()
        } else {
            message.clone()
        };
        // The client is gone if it fails.
        self.outbox.send(line).await.ok();
    }

    /// Gives the client an error of the bridge's own; it goes to standard error as well.
    async fn refuse(&self, id: Option<&Id>, code: i64, message: &str) {
        note(message);
        self.deliver(&encode::error(id, code, message, None)).await;
    }
}

/// Limits of messages, in either direction.
fn limits() -> Limits {
    Limits {
        bytes: MAX_MESSAGE,
        ..Limits::reply()
    }
}

/// A line for the person who reads the client's logs.
fn note(message: &str) {
    let mut place = std::io::stderr().lock();
    // Nobody is there to read it if that fails.
    writeln!(place, "keepgate stdio: {message}").ok();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
