//! The certificate a listener shows, replaced while it runs.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use keepgate_net::{Certificate, TlsError, TlsFiles, Validity};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// TLS for listeners: one certificate, reloaded from its files on demand. Clones share it.
#[derive(Clone)]
pub struct Tls {
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let shown = Arc::new(Shown(ArcSwap::from_pointee(Certificate::read(files)?)));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(&shown) as _;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            shown,
            config: Arc::new(config),
        })
    }

    /// Reads the files again; new connections see what they hold.
    ///
    /// # Errors
    /// [`TlsError`]; what was in use before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.shown.0.load().files().clone();
        self.show(Certificate::read(files)?);
        Ok(())
    }

    /// Shows another certificate; [`Self::reload`] reads its files from now on.
    pub fn show(&self, certificate: Certificate) {
        self.shown.0.store(Arc::new(certificate));
    }

    /// From when to when the certificate in use is valid.
    pub fn validity(&self) -> Validity {
        self.shown.0.load().validity()
    }

    /// What accepts a handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("files", self.shown.0.load().files())
            .finish_non_exhaustive()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Shown(ArcSwap<Certificate>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified_key())
    }
}
