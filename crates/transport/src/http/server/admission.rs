//! The open connections: admission by address, and the order in which they give way when there is no place for another.
//!
//! A connection costs its peer a packet and us a file descriptor. So one address holds half of the places at most, and when
//! all are taken the silent go first: who has never sent a whole head, then who sent requests without a credential that
//! counted and sends none now. Who has authenticated once is neither counted nor closed.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{patience::Running, proxies::Proxies};

/// Interval of looking for connections that have fallen silent meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    per_address: usize,
    trusted: Proxies,
    table: Mutex<Table>,
    freed: Notify,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    /// By number, so the oldest first.
    open: BTreeMap<u64, Arc<Connection>>,
    /// Of each address, those that have not authenticated.
    strangers: HashMap<IpAddr, usize>,
    next: u64,
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    address: IpAddr,
    /// Whether it counts for its address.
    counted: bool,
    known: AtomicBool,
    closed: AtomicBool,
    /// The requests that run on it.
    pub(super) running: Arc<Running>,
    /// Ends it: gracefully in a drain, at once when its place is needed.
    pub(super) end: CancellationToken,
    connections: Weak<Connections>,
}

impl Connection {
    /// Notes that who is at the other end has authenticated.
    pub(super) fn authenticated(&self) {
        if self.known.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(connections) = self.connections.upgrade() {
            connections.table().forget_stranger(self);
        }
    }

    /// Whether its place was needed.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn is_stranger(&self) -> bool {
        !self.known.load(Ordering::Relaxed)
    }
}

/// A taken place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(pub(super) Arc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        let Some(connections) = self.0.connections.upgrade() else {
            return;
        };
        let mut table = connections.table();
        if table.open.remove(&self.0.number).is_some()
            && !self.0.known.swap(true, Ordering::Relaxed)
        {
            table.forget_stranger(&self.0);
        }
        drop(table);
        connections.freed.notify_one();
    }
}

impl Table {
    fn forget_stranger(&mut self, connection: &Connection) {
        if !connection.counted {
            return;
        }
        if let Some(count) = self.strangers.get_mut(&connection.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.strangers.remove(&connection.address);
            }
        }
    }

    /// The connection whose place is given away first.
    fn silent(&self) -> Option<&Arc<Connection>> {
        let quiet = |connection: &&Arc<Connection>| {
            connection.is_stranger() && !connection.is_closed() && connection.running.is_idle()
        };
        let mut strangers = self.open.values().filter(quiet);
        let first = strangers.next()?;
        if first.running.begun() == 0 {
            return Some(first);
        }
        let headless = strangers.find(|connection| connection.running.begun() == 0);
        Some(headless.unwrap_or(first))
    }
}

impl Connections {
    /// No connections yet, of at most `most`.
    pub(super) fn new(most: usize, trusted: Proxies) -> Arc<Self> {
        Arc::new(Self {
            most,
            per_address: (most / 2).max(1),
            trusted,
            table: Mutex::default(),
            freed: Notify::new(),
            refused: AtomicU64::new(0),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Holders leave the table whole whatever happens.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection from `address`, as soon as there is one. `None` when the address holds as many as it
    /// may; `drain` ends the waiting and, later, the connection.
    pub(super) async fn admit(
        self: &Arc<Self>,
        address: IpAddr,
        drain: &CancellationToken,
    ) -> Option<Place> {
        let address = address.to_canonical();
        let counted = !address.is_loopback() && !self.trusted.contains(address);
        loop {
            // Made before the look, so that a place freed in between is not missed.
            let freed = self.freed.notified();
            {
                let mut table = self.table();
                let held = table.strangers.get(&address).copied().unwrap_or_default();
                if counted && held >= self.per_address {
                    drop(table);
                    self.refuse(address);
                    return None;
                }
                if table.open.len() < self.most {
                    return Some(self.enter(&mut table, address, counted, drain));
                }
                Self::close_silent(&table);
            }
            drop(tokio::time::timeout(AGAIN, freed).await);
        }
    }

    /// Closes the connection whose place is given away first, if there is one.
    pub(super) fn make_room(&self) {
        Self::close_silent(&self.table());
    }

    fn close_silent(table: &Table) {
        if let Some(silent) = table.silent() {
            silent.closed.store(true, Ordering::Relaxed);
            silent.end.cancel();
        }
    }

    fn enter(
        self: &Arc<Self>,
        table: &mut Table,
        address: IpAddr,
        counted: bool,
        drain: &CancellationToken,
    ) -> Place {
        let number = table.next;
        table.next += 1;
        let connection = Arc::new(Connection {
            number,
            address,
            counted,
            known: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            running: Arc::default(),
            end: drain.child_token(),
            connections: Arc::downgrade(self),
        });
        table.open.insert(number, Arc::clone(&connection));
        if counted {
            *table.strangers.entry(address).or_default() += 1;
        }
        Place(connection)
    }

    /// Reports the first refusal and every thousandth: there may be as many as packets.
    fn refuse(&self, address: IpAddr) {
        let count = self.refused.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(1000) {
            tracing::warn!(
                %address,
                most = self.per_address,
                refused = count + 1,
                "a connection was refused: its address holds half of limits.connections without having authenticated"
            );
        }
    }
}

#[cfg(test)]
mod tests;
