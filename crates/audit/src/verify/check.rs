//! Reads all records of a log, in order, and computes the tree over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tlog_tiles::{HASH_SIZE, Hash};

use super::calls::Calls;
use super::files;
use super::{Against, Problem, Report};
use crate::checkpoint;
use crate::key::PublicKey;
use crate::layout::{self, WIDTH};
use crate::record::{self, Kind};
use crate::tree::{FullTile, Tree};

/// More records than this beyond the checkpoint are not what a crash leaves: a bundle is signed before the next is begun.
const MAX_UNSIGNED: u64 = 2 * WIDTH;

/// One verification.
pub(super) struct Check<'a> {
    pub(super) directory: &'a Path,
    key: &'a PublicKey,
    pub(super) report: Report,
    pub(super) tree: Tree,
    /// Tree heads that the log must agree with.
    heads: Vec<Expected>,
    calls: Calls,
    scratch: Vec<u8>,
    last: Option<Kind>,
    /// The tile of each level that became full last, as the records give it: a kill can come before it is on disk.
    pub(super) completed: BTreeMap<u8, FullTile>,
    /// The log's own checkpoint when the verification began.
    own: Option<Vec<u8>>,
    /// Whether it was given time to say that it is being written.
    settled: bool,
}

/// A signed tree head.
struct Expected {
    /// Where it comes from.
    name: String,
    size: u64,
    root: Hash,
    /// What it means if the log does not agree.
    otherwise: Problem,
}

impl<'a> Check<'a> {
    pub(super) fn new(directory: &'a Path, key: &'a PublicKey) -> Self {
        Self {
            directory,
            key,
            report: Report::new(key.origin()),
            tree: Tree::new(),
            heads: Vec::new(),
            calls: Calls::default(),
            scratch: Vec::new(),
            last: None,
            completed: BTreeMap::new(),
            own: None,
            settled: false,
        }
    }

    pub(super) fn run(mut self, against: &[Against]) -> Report {
        let own = self.own_note();
        self.expect("checkpoint", own.as_deref(), Problem::Hash);
        self.own = own;
        self.report.signed = self.heads.first().map_or(0, |head| head.size);
        for other in against {
            self.expect(&other.name, Some(&other.note), Problem::Rewritten);
        }
        self.compare_roots();
        self.read_bundles();
        self.report.records = self.tree.size();
        self.report.unfinished += self.calls.running();
        self.report.uncounted += self.calls.uncounted();
        // A running log may have signed more by now; what is missing or unsigned is then judged against what it says now.
        let moved = self.own_note() != self.own;
        self.compare_ends(moved);
        files::check(&mut self);
        self.report
    }

    /// Whether the log has written a checkpoint since the verification began. Its files come just before the checkpoint
    /// over them, so it is waited for once.
    pub(super) fn has_moved(&mut self) -> bool {
        const BETWEEN_FILES_AND_CHECKPOINT: Duration = Duration::from_millis(100);
        if self.own_note() != self.own {
            return true;
        }
        if std::mem::replace(&mut self.settled, true) {
            return false;
        }
        std::thread::sleep(BETWEEN_FILES_AND_CHECKPOINT);
        self.own_note() != self.own
    }

    fn own_note(&self) -> Option<Vec<u8>> {
        layout::read_optional(&layout::checkpoint(self.directory))
            .ok()
            .flatten()
    }

    fn expect(&mut self, name: &str, note: Option<&[u8]>, otherwise: Problem) {
        let Some(note) = note else {
            self.report
                .find(Problem::Signature, name, "there is no checkpoint");
            return;
        };
        match checkpoint::open(note, self.key) {
            Ok(head) => {
                let name = name.to_owned();
                self.heads.push(Expected {
                    name,
                    size: head.size,
                    root: head.root,
                    otherwise,
                });
            }
            Err(checkpoint::NoHead::Origin) => {
                self.report
                    .find(Problem::Origin, name, "it is of another log")
            }
            Err(what @ (checkpoint::NoHead::Malformed | checkpoint::NoHead::Signature)) => {
                self.report.find(Problem::Signature, name, what.to_string());
            }
        }
    }

    fn read_bundles(&mut self) {
        for number in 0.. {
            match self.read_bundle(number) {
                Ok(Some((path, bytes, is_tail))) => {
                    if !self.check_bundle(number, &path, &bytes, is_tail) {
                        return;
                    }
                }
                Ok(None) => return,
                Err(path) => {
                    self.report
                        .find(Problem::File, self.place(&path), "it cannot be read");
                    return;
                }
            }
        }
    }

    /// A bundle, where it lies, and whether it is still being written.
    pub(super) fn read_bundle(
        &self,
        number: u64,
    ) -> Result<Option<(PathBuf, Vec<u8>, bool)>, PathBuf> {
        let complete = layout::bundle(self.directory, number);
        // Asked for twice, because the tail may have been renamed in between.
        for (path, is_tail) in [
            (complete.clone(), false),
            (layout::tail(self.directory, number), true),
            (complete, false),
        ] {
            match layout::read_optional(&path) {
                Ok(Some(bytes)) => return Ok(Some((path, bytes, is_tail))),
                Ok(None) => {}
                Err(_unreadable) => return Err(path),
            }
        }
        Ok(None)
    }

    /// Checks the records of a bundle; says whether there may be another.
    fn check_bundle(&mut self, number: u64, path: &Path, bytes: &[u8], is_tail: bool) -> bool {
        let mut rest = bytes;
        let mut count = 0;
        while count < WIDTH
            && let Some((record, after)) = layout::split_record(rest)
        {
            self.check_record(record);
            count += 1;
            rest = after;
        }
        debug_assert_eq!(
            self.tree.size(),
            number * WIDTH + count,
            "no record is passed over"
        );
        if count == WIDTH && rest.is_empty() {
            return true;
        }
        if is_tail && count < WIDTH {
            self.report.torn_bytes = rest.len() as u64;
            // An orderly end leaves nothing behind itself.
            if !rest.is_empty() && self.last == Some(Kind::LogClosed) {
                self.report.find(
                    Problem::File,
                    self.place(path),
                    "bytes were added after the end",
                );
            }
        } else {
            let what = format!(
                "it does not hold 256 records, but {count} and {} bytes",
                rest.len()
            );
            self.report.find(Problem::Hash, self.place(path), what);
        }
        false
    }

    fn check_record(&mut self, record: &[u8]) {
        let index = self.tree.size();
        match record::read(record, &mut self.scratch) {
            Ok(head) => {
                if head.seq != index {
                    let what = format!("it is numbered {}", head.seq);
                    self.report
                        .find(Problem::Record, format!("record {index}"), what);
                }
                *self.report.kinds.entry(head.kind).or_default() += 1;
                self.last = Some(head.kind);
                self.calls.note(index, head, &mut self.report);
            }
            Err(what) => {
                self.last = None;
                self.report
                    .find(Problem::Record, format!("record {index}"), what.to_string());
            }
        }
        match self.tree.push(record) {
            Ok(full) => {
                for tile in full {
                    self.check_tile(&tile);
                    self.completed.insert(tile.level, tile);
                }
            }
            Err(what) => {
                self.report
                    .find(Problem::Hash, format!("record {index}"), what.to_string())
            }
        }
        self.compare_roots();
    }

    /// Compares a full tile with the one on disk.
    fn check_tile(&mut self, tile: &FullTile) {
        let path = layout::tile(self.directory, tile.level, tile.number, WIDTH);
        let place = self.place(&path);
        match layout::read_optional(&path) {
            Ok(Some(bytes)) if bytes == tile.hashes => {}
            Ok(Some(bytes)) => {
                let what = differing(tile, &bytes);
                self.report.find(Problem::Hash, place, what);
            }
            // A crash may have come before it was written; a checkpoint comes after.
            Ok(None) if self.tree.size() > self.report.signed => {}
            Ok(None) => self.report.find(Problem::File, place, "it is missing"),
            Err(_unreadable) => self.report.find(Problem::File, place, "it cannot be read"),
        }
    }

    /// Compares the root with the tree heads of this size.
    fn compare_roots(&mut self) {
        let size = self.tree.size();
        for head in self.heads.iter().filter(|head| head.size == size) {
            if self.tree.root() != Ok(head.root) {
                let what = format!("the first {size} records give another root");
                self.report.find(head.otherwise, head.name.clone(), what);
            }
        }
    }

    /// Looks for records that are gone, or that nobody signed.
    fn compare_ends(&mut self, moved: bool) {
        let size = self.tree.size();
        for head in self.heads.iter().filter(|head| head.size > size) {
            let what = format!("it covers {} records, the log has {size}", head.size);
            self.report
                .find(Problem::Truncated, head.name.clone(), what);
        }
        self.report.unsigned = size.saturating_sub(self.report.signed);
        if self.report.unsigned > MAX_UNSIGNED && !moved && !self.heads.is_empty() {
            let what = format!("{} records lie beyond it", self.report.unsigned);
            self.report.find(Problem::Unsigned, "checkpoint", what);
        }
    }

    /// A path as the report gives it.
    pub(super) fn place(&self, path: &Path) -> String {
        path.strip_prefix(self.directory)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Where a tile differs from what the records give.
fn differing(tile: &FullTile, bytes: &[u8]) -> String {
    if bytes.len() != tile.hashes.len() {
        return format!(
            "it has {} bytes instead of {}",
            bytes.len(),
            tile.hashes.len()
        );
    }
    let mut pairs = tile.hashes.chunks(HASH_SIZE).zip(bytes.chunks(HASH_SIZE));
    let place = pairs
        .position(|(computed, found)| computed != found)
        .unwrap_or_default();
    let index = tile.number * WIDTH + place as u64;
    match tile.level {
        0 => format!("its hash of record {index} is not the record's"),
        level => format!("its hash {index} of level {level} is not what the records give"),
    }
}
