//! Where each file of a log lies (C2SP tlog-tiles), and how a bundle of records is put together.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tlog_tiles::{HASH_SIZE, Tile};

/// Height of the tiles.
pub(crate) const HEIGHT: u8 = 8;
/// Records in a full bundle, hashes in a full tile.
pub(crate) const WIDTH: u64 = 256;
/// Bytes of a full hash tile.
pub(crate) const TILE_BYTES: usize = 256 * HASH_SIZE;
/// Tile levels a tree of 2^64 records can have.
pub(crate) const LEVELS: u8 = 8;

/// The signed tree head.
pub(crate) fn checkpoint(directory: &Path) -> PathBuf {
    directory.join("checkpoint")
}

/// The bundle being written.
pub(crate) fn tail(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("tail.{number}"))
}

/// The number in a file name that [`tail`] made.
pub(crate) fn tail_number(name: &OsStr) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("tail.")?;
    digits
        .parse()
        .ok()
        .filter(|number: &u64| number.to_string() == digits)
}

/// A full bundle of 256 records.
pub(crate) fn bundle(directory: &Path, number: u64) -> PathBuf {
    directory.join(relative(0, number, WIDTH, true))
}

/// A copy of the first `width` records of a bundle that was not full at a checkpoint.
pub(crate) fn partial_bundle(directory: &Path, number: u64, width: u64) -> PathBuf {
    directory.join(relative(0, number, width, true))
}

/// A hash tile; partial when `width` is less than 256.
pub(crate) fn tile(directory: &Path, level: u8, number: u64, width: u64) -> PathBuf {
    directory.join(relative(level, number, width, false))
}

/// The directory of the partial forms of the tile or bundle at `full`.
pub(crate) fn partials(full: &Path) -> PathBuf {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    PathBuf::from(name)
}

/// The path below the log's directory. `width` is 1 to 256.
fn relative(level: u8, number: u64, width: u64, records: bool) -> String {
    let width = u32::try_from(width.clamp(1, WIDTH)).unwrap_or(1);
    from_crate(&Tile::new(HEIGHT, level.min(LEVELS), number, width, records).path())
}

/// The crate writes `tile/8/<L>/…` and `tile/8/data/…` as Go's checksum database does; C2SP tlog-tiles fixes the height
/// at 8 and leaves it out, and says `entries`.
fn from_crate(path: &str) -> String {
    let rest = path.strip_prefix("tile/8/").unwrap_or(path);
    match rest.strip_prefix("data/") {
        Some(rest) => format!("tile/entries/{rest}"),
        None => format!("tile/{rest}"),
    }
}

/// The tile at a path below the log's directory, if it is one.
pub(crate) fn parse(relative: &str) -> Option<Tile> {
    let rest = relative.strip_prefix("tile/")?;
    let path = match rest.strip_prefix("entries/") {
        Some(rest) => format!("tile/8/data/{rest}"),
        None => format!("tile/8/{rest}"),
    };
    // A width of zero would make the crate panic.
    if path.ends_with(".p/0") {
        return None;
    }
    let tile = Tile::from_path(&path).ok()?;
    (tile.level() < LEVELS && from_crate(&tile.path()) == relative).then_some(tile)
}

/// Splits the first record off a bundle: a 16-bit length, then so many bytes. `None` when the rest holds no whole record.
pub(crate) fn split_record(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    // A record is never empty: a run of zeros is what a power cut may leave of an unwritten block.
    if length == 0 {
        return None;
    }
    rest.split_at_checked(length)
}

/// The longest file of a log: a bundle of the longest records.
const MAX_FILE: u64 = WIDTH * (2 + u16::MAX as u64);

/// The bytes of a file, or `None` when there is none. Of a file longer than any of a log's, one byte more than that: it will
/// not be taken for whole, and does not fill the memory.
pub(crate) fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len().min(MAX_FILE + 1);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether an error says that there is no such file.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_tlog_tiles() {
        let base = Path::new("log");
        assert_eq!(bundle(base, 0), Path::new("log/tile/entries/000"));
        assert_eq!(
            bundle(base, 1_234_067),
            Path::new("log/tile/entries/x001/x234/067")
        );
        assert_eq!(
            partial_bundle(base, 1, 7),
            Path::new("log/tile/entries/001.p/7")
        );
        assert_eq!(tile(base, 2, 5, 256), Path::new("log/tile/2/005"));
        assert_eq!(
            tile(base, 0, 1000, 255),
            Path::new("log/tile/0/x001/000.p/255")
        );
        assert_eq!(
            partials(&tile(base, 0, 5, 256)),
            Path::new("log/tile/0/005.p")
        );
    }

    #[test]
    fn only_tile_paths_are_parsed() {
        for good in [
            "tile/entries/000",
            "tile/entries/x001/234.p/9",
            "tile/3/001",
            "tile/0/000.p/1",
        ] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in [
            "tile/entries/0",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/9/000",
            "tile/data/000",
            "tile/8/0/000",
            "tile/entries/000.new",
            "tile/0/000.p/01",
            "tile/0/../000",
            "checkpoint",
            "",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_torn_record_is_none() {
        assert_eq!(
            split_record(b"\0\x02ab\0\x01c"),
            Some((&b"ab"[..], &b"\0\x01c"[..]))
        );
        assert_eq!(split_record(b"\0\x03ab"), None);
        assert_eq!(split_record(b"\0"), None);
        assert_eq!(split_record(b"\0\0\0\0"), None);
        assert_eq!(split_record(b""), None);
    }
}
