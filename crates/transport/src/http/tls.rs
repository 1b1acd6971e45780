//! The certificate a listener shows, replaced while it runs.

mod validity;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use keepgate_files::FileError;
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

pub use self::validity::Validity;

/// Largest file of a private key that is read, in bytes.
const MAX_KEY: u64 = 1 << 20;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file could not be read or is not PEM.
    #[error("could not read the certificate chain: `{path}`")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The certificate file has no certificate in it.
    #[error("no certificate in the file: `{path}`")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The key file could not be read, or is open to others.
    #[error("could not read the private key")]
    KeyFile(#[source] FileError),
    /// The key file holds no private key.
    #[error("could not read the private key: `{path}`")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or the key is of a kind we do not use.
    #[error("certificate and private key do not fit together: `{path}`")]
    Mismatch {
        /// The key's file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: rustls::Error,
    },
    /// The dates of the certificate cannot be read.
    #[error("could not read the dates of the certificate: `{path}`")]
    Dates {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The certificate's time is over.
    #[error("the certificate has expired: `{path}`")]
    Expired {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The certificate's time has not come.
    #[error("the certificate is not valid yet: `{path}`")]
    Early {
        /// The certificate's file.
        path: PathBuf,
    },
    /// The TLS library refused its own defaults.
    #[error("could not set up TLS")]
    Setup(#[source] rustls::Error),
}

/// Where certificate and key lie, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// A certificate with its key, read and checked.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    key: Arc<CertifiedKey>,
    validity: Validity,
}

impl Certificate {
    /// Reads certificate and key. They have to fit together, and the certificate has to be valid now.
    ///
    /// # Errors
    /// [`TlsError`] names the file that cannot be used.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let key = read(&files, &ring::default_provider())?;
        let path = files.certificate.clone();
        let leaf = key.cert.first();
        let Some(validity) = leaf.and_then(|leaf| Validity::of(leaf)) else {
            return Err(TlsError::Dates { path });
        };
        let now = SystemTime::now();
        if validity.not_after < now {
            return Err(TlsError::Expired { path });
        }
        if validity.not_before > now {
            return Err(TlsError::Early { path });
        }
        Ok(Self {
            files,
            key: Arc::new(key),
            validity,
        })
    }
}

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
        let files = self.shown.0.load().files.clone();
        self.show(Certificate::read(files)?);
        Ok(())
    }

    /// Shows another certificate; [`Self::reload`] reads its files from now on.
    pub fn show(&self, certificate: Certificate) {
        self.shown.0.store(Arc::new(certificate));
    }

    /// From when to when the certificate in use is valid.
    pub fn validity(&self) -> Validity {
        self.shown.0.load().validity
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
            .field("files", &self.shown.0.load().files)
            .finish_non_exhaustive()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct Shown(ArcSwap<Certificate>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

/// Reads a chain and its key and checks that they belong together.
fn read(files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = read_certificates(&files.certificate)?;
    let pem = keepgate_files::read_secret(&files.key, MAX_KEY).map_err(TlsError::KeyFile)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|source| TlsError::Key {
        path: files.key.clone(),
        source,
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Mismatch {
        path: files.key.clone(),
        source,
    })
}

/// All certificates of a PEM file; at least one.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate {
        path: path.to_owned(),
        source,
    };
    let chain = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}
