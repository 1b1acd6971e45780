//! `kill.log`: what is cut off, beside the database and without need of it.
//!
//! One line an act, `{"entry":{..},"sum":".."}`; the sum is the first half of the BLAKE3 hash of the entry's very bytes, in
//! hexadecimal. Lines are only added, each synced to the disk before anybody is told. The last line may be torn by a crash:
//! nobody was told of it, so it is cut away. Any other line that cannot be read is damage; whoever reads decides what that
//! means, and [`super::Ledger`] decides that everything is cut off.
//!
//! A command may add lines while a gateway runs; every writer holds the file's lock, and the gateway reads on. The gateway
//! alone writes the file again without what is over for long ([`KillFile::compact`]): whole, under the lock of the old one,
//! and a writer that waited for that lock sees that its file is another's name now and opens the new one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entry::Entry;

/// Bytes that are read at a time: some ten thousand acts.
const BLOCK: u64 = 2 << 20;
/// Longest line that is read, in bytes: far more than is written.
const MAX_LINE: u64 = 1 << 20;
/// Names under which a writer looks for the file before it gives up: each time somebody else has replaced it.
const NAMES: usize = 16;
/// Hexadecimal letters of a sum.
const SUM: usize = 32;

/// The file of one state directory.
#[derive(Debug)]
pub struct KillFile {
    path: PathBuf,
    /// How far it was read.
    read: u64,
    line: u64,
    /// Identity of that file, or of the one written first: one that takes its place may be as long, and have its number.
    known: Option<Identity>,
}

/// A file's number and when it was made, where the file system knows.
type Identity = (u64, Option<SystemTime>);

/// Why the file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("failed to {act}: `{path}`")]
pub struct FileError {
    /// What was being done.
    pub act: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is damaged ({what})")]
pub struct Damage {
    /// Which line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The acts, in order.
    pub entries: Vec<Entry>,
    /// The first line that could not be read.
    pub damage: Option<Damage>,
    /// Bytes of a torn last line.
    pub torn: u64,
    /// The file is not the one that was read before: what was read then is not in it.
    pub replaced: bool,
    /// There is more to read.
    pub more: bool,
}

#[derive(Serialize)]
struct Written<'a> {
    entry: &'a RawValue,
    sum: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    entry: &'a RawValue,
    sum: &'a str,
}

impl KillFile {
    /// Name of the file in the state directory.
    pub const FILE: &'static str = "kill.log";

    /// The file of `state_directory`. Nothing is touched yet.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            path: state_directory.join(Self::FILE),
            read: 0,
            line: 0,
            known: None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn begin_again(&mut self) {
        (self.read, self.line, self.known) = (0, 0, None);
    }

    fn failed(&self, act: &'static str) -> impl FnOnce(io::Error) -> FileError {
        let path = self.path.clone();
        move |source| FileError { act, path, source }
    }

    /// Adds acts; they are on the disk when this returns. Blocks.
    ///
    /// # Errors
    /// [`FileError`]; some of the acts may then be in the file.
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), FileError> {
        let mut bytes = Vec::new();
        for entry in entries {
            write(entry, &mut bytes)
                .map_err(io::Error::other)
                .map_err(self.failed("write an act"))?;
        }
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        keepgate_files::create_directory(directory)
            .map_err(io::Error::other)
            .map_err(self.failed("make the directory of"))?;
        let is_new = !self.path.exists();
        let mut file = self.locked(true)?;
        let end = whole(&mut file).map_err(self.failed("read"))?;
        file.set_len(end)
            .and_then(|()| file.seek(SeekFrom::Start(end)))
            .and_then(|_| file.write_all(&bytes))
            .and_then(|()| file.sync_all())
            .map_err(self.failed("write"))?;
        // A file that vanishes before it is first read must be missed, too.
        if self.known.is_none() {
            let metadata = file.metadata().map_err(self.failed("inspect"))?;
            self.known = Some(identity(&metadata));
        }
        if is_new {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(self.failed("sync the directory of"))?;
        }
        Ok(())
    }

    /// Opens the file and takes its lock. It is the file of this name, not one that was replaced while this waited.
    fn locked(&self, create: bool) -> Result<File, FileError> {
        for _ in 0..NAMES {
            let file = OpenOptions::new()
                .create(create)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&self.path)
                .map_err(self.failed("open"))?;
            file.lock().map_err(self.failed("lock"))?;
            let own = file.metadata().map_err(self.failed("inspect"))?;
            match fs::metadata(&self.path) {
                Ok(named) if (named.dev(), named.ino()) == (own.dev(), own.ino()) => {
                    return Ok(file);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed("inspect")(error)),
            }
        }
        let replaced = io::Error::other("replaced again and again");
        Err(self.failed("lock")(replaced))
    }

    /// Lines that were read or written by [`Self::compact`].
    pub const fn lines(&self) -> u64 {
        self.line
    }

    /// Writes the file again with these acts alone, in one step: a crash leaves the old file or the new one. `false`, and
    /// nothing done, when the file holds acts that were not read yet. Blocks.
    ///
    /// # Errors
    /// [`FileError`]; the old file is there then.
    pub fn compact(&mut self, entries: &[Entry]) -> Result<bool, FileError> {
        let old = self.locked(false)?;
        let metadata = old.metadata().map_err(self.failed("inspect"))?;
        if metadata.len() != self.read || self.known != Some(identity(&metadata)) {
            return Ok(false);
        }
        let failed =
            |error: keepgate_files::FileError| self.failed("write again")(io::Error::other(error));
        let mut new = keepgate_files::Replacement::begin(&self.path).map_err(failed)?;
        let (mut bytes, mut length) = (Vec::new(), 0);
        for (index, entry) in entries.iter().enumerate() {
            write(entry, &mut bytes)
                .map_err(io::Error::other)
                .map_err(self.failed("write an act"))?;
            if bytes.len() as u64 >= BLOCK || index + 1 == entries.len() {
                new.write(&bytes).map_err(failed)?;
                length += bytes.len() as u64;
                bytes.clear();
            }
        }
        let metadata = new.file().metadata().map_err(self.failed("inspect"))?;
        new.commit().map_err(failed)?;
        self.known = Some(identity(&metadata));
        (self.read, self.line) = (length, entries.len() as u64);
        Ok(true)
    }

    /// Reads acts that were added since the last time, a part of them if there are many. Blocks. A file that is not there is
    /// empty.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be read at all.
    pub fn read_on(&mut self) -> Result<Content, FileError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let replaced = self.known.is_some();
                self.begin_again();
                return Ok(Content {
                    replaced,
                    ..Content::default()
                });
            }
            Err(error) => return Err(self.failed("open")(error)),
        };
        let metadata = file.metadata().map_err(self.failed("inspect"))?;
        let length = metadata.len();
        let identity = Some(identity(&metadata));
        let replaced = self.known.is_some() && (length < self.read || self.known != identity);
        if replaced {
            self.begin_again();
        }
        self.known = identity;
        if length == self.read {
            return Ok(Content {
                replaced,
                ..Content::default()
            });
        }
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(self.read))
            .and_then(|_| file.take(BLOCK).read_to_end(&mut bytes))
            .map_err(self.failed("read"))?;
        let mut content = parse(&bytes, &mut self.line);
        content.replaced = replaced;
        if content.torn > MAX_LINE {
            // Nobody writes that, and its end may never come.
            content.damage.get_or_insert(Damage {
                line: self.line + 1,
                what: "longer than any line",
            });
            content.torn = 0;
        }
        self.read += bytes.len() as u64 - content.torn;
        content.more = bytes.len() as u64 == BLOCK;
        Ok(content)
    }

    /// Puts a damaged file aside, to be looked at, so that a good one can begin. Gives its new name.
    ///
    /// # Errors
    /// [`FileError`] when it cannot be renamed.
    pub fn put_aside(&mut self, mark: u64) -> Result<PathBuf, FileError> {
        let aside = self.path.with_extension(format!("log.damaged-{mark}"));
        fs::rename(&self.path, &aside).map_err(self.failed("put aside"))?;
        self.begin_again();
        Ok(aside)
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.ino(), metadata.created().ok())
}

/// The length of the file up to the end of its last whole line. What follows was never acknowledged.
fn whole(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut block = [0_u8; 4096];
    while end > 0 {
        let size = end.min(block.len() as u64);
        let start = end - size;
        file.seek(SeekFrom::Start(start))?;
        let size = usize::try_from(size).unwrap_or_default();
        let Some(read) = block.get_mut(..size) else {
            break;
        };
        file.read_exact(read)?;
        if let Some(at) = read.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn sum(entry: &str) -> String {
    let hash = blake3::hash(entry.as_bytes()).to_hex();
    hash.as_str().get(..SUM).unwrap_or_default().to_owned()
}

/// Writes one act with its sum and the end of its line.
fn write(entry: &Entry, bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let entry = serde_json::value::to_raw_value(entry)?;
    let line = Written {
        sum: sum(entry.get()),
        entry: &entry,
    };
    serde_json::to_writer(&mut *bytes, &line)?;
    bytes.push(b'\n');
    Ok(())
}

/// Reads lines; `line` counts them. Goes on after a damaged one, so that as much as possible is known.
pub(super) fn parse(bytes: &[u8], line: &mut u64) -> Content {
    let mut content = Content::default();
    for text in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Some(text) = text.strip_suffix(b"\n") else {
            content.torn = text.len() as u64;
            break;
        };
        *line += 1;
        match entry(text) {
            Ok(entry) => content.entries.push(entry),
            Err(what) => {
                content.damage.get_or_insert(Damage { line: *line, what });
            }
        }
    }
    content
}

fn entry(text: &[u8]) -> Result<Entry, &'static str> {
    let line: Line<'_> =
        serde_json::from_slice(text).map_err(|_error| "not a line of this file")?;
    if sum(line.entry.get()) != line.sum {
        return Err("the sum does not agree");
    }
    let entry: Entry =
        serde_json::from_str(line.entry.get()).map_err(|_error| "not an act of this version")?;
    match &entry {
        Entry::Set(set) => set.kill().map(drop)?,
        Entry::Clear(clear) => clear.cleared().map(drop)?,
    }
    Ok(entry)
}

#[cfg(test)]
mod tests;
