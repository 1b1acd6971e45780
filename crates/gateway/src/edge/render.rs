//! The outermost layer: a refusal becomes an HTTP response, and so does a panic; a browser learns whether a page may read it.

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

use super::cors::Cors;
use crate::render::over_http;

/// Makes [`Rendered`].
#[derive(Debug, Clone)]
pub struct Render(Cors);

impl Render {
    /// A layer that lets pages of these origins read answers.
    pub fn new(cors: Cors) -> Self {
        Self(cors)
    }
}

impl<S> Layer<S> for Render {
    type Service = Rendered<S>;

    fn layer(&self, inner: S) -> Rendered<S> {
        Rendered {
            inner,
            cors: self.0.clone(),
        }
    }
}

/// A service that always answers.
#[derive(Debug, Clone)]
pub struct Rendered<S> {
    inner: S,
    cors: Cors,
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
        let reader = self.cors.reader(&request);
        if let Some(answer) = reader
            .as_ref()
            .and_then(|reader| reader.preflight(&request))
        {
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let answered = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        Box::pin(async move {
            let mut response = match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(refusal)) => over_http(&refusal),
                // A panic is a bug. Nothing of the call is left, and nothing was let through that had not passed.
                Err(_panic) => {
                    error!("a request ended in a panic");
                    over_http(&Refusal::new(Code::Internal))
                }
            };
            if let Some(reader) = reader {
                reader.mark(response.headers_mut());
            }
            Ok(response)
        })
    }
}
