//! Reads a log from its files, also while it grows.

pub(crate) mod search;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::layout::{self, WIDTH};
use crate::{checkpoint, record};

/// Why a log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file could not be read.
    #[error("failed to read the log: `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A bundle is not what it should be; `verify` says more.
    #[error("the log is damaged: `{path}`")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the record of this index; 0 is the first.
    Index(u64),
    /// With the last so many records.
    Last(u64),
}

/// A record as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its index in the log.
    pub index: u64,
    /// Its canonical JSON.
    pub json: String,
}

/// A cursor over a log's records. Not proof of anything: that is [`crate::verify()`].
///
/// It may give records that no checkpoint covers yet; those a crash can take back only if nobody was told they are durable.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    /// Index of the next record to give.
    next: u64,
    bundle: Option<Bundle>,
    chunk: Vec<u8>,
}

/// The bundle the cursor is in. The file stays the same when the writer renames it.
#[derive(Debug)]
struct Bundle {
    path: PathBuf,
    file: File,
    number: u64,
    /// Records before the cursor.
    place: u64,
    /// Bytes before the cursor.
    offset: u64,
    /// Bytes of the reader's chunk before the cursor.
    used: usize,
}

/// Bytes read at a time: at least one whole record.
const CHUNK: usize = 256 << 10;

impl Reader {
    /// Puts a cursor on a log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the directory cannot be read.
    pub fn open(directory: &Path, start: Start) -> Result<Self, ReadError> {
        let mut reader = Self {
            directory: directory.into(),
            next: 0,
            bundle: None,
            chunk: Vec::new(),
        };
        reader.next = match start {
            Start::Index(index) => index,
            Start::Last(count) => reader.count()?.saturating_sub(count),
        };
        reader.bundle = None;
        Ok(reader)
    }

    /// The next record, or `None` when there is none yet; ask again to follow a growing log.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when a file is unreadable or damaged.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        let wanted = self.next;
        loop {
            let Some((index, record)) = self.step()? else {
                return Ok(None);
            };
            if index < wanted {
                continue;
            }
            let json = String::from_utf8(record.to_vec());
            self.next = index + 1;
            return match json {
                Ok(json) => Ok(Some(Entry { index, json })),
                Err(_not_text) => Err(ReadError::Damaged { path: self.path() }),
            };
        }
    }

    fn path(&self) -> PathBuf {
        self.bundle
            .as_ref()
            .map_or_else(|| self.directory.clone(), |bundle| bundle.path.clone())
    }

    /// Records in the log: those the checkpoint claims, and those that lie beyond it.
    fn count(&mut self) -> Result<u64, ReadError> {
        let path = layout::checkpoint(&self.directory);
        let note =
            layout::read_optional(&path).map_err(|source| ReadError::File { path, source })?;
        let claimed = note
            .as_deref()
            .and_then(checkpoint::claimed_size)
            .unwrap_or_default();
        // From the beginning of the checkpoint's last bundle on, records are counted.
        self.next = claimed / WIDTH * WIDTH;
        let mut count = self.next;
        while let Some((index, _record)) = self.step()? {
            count = index + 1;
        }
        Ok(count)
    }

    /// One record further, without regard to where to begin.
    fn step(&mut self) -> Result<Option<(u64, &[u8])>, ReadError> {
        let number = match &self.bundle {
            None => Some(self.next / WIDTH),
            Some(bundle) if bundle.place == WIDTH => Some(bundle.number + 1),
            Some(_) => None,
        };
        if let Some(number) = number {
            let Some(bundle) = self.open_bundle(number)? else {
                return Ok(None);
            };
            self.bundle = Some(bundle);
            self.chunk.clear();
        }
        let Some(bundle) = &mut self.bundle else {
            return Ok(None);
        };
        let unread = self.chunk.get(bundle.used..).unwrap_or_default();
        if layout::split_record(unread).is_none()
            && !bundle.fill(&self.directory, &mut self.chunk)?
        {
            return Ok(None);
        }
        let unread = self.chunk.get(bundle.used..).unwrap_or_default();
        let Some((record, _after)) = layout::split_record(unread) else {
            return Ok(None);
        };
        let index = bundle.number * WIDTH + bundle.place;
        bundle.place += 1;
        bundle.used += 2 + record.len();
        bundle.offset += 2 + record.len() as u64;
        Ok(Some((index, record)))
    }

    fn open_bundle(&self, number: u64) -> Result<Option<Bundle>, ReadError> {
        let complete = layout::bundle(&self.directory, number);
        // Asked for twice, because the tail may have been renamed in between.
        for path in [
            complete.clone(),
            layout::tail(&self.directory, number),
            complete,
        ] {
            match File::open(&path) {
                Ok(file) => {
                    return Ok(Some(Bundle {
                        path,
                        file,
                        number,
                        place: 0,
                        offset: 0,
                        used: 0,
                    }));
                }
                Err(error) if layout::is_absent(&error) => {}
                Err(source) => return Err(ReadError::File { path, source }),
            }
        }
        Ok(None)
    }
}

impl Bundle {
    /// Reads on from the cursor; says whether there is a whole record. What was read of a torn one is read again: the
    /// writer may have cut it off and written another in its place.
    fn fill(&mut self, directory: &Path, chunk: &mut Vec<u8>) -> Result<bool, ReadError> {
        let failed = |path: &Path, source| ReadError::File {
            path: path.into(),
            source,
        };
        // Looked at before reading: a full bundle is not written to any more.
        let complete = layout::bundle(directory, self.number)
            .try_exists()
            .map_err(|source| failed(&self.path, source))?;
        chunk.resize(CHUNK, 0);
        self.used = 0;
        let mut length = 0;
        while let Some(room) = chunk.get_mut(length..).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, self.offset + length as u64) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(failed(&self.path, source)),
            }
        }
        chunk.truncate(length);
        if layout::split_record(chunk).is_some() {
            return Ok(true);
        }
        if complete {
            return Err(ReadError::Damaged {
                path: self.path.clone(),
            });
        }
        Ok(false)
    }
}

/// Shows `look` the records since `since`, from the last ones on and at most about `max` of them, in windows: within one in
/// order. Some before `since` are among them.
///
/// # Errors
///
/// [`ReadError`] when a file is unreadable or damaged.
pub fn look_back(
    directory: &Path,
    since: SystemTime,
    max: u64,
    mut look: impl FnMut(&str),
) -> Result<(), ReadError> {
    let end = Reader::open(directory, Start::Last(0))?.next;
    let mut upper = end;
    while upper > end.saturating_sub(max) {
        let lower = upper.saturating_sub(WINDOW) / WIDTH * WIDTH;
        let mut reader = Reader::open(directory, Start::Index(lower))?;
        // Not of the first: a record that was written late has an early time.
        let mut newest = None;
        while let Some(entry) = reader.next_entry()?.filter(|entry| entry.index < upper) {
            newest = newest.max(moment(&entry.json));
            look(&entry.json);
        }
        if newest.is_some_and(|newest| newest < since) {
            break;
        }
        upper = lower;
    }
    Ok(())
}

/// Time of a record. Its member is found by its text, which can be in no string: a quote there is escaped.
fn moment(json: &str) -> Option<SystemTime> {
    let (_, after) = json.split_once("\"timestamp\":\"")?;
    let (text, _) = after.split_once('"')?;
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .map(SystemTime::from)
}

/// Records that are read at a time on the way back.
const WINDOW: u64 = 16_384;

/// Every record with this decision id, in order. The id of one that shares an equal one's record (`<uuid>.17`) gives that
/// record and the one that counts, unless the count is lower than its number.
///
/// # Errors
///
/// [`ReadError`] when a file is unreadable or damaged.
pub fn find(directory: &Path, decision_id: &str) -> Result<Vec<Entry>, ReadError> {
    // Records are canonical, and a quote within a string is escaped: the text stands nowhere else.
    let (first, number) = shared(decision_id);
    let needle = record::decision_id_member(first);
    let mut reader = Reader::open(directory, Start::Index(0))?;
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        if entry.json.contains(&needle) {
            found.push(entry);
        }
    }
    if number.is_some_and(|number| !may_be(number, &found)) {
        found.clear();
    }
    Ok(found)
}

/// Id of the record that has the decision `id`, and its number among those that share it.
fn shared(id: &str) -> (&str, Option<u64>) {
    let parts = id.split_once('.');
    let number = parts.and_then(|(_, number)| number.parse().ok());
    match (parts, number) {
        (Some((first, _)), Some(number)) => (first, Some(number)),
        (None, _) | (Some(_), None) => (id, None),
    }
}

/// Whether a record with this number shares one of these. As long as the count is not written, nobody can say that none
/// does.
fn may_be(number: u64, found: &[Entry]) -> bool {
    let heads: Vec<_> = found
        .iter()
        .filter_map(|entry| record::read(entry.json.as_bytes(), &mut Vec::new()).ok())
        .collect();
    let is_opened = heads.iter().any(|head| head.within_s.is_some());
    let count = heads.iter().find_map(|head| head.count);
    number > 0 && count.map_or(is_opened, |count| number <= count)
}

#[cfg(test)]
mod tests;
