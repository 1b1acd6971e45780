//! The egress proxy: which connections go through it, and what it gets so that it lets them through.

mod exempt;

use std::{fmt, sync::Arc};

use http::{HeaderValue, Uri};

pub use self::exempt::Exempt;
use crate::{
    BoxError,
    target::{Target, is_loopback},
};

/// The way to other machines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Egress {
    /// Straight to each.
    #[default]
    Direct,
    /// Through a proxy, as far as a route goes.
    Proxied(Arc<Route>),
}

/// The connections that go through a proxy. Those to this machine never do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The proxy.
    pub proxy: Proxy,
    /// Whether only connections to https addresses go through it.
    pub https_only: bool,
    /// The hosts that are connected to directly.
    pub exempt: Exempt,
}

impl Egress {
    /// The proxy for connections to `target`; `None` where they are direct.
    pub fn proxy(&self, target: &Target) -> Option<&Proxy> {
        match self {
            Self::Direct => None,
            Self::Proxied(route) => {
                let is_direct = is_loopback(target.name())
                    || (route.https_only && !target.is_https())
                    || route.exempt.contains(target.name(), target.port());
                (!is_direct).then_some(&route.proxy)
            }
        }
    }
}

/// Makes the line `Proxy-Authorization`. It may read a file.
pub trait Authorize: fmt::Debug + Send + Sync {
    /// The line, marked sensitive.
    ///
    /// # Errors
    /// The reason for which there is none, without the secret.
    fn line(&self) -> Result<HeaderValue, BoxError>;
}

/// The credential of a proxy. Equal where it comes from the same place.
#[derive(Clone)]
pub struct ProxyLogin {
    place: Arc<str>,
    source: Arc<dyn Authorize>,
}

impl ProxyLogin {
    /// A login from `source`; `place` names the place it has it from, and nothing secret.
    pub fn new(place: &str, source: Arc<dyn Authorize>) -> Self {
        Self {
            place: place.into(),
            source,
        }
    }

    /// The source, which may block as it reads.
    pub(crate) fn source(&self) -> Arc<dyn Authorize> {
        Arc::clone(&self.source)
    }
}

impl PartialEq for ProxyLogin {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

impl Eq for ProxyLogin {}

impl fmt::Debug for ProxyLogin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("ProxyLogin")
            .field(&self.place)
            .finish()
    }
}

/// A forward proxy that is spoken to over HTTP (RFC 9110 §9.3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    uri: Uri,
    login: Option<ProxyLogin>,
}

/// A text that is not the address of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It is no address at all, or has a path or a query.
    #[error("not the address of a proxy")]
    Address,
    /// The proxy wants another protocol.
    #[error("a proxy is spoken to over http only")]
    Scheme,
    /// It holds a user or a password.
    #[error("the address of a proxy has a user or password in it")]
    User,
}

impl Proxy {
    /// Reads `http://host:port`.
    ///
    /// # Errors
    /// [`ProxyError`], which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let uri: Uri = text.parse().map_err(|_| ProxyError::Address)?;
        let authority = uri.authority().ok_or(ProxyError::Address)?;
        if authority.as_str().contains('@') {
            return Err(ProxyError::User);
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(ProxyError::Scheme),
            None => return Err(ProxyError::Address),
        }
        if authority.host().is_empty() || uri.path() != "/" || uri.query().is_some() {
            return Err(ProxyError::Address);
        }
        Ok(Self { uri, login: None })
    }

    /// The same proxy, with a login.
    #[must_use]
    pub fn with_login(self, login: ProxyLogin) -> Self {
        Self {
            login: Some(login),
            ..self
        }
    }

    /// Its address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Host and port, for messages.
    pub fn name(&self) -> String {
        let authority = self.uri.authority();
        authority.map(ToString::to_string).unwrap_or_default()
    }

    /// Its credential, if it gets one.
    pub fn login(&self) -> Option<&ProxyLogin> {
        self.login.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(https_only: bool, exempt: &str) -> Egress {
        Egress::Proxied(Arc::new(Route {
            proxy: Proxy::parse("http://proxy.example:3128").unwrap(),
            https_only,
            exempt: Exempt::parse(exempt).unwrap(),
        }))
    }

    #[test]
    fn connections_go_through_the_proxy_as_the_route_says() {
        // Whether only https goes through it, NO_PROXY, the target, whether it does.
        for (https_only, exempt, target, goes) in [
            (true, "", "https://crm.example/mcp", true),
            (true, "", "http://crm.example/mcp", false),
            (false, "", "http://crm.example/mcp", true),
            (false, "", "https://localhost/mcp", false),
            (false, "", "http://127.0.0.1:8080/mcp", false),
            (false, "", "http://[::1]:8080/mcp", false),
            (false, "", "http://[::ffff:127.0.0.1]/mcp", false),
            (false, "example", "https://crm.example/mcp", false),
            (false, "other.example", "https://crm.example/mcp", true),
        ] {
            let target = Target::parse(target).unwrap();
            let found = egress(https_only, exempt).proxy(&target).is_some();
            assert_eq!(found, goes, "{https_only} {exempt} {target:?}");
            assert!(Egress::Direct.proxy(&target).is_none());
        }
    }

    #[test]
    fn a_proxy_is_a_host_that_speaks_http() {
        for (text, wrong) in [
            ("http://proxy.example:3128", None),
            ("http://[2001:db8::1]:3128/", None),
            ("https://proxy.example", Some(ProxyError::Scheme)),
            ("socks5://proxy.example:1080", Some(ProxyError::Scheme)),
            ("http://user:secret@proxy.example", Some(ProxyError::User)),
            ("proxy.example:3128", Some(ProxyError::Address)),
            ("http://proxy.example/path", Some(ProxyError::Address)),
            ("", Some(ProxyError::Address)),
        ] {
            assert_eq!(Proxy::parse(text).err(), wrong, "{text}");
        }
    }
}
