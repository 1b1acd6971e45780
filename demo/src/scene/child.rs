//! Processes of the demo: started in their own group, ended on every way out.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// How long a process may take to say where it listens.
const START: Duration = Duration::from_secs(10);

/// What can go wrong with a process.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It did not start.
    #[error("failed to start {name}")]
    Start {
        /// Which one.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not say where it listens.
    #[error("{name} did not say where it listens")]
    Silent {
        /// Which one.
        name: &'static str,
    },
    /// It could not be told to end, or waited for.
    #[error("lost {name}")]
    Lost {
        /// Which one.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It did not end in time.
    #[error("{name} did not end in time")]
    Stuck {
        /// Which one.
        name: &'static str,
    },
}

/// A process of the demo. Dropping it closes its standard input, and most end by that.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: tokio::process::Child,
}

impl Child {
    /// Starts `command` with our standard output, to be killed when this is dropped.
    pub(super) fn quiet(name: &'static str, mut command: Command) -> Result<Self, ChildError> {
        command.kill_on_drop(true);
        Self::spawn(name, command)
    }

    /// Starts `command`, which must end when its standard input closes, with everything it says
    /// going to `log`.
    pub(super) fn logged(
        name: &'static str,
        mut command: Command,
        log: &Path,
    ) -> Result<Self, ChildError> {
        let start = |source| ChildError::Start { name, source };
        let out = File::create(log).map_err(start)?;
        let errors = out.try_clone().map_err(start)?;
        command.stdout(out).stderr(errors);
        Self::spawn(name, command)
    }

    /// Starts `command` in a group of its own, so that Ctrl-C reaches the demo alone, which then
    /// ends everything in order. Its standard input is a pipe that closes when the demo is gone,
    /// however it went.
    fn spawn(name: &'static str, mut command: Command) -> Result<Self, ChildError> {
        let process = command
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| ChildError::Start { name, source })?;
        Ok(Self { name, process })
    }

    /// Starts `command`, a server that prints where it listens on its first line and ends when its
    /// standard input closes. Gives that line too.
    pub(super) async fn announced(
        name: &'static str,
        mut command: Command,
    ) -> Result<(Self, String), ChildError> {
        command.stdout(Stdio::piped());
        let mut child = Self::quiet(name, command)?;
        let silent = ChildError::Silent { name };
        let Some(out) = child.process.stdout.take() else {
            return Err(silent);
        };
        let mut line = String::new();
        let mut out = BufReader::new(out);
        match tokio::time::timeout(START, out.read_line(&mut line)).await {
            Ok(Ok(read)) if read > 0 => Ok((child, line.trim().to_owned())),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(silent),
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, ChildError> {
        self.process.try_wait().map_err(|source| ChildError::Lost {
            name: self.name,
            source,
        })
    }

    /// Waits for it to end by itself; whether it ended well.
    pub(super) async fn finish(mut self, patience: Duration) -> Result<bool, ChildError> {
        self.wait(patience).await.map(|status| status.success())
    }

    /// Asks it to end (`SIGTERM`) and waits.
    pub(super) async fn stop(&mut self, patience: Duration) -> Result<ExitStatus, ChildError> {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid {
            kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(|error| ChildError::Lost {
                name: self.name,
                source: error.into(),
            })?;
        }
        self.wait(patience).await
    }

    async fn wait(&mut self, patience: Duration) -> Result<ExitStatus, ChildError> {
        let name = self.name;
        // `Child::wait` would close the pipe, and that means that we are gone.
        let pipe = self.process.stdin.take();
        let waited = tokio::time::timeout(patience, self.process.wait()).await;
        drop(pipe);
        let Ok(waited) = waited else {
            // The closed pipe is the last word it gets.
            return Err(ChildError::Stuck { name });
        };
        waited.map_err(|source| ChildError::Lost { name, source })
    }
}
