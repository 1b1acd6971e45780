//! The other adaptor: a layer that sees both the call and its reply.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use keepgate_call::Refusal;
use tower::{Layer, Service};

/// A layer that sees a call on its way down and the reply on its way back.
pub trait Around<In>: Send + Sync + 'static {
    /// What the layer below accepts.
    type Out: Send;
    /// What comes back.
    type Reply: Send;

    /// Runs the call. `next` is the rest of the stack; not calling it refuses the call.
    fn run<N, F>(
        &self,
        call: In,
        next: N,
    ) -> impl Future<Output = Result<Self::Reply, Refusal>> + Send
    where
        N: FnOnce(Self::Out) -> F + Send,
        F: Future<Output = Result<Self::Reply, Refusal>> + Send;
}

/// Makes a tower layer of an around.
pub fn around<A>(around: A) -> AroundLayer<A> {
    AroundLayer(Arc::new(around))
}

/// The layer that [`around`] makes.
#[derive(Debug)]
pub struct AroundLayer<A>(Arc<A>);

impl<A> Clone for AroundLayer<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, S> Layer<S> for AroundLayer<A> {
    type Service = Surrounded<A, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Surrounded(Arc::new((Arc::clone(&self.0), inner)))
    }
}

/// A service inside an around.
///
/// The around and all below it are one shared piece: a call clones one pointer in each layer, not everything that is
/// below.
#[derive(Debug)]
pub struct Surrounded<A, S>(Arc<(Arc<A>, S)>);

impl<A, S> Clone for Surrounded<A, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<In, A, S> Service<In> for Surrounded<A, S>
where
    In: Send + 'static,
    A: Around<In>,
    S: Service<A::Out, Response = A::Reply, Error = Refusal> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    type Response = A::Reply;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<A::Reply, Refusal>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: In) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let (around, inner) = &*shared;
            around.run(call, |passed| inner.clone().call(passed)).await
        })
    }
}
