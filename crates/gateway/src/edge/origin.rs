//! Origin: which hosts and which web sites a request may name.
//!
//! Servers behind the gateway see a host of ours, so their own defence against DNS rebinding is off; this one stands in
//! for it (2025-11-25 `basic/transports`, "Security Warning").

use std::sync::Arc;

use http::{Extensions, HeaderMap, Request, header, uri::Authority};
use hyper::body::Incoming;
use keepgate_call::{Code, Refusal};
use keepgate_transport::http::server::Peer;

use crate::{gate::Gate, render::challenge::METADATA, settings::Settings};

/// The allow-lists.
#[derive(Debug)]
pub struct Origin {
    hosts: Arc<[String]>,
    origins: Arc<[String]>,
}

impl Origin {
    /// The lists of the settings. Loopback names are allowed besides, on loopback listeners.
    pub fn new(settings: &Settings) -> Self {
        Self {
            hosts: settings.hosts.clone().into(),
            origins: settings.origins.clone().into(),
        }
    }

    /// Whether pages of this origin may make a request, and read its answer. Anybody may read what a token must be for.
    pub(super) fn admits(&self, origin: &str, request: &Request<Incoming>) -> bool {
        request.uri().path().starts_with(METADATA)
            || self.origin(origin, is_local(request.extensions()))
    }

    fn host(&self, host: &str, loopback: bool) -> bool {
        let host = host.to_ascii_lowercase();
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        // `user@host` names a host in a way no client of ours does.
        if host.contains('@') {
            return false;
        }
        (loopback && is_loopback(authority.host()))
            || self
                .hosts
                .iter()
                .any(|known| *known == host || *known == authority.host())
    }

    fn origin(&self, origin: &str, loopback: bool) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let host = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        let authority = host.and_then(|host| host.parse::<Authority>().ok());
        loopback && authority.is_some_and(|authority| is_loopback(authority.host()))
    }
}

/// Whether the listener that was connected to is on loopback.
fn is_local(extensions: &Extensions) -> bool {
    let peer = extensions.get::<Peer>();
    peer.is_some_and(|peer| peer.local.ip().is_loopback())
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

/// Bytes of a refused name that are shown.
const MAX_SHOWN: usize = 100;

/// The refusal of a name that is in no list. It names the name: a proxy in between may have sent another than the client did.
fn unlisted(code: Code, name: &str) -> Refusal {
    // A header's text is visible ASCII, so every byte is a character.
    let shown = name.get(..MAX_SHOWN).unwrap_or(name);
    Refusal::new(code).detail(shown.to_owned())
}

/// The one value of a header, if it has one line that is text.
fn one<'a>(
    headers: &'a HeaderMap,
    name: &header::HeaderName,
    code: Code,
) -> Result<Option<&'a str>, Refusal> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(Refusal::new(code));
    }
    line.to_str()
        .map(Some)
        .map_err(|error| Refusal::new(code).source(error))
}

impl Gate<Request<Incoming>> for Origin {
    type Out = Request<Incoming>;

    async fn pass(&self, request: Request<Incoming>) -> Result<Request<Incoming>, Refusal> {
        let loopback = is_local(request.extensions());
        let line = one(request.headers(), &header::HOST, Code::HostRefused)?;
        // HTTP/2 names the host in `:authority`; where both are given they must not differ (RFC 9113 §8.3.1).
        let authority = request.uri().authority().map(Authority::as_str);
        let host = match (line, authority) {
            (Some(line), Some(authority)) if line != authority => {
                return Err(Refusal::new(Code::HostRefused));
            }
            (line, authority) => line.or(authority),
        };
        match host {
            None => return Err(Refusal::new(Code::HostRefused).detail("none")),
            Some(host) if !self.host(host, loopback) => {
                return Err(unlisted(Code::HostRefused, host));
            }
            Some(_) => {}
        }
        let origin = one(request.headers(), &header::ORIGIN, Code::OriginRefused)?;
        match origin {
            Some(origin) if !self.admits(origin, &request) => {
                Err(unlisted(Code::OriginRefused, origin))
            }
            Some(_) | None => Ok(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    fn lists() -> Origin {
        Origin {
            hosts: vec!["gw.example".to_owned(), "gw.example:8443".to_owned()].into(),
            origins: vec!["https://app.example".to_owned()].into(),
        }
    }

    #[test]
    fn hosts_are_compared_whole() {
        let lists = lists();
        for (host, loopback, allowed) in [
            ("gw.example", false, true),
            ("GW.example:8443", false, true),
            ("localhost:8080", true, true),
            ("127.0.0.1", true, true),
            ("[::1]:8080", true, true),
            ("localhost:8080", false, false),
            ("evil.example", true, false),
            ("gw.example.evil.example", false, false),
            ("gw.example@evil.example", false, false),
            ("127.0.0.1.evil.example", true, false),
            ("", true, false),
        ] {
            assert_eq!(lists.host(host, loopback), allowed, "{host} {loopback}");
        }
    }

    #[test]
    fn origins_are_compared_whole() {
        let lists = lists();
        for (origin, loopback, allowed) in [
            ("https://app.example", false, true),
            ("http://localhost:3000", true, true),
            ("http://localhost:3000", false, false),
            ("http://app.example", false, false),
            ("https://app.example.evil.example", false, false),
            ("null", true, false),
            ("http://evil.example", true, false),
        ] {
            assert_eq!(
                lists.origin(origin, loopback),
                allowed,
                "{origin} {loopback}"
            );
        }
    }
}
