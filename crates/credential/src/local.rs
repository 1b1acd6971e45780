//! Secrets on this machine: files and variables.

use std::{
    env,
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::Path,
    sync::{Arc, OnceLock},
};

use keepgate_files::FileError;

use crate::{
    error::Fault,
    reference::{Place, Reference},
    secret::{LONGEST, Secret},
};

/// Where systemd puts the credentials of a unit.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Variables that are no longer in the environment of this process, where others could read them.
static PROVIDED: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();

/// Names the variables that `env:` references are looked up in, before the environment. The first time counts.
pub fn provide(variables: Vec<(OsString, OsString)>) {
    // Later ones change nothing: a process is started once.
    let _first = PROVIDED.set(variables).is_ok();
}

/// Reads what a reference names on this machine, without Vault: what a login to Vault needs, the way to it, or a
/// command that is no gateway.
///
/// # Errors
/// [`Fault`]: no such file or variable, one that cannot be read or is empty; [`Fault::Invalid`] for a reference to Vault.
pub fn of(reference: &Reference) -> Result<Secret, Fault> {
    match reference.place() {
        Place::File(path) => file(path),
        Place::Systemd(name) => systemd(name),
        Place::Environment(name) => environment(name),
        Place::Vault { .. } => Err(Fault::Invalid),
    }
}

/// Reads a file that holds nothing but a secret. One line break at its end is no part of it.
///
/// The file has to be closed to others by the rule of [`keepgate_files::read_secret`].
///
/// # Errors
/// [`Fault`] with `File..`, [`Fault::TooLong`].
pub(crate) fn file(path: &Path) -> Result<Secret, Fault> {
    let read = keepgate_files::read_secret(path, LONGEST as u64 + 2);
    let mut bytes = read.map_err(|error| match error {
        FileError::Io { ref source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Fault::FileMissing
        }
        FileError::Io { source, .. } => Fault::FileUnreadable(Arc::new(source)),
        FileError::Kind { .. } => Fault::FileKind,
        FileError::Owner { .. } => Fault::FileOwner(Arc::new(error)),
        FileError::Exposed { .. } => Fault::FileMode(Arc::new(error)),
        FileError::TooLarge { .. } => Fault::TooLong,
    })?;
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
