//! Puts an rmcp server on a port or on stdin and stdout, in every revision rmcp knows.
//!
//! Over HTTP one endpoint, `/mcp`, takes both kinds of client: `initialize` opens a session
//! (2025-11-25 and before), a request with the `_meta` of 2026-07-28 is served on its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why a demo server could not be put up or fell over.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address could not be bound.
    #[error("failed to listen on `{address}`")]
    Listen {
        /// Where the server was to listen.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Accepting connections failed.
    #[error("failed to accept a connection")]
    Accept(#[source] std::io::Error),
    /// The stdio peer ended before a first valid message.
    #[error("failed to start over stdio")]
    Start(#[source] Box<rmcp::service::ServerInitializeError>),
    /// The task serving stdio was lost.
    #[error("lost the stdio server")]
    Lost(#[source] tokio::task::JoinError),
}

/// Binds `address` (port 0: any free one).
///
/// # Errors
///
/// [`ServeError::Listen`] if the address is taken or not ours.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

/// Serves at `/mcp` on `listener` until `stop` is cancelled. `server` makes one server for each
/// session, and one for each request that has no session. With a `token`, requests without
/// `Authorization: Bearer <token>` are answered with 401.
///
/// # Errors
///
/// [`ServeError::Accept`] if the listener breaks.
pub async fn http<S, F>(
    server: F,
    listener: TcpListener,
    token: Option<&str>,
    stop: CancellationToken,
) -> Result<(), ServeError>
where
    S: ServerHandler,
    F: Fn() -> S + Send + Sync + 'static,
{
    let service = StreamableHttpService::new(
        move || Ok(server()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token()),
    );
    let wanted = token.map(|token| Arc::from(format!("Bearer {token}")));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            accepted = listener.accept() => accepted.map_err(ServeError::Accept)?,
        };
        // An answer in two writes would wait for the client's delayed acknowledgement of the first.
        if let Err(error) = accepted.0.set_nodelay(true) {
            tracing::debug!(%error, "small writes may be late");
        }
        let (service, wanted) = (service.clone(), wanted.clone());
        connections.spawn(async move {
            let io = TokioIo::new(accepted.0);
            let answer =
                service_fn(move |request| answer(service.clone(), wanted.clone(), request));
            let served = auto::Builder::new(TokioExecutor::new())
                .serve_connection(io, answer)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "connection ended");
            }
        });
        // Finished connections are collected here so that they do not pile up.
        while connections.try_join_next().is_some() {}
    }
}

/// Only `/mcp` exists, and only for who is let in.
async fn answer<S>(
    service: StreamableHttpService<S, LocalSessionManager>,
    wanted: Option<Arc<str>>,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = hyper::body::Bytes, Error = Infallible>>, Infallible>
where
    S: ServerHandler,
{
    let shown = request.headers().get(http::header::AUTHORIZATION);
    let known = wanted
        .as_ref()
        .is_none_or(|wanted| shown.is_some_and(|shown| shown.as_bytes() == wanted.as_bytes()));
    let refused = match (request.uri().path(), known) {
        ("/mcp", true) => return Ok(service.handle(request).await),
        ("/mcp", false) => StatusCode::UNAUTHORIZED,
        (_, _) => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Default::default());
    *response.status_mut() = refused;
    Ok(response)
}

/// Serves `server` on stdin and stdout until stdin closes.
///
/// # Errors
///
/// [`ServeError::Start`] if no client came, [`ServeError::Lost`] if the task died.
pub async fn stdio<S: ServerHandler>(server: S) -> Result<(), ServeError> {
    match server.serve(rmcp::transport::stdio()).await {
        Ok(running) => running.waiting().await.map_err(ServeError::Lost).map(drop),
        // A client that goes away without a word is no failure of ours.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(ServeError::Start(Box::new(error))),
    }
}
