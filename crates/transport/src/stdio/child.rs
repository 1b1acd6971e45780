//! A child process: started in its own group and with a clean environment, ended as a whole group.
//!
//! Threats met here (security page "stdio in proxy scenarios"): secrets in our environment, grandchildren that outlive
//! their parent, zombies.

use std::{
    ffi::OsString,
    fmt, io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{ChildStdin, ChildStdout, Command},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{cgroup::Cgroup, reaper, stderr, tree};
use crate::duplex::DuplexError;

/// Takes out of a line of a child's log what must not be in ours; `None` if nothing has to be.
pub type Redact = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A program that is started in a child's place and becomes it: it gives up rights first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    /// The program.
    pub program: OsString,
    /// Its arguments; the child's program and its arguments follow.
    pub arguments: Vec<OsString>,
}

/// How a child is started, and ended.
#[derive(Clone)]
pub struct ChildSettings {
    /// The server's name, for the log.
    pub name: String,
    /// Program that starts this one; `None` starts it as it is, with all our rights.
    pub launcher: Option<Launcher>,
    /// The program, looked up in the child's `PATH`.
    pub command: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables of ours the child gets as they are, if they are set. Everything else stays here.
    pub inherit: Vec<String>,
    /// Variables set for the child; they win over the inherited ones.
    pub env: Vec<(String, OsString)>,
    /// Its working directory; ours if `None`.
    pub directory: Option<PathBuf>,
    /// Most bytes of one message in either direction.
    pub max_line: usize,
    /// Most bytes logged of one line the child writes to stderr.
    pub max_log_line: usize,
    /// Time between closing stdin and SIGTERM, and between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What every line passes that the child writes to stderr, before it is logged.
    pub redact: Option<Redact>,
}

/// Variables can be secret, so only their names are shown.
impl fmt::Debug for ChildSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.env.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ChildSettings")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("env", &names)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl ChildSettings {
    /// The variables a child gets unless the configuration says otherwise.
    pub const INHERIT: &'static [&'static str] = &[
        "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME",
    ];

    /// The usual settings for a program.
    pub fn new(name: impl Into<String>, command: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            launcher: None,
            command: command.into(),
            args: Vec::new(),
            inherit: Self::INHERIT.iter().map(|&name| name.to_owned()).collect(),
            env: Vec::new(),
            directory: None,
            max_line: 8 * 1024 * 1024,
            max_log_line: 4 * 1024,
            grace: Duration::from_secs(2),
            redact: None,
        }
    }
}

/// Time between closing stdin and SIGKILL where somebody wants the child gone: enough to hear of a cancelled call.
const URGENT: Duration = Duration::from_millis(250);

/// A running child and the group it leads.
///
/// Dropped, it is killed with its group; the runtime reaps it.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    /// Dropped last of the two: it has what has left the group.
    cgroup: Option<Cgroup>,
    grace: Duration,
    /// Says of a process that it comes from this child.
    mark: String,
}

/// The child's ends of the conversation.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

impl Child {
    /// Starts a child; `tasks` gets the one that logs its stderr.
    pub(super) fn spawn(
        settings: &ChildSettings,
        tasks: &TaskTracker,
    ) -> Result<(Self, Pipes), DuplexError> {
        let failed = |source: io::Error| DuplexError::Spawn {
            command: settings.command.to_string_lossy().into_owned(),
            source: Arc::new(source),
        };
        let mark = tree::mark().map_err(failed)?;
        let mut command = command(settings);
        command.env(tree::VARIABLE, &mark);
        let (mut process, group, cgroup) = {
            // Held while it starts: nobody takes it for one that was adopted.
            let mut leaders = tree::leaders();
            reaper::ensure(leaders.keys().copied()).map_err(failed)?;
            let process = command.spawn().map_err(failed)?;
            let id = process.id().and_then(|id| i32::try_from(id).ok());
            leaders.extend(id.map(|id| (id, mark.clone())));
            // Until here its environment names it: the launcher has the mark from its first moment.
            id.into_iter().for_each(reaper::watch);
            // The launcher has started nothing yet. Without one, what a program starts first may stay outside and is looked for.
            let cgroup = id.and_then(|id| Cgroup::enter(&mark, id));
            (process, id.map(Pid::from_raw), cgroup)
        };
        let pipes = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        );
        let child = Self {
            process,
            group,
            cgroup,
            grace: settings.grace,
            mark,
        };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(failed(io::Error::other("a pipe is missing")));
        };
        tasks.spawn(stderr::log(
            stderr,
            settings.name.clone(),
            settings.max_log_line,
            settings.redact.clone(),
        ));
        Ok((child, Pipes { stdin, stdout }))
    }

    /// The number of the process, which is that of its group.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits for the child to end by itself. [`Self::clear`] ends what it left.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Ends the child whose stdin was just closed: waits, then SIGTERM, waits, then SIGKILL, all to the whole group and to
    /// what has left it. Once `now` is cancelled it is killed after [`URGENT`].
    ///
    /// Returns its status, and how many processes could not be ended.
    pub(super) async fn terminate(
        &mut self,
        now: &CancellationToken,
    ) -> (io::Result<ExitStatus>, usize) {
        let mut known = self.known();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let urgent = now.is_cancelled();
            let grace = if urgent {
                self.grace.min(URGENT)
            } else {
                self.grace
            };
            let waited = timeout(grace, self.process.wait());
            let ended = if urgent {
                waited.await.ok()
            } else {
                now.run_until_cancelled(waited).await.and_then(Result::ok)
            };
            if let Some(status) = ended {
                return (status, self.clear(known).await);
            }
            // What was below it when it was killed is below nobody afterwards.
            known.extend(self.known());
            self.signal(if urgent { Signal::SIGKILL } else { signal });
        }
        let status = self.process.wait().await;
        (status, self.clear(known).await)
    }

    /// Ends everything the child started that is still there.
    ///
    /// Returns how many processes could not be ended.
    pub(super) async fn clear(&mut self, known: tree::Known) -> usize {
        let leader = self.group;
        self.kill_group();
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        let left = tree::end(self.mark.clone(), known).await;
        if let Some(cgroup) = self.cgroup.take() {
            // Its processes are zombies for a moment, if nobody has waited for them yet.
            drop(tokio::task::spawn_blocking(move || cgroup.remove()));
        }
        if left > 0 {
            tracing::error!(
                leader = leader.map(Pid::as_raw),
                left,
                "processes of a child could not be ended"
            );
        }
        left
    }

    /// Processes the child has started that are still below it.
    fn known(&self) -> tree::Known {
        self.group
            .map(|group| tree::descendants(group.as_raw()))
            .unwrap_or_default()
    }

    /// Kills what is left of the group. It is done once: later the number may belong to somebody else.
    fn kill_group(&mut self) {
        self.signal(Signal::SIGKILL);
        if let Some(group) = self.group.take() {
            let mut leaders = tree::leaders();
            leaders.remove(&group.as_raw());
            // Under the lock: the next child may get this number.
            reaper::forget(group.as_raw());
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // ESRCH says that the group is gone, which is what was wanted.
            if let Err(error) = killpg(group, signal) {
                tracing::debug!(%group, %signal, %error, "a process group could not be signalled");
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}

fn command(settings: &ChildSettings) -> Command {
    let mut command = match &settings.launcher {
        Some(launcher) => {
            let mut command = Command::new(&launcher.program);
            command.args(&launcher.arguments).arg(&settings.command);
            command
        }
        None => Command::new(&settings.command),
    };
    command.args(&settings.args).env_clear();
    for name in &settings.inherit {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in &settings.env {
        command.env(name, value);
    }
    if let Some(directory) = &settings.directory {
        command.current_dir(directory);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}
