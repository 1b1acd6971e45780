//! Secrets on this machine: files and variables.

use std::{
    env,
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStringExt,
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use nix::{
    fcntl::OFlag,
    sys::statfs::{self, FsType},
};
use zeroize::Zeroizing;

use crate::{
    error::Fault,
    secret::{LONGEST, Secret},
};

/// Where systemd puts the credentials of a unit.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Where container engines mount secrets.
const RUN_SECRETS: &str = "/run/secrets";

/// Variables that are no longer in the environment of this process, where others could read them.
static PROVIDED: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// Names the variables that `env:` references are looked up in, before the environment. The first time counts.
pub fn provide(variables: Vec<(OsString, OsString)>) {
    // Later ones change nothing: a process is started once.
    let _first = PROVIDED.set(variables).is_ok();
}

/// Reads a file that holds nothing but a secret. One line break at its end is no part of it.
///
/// The file has to belong to us or to root, and nobody else may read or change it (0600 or stricter). A secret that is
/// *mounted* may be readable by others, because those who mount it decide who gets into the namespace: it lies in memory
/// (tmpfs, ramfs), nobody else may change it, and it is below `$CREDENTIALS_DIRECTORY` (systemd), below `/run/secrets`
/// (container engines), or beside the `..data` link of a Kubernetes volume.
///
/// # Errors
/// [`Fault`] with `File..`, [`Fault::TooLong`].
pub(crate) fn file(path: &Path) -> Result<Secret, Fault> {
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            Fault::FileMissing
        } else {
            Fault::FileUnreadable(Arc::new(error))
        }
    };
    // Not blocking, so that a named pipe in its place cannot hold us up; judged by what was opened, not by the path.
    let mut file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    judge(path, &file, &metadata)?;
    // With room for all of it, so that nothing is moved and left behind while it grows.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 4));
    let mut limited = (&mut file).take(LONGEST as u64 + 3);
    limited.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

fn judge(path: &Path, file: &File, metadata: &Metadata) -> Result<(), Fault> {
    if !metadata.is_file() {
        return Err(Fault::FileKind);
    }
    let owner = metadata.uid();
    if owner != 0 && owner != nix::unistd::geteuid().as_raw() {
        return Err(Fault::FileOwner { owner });
    }
    let mode = metadata.mode() & 0o7777;
    let private = mode & 0o077 == 0;
    let unchangeable = mode & 0o022 == 0;
    if private || (unchangeable && is_in_memory(file) && is_mounted(path)) {
        return Ok(());
    }
    Err(Fault::FileMode { mode })
}

fn is_in_memory(file: &File) -> bool {
    const RAMFS: FsType = FsType(0x8584_58f6);
    statfs::fstatfs(file)
        .is_ok_and(|found| [statfs::TMPFS_MAGIC, RAMFS].contains(&found.filesystem_type()))
}

/// Whether the path is one at which secrets are mounted.
fn is_mounted(path: &Path) -> bool {
    let systemd = env::var_os(CREDENTIALS_DIRECTORY)
        .map(PathBuf::from)
        .filter(|directory| directory.is_absolute());
    systemd.is_some_and(|directory| path.starts_with(directory))
        || path.starts_with(RUN_SECRETS)
        || path
            .parent()
            .is_some_and(|directory| directory.join("..data").is_symlink())
}

/// Reads a credential that systemd passes to the unit.
///
/// # Errors
/// As [`file()`]; [`Fault::VariableMissing`] when there is no such unit.
pub(crate) fn systemd(name: &str) -> Result<Secret, Fault> {
    let directory = env::var_os(CREDENTIALS_DIRECTORY).ok_or(Fault::VariableMissing)?;
    file(&Path::new(&directory).join(name))
}

/// Reads a variable of our own environment.
///
/// # Errors
/// [`Fault::VariableMissing`], [`Fault::TooLong`].
pub(crate) fn environment(name: &str) -> Result<Secret, Fault> {
    let provided = PROVIDED.get().into_iter().flatten();
    let mut provided = provided.filter(|(known, _)| known == name);
    let value = provided.next().map(|(_, value)| value.clone());
    let value = value
        .or_else(|| env::var_os(name))
        .ok_or(Fault::VariableMissing)?;
    let secret = Secret::new(value.into_vec());
    if secret.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    Ok(secret)
}

#[cfg(test)]
mod tests;
