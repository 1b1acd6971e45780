//! CORS: what a browser lets a page of another origin do (Fetch standard §3.2). A page of an origin that may call gets the lines
//! that let it read answers; its preflight is answered before anything else, since browsers send it without credentials.
//!
//! No crate: `tower-http` marks every response, and nearly none is for a browser.

use std::sync::Arc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        self, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, VARY,
    },
};
use hyper::body::Incoming;
use keepgate_transport::Body;

use super::origin::Origin;

/// Header lines of a request that a page may set, and beginnings of such.
const TAKEN: [&str; 5] = [
    "authorization",
    "content-type",
    "accept",
    "last-event-id",
    "traceparent",
];
const TAKEN_BEGINNING: &str = "mcp-";
/// Most of them that are read of one preflight.
const MAX_NAMES: usize = 64;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, DELETE");
/// Lines of an answer that a page may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("mcp-session-id, mcp-protocol-version, www-authenticate, retry-after");
/// Seconds that a browser remembers a preflight.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may read answers.
#[derive(Debug, Clone)]
pub struct Cors(Arc<Origin>);

/// The origin of one request that may read its answer.
#[derive(Debug)]
pub(super) struct Reader(HeaderValue);

impl Cors {
    /// For the origins that may call.
    pub fn new(origin: Origin) -> Self {
        Self(Arc::new(origin))
    }

    /// The origin of a request, if its pages may read the answer.
    pub(super) fn reader(&self, request: &Request<Incoming>) -> Option<Reader> {
        let mut lines = request.headers().get_all(header::ORIGIN).iter();
        let origin = lines.next()?;
        let is_one = lines.next().is_none();
        let text = origin.to_str().ok()?;
        (is_one && self.0.admits(text, request)).then(|| Reader(origin.clone()))
    }
}

impl Reader {
    /// The answer to a preflight; `None` if the request is none.
    pub(super) fn preflight(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let asked = request.headers();
        if *request.method() != Method::OPTIONS
            || !asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(names) = taken(asked) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        self.mark(headers);
        Some(response)
    }

    /// Lets the page read an answer.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

/// Of the names a preflight asks for, those that a page may set. They are echoed: `Mcp-Param-*` has no end.
fn taken(asked: &HeaderMap) -> Option<HeaderValue> {
    let line = asked.get(ACCESS_CONTROL_REQUEST_HEADERS)?.to_str().ok()?;
    let names = line.split(',').map(str::trim).take(MAX_NAMES);
    let names = names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
    let names = names.filter(|name| {
        TAKEN.contains(&name.as_str()) || name.as_str().starts_with(TAKEN_BEGINNING)
    });
    let names: Vec<String> = names.map(|name| name.as_str().to_owned()).collect();
    HeaderValue::from_str(&names.join(", ")).ok()
}
