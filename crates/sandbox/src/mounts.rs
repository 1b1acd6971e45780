//! Other ways to a path: a directory that is mounted a second time is reached by a second name.

use std::path::{Path, PathBuf};

/// A line of `/proc/self/mountinfo`, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    /// The part of the file system that is mounted.
    root: PathBuf,
    point: PathBuf,
}

/// Returns every other name `path` has by the mounts in `table`, which is in the form of `/proc/self/mountinfo`.
pub(crate) fn aliases(path: &Path, table: &str) -> Vec<PathBuf> {
    let mounts: Vec<Mount> = table.lines().filter_map(parse).collect();
    // The mount a path lies on is the deepest one above it, the last of those that cover one another.
    let own = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count());
    let Some((own, rest)) = own.and_then(|own| Some((own, path.strip_prefix(&own.point).ok()?)))
    else {
        return Vec::new();
    };
    let within = own.root.join(rest);
    let others = mounts.iter().filter(|mount| {
        mount.device == own.device && (&mount.point, &mount.root) != (&own.point, &own.root)
    });
    others
        .filter_map(|mount| {
            let rest = within.strip_prefix(&mount.root).ok()?;
            // Joining nothing would add a slash.
            Some(if rest.as_os_str().is_empty() {
                mount.point.clone()
            } else {
                mount.point.join(rest)
            })
        })
        .filter(|alias| alias != path)
        .collect()
}

/// `36 35 98:0 /root /point options .. - type source options`.
fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ').skip(2);
    Some(Mount {
        device: words.next()?.to_owned(),
        root: unescape(words.next()?),
        point: unescape(words.next()?),
    })
}

/// The kernel writes blanks, line breaks and backslashes of paths in octal.
fn unescape(word: &str) -> PathBuf {
    let mut text = word.to_owned();
    for (written, meant) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        text = text.replace(written, meant);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_mounted_twice_has_two_names() {
        let table = "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     22 21 0:5 / /dev rw - devtmpfs none rw\n\
                     30 21 8:1 /srv/gate /mnt/copy rw - ext4 /dev/sda1 rw\n\
                     31 21 8:1 /srv /mnt/with\\040blank rw - ext4 /dev/sda1 rw\n\
                     32 21 8:1 /home /mnt/home rw - ext4 /dev/sda1 rw\n";
        let found = |path: &str| aliases(Path::new(path), table);
        assert_eq!(
            found("/srv/gate/state"),
            [
                PathBuf::from("/mnt/copy/state"),
                PathBuf::from("/mnt/with blank/gate/state")
            ]
        );
        assert_eq!(
            found("/srv/gate"),
            [
                PathBuf::from("/mnt/copy"),
                PathBuf::from("/mnt/with blank/gate")
            ]
        );
        // The other way round: the copy is named, the first name is the alias.
        assert_eq!(
            found("/mnt/copy/state"),
            [
                PathBuf::from("/srv/gate/state"),
                PathBuf::from("/mnt/with blank/gate/state")
            ]
        );
        assert!(found("/dev/null").is_empty());
        assert!(found("/var/lib").is_empty());
    }
}
