//! The address a connection is for.

use std::net::IpAddr;

use http::{HeaderValue, Uri};
use rustls_pki_types::ServerName;

/// A parsed address: `http` or `https`, with a host, without a user.
#[derive(Debug, Clone)]
pub struct Target {
    uri: Uri,
    /// The line of `Host`.
    host: HeaderValue,
    /// The name the certificate must be for; `None` for plain `http`.
    pub(crate) server_name: Option<ServerName<'static>>,
}

impl Target {
    /// Reads an address. `None` for what is none, and for one with a user: that would be a credential in the configuration,
    /// and nobody would send it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::new(text.parse().ok()?)
    }

    /// [`Self::parse`] of a URI.
    pub fn new(uri: Uri) -> Option<Self> {
        let authority = uri.authority()?.clone();
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let server_name = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(ServerName::try_from(bare(authority.host()).to_owned()).ok()?),
            Some(_) | None => return None,
        };
        Some(Self {
            host: HeaderValue::from_str(authority.as_str()).ok()?,
            uri,
            server_name,
        })
    }

    /// The whole address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The line of `Host`.
    pub fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// Whether connections to it are encrypted.
    pub fn is_https(&self) -> bool {
        self.server_name.is_some()
    }

    /// The host without brackets.
    pub(crate) fn name(&self) -> &str {
        bare(self.uri.host().unwrap_or_default())
    }

    /// The port, which the scheme gives where none is written.
    pub(crate) fn port(&self) -> u16 {
        let standard = if self.is_https() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(standard)
    }

    /// Host and port, as a proxy is asked for them (RFC 9110 §9.3.6).
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.uri.host().unwrap_or_default(), self.port())
    }
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// Whether a host, with or without brackets, is this machine: `localhost`, or an address of its loopback.
pub fn is_loopback(host: &str) -> bool {
    let host = bare(host);
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_no_user() {
        for (text, authority) in [
            ("https://crm.example/mcp", Some("crm.example:443")),
            ("http://crm.example", Some("crm.example:80")),
            ("https://[2001:db8::1]/mcp", Some("[2001:db8::1]:443")),
            ("https://crm.example:8443/mcp?a=b", Some("crm.example:8443")),
            ("https://user@crm.example/mcp", None),
            ("ftp://crm.example", None),
            ("/mcp", None),
        ] {
            let target = Target::parse(text);
            assert_eq!(
                target.as_ref().map(Target::authority).as_deref(),
                authority,
                "{text}"
            );
        }
    }

    #[test]
    fn loopback_is_a_name_and_addresses() {
        for (host, is_here) in [
            ("localhost", true),
            ("LocalHost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(host), is_here, "{host}");
        }
    }
}
