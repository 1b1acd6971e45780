//! Bundles: policies and data in one archive, with a manifest and a signature, as OPA writes and reads them.
//!
//! [`BundleSource`] is where one comes from; what it holds is read, checked against its signature and its roots, and handed to
//! the loader as files, as if it were a directory. Nothing is ever written to disk here.

mod archive;
mod canonical;
mod manifest;
mod signature;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use regorus::Value;
use regorus::unstable::Lexer;

pub use manifest::Root;
pub use signature::{SignError, Signed, Trusted, Verification};
#[doc(hidden)]
pub use write::archive_of;
pub use write::{Packing, WriteError, pack, sign};

use crate::json;
use crate::load::files::{self, File, Kind};
use crate::problem::{LoadErrors, Problem};
use crate::settings::Settings;
use archive::{Caps, Entry};
use manifest::Manifest;

/// Largest bundle that is read, in bytes, as it is packed.
pub const MAX_BYTES: usize = 32 << 20;
/// Largest it may unpack to, in bytes.
const MAX_UNPACKED: usize = 128 << 20;
/// Most entries, folders included.
const MAX_ENTRIES: usize = 8_192;
/// Name of the manifest.
const MANIFEST: &str = ".manifest";

/// Where a bundle comes from: a file, or whoever hands it over.
#[derive(Debug)]
pub struct BundleSource {
    /// What it is called in messages: its path or its URL.
    name: PathBuf,
    verification: Option<Verification>,
    content: Content,
    /// What the last load found here.
    seen: Mutex<Option<About>>,
}

#[derive(Debug)]
enum Content {
    /// It is read anew at each load.
    File,
    /// It was handed over.
    Held(Mutex<Option<Arc<[u8]>>>),
}

impl BundleSource {
    /// A bundle in a file. With `verification` it must be signed, without it must not.
    #[must_use]
    pub fn file(path: &Path, verification: Option<Verification>) -> Self {
        Self {
            name: path.to_owned(),
            verification,
            content: Content::File,
            seen: Mutex::default(),
        }
    }

    /// A bundle that is handed over by [`BundleSource::hold`]; until then a load fails. `name` stands for it in messages.
    #[must_use]
    pub fn held(name: &str, verification: Option<Verification>) -> Self {
        Self {
            name: PathBuf::from(name),
            verification,
            content: Content::Held(Mutex::new(None)),
            seen: Mutex::default(),
        }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The file to watch; `None` for a bundle that is handed over.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self.content {
            Content::File => Some(&self.name),
            Content::Held(_) => None,
        }
    }

    /// Hands a bundle over, for the next load; gives the one before. Of a bundle in a file nothing changes.
    pub fn hold(&self, bytes: Option<Arc<[u8]>>) -> Option<Arc<[u8]>> {
        match &self.content {
            Content::File => None,
            Content::Held(held) => std::mem::replace(
                &mut *held.lock().unwrap_or_else(PoisonError::into_inner),
                bytes,
            ),
        }
    }

    /// What the last load found here that could read it: of a load that succeeded, what is in force.
    #[must_use]
    pub fn seen(&self) -> Option<About> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads and checks a bundle as a load would that found it here; nothing comes into force by it.
    ///
    /// # Errors
    /// Every problem that shows without reading the rules.
    pub fn examine(&self, bytes: &[u8], settings: &Settings) -> Result<About, LoadErrors> {
        let read = read(
            &self.name,
            bytes,
            self.verification.as_ref(),
            settings,
            true,
        );
        read.map(|contents| contents.about).map_err(LoadErrors::new)
    }

    /// What it holds now, checked.
    pub(crate) fn read(&self, settings: &Settings, tests: bool) -> Result<Contents, Vec<Problem>> {
        let fault = |message: String| vec![Problem::whole(&self.name, message)];
        let bytes: Arc<[u8]> = match &self.content {
            Content::File => files::read_bytes(&self.name, MAX_BYTES as u64)
                .map_err(fault)?
                .into(),
            Content::Held(held) => held
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
                .ok_or_else(|| fault("no bundle has been fetched yet".to_owned()))?,
        };
        let contents = read(
            &self.name,
            &bytes,
            self.verification.as_ref(),
            settings,
            tests,
        )?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(contents.about.clone());
        Ok(contents)
    }
}

/// What a bundle is, beside its files' content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// What its author calls this state of it.
    pub revision: Option<Arc<str>>,
    /// The parts of `data` it owns.
    pub roots: Vec<Root>,
    /// Names of all files, in the order of the archive.
    pub files: Vec<String>,
    /// The signature that held.
    pub signed: Option<Signed>,
    /// Its size, packed, in bytes.
    pub size: usize,
}

/// A bundle, read and checked.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) about: About,
    pub(crate) files: Vec<File>,
}

/// Whether bundles that are in force together own parts of each other, each told once.
pub(crate) fn overlaps(bundles: &[(PathBuf, Vec<Root>)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, (place, roots)) in bundles.iter().enumerate() {
        for (other, others) in bundles.iter().skip(index + 1) {
            let both = roots
                .iter()
                .flat_map(|root| others.iter().map(move |other| (root, other)))
                .find(|(root, other)| root.overlaps(other));
            if let Some((root, _)) = both {
                let message = format!(
                    "owns `{}`, which `{}` owns too",
                    root.of_data(),
                    place.display()
                );
                let hint = "give each bundle `roots` of its own in its `.manifest`";
                problems.push(Problem::whole(other, message).hint(hint));
            }
        }
    }
    problems
}

fn read(
    place: &Path,
    bytes: &[u8],
    verification: Option<&Verification>,
    settings: &Settings,
    tests: bool,
) -> Result<Contents, Vec<Problem>> {
    let caps = Caps {
        compressed: MAX_BYTES,
        uncompressed: MAX_UNPACKED,
        entries: MAX_ENTRIES,
    };
    let entries = archive::read(bytes, caps)
        .map_err(|error| vec![Problem::whole(place, error.to_string())])?;
    // Before anything in it is looked at: who wrote this?
    let signed = signature::verify(&entries, verification).map_err(|errors| {
        let told = |(name, error): (String, signature::SignatureError)| {
            Problem::whole(&place.join(name), error.to_string())
        };
        errors.into_iter().map(told).collect::<Vec<_>>()
    })?;
    let manifest = match entries.iter().find(|entry| entry.name == MANIFEST) {
        None => Manifest::absent(),
        Some(entry) => text(entry)
            .and_then(|text| Manifest::read(text).map_err(|error| error.to_string()))
            .map_err(|message| vec![Problem::whole(&place.join(MANIFEST), message)])?,
    };
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for entry in &entries {
        match file(place, entry, settings) {
            Ok(Some(file)) if file.kind == Kind::Tests && !tests => {}
            Ok(Some(file)) => {
                problems.extend(stray(&manifest, &file));
                files.push(file);
            }
            Ok(None) => {}
            Err(message) => problems.push(Problem::whole(&place.join(&entry.name), message)),
        }
    }
    if files.len() > settings.max_files {
        let message = format!("more than {} files", settings.max_files);
        problems.push(Problem::whole(place, message));
    }
    if problems.is_empty() {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Contents {
            about: About {
                revision: manifest.revision,
                roots: manifest.roots,
                files: entries.into_iter().map(|entry| entry.name).collect(),
                signed,
                size: bytes.len(),
            },
            files,
        })
    } else {
        Err(problems)
    }
}

fn text(entry: &Entry) -> Result<&str, String> {
    std::str::from_utf8(&entry.bytes).map_err(|_| "not UTF-8".to_owned())
}

/// An entry as a file of policy; `None` for one that is neither rules nor data.
fn file(place: &Path, entry: &Entry, settings: &Settings) -> Result<Option<File>, String> {
    let (folders, name) = entry
        .name
        .rsplit_once('/')
        .map_or(("", &*entry.name), |(folders, name)| (folders, name));
    match name {
        "patch.json" => return Err("delta bundles are not taken".to_owned()),
        "policy.wasm" | "plan.json" => {
            return Err("compiled policies are not evaluated here".to_owned());
        }
        _ => {}
    }
    if matches!(&*entry.name, MANIFEST | signature::FILE) {
        return Ok(None);
    }
    if entry.name.split('/').any(|step| step.starts_with('.')) {
        // Other readers would take a hidden file of rules for rules.
        return Err("hidden files have no place in a bundle".to_owned());
    }
    let Some(kind) = files::kind(Path::new(name)) else {
        return Ok(None);
    };
    let limit = files::limit(kind, settings);
    if entry.bytes.len() as u64 > limit {
        return Err(format!("larger than {limit} bytes"));
    }
    let text = text(entry)?;
    if files::is_shipped(text) {
        return Ok(None);
    }
    let mount = folders.split('/').filter(|folder| !folder.is_empty());
    Ok(Some(File {
        path: place.join(&entry.name),
        mount: mount.map(str::to_owned).collect(),
        kind,
        text: text.into(),
    }))
}

/// What of a file lies outside the roots.
fn stray(manifest: &Manifest, file: &File) -> Option<Problem> {
    if manifest.permits(&[]) {
        return None;
    }
    let message = match file.kind {
        Kind::Rules | Kind::Tests => {
            let source = regorus::Source::from_contents(
                file.path.display().to_string(),
                file.text.to_string(),
            );
            let package = source
                .ok()
                .and_then(|source| manifest::package(&mut Lexer::new(&source)));
            match package {
                None => "package is not understood, so it is in no root of the bundle".to_owned(),
                Some(package) if manifest.permits(&package) => return None,
                Some(package) => {
                    format!(
                        "package lies outside the roots of the bundle: `{}`",
                        package.join(".")
                    )
                }
            }
        }
        Kind::Json | Kind::Yaml => {
            let value = match file.kind {
                Kind::Json => json::parse(&file.text).map_err(|error| error.to_string()),
                Kind::Yaml | Kind::Rules | Kind::Tests => {
                    Value::from_yaml_str(&file.text).map_err(|error| error.to_string())
                }
            };
            match value {
                // Told by the loader, with its place.
                Err(_) => return None,
                Ok(value) => {
                    let outside = manifest.stray(&mut file.mount.clone(), &value)?;
                    format!("data lies outside the roots of the bundle: `{outside}`")
                }
            }
        }
    };
    let roots: Vec<String> = manifest.roots.iter().map(ToString::to_string).collect();
    let hint = format!("its roots are: {}", roots.join(", "));
    Some(Problem::whole(&file.path, message).hint(hint))
}

#[cfg(test)]
mod tests;
