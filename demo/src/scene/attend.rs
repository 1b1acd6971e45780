//! Keeps a process no longer than whoever asked for it.
//!
//! Keepgate does not look at its standard input, so it would outlive a demo that is killed. This
//! sits in between: it ends the process on `SIGTERM`, on Ctrl-C, and when its own standard input
//! closes, and ends as the process ended.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::signal;

/// How long the process may take to end when asked.
const PATIENCE: Duration = Duration::from_secs(12);

/// Why the process could not be attended.
#[derive(Debug, thiserror::Error)]
pub enum AttendError {
    /// There is nothing to start.
    #[error("no command to attend")]
    Nothing,
    /// It did not start.
    #[error("failed to start `{program}`")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It was lost while waiting for it.
    #[error("failed to wait for it")]
    Wait(#[source] io::Error),
    /// It would not end and was killed.
    #[error("it did not end in time")]
    Stuck,
}

/// Starts `command` and gives how it ended.
///
/// # Errors
///
/// See [`AttendError`].
pub async fn attend(
    command: &[String],
    stop: CancellationToken,
) -> Result<ExitStatus, AttendError> {
    let (program, arguments) = command.split_first().ok_or(AttendError::Nothing)?;
    signal::stop_with_stdin(stop.clone());
    let mut process = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| AttendError::Start {
            program: program.clone(),
            source,
        })?;
    tokio::select! {
        ended = process.wait() => return ended.map_err(AttendError::Wait),
        () = stop.cancelled() => {}
    }
    let pid = process.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid {
        kill(Pid::from_raw(pid), Signal::SIGTERM)
            .map_err(|error| AttendError::Wait(error.into()))?;
    }
    match tokio::time::timeout(PATIENCE, process.wait()).await {
        Ok(ended) => ended.map_err(AttendError::Wait),
        Err(_) => Err(AttendError::Stuck),
    }
}
