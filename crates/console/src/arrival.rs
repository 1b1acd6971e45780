//! Facts of a request: over which scheme, from which page, with which cookie. Nothing here is believed that a page of another
//! site could set.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header, uri::Authority};
use keepgate_approval::ConsoleUrl;

/// Name of the cookie over https: browsers bind it to the host, the path `/` and TLS.
const SECURE_COOKIE: &str = "__Host-keepgate";
/// Its name over http, which is for loopback.
const PLAIN_COOKIE: &str = "keepgate-console";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The way a request came.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Whether the browser speaks https, to the listener or to the ingress in front of it.
    is_https: bool,
    /// Whether it speaks to this machine.
    is_loopback: bool,
    /// Origin of our own pages, as a browser has it for this request.
    origin: String,
}

/// Reason a request is not answered with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// A link on a page of another site was followed: the cookie was left at home, and comes with the next request.
    Link,
    /// A page of another site sent it.
    Sent,
}

impl Arrival {
    /// The way a request for `host` came to a listener that speaks TLS or not.
    pub(crate) fn new(host: &Authority, has_tls: bool, public_url: Option<&ConsoleUrl>) -> Self {
        let public = public_url.filter(|url| {
            let (_, authority) = url.origin().split_once("://").unwrap_or_default();
            authority == host.as_str()
        });
        let is_https = has_tls || public.is_some_and(ConsoleUrl::is_https);
        let scheme = if is_https { "https" } else { "http" };
        Self {
            is_https,
            is_loopback: keepgate_net::is_loopback(host.host()),
            origin: format!("{scheme}://{host}"),
        }
    }

    /// Whether a token or a cookie may be sent this way: over TLS, or on this machine.
    pub(crate) fn is_private(&self) -> bool {
        self.is_https || self.is_loopback
    }

    /// Checks where a request comes from. An act needs our own page as its origin. Browsers send `Origin: null` from pages with
    /// `Referrer-Policy: no-referrer`, so there the page is known by `Sec-Fetch-Site`, which no script can set.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), Foreign> {
        let headers = request.headers();
        let site = only(headers, &FETCH_SITE);
        if headers.contains_key(FETCH_SITE) && site.is_none() {
            return Err(Foreign::Sent);
        }
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return match site {
                None | Some("none" | "same-origin") => Ok(()),
                Some(_) if only(headers, &FETCH_MODE) == Some("navigate") => Err(Foreign::Link),
                Some(_) => Err(Foreign::Sent),
            };
        }
        let origin = only(headers, &header::ORIGIN);
        let is_own = origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&self.origin));
        match (site, origin) {
            (Some("same-origin"), Some("null")) => Ok(()),
            (Some("same-origin") | None, _) if is_own => Ok(()),
            (Some(_) | None, _) => Err(Foreign::Sent),
        }
    }

    fn cookie_name(&self) -> &'static str {
        if self.is_https {
            SECURE_COOKIE
        } else {
            PLAIN_COOKIE
        }
    }

    /// Id of the session, by the one cookie of its name.
    pub(crate) fn session_id<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter_map(|(known, value)| (known == name).then_some(value));
        let value = values.next()?;
        // A second one is somebody else's attempt: neither counts.
        values.next().is_none().then_some(value)
    }

    /// The line that sets the cookie, for `seconds`; for none it is removed.
    pub(crate) fn cookie(&self, id: &str, seconds: u64) -> Option<HeaderValue> {
        let secure = if self.is_https { " Secure;" } else { "" };
        let name = self.cookie_name();
        let line =
            format!("{name}={id}; Path=/;{secure} HttpOnly; SameSite=Strict; Max-Age={seconds}");
        let mut line = HeaderValue::try_from(line).ok()?;
        line.set_sensitive(true);
        Some(line)
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.to_str().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(host: &str, has_tls: bool) -> Arrival {
        let url = ConsoleUrl::new("https://console.example");
        Arrival::new(&host.parse().unwrap(), has_tls, Some(&url))
    }

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().method(method);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn acts_come_from_our_own_pages_alone() {
        let own = "https://console.example";
        for (headers, expected) in [
            (&[("origin", own)][..], Ok(())),
            (
                &[("origin", own), ("sec-fetch-site", "same-origin")],
                Ok(()),
            ),
            (
                &[("origin", "null"), ("sec-fetch-site", "same-origin")],
                Ok(()),
            ),
            (&[], Err(Foreign::Sent)),
            (&[("origin", "null")], Err(Foreign::Sent)),
            (&[("origin", "http://console.example")], Err(Foreign::Sent)),
            (
                &[("origin", "https://console.example:444")],
                Err(Foreign::Sent),
            ),
            (&[("origin", "https://evil.example")], Err(Foreign::Sent)),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Err(Foreign::Sent),
            ),
            (
                &[("origin", own), ("sec-fetch-site", "same-site")],
                Err(Foreign::Sent),
            ),
            (
                &[("origin", own), ("sec-fetch-site", "cross-site")],
                Err(Foreign::Sent),
            ),
            (
                &[("origin", own), ("sec-fetch-site", "none")],
                Err(Foreign::Sent),
            ),
            (&[("origin", own), ("origin", own)], Err(Foreign::Sent)),
            (&[("sec-fetch-site", "same-origin")], Err(Foreign::Sent)),
            (
                &[
                    ("origin", own),
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "same-origin"),
                ],
                Err(Foreign::Sent),
            ),
        ] {
            let checked = arrival("console.example", false).check(&request("POST", headers));
            assert_eq!(checked, expected, "{headers:?}");
        }
    }

    #[test]
    fn pages_are_not_read_by_pages_of_others_and_links_are_followed_once_more() {
        for (headers, expected) in [
            (&[][..], Ok(())),
            (&[("sec-fetch-site", "none")], Ok(())),
            (&[("sec-fetch-site", "same-origin")], Ok(())),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                Err(Foreign::Link),
            ),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                Err(Foreign::Link),
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                ],
                Err(Foreign::Sent),
            ),
            (&[("sec-fetch-site", "cross-site")], Err(Foreign::Sent)),
        ] {
            let checked = arrival("console.example", false).check(&request("GET", headers));
            assert_eq!(checked, expected, "{headers:?}");
        }
    }

    #[test]
    fn the_cookie_is_bound_to_the_host_over_tls_and_named_plainly_on_loopback() {
        for (host, has_tls, is_private, cookie) in [
            (
                "console.example",
                false,
                true,
                "__Host-keepgate=x; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
            (
                "localhost:9080",
                true,
                true,
                "__Host-keepgate=x; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
            (
                "localhost:9080",
                false,
                true,
                "keepgate-console=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
            (
                "[::1]:9080",
                false,
                true,
                "keepgate-console=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
            (
                "10.0.0.7:9080",
                false,
                false,
                "keepgate-console=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
            (
                "console.example:81",
                false,
                false,
                "keepgate-console=x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60",
            ),
        ] {
            let arrival = arrival(host, has_tls);
            assert_eq!(arrival.is_private(), is_private, "{host}");
            assert_eq!(arrival.cookie("x", 60).unwrap(), cookie, "{host}");
        }
        let headers = |line: &'static str| {
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))])
        };
        for (line, expected) in [
            ("a=b; __Host-keepgate=x; c=d", Some("x")),
            ("keepgate-console=x", None),
            ("__Host-keepgate=x; __Host-keepgate=y", None),
            ("", None),
        ] {
            let found = headers(line);
            assert_eq!(
                arrival("console.example", false).session_id(&found),
                expected,
                "{line}"
            );
        }
    }
}
