//! The bundle being written: its file, the bytes that must be in it, and whether its path still leads there.
//!
//! A file that was removed, replaced, cut or written to by another takes writes all the same, so a writer that does not look
//! acknowledges records nobody can read. What was written is kept in memory, at most one bundle, to be compared.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::layout;
use crate::settings::Durability;

/// Bytes compared at a time.
const PIECE: usize = 16 * 1024;

/// Device and number of a file or directory.
type Identity = (u64, u64);

/// The bundle being written.
pub(super) struct Tail {
    directory: PathBuf,
    /// The log's directory as it was when the log was opened, if it could be inspected.
    home: Option<Identity>,
    durability: Durability,
    /// The open file, unless it has to be opened first.
    file: Option<File>,
    /// The whole records it holds.
    bytes: Vec<u8>,
    /// More than these may be in it, of a write that failed.
    torn: bool,
    /// The last look found another file or other bytes.
    astray: bool,
}

impl Tail {
    /// A tail that holds `bytes` already, whatever stands behind them.
    pub(super) fn new(directory: &Path, durability: Durability, bytes: Vec<u8>) -> Self {
        Self {
            directory: directory.to_owned(),
            home: fs::metadata(directory).ok().map(|found| identity(&found)),
            durability,
            file: None,
            bytes,
            torn: true,
            astray: false,
        }
    }

    /// The whole records it holds.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the last look found that another has been at it.
    pub(super) const fn is_astray(&self) -> bool {
        self.astray
    }

    /// Adds records to the tail of this number; durable when it returns.
    pub(super) fn append(&mut self, number: u64, frame: &[u8]) -> io::Result<()> {
        if self.astray {
            self.check(number)?;
        }
        let opened = match self.file.take() {
            Some(file) if !self.torn => file,
            Some(_) | None => self.open(number)?,
        };
        self.torn = true;
        let file = self.file.insert(opened);
        file.write_all_at(frame, self.bytes.len() as u64)?;
        if self.durability == Durability::Synced {
            file.sync_data()?;
        }
        self.torn = false;
        self.bytes.extend_from_slice(frame);
        Ok(())
    }

    /// Opens the file and cuts off what a failed write may have left there.
    fn open(&mut self, number: u64) -> io::Result<File> {
        self.check(number)?;
        let path = layout::tail(&self.directory, number);
        // A tail that should hold records is never made again: a hole would stand where they were.
        let file = File::options()
            .write(true)
            .mode(0o640)
            .create(self.bytes.is_empty())
            .open(&path)?;
        file.set_len(self.bytes.len() as u64)?;
        if self.durability == Durability::Synced {
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(file)
    }

    /// Begins with nothing, for the next bundle.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.file = None;
    }

    /// Lets go of the open file, which is about to get another name.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Looks whether the directory and the file are those that were opened and hold what was written.
    pub(super) fn check(&mut self, number: u64) -> io::Result<()> {
        let found = self.compare(number);
        self.astray = found.is_err();
        if self.astray {
            // Whatever it leads to, nothing more is written there.
            self.file = None;
        }
        found
    }

    fn compare(&self, number: u64) -> io::Result<()> {
        let home = fs::metadata(&self.directory)
            .map_err(|error| changed("the directory of the log is gone", Some(error)))?;
        if Some(identity(&home)) != self.home {
            return Err(changed("the directory of the log was replaced", None));
        }
        if self.bytes.is_empty() {
            return Ok(());
        }
        let path = layout::tail(&self.directory, number);
        let gone = |error| changed("the tail of the log is gone", Some(error));
        let mut named = File::open(&path).map_err(gone)?;
        let metadata = named.metadata()?;
        if let Some(file) = &self.file
            && identity(&file.metadata()?) != identity(&metadata)
        {
            return Err(changed("the tail of the log was replaced", None));
        }
        let length = self.bytes.len() as u64;
        if metadata.len() < length {
            return Err(changed("records are gone from the tail of the log", None));
        }
        if metadata.len() > length && !self.torn {
            return Err(changed("the tail of the log was added to", None));
        }
        // Piece by piece: a look many times a second at a bundle of a megabyte must not clear as much memory each time.
        let mut buffer = [0; PIECE];
        for piece in self.bytes.chunks(PIECE) {
            let read = buffer.get_mut(..piece.len()).unwrap_or_default();
            named.read_exact(read)?;
            if read != piece {
                return Err(changed("the tail of the log was changed", None));
            }
        }
        Ok(())
    }
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

fn changed(what: &str, error: Option<io::Error>) -> io::Error {
    match error {
        Some(error) => io::Error::new(error.kind(), format!("{what}: {error}")),
        None => io::Error::other(what.to_owned()),
    }
}
