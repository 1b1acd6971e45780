//! A log of lines that is rotated when it is large.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The log, readable by its owner alone.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    keep: usize,
}

impl Rotated {
    /// Opens the log and keeps the lines in it. Before it grows beyond `max_size` bytes `log` becomes `log.1`, that `log.2`,
    /// and so on to `keep`.
    ///
    /// # Errors
    /// The system's answer when it cannot be opened.
    pub fn open(path: &Path, max_size: u64, keep: usize) -> io::Result<Self> {
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
            max_size,
            keep,
        })
    }

    /// Appends a line; its newline is added, in one write.
    ///
    /// # Errors
    /// The system's answer when it cannot be written or rotated.
    pub fn write_line(&mut self, text: &str) -> io::Result<()> {
        let length = text.len() as u64 + 1;
        if self.size > 0 && self.size + length > self.max_size {
            self.rotate()?;
        }
        let mut line = String::with_capacity(text.len() + 1);
        line.push_str(text);
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.keep).rev() {
            match fs::rename(self.numbered(number), self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.file = opened(&self.path)?;
        self.size = 0;
        Ok(())
    }

    /// Path of a rotated file; 1 is the youngest.
    fn numbered(&self, number: usize) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

fn ends_with_newline(path: &Path, size: u64) -> io::Result<bool> {
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, size.saturating_sub(1))?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_full_log_is_rotated_and_the_oldest_goes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log");
        // A line that a crash left without its end does not swallow the next.
        fs::write(&path, "torn").unwrap();
        let mut log = Rotated::open(&path, 10, 2).unwrap();
        for line in ["1111", "2222", "3333", "4444", "5555", "666666666666"] {
            log.write_line(line).unwrap();
        }
        let text = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
        assert_eq!(text("log"), "666666666666\n");
        assert_eq!(text("log.1"), "4444\n5555\n");
        assert_eq!(text("log.2"), "2222\n3333\n");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
