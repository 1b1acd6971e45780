//! The key of the store: seals what is asked for, and keys the digests.

use std::{fmt, path::Path};

use keepgate_call::Tenant;
use keepgate_files::FileError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Directory of the key in the state directory.
const DIRECTORY: &str = "private";
/// Name of the key's file.
pub(crate) const FILE: &str = "store.key";
/// Name of the file of the key that is to follow, while rows are sealed again.
const NEXT: &str = "store.key.next";
/// Bytes of the key.
const LENGTH: usize = 32;

/// Reason there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file could not be read or made.
    #[error("failed to use the key of the approvals store")]
    File(#[from] FileError),
    /// The file is not a key.
    #[error("file has not the {LENGTH} bytes of a key: `{0}`")]
    Malformed(Box<str>),
    /// The system gave no random bytes.
    #[error("failed to read random bytes from the system")]
    Random(#[source] getrandom::Error),
}

/// The key of the store. Shows nothing of itself but its id.
pub struct StoreKey {
    seal: LessSafeKey,
    digests: Zeroizing<[u8; LENGTH]>,
    id: Box<str>,
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StoreKey");
        debug.field("id", &self.id).finish_non_exhaustive()
    }
}

impl StoreKey {
    /// Reads the key of `state_directory`; `None` when there is none.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn read(state_directory: &Path) -> Result<Option<Self>, KeyError> {
        Self::read_file(&state_directory.join(DIRECTORY).join(FILE))
    }

    /// Reads the key that is to follow, if a change of keys has begun.
    pub(crate) fn read_next(state_directory: &Path) -> Result<Option<Self>, KeyError> {
        Self::read_file(&state_directory.join(DIRECTORY).join(NEXT))
    }

    fn read_file(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(bytes) = keepgate_files::read(path)? else {
            return Ok(None);
        };
        Self::parse(&bytes, path).map(Some)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed(path.display().to_string().into());
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| malformed())?;
        Self::new(bytes).ok_or_else(malformed)
    }

    /// Reads the key of `state_directory`, or makes it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn read_or_make(state_directory: &Path) -> Result<Self, KeyError> {
        Self::make_in(state_directory, FILE)
    }

    /// Makes the key that is to follow, unless an earlier change that was cut off has made it. Durable when this returns.
    pub(crate) fn make_next(state_directory: &Path) -> Result<Self, KeyError> {
        Self::make_in(state_directory, NEXT)
    }

    fn make_in(state_directory: &Path, file: &str) -> Result<Self, KeyError> {
        let directory = state_directory.join(DIRECTORY);
        keepgate_files::create_directory(&directory)?;
        let path = directory.join(file);
        let bytes = keepgate_files::read_or_create(&path, || {
            let mut bytes = Zeroizing::new(vec![0; LENGTH]);
            getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
            Ok::<_, KeyError>(bytes)
        })?;
        Self::parse(&bytes, &path)
    }

    /// Puts the key that is to follow in the place of the key. A crash leaves both or the new one.
    pub(crate) fn promote_next(state_directory: &Path) -> Result<(), KeyError> {
        let directory = state_directory.join(DIRECTORY);
        let next = directory.join(NEXT);
        let Some(bytes) = keepgate_files::read(&next)? else {
            return Ok(());
        };
        keepgate_files::replace(&directory.join(FILE), &bytes)?;
        std::fs::remove_file(&next).map_err(FileError::io("remove", &next))?;
        Ok(())
    }

    fn new(bytes: &[u8; LENGTH]) -> Option<Self> {
        let derive = |context| Zeroizing::new(blake3::derive_key(context, bytes));
        let seal = derive("keepgate 2026 approvals, sealed rows");
        let id = derive("keepgate 2026 approvals, id of the key");
        let id: String = id
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Self {
            seal: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*seal).ok()?),
            digests: derive("keepgate 2026 approvals, digests of calls"),
            id: id.into(),
        })
    }

    /// The id, which is in each row it has sealed.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Seals `plain` for the row of this tenant and id; no other row opens it. `None` when the system gives no random bytes.
    pub(crate) fn seal(&self, tenant: &Tenant, id: &str, plain: &[u8]) -> Option<Box<[u8]>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut sealed = nonce.to_vec();
        let mut body = plain.to_vec();
        let bound = bound(tenant, id);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.seal
            .seal_in_place_append_tag(nonce, Aad::from(&bound), &mut body)
            .ok()?;
        sealed.append(&mut body);
        Some(sealed.into())
    }

    /// Opens what [`Self::seal`] made for this row.
    pub(crate) fn open_row(&self, tenant: &Tenant, id: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let bound = bound(tenant, id);
        let opened = self.seal.open_in_place(nonce, Aad::from(&bound), &mut body);
        let length = opened.ok()?.len();
        body.truncate(length);
        Some(body)
    }

    /// The key of a tenant's digests.
    pub(crate) fn digest_key(&self, tenant: &Tenant) -> [u8; 32] {
        *blake3::keyed_hash(&self.digests, tenant.as_str().as_bytes()).as_bytes()
    }
}

/// Data a sealed row is bound to. A tenant's name has no NUL.
fn bound(tenant: &Tenant, id: &str) -> Vec<u8> {
    [tenant.as_str().as_bytes(), &[0], id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use keepgate_call::Tenant;

    use super::StoreKey;

    #[test]
    fn a_sealed_row_opens_only_as_itself() {
        let state = tempfile::tempdir().expect("a directory");
        let key = StoreKey::read_or_make(state.path()).expect("a key");
        let (tenant, other) = (Tenant::new("a"), Tenant::new("b"));
        let sealed = key.seal(&tenant, "ap_1", b"the call").expect("sealed");
        assert_eq!(
            key.open_row(&tenant, "ap_1", &sealed).as_deref(),
            Some(&b"the call"[..])
        );
        assert_eq!(key.open_row(&other, "ap_1", &sealed), None);
        assert_eq!(key.open_row(&tenant, "ap_2", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open_row(&tenant, "ap_1", &changed), None, "{at}");
            assert_eq!(key.open_row(&tenant, "ap_1", &sealed[..at]), None, "{at}");
        }
        let again = StoreKey::read_or_make(state.path()).expect("the same");
        assert_eq!(again.id(), key.id());
        assert!(again.open_row(&tenant, "ap_1", &sealed).is_some());
    }
}
