//! Responses, and the headers that each of them has.

use askama::Template;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

/// Sources of everything on a page: this origin. Nothing inline, no frame, no form to elsewhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'",
);

/// Headers of every response.
const ALWAYS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// A page.
pub(crate) fn page(status: StatusCode, template: &impl Template) -> Response<Bytes> {
    match template.render() {
        Ok(html) => respond(status, "text/html; charset=utf-8", html.into()),
        Err(error) => {
            tracing::error!(%error, "a page of the console could not be written");
            let none =
                Bytes::from_static(b"This page could not be written. The log has the cause.\n");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            respond(status, "text/plain; charset=utf-8", none)
        }
    }
}

/// A file that does not change under its path.
pub(crate) fn asset(media: &'static str, text: &'static str) -> Response<Bytes> {
    let mut response = respond(StatusCode::OK, media, Bytes::from_static(text.as_bytes()));
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
    response
}

/// The way to another page, after an act too: a reload of that page repeats nothing.
pub(crate) fn see(path: &str) -> Response<Bytes> {
    let mut response = respond(
        StatusCode::SEE_OTHER,
        "text/plain; charset=utf-8",
        Bytes::new(),
    );
    // Made of our own paths and of encoded values.
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn respond(status: StatusCode, media: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.extend(ALWAYS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
