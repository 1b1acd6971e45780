//! TLS in front of what speaks plainly.

use std::{net::SocketAddr, sync::Arc};

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Ends TLS in front of `address` (`http://host:port`); gives the port.
pub(super) async fn tls_in_front(address: &str, made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> u16 {
    let behind: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut front = acceptor.accept(stream).await.ok()?;
                let mut back = TcpStream::connect(behind).await.ok()?;
                copy_bidirectional(&mut front, &mut back).await.ok()
            });
        }
    });
    port
}
