//! From what is hidden to what is granted.
//!
//! Landlock has no rule that takes away, and a rule for a directory holds for all below it. To hide `/srv/gate/state`,
//! `/`, `/srv` and `/srv/gate` are not granted themselves, but each of their entries but the one on the way. So a process
//! can neither list nor change those three directories, and what is put into them later is out of its reach until it is
//! started again.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::mounts;

/// Most grants of one process: each is a descriptor and memory of the kernel. Directories on the way to what is hidden
/// may be as large as people let them grow.
const MAX_GRANTS: usize = 65_536;
/// Most symbolic links that are followed on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Rights to a file or below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Full,
}

/// A path that is granted with everything below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
}

/// Reason why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A directory on the way to what is hidden cannot be read.
    #[error("failed to list `{path}`, which holds what is hidden")]
    List {
        /// The directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The directories on the way have too many entries.
    #[error("the directories on the way to what is hidden have more than {MAX_GRANTS} entries")]
    TooMany,
}

/// Hidden paths, by every name they have.
#[derive(Debug)]
pub(crate) struct Plan {
    hidden: BTreeSet<PathBuf>,
    read_only: BTreeSet<PathBuf>,
}

impl Plan {
    /// A plan that hides these paths. `mounts` is in the form of `/proc/self/mountinfo`.
    pub(crate) fn new(hidden: &[PathBuf], read_only: &[PathBuf], mounts: &str) -> Self {
        let named = |paths: &[PathBuf]| -> BTreeSet<PathBuf> {
            let names = paths.iter().flat_map(|path| names(path));
            let all = names.flat_map(|name| {
                let mut all = mounts::aliases(&name, mounts);
                all.push(name);
                all
            });
            all.collect()
        };
        Self {
            hidden: named(hidden),
            read_only: named(read_only),
        }
    }

    /// The grants for these paths and all below them, but for what is hidden.
    pub(crate) fn grants(
        &self,
        roots: impl IntoIterator<Item = (PathBuf, Access)>,
    ) -> Result<Vec<Grant>, PlanError> {
        let mut grants = Vec::new();
        let mut open: Vec<(PathBuf, Access)> = roots
            .into_iter()
            .map(|(path, access)| (resolved(&path), access))
            .collect();
        while let Some((path, access)) = open.pop() {
            if self.hidden.contains(&path) {
                continue;
            }
            let access = if self.read_only.contains(&path) {
                Access::Read
            } else {
                access
            };
            if self.is_on_the_way(&path, access) {
                open.extend(entries(&path)?.into_iter().map(|entry| (entry, access)));
            } else {
                grants.push(Grant { path, access });
            }
            if grants.len() + open.len() > MAX_GRANTS {
                return Err(PlanError::TooMany);
            }
        }
        Ok(grants)
    }

    /// Whether something below `path` may be less than `access`.
    fn is_on_the_way(&self, path: &Path, access: Access) -> bool {
        let below = |set: &BTreeSet<PathBuf>| {
            set.iter()
                .any(|other| other != path && other.starts_with(path))
        };
        below(&self.hidden) || (access == Access::Full && below(&self.read_only))
    }
}

/// The entries of a directory that are no symbolic links: what a link points at is granted where it is, or hidden.
fn entries(path: &Path) -> Result<Vec<PathBuf>, PlanError> {
    let failed = |source| PlanError::List {
        path: path.to_owned(),
        source,
    };
    let listed = match fs::read_dir(path) {
        Ok(listed) => listed,
        // What we cannot list the process cannot reach either: it has no right that we lack.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            entries.push(entry.path());
        }
        if entries.len() > MAX_GRANTS {
            return Err(PlanError::TooMany);
        }
    }
    Ok(entries)
}

/// Target of a path.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    names(path).pop().unwrap_or_else(|| path.to_owned())
}

/// Every link on the way of a path, and at last where it leads. A link is hidden too: whoever may replace it decides
/// where the gateway looks at its next start. What is not there yet has a name all the same.
fn names(path: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    let mut real = PathBuf::from("/");
    let mut rest = reversed(path);
    while let Some(part) = rest.pop() {
        match part {
            Step::Up => {
                real.pop();
            }
            Step::Down(name) => {
                let next = real.join(name);
                match fs::read_link(&next) {
                    Ok(target) if names.len() < MAX_LINKS => {
                        if target.is_absolute() {
                            real = PathBuf::from("/");
                        }
                        names.push(next);
                        rest.extend(reversed(&target));
                    }
                    Ok(_) | Err(_) => real = next,
                }
            }
        }
    }
    names.push(real);
    names
}

/// A part of a path.
enum Step {
    Up,
    Down(OsString),
}

/// The parts of a path, the first one last.
fn reversed(path: &Path) -> Vec<Step> {
    let steps = path.components().filter_map(|part| match part {
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    });
    let mut steps: Vec<Step> = steps.collect();
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests;
