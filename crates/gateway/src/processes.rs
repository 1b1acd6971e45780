//! The processes of servers: each has its place before it is started, and where there is none left the one idle longest
//! makes room.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use keepgate_call::{Principal, ServerName};
use keepgate_transport::duplex::{DuplexError, Handle, Place, Reserve, Reserving};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};
use tracing::warn;

use crate::settings::ProcessLimits;

/// Longest time a start waits for an idle process to end: twice its grace, and some.
const PATIENCE: Duration = Duration::from_secs(6);

/// One process, from before its start until nothing of it is left.
#[derive(Debug)]
struct Process {
    server: ServerName,
    /// `None` for one that is shared.
    caller: Option<Principal>,
    handle: OnceLock<Handle>,
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
    /// Takes a place for a process of `server` each time one is to be started. `caller` is `None` for one that is
    /// shared.
    pub fn reserve(
        self: &Arc<Self>,
        limits: ProcessLimits,
        server: &ServerName,
        caller: Option<&Principal>,
    ) -> Reserve {
        let (processes, server, caller) = (Arc::clone(self), server.clone(), caller.cloned());
        Arc::new(move || -> Reserving {
            let process = Process {
                server: server.clone(),
                caller: caller.clone(),
                handle: OnceLock::new(),
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
                Err(limit) => limit,
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
    ) -> Result<Box<dyn Place>, Spent> {
        let mut table = self.table();
        let of_server = |other: &Process| other.server == process.server;
        let of_caller =
            |other: &Process| process.caller.is_some() && other.caller == process.caller;
        // A caller at its own limit makes room among its own, before anybody else's process is looked at.
        if table.count(of_caller) >= limits.caller.get() {
            return Err(table.make_room("limits.processes.caller", of_caller));
        }
        if table.count(of_server) >= limits.server.get() {
            return Err(table.make_room("limits.processes.server", of_server));
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

    /// Ends the processes of `server` that have been idle for `idle`.
    pub fn expire(&self, server: &ServerName, idle: Duration) {
        for process in self.table().live.values() {
            if process.server == *server
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
                server: process.server.clone(),
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
                server = %process.server,
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
        // Set once: a place is for one process.
        let _first = self.process.handle.set(process);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.processes.table().live.remove(&self.number);
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
