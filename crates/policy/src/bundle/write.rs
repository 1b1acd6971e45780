//! Making bundles: packing a directory, signing what is packed.

use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::archive::{self, Caps, Entry, MAX_NAME};
use super::manifest::Manifest;
use super::signature::{self, SignError};
use super::{MANIFEST, MAX_BYTES, MAX_ENTRIES, MAX_UNPACKED};
use crate::load::files::{self, Kind};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;
use keepgate_jose::SigningKey;

/// What a new bundle says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packing {
    /// What this state of it is called.
    pub revision: Option<String>,
    /// The parts of `data` it owns, as `mcp/authz`; none for all.
    pub roots: Vec<String>,
    /// Whether `*_test.rego` go into it.
    pub tests: bool,
}

/// Why a bundle was not made.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The files are not fit for one.
    #[error(transparent)]
    Files(#[from] LoadErrors),
    /// It would not be read again.
    #[error("not a bundle that can be signed: {0}")]
    Archive(String),
    /// It could not be signed.
    #[error("failed to sign the bundle")]
    Sign(#[from] SignError),
    /// It could not be written.
    #[error("failed to pack the bundle")]
    Pack(#[from] std::io::Error),
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    roots: Vec<&'a str>,
    rego_version: u8,
}

/// Packs rules and data under `directory`, as a load would find them, with a manifest. The same files make the same bytes.
///
/// # Errors
/// [`WriteError`].
pub fn pack(
    directory: &Path,
    packing: &Packing,
    settings: &Settings,
) -> Result<Vec<u8>, WriteError> {
    let found = files::read(&[directory.to_owned()], settings, packing.tests)
        .map_err(|problems| WriteError::Files(LoadErrors::new(problems)))?;
    let whole = |message: String| {
        WriteError::Files(LoadErrors::new(vec![Problem::whole(directory, message)]))
    };
    let roots = match packing.roots.as_slice() {
        [] => vec![""],
        roots => roots.iter().map(String::as_str).collect(),
    };
    let manifest = Written {
        revision: packing.revision.as_deref(),
        roots,
        rego_version: 1,
    };
    let manifest =
        serde_json::to_string_pretty(&manifest).map_err(|error| whole(error.to_string()))?;
    Manifest::read(&manifest).map_err(|error| whole(error.to_string()))?;
    let mut entries = vec![Entry {
        name: MANIFEST.to_owned(),
        bytes: manifest.into_bytes(),
    }];
    for file in found {
        if file.kind == Kind::Tests && !packing.tests {
            continue;
        }
        let name = file.path.file_name().unwrap_or_default();
        let mut steps = file.mount.clone();
        steps.push(name.to_string_lossy().into_owned());
        entries.push(Entry {
            name: steps.join("/"),
            bytes: file.text.as_bytes().to_vec(),
        });
    }
    Ok(archive(&entries)?)
}

/// Signs a bundle anew: a signature it has is replaced. `issued_at` is in seconds of Unix time.
///
/// # Errors
/// [`WriteError`].
pub fn sign(
    bundle: &[u8],
    key: &SigningKey,
    id: Option<&str>,
    scope: Option<&str>,
    issued_at: Option<i64>,
) -> Result<Vec<u8>, WriteError> {
    let caps = Caps {
        compressed: MAX_BYTES,
        uncompressed: MAX_UNPACKED,
        entries: MAX_ENTRIES,
    };
    let mut entries =
        archive::read(bundle, caps).map_err(|error| WriteError::Archive(error.to_string()))?;
    entries.retain(|entry| entry.name != signature::FILE);
    let signature = signature::sign(&entries, key, id, scope, issued_at)?;
    entries.push(signature);
    Ok(archive(&entries)?)
}

/// A bundle of files by name and text, for tests and fuzzing.
///
/// # Errors
/// None that memory does not have.
#[doc(hidden)]
pub fn archive_of(files: &[(&str, &str)]) -> std::io::Result<Vec<u8>> {
    let entry = |(name, text): &(&str, &str)| Entry {
        name: (*name).to_owned(),
        bytes: text.as_bytes().to_vec(),
    };
    archive(&files.iter().map(entry).collect::<Vec<_>>())
}

/// The archive of `entries`.
pub(crate) fn archive(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    for entry in entries {
        if entry.name.len() > 100 {
            // The first header of an entry with a long name: GNU's, which every reader knows.
            let name = entry.name.as_bytes();
            zip.write_all(&header(b"././@LongLink", name.len() + 1, b'L'))?;
            zip.write_all(name)?;
            zip.write_all(&padding(name.len(), 1))?;
        }
        let name = entry.name.as_bytes();
        let shown = name.get(..name.len().min(100)).unwrap_or(name);
        zip.write_all(&header(shown, entry.bytes.len(), b'0'))?;
        zip.write_all(&entry.bytes)?;
        zip.write_all(&padding(entry.bytes.len(), 0))?;
    }
    zip.write_all(&[0; 1024])?;
    zip.finish()
}

/// Zeros up to the next block, after at least so many.
fn padding(length: usize, least: usize) -> Vec<u8> {
    vec![0; (length + least).next_multiple_of(512) - length]
}

/// One header of GNU tar: no owner, no time, so that the same files make the same bytes.
fn header(name: &[u8], size: usize, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, name);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar  \0");
    let sum: usize = block.iter().map(|byte| usize::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (place, byte) in block.iter_mut().skip(148).zip(sum.as_bytes()) {
        *place = *byte;
    }
    block
}

const _: () = assert!(MAX_NAME <= 512, "a long name fits one block");
