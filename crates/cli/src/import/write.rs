//! New files, all or none: a failure leaves the directory as it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keepgate_files::{FileError, Replacement};
use zeroize::Zeroizing;

/// A file to write.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) path: PathBuf,
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

impl NewFile {
    /// A file nobody else may read.
    pub(crate) fn private(path: PathBuf, bytes: Zeroizing<Vec<u8>>) -> Self {
        Self {
            path,
            bytes,
            mode: 0o600,
        }
    }

    /// A file everybody may read.
    pub(crate) fn public(path: PathBuf, text: &str) -> Self {
        Self {
            path,
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            mode: 0o644,
        }
    }
}

/// Reason nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// They are there already.
    #[error("there already: {0}")]
    Exists(String),
    /// The disk did not take one.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Writes all files. Those that are there are an error, unless `force`: then they stay next to the new ones as `NAME.bak`.
///
/// # Errors
/// [`WriteError`]; nothing is changed then.
pub(crate) fn write(files: &[NewFile], force: bool) -> Result<(), WriteError> {
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let there = files
        .iter()
        .map(|file| file.path.clone())
        .filter(|path| is_there(path));
    // Neither are copies of before written over.
    let there = there.map(|path| if force { backup(&path) } else { path });
    let there: Vec<String> = there
        .filter(|path| is_there(path))
        .map(|path| format!("`{}`", path.display()))
        .collect();
    if !there.is_empty() {
        return Err(WriteError::Exists(there.join(", ")));
    }
    let mut undo = Undo::default();
    undo.directories(files)?;
    let mut begun = Vec::new();
    for file in files {
        let mut replacement = Replacement::begin(&file.path)?;
        replacement.write(&file.bytes)?;
        let mode = Permissions::from_mode(file.mode);
        let opened = replacement.file().set_permissions(mode);
        opened.map_err(FileError::io("set the mode of", &file.path))?;
        begun.push((replacement, file.path.as_path()));
    }
    for (replacement, path) in begun {
        undo.keep(path)?;
        undo.made.push(path.to_owned());
        replacement.commit()?;
    }
    undo.done = true;
    Ok(())
}

/// The backup of a file.
pub(crate) fn backup(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    name.into()
}

/// Steps taken so far; undone when dropped before the last.
#[derive(Debug, Default)]
struct Undo {
    directories: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    made: Vec<PathBuf>,
    done: bool,
}

impl Undo {
    /// Makes the directories that are missing, for nobody else to enter.
    fn directories(&mut self, files: &[NewFile]) -> Result<(), FileError> {
        for file in files {
            let mut missing: Vec<&Path> = Vec::new();
            let parents = file.path.ancestors().skip(1);
            missing
                .extend(parents.take_while(|path| !path.as_os_str().is_empty() && !path.exists()));
            for directory in missing.into_iter().rev() {
                keepgate_files::create_directory(directory)?;
                self.directories.push(directory.to_owned());
            }
        }
        Ok(())
    }

    /// Moves a file that is there out of the way.
    fn keep(&mut self, path: &Path) -> Result<(), FileError> {
        if path.symlink_metadata().is_ok() {
            fs::rename(path, backup(path)).map_err(FileError::io("keep a copy of", path))?;
            self.kept.push(path.to_owned());
        }
        Ok(())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The error that led here is the one to report.
        for path in &self.made {
            drop(fs::remove_file(path));
        }
        for path in &self.kept {
            drop(fs::rename(backup(path), path));
        }
        for directory in self.directories.iter().rev() {
            drop(fs::remove_dir(directory));
        }
    }
}
