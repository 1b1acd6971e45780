//! The processes a child has started, to the last one.
//!
//! A process that forks twice and starts a session is in no group of its parent and is nobody's descendant: it belongs to
//! the next reaper above, which is the gateway ([`adopt`]). A variable that every child is started with names the child it came from.
//! A process that hides it (by wiping its environment, or by making itself unreadable) is nobody's, and is ended with the
//! next child that ends: better one helper too many than one that outlives a kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, waitpid},
    },
    unistd::{Pid, getpid},
};

use super::reaper;

/// Variable that names the child a process comes from.
pub(super) const VARIABLE: &str = "KEEPGATE_CHILD";
/// Children whose survivors are remembered.
const MAX_SURVIVORS: usize = 1024;
/// Rounds in which what is left is looked for, and killed, until it is given up.
const ROUNDS: usize = 40;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// The children that run, with their marks. Held while one is started: a process that is not here and is ours has been
/// adopted.
static LEADERS: Mutex<BTreeMap<i32, String>> = Mutex::new(BTreeMap::new());

/// Processes by number and by when they were started: a number is given again.
pub(super) type Known = BTreeSet<(i32, u64)>;

/// A process, as far as it matters here.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) started: u64,
    pub(super) is_zombie: bool,
}

impl Process {
    /// Its number and when it was started.
    pub(super) fn key(&self) -> (i32, u64) {
        (self.pid, self.started)
    }
}

/// Processes that were ours before the first child: a script started them and then became the gateway.
static FOREIGN: OnceLock<Known> = OnceLock::new();

/// Makes this process the one that processes fall to whose parents have ended. To be called before the first child.
///
/// # Errors
/// The error of the system.
pub fn adopt() -> io::Result<()> {
    let own = getpid().as_raw();
    let mut foreign = processes();
    foreign.retain(|process| process.parent == own);
    FOREIGN.get_or_init(|| foreign.iter().map(Process::key).collect());
    Ok(prctl::set_child_subreaper(true)?)
}

/// Whether a process was adopted: it is ours, and neither a child nor there before.
fn is_orphan(process: &Process, leaders: &BTreeMap<i32, String>) -> bool {
    process.parent == getpid().as_raw()
        && process.pid != reaper::number()
        && !leaders.contains_key(&process.pid)
        && !FOREIGN
            .get()
            .is_some_and(|known| known.contains(&process.key()))
}

/// The children that run.
pub(super) fn leaders() -> MutexGuard<'static, BTreeMap<i32, String>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything a process has started that still is below it.
pub(super) fn descendants(leader: i32) -> Known {
    let processes = processes();
    let below = below(&processes, BTreeSet::from([leader]));
    let found = processes
        .iter()
        .filter(|process| below.contains(&process.pid));
    found.map(Process::key).collect()
}

/// Kills these processes, those that carry `mark`, those without a readable mark, and all below them, until
/// none is left. Returns how many are left all the same.
pub(super) async fn end(mark: String, known: Known) -> usize {
    let mut left = 0;
    for round in 0..ROUNDS {
        if round > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let (mark, known) = (mark.clone(), known.clone());
        let looked = tokio::task::spawn_blocking(move || kill_once(Some(&mark), &known)).await;
        left = looked.unwrap_or(left);
        if left == 0 {
            break;
        }
    }
    if left > 0 {
        let mut survivors = survivors();
        if survivors.len() < MAX_SURVIVORS {
            survivors.insert(mark, known);
        }
    }
    left
}

/// Kills again what could not be ended before. Blocks. Returns how many processes are left all the same.
pub fn end_survivors() -> usize {
    let known = survivors().clone();
    let mut count = 0;
    for (mark, known) in known {
        let left = kill_once(Some(&mark), &known);
        count += left;
        if left == 0 {
            survivors().remove(&mark);
        }
    }
    count
}

/// Processes that could not be ended, by mark.
fn survivors() -> MutexGuard<'static, BTreeMap<String, Known>> {
    static SURVIVORS: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());
    SURVIVORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills everything that any child has started, until nothing is left. Blocks; for the end of the process.
///
/// Returns how many are left all the same.
pub fn end_all() -> usize {
    let mut left = 0;
    for _ in 0..ROUNDS {
        left = kill_once(None, &Known::new());
        if left == 0 {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    left
}

/// Lets go of adopted processes that have ended by themselves: each would keep its number. Names the others to the reaper.
/// Blocks.
pub fn reap() {
    let leaders = leaders();
    if !prctl::get_child_subreaper().unwrap_or(false) {
        return;
    }
    let mut orphans = processes();
    orphans.retain(|process| is_orphan(process, &leaders));
    let (ended, alive): (Vec<_>, Vec<_>) = orphans.iter().partition(|process| process.is_zombie);
    for process in ended {
        let _status = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
    }
    if leaders.is_empty() && alive.is_empty() {
        return;
    }
    if let Err(error) = reaper::ensure(leaders.keys().copied()) {
        tracing::error!(%error, "no reaper can be started: children outlive a gateway that is killed");
    }
    reaper::adopt(alive.into_iter().map(Process::key).collect());
}

/// One look: kills, reaps, and counts what it found alive. Without a mark, everything that was adopted is meant.
fn kill_once(mark: Option<&str>, known: &Known) -> usize {
    let leaders = leaders();
    let processes = processes();
    let adopts = prctl::get_child_subreaper().unwrap_or(false);
    let mut doomed: BTreeSet<i32> = BTreeSet::new();
    for process in &processes {
        let orphan = adopts && is_orphan(process, &leaders);
        if orphan && process.is_zombie {
            // Ours to reap: nobody else waits for it.
            let _status = waitpid(Pid::from_raw(process.pid), Some(WaitPidFlag::WNOHANG));
        } else if known.contains(&(process.pid, process.started))
            || (orphan && is_doomed(process.pid, mark, &leaders))
            || (mark.is_none() && leaders.contains_key(&process.pid))
        {
            doomed.insert(process.pid);
        }
    }
    let doomed = below(&processes, doomed);
    let alive = processes
        .iter()
        .filter(|process| doomed.contains(&process.pid) && !process.is_zombie);
    let mut count = 0;
    for process in alive {
        count += 1;
        // One that is gone already is what was wanted.
        if let Err(error) = kill(Pid::from_raw(process.pid), Signal::SIGKILL) {
            tracing::debug!(pid = process.pid, %error, "a process could not be killed");
        }
    }
    count
}

/// Whether an adopted process is to be ended with the child of this mark.
fn is_doomed(pid: i32, mark: Option<&str>, leaders: &BTreeMap<i32, String>) -> bool {
    let Some(mark) = mark else { return true };
    match mark_of(pid) {
        Some(found) => found == mark || !leaders.values().any(|live| *live == found),
        None => true,
    }
}

/// A mark that nobody can guess; the first half of every child's, so that the reaper needs one.
///
/// # Errors
/// The error of the system's generator.
pub(super) fn run_mark() -> io::Result<&'static str> {
    static RUN: OnceLock<String> = OnceLock::new();
    if let Some(mark) = RUN.get() {
        return Ok(mark);
    }
    let mark = random()?;
    Ok(RUN.get_or_init(|| mark))
}

/// The mark of one more child.
///
/// # Errors
/// The error of the system's generator.
pub(super) fn mark() -> io::Result<String> {
    Ok(format!("{}-{}", run_mark()?, random()?))
}

fn random() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// The mark in a process's environment.
pub(super) fn mark_of(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    entries.find_map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        Some(entry.strip_prefix(VARIABLE)?.strip_prefix('=')?.to_owned())
    })
}

/// These processes and all below them.
pub(super) fn below(processes: &[Process], mut found: BTreeSet<i32>) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes {
        children
            .entry(process.parent)
            .or_default()
            .push(process.pid);
    }
    let mut open: Vec<i32> = found.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

/// Every process there is.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let read = |entry: fs::DirEntry| process(entry.file_name().to_str()?.parse().ok()?);
    entries.filter_map(|entry| read(entry.ok()?)).collect()
}

/// The process of this number.
pub(super) fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
        started: fields.nth(15)?.parse().ok()?,
        is_zombie,
    })
}
