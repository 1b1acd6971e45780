//! Location: the path under which clients find the gateway, where a proxy in front of it leaves that in place; and whether the
//! gateway can be called at all, for who balances load.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::body::Incoming;
use keepgate_call::{Code, EndpointPath, Refusal, ServerName};
use keepgate_transport::Body;

use super::room::Load;
use crate::{around::Around, render::challenge::METADATA, settings::Settings, shared::Shared};

/// The path of the page for who balances load.
const HEALTH: &str = "/healthz";

/// The paths that endpoints of this gateway have. Those of HTTP+SSE are none where no server is served over it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paths {
    listen_sse: bool,
}

impl Paths {
    /// Those of the settings.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            listen_sse: settings.servers.values().any(|server| server.listen_sse),
        }
    }

    /// The endpoint with this path; whether there is such a server is another question.
    pub(super) fn endpoint(self, path: &str) -> Option<(ServerName, EndpointPath<'_>)> {
        EndpointPath::parse(path).filter(|(_, endpoint)| match endpoint {
            EndpointPath::Mcp => true,
            EndpointPath::Events | EndpointPath::Messages(_) => self.listen_sse,
        })
    }
}

/// Takes the path of `public_url` off the paths of requests.
#[derive(Debug, Clone)]
pub struct Location(Arc<str>, Paths);

impl Location {
    /// The location of the settings.
    pub fn new(settings: &Settings) -> Self {
        Self(settings.path.as_str().into(), Paths::new(settings))
    }

    /// The request as if the gateway were found at the root. A proxy may have taken the path off already; what is left shows
    /// which: of the paths of endpoints none is the end of another, so no path can be read in both ways.
    pub fn relocate(&self, mut request: Request<Incoming>) -> Request<Incoming> {
        if let Some(uri) = self.below(request.uri()) {
            *request.uri_mut() = uri;
        }
        request
    }

    /// The address below the location, if it is one of ours.
    fn below(&self, uri: &Uri) -> Option<Uri> {
        if self.0.is_empty() {
            return None;
        }
        let path = uri.path().strip_prefix(&*self.0)?;
        let is_ours =
            self.1.endpoint(path).is_some() || path.starts_with(METADATA) || path == HEALTH;
        if !is_ours {
            return None;
        }
        let mut parts = uri.clone().into_parts();
        let below = match uri.query() {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        };
        parts.path_and_query = Some(below.ok()?);
        Uri::from_parts(parts).ok()
    }
}

/// Answers for who balances load, without asking who that is: 200 while calls are accepted, 503 from the beginning of a drain.
/// Before `Host` is looked at, which such a client fills with an address.
#[derive(Debug)]
pub struct Health(Arc<Load>);

impl Health {
    /// An around for the edge.
    pub fn new(shared: &Shared) -> Self {
        Self(Arc::clone(&shared.load))
    }
}

impl Around<Request<Incoming>> for Health {
    type Out = Request<Incoming>;
    type Reply = Response<Body>;

    async fn run<N, F>(
        &self,
        request: Request<Incoming>,
        next: N,
    ) -> Result<Response<Body>, Refusal>
    where
        N: FnOnce(Request<Incoming>) -> F + Send,
        F: Future<Output = Result<Response<Body>, Refusal>> + Send,
    {
        if request.uri().path() != HEALTH {
            return next(request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::new(Code::HttpMethod));
        }
        if self.0.is_draining() {
            return Err(Refusal::new(Code::Draining));
        }
        let mut response = Response::new(Body::full("ok\n"));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(location: &str) -> Location {
        Location(location.into(), Paths { listen_sse: true })
    }

    #[test]
    fn a_path_is_taken_off_where_it_is_left_in_place() {
        let id = "a".repeat(43);
        let messages = |before: &str| format!("{before}/crm/sse/{id}");
        for (location, path, below) in [
            ("", "/crm/mcp", None),
            ("/gate", "/gate/crm/mcp", Some("/crm/mcp")),
            ("/gate", "/gate/crm/mcp?a=b", Some("/crm/mcp?a=b")),
            ("/a/b", "/a/b/crm/mcp", Some("/crm/mcp")),
            ("/gate", "/gate/healthz", Some("/healthz")),
            (
                "/gate",
                "/gate/.well-known/oauth-protected-resource/crm/mcp",
                Some("/.well-known/oauth-protected-resource/crm/mcp"),
            ),
            ("/gate", "/gate/crm/sse", Some("/crm/sse")),
            ("/gate", &messages("/gate"), Some(&*messages(""))),
            ("/crm", &messages(""), None),
            ("/crm", "/crm/sse", None),
            ("/crm/sse", &messages(""), None),
            // Taken off already, also of a server that is called as the path is.
            ("/gate", "/crm/mcp", None),
            ("/gate", "/gate/mcp", None),
            ("/gate", "/gate/gate/mcp", Some("/gate/mcp")),
            // Another path, and what is no path of ours.
            ("/gate", "/gateway/crm/mcp", None),
            ("/gate", "/gate", None),
            ("/gate", "/gate/register", None),
            ("/gate", "/gate/gate/crm/mcp", None),
            ("/gate", "/gate//crm/mcp", None),
        ] {
            let found = of(location).below(&path.parse().unwrap());
            let found = found.map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), below, "{location} {path}");
        }
        let whole = "https://gw.example/gate/crm/mcp".parse().unwrap();
        let below = of("/gate").below(&whole).unwrap();
        assert_eq!(below.to_string(), "https://gw.example/crm/mcp");
    }
}
