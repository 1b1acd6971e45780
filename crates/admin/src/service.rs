//! The service: who may ask, then the page.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use serde::Serialize;
use tower::Service;

use crate::page::{Content, Page};
use crate::source::Source;
use crate::token::Token;

/// What the service answers with.
pub type Response = http::Response<Bytes>;

/// The operators' service. Reads no request body; clones share everything.
#[derive(Debug)]
pub struct Admin<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Clone for Admin<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// What clones share.
#[derive(Debug)]
struct Inner<S> {
    source: S,
    token: Arc<Token>,
    hosts: Vec<String>,
}

/// Why a page is not shown. Told as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Host,
    Origin,
    Token,
    Path,
    Method,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Problem {
    error: Words,
}

/// What the asker is told.
#[derive(Serialize)]
struct Words {
    code: &'static str,
    message: &'static str,
    hint: &'static str,
}

impl<S: Source> Admin<S> {
    /// A service that shows `source` to those who hold `token`. `hosts` are names a `Host` header may carry beside
    /// addresses and `localhost`, lower case, with or without a port.
    pub fn new(source: S, token: Arc<Token>, hosts: Vec<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                source,
                token,
                hosts,
            }),
        }
    }
}

impl<S: Source> Inner<S> {
    /// The answer to a request: host and origin first, then the token, and only then whether there is such a page.
    fn answer<B>(&self, request: &Request<B>) -> Response {
        match self.admit(request) {
            Ok(page) => respond(page.content(&self.source), None),
            Err(refused) => {
                tracing::debug!(
                    path = request.uri().path(),
                    code = refused.words().code,
                    "admin request refused"
                );
                refused.response()
            }
        }
    }

    /// The page that is asked for, if it may be shown.
    fn admit<B>(&self, request: &Request<B>) -> Result<Page, Refused> {
        let host = host(request).ok_or(Refused::Host)?;
        if !self.is_ours(&host) {
            return Err(Refused::Host);
        }
        if !is_same_origin(request.headers(), &host) {
            return Err(Refused::Origin);
        }
        let page = Page::at(request.uri().path());
        if !page.is_some_and(Page::is_public) && !self.holds_token(request.headers()) {
            return Err(Refused::Token);
        }
        let page = page.ok_or(Refused::Path)?;
        match *request.method() {
            Method::GET | Method::HEAD => Ok(page),
            _ => Err(Refused::Method),
        }
    }

    /// Whether the name is one of this listener. DNS rebinding needs a name an attacker owns; an address is nobody's.
    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self
                .hosts
                .iter()
                .any(|known| known == name || known == host.as_str())
    }

    /// Whether there is exactly one `Authorization: Bearer` line, with our token.
    fn holds_token(&self, headers: &HeaderMap) -> bool {
        let Some(line) = only(headers, &header::AUTHORIZATION) else {
            return false;
        };
        let Some((scheme, rest)) = line.as_bytes().split_first_chunk::<6>() else {
            return false;
        };
        let token = rest.strip_prefix(b" ").map(<[u8]>::trim_ascii);
        scheme.eq_ignore_ascii_case(b"bearer") && token.is_some_and(|token| self.token.is(token))
    }
}

/// The name the request is for (RFC 9110 §7.2): of the target in HTTP/2, of the one `Host` line in HTTP/1.1.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let lines = request.headers().get_all(header::HOST).iter().count();
    let named = match (request.uri().authority(), lines) {
        (Some(authority), 0) => authority.as_str().to_owned(),
        (target, 1) => {
            let line = only(request.headers(), &header::HOST)?
                .to_str()
                .ok()?
                .to_owned();
            // Two names in one request are one too many.
            if target.is_some_and(|target| !target.as_str().eq_ignore_ascii_case(&line)) {
                return None;
            }
            line
        }
        (Some(_) | None, _) => return None,
    };
    let authority: Authority = named.to_ascii_lowercase().parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether no web page of another site sent the request.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let origin = only(headers, &header::ORIGIN).and_then(|line| line.to_str().ok());
    let authority = origin
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

/// The value of a header that stands there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

impl Refused {
    /// Status and wording.
    fn words(self) -> Words {
        match self {
            Self::Host => Words {
                code: "admin.host",
                message: "this name does not lead here",
                hint: "use the address of the listener, or add the name to admin.hosts",
            },
            Self::Origin => Words {
                code: "admin.origin",
                message: "web pages of other sites may not ask",
                hint: "leave the Origin header out",
            },
            Self::Token => Words {
                code: "admin.token",
                message: "the admin token is missing or wrong",
                hint: "send `Authorization: Bearer` with the content of admin-token in the state directory",
            },
            Self::Path => Words {
                code: "admin.path",
                message: "there is no such page",
                hint: "/api/v1/openapi.json lists the pages",
            },
            Self::Method => Words {
                code: "admin.method",
                message: "this page can only be read",
                hint: "use GET",
            },
        }
    }

    /// The refusal as a response.
    fn response(self) -> Response {
        let (status, extra) = match self {
            Self::Host => (StatusCode::MISDIRECTED_REQUEST, None),
            Self::Origin => (StatusCode::FORBIDDEN, None),
            Self::Token => {
                let challenge = HeaderValue::from_static("Bearer realm=\"keepgate-admin\"");
                (
                    StatusCode::UNAUTHORIZED,
                    Some((header::WWW_AUTHENTICATE, challenge)),
                )
            }
            Self::Path => (StatusCode::NOT_FOUND, None),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                Some((header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
            ),
        };
        respond(
            Content::json(
                status,
                &Problem {
                    error: self.words(),
                },
            ),
            extra,
        )
    }
}

/// Builds the response; nothing an operator sees may be kept by caches or read as something else.
fn respond(content: Content, extra: Option<(header::HeaderName, HeaderValue)>) -> Response {
    let mut response = Response::new(Bytes::from(content.body));
    *response.status_mut() = content.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.form));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.extend(extra);
    response
}

impl<S: Source, B> Service<Request<B>> for Admin<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.inner.answer(&request)))
    }
}

#[cfg(test)]
mod tests;
