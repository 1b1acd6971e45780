//! The HTTP/2 connections of one address. One is enough until the server's limit of streams on it is reached, which listening
//! streams alone can do; then there is another.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use hyper::client::conn::http2::{Connection, SendRequest};

use super::{Out, Socket, Tracked, lock};

/// Most connections to one address. Beyond it, a call waits for a stream.
const MAX: usize = 16;

/// The connections, the oldest first: it is used as long as it has room, so that the others can end.
#[derive(Default)]
pub(super) struct Shared(Mutex<Vec<Link>>);

struct Link {
    sender: SendRequest<Out>,
    streams: Arc<Streams>,
}

/// The streams of one connection.
#[derive(Debug)]
pub(super) struct Streams {
    open: AtomicUsize,
    /// The server's limit (RFC 9113 §5.1.2), as far as it is known.
    most: AtomicUsize,
}

/// A stream's place on its connection.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<Streams>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Streams {
    fn enter(self: &Arc<Self>) -> StreamPlace {
        self.open.fetch_add(1, Ordering::AcqRel);
        StreamPlace(Arc::clone(self))
    }

    /// A place, unless all are taken.
    fn reserve(self: &Arc<Self>) -> Option<StreamPlace> {
        let place = self.enter();
        (self.open.load(Ordering::Acquire) <= self.most.load(Ordering::Relaxed)).then_some(place)
    }
}

impl Shared {
    /// A connection that lives and has a place; none if another has to be made.
    pub(super) fn take(&self) -> Option<(SendRequest<Out>, StreamPlace)> {
        let mut links = lock(&self.0);
        links.retain(|link| !link.sender.is_closed());
        let found = links
            .iter()
            .enumerate()
            .find_map(|(at, link)| Some((at, link.sender.clone(), link.streams.reserve()?)));
        if let Some((at, sender, place)) = found {
            // The newest has no call, and this one had room for one: it is not needed any more.
            if links
                .last()
                .is_some_and(|last| last.streams.open.load(Ordering::Acquire) == 0)
                && links.len() > at + 1
            {
                links.pop();
            }
            return Some((sender, place));
        }
        if links.len() < MAX {
            return None;
        }
        let open = |link: &&Link| link.streams.open.load(Ordering::Acquire);
        let least = links.iter().min_by_key(open)?;
        Some((least.sender.clone(), least.streams.enter()))
    }

    /// Adds a new connection, and takes a place on it.
    pub(super) fn add(&self, sender: &SendRequest<Out>, streams: &Arc<Streams>) -> StreamPlace {
        let place = streams.enter();
        let mut links = lock(&self.0);
        if links.len() < MAX {
            links.push(Link {
                sender: sender.clone(),
                streams: Arc::clone(streams),
            });
        }
        place
    }
}

/// Drives a connection, and keeps the server's limit of streams.
pub(super) struct Driver {
    connection: Connection<Socket, Out, Tracked>,
    streams: Arc<Streams>,
}

impl Driver {
    pub(super) fn new(connection: Connection<Socket, Out, Tracked>) -> Self {
        let most = AtomicUsize::new(connection.current_max_send_streams());
        Self {
            connection,
            streams: Arc::new(Streams {
                open: AtomicUsize::new(0),
                most,
            }),
        }
    }

    pub(super) fn streams(&self) -> Arc<Streams> {
        Arc::clone(&self.streams)
    }
}

impl Future for Driver {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.connection).poll(context);
        let most = self.connection.current_max_send_streams();
        self.streams.most.store(most, Ordering::Relaxed);
        polled
    }
}
