//! A control group per child, where the gateway may make one: whatever a child starts is in it, and the kernel ends all of it
//! at once (cgroup v2, `cgroup.kill`, Linux 5.14).
//!
//! [`tree`](super::tree) finds the same processes by looking, which a process that forks faster than anybody looks, or that has left
//! session, parent and environment behind, can evade. Groups of ours need a writable control group: a unit with
//! `Delegate=yes`, or root outside of a container. Elsewhere the looking is all there is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// Begin of the names of our groups; the mark of the child follows.
const PREFIX: &str = "keepgate-";
/// Attempts to remove a group whose last processes are just ending.
const ROUNDS: usize = 20;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// The group of one child. Dropped, everything in it is killed.
#[derive(Debug)]
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes the group of the child with this mark and moves the process into it. `None` where no group can be made: then the
    /// child stays in the gateway's own.
    pub(super) fn enter(mark: &str, pid: i32) -> Option<Self> {
        let directory = own()?.join(format!("{PREFIX}{mark}"));
        let entered = fs::create_dir(&directory).and_then(|()| {
            // From here on it is removed again, whatever happens.
            let group = Self(directory);
            fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
            Ok(group)
        });
        entered
            .inspect_err(|error| tracing::debug!(%error, "a child has no control group of its own"))
            .ok()
    }

    /// Kills everything in it. What is just being forked is killed too.
    pub(super) fn kill(&self) {
        kill(&self.0);
    }

    /// Removes it once it is empty. Blocks for a tenth of a second at most.
    pub(super) fn remove(&self) {
        remove(&self.0);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        kill(&self.0);
        // Fails while the last process is ending; then whoever ends the gateway's own group removes it.
        let _busy = fs::remove_dir(&self.0);
    }
}

/// Kills everything in every group whose child's mark begins with `mark`, and removes the groups. Blocks.
pub(super) fn end_all(mark: &str) {
    let groups = own().map(fs::read_dir).and_then(Result::ok);
    let wanted = format!("{PREFIX}{mark}");
    let ours = groups.into_iter().flatten().flatten().filter(|entry| {
        let name = entry.file_name();
        !mark.is_empty() && name.to_str().is_some_and(|name| name.starts_with(&wanted))
    });
    let ours: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
    ours.iter().for_each(|group| kill(group));
    ours.iter().for_each(|group| remove(group));
}

fn kill(group: &Path) {
    // One that is gone already, or a kernel without the file: whoever looks for the processes ends them.
    if let Err(error) = fs::write(group.join("cgroup.kill"), "1")
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(%error, "a control group could not be killed");
    }
}

fn remove(group: &Path) {
    for _ in 0..ROUNDS {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
            _ => return,
        }
    }
}

/// The directory of the gateway's own control group.
fn own() -> Option<&'static Path> {
    static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
    OWN.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        locate(&mounts, &groups)
    })
    .as_deref()
}

/// The directory of a process's control group (v2), by its `mountinfo` (proc_pid_mountinfo(5)) and its `cgroup` (cgroups(7)).
fn locate(mounts: &str, groups: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let below = Path::new(group).strip_prefix(root).ok()?;
        Some(Path::new(place).join(below))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::locate;

    #[test]
    fn locates_the_group_of_a_process() {
        const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        const HYBRID: &str = "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                              31 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        const BELOW: &str = "29 23 0:26 /a.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let cases = [
            (
                V2,
                "0::/a.slice/k.service\n",
                Some("/sys/fs/cgroup/a.slice/k.service"),
            ),
            (V2, "0::/\n", Some("/sys/fs/cgroup")),
            (
                HYBRID,
                "3:cpu:/x\n0::/y\n",
                Some("/sys/fs/cgroup/unified/y"),
            ),
            (BELOW, "0::/a.slice/k\n", Some("/sys/fs/cgroup/k")),
            // Outside of what is mounted.
            (BELOW, "0::/b.slice/k\n", None),
            (HYBRID, "3:cpu:/x\n", None),
            (
                "30 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
                "0::/\n",
                None,
            ),
            ("", "", None),
        ];
        for (mounts, groups, expected) in cases {
            assert_eq!(
                locate(mounts, groups).as_deref(),
                expected.map(Path::new),
                "{groups}"
            );
        }
    }
}
