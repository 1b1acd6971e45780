//! Where a call goes: the tenant and the server, each a type of its own, and the paths that lead to a server.

use std::{fmt, sync::Arc};

/// A tenant. Every key in every store, log and metric carries one, so that a look-up cannot forget it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of an installation that has only one.
    pub const DEFAULT: &'static str = "default";

    /// Takes a tenant's name as the configuration or a verified credential gives it.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self(Arc::from(Self::DEFAULT))
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name a server has in the configuration, and in the path `/{server}/mcp`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// The longest name, in bytes.
    pub const LONGEST: usize = 64;

    /// Takes a name of lower-case letters, digits, `-` and `_` that begins with a letter or digit, at most
    /// [`Self::LONGEST`] bytes and without `__` (which separates server and tool in federated names). `None` for any
    /// other: a name is part of a URL path and of policy keys, so it has one spelling.
    pub fn parse(name: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let first = name.bytes().next().is_some_and(plain);
        let rest = name
            .bytes()
            .all(|byte| plain(byte) || byte == b'-' || byte == b'_');
        (first && rest && name.len() <= Self::LONGEST && !name.contains("__"))
            .then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Transports of MCP over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpTransport {
    /// Streamable HTTP, of 2025-03-26 and later.
    Streamable,
    /// HTTP+SSE, of 2024-11-05.
    Sse,
}

impl HttpTransport {
    /// The word of policy input and of the inventory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Streamable => "http",
            Self::Sse => "sse",
        }
    }
}

/// A path of an endpoint. Another path is none, whether or not there is such a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointPath<'a> {
    /// `/{server}/mcp`, of Streamable HTTP.
    Mcp,
    /// `/{server}/sse`, the event stream of HTTP+SSE.
    Events,
    /// `/{server}/sse/{id}`, the address that such a stream names for messages.
    Messages(&'a str),
}

/// Letters of a session id: 256 bits in base64url.
const SESSION_ID: usize = 43;

impl<'a> EndpointPath<'a> {
    /// The endpoint with exactly this path, and the name of its server.
    pub fn parse(path: &'a str) -> Option<(ServerName, Self)> {
        let (name, place) = path.strip_prefix('/')?.split_once('/')?;
        let endpoint = match place {
            "mcp" => Self::Mcp,
            "sse" => Self::Events,
            _ => Self::Messages(place.strip_prefix("sse/").filter(|id| is_session_id(id))?),
        };
        Some((ServerName::parse(name)?, endpoint))
    }
}

fn is_session_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == SESSION_ID && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{EndpointPath, ServerName};

    #[test]
    fn an_endpoint_has_one_spelling() {
        let id = "A-_9".repeat(10) + "abc";
        let messages = format!("/crm/sse/{id}");
        for (path, endpoint) in [
            ("/crm/mcp", EndpointPath::Mcp),
            ("/crm/sse", EndpointPath::Events),
            ("/sse/sse", EndpointPath::Events),
            (&messages, EndpointPath::Messages(&id)),
        ] {
            let found = EndpointPath::parse(path).map(|(_, endpoint)| endpoint);
            assert_eq!(found, Some(endpoint), "{path}");
        }
        for path in [
            "",
            "/",
            "crm/mcp",
            "/crm",
            "/crm/mcp/",
            "/crm/sse/",
            "/crm/SSE",
            "/CRM/sse",
            "/crm//sse",
            "/a/crm/mcp",
            "/a/crm/sse",
            &format!("/crm/mcp/{id}"),
            &format!("/a{messages}"),
            &format!("{messages}a"),
            &format!("{messages}/"),
            messages.trim_end_matches('c'),
            &messages.replace('_', "%"),
        ] {
            assert_eq!(EndpointPath::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_server_name_has_one_spelling() {
        for good in ["crm", "files-2", "a_b", "0"] {
            assert!(ServerName::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "CRM",
            "a__b",
            "-a",
            "a/b",
            "a.b",
            "%61",
            "a b",
            &"a".repeat(65),
        ] {
            assert!(ServerName::parse(bad).is_none(), "{bad}");
        }
    }
}
