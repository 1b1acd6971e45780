//! The gateway's processes, out of the sight of a child that runs as root.
//!
//! `/proc/PID` of a process that is not dumpable belongs to root, so a root without any capability may still list the
//! files it has open. Landlock cannot take away one directory of `/proc` and leave those of processes to come. So such a
//! child has a `/proc` of its own, in a mount namespace of its own, where only what it could trace is to be seen: itself
//! and what it starts. It cannot be written to either, or the child could change the settings of the kernel.

use caps::{CapSet, Capability};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};

use crate::account::{Account, AccountError};

/// Whether a child process without a user of its own sees nothing of the gateway: because it is not root, or because
/// processes can be hidden from it.
pub fn hides_processes() -> bool {
    !geteuid().is_root() || may_mount()
}

fn may_mount() -> bool {
    caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or_default()
}

/// Hides the processes of others from this one, if it will be root. Returns whether it did.
pub(crate) fn hide(user: Option<&str>) -> Result<bool, AccountError> {
    let is_root = match user {
        Some(user) => Account::find(user)?.is_root(),
        None => geteuid().is_root(),
    };
    if !is_root || !may_mount() {
        return Ok(false);
    }
    Ok(mounted().is_ok())
}

fn mounted() -> nix::Result<()> {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted later is still seen here, and what we mount is not seen elsewhere.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        flags,
        Some("hidepid=ptraceable"),
    )
}
