//! The admin token: made at the first start, kept in one file that only its owner may read.

use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keepgate_files::FileError;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Random bytes of a token.
const RANDOM: usize = 32;
/// Shortest token that is accepted, in characters: one an operator chose must not be guessable.
const SHORTEST: usize = 32;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The file could not be read or written.
    #[error("failed to use the admin token")]
    File(#[source] FileError),
    /// The system gave no random bytes.
    #[error("failed to make an admin token")]
    Random(#[source] getrandom::Error),
    /// The file holds no usable token.
    #[error(
        "admin token is shorter than {SHORTEST} characters, remove the file to have one made: `{path}`"
    )]
    Short {
        /// Which file.
        path: PathBuf,
    },
}

impl From<FileError> for TokenError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// The token that opens the operators' pages.
pub struct Token {
    path: PathBuf,
    value: ArcSwap<Zeroizing<Vec<u8>>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Token")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Name of the file in the state directory.
    pub const FILE: &str = "admin-token";

    /// Reads the token of `state_directory`; makes directory (0700) and token (0600) when they are not there.
    ///
    /// # Errors
    /// [`TokenError`] when the file cannot be used or holds something too short.
    pub fn open(state_directory: &Path) -> Result<Self, TokenError> {
        keepgate_files::create_directory(state_directory)?;
        let path = state_directory.join(Self::FILE);
        let value = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { path, value })
    }

    /// Reads the file again, so that a token can be replaced while the gateway runs.
    ///
    /// # Errors
    /// [`TokenError`]; the token known so far then stays.
    pub fn reload(&self) -> Result<(), TokenError> {
        self.value.store(std::sync::Arc::new(read(&self.path)?));
        Ok(())
    }

    /// The file the token is in, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The id of whoever holds it: another for another token, so that what the holder of a replaced one has decided counts no more.
    pub(crate) fn holder(&self) -> String {
        let hash = blake3::hash(&self.value.load());
        holder_id("bootstrap_", hash.to_hex().as_bytes())
    }

    /// Whether the token has this digest, in time that does not depend on where they differ.
    pub(crate) fn has_digest(&self, digest: &[u8; 32]) -> bool {
        let own = blake3::hash(&self.value.load());
        own.as_bytes().ct_eq(digest).into()
    }

    #[cfg(test)]
    fn is(&self, presented: &[u8]) -> bool {
        self.has_digest(blake3::hash(presented).as_bytes())
    }
}

/// The id of the holder of a token, made of the hexadecimal hash of the token, of which it gives nothing away.
pub(crate) fn holder_id(prefix: &str, hash: &[u8]) -> String {
    let id = blake3::derive_key("keepgate 2026 id of an operator", hash);
    let id = blake3::Hash::from_bytes(id).to_hex();
    format!("{prefix}{}", id.get(..24).unwrap_or_default())
}

/// The token in the file, made when there is none; white space around it does not count.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let bytes = keepgate_files::read_or_create(path, || {
        let mut random = Zeroizing::new([0_u8; RANDOM]);
        getrandom::fill(random.as_mut()).map_err(TokenError::Random)?;
        let text = Zeroizing::new(format!("kga_{}\n", URL_SAFE_NO_PAD.encode(random.as_ref())));
        Ok::<_, TokenError>(Zeroizing::new(text.as_bytes().to_vec()))
    })?;
    let token = Zeroizing::new(bytes.trim_ascii().to_vec());
    if token.len() < SHORTEST {
        return Err(TokenError::Short {
            path: path.to_path_buf(),
        });
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn the_first_start_makes_a_private_token_that_stays() {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::open(&directory.path().join("state")).unwrap();
        assert_eq!(fs::metadata(token.path()).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(token.path()).unwrap();
        assert!(
            text.starts_with("kga_") && text.trim().len() == 47,
            "{text}"
        );
        assert!(token.is(text.trim().as_bytes()));
        assert!(!token.is(text.as_bytes()) && !token.is(b"") && !token.is(&text.as_bytes()[..46]));
        assert!(!format!("{token:?}").contains(text.trim()));
        assert!(
            Token::open(&directory.path().join("state"))
                .unwrap()
                .is(text.trim().as_bytes())
        );
    }

    #[test]
    fn a_replaced_token_counts_after_reload_and_a_bad_one_never() {
        let directory = tempfile::tempdir().unwrap();
        let token = Token::open(directory.path()).unwrap();
        let chosen = "c".repeat(SHORTEST);
        fs::write(token.path(), format!("  {chosen}\n")).unwrap();
        token.reload().unwrap();
        assert!(token.is(chosen.as_bytes()));
        for bad in ["", "short"] {
            fs::write(token.path(), bad).unwrap();
            assert!(
                matches!(token.reload(), Err(TokenError::Short { .. })),
                "{bad}"
            );
        }
        fs::write(token.path(), "d".repeat(SHORTEST)).unwrap();
        fs::set_permissions(token.path(), Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            token.reload(),
            Err(TokenError::File(FileError::Exposed { .. }))
        ));
        assert!(token.is(chosen.as_bytes()), "the last good one stays");
    }
}
