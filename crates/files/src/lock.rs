//! The lock that serialises writers of a directory.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{FileError, replace::give_to_owner_of};

/// Name of the lock file.
const LOCK: &str = ".lock";

/// Holds the lock of a directory until dropped. Held for single reads and writes only, never while serving.
#[derive(Debug)]
pub struct Lock {
    /// Closing the file gives the lock back.
    _file: File,
}

/// Waits for the lock of `directory`, so that two commands cannot overwrite each other's change.
///
/// # Errors
/// [`FileError::Io`] when the lock file cannot be created or locked.
pub fn lock(directory: &Path) -> Result<Lock, FileError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(FileError::io("open lock file", &path))?;
    give_to_owner_of(directory, &file).map_err(FileError::io("pass on lock file", &path))?;
    file.lock().map_err(FileError::io("lock", &path))?;
    Ok(Lock { _file: file })
}
