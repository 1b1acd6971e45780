//! The rule: nobody else may write a file of keys or secrets, or its directory; nobody else may read it. The exceptions are
//! readers of a mounted secret, and our own group in the state directory.

use std::{
    env,
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::{
    sys::statfs::{self, FsType},
    unistd,
};

use crate::FileError;

/// Variable that names the directory of a systemd unit's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Directory of the secrets that container engines mount.
const RUN_SECRETS: &str = "/run/secrets";
/// Permission bits of a directory in which only the owners of files may exchange them.
const STICKY: u32 = 0o1000;

/// The place of a file, which decides about its group and its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The state directory. A group of ours may read and write: Kubernetes gives a volume to the group of its pod
    /// (`fsGroup`), and does `chmod -R g+rwX`.
    State,
    /// Wherever the configuration refers to.
    Secret {
        /// Whether it is mounted: then those who mount it decide who may read it.
        mounted: bool,
    },
}

/// The user and the groups of this process.
#[derive(Debug, Clone)]
pub(crate) struct Us {
    user: u32,
    groups: Vec<u32>,
}

/// Owner, group and mode of a file or directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
}

impl From<&Metadata> for Rights {
    fn from(metadata: &Metadata) -> Self {
        Self {
            owner: metadata.uid(),
            group: metadata.gid(),
            mode: metadata.mode() & 0o7777,
        }
    }
}

/// A violation of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Another user owns it.
    Owner,
    /// The group, or everybody, has rights.
    Exposed {
        /// The group; everybody if `None`.
        group: Option<u32>,
        may: &'static str,
        cure: &'static str,
    },
}

impl Us {
    /// The process as it runs now.
    pub(crate) fn now() -> Self {
        let mut groups = vec![unistd::getegid().as_raw()];
        // Without the list only the first group is ours, which opens nothing.
        let others = unistd::getgroups().unwrap_or_default();
        groups.extend(others.iter().map(|group| group.as_raw()));
        Self {
            user: unistd::geteuid().as_raw(),
            groups,
        }
    }

    /// Checks a file; `directory` is that it is in.
    pub(crate) fn check_file(
        &self,
        path: &Path,
        file: &Metadata,
        directory: &Metadata,
        place: Place,
    ) -> Result<(), FileError> {
        let checked = self.file(file.into(), directory.uid(), place);
        checked.map_err(|violation| self.error(violation, "file", path, file.into()))
    }

    /// Checks the directory of a file.
    pub(crate) fn check_directory(
        &self,
        path: &Path,
        directory: &Metadata,
        place: Place,
    ) -> Result<(), FileError> {
        let checked = self.directory(directory.into(), place);
        checked.map_err(|violation| self.error(violation, "directory", path, directory.into()))
    }

    fn error(
        &self,
        violation: Violation,
        kind: &'static str,
        path: &Path,
        rights: Rights,
    ) -> FileError {
        let path = path.to_path_buf();
        match violation {
            Violation::Owner => FileError::Owner {
                path,
                kind,
                owner: rights.owner,
                wanted: self.user,
            },
            Violation::Exposed { group, may, cure } => FileError::Exposed {
                path,
                kind,
                who: group.map_or_else(
                    || "every user of this machine".to_owned(),
                    |group| format!("group {group}"),
                ),
                may,
                mode: rights.mode,
                cure,
            },
        }
    }

    /// The rule for a file in a directory of the user `home`.
    pub(crate) fn file(&self, file: Rights, home: u32, place: Place) -> Result<(), Violation> {
        // Root runs commands for the user of the state directory.
        let for_its_user = self.user == 0 && place == Place::State && file.owner == home;
        if ![0, self.user].contains(&file.owner) && !for_its_user {
            return Err(Violation::Owner);
        }
        let (others, group) = (file.mode & 0o006, (file.mode & 0o060) >> 3);
        let (open_to_others, open_to_group) = match place {
            Place::State if self.groups.contains(&file.group) => (others, 0),
            Place::State | Place::Secret { mounted: false } => (others, group),
            Place::Secret { mounted: true } => (others & 0o2, group & 0o2),
        };
        let may = |bits| match bits & 0o6 {
            0o4 => "read",
            0o2 => "write",
            _ => "read and write",
        };
        let cure = |who: [&'static str; 2]| match place {
            Place::State | Place::Secret { mounted: false } => who[0],
            Place::Secret { mounted: true } => who[1],
        };
        if open_to_others != 0 {
            return Err(Violation::Exposed {
                group: None,
                may: may(open_to_others),
                cure: if open_to_group == 0 {
                    cure(["o-rwx", "o-w"])
                } else {
                    cure(["go-rwx", "go-w"])
                },
            });
        }
        if open_to_group != 0 {
            return Err(Violation::Exposed {
                group: Some(file.group),
                may: may(open_to_group),
                cure: cure(["g-rwx", "g-w"]),
            });
        }
        Ok(())
    }

    /// The rule for the directory of a file: who may write there may put another file in its place.
    pub(crate) fn directory(&self, directory: Rights, place: Place) -> Result<(), Violation> {
        let for_its_user = self.user == 0 && place == Place::State;
        if ![0, self.user].contains(&directory.owner) && !for_its_user {
            return Err(Violation::Owner);
        }
        if directory.mode & STICKY != 0 {
            return Ok(());
        }
        let by_group = directory.mode & 0o020 != 0 && !self.groups.contains(&directory.group);
        let exposed = |group, cure| {
            Err(Violation::Exposed {
                group,
                may: "write into",
                cure,
            })
        };
        match (directory.mode & 0o002 != 0, by_group) {
            (false, false) => Ok(()),
            (false, true) => exposed(Some(directory.group), "g-w"),
            (true, false) => exposed(None, "o-w"),
            (true, true) => exposed(None, "go-w"),
        }
    }
}

/// Whether the file is mounted as secrets are: in memory, at a path where that happens.
pub(crate) fn is_mounted(path: &Path, file: &File) -> bool {
    const RAMFS: FsType = FsType(0x8584_58f6);
    let in_memory = statfs::fstatfs(file)
        .is_ok_and(|found| [statfs::TMPFS_MAGIC, RAMFS].contains(&found.filesystem_type()));
    in_memory && is_mount_of_secrets(path)
}

/// Whether the path is one at which secrets are mounted.
fn is_mount_of_secrets(path: &Path) -> bool {
    let systemd = env::var_os(CREDENTIALS_DIRECTORY)
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute());
    systemd.is_some_and(|directory| path.starts_with(directory))
        || path.starts_with(RUN_SECRETS)
        || path
            .parent()
            .is_some_and(|directory| directory.join("..data").is_symlink())
}

#[cfg(test)]
mod tests;
