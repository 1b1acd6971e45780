//! The archive of a bundle: a gzipped tar, read strictly and never to disk.
//!
//! Plain files and folders only. Whatever two readers could see differently is refused: links and devices, names that
//! step back, two entries of one name or of names that differ in case alone, sizes in other notations, bytes behind the
//! end. Everything is bounded before it is made.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::bufread::GzDecoder;

/// What an archive may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Bytes as they come.
    pub(crate) compressed: usize,
    /// Bytes of the tar, headers and padding included.
    pub(crate) uncompressed: usize,
    /// Entries, folders and extended headers included.
    pub(crate) entries: usize,
}

/// Longest name of an entry, in bytes.
pub(crate) const MAX_NAME: usize = 256;
/// Most folders above a file.
const MAX_FOLDERS: usize = 16;
/// Longest extended header, in bytes.
const MAX_EXTENDED: usize = 16 * 1024;
/// Size of a header, and what sizes are rounded up to.
const BLOCK: usize = 512;
/// What a tar begins its end with.
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Why an archive is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("bundle has more than {0} bytes")]
    Compressed(usize),
    #[error("bundle unpacks to more than {0} bytes")]
    Uncompressed(usize),
    #[error("bundle has more than {0} entries")]
    Entries(usize),
    #[error("not a gzip archive, or damaged")]
    Gzip,
    #[error("bytes follow the end of the archive")]
    Trailing,
    #[error("not a tar archive, or damaged, at byte `{0}`")]
    Header(usize),
    #[error("tar archive is cut off")]
    CutOff,
    #[error("entry is neither file nor folder: `{0}`")]
    Kind(String),
    #[error("extended header is not understood, key `{0}`")]
    Extended(String),
    #[error("name of an entry is not plain: `{0}`")]
    Name(String),
    #[error("name of an entry is longer than {MAX_NAME} bytes or {MAX_FOLDERS} folders: `{0}`")]
    Long(String),
    #[error("two entries of one name: `{0}`")]
    Twice(String),
    #[error("two names that differ in case alone: `{0}`")]
    Case(String),
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Folders and name, parted by `/`, without one at the beginning.
    pub(crate) name: String,
    /// The content.
    pub(crate) bytes: Vec<u8>,
}

/// Reads all files, in the order of the archive.
pub(crate) fn read(bytes: &[u8], caps: Caps) -> Result<Vec<Entry>, ArchiveError> {
    let tar = unzip(bytes, caps)?;
    let mut reader = Tar {
        rest: &tar,
        at: 0,
        seen: Names::default(),
        entries: 0,
        caps,
    };
    let mut files = Vec::new();
    while let Some(entry) = reader.next()? {
        files.push(entry);
    }
    Ok(files)
}

/// Unpacks one gzip member; nothing may follow it.
fn unzip(bytes: &[u8], caps: Caps) -> Result<Vec<u8>, ArchiveError> {
    if bytes.len() > caps.compressed {
        return Err(ArchiveError::Compressed(caps.compressed));
    }
    let mut decoder = GzDecoder::new(bytes);
    let mut tar = Vec::new();
    let limit = u64::try_from(caps.uncompressed).unwrap_or(u64::MAX);
    (&mut decoder)
        .take(limit.saturating_add(1))
        .read_to_end(&mut tar)
        .map_err(|_| ArchiveError::Gzip)?;
    if tar.len() > caps.uncompressed {
        return Err(ArchiveError::Uncompressed(caps.uncompressed));
    }
    if decoder.into_inner().is_empty() {
        Ok(tar)
    } else {
        Err(ArchiveError::Trailing)
    }
}

/// A reader of headers and contents.
struct Tar<'a> {
    rest: &'a [u8],
    at: usize,
    seen: Names,
    entries: usize,
    caps: Caps,
}

impl<'a> Tar<'a> {
    /// The next file; folders are checked and passed over.
    fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut long = None;
        loop {
            let start = self.at;
            let header = self.take(BLOCK)?;
            if header == ZEROS {
                return self.end().map(|()| None);
            }
            self.entries += 1;
            if self.entries > self.caps.entries {
                return Err(ArchiveError::Entries(self.caps.entries));
            }
            let header = Header::read(header).ok_or(ArchiveError::Header(start))?;
            let content = self.content(header.size)?;
            match header.kind {
                b'x' => long = extended(content, "path")?.or(long),
                // What holds for all that follows may be remarks and no more.
                b'g' => drop(extended(content, "")?),
                b'L' => long = Some(long_name(content)?),
                b'5' if header.size == 0 => {
                    let name = long.take().unwrap_or(header.name);
                    if let Some(name) = plain(&name, true)? {
                        self.seen.folder(&name)?;
                    }
                }
                b'0' | 0 => {
                    let name = long.take().unwrap_or(header.name);
                    let Some(name) = plain(&name, false)? else {
                        return Err(ArchiveError::Name(name));
                    };
                    self.seen.file(&name)?;
                    let bytes = content.to_vec();
                    return Ok(Some(Entry { name, bytes }));
                }
                _ => return Err(ArchiveError::Kind(long.unwrap_or(header.name))),
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ArchiveError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ArchiveError::CutOff)?;
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    fn content(&mut self, size: usize) -> Result<&'a [u8], ArchiveError> {
        let content = self.take(size)?;
        self.take(size.next_multiple_of(BLOCK) - size)?;
        Ok(content)
    }

    /// After the first block of zeros there are only zeros, one block at least.
    fn end(&mut self) -> Result<(), ArchiveError> {
        if self.rest.len() < BLOCK {
            return Err(ArchiveError::CutOff);
        }
        if self.rest.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(ArchiveError::Trailing)
        }
    }
}

/// What a header says that we look at.
struct Header {
    name: String,
    size: usize,
    kind: u8,
}

impl Header {
    /// Reads a header of POSIX or GNU tar; `None` for any other, and for a wrong checksum.
    fn read(block: &[u8]) -> Option<Self> {
        let sum = octal(block.get(148..156)?)?;
        let counted: usize = block
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                usize::from(if (148..156).contains(&at) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        if sum != counted {
            return None;
        }
        let posix = match block.get(257..263)? {
            b"ustar\0" => true,
            b"ustar " => false,
            _ => return None,
        };
        let name = text(block.get(..100)?)?;
        let prefix = text(block.get(345..500)?)?;
        let name = if posix && !prefix.is_empty() {
            format!("{prefix}/{name}")
        } else {
            name.to_owned()
        };
        Some(Self {
            name,
            size: octal(block.get(124..136)?)?,
            kind: *block.get(156)?,
        })
    }
}

/// Text up to the first zero byte.
fn text(field: &[u8]) -> Option<&str> {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    std::str::from_utf8(field.get(..end)?).ok()
}

/// An octal number that ends with a space or a zero byte; other notations are not read.
fn octal(field: &[u8]) -> Option<usize> {
    let text = text(field)?.trim_matches(' ');
    let digits = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    digits
        .then(|| usize::from_str_radix(text, 8).ok())
        .flatten()
}

/// The value of `key` in an extended header; every other key must be one that changes nothing.
fn extended(content: &[u8], key: &str) -> Result<Option<String>, ArchiveError> {
    let odd = |what: &str| ArchiveError::Extended(what.to_owned());
    if content.len() > MAX_EXTENDED {
        return Err(odd("too long"));
    }
    let mut rest = std::str::from_utf8(content).map_err(|_| odd("not text"))?;
    let mut found = None;
    while !rest.is_empty() {
        let (length, _) = rest.split_once(' ').ok_or_else(|| odd("no length"))?;
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let whole = digits.then(|| length.parse::<usize>().ok()).flatten();
        let (record, after) = whole
            .and_then(|whole| rest.split_at_checked(whole))
            .ok_or_else(|| odd("wrong length"))?;
        rest = after;
        let (name, value) = record
            .get(length.len() + 1..)
            .and_then(|record| record.strip_suffix('\n'))
            .and_then(|record| record.split_once('='))
            .ok_or_else(|| odd("wrong record"))?;
        let harmless = matches!(
            name,
            "comment" | "mtime" | "atime" | "ctime" | "uid" | "gid" | "uname" | "gname"
        ) || name.starts_with("SCHILY.xattr.")
            || name.starts_with("LIBARCHIVE.");
        if name == key && found.is_none() {
            found = Some(value.to_owned());
        } else if !harmless {
            return Err(odd(&name.chars().take(40).collect::<String>()));
        }
    }
    Ok(found)
}

/// A name that GNU tar gives an entry of its own.
fn long_name(content: &[u8]) -> Result<String, ArchiveError> {
    let name = text(content).filter(|_| content.len() <= MAX_EXTENDED);
    name.map(str::to_owned)
        .ok_or_else(|| ArchiveError::Extended("long name".to_owned()))
}

/// The name without the `./` or `/` that common tools begin it with; `None` for the archive's own top.
fn plain(name: &str, folder: bool) -> Result<Option<String>, ArchiveError> {
    let shown = || name.chars().take(MAX_NAME).collect::<String>();
    let bare = name
        .strip_prefix("./")
        .or_else(|| name.strip_prefix('/'))
        .unwrap_or(name);
    let bare = if folder {
        bare.strip_suffix('/').unwrap_or(bare)
    } else {
        bare
    };
    if bare.is_empty() || bare == "." {
        return if folder {
            Ok(None)
        } else {
            Err(ArchiveError::Name(shown()))
        };
    }
    if bare.len() > MAX_NAME || bare.split('/').count() > MAX_FOLDERS + 1 {
        return Err(ArchiveError::Long(shown()));
    }
    let odd = |letter: char| letter.is_control() || letter == '\\' || letter == '\u{feff}';
    let steps = |part: &str| matches!(part, "" | "." | "..");
    if bare.contains(odd) || bare.split('/').any(steps) {
        return Err(ArchiveError::Name(shown()));
    }
    Ok(Some(bare.to_owned()))
}

/// The names so far, by their lower case.
#[derive(Default)]
struct Names(BTreeMap<String, (String, bool)>);

impl Names {
    fn folder(&mut self, name: &str) -> Result<(), ArchiveError> {
        for (end, _) in name.match_indices('/') {
            self.note(name.get(..end).unwrap_or(name), true)?;
        }
        self.note(name, true)
    }

    fn file(&mut self, name: &str) -> Result<(), ArchiveError> {
        if let Some((folder, _)) = name.rsplit_once('/') {
            self.folder(folder)?;
        }
        self.note(name, false)
    }

    fn note(&mut self, name: &str, folder: bool) -> Result<(), ArchiveError> {
        let found = self
            .0
            .insert(name.to_lowercase(), (name.to_owned(), folder));
        match found {
            None => Ok(()),
            Some((other, _)) if other != name => Err(ArchiveError::Case(name.to_owned())),
            // A folder may be named as often as it likes; a file once, and never as a folder besides.
            Some((_, was_folder)) if was_folder && folder => Ok(()),
            Some(_) => Err(ArchiveError::Twice(name.to_owned())),
        }
    }
}
