//! The credentials of all servers, what becomes of them at a reload, and how they end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use keepgate_call::ServerName;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    live::Live,
    set::CredentialSet,
    settings::{Settings, Use},
    source::Source,
    vault::{Vault, WayError},
};

/// The first pause after a revocation that failed, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The credentials of each server, of those that have some.
type Sets = BTreeMap<ServerName, Arc<CredentialSet>>;

/// The credentials of all servers. It outlives reloads.
#[derive(Debug)]
pub struct Credentials {
    sets: ArcSwap<Sets>,
    /// What the sources were made for; held while they are exchanged.
    configured: Mutex<Configured>,
    revoker: Arc<Revoker>,
    live: Arc<Live>,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Configured {
    settings: Settings,
    vault: Option<Arc<Vault>>,
    /// Ends the keeping of the vault's token.
    keeping: CancellationToken,
}

/// The providers cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up the vault")]
pub struct SetUpError(#[source] WayError);

/// Whose leases are ended.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Everybody's.
    All,
    /// Those of one reference, as it is written in the configuration.
    Reference(&'a str),
    /// Those of one server.
    Server(&'a ServerName),
}

/// What an end came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// The servers that have to have their credential fetched anew.
    pub servers: Vec<ServerName>,
    /// Leases that were revoked, and are seen to be gone.
    pub revoked: usize,
    /// Leases that could not be revoked yet, by reference. It is tried until it works, or until the process ends. Not
    /// empty: the end is partial.
    pub pending: Vec<Arc<str>>,
}

/// How one credential of a server stands; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The server.
    pub server: ServerName,
    /// The reference.
    pub reference: Arc<str>,
    /// Whether it has a lease.
    pub leased: bool,
    /// How it stands.
    pub state: State,
    /// Whether it is older than it may get; `None` where nobody asked, or its age is not known.
    pub overdue: Option<bool>,
}

/// How a credential stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No call has wanted it yet, or not lately.
    Unused,
    /// It may be used for so long without asking.
    Ready(Duration),
    /// It could not be had; [`crate::Fault::word`].
    Failed(&'static str),
}

impl Credentials {
    /// A store without sources; its tasks run under `tasks`.
    pub fn new(tasks: &TaskTracker) -> Self {
        Self::sharing(tasks, &Live::new())
    }

    /// A store whose secrets are among those of `live`.
    pub fn sharing(tasks: &TaskTracker, live: &Arc<Live>) -> Self {
        Self {
            sets: ArcSwap::default(),
            configured: Mutex::default(),
            live: Arc::clone(live),
            revoker: Arc::default(),
            tasks: tasks.clone(),
        }
    }

    /// Takes over a configuration. Sources that are wanted as before go on; the others end, and their leases are revoked
    /// in the background. Secrets of files and variables are read in the background, so that they are searched for before
    /// a call needs them; nothing is fetched from a vault. On an error nothing changes.
    ///
    /// # Errors
    /// [`SetUpError`] for a vault whose address or certificates cannot be used.
    pub fn configure(
        &self,
        settings: &Settings,
        uses: &BTreeMap<ServerName, Vec<Use>>,
    ) -> Result<(), SetUpError> {
        let mut configured = self
            .configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let same = configured.settings.vault == settings.vault;
        let vault = if same {
            configured.vault.clone()
        } else {
            let before = configured.vault.as_deref();
            let vault = settings
                .vault
                .as_ref()
                .map(|vault| Vault::new(vault, before, &self.live));
            vault.transpose().map_err(SetUpError)?
        };
        let old = self.sets.load_full();
        let mut sets = Sets::new();
        for (server, wanted) in uses {
            let before = old.get(server);
            let kept = |wanted: &Use| {
                let mut before = before.into_iter().flat_map(|set| set.sources());
                before.find(|it| it.wanted() == wanted && (same || it.vault().is_none()))
            };
            let sources = wanted.iter().map(|wanted| match kept(wanted) {
                Some(source) => Arc::clone(source),
                None => {
                    let (revoker, live) = (&self.revoker, &self.live);
                    Source::new(server, wanted, vault.as_ref(), revoker, live, &self.tasks)
                }
            });
            if let Some(set) = CredentialSet::new(sources) {
                sets.insert(server.clone(), Arc::new(set));
            }
        }
        self.retire(
            &old,
            &sets,
            (!same).then_some(configured.vault.as_ref()).flatten(),
        );
        let local = all(&sets).map(|(_, source)| source);
        let local: Vec<_> = local.filter(|it| it.is_local()).cloned().collect();
        self.sets.store(Arc::new(sets));
        self.read_ahead(local);
        if !same {
            configured.keeping.cancel();
            configured.keeping = CancellationToken::new();
            if let Some(vault) = &vault {
                let kept = Arc::clone(vault).keep(configured.keeping.clone());
                self.tasks.spawn(kept);
            }
        }
        configured.settings = settings.clone();
        configured.vault = vault;
        Ok(())
    }

    /// Reads secrets that no call has needed yet. One that cannot be read fails the call that needs it.
    fn read_ahead(&self, sources: Vec<Arc<Source>>) {
        if sources.iter().any(|source| source.held().is_none()) {
            self.tasks.spawn(async move {
                for source in sources {
                    if source.held().is_none() {
                        let _read_or_logged = source.acquire().await;
                    }
                }
            });
        }
    }

    /// Ends the sources that are not among the new ones, then the token of a vault nobody uses any more.
    fn retire(&self, old: &Sets, new: &Sets, left: Option<&Arc<Vault>>) {
        let gone = all(old).filter(|(server, source)| {
            let mut kept = new.get(*server).into_iter().flat_map(|set| set.sources());
            !kept.any(|kept| Arc::ptr_eq(kept, source))
        });
        for (_, source) in gone {
            let leases = source.retire();
            let Some(vault) = source.vault() else {
                continue;
            };
            let reference = source.wanted().reference.text();
            for lease in leases {
                self.revoker.later(&self.tasks, vault, &lease, &reference);
            }
        }
        if let Some(vault) = left.cloned() {
            self.tasks.spawn(async move { vault.leave().await });
        }
    }

    /// The first credential of a server, which is the only one where no more were configured; `None` for one that needs none.
    pub fn of(&self, server: &ServerName) -> Option<Arc<Source>> {
        let sets = self.sets.load();
        sets.get(server).map(|set| Arc::clone(set.first()))
    }

    /// The search for every secret in use.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// The credentials of each server, of those that have some.
    pub fn sets(&self) -> Arc<BTreeMap<ServerName, Arc<CredentialSet>>> {
        self.sets.load_full()
    }

    /// How every credential stands.
    pub fn status(&self) -> Vec<Status> {
        let sets = self.sets.load();
        let status = |(server, source): (&ServerName, &Arc<Source>)| Status {
            server: server.clone(),
            reference: source.wanted().reference.text(),
            leased: source.is_leased(),
            state: match (source.failure(), source.held()) {
                (Some(error), None) => State::Failed(error.fault.word()),
                (_, Some(held)) => State::Ready(held.remaining()),
                (None, None) => State::Unused,
            },
            overdue: source.overdue(),
        };
        all(&sets).map(status).collect()
    }

    /// The references of the leases that wait to be revoked, one for each lease.
    pub fn pending(&self) -> Vec<Arc<str>> {
        self.revoker.pending().clone()
    }

    /// Forgets the credentials in `scope` and revokes their leases; comes back when each is seen to be gone or has
    /// failed once. Calls that hold one go on with it: cut them first.
    ///
    /// The next call fetches anew. What keeps it from doing so is the kill switch.
    pub async fn end(&self, scope: Scope<'_>) -> Ended {
        let sets = self.sets.load_full();
        let mut ended = Ended::default();
        let mut revoking = Vec::new();
        for (server, source) in all(&sets) {
            let reference = source.wanted().reference.text();
            let is_meant = match scope {
                Scope::All => true,
                Scope::Reference(meant) => *reference == *meant,
                Scope::Server(meant) => server == meant,
            };
            if !is_meant {
                continue;
            }
            if ended.servers.last() != Some(server) {
                ended.servers.push(server.clone());
            }
            let leases = source.end();
            let Some(vault) = source.vault() else {
                continue;
            };
            for lease in leases {
                let vault = Arc::clone(vault);
                let gone = Arc::clone(&lease);
                // All at once: a vault that does not answer holds up no other.
                let task = self.tasks.spawn(async move { vault.revoke(&gone).await });
                revoking.push((task, lease, Arc::clone(&reference), source));
            }
        }
        for (task, lease, reference, source) in revoking {
            match task.await {
                Ok(Ok(())) => ended.revoked += 1,
                Ok(Err(_)) | Err(_) => {
                    if let Some(vault) = source.vault() {
                        self.revoker.later(&self.tasks, vault, &lease, &reference);
                    }
                    ended.pending.push(reference);
                }
            }
        }
        ended
    }

    /// Ends everything, gives the vault's token back and stops trying what did not work.
    pub async fn close(&self) -> Ended {
        let ended = self.end(Scope::All).await;
        let vault = {
            let configured = self
                .configured
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            configured.keeping.cancel();
            configured.vault.clone()
        };
        self.revoker.stop.cancel();
        if let Some(vault) = vault {
            vault.leave().await;
        }
        ended
    }
}

/// Every credential with its server.
fn all(sets: &Sets) -> impl Iterator<Item = (&ServerName, &Arc<Source>)> {
    let each = sets.iter();
    each.flat_map(|(server, set)| set.sources().map(move |source| (server, source)))
}

/// Revokes leases until it works.
#[derive(Debug, Default)]
pub(crate) struct Revoker {
    pending: Mutex<Vec<Arc<str>>>,
    stop: CancellationToken,
}

impl Revoker {
    /// Revokes `lease` in the background.
    pub(crate) fn later(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        vault: &Arc<Vault>,
        lease: &Arc<str>,
        reference: &Arc<str>,
    ) {
        let (own, vault) = (Arc::clone(self), Arc::clone(vault));
        let (lease, reference) = (Arc::clone(lease), Arc::clone(reference));
        self.pending().push(Arc::clone(&reference));
        tasks.spawn(async move {
            tokio::select! {
                () = own.stop.cancelled() => {}
                () = revoke(&vault, &lease, &reference) => {}
            }
            let mut pending = own.pending();
            if let Some(at) = pending.iter().position(|waits| *waits == reference) {
                pending.swap_remove(at);
            }
        });
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        // Holders leave it whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn revoke(vault: &Vault, lease: &str, reference: &str) {
    let (mut pause, longest) = PAUSE;
    while let Err(fault) = vault.revoke(lease).await {
        tracing::error!(
            reference,
            fault = fault.word(),
            hint = fault.hint(),
            "a lease is not revoked: it is tried again"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
    tracing::info!(reference, "lease revoked");
}
