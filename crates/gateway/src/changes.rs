//! Changes of what clients see in lists: policy, kills of tools, configuration. Streams that only listen announce them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use keepgate_call::ServerName;
use keepgate_store::kill::{Kill, Scope, Switch};
use tokio::sync::watch;

/// Versions of what the lists of servers show.
#[derive(Debug)]
pub struct Changes {
    versions: RwLock<Versions>,
    /// The number of changes, for whoever waits for one.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Versions {
    /// Changes that may show in every list.
    all: u64,
    /// Changes of single servers.
    servers: BTreeMap<ServerName, u64>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            versions: RwLock::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Changes {
    /// Notes that lists of every server may show something else.
    pub fn all(&self) {
        self.note(|versions| versions.all += 1);
    }

    fn servers(&self, servers: &BTreeSet<ServerName>) {
        self.note(|versions| {
            for server in servers {
                *versions.servers.entry(server.clone()).or_default() += 1;
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut Versions)) {
        let mut versions = self
            .versions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut versions);
        drop(versions);
        self.look();
    }

    /// Lets everybody who waits look again.
    pub(crate) fn look(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// The version of what the lists of `server` show.
    pub(crate) fn version(&self, server: &ServerName) -> u64 {
        let versions = self.versions.read().unwrap_or_else(PoisonError::into_inner);
        versions.all + versions.servers.get(server).copied().unwrap_or_default()
    }

    /// Resolves with each change from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes kills of tools that are set, cleared and over; other kills hide nothing in lists. Runs until it is dropped.
    pub(crate) async fn follow(self: Arc<Self>, switch: Arc<Switch>) {
        let mut kills = switch.watch();
        let mut before = hidden(&switch.in_force());
        while kills.changed().await.is_ok() {
            let now = hidden(&switch.in_force());
            let changed = before.symmetric_difference(&now);
            let servers: BTreeSet<ServerName> = changed.map(|(server, _)| server.clone()).collect();
            if !servers.is_empty() {
                self.servers(&servers);
            }
            before = now;
        }
    }
}

/// The kills that hide tools, with the servers these are of.
fn hidden(kills: &[Arc<Kill>]) -> BTreeSet<(ServerName, Arc<str>)> {
    let tools = kills.iter().filter_map(|kill| match &kill.scope {
        Scope::Tool { server, .. } => Some((server.clone(), Arc::clone(&kill.id))),
        Scope::Everything
        | Scope::Tenant(_)
        | Scope::Server(_)
        | Scope::Caller(_)
        | Scope::Session(_)
        | Scope::Credential(_) => None,
    });
    tools.collect()
}
