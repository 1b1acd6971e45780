//! The process that writes a kill into its file.
//!
//! A write to a disk that hangs waits where no signal ends it, and a thread that waits so keeps its whole process: the command
//! would have reported the kill, and never come back to its operator. So the wait is that of a process of its own, which writes
//! the kill when the disk comes back.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use keepgate_store::kill::{KillFile, Set};

use super::file;
use crate::arguments::{KILL_ENTRY, KillEntry};
use crate::exit::Exit;
use crate::failure::Failure;

/// Writes the kill by another process, and waits for that. Gives the path of the file.
///
/// # Errors
/// The failure of that process, or that it could not be started.
pub(super) fn write(state: &Path, may_make: bool, entry: &Set) -> Result<PathBuf, Failure> {
    let written = process(state, may_make, entry)
        .map_err(|error| Failure::caused(Exit::Unreachable, &error))?;
    if written.status.success() {
        return Ok(state.join(KillFile::FILE));
    }
    let exit = match written.status.code() {
        Some(code) if code == i32::from(Exit::State.code()) => Exit::State,
        Some(_) | None => Exit::Unreachable,
    };
    let message = String::from_utf8_lossy(&written.stderr);
    Err(Failure::new(exit, message.trim_end()))
}

fn process(state: &Path, may_make: bool, entry: &Set) -> io::Result<Output> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this program itself, without arguments of others, in a group of its own and without variables"
    )]
    let mut command = std::process::Command::new("/proc/self/exe");
    let mut process = command
        .arg(KILL_ENTRY)
        .args(may_make.then_some("--make"))
        .arg("--")
        .arg(state)
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = process.stdin.take() {
        input.write_all(&serde_json::to_vec(entry)?)?;
    }
    process.wait_with_output()
}

/// The command of that process.
pub(in crate::commands) fn enter(wish: &KillEntry) -> Result<(), Failure> {
    let entry = serde_json::from_reader(io::stdin().lock())
        .map_err(|error| Failure::caused(Exit::Usage, &error))?;
    file::write(&wish.state, wish.make, entry)
}
