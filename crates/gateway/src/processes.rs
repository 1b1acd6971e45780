//! The processes of servers: each has its place before it is started, and where there is none left the one idle longest
//! makes room.
//!
//! Whatever ends processes goes over this table, which outlives reloads: sessions and streams hold processes of earlier stacks,
//! and a kill that looked only at the stack of now would report to be complete while these run on with a killed secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use keepgate_call::{Principal, ServerName};
use keepgate_store::kill::{Facts, Kill};
use keepgate_transport::duplex::{DuplexError, Handle, Place, Reserve, Reserving};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::settings::ProcessLimits;

/// Longest time a start waits for an idle process to end: twice its grace, and some.
const PATIENCE: Duration = Duration::from_secs(6);

/// The server a process is started for, as the stack that starts it knows it.
#[derive(Debug, Clone)]
pub(crate) struct ProcessOrigin {
    /// The server.
    pub(crate) server: ServerName,
    /// Number of the stack.
    pub(crate) stack: u64,
    /// References of the credentials the server is given.
    pub(crate) credentials: Arc<[Arc<str>]>,
}

/// One process, from before its start until nothing of it is left.
#[derive(Debug)]
struct Process {
    origin: ProcessOrigin,
    /// `None` for one that is shared.
    caller: Option<Principal>,
    handle: OnceLock<Handle>,
    /// Cancelled once it was started, or never will be.
    begun: CancellationToken,
    /// Whether it is to end as soon as it was started. Read and written under the lock of the table.
    is_doomed: AtomicBool,
}

impl Process {
    /// The process as far as kills can name it. Those of one session are ended with their session.
    fn facts(&self) -> Facts<'_> {
        facts(
            &self.origin.server,
            self.caller.as_ref(),
            &self.origin.credentials,
        )
    }

    /// Waits until nothing of a process that is to end is left. Returns how many processes could not be ended.
    async fn ended(&self) -> usize {
        self.begun.cancelled().await;
        match self.handle.get() {
            Some(handle) => handle.kill().await,
            // Its start failed, or was given up.
            None => 0,
        }
    }
}

/// The process of a caller, or one that callers share, as far as kills can name it.
pub(crate) fn facts<'a>(
    server: &'a ServerName,
    caller: Option<&'a Principal>,
    credentials: &'a [Arc<str>],
) -> Facts<'a> {
    Facts {
        tenant: caller.map_or("", |caller| caller.tenant().as_str()),
        caller: caller.map_or("", |caller| caller.subject()),
        server: server.as_str(),
        tool: None,
        client: None,
        grant: None,
        key: None,
        session: None,
        credentials,
    }
}

/// The processes there are. Outlives reloads, as they do.
#[derive(Debug, Default)]
pub struct Processes {
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    /// Bounded by the limits, which every start passes.
    live: BTreeMap<u64, Arc<Process>>,
    /// Number of the latest stack.
    stacks: u64,
    /// First stack that may start processes of a server. As many as servers had another definition once.
    retired: BTreeMap<ServerName, u64>,
}

/// A process as operators are shown it.
#[derive(Debug, Clone)]
pub struct ProcessStatus {
    /// The server it belongs to.
    pub server: ServerName,
    /// The caller it serves; `None` for one that is shared.
    pub caller: Option<Principal>,
    /// Its number; `None` until it has been started.
    pub pid: Option<u32>,
    /// Time since its start.
    pub age: Duration,
    /// Time since its last call or stream; `None` while one runs, or while it starts.
    pub idle: Option<Duration>,
}

/// A place in the table.
struct Taken {
    processes: Arc<Processes>,
    process: Arc<Process>,
    number: u64,
}

impl Processes {
    /// Number of a stack that is built now.
    pub(crate) fn begin_stack(&self) -> u64 {
        let mut table = self.table();
        table.stacks += 1;
        table.stacks
    }

    /// Takes a place for a process each time one is to be started. `caller` is `None` for one that is shared.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        limits: ProcessLimits,
        origin: &ProcessOrigin,
        caller: Option<&Principal>,
    ) -> Reserve {
        let (processes, origin, caller) = (Arc::clone(self), origin.clone(), caller.cloned());
        Arc::new(move || -> Reserving {
            let process = Process {
                origin: origin.clone(),
                caller: caller.clone(),
                handle: OnceLock::new(),
                begun: CancellationToken::new(),
                is_doomed: AtomicBool::new(false),
            };
            Box::pin(Arc::clone(&processes).take(limits, process))
        })
    }

    async fn take(
        self: Arc<Self>,
        limits: ProcessLimits,
        process: Process,
    ) -> Result<Box<dyn Place>, DuplexError> {
        let deadline = Instant::now() + PATIENCE;
        let process = Arc::new(process);
        loop {
            // Before the look at the table, so that no place that is freed meanwhile goes unnoticed.
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let limit = match self.place(limits, &process) {
                Ok(place) => return Ok(place),
                Err(NoPlace::Limit(limit)) => limit,
                Err(NoPlace::Retired) => return Err(DuplexError::Closed),
            };
            if !limit.makes_room || timeout_at(deadline, freed).await.is_err() {
                return Err(DuplexError::Full { limit: limit.name });
            }
        }
    }

    /// A place at once, or the limit that leaves none. Check and act are one step under the lock.
    fn place(
        self: &Arc<Self>,
        limits: ProcessLimits,
        process: &Arc<Process>,
    ) -> Result<Box<dyn Place>, NoPlace> {
        let mut table = self.table();
        let origin = &process.origin;
        if table
            .retired
            .get(&origin.server)
            .is_some_and(|first| origin.stack < *first)
        {
            return Err(NoPlace::Retired);
        }
        let of_server = |other: &Process| other.origin.server == origin.server;
        let of_caller =
            |other: &Process| process.caller.is_some() && other.caller == process.caller;
        // A caller at its own limit makes room among its own, before anybody else's process is looked at.
        if table.count(of_caller) >= limits.caller.get() {
            let limit = table.make_room("limits.processes.caller", of_caller);
            return Err(NoPlace::Limit(limit));
        }
        if table.count(of_server) >= limits.server.get() {
            let limit = table.make_room("limits.processes.server", of_server);
            return Err(NoPlace::Limit(limit));
        }
        table.last += 1;
        let number = table.last;
        table.live.insert(number, Arc::clone(process));
        Ok(Box::new(Taken {
            processes: Arc::clone(self),
            process: Arc::clone(process),
            number,
        }))
    }

    /// Kills those that `kill` covers.
    pub(crate) fn stop(&self, kill: &Kill) -> EndingProcesses {
        self.end(|process| kill.covers(&process.facts()))
    }

    /// Kills those of callers that `admits` does not hold for; those that all callers share go on.
    pub(crate) fn end_callers(&self, admits: impl Fn(&Principal) -> bool) -> EndingProcesses {
        self.end(|process| {
            process
                .caller
                .as_ref()
                .is_some_and(|caller| !admits(caller))
        })
    }

    /// Kills those that stacks before `stack` have started for these servers, and lets them start no more: the servers are
    /// others since.
    pub(crate) fn retire(&self, servers: &BTreeSet<ServerName>, stack: u64) -> EndingProcesses {
        let retired = servers.iter().map(|server| (server.clone(), stack));
        self.table().retired.extend(retired);
        self.end(|process| {
            let origin = &process.origin;
            origin.stack < stack && servers.contains(&origin.server)
        })
    }

    /// Kills those that `which` holds for, also those that are just being started.
    fn end(&self, which: impl Fn(&Process) -> bool) -> EndingProcesses {
        let table = self.table();
        let all = table.live.values().filter(|process| which(process));
        let ending: Vec<Arc<Process>> = all.cloned().collect();
        for process in &ending {
            process.is_doomed.store(true, Ordering::Relaxed);
            if let Some(handle) = process.handle.get() {
                handle.begin_kill();
            }
        }
        EndingProcesses(ending)
    }

    /// Ends the processes of `server` that have been idle for `idle`.
    pub fn expire(&self, server: &ServerName, idle: Duration) {
        for process in self.table().live.values() {
            if process.origin.server == *server
                && let Some(handle) = process.handle.get()
                && handle.idle().is_some_and(|since| since >= idle)
            {
                handle.end_if_idle();
            }
        }
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<ProcessStatus> {
        let status = |process: &Arc<Process>| {
            let handle = process.handle.get();
            ProcessStatus {
                server: process.origin.server.clone(),
                caller: process.caller.clone(),
                pid: handle.and_then(Handle::pid),
                age: handle.map(Handle::age).unwrap_or_default(),
                idle: handle.and_then(Handle::idle),
            }
        };
        self.table().live.values().map(status).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Plain data that each holder leaves whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Processes that are being killed; they end whether or not somebody waits.
#[derive(Debug)]
pub(crate) struct EndingProcesses(Vec<Arc<Process>>);

impl EndingProcesses {
    /// Waits until nothing of them is left. Returns how many processes could not be ended.
    pub(crate) async fn done(self) -> usize {
        let ended = self.0.iter().map(|process| process.ended());
        join_all(ended).await.into_iter().sum()
    }
}

/// Reason that a process gets no place.
enum NoPlace {
    Limit(Spent),
    /// Its server is another one since its stack was built.
    Retired,
}

/// A limit that leaves no place.
struct Spent {
    name: &'static str,
    /// Whether a process is ending that will leave one.
    makes_room: bool,
}

impl Table {
    fn count(&self, is: impl Fn(&Process) -> bool) -> usize {
        self.live.values().filter(|process| is(process)).count()
    }

    /// Ends the process idle longest of those that are, unless one of them is ending already.
    fn make_room(&self, name: &'static str, is: impl Fn(&Process) -> bool) -> Spent {
        let handles = self.live.values().filter(|process| is(process));
        let mut idle: Vec<_> = handles
            .filter_map(|process| {
                let handle = process.handle.get()?;
                Some((handle.idle()?, handle, process))
            })
            .collect();
        idle.sort_by_key(|(since, ..)| std::cmp::Reverse(*since));
        if idle.iter().any(|(_, handle, _)| handle.is_ending()) {
            return Spent {
                name,
                makes_room: true,
            };
        }
        let ended = idle.iter().find(|(_, handle, _)| handle.end_if_idle());
        if let Some((since, handle, process)) = ended {
            warn!(
                server = %process.origin.server,
                pid = handle.pid(),
                idle_s = since.as_secs(),
                limit = name,
                "process limit reached: ending the process that was idle longest"
            );
        }
        Spent {
            name,
            makes_room: ended.is_some(),
        }
    }
}

impl Place for Taken {
    fn started(&self, process: Handle) {
        // Under the lock, so that whoever ends processes finds it here, or is found by it.
        let table = self.processes.table();
        if self.process.is_doomed.load(Ordering::Relaxed) {
            process.begin_kill();
        }
        // Set once: a place is for one process.
        let _first = self.process.handle.set(process);
        drop(table);
        self.process.begun.cancel();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.processes.table().live.remove(&self.number);
        self.process.begun.cancel();
        self.processes.freed.notify_waiters();
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taken")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}
