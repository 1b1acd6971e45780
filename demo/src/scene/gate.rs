//! Keepgate itself, used as anyone would: through its program.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;

use super::child::{Child, ChildError};
use super::probe;
use super::stage::Stage;

/// How long Keepgate may take to be ready.
const START: Duration = Duration::from_secs(15);

/// How long it may take to let go of its calls.
const DRAIN: Duration = Duration::from_secs(15);

const LOOK: Duration = Duration::from_millis(50);

/// What we look for in the log when it will not start.
const LAST_LINES: usize = 12;

/// What can go wrong with Keepgate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// There is no program.
    #[error(
        "no keepgate program at `{path}`, build it with `cargo build` or name it in KEEPGATE_BIN"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It could not be started or stopped.
    #[error("failed to run it")]
    Process(#[from] ChildError),
    /// A command could not be run.
    #[error("failed to run `keepgate {command}`")]
    Command {
        /// Which one.
        command: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A command failed.
    #[error("`keepgate {command}` failed: {said}")]
    Failed {
        /// Which one.
        command: String,
        /// What it said.
        said: String,
    },
    /// It ended instead of starting.
    #[error("it ended at once ({status}):\n{said}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        said: String,
    },
    /// It was not ready in time.
    #[error("it was not ready in time:\n{said}")]
    Slow {
        /// The end of its log.
        said: String,
    },
    /// It ended, but not as it should.
    #[error("it did not end in good order ({status})")]
    Disorderly {
        /// How.
        status: ExitStatus,
    },
}

/// The program to run: `named`, or the one beside `own`.
pub(super) fn program(named: Option<&Path>, own: &Path) -> Result<PathBuf, GateError> {
    let path = named.map_or_else(|| own.with_file_name("keepgate"), Path::to_owned);
    if path.is_file() {
        Ok(path)
    } else {
        Err(GateError::Missing { path })
    }
}

/// What a command said, and whether it was content.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) good: bool,
    pub(super) text: String,
}

/// A running Keepgate.
#[derive(Debug)]
pub(super) struct Gate {
    program: PathBuf,
    config: PathBuf,
    process: Child,
    key: String,
}

impl Gate {
    /// Makes a key for the agent, starts Keepgate and waits until it is ready.
    /// `own` is this program, which attends it.
    pub(super) async fn open(program: &Path, own: &Path, stage: &Stage) -> Result<Self, GateError> {
        let config = stage.config();
        let create = [
            "keys",
            "create",
            "--subject",
            "support-agent",
            "--role",
            "support",
        ];
        let created = run(program, &config, &create).await?;
        if !created.good {
            return Err(GateError::Failed {
                command: "keys create".to_owned(),
                said: created.text,
            });
        }
        let mut serve = Command::new(own);
        serve.args(["attend", "--"]).arg(program).arg("serve");
        let serve = settled(serve, &config);
        let process = Child::logged("keepgate", serve, &stage.log())?;
        let mut gate = Self {
            program: program.to_owned(),
            config,
            process,
            key: created.text.lines().next().unwrap_or_default().to_owned(),
        };
        let ready = gate.wait_until_ready(stage).await;
        if ready.is_err()
            && let Err(error) = gate.process.stop(DRAIN).await
        {
            tracing::debug!(%error, "it was gone already");
        }
        ready.map(|()| gate)
    }

    async fn wait_until_ready(&mut self, stage: &Stage) -> Result<(), GateError> {
        let deadline = tokio::time::Instant::now() + START;
        while tokio::time::Instant::now() < deadline {
            // Nobody listening yet is what we wait for to end.
            if probe::is_ready(stage.admin(), "/readyz")
                .await
                .unwrap_or(false)
            {
                return Ok(());
            }
            if let Some(status) = self.process.ended()? {
                let said = last_lines(&stage.log());
                return Err(GateError::Ended { status, said });
            }
            tokio::time::sleep(LOOK).await;
        }
        let said = last_lines(&stage.log());
        Err(GateError::Slow { said })
    }

    /// The agent's key.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Runs one of Keepgate's commands on the same configuration.
    pub(super) async fn command(&self, arguments: &[&str]) -> Result<Said, GateError> {
        run(&self.program, &self.config, arguments).await
    }

    /// Asks it to end and wants it to end in good order.
    pub(super) async fn close(&mut self) -> Result<(), GateError> {
        let status = self.process.stop(DRAIN).await?;
        if status.success() {
            Ok(())
        } else {
            Err(GateError::Disorderly { status })
        }
    }
}

/// Adds `--config <config>`. Our own variables stay here: Keepgate would take `KEEPGATE_*` for
/// configuration.
fn settled(mut command: Command, config: &Path) -> Command {
    command.arg("--config").arg(config);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEEPGATE_") {
            command.env_remove(name);
        }
    }
    command
}

async fn run(program: &Path, config: &Path, arguments: &[&str]) -> Result<Said, GateError> {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = settled(command, config)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| GateError::Command {
            command: arguments.join(" "),
            source,
        })?;
    let good = output.status.success();
    let said = if good || output.stderr.is_empty() {
        output.stdout
    } else {
        output.stderr
    };
    let text = String::from_utf8_lossy(&said).trim_end().to_owned();
    Ok(Said { good, text })
}

/// The end of a log; what cannot be read says so.
fn last_lines(log: &Path) -> String {
    match std::fs::read_to_string(log) {
        Ok(text) => super::last(&text, LAST_LINES)
            .collect::<Vec<_>>()
            .join("\n"),
        Err(error) => format!("(no log: {error})"),
    }
}
