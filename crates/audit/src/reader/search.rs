//! A search through the last records, newest first: bounded in records, bytes and time, and from the files alone, so that whoever
//! searches holds up nobody who writes.

use std::{path::Path, time::Instant};

use super::{Entry, ReadError, Reader, Start, WIDTH};

/// Bounds of a search.
#[derive(Debug, Clone, Copy)]
pub struct SearchBounds {
    /// Records before the end of the log that are looked through at most.
    pub records: u64,
    /// Bytes of records after which it ends.
    pub bytes: usize,
    /// Time at which it ends.
    pub until: Instant,
    /// Records that are found at most.
    pub found: usize,
}

/// Records that were found.
#[derive(Debug)]
pub struct Found {
    /// The records, newest first.
    pub entries: Vec<Entry>,
    /// Index before which a further search goes on; none when all records within the bound were looked through.
    pub next: Option<u64>,
    /// Whether bytes or time ended it before it had found as many as asked for.
    pub is_cut: bool,
}

/// Searches the last records before the index `before`, or before the end, for those that are `wanted`.
///
/// # Errors
///
/// [`ReadError`] when a file is unreadable or damaged.
pub fn search(
    directory: &Path,
    before: Option<u64>,
    bounds: SearchBounds,
    mut wanted: impl FnMut(&str) -> bool,
) -> Result<Found, ReadError> {
    // A log that is not there is not an empty one.
    if let Err(source) = std::fs::read_dir(directory) {
        let path = directory.to_path_buf();
        return Err(ReadError::File { path, source });
    }
    let end = Reader::open(directory, Start::Last(0))?.next;
    let floor = end.saturating_sub(bounds.records);
    let mut upper = before.unwrap_or(end).min(end);
    let (mut entries, mut bytes) = (Vec::new(), 0_usize);
    while upper > floor {
        if bytes > bounds.bytes || Instant::now() >= bounds.until {
            return Ok(Found {
                entries,
                next: Some(upper),
                is_cut: true,
            });
        }
        let lower = ((upper - 1) / WIDTH * WIDTH).max(floor);
        let mut reader = Reader::open(directory, Start::Index(lower))?;
        let mut bundle = Vec::new();
        while let Some(entry) = reader.next_entry()?.filter(|entry| entry.index < upper) {
            bytes = bytes.saturating_add(entry.json.len());
            if wanted(&entry.json) {
                bundle.push(entry);
            }
        }
        for entry in bundle.into_iter().rev() {
            if entries.len() == bounds.found {
                return Ok(Found {
                    next: entries.last().map(|last: &Entry| last.index),
                    entries,
                    is_cut: false,
                });
            }
            entries.push(entry);
        }
        upper = lower;
    }
    Ok(Found {
        entries,
        next: None,
        is_cut: false,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::{Kind, Log, Record, Settings};

    const RECORDS: u64 = 700;

    fn log(directory: &Path) -> Log {
        let settings = Settings::new(directory, "gate.example/test", "node-1");
        let log = Log::open(Settings {
            min_free_bytes: 0,
            append_timeout: Duration::from_secs(30),
            ..settings
        })
        .unwrap();
        let appended: Vec<_> = (0..RECORDS)
            .map(|at| {
                let id = format!("d{at}");
                log.append(&Record {
                    decision_id: Some(&id),
                    ..Record::new(Kind::CallIntent, SystemTime::UNIX_EPOCH)
                })
            })
            .collect();
        for append in appended {
            append.wait().unwrap();
        }
        log
    }

    fn bounds() -> SearchBounds {
        SearchBounds {
            records: u64::MAX,
            bytes: usize::MAX,
            until: Instant::now() + Duration::from_secs(3600),
            found: 100,
        }
    }

    #[test]
    fn finds_newest_first_and_goes_on_where_it_ended() {
        let directory = tempfile::tempdir().unwrap();
        let _log = log(directory.path());
        let all: Vec<u64> = Reader::open(directory.path(), Start::Index(0))
            .map(|mut reader| std::iter::from_fn(move || reader.next_entry().unwrap()))
            .unwrap()
            .map(|entry| entry.index)
            .collect();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let found = search(directory.path(), before, bounds(), |_| true).unwrap();
            assert!(found.entries.len() <= 100 && !found.is_cut);
            seen.extend(found.entries.iter().map(|entry| entry.index));
            before = found.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, all.into_iter().rev().collect::<Vec<_>>());
        let one = search(directory.path(), None, bounds(), |it| it.contains("\"d3\"")).unwrap();
        assert_eq!((one.entries.len(), one.next), (1, None));
    }

    #[test]
    fn ends_at_each_of_its_bounds() {
        let directory = tempfile::tempdir().unwrap();
        let _log = log(directory.path());
        let looked = |bounds: SearchBounds| {
            let mut looked = 0_u64;
            let found = search(directory.path(), None, bounds, |_| {
                looked += 1;
                false
            });
            (looked, found.unwrap())
        };
        let (count, found) = looked(SearchBounds {
            records: 300,
            ..bounds()
        });
        assert_eq!((count, found.next, found.is_cut), (300, None, false));
        let (count, found) = looked(SearchBounds {
            bytes: 1,
            ..bounds()
        });
        assert!(
            count <= WIDTH && found.is_cut && found.next.is_some(),
            "{count}"
        );
        let (count, found) = looked(SearchBounds {
            until: Instant::now(),
            ..bounds()
        });
        assert!(count == 0 && found.is_cut);
    }
}
