//! `WWW-Authenticate`: how a client comes by a token that will do (RFC 6750 §3, RFC 9728 §5.1).

use std::fmt::Write as _;

use http::HeaderValue;
use keepgate_authn::oauth::ResourceServer;
use keepgate_call::{EndpointPath, Refusal};

/// Where the metadata of endpoints are, before the path of the endpoint (RFC 9728 §3.1).
pub const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The challenge of a refusal; where it has none of its own, the plain one.
pub(super) fn of(refusal: &Refusal) -> HeaderValue {
    refusal
        .challenge
        .as_deref()
        .and_then(|challenge| HeaderValue::from_str(challenge).ok())
        .unwrap_or(HeaderValue::from_static("Bearer realm=\"keepgate\""))
}

/// What a client is told that shows no token, or one that is wrong in this way: fixed words of ours. Without a token there is no error to name (RFC 6750
/// §3.1).
pub fn token(resource: &ResourceServer, path: &str, wrong: Option<&str>) -> Box<str> {
    let mut challenge = located(resource, path);
    if !resource.scopes().is_empty() {
        let _infallible = write!(challenge, ", scope=\"{}\"", resource.scopes().join(" "));
    }
    if let Some(wrong) = wrong {
        let _infallible = write!(
            challenge,
            ", error=\"invalid_token\", error_description=\"{wrong}\""
        );
    }
    challenge.into()
}

/// What a client is told whose token lacks scopes: all it needs for the call, in one challenge.
pub fn scopes(resource: &ResourceServer, path: &str, refusal: &Refusal) -> Box<str> {
    let mut challenge = located(resource, path);
    challenge.push_str(", error=\"insufficient_scope\", scope=\"");
    challenge.push_str(&refusal.scopes.join(" "));
    challenge.push('"');
    challenge.into()
}

/// The beginning of both. A path that no endpoint has is not repeated.
fn located(resource: &ResourceServer, path: &str) -> String {
    let mut challenge = "Bearer realm=\"keepgate\"".to_owned();
    if EndpointPath::parse(path).is_some() {
        let (origin, location) = (resource.origin(), resource.path());
        let _infallible = write!(
            challenge,
            ", resource_metadata=\"{origin}{METADATA}{location}{path}\""
        );
    }
    challenge
}
