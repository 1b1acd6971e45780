//! Facts of a request: over which scheme, from which page, with which cookie. Nothing here is believed that a page of another
//! site could set.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header, uri::Authority};
use keepgate_approval::{ConsoleUrl, without_default_port};

use crate::sessions::Channel;

/// Name of the cookie over https: browsers bind it to the host, the path `/` and TLS.
const SECURE_COOKIE: &str = "__Host-keepgate";
/// Its name over http, which is for loopback.
const PLAIN_COOKIE: &str = "keepgate-console";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Browsers that were here over TLS come by TLS alone from then on, for a year.
const TLS_ALONE: HeaderValue = HeaderValue::from_static("max-age=31536000");

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

/// Session that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionCookie<'a> {
    /// None.
    Missing,
    /// The one with this id.
    Id(&'a str),
    /// More than one: somebody else has set a cookie of this name, and neither counts.
    Several(&'static str),
}

impl Arrival {
    /// The way a request for `host` came to a listener that speaks TLS or not. The configuration names the public URL; what a
    /// proxy reports about a request can only lower it.
    pub(crate) fn new(
        host: &Authority,
        headers: &HeaderMap,
        has_tls: bool,
        public_url: Option<&ConsoleUrl>,
    ) -> Self {
        let public = public_url.filter(|url| url.is_at(host.as_str()));
        let is_https =
            (has_tls || public.is_some_and(ConsoleUrl::is_https)) && !came_in_clear(headers);
        let scheme = if is_https { "https" } else { "http" };
        let authority = without_default_port(scheme, host.as_str());
        Self {
            is_https,
            is_loopback: keepgate_net::is_loopback(host.host()),
            origin: format!("{scheme}://{authority}"),
        }
    }

    /// Whether a token or a cookie may be sent this way: over TLS, or on this machine.
    pub(crate) fn is_private(&self) -> bool {
        self.is_https || self.is_loopback
    }

    /// The connection the cookie travels over.
    pub(crate) fn channel(&self) -> Channel {
        if self.is_https {
            Channel::Tls
        } else {
            Channel::Loopback
        }
    }

    /// Adds HSTS (RFC 6797) over TLS. Not for `localhost`, whose other ports are other programs that may speak http.
    pub(crate) fn protect(&self, headers: &mut HeaderMap) {
        if self.is_https && !self.is_loopback {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, TLS_ALONE);
        }
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

    /// The session, by the one cookie of its name.
    pub(crate) fn session<'a>(&self, headers: &'a HeaderMap) -> SessionCookie<'a> {
        let name = self.cookie_name();
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter_map(|(known, value)| (known == name).then_some(value));
        match (values.next(), values.next()) {
            (None, _) => SessionCookie::Missing,
            (Some(id), None) => SessionCookie::Id(id),
            (Some(_), Some(_)) => SessionCookie::Several(name),
        }
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

/// Whether a proxy reports that a part of the way was not TLS, in `X-Forwarded-Proto` or `Forwarded` (RFC 7239 §5.4). Every
/// value counts: a client may have written the first, and a proxy that appends the last.
fn came_in_clear(headers: &HeaderMap) -> bool {
    let is_tls = |proto: &str| proto.trim().trim_matches('"').eq_ignore_ascii_case("https");
    let mut lines = headers.get_all(FORWARDED_PROTO).iter();
    let is_reported = lines.any(|line| {
        let line = line.to_str().unwrap_or_default();
        !line.split(',').all(is_tls)
    });
    let mut lines = headers.get_all(header::FORWARDED).iter();
    is_reported
        || lines.any(|line| {
            let members = line.to_str().unwrap_or("proto=").split([',', ';']);
            let mut pairs = members.filter_map(|member| member.split_once('='));
            pairs.any(|(name, proto)| name.trim().eq_ignore_ascii_case("proto") && !is_tls(proto))
        })
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
        reported(host, has_tls, &[])
    }

    fn reported(host: &str, has_tls: bool, lines: &[(&str, &str)]) -> Arrival {
        let url = ConsoleUrl::new("https://console.example");
        let headers = request("GET", lines).headers().clone();
        Arrival::new(&host.parse().unwrap(), &headers, has_tls, Some(&url))
    }

    #[test]
    fn a_way_that_a_proxy_reports_as_plain_is_plain() {
        for (lines, is_private) in [
            (&[][..], true),
            (&[("x-forwarded-proto", "https")], true),
            (&[("x-forwarded-proto", "HTTPS, https")], true),
            (&[("x-forwarded-proto", "http")], false),
            (&[("x-forwarded-proto", "https, http")], false),
            (&[("x-forwarded-proto", "http, https")], false),
            (&[("x-forwarded-proto", "")], false),
            (
                &[
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-proto", "http"),
                ],
                false,
            ),
            (&[("forwarded", "for=192.0.2.1;proto=https;host=x")], true),
            (&[("forwarded", "for=192.0.2.1; Proto=\"http\"")], false),
            (
                &[("forwarded", "proto=https, for=192.0.2.1;proto=http")],
                false,
            ),
            (&[("forwarded", "for=192.0.2.1")], true),
        ] {
            for has_tls in [false, true] {
                let arrival = reported("console.example", has_tls, lines);
                assert_eq!(arrival.is_private(), is_private, "{has_tls} {lines:?}");
            }
        }
        // On this machine it is a channel that asks for the token again.
        let lines = [("x-forwarded-proto", "http")];
        for (lines, channel) in [(&[][..], Channel::Tls), (&lines, Channel::Loopback)] {
            assert_eq!(reported("localhost:9080", true, lines).channel(), channel);
        }
    }

    #[test]
    fn the_default_port_is_no_other_origin() {
        for (host, origin, expected) in [
            ("console.example:443", "https://console.example", Ok(())),
            ("console.example", "https://console.example", Ok(())),
            (
                "console.example",
                "https://console.example:8443",
                Err(Foreign::Sent),
            ),
        ] {
            let arrival = arrival(host, false);
            assert!(arrival.is_private(), "{host}");
            let lines = [("origin", origin)];
            assert_eq!(
                arrival.check(&request("POST", &lines)),
                expected,
                "{host} {origin}"
            );
        }
    }

    #[test]
    fn browsers_that_came_over_tls_come_so_again() {
        for (host, has_tls, is_set) in [
            ("console.example", false, true),
            ("10.0.0.7:9443", true, true),
            ("localhost:9080", true, false),
            ("localhost:9080", false, false),
            ("console.example:81", false, false),
        ] {
            let mut headers = HeaderMap::new();
            arrival(host, has_tls).protect(&mut headers);
            let found = headers.contains_key(header::STRICT_TRANSPORT_SECURITY);
            assert_eq!(found, is_set, "{host}");
        }
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
    }

    #[test]
    fn of_two_cookies_of_one_name_neither_counts() {
        let headers = |line: &'static str| {
            HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(line))])
        };
        for (line, expected) in [
            ("a=b; __Host-keepgate=x; c=d", SessionCookie::Id("x")),
            ("keepgate-console=x", SessionCookie::Missing),
            (
                "__Host-keepgate=x; __Host-keepgate=y",
                SessionCookie::Several("__Host-keepgate"),
            ),
            (
                "__Host-keepgate=x; __Host-keepgate=x",
                SessionCookie::Several("__Host-keepgate"),
            ),
            ("", SessionCookie::Missing),
        ] {
            let found = headers(line);
            assert_eq!(
                arrival("console.example", false).session(&found),
                expected,
                "{line}"
            );
        }
    }
}
