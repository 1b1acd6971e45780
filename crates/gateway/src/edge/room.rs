//! Room: so many requests at once and no more. A full gateway refuses at once; it never queues.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_call::{Code, Refusal};
use keepgate_transport::Body;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{around::Around, shared::Shared};

/// How many requests run, and whether more may come. Outlives a reload.
#[derive(Debug, Default)]
pub struct Load {
    running: AtomicUsize,
    draining: CancellationToken,
}

impl Load {
    /// From now on every request is refused; those that run go on.
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

    /// How many run.
    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

/// Admits requests while there is room.
#[derive(Debug)]
pub struct Room {
    most: usize,
    load: Arc<Load>,
}

impl Room {
    /// Room for `most` requests.
    pub fn new(most: NonZeroUsize, shared: &Shared) -> Self {
        Self {
            most: most.get(),
            load: Arc::clone(&shared.load),
        }
    }
}

/// One taken place; given back however the request ends.
struct Place(Arc<Load>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Around<Request<Incoming>> for Room {
    type Out = Request<Incoming>;
    type Reply = Response<Body>;

    async fn run<N, F>(
        &self,
        request: Request<Incoming>,
        next: N,
    ) -> Result<Response<Body>, Refusal>
    where
        N: FnOnce(Request<Incoming>) -> F + Send,
        F: Future<Output = Result<Response<Body>, Refusal>> + Send,
    {
        if self.load.is_draining() {
            return Err(Refusal::new(Code::Draining));
        }
        let before = self.load.running.fetch_add(1, Ordering::Relaxed);
        let _place = Place(Arc::clone(&self.load));
        if before >= self.most {
            return Err(Refusal::new(Code::Overloaded));
        }
        next(request).await
    }
}
