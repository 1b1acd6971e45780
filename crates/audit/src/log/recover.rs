//! Finds out where a log ends, when it is opened: after an orderly close, a kill, a power cut, or worse.
//!
//! What the checkpoint covers must be there to the last byte that the tree needs; else the log is left alone. What lies
//! beyond it was written but not signed: whole records are taken up and signed, a torn one was never acknowledged and is cut.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tlog_tiles::{HASH_SIZE, HashReader, Tile, TileHashReader, TileReader, record_hash};

use super::OpenError;
use super::store::Found;
use crate::checkpoint::{self, Head};
use crate::key::PublicKey;
use crate::layout::{self, HEIGHT, LEVELS, WIDTH};
use crate::record;
use crate::tree::Tree;

/// More records than this beyond the checkpoint are not what a crash leaves: a bundle is signed before the next is begun.
const MAX_UNSIGNED: u64 = 2 * WIDTH;

/// What was found.
pub(super) struct Recovered {
    pub(super) found: Found,
    /// Records beyond the checkpoint.
    pub(super) unsigned: u64,
    /// Bytes cut off the end.
    pub(super) cut_bytes: u64,
    /// Whether the tiles had to be computed anew from the records.
    pub(super) rebuilt: bool,
}

/// Whether the directory holds no log yet.
pub(super) fn is_new(directory: &Path) -> Result<bool, OpenError> {
    for path in [layout::checkpoint(directory), directory.join("tile")] {
        if path.try_exists().map_err(file("look for", &path))? {
            return Ok(false);
        }
    }
    Ok(tails(directory)?.is_empty())
}

/// Finds the end of the log and puts the files in order.
pub(super) fn recover(directory: &Path, key: &PublicKey) -> Result<Recovered, OpenError> {
    let path = layout::checkpoint(directory);
    let Some(note) = layout::read_optional(&path).map_err(file("read", &path))? else {
        if is_new(directory)? {
            let found = Found {
                tree: Tree::new(),
                full: Vec::new(),
                tail: Vec::new(),
                signed: 0,
                leftovers: Vec::new(),
            };
            return Ok(Recovered {
                found,
                unsigned: 0,
                cut_bytes: 0,
                rebuilt: false,
            });
        }
        return Err(damaged("it is missing", path));
    };
    let head = checkpoint::open(&note, key).map_err(|what| damaged(&what.to_string(), path))?;
    let (mut recovered, edge) = match from_tiles(directory, &head)? {
        Some(tree) => {
            let edge = tree.edge(0).to_vec();
            let found = Found {
                tree,
                full: Vec::new(),
                tail: Vec::new(),
                signed: head.size,
                leftovers: Vec::new(),
            };
            (
                Recovered {
                    found,
                    unsigned: 0,
                    cut_bytes: 0,
                    rebuilt: false,
                },
                edge,
            )
        }
        None => from_records(directory, &head)?,
    };
    take_up(directory, &mut recovered, &edge)?;
    recovered.found.leftovers = leftovers(directory, head.size, &recovered.found.tree)?;
    Ok(recovered)
}

/// The tree from its tiles, if these give the signed root.
fn from_tiles(directory: &Path, head: &Head) -> Result<Option<Tree>, OpenError> {
    let edges: RefCell<[Vec<u8>; LEVELS as usize]> = RefCell::default();
    let disk = Disk {
        directory,
        edges: &edges,
    };
    if head.size == 0 {
        return Ok((head.root == tlog_tiles::EMPTY_HASH).then(Tree::new));
    }
    let reader = TileHashReader::new(head.size, head.root, &disk);
    // Reading any hash reads the whole right edge and proves it against the root.
    let last = tlog_tiles::stored_hash_index(0, head.size - 1);
    if reader.read_hashes(&[last]).is_err() {
        return Ok(None);
    }
    let edges = edges.borrow().clone();
    Ok(Tree::restore(head.size, &reader, edges).ok())
}

/// Reads tiles from the log's directory, and keeps the partial ones once they are proven.
struct Disk<'a> {
    directory: &'a Path,
    edges: &'a RefCell<[Vec<u8>; LEVELS as usize]>,
}

impl TileReader for Disk<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &Tile| {
            let path = layout::tile(
                self.directory,
                tile.level(),
                tile.level_index(),
                u64::from(tile.width()),
            );
            let bytes = fs::read(path).map_err(|_unreadable| tlog_tiles::Error::InvalidTile)?;
            let length = usize::try_from(tile.width())
                .unwrap_or(usize::MAX)
                .saturating_mul(HASH_SIZE);
            (bytes.len() == length)
                .then_some(bytes)
                .ok_or(tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, tiles: &[Tile], data: &[Vec<u8>]) {
        for (tile, bytes) in tiles.iter().zip(data) {
            if u64::from(tile.width()) < WIDTH
                && let Some(edge) = self.edges.borrow_mut().get_mut(usize::from(tile.level()))
            {
                edge.clone_from(bytes);
            }
        }
    }
}

/// The tree from all signed records, if they give the signed root: then only tiles were damaged, and are written anew.
fn from_records(directory: &Path, head: &Head) -> Result<(Recovered, Vec<u8>), OpenError> {
    let mut tree = Tree::new();
    let mut full = Vec::new();
    while tree.size() < head.size {
        let number = tree.size() / WIDTH;
        let (path, bytes) = read_bundle(directory, number)?;
        let mut rest = bytes.as_slice();
        let until = head.size.min((number + 1) * WIDTH);
        while tree.size() < until {
            let Some((record, after)) = layout::split_record(rest) else {
                return Err(damaged("records it covers are gone", path));
            };
            full.extend(push(&mut tree, record, &path)?);
            rest = after;
        }
    }
    if tree.root().ok() != Some(head.root) {
        return Err(damaged(
            "the records do not give its root",
            layout::checkpoint(directory),
        ));
    }
    let edge = tree.edge(0).to_vec();
    let found = Found {
        tree,
        full,
        tail: Vec::new(),
        signed: head.size,
        leftovers: Vec::new(),
    };
    Ok((
        Recovered {
            found,
            unsigned: 0,
            cut_bytes: 0,
            rebuilt: true,
        },
        edge,
    ))
}

/// Checks the signed records of the last bundle against the tree's edge, and takes up those beyond the checkpoint.
fn take_up(directory: &Path, recovered: &mut Recovered, edge: &[u8]) -> Result<(), OpenError> {
    let signed = recovered.found.signed;
    let mut edge = edge.chunks_exact(HASH_SIZE);
    for number in signed / WIDTH.. {
        let complete = layout::bundle(directory, number);
        let is_tail = !complete.try_exists().map_err(file("look for", &complete))?;
        let path = if is_tail {
            layout::tail(directory, number)
        } else {
            complete.clone()
        };
        let bytes = layout::read_optional(&path).map_err(file("read", &path))?;
        let (whole, rest) = match &bytes {
            Some(bytes) => take_records(bytes, &path, &mut edge, &mut recovered.found)?,
            None => (0, [].as_slice()),
        };
        if edge.next().is_some() {
            return Err(damaged("records it covers are gone", path));
        }
        if whole == WIDTH && !rest.is_empty() || whole < WIDTH && !is_tail {
            return Err(damaged("a full bundle does not hold 256 records", path));
        }
        recovered.unsigned = recovered.found.tree.size() - signed;
        if recovered.unsigned > MAX_UNSIGNED {
            let path = layout::checkpoint(directory);
            return Err(damaged(
                "more records lie beyond it than a crash can leave",
                path,
            ));
        }
        if whole < WIDTH {
            keep_cut(directory, recovered.found.tree.size(), rest)?;
            recovered.cut_bytes = rest.len() as u64;
            let length = bytes.as_ref().map_or(0, Vec::len) - rest.len();
            let mut tail = bytes.unwrap_or_default();
            tail.truncate(length);
            recovered.found.tail = tail;
            return check_tails(directory, number);
        }
        if is_tail {
            let parent = complete.parent().unwrap_or(directory);
            fs::create_dir_all(parent).map_err(file("make", parent))?;
            fs::rename(&path, &complete).map_err(file("complete", &path))?;
        }
    }
    Ok(())
}

/// Reads the records of a bundle into the tree, the first of them only to compare them with the hashes it has already.
/// Gives the number of whole records and what is left behind them.
fn take_records<'b>(
    bytes: &'b [u8],
    path: &Path,
    edge: &mut std::slice::ChunksExact<'_, u8>,
    found: &mut Found,
) -> Result<(u64, &'b [u8]), OpenError> {
    let mut rest = bytes;
    let mut whole = 0;
    let mut scratch = Vec::new();
    while whole < WIDTH
        && let Some((record, after)) = layout::split_record(rest)
    {
        match edge.next() {
            Some(hash) if record_hash(record).0 == *hash => {}
            Some(_) => {
                return Err(damaged(
                    &format!("signed record {whole} of the bundle was changed"),
                    path.into(),
                ));
            }
            // What the writer did not write was not acknowledged either: a power cut may leave anything.
            None if record::read(record, &mut scratch)
                .is_ok_and(|head| head.seq == found.tree.size()) =>
            {
                found.full.extend(push(&mut found.tree, record, path)?);
            }
            None => break,
        }
        whole += 1;
        rest = after;
    }
    Ok((whole, rest))
}

/// A tail of another number than the one to be written holds records that nothing accounts for.
fn check_tails(directory: &Path, expected: u64) -> Result<(), OpenError> {
    match tails(directory)?
        .into_iter()
        .find(|&number| number != expected)
    {
        Some(number) => Err(damaged(
            "records lie beyond the end",
            layout::tail(directory, number),
        )),
        None => Ok(()),
    }
}

/// Partial tiles and bundles that lie about: those of the present checkpoint, and what a kill left behind. They go when
/// the next checkpoint is in place.
fn leftovers(directory: &Path, signed: u64, tree: &Tree) -> Result<Vec<PathBuf>, OpenError> {
    let mut paths = Vec::new();
    for level in 0..LEVELS {
        let shift = u32::from(HEIGHT) * (u32::from(level) + 1);
        let first = signed
            .checked_shr(shift)
            .unwrap_or_default()
            .saturating_sub(1);
        for number in first..=tree.edge_number(level) {
            list(
                &layout::partials(&layout::tile(directory, level, number, WIDTH)),
                &mut paths,
            )?;
        }
    }
    for number in (signed / WIDTH).saturating_sub(1)..=tree.size() / WIDTH {
        list(
            &layout::partials(&layout::bundle(directory, number)),
            &mut paths,
        )?;
    }
    Ok(paths)
}

fn list(directory: &Path, paths: &mut Vec<PathBuf>) -> Result<(), OpenError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if layout::is_absent(&error) => return Ok(()),
        Err(source) => return Err(file("read", directory)(source)),
    };
    for entry in entries {
        paths.push(entry.map_err(file("read", directory))?.path());
    }
    Ok(())
}

/// Keeps what is about to be cut off, for whoever wants to look at it.
fn keep_cut(directory: &Path, at: u64, bytes: &[u8]) -> Result<(), OpenError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let path = directory.join(format!("cut.{at}"));
    // As closed as the records it was to be one of: the next start would refuse a directory that is open to others.
    let new = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    match new.and_then(|mut file| file.write_all(bytes)) {
        // A full disk does not keep the gateway from its operators; these bytes were never acknowledged.
        Err(error) if super::disk::is_full(&error) => {
            tracing::error!(%error, "failed to keep a torn record of the audit log");
            fs::remove_file(&path).ok();
            Ok(())
        }
        written => written.map_err(file("write", &path)),
    }
}

/// The numbers of all tails.
fn tails(directory: &Path) -> Result<Vec<u64>, OpenError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(file("read", directory))? {
        let name = entry.map_err(file("read", directory))?.file_name();
        numbers.extend(layout::tail_number(&name));
    }
    Ok(numbers)
}

fn read_bundle(directory: &Path, number: u64) -> Result<(PathBuf, Vec<u8>), OpenError> {
    for path in [
        layout::bundle(directory, number),
        layout::tail(directory, number),
    ] {
        if let Some(bytes) = layout::read_optional(&path).map_err(file("read", &path))? {
            return Ok((path, bytes));
        }
    }
    Err(damaged(
        "records it covers are gone",
        layout::bundle(directory, number),
    ))
}

fn push(
    tree: &mut Tree,
    record: &[u8],
    path: &Path,
) -> Result<Vec<crate::tree::FullTile>, OpenError> {
    tree.push(record)
        .map_err(|what| damaged(&what.to_string(), path.into()))
}

fn damaged(what: &str, path: PathBuf) -> OpenError {
    OpenError::Damaged {
        what: what.to_owned(),
        path,
    }
}

pub(super) fn file<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> OpenError + 'a {
    move |source| OpenError::File {
        doing,
        path: path.into(),
        source,
    }
}
