//! Links to the console. A link identifies an approval and authorizes nobody: whoever follows it logs in first.

use keepgate_call::Tenant;

/// Origin of the console as operators' browsers reach it (`admin.public_url`), without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleUrl(Box<str>);

impl ConsoleUrl {
    /// The console at `origin`: scheme, host and perhaps a port, which the configuration has checked.
    pub fn new(origin: &str) -> Self {
        Self(origin.trim_end_matches('/').into())
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
