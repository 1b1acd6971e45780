//! Additions to every request of a server on the network: parameters of its URL, and header lines. None of them is secret; what
//! is belongs under `credential`, which keeps it out of files and logs.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Uri, header};

use super::Resolver;
use crate::config::decode::At;

/// Lines that the gateway or the protocol writes, or that are between two hops.
const RESERVED: [HeaderName; 17] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::FORWARDED,
    header::HOST,
    header::ORIGIN,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VIA,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("last-event-id"),
];
/// Beginnings of such lines.
const RESERVED_BEGINNINGS: [&str; 4] = ["mcp-", "x-forwarded-", "proxy-", "trace"];

const CREDENTIAL: &str =
    "put it under `credential` (`as: header` or `as: query`), which keeps it out of files and logs";

/// Names of parameters that hold secrets as a rule, though nothing else of that name does.
const SECRET: [&str; 4] = ["key", "sig", "signature", "jwt"];

/// Whether a parameter of a URL, or a header, of this name holds a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    keepgate_policy::is_secret(name) || SECRET.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether the gateway or the protocol writes this header line, or it is between two hops.
pub(crate) fn is_reserved_header(name: &HeaderName) -> bool {
    let text = name.as_str();
    let mut beginnings = RESERVED_BEGINNINGS.iter();
    beginnings.any(|begin| text.starts_with(begin)) || RESERVED.contains(name) || text == "baggage"
}

impl Resolver<'_> {
    /// A URL with the parameters of `query` besides its own.
    pub(super) fn with_query(
        &mut self,
        text: &At<String>,
        url: Uri,
        query: &BTreeMap<String, At<String>>,
    ) -> Option<Uri> {
        let own = url.query().unwrap_or_default();
        let mut is_good = true;
        for (name, _) in url::form_urlencoded::parse(own.as_bytes()) {
            if is_secret(&name) {
                // Not repeated in the report.
                self.faults.hide(&text.origin);
                let message = format!("URL has a parameter `{name}`, whose name is one of secrets");
                self.faults.push(text.fault(message).hint(CREDENTIAL));
                is_good = false;
            }
        }
        for (name, value) in query {
            if is_secret(name) {
                self.faults.hide(&value.origin);
                self.faults
                    .push(value.fault("has a name of secrets").hint(CREDENTIAL));
                is_good = false;
            }
        }
        if !is_good || query.is_empty() {
            return is_good.then_some(url);
        }
        let mut all = url::form_urlencoded::Serializer::new(own.to_owned());
        all.extend_pairs(query.iter().map(|(name, value)| (name, &value.value)));
        let mut parts = url.into_parts();
        let path = parts
            .path_and_query
            .as_ref()
            .map_or("/", |whole| whole.path());
        parts.path_and_query = format!("{path}?{}", all.finish()).parse().ok();
        Uri::from_parts(parts).ok()
    }

    /// Header lines.
    pub(super) fn headers(
        &mut self,
        headers: &BTreeMap<String, At<String>>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let lines = headers.iter();
        lines
            .filter_map(|(name, value)| self.header_line(name, value))
            .collect()
    }

    fn header_line(&mut self, name: &str, value: &At<String>) -> Option<(HeaderName, HeaderValue)> {
        let (Ok(parsed), true) = (
            HeaderName::from_bytes(name.as_bytes()),
            value.value.bytes().all(|byte| matches!(byte, b' '..=b'~')),
        ) else {
            self.faults.push(value.fault(
                "not a header line: a name of letters, digits and dashes, a value of visible ASCII",
            ));
            return None;
        };
        if is_secret(name) {
            self.faults.hide(&value.origin);
            let fault = value.fault("has a name of secrets");
            self.faults.push(fault.hint(CREDENTIAL));
            return None;
        }
        if is_reserved_header(&parsed) {
            self.faults.push(value.fault(
                "the gateway writes this header line itself, or it is between two hops: take it out",
            ));
            return None;
        }
        Some((parsed, HeaderValue::from_str(&value.value).ok()?))
    }
}
