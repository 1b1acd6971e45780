//! The API keys on disk: `keys.json` (what is known of each key) and `keys.secret` (what their hashes are keyed with).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keepgate_call::{ServerName, Tenant};
use keepgate_files::FileError;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::key::{self, Digest, KeyId, Pepper, Presented, RandomError};

mod table;

pub(crate) use table::{Known, Table};

/// Version of the file's form that is written, and the only one that is read.
const VERSION: u32 = 1;
/// Longest subject, role or scope, in bytes.
const LONGEST_NAME: usize = 128;
/// Most roles, scopes or servers of one key.
const MOST_NAMES: usize = 64;

/// Why the key store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// One of the two files could not be read or written.
    #[error("failed to use the key store")]
    File(#[source] FileError),
    /// `keys.json` is not what Keepgate writes.
    #[error("key file cannot be read, restore it from a backup: `{path}`")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// `keys.json` is JSON, but an entry of it makes no sense.
    #[error("key file has an unusable {what}, restore it from a backup: `{path}`")]
    Entry {
        /// Which file.
        path: PathBuf,
        /// Which part of an entry.
        what: &'static str,
    },
    /// `keys.json` was written by another version of Keepgate.
    #[error("key file has version {version}, this keepgate reads version {VERSION}: `{path}`")]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it names.
        version: u32,
    },
    /// There is a secret but no `keys.json`: it was made together with it and has vanished.
    #[error(
        "key file is gone: restore it from a backup, or make the first key of a new one with `keepgate keys create \
         --new-file`, after which no earlier key opens anything: `{path}`"
    )]
    Gone {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A new key file was asked for, and there is one.
    #[error("key file is there, leave `--new-file` out to add to it: `{path}`")]
    Present {
        /// The file that would be replaced.
        path: PathBuf,
    },
    /// There are keys, but the secret their hashes were made with is gone: no key can be right any more.
    #[error(
        "secret of the key hashes is missing while there are keys, restore it or delete the keys: `{path}`"
    )]
    SecretMissing {
        /// Where the secret should be.
        path: PathBuf,
    },
    /// The secret is not 32 bytes long.
    #[error("secret of the key hashes is damaged, restore it from a backup: `{path}`")]
    SecretDamaged {
        /// Which file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("failed to make a key")]
    Random(#[source] RandomError),
    /// What a new key was to carry is not acceptable.
    #[error("{what} is not acceptable ({rule}): `{value}`")]
    Request {
        /// Which property.
        what: &'static str,
        /// What it has to be.
        rule: &'static str,
        /// What it was.
        value: String,
    },
    /// No key has this id.
    #[error("no key has this id: `{id}`")]
    Unknown {
        /// The id looked for.
        id: String,
    },
}

impl From<FileError> for StoreError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// What a new key is to be.
#[derive(Debug, Clone, Default)]
pub struct KeyRequest {
    /// Who will use it: the caller's subject in policies and records.
    pub subject: String,
    /// The person it belongs to, who may not approve its calls; an operator's name, or a name of no operator.
    pub owner: Option<String>,
    /// Roles that policies see.
    pub roles: Vec<String>,
    /// Scopes that policies see.
    pub scopes: Vec<String>,
    /// Tenant the caller belongs to; empty means the default tenant.
    pub tenant: String,
    /// Servers the key may reach at all; `None` leaves that to policies alone.
    pub servers: Option<Vec<String>>,
    /// End of its life; `None` for a key that lasts until it is revoked.
    pub expires: Option<SystemTime>,
}

/// What is known of a key; never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Public half of the key, as records name it.
    pub id: String,
    /// Who uses it.
    pub subject: String,
    /// The person it belongs to.
    pub owner: Option<String>,
    /// Roles, sorted.
    pub roles: Vec<String>,
    /// Scopes, sorted.
    pub scopes: Vec<String>,
    /// Tenant of the caller.
    pub tenant: String,
    /// Servers the key may reach, sorted; `None` leaves that to policies.
    pub servers: Option<Vec<String>>,
    /// When it was made.
    pub created: SystemTime,
    /// When it ends, if ever.
    pub expires: Option<SystemTime>,
    /// When it was revoked, if it was.
    pub revoked: Option<SystemTime>,
}

/// Whether a key opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It does.
    Active,
    /// Its time is over.
    Expired,
    /// Someone revoked it.
    Revoked,
}

impl KeyStatus {
    /// The word for lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl ApiKey {
    /// Whether the key opens anything at `now`.
    pub fn status(&self, now: SystemTime) -> KeyStatus {
        match (self.revoked, self.expires) {
            (Some(_), _) => KeyStatus::Revoked,
            (None, Some(end)) if end <= now => KeyStatus::Expired,
            (None, _) => KeyStatus::Active,
        }
    }
}

/// A key that was just made. Printed by `Debug` without its secret.
pub struct CreatedKey {
    /// What is kept of it.
    pub key: ApiKey,
    /// The key itself: to be shown once and forgotten.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("CreatedKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The keys of one state directory.
#[derive(Debug)]
pub struct ApiKeys {
    directory: PathBuf,
    pepper: Pepper,
}

impl ApiKeys {
    /// File with what is known of each key.
    pub const FILE: &str = "keys.json";
    /// File with the secret that keys the hashes.
    pub const SECRET_FILE: &str = "keys.secret";

    /// Opens the store in `state_directory`; makes the directory (0700) and the secret (0600) when they are not there.
    ///
    /// # Errors
    /// [`StoreError`]: a file that cannot be used, or keys whose secret is gone.
    pub fn open(state_directory: &Path) -> Result<Self, StoreError> {
        keepgate_files::create_directory(state_directory)?;
        let path = state_directory.join(Self::SECRET_FILE);
        let bytes = keepgate_files::read_or_create(&path, || {
            let keys = state_directory.join(Self::FILE);
            match read_file(&keys)? {
                // Before the secret: a secret without it means that it has vanished.
                None => write_entries(&keys, Vec::new())?,
                Some(entries) if entries.is_empty() => {}
                Some(_) => return Err(StoreError::SecretMissing { path: path.clone() }),
            }
            Pepper::generate().map_err(StoreError::Random)
        })?;
        let pepper = Pepper::new(&bytes).ok_or(StoreError::SecretDamaged { path })?;
        let store = Self {
            directory: state_directory.to_path_buf(),
            pepper,
        };
        // A damaged key file must be found now, not when the first call comes. One that is gone lets nobody in.
        match store.table() {
            Ok(_) | Err(StoreError::Gone { .. }) => Ok(store),
            Err(error) => Err(error),
        }
    }

    /// Makes a key and stores its hash, on disk before this returns.
    ///
    /// # Errors
    /// [`StoreError::Request`] for an unusable wish, others when the store cannot be used.
    pub fn create(&self, request: KeyRequest, now: SystemTime) -> Result<CreatedKey, StoreError> {
        let secret = key::generate().map_err(StoreError::Random)?;
        let presented = Presented::parse(secret.as_bytes())
            .ok_or_else(|| StoreError::SecretDamaged { path: self.file() })?;
        let entry = Entry::new(request, &presented, self.pepper.digest(&presented), now)?;
        let key = entry.to_key(&self.file())?;
        let _lock = keepgate_files::lock(&self.directory)?;
        let mut entries = read_entries(&self.file())?;
        entries.push(entry);
        self.write(entries)?;
        Ok(CreatedKey { key, secret })
    }

    /// Makes an empty key file in place of one that has vanished: no earlier key opens anything from now on.
    ///
    /// # Errors
    /// [`StoreError::Present`] when nothing has vanished, others when the store cannot be used.
    pub fn begin(&self) -> Result<(), StoreError> {
        let _lock = keepgate_files::lock(&self.directory)?;
        let path = self.file();
        match read_file(&path)? {
            Some(_) => Err(StoreError::Present { path }),
            None => self.write(Vec::new()),
        }
    }

    /// All keys, oldest first, the dead ones too.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        let path = self.file();
        read_entries(&path)?
            .iter()
            .map(|entry| entry.to_key(&path))
            .collect()
    }

    /// Ends the key with this id, on disk before this returns. A key that was revoked before keeps its first date.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when there is none, others when the store cannot be used.
    pub fn revoke(&self, id: &str, now: SystemTime) -> Result<ApiKey, StoreError> {
        let _lock = keepgate_files::lock(&self.directory)?;
        let mut entries = read_entries(&self.file())?;
        let Some(entry) = entries.iter_mut().find(|entry| entry.id == id) else {
            return Err(StoreError::Unknown { id: id.to_owned() });
        };
        if entry.revoked.is_none() {
            entry.revoked = Some(to_text(now));
        }
        let key = entry.to_key(&self.file())?;
        self.write(entries)?;
        Ok(key)
    }

    /// Whether there is a key file.
    pub(crate) fn is_there(&self) -> bool {
        self.file().exists()
    }

    /// Path of the key file.
    fn file(&self) -> PathBuf {
        self.directory.join(Self::FILE)
    }

    /// Replaces the key file.
    fn write(&self, keys: Vec<Entry>) -> Result<(), StoreError> {
        write_entries(&self.file(), keys)
    }

    /// The table the gateway finds keys in, from the file as it is now; [`StoreError::Gone`] without one.
    pub(crate) fn table(&self) -> Result<Table, StoreError> {
        let path = self.file();
        let mut keys = HashMap::new();
        for entry in read_entries(&path)? {
            let malformed = |what| StoreError::Entry {
                path: path.clone(),
                what,
            };
            let id: KeyId = entry
                .id
                .as_bytes()
                .try_into()
                .map_err(|_| malformed("id"))?;
            let digest =
                key::digest_from_hexadecimal(&entry.hash).ok_or_else(|| malformed("hash"))?;
            let known = Known::new(digest, entry.to_key(&path)?);
            if keys.insert(id, known).is_some() {
                return Err(malformed("id (it stands there twice)"));
            }
        }
        Ok(Table { keys })
    }

    /// Hash of a presented key.
    pub(crate) fn digest(&self, presented: &Presented<'_>) -> Digest {
        self.pepper.digest(presented)
    }
}

/// The file `keys.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    keys: Vec<Entry>,
}

/// Only the version, read first so that a newer file gets the right message.
#[derive(Deserialize)]
struct KeyFileVersion {
    version: u32,
}

/// One key in the file. Times are RFC 3339, UTC.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    roles: Vec<String>,
    scopes: Vec<String>,
    tenant: String,
    servers: Option<Vec<String>>,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
    hash: String,
}

impl Entry {
    /// Checks the wish and makes the entry.
    fn new(
        request: KeyRequest,
        presented: &Presented<'_>,
        digest: Digest,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let tenant = if request.tenant.is_empty() {
            Tenant::DEFAULT.to_owned()
        } else {
            request.tenant
        };
        check_name("subject", &request.subject)?;
        check_name("tenant", &tenant)?;
        if let Some(owner) = &request.owner {
            check_name("owner", owner)?;
        }
        let roles = sorted("role", request.roles, check_name)?;
        let scopes = sorted("scope", request.scopes, check_name)?;
        let servers = request
            .servers
            .map(|servers| sorted("server", servers, check_server))
            .transpose()?;
        if let Some(end) = request.expires
            && end <= now
        {
            let rule = "it has to lie in the future";
            return Err(StoreError::Request {
                what: "expiry",
                rule,
                value: to_text(end),
            });
        }
        Ok(Self {
            id: String::from_utf8_lossy(&presented.id).into_owned(),
            subject: request.subject,
            owner: request.owner,
            roles,
            scopes,
            tenant,
            servers,
            created: to_text(now),
            expires: request.expires.map(to_text),
            revoked: None,
            hash: key::hexadecimal(&digest),
        })
    }

    /// What lists and the hot path are made from.
    fn to_key(&self, path: &Path) -> Result<ApiKey, StoreError> {
        let time = |what, text: &str| {
            let parsed = OffsetDateTime::parse(text, &Rfc3339);
            parsed.map(SystemTime::from).map_err(|_| StoreError::Entry {
                path: path.to_path_buf(),
                what,
            })
        };
        Ok(ApiKey {
            id: self.id.clone(),
            subject: self.subject.clone(),
            owner: self.owner.clone(),
            roles: self.roles.clone(),
            scopes: self.scopes.clone(),
            tenant: self.tenant.clone(),
            servers: self.servers.clone(),
            created: time("creation time", &self.created)?,
            expires: self
                .expires
                .as_deref()
                .map(|text| time("expiry", text))
                .transpose()?,
            revoked: self
                .revoked
                .as_deref()
                .map(|text| time("revocation time", text))
                .transpose()?,
        })
    }
}

/// Reads the key file, which was made with the secret.
fn read_entries(path: &Path) -> Result<Vec<Entry>, StoreError> {
    read_file(path)?.ok_or_else(|| StoreError::Gone {
        path: path.to_path_buf(),
    })
}

/// Replaces the key file.
fn write_entries(path: &Path, keys: Vec<Entry>) -> Result<(), StoreError> {
    let content = KeyFile {
        version: VERSION,
        keys,
    };
    let mut bytes =
        serde_json::to_vec_pretty(&content).map_err(|source| StoreError::Malformed {
            path: path.to_path_buf(),
            source,
        })?;
    bytes.push(b'\n');
    Ok(keepgate_files::replace(path, &bytes)?)
}

/// Reads the key file; `None` without one.
fn read_file(path: &Path) -> Result<Option<Vec<Entry>>, StoreError> {
    let Some(bytes) = keepgate_files::read(path)? else {
        return Ok(None);
    };
    let malformed = |source| StoreError::Malformed {
        path: path.to_path_buf(),
        source,
    };
    let KeyFileVersion { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(StoreError::Version {
            path: path.to_path_buf(),
            version,
        });
    }
    let file: KeyFile = serde_json::from_slice(&bytes).map_err(malformed)?;
    Ok(Some(file.keys))
}

/// Accepts what can stand in a record, a header and a policy without being mistaken for something else.
fn check_name(what: &'static str, value: &str) -> Result<(), StoreError> {
    let plain = value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'`'));
    if value.is_empty() || value.len() > LONGEST_NAME || !plain {
        let rule = "1 to 128 printable ASCII characters without spaces, quotes and backslashes";
        return Err(StoreError::Request {
            what,
            rule,
            value: value.escape_default().to_string(),
        });
    }
    Ok(())
}

/// Accepts names a server of the configuration can have.
fn check_server(what: &'static str, value: &str) -> Result<(), StoreError> {
    if ServerName::parse(value).is_none() {
        let rule = "the name of a server as the configuration has it";
        return Err(StoreError::Request {
            what,
            rule,
            value: value.escape_default().to_string(),
        });
    }
    Ok(())
}

/// Checks each name and brings them into one order, each once.
fn sorted(
    what: &'static str,
    mut names: Vec<String>,
    check: fn(&'static str, &str) -> Result<(), StoreError>,
) -> Result<Vec<String>, StoreError> {
    names.iter().try_for_each(|name| check(what, name))?;
    if names.len() > MOST_NAMES {
        return Err(StoreError::Request {
            what,
            rule: "at most 64 of them",
            value: names.len().to_string(),
        });
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// A time in RFC 3339, UTC, whole seconds.
fn to_text(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    time.replace_nanosecond(0)
        .unwrap_or(time)
        .format(&Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
