//! Bundles as a run is told of them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use keepgate_credential::Reference;
use keepgate_jose::{Algorithm, KeyError, VerifyingKey};
use keepgate_net::Egress;
use keepgate_policy::Source;
use keepgate_policy::bundle::{BundleSource, Trusted, Verification};

/// Largest file of a secret key that is read, in bytes.
const MAX_SECRET: u64 = 1 << 20;

/// One bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The tenant whose callers it is for; none for all.
    pub tenant: Option<String>,
    /// Where it is.
    pub place: Place,
    /// The keys that may have signed it; none for a bundle that is not signed.
    pub keys: Vec<Key>,
}

/// Where a bundle is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few of them, and most are of the large kind"
)]
pub enum Place {
    /// In a file.
    File(PathBuf),
    /// At a URL.
    Http(Remote),
}

/// How a bundle is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// From where.
    pub url: Uri,
    /// What is shown as a bearer token.
    pub credential: Option<Reference>,
    /// Certificates to trust besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
    /// The shortest and the longest pause between two looks.
    pub pause: (Duration, Duration),
    /// How long the server may hold its answer back until there is something new.
    pub wait: Option<Duration>,
}

/// A key that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its file.
    pub file: PathBuf,
    /// What it is for.
    pub algorithm: Algorithm,
    /// What the signature must call it.
    pub id: Option<String>,
    /// What the signature must be for.
    pub scope: Option<String>,
}

/// Why a key is not read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system said no.
    #[error("failed to read `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The file of a secret key could not be read, or is open to others.
    #[error("failed to read a key that is a secret")]
    Secret(#[source] keepgate_files::FileError),
    /// There is no such key in it.
    #[error("not a key that can be used: `{path}`")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: KeyError,
    },
    /// Which key is meant would not be clear.
    #[error("several keys need an `id` each, no two the same")]
    Ids,
}

impl Key {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn read(&self) -> Result<VerifyingKey, KeyFileError> {
        let path = || self.file.clone();
        let read = if self.algorithm.is_symmetric() {
            let secret = keepgate_files::read_secret(&self.file, MAX_SECRET);
            VerifyingKey::read(self.algorithm, &secret.map_err(KeyFileError::Secret)?)
        } else {
            let mut bytes = Vec::new();
            keepgate_files::open(&self.file)
                .and_then(|file| file.take(MAX_SECRET).read_to_end(&mut bytes))
                .map_err(|source| KeyFileError::Read {
                    path: path(),
                    source,
                })?;
            VerifyingKey::read(self.algorithm, &bytes)
        };
        read.map_err(|source| KeyFileError::Key {
            path: path(),
            source,
        })
    }
}

impl Bundle {
    /// What it is called in messages and in its status.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Http(remote) => remote.url.to_string(),
        }
    }

    /// What a policy is loaded from.
    ///
    /// # Errors
    /// [`KeyFileError`] when a key cannot be read.
    pub fn source(&self) -> Result<Arc<BundleSource>, KeyFileError> {
        let trusted = self.keys.iter().map(|key| {
            Ok(Trusted {
                id: key.id.clone(),
                key: key.read()?,
                scope: key.scope.clone(),
            })
        });
        let trusted = trusted.collect::<Result<Vec<_>, KeyFileError>>()?;
        let verification = if trusted.is_empty() {
            None
        } else {
            Some(Verification::new(trusted).ok_or(KeyFileError::Ids)?)
        };
        Ok(Arc::new(match &self.place {
            Place::File(path) => BundleSource::file(path, verification),
            Place::Http(_) => BundleSource::held(&self.name(), verification),
        }))
    }

    /// Its file, for who watches.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Http(_) => None,
        }
    }
}

impl super::Configuration {
    /// As [`Self::sources`], with the bundles that lie in files; the names of those that would have to be fetched.
    ///
    /// # Errors
    /// [`KeyFileError`] when a key cannot be read.
    pub fn local_sources(&self) -> Result<(keepgate_policy::Sources, Vec<String>), KeyFileError> {
        let mut sources = self.sources();
        let mut remote = Vec::new();
        for bundle in &self.bundles {
            match &bundle.place {
                Place::File(_) => add(&mut sources, bundle, bundle.source()?),
                Place::Http(_) => remote.push(bundle.name()),
            }
        }
        Ok((sources, remote))
    }
}

/// Adds a bundle to the layer it is for.
pub(crate) fn add(
    sources: &mut keepgate_policy::Sources,
    bundle: &Bundle,
    source: Arc<BundleSource>,
) {
    let layer = match &bundle.tenant {
        None => &mut sources.platform,
        Some(tenant) => sources.tenants.entry(tenant.clone()).or_default(),
    };
    layer.push(Source::Bundle(source));
}
