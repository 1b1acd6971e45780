//! Looks at every file below `tile/`: the partial ones must be beginnings of what the records give, and none may lie there
//! that the tree does not have.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tlog_tiles::{HASH_SIZE, Tile};

use super::check::Check;
use super::{Problem, Report};
use crate::layout::{self, LEVELS, WIDTH};

/// Checks the files. A log that is written meanwhile may have replaced what its old checkpoint needs, and made what it did
/// not reach: before such a finding, [`Check::has_moved`] is asked, and not earlier.
pub(super) fn check(check: &mut Check<'_>) {
    check_tails(check);
    let mut paths = BTreeSet::new();
    if let Err(path) = walk(&check.directory.join("tile"), &mut paths) {
        check
            .report
            .find(Problem::File, check.place(&path), "it cannot be read");
        return;
    }
    check_needed(check, &paths);
    for path in &paths {
        let place = check.place(path);
        let Some(tile) = layout::parse(&place) else {
            check
                .report
                .find(Problem::File, place, "it does not belong to a log");
            continue;
        };
        if u64::from(tile.width()) == WIDTH {
            check_known(check, &tile, place);
        } else {
            check_partial(check, &tile, path, place);
        }
    }
}

/// Only the bundle being written is a tail.
fn check_tails(check: &mut Check<'_>) {
    let expected = check.tree.size() / WIDTH;
    let entries = fs::read_dir(check.directory)
        .into_iter()
        .flatten()
        .flatten();
    let numbers = entries.filter_map(|entry| layout::tail_number(&entry.file_name()));
    let mut others: Vec<u64> = numbers.filter(|&number| number != expected).collect();
    if !others.is_empty() && check.has_moved() {
        return;
    }
    others.sort_unstable();
    for number in others {
        // A crash can come between the last record of a bundle and its new name: the next tail is not begun yet.
        let place = format!("tail.{number}");
        if number + 1 == expected && !layout::bundle(check.directory, number).exists() {
            continue;
        }
        check
            .report
            .find(Problem::File, place, "it is not where the log ends");
    }
}

/// The partial tiles and the partial bundle that the checkpoint needs.
fn check_needed(check: &mut Check<'_>, paths: &BTreeSet<PathBuf>) {
    let signed = check.report.signed;
    let mut needed = Vec::new();
    for level in 0..LEVELS {
        let hashes = signed >> (8 * u32::from(level));
        if !hashes.is_multiple_of(WIDTH) {
            needed.push(layout::tile(
                check.directory,
                level,
                hashes / WIDTH,
                hashes % WIDTH,
            ));
        }
    }
    if !signed.is_multiple_of(WIDTH) {
        needed.push(layout::partial_bundle(
            check.directory,
            signed / WIDTH,
            signed % WIDTH,
        ));
    }
    needed.retain(|path| !paths.contains(path));
    if !needed.is_empty() && check.has_moved() {
        return;
    }
    for path in needed {
        check
            .report
            .find(Problem::File, check.place(&path), "it is missing");
    }
}

/// A full tile or bundle that the records reach was compared when they did; any other should not be there.
fn check_known(check: &mut Check<'_>, tile: &Tile, place: String) {
    let shift = if tile.is_data() {
        8
    } else {
        8 * (u32::from(tile.level()) + 1)
    };
    // What a checkpoint covers and is gone is a finding already; the tiles over it tell nothing more.
    let reached = check.tree.size().max(check.report.signed);
    let complete = reached.checked_shr(shift).unwrap_or_default();
    if tile.level_index() >= complete && !check.has_moved() {
        check
            .report
            .find(Problem::File, place, "the log does not reach this far");
    }
}

fn check_partial(check: &mut Check<'_>, tile: &Tile, path: &Path, place: String) {
    let bytes = match layout::read_optional(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            if !check.has_moved() {
                check.report.find(Problem::File, place, "it is missing");
            }
            return;
        }
        Err(_unreadable) => {
            check.report.find(Problem::File, place, "it cannot be read");
            return;
        }
    };
    let width = usize::try_from(tile.width()).unwrap_or(usize::MAX);
    let expected = if tile.is_data() {
        let bundle = check.read_bundle(tile.level_index()).ok().flatten();
        bundle.and_then(|(_path, bytes, _is_tail)| first_records(&bytes, width).map(<[u8]>::to_vec))
    } else {
        first_hashes(check, tile, width)
    };
    let moved = expected.is_none() && check.has_moved();
    judge(&mut check.report, &bytes, expected.as_deref(), place, moved);
}

fn judge(report: &mut Report, bytes: &[u8], expected: Option<&[u8]>, place: String, moved: bool) {
    match expected {
        Some(expected) if expected == bytes => {}
        Some(_) => report.find(Problem::Hash, place, "it is not what the records give"),
        // Gone records were found before; a log that runs may have written it just now.
        None if moved
            || report
                .findings
                .iter()
                .any(|finding| finding.problem == Problem::Truncated) => {}
        None => report.find(Problem::File, place, "the log does not reach this far"),
    }
}

/// The first records of a bundle, with their lengths.
fn first_records(bundle: &[u8], count: usize) -> Option<&[u8]> {
    let mut rest = bundle;
    for _ in 0..count {
        rest = layout::split_record(rest)?.1;
    }
    bundle.get(..bundle.len() - rest.len())
}

/// The first hashes of a tile: of the tree's edge, or of a full tile, which was compared before.
fn first_hashes(check: &Check<'_>, tile: &Tile, count: usize) -> Option<Vec<u8>> {
    let (level, number) = (tile.level(), tile.level_index());
    if number == check.tree.edge_number(level) {
        return check
            .tree
            .edge(level)
            .get(..count * HASH_SIZE)
            .map(<[u8]>::to_vec);
    }
    if number > check.tree.edge_number(level) {
        return None;
    }
    if let Some(tile) = check.completed.get(&level)
        && tile.number == number
    {
        return tile.hashes.get(..count * HASH_SIZE).map(<[u8]>::to_vec);
    }
    let full = layout::tile(check.directory, level, number, WIDTH);
    let bytes = layout::read_optional(&full).ok().flatten()?;
    bytes.get(..count * HASH_SIZE).map(<[u8]>::to_vec)
}

/// All files below a directory; the path that cannot be read, if one cannot.
fn walk(directory: &Path, paths: &mut BTreeSet<PathBuf>) -> Result<(), PathBuf> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if layout::is_absent(&error) => continue,
            Err(_unreadable) => return Err(directory),
        };
        for entry in entries {
            let entry = entry.map_err(|_unreadable: io::Error| directory.clone())?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|_unreadable| path.clone())?;
            if kind.is_dir() {
                directories.push(path);
            } else {
                paths.insert(path);
            }
        }
    }
    Ok(())
}
