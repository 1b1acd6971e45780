//! The user a child process runs as.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist, setgroups, setresgid, setresuid};

/// A user of this machine with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: Option<std::path::PathBuf>,
    name: String,
}

/// Reason why a process cannot run as the configured user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Nobody has the name.
    #[error("no such user: `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A number without an entry names no group.
    #[error("no user has the number, so the group has to be written too: `{name}`")]
    Group {
        /// The number.
        name: String,
    },
    /// The system's list of users cannot be read.
    #[error("failed to look up the user `{name}`")]
    Lookup {
        /// The name.
        name: String,
        /// Cause.
        #[source]
        source: nix::Error,
    },
    /// The gateway has neither the user nor the right to take another.
    #[error(
        "the gateway may not start a process as `{name}`: that takes root with CAP_SETUID and CAP_SETGID"
    )]
    Denied {
        /// The name.
        name: String,
    },
}

impl Account {
    /// Finds a user by name, by number, or as `number:group`.
    ///
    /// # Errors
    /// [`AccountError`], also where this process may not become that user.
    pub fn find(text: &str) -> Result<Self, AccountError> {
        let account = Self::look_up(text)?;
        if account.is_ours() || may_change() {
            return Ok(account);
        }
        Err(AccountError::Denied {
            name: text.to_owned(),
        })
    }

    fn look_up(text: &str) -> Result<Self, AccountError> {
        let name = || text.to_owned();
        let failed = |source| AccountError::Lookup {
            name: name(),
            source,
        };
        if let Some((user, group)) = text.split_once(':') {
            let (Ok(uid), Ok(gid)) = (user.parse(), group.parse()) else {
                return Err(AccountError::Unknown { name: name() });
            };
            return Ok(Self {
                uid: Uid::from_raw(uid),
                gid: Gid::from_raw(gid),
                groups: vec![Gid::from_raw(gid)],
                home: None,
                name: user.to_owned(),
            });
        }
        let number = text.parse().ok();
        let found = number.map_or_else(
            || User::from_name(text),
            |number| User::from_uid(Uid::from_raw(number)),
        );
        let Some(user) = found.map_err(failed)? else {
            return Err(if number.is_some() {
                AccountError::Group { name: name() }
            } else {
                AccountError::Unknown { name: name() }
            });
        };
        let groups = CString::new(user.name.as_str())
            .map_err(|_nul| AccountError::Unknown { name: name() })
            .and_then(|text| getgrouplist(&text, user.gid).map_err(failed))?;
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            groups,
            home: Some(user.dir),
            name: user.name,
        })
    }

    /// The variables that name the user: those of the gateway would name another.
    pub fn variables(&self) -> Vec<(String, std::ffi::OsString)> {
        let home = self.home.clone().unwrap_or_else(|| "/nonexistent".into());
        vec![
            ("HOME".to_owned(), home.into()),
            ("USER".to_owned(), self.name.clone().into()),
            ("LOGNAME".to_owned(), self.name.clone().into()),
        ]
    }

    /// Whether the user is root.
    pub(crate) fn is_root(&self) -> bool {
        self.uid.is_root()
    }

    fn is_ours(&self) -> bool {
        self.uid == nix::unistd::geteuid() && self.gid == nix::unistd::getegid()
    }

    /// Becomes the user, for good.
    pub(crate) fn take(&self) -> nix::Result<()> {
        if self.is_ours() && !may_change() {
            return Ok(());
        }
        setgroups(&self.groups)?;
        setresgid(self.gid, self.gid, self.gid)?;
        setresuid(self.uid, self.uid, self.uid)
    }
}

/// Whether this process may take another user and other groups.
fn may_change() -> bool {
    let has =
        |capability| caps::has_cap(None, caps::CapSet::Effective, capability).unwrap_or_default();
    has(caps::Capability::CAP_SETUID) && has(caps::Capability::CAP_SETGID)
}
