//! The log's keys: Ed25519 for checkpoints, a secret for digests.

use std::path::{Path, PathBuf};

/// Why a key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("failed to use key file: `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The text is not a key of the form `origin+id+base64`.
    #[error("not a key of a log: `{path}`")]
    Malformed {
        /// The file, or `-` for a key given as text.
        path: PathBuf,
    },
}

/// The public key of a log: `origin+id+base64` (C2SP signed-note).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    text: String,
}

impl PublicKey {
    /// Reads the key from a file such as `<directory>/log.pub`.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the file cannot be read or holds no key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = std::fs::read_to_string(path).map_err(|source| KeyError::File {
            path: path.into(),
            source,
        })?;
        Self::parse(&text).map_err(|_| KeyError::Malformed { path: path.into() })
    }

    /// Reads the key from its text form.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] when it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Ok(Self {
            text: text.trim().to_owned(),
        })
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the log this key signs for.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text.split('+').next().unwrap_or_default()
    }
}
