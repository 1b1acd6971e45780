//! The reaper: a process that outlives the gateway by a moment, and ends the children a killed gateway leaves.
//!
//! After `kill -9` (or the OOM killer) nothing of the gateway runs any more, and its children go on with the call they are in
//! and the credential they hold. A parent-death signal would end the first process only, is lost when a child starts a program
//! with other rights, and follows the *thread* that started the child: one that tokio retires takes healthy children along. So
//! the binary starts itself once more, in a session of its own, with one end of a socket pair. The gateway names each child and
//! each process it adopts; at the end of the stream the reaper kills these, what is below them, what is in their groups and
//! sessions, and what carries the mark of this gateway.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, BufRead, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
    },
    unistd::{Pid, getpid, setsid},
};

use super::{
    cgroup,
    tree::{self, Known, Process},
};

/// Command of the binary that makes it the reaper. Not for people.
pub const REAPER_COMMAND: &str = "__reap";

/// Looks in a row that find nobody, until the reaper believes that nobody is left: a child may just be starting.
const QUIET_LOOKS: usize = 25;
/// Looks in all: what the kernel does not let end in this time never ends.
const MAX_LOOKS: usize = 1_000;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Processes the reaper remembers before it forgets those that have ended.
const MAX_KNOWN: usize = 65_536;

/// The binary, where the gateway runs in one of its own.
static PROGRAM: OnceLock<OsString> = OnceLock::new();
/// The reaper that runs.
static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);
/// Its number, 0 if there is none.
static NUMBER: AtomicI32 = AtomicI32::new(0);

/// The gateway's end.
#[derive(Debug)]
struct Reaper {
    process: Child,
    stream: UnixStream,
    /// Adopted processes it knows.
    adopted: Known,
}

/// Makes every child from now on known to a reaper, which is `program` with [`REAPER_COMMAND`].
pub fn guard(program: impl Into<OsString>) {
    PROGRAM.get_or_init(|| program.into());
}

/// Number of the reaper: no child, and nothing that was adopted.
pub(super) fn number() -> i32 {
    NUMBER.load(Ordering::Relaxed)
}

/// Makes sure that a reaper runs and knows `leaders`. Without a program nothing is guarded. Blocks for the start of a process
/// the first time.
///
/// # Errors
/// The error of the system: no child may start that nobody would end.
pub(super) fn ensure(leaders: impl Iterator<Item = i32>) -> io::Result<()> {
    let Some(program) = PROGRAM.get() else {
        return Ok(());
    };
    let mut reaper = lock();
    if let Some(reaper) = reaper.as_mut()
        && matches!(reaper.process.try_wait(), Ok(None))
    {
        return Ok(());
    }
    *reaper = None;
    let mut started = start(program)?;
    for leader in leaders {
        started.name(leader)?;
    }
    *reaper = Some(started);
    Ok(())
}

/// Names a child that has started.
pub(super) fn watch(leader: i32) {
    with_reaper(|reaper| reaper.name(leader));
}

/// Forgets a child whose group is gone.
pub(super) fn forget(leader: i32) {
    with_reaper(|reaper| reaper.write(&format!("-{leader}\n")));
}

/// Names processes that have been adopted; those that are known are not named again.
pub(super) fn adopt(orphans: Known) {
    with_reaper(|reaper| {
        for (pid, started) in orphans.difference(&reaper.adopted) {
            (&reaper.stream).write_all(format!("+{pid} {started}\n").as_bytes())?;
        }
        reaper.adopted = orphans;
        Ok(())
    });
}

/// A stream that is broken or full belongs to a reaper that does not do its work: the next [`ensure`] starts another.
fn with_reaper(act: impl FnOnce(&mut Reaper) -> io::Result<()>) {
    let mut reaper = lock();
    if let Some(running) = reaper.as_mut()
        && let Err(error) = act(running)
    {
        tracing::warn!(%error, "the reaper of child processes does not listen, another one is started");
        let _ended_already = running.process.kill();
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Reaper>> {
    REAPER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a reaper.
fn start(program: &OsString) -> io::Result<Reaper> {
    // A socket, not a pipe: nobody opens it again through /proc.
    let (stream, other) = UnixStream::pair()?;
    stream.set_nonblocking(true)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of the gateway's own, which is no child that tokio has to wait for"
    )]
    let mut command = Command::new(program);
    command
        .arg(REAPER_COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(other)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command.spawn()?;
    NUMBER.store(
        i32::try_from(process.id()).unwrap_or_default(),
        Ordering::Relaxed,
    );
    let mut reaper = Reaper {
        process,
        stream,
        adopted: Known::new(),
    };
    reaper.write(&format!("={}\n", tree::run_mark()?))?;
    Ok(reaper)
}

impl Reaper {
    fn name(&mut self, pid: i32) -> io::Result<()> {
        // One that has ended already has nothing that could be named.
        let Some(process) = tree::process(pid) else {
            return Ok(());
        };
        self.write(&format!("+{pid} {}\n", process.started))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes())
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Processes to end, as the reaper knows them.
#[derive(Debug, Default)]
struct Doomed {
    mark: String,
    known: Known,
}

/// The reaper's whole life: listens on standard input until it ends, and ends what was named.
///
/// # Errors
/// The error of the system.
pub fn reap_children() -> io::Result<()> {
    // Out of the gateway's session and group: what a terminal or an operator sends to those is not for the reaper.
    let _leads_already = setsid();
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        signals.add(signal);
    }
    // Whoever ends a whole control group begins with SIGTERM: the reaper ends after the gateway.
    signals.thread_block()?;
    prctl::set_dumpable(false)?;
    let mut doomed = Doomed::default();
    let mut line = String::new();
    let mut input = io::stdin().lock();
    // An error is an end too: there is nobody to hear from.
    while let Ok(1..) = input.read_line(&mut line) {
        doomed.note(line.trim_end());
        line.clear();
    }
    doomed.end();
    Ok(())
}

impl Doomed {
    /// Takes one line of the gateway.
    fn note(&mut self, line: &str) {
        if let Some(mark) = line.strip_prefix('=') {
            mark.clone_into(&mut self.mark);
        } else if let Some(pid) = line.strip_prefix('-') {
            let pid: Option<i32> = pid.parse().ok();
            self.known.retain(|(known, _)| Some(*known) != pid);
        } else if let Some((pid, started)) = line
            .strip_prefix('+')
            .and_then(|entry| entry.split_once(' '))
            && let (Ok(pid), Ok(started)) = (pid.parse(), started.parse())
        {
            if self.known.len() >= MAX_KNOWN {
                let alive: Known = tree::processes().iter().map(Process::key).collect();
                self.known.retain(|known| alive.contains(known));
            }
            self.known.insert((pid, started));
        }
    }

    /// Kills everything that was named and what came of it, until nobody is found.
    fn end(mut self) {
        cgroup::end_all(&self.mark);
        let mut quiet = 0;
        for _ in 0..MAX_LOOKS {
            quiet = if self.kill_once() == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// One look. Returns how many processes were found alive.
    fn kill_once(&mut self) -> usize {
        let processes = tree::processes();
        let doomed = self.select(&processes);
        let mut count = 0;
        for process in &processes {
            if !doomed.contains(&process.pid) || process.is_zombie {
                continue;
            }
            count += 1;
            // Remembered: once it has ended, its group and session still name what it started.
            self.known.insert(process.key());
            let _gone_already = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        count
    }

    /// Numbers of the processes to end.
    fn select(&self, processes: &[Process]) -> BTreeSet<i32> {
        let own = getpid().as_raw();
        let numbers: BTreeSet<i32> = self.known.iter().map(|(pid, _)| *pid).collect();
        // A number that was given again: its group and session are somebody else's.
        let strangers: BTreeSet<i32> = processes
            .iter()
            .filter(|process| {
                numbers.contains(&process.pid) && !self.known.contains(&process.key())
            })
            .map(|process| process.pid)
            .collect();
        let is_of = |leader: i32| numbers.contains(&leader) && !strangers.contains(&leader);
        let is_named = |process: &&Process| {
            self.known.contains(&process.key())
                || (!strangers.contains(&process.pid)
                    && (is_of(process.group) || is_of(process.session)))
                || self.is_marked(process.pid)
        };
        let named = processes.iter().filter(is_named);
        let mut doomed = tree::below(processes, named.map(|process| process.pid).collect());
        doomed.remove(&own);
        doomed
    }

    fn is_marked(&self, pid: i32) -> bool {
        !self.mark.is_empty()
            && tree::mark_of(pid).is_some_and(|found| found.starts_with(&self.mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, session: i32, started: u64) -> Process {
        Process {
            pid,
            parent,
            group,
            session,
            started,
            is_zombie: false,
        }
    }

    #[test]
    fn selects_the_named_their_descendants_groups_and_sessions() {
        const BIG: i32 = 1 << 28;
        let mut doomed = Doomed::default();
        for line in [
            "=",
            "+268435466 7",
            "+268435476 8",
            "-268435476",
            "+268435486 9",
            "+",
            "+x y",
            "-",
            "?",
        ] {
            doomed.note(line);
        }
        let processes = [
            (process(BIG + 10, 1, 1, 1, 7), true), // named
            (process(BIG + 11, BIG + 10, BIG + 11, BIG + 11, 9), true), // below it
            (process(BIG + 12, 1, BIG + 10, 1, 9), true), // in its group
            (process(BIG + 13, 1, 1, BIG + 10, 9), true), // in its session
            (process(BIG + 20, 1, 1, 1, 8), false), // forgotten
            (process(BIG + 30, 1, BIG + 30, BIG + 30, 10), false), // its number was given again
            (process(BIG + 31, 1, BIG + 30, BIG + 30, 11), false), // and has a group
            (process(BIG + 40, 1, 1, 1, 7), false),
        ];
        let (processes, expected): (Vec<_>, Vec<_>) = processes.into_iter().unzip();
        let selected = doomed.select(&processes);
        for (process, expected) in processes.iter().zip(expected) {
            assert_eq!(
                selected.contains(&process.pid),
                expected,
                "{}",
                process.pid - BIG
            );
        }
    }
}
