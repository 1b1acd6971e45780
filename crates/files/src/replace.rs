//! Files replaced whole: a reader and a crash see the old one or the new one, never half of it.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::FileError;

/// Age from which a new file that was never put in place is garbage, whoever made it.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// Creates the directory (and its parents) with mode 0700; one that exists stays as it is.
///
/// # Errors
/// [`FileError::Io`] when it cannot be created.
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io("create directory", path))
}

/// Replaces the file by `bytes`, mode 0600, on disk before this returns. Writers that read first must hold the
/// [`lock`](crate::lock) of the directory.
///
/// # Errors
/// [`FileError::Io`]; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write(bytes)?;
    replacement.commit()
}

/// Replaces the file as [`replace`] does, for everybody to read (mode 0644).
///
/// # Errors
/// [`FileError::Io`]; the file is then as it was.
pub fn replace_public(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut replacement = Replacement::begin(path)?;
    replacement.write(bytes)?;
    // The mask of the process may take rights from a new file, hence not at its creation.
    replacement
        .file
        .set_permissions(Permissions::from_mode(0o644))
        .map_err(FileError::io("open to readers", &replacement.temporary))?;
    replacement.commit()
}

/// A new file on its way into the place of an old one. Dropped before [`commit`](Self::commit) it changes nothing.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    committed: bool,
}

impl Replacement {
    /// Creates the new file, mode 0600, next to the one it replaces.
    ///
    /// # Errors
    /// [`FileError::Io`] when it cannot be created.
    pub fn begin(path: &Path) -> Result<Self, FileError> {
        let directory = directory_of(path);
        remove_left_overs(path);
        let temporary = directory.join(temporary_name(path, std::process::id()));
        if let Err(error) = fs::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(FileError::io("remove left-over", &temporary)(error));
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(FileError::io("create", &temporary))?;
        let replacement = Self {
            path: path.to_path_buf(),
            temporary,
            file,
            committed: false,
        };
        give_to_owner_of(directory, &replacement.file)
            .map_err(FileError::io("pass on", &replacement.temporary))?;
        Ok(replacement)
    }

    /// Appends to the new file.
    ///
    /// # Errors
    /// [`FileError::Io`] when the disk does not take it.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(FileError::io("write", &self.temporary))
    }

    /// The new file.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Puts the new file in place; both it and its name are on the disk when this returns.
    ///
    /// # Errors
    /// [`FileError::Io`]; unless only the directory could not be synced, the old file is as it was.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.file
            .sync_all()
            .map_err(FileError::io("sync", &self.temporary))?;
        fs::rename(&self.temporary, &self.path).map_err(FileError::io("replace", &self.path))?;
        self.committed = true;
        sync_directory(directory_of(&self.path))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.committed {
            // The error that led here is the one to report; what stays is removed by a later replacement.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Makes names in the directory last.
fn sync_directory(directory: &Path) -> Result<(), FileError> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(FileError::io("sync directory", directory))
}

/// Gives a file that root makes in the directory of another user to that user: a command run with `sudo` must not leave a
/// file behind that the gateway cannot read.
pub(crate) fn give_to_owner_of(directory: &Path, file: &File) -> io::Result<()> {
    let own = file.metadata()?;
    if own.uid() != 0 {
        return Ok(());
    }
    let home = fs::metadata(directory)?;
    if home.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(home.uid()), Some(home.gid()))
}

/// The directory of a file.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Name of the new file of process `pid`.
fn temporary_name(path: &Path, pid: u32) -> OsString {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{pid}.new"));
    name
}

/// Removes new files of processes that ended before they put them in place: nobody else would.
fn remove_left_overs(path: &Path) {
    let Some(name) = path.file_name() else {
        return;
    };
    let entries = fs::read_dir(directory_of(path)).into_iter().flatten();
    for entry in entries.flatten() {
        let found = entry.file_name();
        let pid = found
            .as_encoded_bytes()
            .strip_prefix(name.as_encoded_bytes())
            .and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".new"))
            .and_then(|pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok());
        let Some(pid) = pid else {
            continue;
        };
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LEFT_OVER));
        if is_old && !Path::new(&format!("/proc/{pid}")).exists() {
            drop(fs::remove_file(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests;
