//! Metadata: tells clients without a token what a token must be for, and who gives one (RFC 9728).
//!
//! Answered for every name a server could have, whether there is such a server or not: the document says nothing but what
//! the name and the configuration say, so strangers do not learn from it which servers there are.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use keepgate_authn::{Authenticator, oauth::ResourceServer};
use keepgate_call::{Code, EndpointPath, Refusal};
use keepgate_mcp::encode;
use keepgate_transport::Body;

use super::location::Paths;
use crate::{
    around::Around,
    render::{self, challenge::METADATA},
    settings::Settings,
};

/// Answers for the metadata of endpoints, where the gateway takes tokens.
#[derive(Debug)]
pub struct Metadata(Arc<Authenticator>, Paths);

impl Metadata {
    /// An around for the edge.
    pub fn new(authn: &Arc<Authenticator>, settings: &Settings) -> Self {
        Self(Arc::clone(authn), Paths::new(settings))
    }
}

impl Around<Request<Incoming>> for Metadata {
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
        let path = request.uri().path().strip_prefix(METADATA);
        let (Some(path), Some(resource)) = (path, self.0.resource()) else {
            return next(request).await;
        };
        // Their place is before the whole path of the endpoint (RFC 9728 §3.1), that of `public_url` included.
        let path = path.strip_prefix(resource.path()).unwrap_or(path);
        let is_endpoint = match self.1.endpoint(path) {
            Some((_, EndpointPath::Mcp | EndpointPath::Events)) => true,
            // A token is for the stream and all that is posted for it.
            Some((_, EndpointPath::Messages(_))) | None => false,
        };
        let is_known = is_endpoint || path.is_empty() && resource.has_whole_audience();
        if !is_known || request.uri().query().is_some() {
            return Err(Refusal::new(Code::PathUnknown));
        }
        if *request.method() != Method::GET {
            return Err(Refusal::new(Code::HttpMethod));
        }
        let mut response = render::json(StatusCode::OK, document(resource, path).into());
        response.headers_mut().insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=300"),
        );
        Ok(response)
    }
}

/// The metadata of the endpoint with this path, or of all of them for an empty one (RFC 9728 §2).
fn document(resource: &ResourceServer, path: &str) -> String {
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| encode::escape(text)).collect();
        texts.join(",")
    };
    let scopes = match resource.scopes() {
        [] => String::new(),
        scopes => format!(",\"scopes_supported\":[{}]", list(scopes)),
    };
    format!(
        "{{\"resource\":{},\"authorization_servers\":[{}],\"bearer_methods_supported\":[\"header\"]{scopes}}}",
        encode::escape(&format!("{}{path}", resource.base())),
        list(resource.issuers()),
    )
}
