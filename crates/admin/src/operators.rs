//! Operators: people with a token and roles each, until a sign-in service says who they are.
//!
//! `operators.json` in the state directory holds names, roles and the hash of each token. A token is 256 random bits, so
//! its plain BLAKE3 hash gives nothing away. Beside them stands `bootstrap`, whoever holds the admin token: it may do
//! everything, and is for the first minutes and for emergencies.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keepgate_approval::Person;
use keepgate_files::FileError;
use keepgate_store::kill::text;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::token::{Token, holder_id};

/// Version of the file's form.
const VERSION: u32 = 1;
/// What every token starts with, so that secret scanners find a leaked one.
const PREFIX: &str = "kgo_";
/// Longest name, in bytes.
const LONGEST: usize = 64;
/// The holder of the admin token.
pub(crate) const BOOTSTRAP: &str = "bootstrap";
/// Header in which whoever holds the admin token names the account that asks; the command line does.
pub const ACCOUNT: &str = "keepgate-account";

/// What an operator is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Sets kills, and clears those of others.
    SecurityResponder,
    /// Sets kills and drills.
    Sre,
    /// Approves and denies calls that wait, and takes approvals back.
    Approver,
    /// Reads.
    Auditor,
}

/// What can be done on the operators' listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To see pages and lists.
    Read,
    /// To ask what a kill would cut.
    Drill,
    /// To set a kill: one person is enough.
    Set,
    /// To clear a kill somebody else set.
    Clear,
    /// To clear a kill one has set oneself.
    ClearOwn,
    /// To approve and deny calls that wait.
    Approve,
    /// To take back an approval.
    Revoke,
    /// To send a test message to a target of notifications.
    Notify,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] = [
        Self::Admin,
        Self::SecurityResponder,
        Self::Sre,
        Self::Approver,
        Self::Auditor,
    ];

    /// The word for files and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::SecurityResponder => "security_responder",
            Self::Sre => "sre",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
        }
    }

    /// The role with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Whether the role allows it.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Drill | Permission::Set | Permission::Notify => {
                matches!(self, Self::Admin | Self::SecurityResponder | Self::Sre)
            }
            Permission::Clear => matches!(self, Self::Admin | Self::SecurityResponder),
            Permission::ClearOwn => matches!(self, Self::Admin),
            Permission::Approve => matches!(self, Self::Admin | Self::Approver),
            Permission::Revoke => {
                matches!(self, Self::Admin | Self::SecurityResponder | Self::Approver)
            }
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Id, which no other operator ever has, also of the same name.
    pub id: Arc<str>,
    /// The name, as records have it.
    pub name: Arc<str>,
    /// The roles, sorted.
    pub roles: Arc<[Role]>,
    /// The groups, sorted; `approve` rules name them.
    pub groups: Arc<[Box<str>]>,
}

impl Operator {
    /// Whether one of the roles allows it.
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.may(permission))
    }

    /// The operator as one who decides: by the proven name, and the claimed account for comparison alone.
    pub(crate) fn person(&self) -> Person {
        let (name, account) = match self.name.split_once(':') {
            Some((name, account)) => (name, Some(Box::<str>::from(account))),
            None => (&*self.name, None),
        };
        let id = match &account {
            Some(account) => format!("{}:{account}", self.id).into(),
            None => (*self.id).into(),
        };
        Person {
            id,
            name: name.into(),
            account,
            groups: self.groups.to_vec(),
        }
    }

    /// Adds the account the holder of the admin token claims to be. The proven part stays in front; a name that an
    /// operator's own token proves takes no claim.
    pub(crate) fn claiming(mut self, account: Option<&str>) -> Self {
        if *self.name == *BOOTSTRAP
            && let Some(account) = account.filter(|account| is_plain(account))
        {
            self.name = format!("{BOOTSTRAP}:{account}").into();
        }
        self
    }
}

/// Why operators could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The file could not be read or written.
    #[error("failed to use the operators' file")]
    File(#[source] FileError),
    /// The file is not what Keepgate writes.
    #[error("operators' file cannot be read, restore it from a backup: `{path}`")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// The file was written by another version.
    #[error(
        "operators' file has version {version}, this keepgate reads version {VERSION}: `{path}`"
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// The version it names.
        version: u32,
    },
    /// The file has vanished: it is made at the first start.
    #[error(
        "operators' file is gone: restore it from a backup, or add the first operator of a new one with `keepgate \
         operators add --new-file`, after which no earlier operator is known: `{path}`"
    )]
    Gone {
        /// The file that should be there.
        path: PathBuf,
    },
    /// A new file was asked for, and there is one.
    #[error("operators' file is there, leave `--new-file` out to add to it: `{path}`")]
    Present {
        /// The file that would be replaced.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("failed to make a token")]
    Random(#[source] getrandom::Error),
    /// The name cannot be one.
    #[error(
        "an operator's name is 1 to 64 letters, digits, `.`, `-`, `_` or `@`, and not one of our own: `{0}`"
    )]
    Name(String),
    /// An operator without a role could do nothing.
    #[error("an operator needs a role: `{0}`")]
    Roles(String),
    /// The group cannot be one.
    #[error("a group is 1 to 64 letters, digits, `.`, `-`, `_` or `@`: `{0}`")]
    Group(String),
    /// The name is taken.
    #[error("there is an operator of this name already: `{0}`")]
    Taken(String),
    /// Nobody active has this name.
    #[error("no operator has this name: `{0}`")]
    Unknown(String),
}

impl From<FileError> for OperatorError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// One operator in the file. Times are RFC 3339, UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The roles, sorted.
    pub roles: Vec<Role>,
    /// The groups, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When it was added.
    pub added: String,
    /// When it was revoked, if it was.
    pub revoked: Option<String>,
    /// Hash of the token, hexadecimal.
    hash: String,
}

impl Entry {
    /// The operator's id. Each has another token, also one who is added again under an old name, so it is made of the token's
    /// hash, of which it gives nothing away.
    pub fn id(&self) -> String {
        holder_id("op_", self.hash.as_bytes())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    operators: Vec<Entry>,
}

/// Only the version, read first so that a newer file gets the right message.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Digest of a token: its holder is found by it again, without the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

/// The operators of one state directory, as the listener asks for them.
#[derive(Debug)]
pub struct Operators {
    directory: PathBuf,
    bootstrap: Arc<Token>,
    known: ArcSwap<KnownOperators>,
}

/// The operators of the file.
#[derive(Debug, Default)]
struct KnownOperators {
    /// Those who are active, with the hash of their tokens.
    active: Vec<([u8; 32], Operator)>,
    /// Every name there is or was.
    names: BTreeSet<Box<str>>,
}

impl Operators {
    /// Name of the file in the state directory.
    pub const FILE: &str = "operators.json";

    /// The operators of `state_directory`, and whoever holds the admin token. In a directory that was in use, a missing file
    /// has vanished ([`Self::is_gone`]); in a new one it is made, without operators.
    ///
    /// # Errors
    /// [`OperatorError`] when the file is there and cannot be used.
    pub fn open(state_directory: &Path, bootstrap: Arc<Token>) -> Result<Self, OperatorError> {
        let known = match known(state_directory) {
            // Nobody but the admin token is known, and that is reported.
            Err(OperatorError::Gone { .. }) => KnownOperators::default(),
            known => known?,
        };
        if !keepgate_store::is_in_use(state_directory) {
            let _lock = keepgate_files::lock(state_directory)?;
            // A command may have been first.
            let operators = read(state_directory)?;
            if !state_directory.join(Self::FILE).exists() {
                write(state_directory, operators)?;
            }
        }
        Ok(Self {
            directory: state_directory.to_path_buf(),
            bootstrap,
            known: ArcSwap::from_pointee(known),
        })
    }

    /// Whether the file has vanished: those read before are known until a restart.
    pub fn is_gone(&self) -> bool {
        !self.directory.join(Self::FILE).exists()
    }

    /// Reads the file again; gives the number of operators.
    ///
    /// # Errors
    /// [`OperatorError`]; those known so far then stay.
    pub fn reload(&self) -> Result<usize, OperatorError> {
        if self.is_gone() {
            let path = self.directory.join(Self::FILE);
            return Err(OperatorError::Gone { path });
        }
        let known = known(&self.directory)?;
        let count = known.active.len();
        self.known.store(Arc::new(known));
        Ok(count)
    }

    /// The admin token.
    pub fn bootstrap(&self) -> &Arc<Token> {
        &self.bootstrap
    }

    /// The person with this id, if they may approve now: by a token that is known still, with the roles of now. Also whoever
    /// holds the admin token, under an account or none.
    pub fn approver(&self, id: &str) -> Option<Person> {
        let account = id.strip_prefix(&*self.bootstrap.holder());
        if let Some(account) = account.filter(|it| it.is_empty() || it.starts_with(':')) {
            return Some(Person {
                id: id.into(),
                name: BOOTSTRAP.into(),
                account: account.strip_prefix(':').map(Into::into),
                groups: Vec::new(),
            });
        }
        let known = self.known.load();
        let mut operators = known.active.iter().map(|(_, operator)| operator);
        let found = operators.find(|operator| *operator.id == *id)?;
        found.may(Permission::Approve).then(|| found.person())
    }

    /// Whether an operator has, or had, this name.
    pub fn is_known(&self, name: &str) -> bool {
        self.known.load().names.contains(name)
    }

    /// The operator who holds this token.
    pub(crate) fn who(&self, presented: &[u8]) -> Option<Operator> {
        self.login(presented).map(|(operator, _)| operator)
    }

    /// The operator who holds this token, and what finds them again.
    pub fn login(&self, presented: &[u8]) -> Option<(Operator, TokenDigest)> {
        let digest = TokenDigest(*blake3::hash(presented).as_bytes());
        self.holder(&digest).map(|operator| (operator, digest))
    }

    /// The operator who holds the token of this digest now, with the roles of now.
    pub fn holder(&self, digest: &TokenDigest) -> Option<Operator> {
        if self.bootstrap.has_digest(&digest.0) {
            return Some(Operator {
                id: self.bootstrap.holder().into(),
                name: BOOTSTRAP.into(),
                roles: [Role::Admin].into(),
                groups: Arc::from([]),
            });
        }
        let known = self.known.load();
        // Every hash is looked at, each in time that does not depend on where it differs.
        let mut found = None;
        for (known, operator) in &known.active {
            if bool::from(known.ct_eq(&digest.0)) {
                found = Some(operator);
            }
        }
        found.cloned()
    }
}

/// The operators of the file.
fn known(directory: &Path) -> Result<KnownOperators, OperatorError> {
    let entries = read(directory)?;
    let names = entries.iter().map(|entry| (*entry.name).into()).collect();
    let active = entries.into_iter().filter(|entry| entry.revoked.is_none());
    let hashed = active.filter_map(|entry| {
        let hash = blake3::Hash::from_hex(entry.hash.as_bytes()).ok()?;
        let operator = Operator {
            id: entry.id().into(),
            name: entry.name.into(),
            roles: entry.roles.into(),
            groups: entry.groups.into_iter().map(Into::into).collect(),
        };
        Some((*hash.as_bytes(), operator))
    });
    let active = hashed.collect();
    Ok(KnownOperators { active, names })
}

/// Every operator of the file, revoked ones too.
///
/// # Errors
/// [`OperatorError`] when the file has vanished or cannot be read.
pub fn read(state_directory: &Path) -> Result<Vec<Entry>, OperatorError> {
    let path = state_directory.join(Operators::FILE);
    let Some(bytes) = keepgate_files::read(&path)? else {
        return if keepgate_store::is_in_use(state_directory) {
            Err(OperatorError::Gone { path })
        } else {
            Ok(Vec::new())
        };
    };
    let malformed = |source| OperatorError::Malformed {
        path: path.clone(),
        source,
    };
    let Versioned { version } = serde_json::from_slice(&bytes).map_err(malformed)?;
    if version != VERSION {
        return Err(OperatorError::Version { path, version });
    }
    let file: File = serde_json::from_slice(&bytes).map_err(malformed)?;
    Ok(file.operators)
}

fn write(state_directory: &Path, operators: Vec<Entry>) -> Result<(), OperatorError> {
    let path = state_directory.join(Operators::FILE);
    let file = File {
        version: VERSION,
        operators,
    };
    let mut bytes =
        serde_json::to_vec_pretty(&file).map_err(|source| OperatorError::Malformed {
            path: path.clone(),
            source,
        })?;
    bytes.push(b'\n');
    Ok(keepgate_files::replace(&path, &bytes)?)
}

/// Makes an empty file in place of one that has vanished: nobody of the earlier one is known from now on.
///
/// # Errors
/// [`OperatorError::Present`] when nothing has vanished, others when the file cannot be used.
pub fn begin(state_directory: &Path) -> Result<(), OperatorError> {
    let _lock = keepgate_files::lock(state_directory)?;
    match read(state_directory) {
        Err(OperatorError::Gone { .. }) => write(state_directory, Vec::new()),
        Ok(_) => Err(OperatorError::Present {
            path: state_directory.join(Operators::FILE),
        }),
        Err(error) => Err(error),
    }
}

/// Adds an operator and gives the token, this once; on disk before it returns. A name that was revoked can be given anew.
///
/// # Errors
/// [`OperatorError`] for a name or roles that cannot be, or a file that cannot be used.
pub fn add(
    state_directory: &Path,
    name: &str,
    mut roles: Vec<Role>,
    mut groups: Vec<String>,
    now: SystemTime,
) -> Result<(Entry, Zeroizing<String>), OperatorError> {
    if !is_name(name) {
        return Err(OperatorError::Name(name.to_owned()));
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return Err(OperatorError::Roles(name.to_owned()));
    }
    groups.sort_unstable();
    groups.dedup();
    if let Some(group) = groups.iter().find(|group| !is_plain(group)) {
        return Err(OperatorError::Group(group.clone()));
    }
    let mut random = Zeroizing::new([0_u8; 32]);
    getrandom::fill(random.as_mut()).map_err(OperatorError::Random)?;
    let token = Zeroizing::new(format!(
        "{PREFIX}{}",
        URL_SAFE_NO_PAD.encode(random.as_ref())
    ));
    keepgate_files::create_directory(state_directory)?;
    let _lock = keepgate_files::lock(state_directory)?;
    let mut operators = read(state_directory)?;
    if operators
        .iter()
        .any(|known| known.name == name && known.revoked.is_none())
    {
        return Err(OperatorError::Taken(name.to_owned()));
    }
    let entry = Entry {
        name: name.to_owned(),
        roles,
        groups,
        added: text(now),
        revoked: None,
        hash: blake3::hash(token.as_bytes()).to_hex().to_string(),
    };
    operators.push(entry.clone());
    write(state_directory, operators)?;
    Ok((entry, token))
}

/// Ends an operator's token, on disk before it returns.
///
/// # Errors
/// [`OperatorError::Unknown`] when nobody active has the name, others when the file cannot be used.
pub fn revoke(state_directory: &Path, name: &str, now: SystemTime) -> Result<Entry, OperatorError> {
    let _lock = keepgate_files::lock(state_directory)?;
    let mut operators = read(state_directory)?;
    let active = operators
        .iter_mut()
        .find(|known| known.name == name && known.revoked.is_none());
    let Some(entry) = active else {
        return Err(OperatorError::Unknown(name.to_owned()));
    };
    entry.revoked = Some(text(now));
    let entry = entry.clone();
    write(state_directory, operators)?;
    Ok(entry)
}

fn is_name(name: &str) -> bool {
    // Who acts in these names is not a person with a token.
    is_plain(name) && name != BOOTSTRAP && name != "keepgate"
}

/// Whether a text can be a name in a record, or part of one.
fn is_plain(name: &str) -> bool {
    let plain = |letter: u8| letter.is_ascii_alphanumeric() || b".-_@".contains(&letter);
    !name.is_empty() && name.len() <= LONGEST && name.bytes().all(plain)
}

#[cfg(test)]
mod tests;
