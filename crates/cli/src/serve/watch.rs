//! Which files changed. The system's notices make it quick; looking every few seconds makes it sure, also where there
//! are no notices (network file systems, mounted configuration that is swapped by a link).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// How often files are looked at when no notice comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long changes are gathered after a notice: an editor writes in several steps.
const SETTLE: Duration = Duration::from_millis(100);
/// Most files of one directory tree that are looked at; policies have an own, smaller limit.
const MAX_FILES: usize = 10_000;
/// How deep directories are followed.
const MAX_DEPTH: usize = 16;

/// What is watched for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The configuration file and what it names.
    Configuration,
    /// The policies.
    Policy,
    /// The API keys.
    Keys,
    /// The admin token.
    Token,
    /// The certificate of the data listeners.
    Certificate,
}

/// The files and directories of each subject.
pub(crate) type Watched = BTreeMap<Subject, Vec<PathBuf>>;

/// A file as it was when last looked at.
type Mark = (PathBuf, Option<Look>);

/// Size and identity of a file, and times of the last changes of its content and of itself: its owner and mode count too, since a
/// file that is open to others is refused.
#[derive(PartialEq, Eq)]
struct Look {
    content: (i64, i64),
    file: (i64, i64),
    size: u64,
    inode: u64,
}

/// Watches files until dropped.
pub(crate) struct Watch {
    watched: Watched,
    seen: BTreeMap<Subject, Vec<Mark>>,
    notices: mpsc::Receiver<()>,
    notifier: Option<RecommendedWatcher>,
    followed: BTreeMap<PathBuf, Depth>,
}

impl Watch {
    /// Begins with the files as they are now.
    pub(crate) fn start(watched: Watched) -> Self {
        // One waiting notice is enough: it means "look".
        let (sender, notices) = mpsc::channel(1);
        let notifier = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Looking opens files too; being told of that would make us look for ever.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            // A full channel holds a notice already; a closed one has nobody to tell.
            let _full_or_closed = sender.try_send(()).is_err();
        });
        let notifier = notifier
            .inspect_err(|error| tracing::warn!(%error, "no notices of changed files, looking every two seconds"))
            .ok();
        let seen = look(&watched);
        let mut watch = Self {
            watched: Watched::new(),
            seen,
            notices,
            notifier,
            followed: BTreeMap::new(),
        };
        watch.set(watched);
        watch
    }

    /// Watches other files from now on; what was already watched keeps its last look.
    pub(super) fn set(&mut self, watched: Watched) {
        let followed: BTreeMap<PathBuf, Depth> =
            watched.values().flatten().map(|path| place(path)).collect();
        if let Some(notifier) = &mut self.notifier {
            for gone in self
                .followed
                .keys()
                .filter(|path| !followed.contains_key(*path))
            {
                if let Err(error) = notifier.unwatch(gone) {
                    tracing::debug!(%error, path = %gone.display(), "notices from here could not be ended");
                }
            }
            for (path, depth) in followed
                .iter()
                .filter(|(path, _)| !self.followed.contains_key(*path))
            {
                if let Err(error) = notifier.watch(path, depth.mode()) {
                    tracing::debug!(%error, path = %path.display(), "no notices from here, looking every two seconds");
                }
            }
        }
        self.followed = followed;
        self.watched = watched;
    }

    /// Waits until something changed and has settled, and gives what.
    pub(crate) async fn next(&mut self) -> Vec<Subject> {
        loop {
            let noticed = tokio::time::timeout(LOOK_EVERY, self.notices.recv()).await;
            if matches!(noticed, Ok(Some(()))) {
                tokio::time::sleep(SETTLE).await;
                while self.notices.try_recv().is_ok() {}
            } else if noticed.is_ok() {
                // No notifier any more; the clock alone goes on.
                tokio::time::sleep(LOOK_EVERY).await;
            }
            let watched = self.watched.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&watched)).await else {
                continue;
            };
            let changed: Vec<Subject> = now
                .iter()
                .filter(|(subject, marks)| self.seen.get(subject) != Some(marks))
                .map(|(subject, _)| *subject)
                .collect();
            self.seen = now;
            if !changed.is_empty() {
                return changed;
            }
        }
    }
}

/// How far notices about a directory reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// What lies in it. More would be noise: beside a file we want lie the audit log and whatever else there is.
    Itself,
    /// What lies in it and below.
    Below,
}

impl Depth {
    fn mode(self) -> RecursiveMode {
        match self {
            Self::Itself => RecursiveMode::NonRecursive,
            Self::Below => RecursiveMode::Recursive,
        }
    }
}

/// Where notices about a path come from: a directory itself with all below it, or the directory a file is in.
fn place(path: &Path) -> (PathBuf, Depth) {
    if path.is_dir() {
        return (path.to_path_buf(), Depth::Below);
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => (parent.to_path_buf(), Depth::Itself),
        Some(_) | None => (PathBuf::from("."), Depth::Itself),
    }
}

/// All files as they are.
fn look(watched: &Watched) -> BTreeMap<Subject, Vec<Mark>> {
    let marks = |paths: &Vec<PathBuf>| {
        let mut marks = Vec::new();
        for path in paths {
            collect(path, 0, &mut marks);
        }
        marks
    };
    watched
        .iter()
        .map(|(subject, paths)| (*subject, marks(paths)))
        .collect()
}

/// The file, or every file below the directory, in the order of their names.
fn collect(path: &Path, depth: usize, marks: &mut Vec<Mark>) {
    if marks.len() >= MAX_FILES || depth > MAX_DEPTH {
        return;
    }
    // Links are followed: mounted configuration is a link to the content of the day.
    let metadata = std::fs::metadata(path).ok();
    if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut children: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        children.sort();
        for child in children {
            collect(&child, depth + 1, marks);
        }
        return;
    }
    let mark = metadata.map(|metadata| Look {
        content: (metadata.mtime(), metadata.mtime_nsec()),
        file: (metadata.ctime(), metadata.ctime_nsec()),
        size: metadata.size(),
        inode: metadata.ino(),
    });
    marks.push((path.to_path_buf(), mark));
}

#[cfg(test)]
mod tests;
