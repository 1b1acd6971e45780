//! Room: so many requests and open streams at once and no more. A full gateway refuses at once, before it reads a body; it
//! never queues.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_call::{Code, Refusal};
use keepgate_mcp::{method::Method, revision::Revision};
use keepgate_transport::Body;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{around::Around, settings::Limits, shared::Shared};

/// How many requests run, and whether more may come. Outlives a reload.
#[derive(Debug, Default)]
pub struct Load {
    running: AtomicUsize,
    streams: AtomicUsize,
    draining: CancellationToken,
}

impl Load {
    /// From now on every request is refused but the next round of a call that waits; those that run go on.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Resolves when [`Self::drain`] is called.
    pub fn drained(&self) -> WaitForCancellationFutureOwned {
        self.draining.clone().cancelled_owned()
    }

    /// Whether [`Self::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Takes a place for work that goes on after its request was answered.
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        self.running.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    /// How many run: their answers have not begun.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

/// Admits requests while there is room.
#[derive(Debug)]
pub struct Room {
    most: usize,
    most_streams: usize,
    load: Arc<Load>,
}

impl Room {
    /// Room for as many as the limits say.
    pub fn new(limits: &Limits, shared: &Shared) -> Self {
        Self {
            most: limits.in_flight.get(),
            most_streams: limits.streams.get(),
            load: Arc::clone(&shared.load),
        }
    }
}

/// One taken place; given back however the request ends.
#[derive(Debug)]
pub(super) struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One open stream; given back at its end.
struct Opened(Arc<Load>);

impl Opened {
    fn new(load: &Arc<Load>) -> Self {
        load.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks a request that came while the gateway drains and may be the next round of a call that waits for a person: the endpoint
/// finds out, and rejects all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Continuing;

/// Whether a request may bring a `requestState` of ours. Its client takes any error for the end of the call, and gets another
/// round instead, which it makes at another replica.
fn may_continue<B>(request: &Request<B>) -> bool {
    let is = |name: &str, values: &[&str]| {
        let value = request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    let methods = [Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead];
    let methods = methods.each_ref().map(Method::as_str);
    request.method() == http::Method::POST
        && is("mcp-protocol-version", &[Revision::V2026_07_28.as_str()])
        && is("mcp-method", &methods)
}

impl Around<Request<Incoming>> for Room {
    type Out = Request<Incoming>;
    type Reply = Response<Body>;

    async fn run<N, F>(
        &self,
        mut request: Request<Incoming>,
        next: N,
    ) -> Result<Response<Body>, Refusal>
    where
        N: FnOnce(Request<Incoming>) -> F + Send,
        F: Future<Output = Result<Response<Body>, Refusal>> + Send,
    {
        if self.load.is_draining() {
            if !may_continue(&request) {
                return Err(Refusal::new(Code::Draining));
            }
            request.extensions_mut().insert(Continuing);
        }
        let before = self.load.running.fetch_add(1, Ordering::Relaxed);
        let _place = Place(Arc::clone(&self.load));
        // A stream is counted when it begins. By then its call has been made, so it is not refused any more: new requests
        // are, before anything of them is read.
        let full = |name| Err(Refusal::new(Code::Overloaded).over(name));
        if before >= self.most {
            return full("limits.in_flight");
        }
        if self.load.streams() >= self.most_streams {
            return full("limits.streams");
        }
        let response = next(request).await?;
        if response.body().is_there() {
            return Ok(response);
        }
        let opened = Opened::new(&self.load);
        Ok(response.map(|body| body.guarded(opened)))
    }
}
