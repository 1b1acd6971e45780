//! The log's keys: Ed25519 for checkpoints (C2SP signed-note), and a secret for digests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keepgate_files::FileError;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use zeroize::Zeroizing;

/// Path of the secret key in the log's directory.
const SIGNING_KEY: &str = "private/signing.key";
/// Name of the public key in the directory of a log: everybody may read it.
pub const PUBLIC_KEY_FILE: &str = "log.pub";

/// Why a key could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file could not be read or written, or is open to others.
    #[error("failed to use a key of the log")]
    File(#[source] FileError),
    /// The text is not a key of the form `origin+id+base64`.
    #[error("not a key of a log: `{path}`")]
    Malformed {
        /// The file, or `-` for a key given as text.
        path: PathBuf,
    },
    /// The log has records but its key is gone. A new key would hide that.
    #[error("the log has records but its key is gone: `{path}`")]
    Gone {
        /// The file that should be there.
        path: PathBuf,
    },
    /// Public and secret key do not belong together.
    #[error("the public key is not that of the secret key: `{path}`")]
    Mismatch {
        /// The public key's file.
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
        let text = fs::read_to_string(path).map_err(file("read", path))?;
        Self::parse(&text).map_err(|_malformed| KeyError::Malformed { path: path.into() })
    }

    /// Reads the key from its text form; white space around it is let go.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] when it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let key = Self {
            text: text.trim().to_owned(),
        };
        match StandardVerifier::new(&key.text) {
            Ok(_verifier) => Ok(key),
            Err(_malformed) => Err(KeyError::Malformed { path: "-".into() }),
        }
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the log this key signs for.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.text
            .split_once('+')
            .map_or(self.text.as_str(), |(origin, _rest)| origin)
    }

    /// The list of verifiers with this key alone.
    pub(crate) fn verifiers(&self) -> VerifierList {
        match StandardVerifier::new(&self.text) {
            Ok(verifier) => VerifierList::new(vec![Box::new(verifier)]),
            // Cannot be, `parse` looked; without a verifier nothing verifies.
            Err(_malformed) => VerifierList::new(Vec::new()),
        }
    }
}

/// Everything secret of a log, and the public key.
pub(crate) struct Keys {
    pub(crate) signer: StandardSigner,
    pub(crate) public: PublicKey,
    pub(crate) digest: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Loads the keys of the log in `directory`, or makes them if the log is new.
    pub(crate) fn load_or_create(
        directory: &Path,
        origin: &str,
        new: bool,
    ) -> Result<Self, KeyError> {
        let secret_path = directory.join(SIGNING_KEY);
        let digest_path = directory.join("private/digest.key");
        let public_path = directory.join(PUBLIC_KEY_FILE);
        if !exists(&secret_path)? {
            if !new {
                return Err(KeyError::Gone { path: secret_path });
            }
            create(origin, &secret_path, &digest_path)?;
        }
        // The public key stands in the secret file too: `log.pub` lies open and is only a copy.
        let (signer, public) = load_pair(&secret_path)?;
        publish(&public, &public_path)?;
        let mut digest = Zeroizing::new([0; 32]);
        let text = load_secret(&digest_path)?;
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text.trim(), digest.as_mut_slice());
        if length != Ok(32) {
            return Err(KeyError::Malformed { path: digest_path });
        }
        Ok(Self {
            signer,
            public,
            digest,
        })
    }
}

/// The name a log's keys were made for, or `None` when no keys were made yet.
///
/// Its secret file decides: `log.pub` is a copy, which an interrupted first start has not made yet and a backup may lack.
///
/// # Errors
///
/// [`KeyError`] when a key is there but cannot be used.
pub fn origin_of(directory: &Path) -> Result<Option<String>, KeyError> {
    let secret_path = directory.join(SIGNING_KEY);
    if exists(&secret_path)? {
        let (_signer, public) = load_pair(&secret_path)?;
        return Ok(Some(public.origin().to_owned()));
    }
    // Without the secret the log cannot go on, and saying under which name is for the error that follows.
    let public_path = directory.join(PUBLIC_KEY_FILE);
    match exists(&public_path)? {
        true => Ok(Some(PublicKey::load(&public_path)?.origin().to_owned())),
        false => Ok(None),
    }
}

/// Reads the signing key and its public key.
fn load_pair(secret_path: &Path) -> Result<(StandardSigner, PublicKey), KeyError> {
    let text = load_secret(secret_path)?;
    let malformed = || KeyError::Malformed {
        path: secret_path.to_owned(),
    };
    let (secret, public) = text.split_once('\n').ok_or_else(malformed)?;
    let signer = StandardSigner::new(secret).map_err(|_unusable| malformed())?;
    let public = PublicKey::parse(public).map_err(|_unusable| malformed())?;
    if !belong_together(&signer, &public) {
        return Err(KeyError::Mismatch {
            path: secret_path.to_owned(),
        });
    }
    Ok((signer, public))
}

/// Makes both keys. The signing key comes last: with it the log has its keys.
fn create(origin: &str, secret_path: &Path, digest_path: &Path) -> Result<(), KeyError> {
    let mut digest = Zeroizing::new([0; 32]);
    getrandom::fill(digest.as_mut_slice())
        .map_err(|source| file("make", digest_path)(io::Error::other(source)))?;
    let digest = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(digest.as_slice()));
    keepgate_files::replace(digest_path, digest.as_bytes())?;
    let (secret, public) = signed_note::generate_key(&mut rand_core::OsRng, origin);
    let secret = Zeroizing::new(secret);
    let text = Zeroizing::new(format!("{}\n{public}\n", *secret));
    Ok(keepgate_files::replace(secret_path, text.as_bytes())?)
}

/// Puts the public key where everybody may read it; refuses if another one lies there.
fn publish(public: &PublicKey, path: &Path) -> Result<(), KeyError> {
    if exists(path)? {
        return match PublicKey::load(path)? == *public {
            true => Ok(()),
            false => Err(KeyError::Mismatch { path: path.into() }),
        };
    }
    let text = format!("{}\n", public.as_str());
    Ok(keepgate_files::replace_public(path, text.as_bytes())?)
}

fn belong_together(signer: &StandardSigner, public: &PublicKey) -> bool {
    let Ok(mut note) = Note::new(b"keepgate\n", &[]) else {
        return false;
    };
    note.add_sigs(&[signer]).is_ok() && note.verify(&public.verifiers()).is_ok()
}

fn load_secret(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let malformed = || KeyError::Malformed { path: path.into() };
    let gone = || file("open", path)(io::ErrorKind::NotFound.into());
    let mut bytes = keepgate_files::read(path)?.ok_or_else(gone)?;
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(malformed())
        }
    }
}

fn exists(path: &Path) -> Result<bool, KeyError> {
    path.try_exists().map_err(file("look for", path))
}

fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let error = FileError::io(act, path);
    move |source| KeyError::File(error(source))
}

impl From<FileError> for KeyError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("private")).unwrap();
        directory
    }

    #[test]
    fn keys_are_made_once_and_kept() {
        let at = directory();
        let first = Keys::load_or_create(at.path(), "gate.example/a", true).unwrap();
        let again = Keys::load_or_create(at.path(), "gate.example/a", false).unwrap();
        assert_eq!(first.public, again.public);
        assert_eq!(*first.digest, *again.digest);
        assert_eq!(first.public.origin(), "gate.example/a");
        let mode = |name: &str| {
            fs::metadata(at.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode("private/signing.key"), 0o600);
        assert_eq!(mode("private/digest.key"), 0o600);
        assert_eq!(mode("log.pub"), 0o644);
        assert_eq!(
            PublicKey::load(&at.path().join("log.pub")).unwrap(),
            first.public
        );
    }

    #[test]
    fn a_key_that_is_gone_open_to_others_or_exchanged_is_refused() {
        let at = directory();
        let load = |new| {
            Keys::load_or_create(at.path(), "gate.example/a", new)
                .map(|_| ())
                .unwrap_err()
        };
        assert!(matches!(load(false), KeyError::Gone { .. }));

        Keys::load_or_create(at.path(), "gate.example/a", true).unwrap();
        let secret = at.path().join("private/signing.key");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o604)).unwrap();
        assert!(matches!(
            load(false),
            KeyError::File(FileError::Exposed { mode: 0o604, .. })
        ));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();

        let other = directory();
        let other = Keys::load_or_create(other.path(), "gate.example/a", true).unwrap();
        fs::write(at.path().join("log.pub"), other.public.as_str()).unwrap();
        assert!(matches!(load(false), KeyError::Mismatch { .. }));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "gate.example",
            "gate.example+00000000+AQ==",
            "PRIVATE+KEY+a+b+c",
        ] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
    }
}
