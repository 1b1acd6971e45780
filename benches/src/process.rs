//! The processes of a run: started on a core of their own, spoken to by lines, ended with the run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Error, io};

/// Which cores the proxy and everything else run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The proxy's core, alone on it.
    pub(crate) proxy: usize,
    /// The core of upstream and driver.
    pub(crate) others: usize,
}

impl Cores {
    /// The first two cores this process may use; none when there is only one.
    pub(crate) fn find() -> Option<Self> {
        let usable = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let mut cores = (0..CpuSet::count()).filter(|core| usable.is_set(*core).unwrap_or(false));
        Some(Self {
            proxy: cores.next()?,
            others: cores.next()?,
        })
    }
}

/// A running process that speaks lines on its standard streams. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Part {
    name: String,
    child: Child,
    /// Parts of the bench end when this closes, even if this process is killed.
    stdin: Option<ChildStdin>,
    lines: Option<BufReader<ChildStdout>>,
}

impl Part {
    /// Starts this same program with `arguments`, on `core`.
    pub(crate) fn own(name: &str, arguments: &[&str], core: Option<usize>) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(io("find the own program"))?;
        Self::of(name, &program, arguments, core)
    }

    /// Starts a build of this program, this one or another, with `arguments`, on `core`.
    pub(crate) fn of(
        name: &str,
        program: &Path,
        arguments: &[&str],
        core: Option<usize>,
    ) -> Result<Self, Error> {
        let mut command = command(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        Self::start(name, program, command, core)
    }

    /// Starts another program with `arguments`, on `core`, with what it prints going to `log`.
    pub(crate) fn foreign(
        name: &str,
        program: &Path,
        arguments: &[&OsStr],
        log: &Path,
        core: Option<usize>,
    ) -> Result<Self, Error> {
        let out = File::create(log).map_err(io("create a log file"))?;
        let err = out.try_clone().map_err(io("create a log file"))?;
        let mut command = command(program);
        // The gateway takes every `KEEPGATE_…` for configuration, `KEEPGATE_BIN` too.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KEEPGATE_") {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        Self::start(name, program, command, core)
    }

    fn start(
        name: &str,
        program: &Path,
        mut command: Command,
        core: Option<usize>,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Start {
            program: program.to_owned(),
            source,
        };
        // The child inherits the affinity of the thread that starts it, and so do all its threads.
        let before = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| failed(errno.into()))?;
        if let Some(core) = core {
            pin(core).map_err(failed)?;
        }
        let started = command.spawn();
        sched_setaffinity(Pid::from_raw(0), &before).map_err(|errno| failed(errno.into()))?;
        let mut child = started.map_err(failed)?;
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            lines: child.stdout.take().map(BufReader::new),
            child,
        })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Waits for a line that begins with `expected` and gives what follows.
    pub(crate) fn hear(&mut self, expected: &'static str) -> Result<String, Error> {
        let mut line = String::new();
        if let Some(lines) = &mut self.lines {
            lines
                .read_line(&mut line)
                .map_err(io("read what a part says"))?;
        }
        match line.trim_end().strip_prefix(expected) {
            Some(rest) => Ok(rest.to_owned()),
            None => Err(Error::Silent {
                part: self.name.clone(),
                expected,
                said: line,
            }),
        }
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(mut self) {
        // Fails only for a process that is gone already.
        let _gone = self.child.wait();
    }

    /// Says one line to the process.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Error> {
        match &mut self.stdin {
            Some(stdin) => writeln!(stdin, "{line}").map_err(io("speak to a part")),
            None => Ok(()),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Runs a tool of the system to its end; what it prints goes where this process prints.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Result<(), Error> {
    let program = Path::new(name);
    let status = command(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .map_err(|source| Error::Start {
            program: program.to_owned(),
            source,
        })?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Reply(format!("`{name}` ended with {status}")))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the bench starts its own parts and the gateway under test; nothing a peer chose"
)]
fn command(program: &Path) -> Command {
    Command::new(program)
}

fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cores)?)
}
