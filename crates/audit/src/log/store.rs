//! The files of a log as its writer keeps them: the tail, the tiles, the checkpoint.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use signed_note::StandardSigner;

use super::tail::Tail;
use crate::checkpoint;
use crate::layout::{self, LEVELS, WIDTH};
use crate::settings::Durability;
use crate::tree::{FullTile, Tree};

/// The files of a log. After an error every method may be called again; none goes on from a state it is not sure of.
pub(super) struct Store {
    directory: PathBuf,
    durability: Durability,
    origin: String,
    signer: StandardSigner,
    tree: Tree,
    tail: Tail,
    /// Records under the checkpoint in place.
    signed: u64,
    /// Full tiles that are not on disk yet.
    full: Vec<FullTile>,
    /// Partial tiles and bundles that the checkpoint in place needs.
    partials: Vec<PathBuf>,
    /// Other partial tiles and bundles that may lie about; of these nothing is known but the name.
    leftovers: Vec<PathBuf>,
    /// Replaced files to be used again, the oldest first: checkpoints, and all others, which are longer.
    old_checkpoints: VecDeque<PathBuf>,
    old_partials: VecDeque<PathBuf>,
    next_spare: u64,
    /// The tree is in doubt; nothing can be written any more.
    lost: bool,
}

/// What recovery found, to go on from.
pub(super) struct Found {
    pub(super) tree: Tree,
    pub(super) full: Vec<FullTile>,
    /// Whole records in the tail.
    pub(super) tail: Vec<u8>,
    pub(super) signed: u64,
    /// Partial tiles and bundles to remove once the next checkpoint is in place.
    pub(super) leftovers: Vec<PathBuf>,
}

impl Store {
    pub(super) fn new(
        directory: PathBuf,
        durability: Durability,
        origin: String,
        signer: StandardSigner,
        found: Found,
    ) -> Self {
        Self {
            tail: Tail::new(&directory, durability, found.tail),
            directory,
            durability,
            origin,
            signer,
            tree: found.tree,
            signed: found.signed,
            full: found.full,
            partials: Vec::new(),
            leftovers: found.leftovers,
            old_checkpoints: VecDeque::new(),
            old_partials: VecDeque::new(),
            next_spare: 0,
            lost: false,
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Records in the log.
    pub(super) const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Records under the checkpoint in place.
    pub(super) const fn signed(&self) -> u64 {
        self.signed
    }

    /// Whether the tail holds 256 records: it must be published before the next one.
    pub(super) const fn at_boundary(&self) -> bool {
        self.size().is_multiple_of(WIDTH) && self.size() != self.signed
    }

    /// Records the tail still takes.
    pub(super) const fn room(&self) -> u64 {
        WIDTH - self.size() % WIDTH
    }

    /// Appends records, laid out as in a bundle, to the tail; durable when it returns. At most [`Self::room`] of them.
    /// The tree learns of them by [`Self::hash`], which must follow.
    pub(super) fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.lost {
            return Err(io::Error::other(
                "the tree of the log is in doubt; restart to read it again",
            ));
        }
        if self.at_boundary() {
            self.publish()?;
        }
        self.tail.append(self.tail_number(), frame)
    }

    /// Number of the bundle in the tail, a full one that waits to be published included.
    fn tail_number(&self) -> u64 {
        if self.tail.bytes().is_empty() {
            self.size() / WIDTH
        } else {
            (self.size() - 1) / WIDTH
        }
    }

    /// Looks whether the log's directory and tail are as they were written.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.tail.check(self.tail_number())
    }

    /// Whether the last look found that another has been at them.
    pub(super) const fn is_astray(&self) -> bool {
        self.tail.is_astray()
    }

    /// Takes the records of a frame that was appended into the tree.
    pub(super) fn hash(&mut self, frame: &[u8]) {
        let mut rest = frame;
        while let Some((record, after)) = layout::split_record(rest) {
            match self.tree.push(record) {
                Ok(full) => self.full.extend(full),
                Err(_mistake) => {
                    self.lost = true;
                    return;
                }
            }
            rest = after;
        }
    }

    /// Writes the tiles and a checkpoint over all records, and begins a new tail when this one holds 256.
    ///
    /// The order matters: what a checkpoint covers is in place before it, and nothing it needs is taken away before the
    /// next one is.
    pub(super) fn publish(&mut self) -> io::Result<()> {
        if self.lost {
            return Err(io::Error::other(
                "the tree of the log is in doubt; restart to read it again",
            ));
        }
        // What is not there any more must not be signed, nor what another wrote.
        self.check()?;
        while let Some(tile) = self.full.pop() {
            let path = layout::tile(&self.directory, tile.level, tile.number, WIDTH);
            if let Err(error) = self.replace(&path, &tile.hashes) {
                self.full.push(tile);
                return Err(error);
            }
        }
        let partials = self.write_partials()?;
        if self.size().is_multiple_of(WIDTH) && !self.tail.bytes().is_empty() {
            self.complete_bundle()?;
        }
        let root = self.tree.root().map_err(io::Error::other)?;
        let note = checkpoint::sign(&self.origin, self.size(), root, &self.signer)
            .ok_or_else(|| io::Error::other("the checkpoint could not be signed"))?;
        self.replace_checkpoint(&note)?;
        self.signed = self.size();
        self.leftovers
            .append(&mut std::mem::replace(&mut self.partials, partials));
        while let Some(path) = self.leftovers.pop() {
            if !self.partials.contains(&path)
                && let Err(error) = self.remove_partial(&path)
            {
                self.leftovers.push(path);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Renames the tail, which holds 256 records, to the place of a full bundle.
    fn complete_bundle(&mut self) -> io::Result<()> {
        let number = self.size() / WIDTH - 1;
        let from = layout::tail(&self.directory, number);
        let to = layout::bundle(&self.directory, number);
        self.tail.close();
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if layout::is_absent(&error) => {
                self.make_parent(&to)?;
                fs::rename(&from, &to)?;
            }
            Err(error) => return Err(error),
        }
        self.tail.clear();
        to.parent()
            .map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    /// Writes the partial tile of each level and the partial bundle; gives their paths.
    fn write_partials(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for level in 0..LEVELS {
            let width = self.tree.edge_width(level);
            if width > 0 {
                let number = self.tree.edge_number(level);
                let path = layout::tile(&self.directory, level, number, width);
                if !self.partials.contains(&path) {
                    let hashes = self.tree.edge(level).to_vec();
                    self.replace(&path, &hashes)?;
                }
                paths.push(path);
            }
        }
        let width = self.size() % WIDTH;
        if width > 0 {
            let number = self.size() / WIDTH;
            let path = layout::partial_bundle(&self.directory, number, width);
            if !self.partials.contains(&path) {
                let spare = take_spare(&mut self.old_partials);
                let (file, new) = self.spare_file(spare)?;
                self.install(&file, &new, &path, self.tail.bytes())?;
            }
            paths.push(path);
        }
        Ok(paths)
    }

    /// Puts a file in place whole: a reader sees the old one or the new one, and so does a crash.
    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let spare = take_spare(&mut self.old_partials);
        self.replace_with(spare, path, bytes)
    }

    fn replace_with(
        &mut self,
        spare: Option<PathBuf>,
        path: &Path,
        bytes: &[u8],
    ) -> io::Result<()> {
        let (file, new) = self.spare_file(spare)?;
        self.install(&file, &new, path, bytes)
    }

    /// Fills the file at `new` and renames it to `path`.
    fn install(&self, file: &File, new: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let written = self.fill(file, bytes).and_then(|()| self.put(new, path));
        if written.is_err() {
            // Whatever is in it, it is not used again.
            fs::remove_file(new).ok();
        }
        written
    }

    fn fill(&self, file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, 0)?;
        let length = bytes.len() as u64;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        match self.durability {
            Durability::Written => Ok(()),
            Durability::Synced => file.sync_data(),
        }
    }

    /// Renames `new` to `path`.
    fn put(&self, new: &Path, path: &Path) -> io::Result<()> {
        match fs::rename(new, path) {
            Ok(()) => {}
            Err(error) if layout::is_absent(&error) => {
                self.make_parent(path)?;
                fs::rename(new, path)?;
            }
            Err(error) => return Err(error),
        }
        path.parent()
            .map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    /// Replaces the checkpoint and keeps the file of the old one.
    fn replace_checkpoint(&mut self, note: &[u8]) -> io::Result<()> {
        let path = layout::checkpoint(&self.directory);
        let old = self.spare_path();
        // A second name for the old file: the new one takes its place without ending it.
        let kept = fs::hard_link(&path, &old).is_ok();
        let spare = take_spare(&mut self.old_checkpoints);
        match self.replace_with(spare, &path, note) {
            Ok(()) if kept => self.old_checkpoints.push_back(old),
            Ok(()) => {}
            Err(error) => {
                // It is still the checkpoint's own file and must not be written to.
                fs::remove_file(&old).ok();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes away a partial tile that no checkpoint needs any more, and its directory with the last of them.
    fn remove_partial(&mut self, path: &Path) -> io::Result<()> {
        let spare = self.spare_path();
        match fs::rename(path, &spare) {
            Ok(()) => self.old_partials.push_back(spare),
            Err(error) if layout::is_absent(&error) => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent() {
            // Fails while others are in it, which is as well.
            fs::remove_dir(parent).ok();
        }
        Ok(())
    }

    /// A file to be filled and put in place: one that was taken out of use a while ago, or a new one.
    ///
    /// Some file systems make a file slowly if many were removed lately (ext4 passes over every inode freed in the last
    /// minutes), so a log that signs a hundred times a second must not make and remove files as often. A file that was just
    /// replaced may still be read by someone, hence the queue.
    fn spare_file(&mut self, spare: Option<PathBuf>) -> io::Result<(File, PathBuf)> {
        if let Some(path) = spare {
            let file = options(0o640).open(&path)?;
            // Somebody may have given it a name in a copy of the log; then it is theirs.
            if file.metadata()?.nlink() == 1 {
                return Ok((file, path));
            }
            fs::remove_file(&path)?;
        }
        let path = self.spare_path();
        let file = options(0o640).create(true).open(&path)?;
        Ok((file, path))
    }

    fn spare_path(&mut self) -> PathBuf {
        self.next_spare += 1;
        spare(&self.directory, self.next_spare)
    }

    /// Makes the directory of a file, and makes it last.
    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        fs::create_dir_all(parent)?;
        for made in parent
            .ancestors()
            .take_while(|above| above.starts_with(&self.directory))
        {
            self.sync_directory(made)?;
        }
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        match self.durability {
            Durability::Written => Ok(()),
            Durability::Synced => File::open(path)?.sync_all(),
        }
    }
}

fn options(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    options
}

/// A replaced file, if enough others were replaced since.
fn take_spare(spares: &mut VecDeque<PathBuf>) -> Option<PathBuf> {
    if spares.len() > SPARES {
        spares.pop_front()
    } else {
        None
    }
}

/// Replaced files that are kept before the oldest is written to again.
const SPARES: usize = 16;

fn spare(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("private/spare.{number}"))
}

/// Removes what an earlier process kept for use again. Only names go: one may be that of the checkpoint itself.
pub(super) fn remove_spares(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory.join("private"))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"spare.") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
