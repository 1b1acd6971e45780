//! The outermost layer: a refusal becomes an HTTP response, and so does a panic.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_call::{Code, Refusal};
use keepgate_transport::Body;
use tower::{Layer, Service};
use tracing::error;

use crate::render::over_http;

/// Makes [`Rendered`].
#[derive(Debug, Clone, Copy)]
pub struct Render;

impl<S> Layer<S> for Render {
    type Service = Rendered<S>;

    fn layer(&self, inner: S) -> Rendered<S> {
        Rendered { inner }
    }
}

/// A service that always answers.
#[derive(Debug, Clone)]
pub struct Rendered<S> {
    inner: S,
}

impl<S> Service<Request<Incoming>> for Rendered<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Refusal>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    // Nothing below queues, so nothing below is ever unready.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let answered = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            Ok(match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(refusal)) => over_http(&refusal),
                // A panic is a bug. Nothing of the call is left, and nothing was let through that had not passed.
                Err(_panic) => {
                    error!("a request ended in a panic");
                    over_http(&Refusal::new(Code::Internal))
                }
            })
        })
    }
}
