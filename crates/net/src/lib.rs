//! The way out: TLS of clients, egress proxies, connections, and requests that need no pool.
//!
//! Whoever opens a connection to another machine (servers, issuers, bundles, Vault, collectors) opens it with a [`Connector`],
//! so that roots, client certificates and the [`Egress`] proxy are handled in one place and refused in the same words.

mod certificate;
mod connect;
mod egress;
mod exchange;
mod handshake;
mod network;
mod pinned;
mod roots;
mod socket;
mod target;
mod tunnel;

pub use certificate::{Certificate, TlsError, TlsFiles, Validity};
pub use connect::{
    ConnectError, Connected, Connector, ConnectorError, ConnectorSettings, Versions,
};
pub use egress::{Authorize, Egress, Exempt, Proxy, ProxyError, ProxyLogin, Route};
pub use exchange::{ExchangeError, OneShot, exchange};
pub use handshake::HandshakeError;
pub use network::{Network, NetworkError};
pub use socket::Socket;
pub use target::{Target, is_loopback};
pub use tunnel::TunnelError;

/// An error of whatever kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
