//! Channels: event streams of clients over HTTP+SSE (2024-11-05), each with the session that begins on it.
//!
//! The address a stream names for messages holds the id of that session, so the rules of sessions are those of addresses: 256
//! random bits, one caller and one server, known here by their digest. The session waits in its channel until `initialize`
//! claims it; its place is taken, its memory charged and its stream registered from the beginning.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use keepgate_call::{Call, Caller, Code, DecisionId, Refusal, ServerName};
use keepgate_mcp::message::Message;
use keepgate_store::sessions::SessionDigest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{InUse, Opening, Session, Sessions, digest, locked};
use crate::{hash::HashMap, shards::Shards};

/// Messages that wait between whoever answers and the stream. Who has more waits for the client to read.
const QUEUE: usize = 1;
/// Longest time a message waits for a client that reads nothing: as long as a socket may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// One event stream of a client.
#[derive(Debug)]
pub struct Channel {
    /// The session that begins on it, and ends with it.
    pub session: Arc<Session>,
    sender: mpsc::Sender<Message>,
    /// Places of requests whose answers the stream has not taken yet.
    unanswered: Arc<Semaphore>,
    places: u32,
    /// The place of the session, until `initialize` takes it.
    opening: Mutex<Option<Opening>>,
    /// The call that took it.
    opened_by: OnceLock<DecisionId>,
    /// Whether the server's own messages are on it.
    listens: AtomicBool,
    /// Whether the client has read nothing for too long.
    is_stalled: AtomicBool,
}

impl Channel {
    /// Whether `initialize` has not come yet.
    pub fn is_waiting(&self) -> bool {
        locked(&self.opening).is_some()
    }

    /// Whether this is the `initialize` that took the place of the session.
    pub fn is_opened_by(&self, call: &Call) -> bool {
        self.opened_by.get() == Some(&call.id)
    }

    /// A place for a request until its answer is on the stream; `None` if all are taken.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unanswered).try_acquire_owned().ok()
    }

    /// Waits until every answer is on the stream.
    pub async fn answered(&self) {
        // The semaphore is never closed, so nothing fails.
        let _all = self.unanswered.acquire_many(self.places).await.is_ok();
    }

    /// Puts a message on the stream, once there is room. `false` if the stream is closed, or its client has read nothing for
    /// half a minute: its session must end then, since each answer that waits keeps a place among the calls of everybody.
    pub async fn send(&self, message: Message) -> bool {
        match tokio::time::timeout(PATIENCE, self.sender.send(message)).await {
            Ok(sent) => sent.is_ok(),
            Err(_elapsed) => {
                self.is_stalled.store(true, Ordering::Release);
                false
            }
        }
    }

    /// Whether the client has read nothing for too long.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Acquire)
    }

    /// Waits until the stream is closed.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }

    /// Whether the stream is closed.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether the server's own messages have to be put on it from now on: `true` once, when the session is open.
    pub fn begins_to_listen(&self) -> bool {
        self.session.is_open() && !self.listens.swap(true, Ordering::AcqRel)
    }
}

/// The messages of a channel, as its stream takes them. As long as it is there, its session makes room for no other.
#[derive(Debug)]
pub struct Messages {
    receiver: mpsc::Receiver<Message>,
    _in_use: InUse,
}

impl Messages {
    /// Takes no more messages than are there.
    pub fn close(&mut self) {
        self.receiver.close();
    }
}

impl futures_core::Stream for Messages {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Message>> {
        self.get_mut().receiver.poll_recv(context)
    }
}

type Shard = HashMap<SessionDigest, Arc<Channel>>;

/// All channels.
#[derive(Debug, Default)]
pub(super) struct Channels(Shards<RwLock<Shard>>);

impl Channels {
    fn shard(&self, digest: &SessionDigest) -> &RwLock<Shard> {
        self.0.of(digest)
    }

    fn find(&self, caller: &Caller, server: &ServerName, id: &[u8]) -> Option<Arc<Channel>> {
        let digest = digest(id);
        let channel = Arc::clone(read(self.shard(&digest)).get(&digest)?);
        channel
            .session
            .belongs_to(caller, server)
            .then_some(channel)
    }

    /// The sessions that wait for `initialize`.
    pub(super) fn waiting(&self) -> Vec<Arc<Session>> {
        let of = |shard: &RwLock<Shard>| {
            let shard = read(shard);
            let waiting = shard.values().filter(|channel| channel.is_waiting());
            let waiting = waiting.map(|channel| Arc::clone(&channel.session));
            waiting.collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }
}

fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

impl Sessions {
    /// Opens a channel for a session that was reserved, with so many places for requests.
    pub(crate) fn attach(&self, opening: Opening, places: u32) -> (Arc<Channel>, Messages) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let session = Arc::clone(&opening.session);
        let messages = Messages {
            receiver,
            _in_use: InUse::new(&session),
        };
        self.touch(&session);
        let digest = session.digest;
        let channel = Arc::new(Channel {
            session,
            sender,
            unanswered: Arc::new(Semaphore::new(places as usize)),
            places,
            opening: Mutex::new(Some(opening)),
            opened_by: OnceLock::new(),
            listens: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
        });
        let mut shard = self
            .channels
            .shard(&digest)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        shard.insert(digest, Arc::clone(&channel));
        drop(shard);
        (channel, messages)
    }

    /// Forgets a channel: its address leads nowhere from now on.
    pub(crate) fn detach(&self, channel: &Channel) {
        let digest = &channel.session.digest;
        let mut shard = self
            .channels
            .shard(digest)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        shard.remove(digest);
    }

    /// The channel whose address has this id, if it is this caller's and this server's. Another caller's is as unknown as one
    /// that never was.
    pub(crate) fn channel(
        &self,
        caller: &Caller,
        server: &ServerName,
        id: &[u8],
    ) -> Option<Arc<Channel>> {
        self.channels.find(caller, server, id)
    }

    fn channel_of(&self, call: &Call) -> Option<Arc<Channel>> {
        let id = call.session.as_deref()?;
        self.channels.find(&call.caller, &call.server, id)
    }

    /// Takes the session that waits for this `initialize`. A stream has one.
    ///
    /// # Errors
    /// `message_invalid` if another `initialize` took it, `session_unknown` if there is no such stream.
    pub(crate) fn claim(&self, call: &Call) -> Result<Opening, Refusal> {
        let channel = self.channel_of(call).ok_or_else(closed)?;
        if channel.session.ended.is_cancelled() {
            return Err(closed());
        }
        let opening = locked(&channel.opening).take();
        let opening = opening.ok_or_else(|| {
            Refusal::new(Code::MessageInvalid).detail("`initialize` within a session")
        })?;
        // Set once: the place is taken once.
        let _first = channel.opened_by.set(call.id);
        Ok(opening)
    }

    /// The refusal of a call on a stream that has no session, or is none of its caller's.
    pub(crate) fn absent_on_stream(&self, call: &Call) -> Refusal {
        match self.channel_of(call) {
            Some(channel) if !channel.session.ended.is_cancelled() => {
                Refusal::new(Code::SessionMissing)
            }
            Some(_) | None => closed(),
        }
    }
}

fn closed() -> Refusal {
    Refusal::new(Code::SessionUnknown)
        .detail("the event stream that named this address is closed: open another")
}

#[cfg(test)]
mod tests;
