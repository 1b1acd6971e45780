//! Finding and reading policy and data files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header;
use crate::problem::Problem;
use crate::settings::Settings;

/// The assembling library, as shipped.
pub(crate) const LIBRARY: &str = include_str!("../../../../policies/lib/decision.rego");

/// The library that enforces servers' definitions, as shipped.
pub(crate) const DEFINITION: &str = include_str!("../../../../policies/lib/definition.rego");
/// The words it knows.
pub(crate) const TABLES: &str = include_str!("../../../../policies/lib/definition.json");

/// Deepest folder below a configured directory.
const MAX_FOLDERS: usize = 16;

/// What a file is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rules in force.
    Rules,
    /// Tests, read by the runner only.
    Tests,
    /// A JSON document.
    Json,
    /// A YAML document.
    Yaml,
}

/// A file as read.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// The configured directory joined with the way below it.
    pub(crate) path: PathBuf,
    /// Folders below the configured directory: where a data file is mounted.
    pub(crate) mount: Vec<String>,
    pub(crate) kind: Kind,
    pub(crate) text: Arc<str>,
}

/// Reads all files under `directories`, in a fixed order. Test files are left out unless `tests`.
pub(crate) fn read(
    directories: &[PathBuf],
    settings: &Settings,
    tests: bool,
) -> Result<Vec<File>, Vec<Problem>> {
    let files = found(directories, settings, tests)?;
    let place = directories
        .first()
        .map_or_else(|| Path::new("."), PathBuf::as_path);
    with_rules(files, place)
}

/// As [`read`], and none of the files need have rules.
pub(crate) fn found(
    directories: &[PathBuf],
    settings: &Settings,
    tests: bool,
) -> Result<Vec<File>, Vec<Problem>> {
    let mut walk = Walk {
        settings,
        tests,
        files: Vec::new(),
        problems: Vec::new(),
    };
    for directory in directories {
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => walk.folder(directory, &mut Vec::new()),
            Ok(_) => walk.file(directory, &[]),
            Err(error) => walk.problems.push(Problem::whole(
                directory,
                format!("failed to open: {error}"),
            )),
        }
    }
    if walk.problems.is_empty() {
        Ok(walk.files)
    } else {
        Err(walk.problems)
    }
}

/// The files, one of which must have rules; `place` is named where none has.
pub(crate) fn with_rules(files: Vec<File>, place: &Path) -> Result<Vec<File>, Vec<Problem>> {
    if files.iter().any(|file| file.kind == Kind::Rules) {
        return Ok(files.into_iter().map(normalized).collect());
    }
    let hint = "rules live in files named `*.rego`; `policies/starter` is a place to begin";
    Err(vec![Problem::whole(place, "no policy file").hint(hint)])
}

fn normalized(file: File) -> File {
    match file.kind {
        Kind::Rules | Kind::Tests => File {
            text: header::normalized(&file.text),
            ..file
        },
        Kind::Json | Kind::Yaml => file,
    }
}

/// Whether a text comes with the gateway: it is in force already, or a layer of its own.
pub(crate) fn is_shipped(text: &str) -> bool {
    text == LIBRARY || text == DEFINITION
}

/// A digest of everything that decides: names, order and content of all files but tests.
pub(crate) fn revision(files: &[File]) -> Arc<str> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(crate::input::VERSION.as_bytes());
    for file in files.iter().filter(|file| file.kind != Kind::Tests) {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let parts = file
            .mount
            .iter()
            .map(String::as_str)
            .chain([&*name, &*file.text]);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&[0xff]);
    }
    hasher
        .finalize()
        .to_hex()
        .chars()
        .take(32)
        .collect::<String>()
        .into()
}

struct Walk<'a> {
    settings: &'a Settings,
    tests: bool,
    files: Vec<File>,
    problems: Vec<Problem>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, mount: &mut Vec<String>) {
        if mount.len() > MAX_FOLDERS {
            self.problems.push(Problem::whole(
                folder,
                format!("more than {MAX_FOLDERS} folders deep"),
            ));
            return;
        }
        let mut entries =
            match fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Ok(entries) => entries,
                Err(error) => {
                    self.problems
                        .push(Problem::whole(folder, format!("failed to list: {error}")));
                    return;
                }
            };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Hidden entries are editors' and mounts' own: a Kubernetes volume keeps its versions in one.
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(found) if found.is_dir() => {
                    mount.push(name);
                    self.folder(&path, mount);
                    mount.pop();
                }
                Ok(_) => self.file(&path, mount),
                Err(error) => self
                    .problems
                    .push(Problem::whole(&path, format!("failed to open: {error}"))),
            }
        }
    }

    fn file(&mut self, path: &Path, mount: &[String]) {
        let Some(kind) = kind(path) else { return };
        if kind == Kind::Tests && !self.tests {
            return;
        }
        if self.files.len() >= self.settings.max_files {
            if self.files.len() == self.settings.max_files && self.problems.is_empty() {
                self.problems.push(Problem::whole(
                    path,
                    format!("more than {} files", self.settings.max_files),
                ));
            }
            return;
        }
        match read_capped(path, limit(kind, self.settings)) {
            Ok(text) if is_shipped(&text) => {}
            Ok(text) => {
                self.files.push(File {
                    path: path.to_owned(),
                    mount: mount.to_vec(),
                    kind,
                    text: text.into(),
                });
            }
            Err(message) => self.problems.push(Problem::whole(path, message)),
        }
    }
}

/// Most bytes of a file.
pub(crate) fn limit(kind: Kind, settings: &Settings) -> u64 {
    match kind {
        Kind::Rules | Kind::Tests => settings.max_file_bytes,
        Kind::Json | Kind::Yaml => settings.max_data_bytes,
    }
}

/// What a file is by its name; `None` for one that is not read.
pub(crate) fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with("_test.rego") {
        Some(Kind::Tests)
    } else if path
        .extension()
        .is_some_and(|extension| extension == "rego")
    {
        Some(Kind::Rules)
    } else {
        match name {
            "data.json" => Some(Kind::Json),
            "data.yaml" | "data.yml" => Some(Kind::Yaml),
            _ => None,
        }
    }
}

fn read_capped(path: &Path, limit: u64) -> Result<String, String> {
    String::from_utf8(read_bytes(path, limit)?).map_err(|_| "not UTF-8".to_owned())
}

/// The bytes of a file, at most `limit`.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    keepgate_files::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("failed to read: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than {limit} bytes"));
    }
    Ok(bytes)
}
