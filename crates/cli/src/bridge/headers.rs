//! Header lines of what the bridge sends: the key, the session, and without sessions the lines that repeat the body.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use keepgate_mcp::{Era, Message, Method, Revision, mirror};

use super::{Bridge, lock};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Whether a message is of a revision without sessions: it names that revision itself.
pub(super) fn is_stateless(message: &Message) -> bool {
    let named = message.meta().protocol_version();
    // A revision of later: those have no sessions either.
    named.is_some_and(|name| Revision::parse(&name).is_none_or(|it| it.era() == Era::Stateless))
}

impl Bridge {
    /// The lines that go with a message; `repeated` are those that repeat arguments of a tool.
    pub(super) fn headers(&self, message: &Message, repeated: &[(String, String)]) -> HeaderMap {
        if !is_stateless(message) {
            let opens = message.method() == Some(&Method::Initialize);
            return self.session_headers(!opens);
        }
        let mut headers = self.authorized();
        if let Some(version) = message.meta().protocol_version() {
            insert(&mut headers, PROTOCOL_VERSION, &version);
        }
        if let Some(method) = message.method() {
            insert(&mut headers, METHOD, method.as_str());
        }
        if let Message::Request(request) = message
            && let Some(name) = mirror::name_of(request)
        {
            insert(
                &mut headers,
                NAME,
                &keepgate_mcp::header::encode_value(&name),
            );
        }
        for (name, value) in repeated {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                insert(&mut headers, name, value);
            }
        }
        headers
    }

    /// The lines of a session, if one is open and `within` it.
    pub(super) fn session_headers(&self, within: bool) -> HeaderMap {
        let mut headers = self.authorized();
        if within {
            let session = lock(&self.session);
            if let Some(id) = &session.id {
                headers.insert(SESSION, id.clone());
            }
            if let Some(version) = &session.version {
                headers.insert(PROTOCOL_VERSION, version.clone());
            }
        }
        headers
    }

    fn authorized(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        headers
    }
}

/// Adds a line. One that no header can hold is left out, and the gateway refuses the request for it.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
