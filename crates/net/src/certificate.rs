//! Certificates and their keys in files: read, checked against each other, and dated.

mod validity;

use std::{
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use keepgate_files::FileError;
use rustls::{
    crypto::{CryptoProvider, ring},
    sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

pub use self::validity::Validity;

/// Largest file of a private key that is read, in bytes.
const MAX_KEY: u64 = 1 << 20;

/// A certificate and key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file could not be read or is not PEM.
    #[error("could not read the certificate chain: `{path}`")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The flaw.
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
        /// The flaw.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not belong together, or the key is of a kind we do not use.
    #[error("certificate and private key do not fit together: `{path}`")]
    Mismatch {
        /// The key's file.
        path: PathBuf,
        /// The misfit.
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

/// The files of certificate and key, both PEM.
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

    /// The files it was read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The time for which it is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The chain with its key, for the TLS library.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
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
    let file = keepgate_files::open(path).map_err(|error| failed(pem::Error::Io(error)))?;
    let chain = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(chain)
}
