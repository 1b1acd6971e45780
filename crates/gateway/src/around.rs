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
        Surrounded {
            around: Arc::clone(&self.0),
            inner,
        }
    }
}

/// A service inside an around.
#[derive(Debug)]
pub struct Surrounded<A, S> {
    around: Arc<A>,
    inner: S,
}

impl<A, S: Clone> Clone for Surrounded<A, S> {
    fn clone(&self) -> Self {
        Self {
            around: Arc::clone(&self.around),
            inner: self.inner.clone(),
        }
    }
}

impl<In, A, S> Service<In> for Surrounded<A, S>
where
    In: Send + 'static,
    A: Around<In>,
    S: Service<A::Out, Response = A::Reply, Error = Refusal> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = A::Reply;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<A::Reply, Refusal>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: In) -> Self::Future {
        let around = Arc::clone(&self.around);
        let mut inner = self.inner.clone();
        Box::pin(async move { around.run(call, move |passed| inner.call(passed)).await })
    }
}
