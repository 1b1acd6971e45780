//! Files only their owner may read: created with mode 0600, replaced whole, never seen half written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Name of the lock file that serialises writers of one directory.
const LOCK: &str = ".lock";

/// Largest private file that is read, in bytes: some hundred thousand keys.
const MAX_SIZE: u64 = 64 << 20;

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system said no.
    #[error("failed to {act} `{path}`")]
    Io {
        /// What was being done.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Everybody on the machine can read or write the file.
    #[error(
        "file is open to every user of this machine (mode {mode:04o}), run chmod 600 on it: `{path}`"
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is larger than any that Keepgate writes.
    #[error("file has {size} bytes, more than the {MAX_SIZE} that are read: `{path}`")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

impl FileError {
    /// Adds what was being done and on what; for `map_err`.
    fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { act, path, source }
    }
}

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

/// Holds the lock of `directory` until dropped. Held for single reads and writes only, never while serving.
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
    file.lock().map_err(FileError::io("lock", &path))?;
    Ok(Lock { _file: file })
}

/// Reads the whole file; `None` when there is none. The bytes are wiped when dropped.
///
/// # Errors
/// [`FileError::Exposed`] when every user may read or write it, [`FileError::TooLarge`], [`FileError::Io`].
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::io("open", path)(error)),
    };
    let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
    let mode = metadata.mode() & 0o7777;
    // The group is let be: container platforms grant a volume's group access on mount, and refusing that would
    // turn a restart into an outage. "Others" is never anybody's intention.
    if mode & 0o007 != 0 {
        return Err(FileError::Exposed {
            path: path.to_path_buf(),
            mode,
        });
    }
    if metadata.len() > MAX_SIZE {
        return Err(FileError::TooLarge {
            path: path.to_path_buf(),
            size: metadata.len(),
        });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(metadata.len())
            .unwrap_or(0)
            .saturating_add(1),
    ));
    (&mut file)
        .take(MAX_SIZE)
        .read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of the file, on disk before this returns; a crash leaves the old or the new one, whole.
/// Writers that read first must hold the [`lock`] of the directory.
///
/// # Errors
/// [`FileError::Io`]; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let temporary = directory.join(name);
    let written = write_new(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path).map_err(FileError::io("replace", path)))
        .and_then(|()| {
            let opened = File::open(directory).and_then(|opened| opened.sync_all());
            opened.map_err(FileError::io("sync directory", directory))
        });
    if written.is_err() {
        // The first error is the one worth telling; a left-over file is removed by the next write.
        drop(fs::remove_file(&temporary));
    }
    written
}

/// Reads the file or, when there is none, writes what `make` gives and answers with that.
///
/// # Errors
/// What [`read`], [`replace`] and [`lock`] fail with; `make`'s own error through `E`.
pub fn read_or_create<E: From<FileError>>(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let _lock = lock(directory)?;
    // Another process may have been first.
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let bytes = make()?;
    replace(path, &bytes)?;
    Ok(bytes)
}

/// Writes a new file of mode 0600 and syncs it.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(FileError::io("remove left-over", path)(error));
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(FileError::io("create", path))?;
    file.write_all(bytes)
        .map_err(FileError::io("write", path))?;
    file.sync_all().map_err(FileError::io("sync", path))
}
