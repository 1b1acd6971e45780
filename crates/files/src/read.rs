//! Reading files of keys and secrets, after a look at whom they are open to.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use crate::{
    FileError, lock, replace,
    replace::directory_of,
    rule::{Place, Us, is_mounted},
};

/// Largest file of ours that is read, in bytes: some hundred thousand keys.
const MAX_SIZE: u64 = 64 << 20;

/// Opens a file for reading that may be anybody's to read. Not blocking, so that a named pipe or a device in its place cannot
/// hold the caller up.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::InvalidInput`] for what is no plain file.
pub fn open(path: &Path) -> io::Result<File> {
    let file = open_unchecked(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a plain file",
        ));
    }
    Ok(file)
}

/// Reads a whole file of the state directory; `None` when there is none. The bytes are wiped when dropped.
///
/// # Errors
/// [`FileError`], also for a file that others may read or write, or whose directory they may write.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    match read_checked(path, MAX_SIZE, |_file| Place::State) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a file of the configuration that holds a secret, of at most `limit` bytes. Others may read it where it is mounted:
/// it is in memory (tmpfs, ramfs), and below `$CREDENTIALS_DIRECTORY` (systemd), below `/run/secrets` (container engines) or
/// next to the `..data` link of a Kubernetes volume.
///
/// # Errors
/// [`FileError`], also for a file that others may read or write, or whose directory they may write.
pub fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_checked(path, limit, |file| Place::Secret {
        mounted: is_mounted(path, file),
    })
}

/// Reads a file of the state directory or, when there is none, writes the bytes `make` gives and returns those.
///
/// # Errors
/// Those of [`read`], [`replace`] and [`lock`](crate::lock); `make`'s own error through `E`.
pub fn read_or_create<E: From<FileError>>(
    path: &Path,
    make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<Zeroizing<Vec<u8>>, E> {
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let _lock = lock(directory_of(path))?;
    // Another process may have been first.
    if let Some(bytes) = read(path)? {
        return Ok(bytes);
    }
    let bytes = make()?;
    replace(path, &bytes)?;
    Ok(bytes)
}

/// Checks whom a file of the state directory is open to, without reading it. One that is absent is in order, and one that is
/// no file is nothing that can be read.
///
/// # Errors
/// [`FileError`] for a file that others may read or write.
pub fn check(path: &Path) -> Result<(), FileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => metadata,
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(FileError::io("inspect", path)(error)),
    };
    let directory = fs::metadata(directory_of(path)).map_err(FileError::io("inspect", path))?;
    Us::now().check_file(path, &metadata, &directory, Place::State)
}

/// Checks that nobody else may write into a directory of the state, where they could exchange its files.
///
/// # Errors
/// [`FileError`] for a directory that belongs to others or that others may write to.
pub fn check_directory(path: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(path).map_err(FileError::io("inspect", path))?;
    Us::now().check_directory(path, &metadata, Place::State)
}

fn open_unchecked(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
}

fn read_checked(
    path: &Path,
    limit: u64,
    place: impl FnOnce(&File) -> Place,
) -> Result<Zeroizing<Vec<u8>>, FileError> {
    // The opened file counts, not the path.
    let mut file = open_unchecked(path).map_err(FileError::io("open", path))?;
    let metadata = file.metadata().map_err(FileError::io("inspect", path))?;
    if !metadata.is_file() {
        return Err(FileError::Kind { path: path.into() });
    }
    let (us, place) = (Us::now(), place(&file));
    let home = directory_of(path);
    let directory = fs::metadata(home).map_err(FileError::io("inspect", home))?;
    us.check_file(path, &metadata, &directory, place)?;
    us.check_directory(home, &directory, place)?;
    // A link leads to a directory of its own.
    if let Ok(real) = fs::canonicalize(path)
        && let real = directory_of(&real)
        && real != home
        && let Ok(directory) = fs::metadata(real)
    {
        us.check_directory(real, &directory, place)?;
    }
    let too_large = |size| FileError::TooLarge {
        path: path.into(),
        size,
        limit,
    };
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    // With room for all of it, so that nothing is moved and left behind while it grows.
    let room = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room.saturating_add(1)));
    (&mut file)
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(FileError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
