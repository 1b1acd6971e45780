//! Links to the console. A link identifies an approval and authorizes nobody: whoever follows it logs in first.

use keepgate_call::Tenant;

/// Origin of the console as operators' browsers reach it (`admin.public_url`), without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUrl(Box<str>);

impl ConsoleUrl {
    /// The console at `origin`: scheme, host and perhaps a port, which the configuration has checked. The default port of the
    /// scheme is left out, as browsers do.
    pub fn new(origin: &str) -> Self {
        let origin = origin.trim_end_matches('/');
        let scheme = origin.split("://").next().unwrap_or_default();
        Self(without_default_port(scheme, origin).into())
    }

    /// Whether a request for this authority is one for the console, whoever added the default port.
    pub fn is_at(&self, authority: &str) -> bool {
        let scheme = if self.is_https() { "https" } else { "http" };
        self.authority() == without_default_port(scheme, authority)
    }

    /// The origin.
    pub fn origin(&self) -> &str {
        &self.0
    }

    /// Host and perhaps a port, as a `Host` header has them.
    pub fn authority(&self) -> &str {
        self.0
            .split_once("://")
            .map_or(&*self.0, |(_, authority)| authority)
    }

    /// Whether browsers reach it over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Link to one approval. Only a tenant other than the default one is named.
    pub fn approval(&self, tenant: &Tenant, id: &str) -> String {
        let mut link = format!("{}/console/approvals/{id}", self.0);
        if *tenant != Tenant::default() {
            link.push_str("?tenant=");
            push_encoded(&mut link, tenant.as_str());
        }
        link
    }
}

/// An authority, or an origin, without the port that is the default of `scheme` (RFC 6454 §6.1).
pub fn without_default_port<'a>(scheme: &str, authority: &'a str) -> &'a str {
    let port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return authority,
    };
    authority.strip_suffix(port).unwrap_or(authority)
}

/// Appends `text` as the value of a query: every byte but unreserved ones (RFC 3986 §2.3) encoded.
pub fn push_encoded(link: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            link.push(char::from(byte));
        } else {
            let nibble = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
            link.extend([
                '%',
                nibble(byte >> 4).to_ascii_uppercase(),
                nibble(byte & 15).to_ascii_uppercase(),
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_port_is_the_same_place() {
        for (origin, authority, is_there) in [
            ("https://c.example", "c.example", true),
            ("https://c.example", "c.example:443", true),
            ("https://c.example:443/", "c.example", true),
            ("https://c.example", "c.example:80", false),
            ("https://c.example", "c.example:4443", false),
            ("https://c.example:444", "c.example", false),
            ("http://localhost:80", "localhost", true),
            ("http://[::1]", "[::1]:80", true),
            ("http://localhost", "localhost:443", false),
        ] {
            assert_eq!(
                ConsoleUrl::new(origin).is_at(authority),
                is_there,
                "{origin} {authority}"
            );
        }
        assert_eq!(
            ConsoleUrl::new("https://c.example:443").origin(),
            "https://c.example"
        );
    }

    #[test]
    fn links_to_an_approval_of_any_tenant() {
        for (origin, tenant, link) in [
            (
                "https://console.example/",
                Tenant::default(),
                "https://console.example/console/approvals/ap_1",
            ),
            (
                "http://127.0.0.1:9080",
                Tenant::new("acme"),
                "http://127.0.0.1:9080/console/approvals/ap_1?tenant=acme",
            ),
            (
                "https://console.example",
                Tenant::new("a&b=ü"),
                "https://console.example/console/approvals/ap_1?tenant=a%26b%3D%C3%BC",
            ),
        ] {
            let url = ConsoleUrl::new(origin);
            assert_eq!(url.approval(&tenant, "ap_1"), link);
            assert_eq!(url.is_https(), origin.starts_with("https:"));
        }
    }
}
