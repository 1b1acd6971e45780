//! The MCP server behind every proxy: as fast as hyper allows and strict enough for a gateway that
//! checks what it relays. It speaks 2025-03-26 to 2025-11-25 with sessions and 2026-07-28 without.

mod answer;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::{self, Reply};
use crate::error::Error;
use crate::serve;
use crate::workload::Tool;

/// The longest request the upstream reads, in bytes.
const MAX_REQUEST: usize = 1 << 20;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Runs the upstream, with at least so many tools, until the parent is gone.
pub(crate) fn run(tools: usize) -> Result<(), Error> {
    answer::TOOLS.store(tools, Ordering::Relaxed);
    serve::runtime()?.block_on(serve::until_parent_ends(respond))
}

/// What the upstream reads of a message. The rest is none of its business.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

/// What the upstream reads of the parameters.
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

/// The part of `_meta` that tells the stateless revision from the others.
#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

async fn respond(request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    if request.method() == Method::DELETE {
        return Ok(bare(StatusCode::OK));
    }
    if request.method() != Method::POST {
        return Ok(bare(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Ok(message) = body::read(request.into_body(), MAX_REQUEST).await else {
        return Ok(bare(StatusCode::BAD_REQUEST));
    };
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(&message) else {
        return Ok(bare(StatusCode::BAD_REQUEST));
    };
    Ok(dispatch(&envelope))
}

fn dispatch(envelope: &Envelope<'_>) -> Response<Reply> {
    let (Some(id), Some(method)) = (envelope.id, envelope.method.as_deref()) else {
        // A notification, or the answer to a request this server never makes.
        return bare(StatusCode::ACCEPTED);
    };
    let id = id.get();
    let params = envelope.params.as_ref();
    let stateless = params
        .and_then(|params| params.meta.as_ref())
        .is_some_and(|meta| meta.version.is_some());
    match method {
        "tools/call" => {
            let name = params.and_then(|params| params.name.as_deref());
            call(id, name.and_then(Tool::from_name), stateless)
        }
        "initialize" => {
            let asked = params.and_then(|params| params.version.as_deref());
            let mut reply = json(StatusCode::OK, answer::initialize(id, asked));
            reply.headers_mut().insert(SESSION, fresh_session());
            reply
        }
        "server/discover" => json(StatusCode::OK, answer::discover(id)),
        "tools/list" => json(StatusCode::OK, answer::tools(id, stateless)),
        "ping" => json(StatusCode::OK, answer::empty(id, stateless)),
        _ => {
            // The stateless revision wants 404 for a method nobody knows (streamable-http.mdx).
            let status = if stateless {
                StatusCode::NOT_FOUND
            } else {
                StatusCode::OK
            };
            json(status, answer::error(id, -32601, "Method not found"))
        }
    }
}

fn call(id: &str, tool: Option<Tool>, stateless: bool) -> Response<Reply> {
    match tool {
        Some(Tool::QueryDatabase) => json(StatusCode::OK, answer::rows(id, stateless)),
        Some(Tool::ExportReport) => json(StatusCode::OK, answer::report(id, stateless)),
        Some(Tool::FollowCase) => {
            let mut reply = Response::new(Reply::stream(answer::event(id, stateless)));
            reply.headers_mut().insert(CONTENT_TYPE, EVENTS);
            reply
        }
        None => json(StatusCode::OK, answer::error(id, -32602, "Unknown tool")),
    }
}

fn json(status: StatusCode, message: Bytes) -> Response<Reply> {
    let mut reply = Response::new(Reply::whole(message));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

fn bare(status: StatusCode) -> Response<Reply> {
    let mut reply = Response::new(Reply::whole(Bytes::new()));
    *reply.status_mut() = status;
    reply
}

/// A session id nobody had before. Guessing it gains nothing here: the upstream keeps no state.
fn fresh_session() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
