//! Proxies in front of the gateway, and the address of a client behind them.
//!
//! `X-Forwarded-For` and `Forwarded` (RFC 7239) are whatever a client writes, up to the first address that a trusted proxy
//! has added. So they count only where the connection itself comes from a trusted proxy, and are read from the right: the
//! first hop that is no trusted proxy is the client. What cannot be read leaves the client without an address, which
//! policies that ask for one take for a no.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use keepgate_net::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most proxies one request comes through.
const MAX_HOPS: usize = 32;

/// The networks whose proxies are trusted.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<[Network]>);

impl From<Vec<Network>> for Proxies {
    fn from(networks: Vec<Network>) -> Self {
        Self(networks.into())
    }
}

impl Proxies {
    /// Whether an address is one of a trusted proxy.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client of a request that came over a connection from `peer`; `None` when its proxies do not say in a way that can
    /// be read in one way only.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<SocketAddr> {
        if self.0.is_empty() || !self.contains(peer.ip()) {
            return Some(peer);
        }
        let old = headers.contains_key(X_FORWARDED_FOR);
        let new = headers.contains_key(FORWARDED);
        let found = match (old, new) {
            // The proxy speaks for itself: a health check.
            (false, false) => return Some(peer),
            (true, false) => self.first(hops(headers, &X_FORWARDED_FOR, plain)),
            (false, true) => self.first(hops(headers, &FORWARDED, forwarded)),
            // A proxy that writes one of them passes the other on as the client sent it.
            (true, true) => {
                let old = self.first(hops(headers, &X_FORWARDED_FOR, plain));
                let new = self.first(hops(headers, &FORWARDED, forwarded));
                old.filter(|_| old == new)
            }
        };
        Some(SocketAddr::new(found?, 0))
    }

    /// The first hop from the right that is no trusted proxy, or the last of them.
    fn first(&self, hops: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut last = None;
        for hop in hops.take(MAX_HOPS) {
            let hop = hop?;
            if !self.contains(hop) {
                return Some(hop);
            }
            last = Some(hop);
        }
        last
    }
}

/// The hops of a header from the right, each read by `read`.
fn hops<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    read: fn(&str) -> Option<IpAddr>,
) -> impl Iterator<Item = Option<IpAddr>> + use<'a> {
    let lines: Vec<&http::HeaderValue> = headers.get_all(name).iter().collect();
    lines.into_iter().rev().flat_map(move |line| {
        let text = line.to_str().unwrap_or("\u{fffd}");
        // A comma in quotes ends nothing we could read: both halves are then no address.
        text.rsplit(',').map(move |hop| read(hop.trim()))
    })
}

/// A hop of `X-Forwarded-For`: an address, perhaps with a port.
fn plain(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| {
        let socket: Option<SocketAddr> = hop.parse().ok();
        let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']'));
        socket
            .map(|socket| socket.ip())
            .or_else(|| bare.and_then(|bare| bare.parse().ok()))
    });
    address.map(|address: IpAddr| address.to_canonical())
}

/// A hop of `Forwarded`: parameters, of which `for` must stand there once.
fn forwarded(hop: &str) -> Option<IpAddr> {
    let mut nodes = hop.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(value.trim())
    });
    let node = nodes.next()?;
    if nodes.next().is_some() {
        return None;
    }
    let quoted = node.strip_prefix('"').map(|node| node.strip_suffix('"'));
    plain(quoted.unwrap_or(Some(node))?)
}

#[cfg(test)]
mod tests;
