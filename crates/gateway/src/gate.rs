//! One of the two adaptors between our layers and tower: a check on the way down.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keepgate_call::Refusal;
use tower::{Layer, Service};

/// A check a call must pass on its way down.
///
/// `Out` is what the layer below accepts. A gate that proves something gives a type only it can make, so that the layers
/// below cannot stand above it.
pub trait Gate<In>: Send + Sync + 'static {
    /// What has passed.
    type Out: Send;

    /// Lets the call pass, or says why not.
    fn pass(&self, call: In) -> impl Future<Output = Result<Self::Out, Refusal>> + Send;
}

/// Makes a tower layer of a gate.
pub fn gate<G>(gate: G) -> GateLayer<G> {
    GateLayer(Arc::new(gate))
}

/// The layer that [`gate`] makes.
#[derive(Debug)]
pub struct GateLayer<G>(Arc<G>);

impl<G> Clone for GateLayer<G> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<G, S> Layer<S> for GateLayer<G> {
    type Service = Gated<G, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Gated(Arc::new((Arc::clone(&self.0), inner)))
    }
}

/// A service behind a gate.
///
/// The gate and all below it are one shared piece: a call clones one pointer in each layer, not everything that is below.
#[derive(Debug)]
pub struct Gated<G, S>(Arc<(Arc<G>, S)>);

impl<G, S> Clone for Gated<G, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<In, G, S> Service<In> for Gated<G, S>
where
    In: Send + 'static,
    G: Gate<In>,
    S: Service<G::Out, Error = Refusal> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Response: Send,
{
    type Response = S::Response;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, Refusal>> + Send>>;

    // Nothing in the stack queues: room is taken or refused in `edge/room.rs`, so every service is always ready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: In) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let (gate, inner) = &*shared;
            let passed = gate.pass(call).await?;
            inner.clone().call(passed).await
        })
    }
}
