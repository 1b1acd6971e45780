//! The proxies Keepgate is compared with: hyper's server in front of hyper-util's pooled client.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use clap::ValueEnum;
use http::uri::{Authority, Scheme, Uri};
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body;
use crate::error::Error;
use crate::serve;

/// The longest message the parsing proxy takes, in bytes.
const MAX_MESSAGE: usize = 1 << 20;

/// How much the proxy looks at what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// Nothing: both bodies stream. This is the table's 1.00.
    Nothing,
    /// The JSON-RPC envelope of request and reply, borrowed, with bodies read whole.
    Envelope,
}

/// What goes back: the upstream's body as it comes, or bytes the proxy read whole.
type Body = Either<Incoming, Full<Bytes>>;

/// Runs a bare proxy to `upstream` until the parent is gone.
pub(crate) fn run(upstream: SocketAddr, reading: Reading) -> Result<(), Error> {
    let Ok(authority) = upstream.to_string().parse::<Authority>() else {
        return Err(Error::Reply(format!("an upstream at {upstream}")));
    };
    serve::runtime()?.block_on(async move {
        match reading {
            Reading::Nothing => {
                let client: Client<_, Incoming> = client();
                let answer = move |request| stream(client.clone(), authority.clone(), request);
                serve::until_parent_ends(answer).await
            }
            Reading::Envelope => {
                let client: Client<_, Full<Bytes>> = client();
                let answer = move |request| parse(client.clone(), authority.clone(), request);
                serve::until_parent_ends(answer).await
            }
        }
    })
}

fn client<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// Passes both bodies on as they come.
async fn stream(
    client: Client<HttpConnector, Incoming>,
    upstream: Authority,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if point_at(&mut request, upstream).is_none() {
        return Ok(failed());
    }
    match client.request(request).await {
        Ok(reply) => Ok(reply.map(Either::Left)),
        Err(_) => Ok(failed()),
    }
}

/// What the parsing proxy reads of a message.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "jsonrpc")]
    _version: Option<&'a RawValue>,
    #[serde(borrow, rename = "id")]
    _id: Option<&'a RawValue>,
    #[serde(borrow, rename = "method")]
    _method: Option<&'a RawValue>,
    #[serde(borrow, rename = "params")]
    _params: Option<&'a RawValue>,
    #[serde(borrow, rename = "result")]
    _result: Option<&'a RawValue>,
    #[serde(borrow, rename = "error")]
    _error: Option<&'a RawValue>,
}

/// Reads both bodies whole and parses their envelopes before passing them on. An event stream is
/// passed on as it comes: a proxy that read it whole would break it.
async fn parse(
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: Authority,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let Some(message) = envelope(body).await else {
        return Ok(failed());
    };
    let mut request = Request::from_parts(parts, Full::new(message));
    if point_at(&mut request, upstream).is_none() {
        return Ok(failed());
    }
    let Ok(reply) = client.request(request).await else {
        return Ok(failed());
    };
    let kind = reply.headers().get(http::header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/json") {
        return Ok(reply.map(Either::Left));
    }
    let (parts, body) = reply.into_parts();
    match envelope(body).await {
        Some(message) => Ok(Response::from_parts(
            parts,
            Either::Right(Full::new(message)),
        )),
        None => Ok(failed()),
    }
}

async fn envelope(body: Incoming) -> Option<Bytes> {
    let message = body::read(body, MAX_MESSAGE).await.ok()?;
    if message.is_empty() {
        // The end of a session has no body.
        return Some(message);
    }
    serde_json::from_slice::<Envelope<'_>>(&message).ok()?;
    Some(message)
}

/// Rewrites the request's target to the upstream; the path stays.
fn point_at<B>(request: &mut Request<B>, upstream: Authority) -> Option<()> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(upstream);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(())
}

fn failed() -> Response<Body> {
    let mut reply = Response::new(Either::Right(Full::default()));
    *reply.status_mut() = StatusCode::BAD_GATEWAY;
    reply
}
