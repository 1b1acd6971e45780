//! The room on the disk, and errors that report that there is none.

use std::io;
use std::path::Path;

use super::AppendError;

/// Bytes that may still be written to the file system of `directory`.
#[allow(
    clippy::useless_conversion,
    reason = "the types differ between systems"
)]
pub(super) fn free_bytes(directory: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(directory)?;
    Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
}

/// Whether an error is for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    [StorageFull, QuotaExceeded, FileTooLarge].contains(&error.kind())
}

/// The error of a failed write, for callers.
pub(super) fn refusal(error: &io::Error) -> AppendError {
    if is_full(error) {
        AppendError::Full
    } else {
        AppendError::Failed
    }
}
