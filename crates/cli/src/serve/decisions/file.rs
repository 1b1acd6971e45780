//! The decision log as a file: one event a line, put aside when it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::DecisionFile as Wanted;

/// The file, readable by its owner alone.
pub(super) struct DecisionFile {
    path: PathBuf,
    file: File,
    size: u64,
    wanted: Wanted,
}

impl DecisionFile {
    /// Opens the file; what stands in it stays.
    pub(super) fn open(path: &Path, wanted: &Wanted) -> io::Result<Self> {
        let mut file = opened(path)?;
        let mut size = file.metadata()?.len();
        if size > 0 && !ends_with_newline(path, size)? {
            // A line the last run did not finish must not swallow the first of this one.
            file.write_all(b"\n")?;
            size += 1;
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
            wanted: wanted.clone(),
        })
    }

    /// Appends one event.
    pub(super) fn write(&mut self, event: &str) -> io::Result<()> {
        let length = event.len() as u64 + 1;
        if self.size > 0 && self.size + length > self.wanted.max_size {
            self.put_aside()?;
        }
        let mut line = String::with_capacity(event.len() + 1);
        line.push_str(event);
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.size += length;
        Ok(())
    }

    /// `decisions.jsonl` becomes `decisions.jsonl.1`, that `.2`, and so on; the oldest goes.
    fn put_aside(&mut self) -> io::Result<()> {
        for number in (1..self.wanted.keep).rev() {
            let (from, to) = (aside(&self.path, number), aside(&self.path, number + 1));
            match fs::rename(from, to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = opened(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// The name of a file that was put aside; 1 is the youngest.
fn aside(path: &Path, number: usize) -> PathBuf {
    let mut name = path.to_path_buf().into_os_string();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn ends_with_newline(path: &Path, size: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, size - 1)?;
    Ok(last == *b"\n")
}
