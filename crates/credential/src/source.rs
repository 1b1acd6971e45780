//! What one server's calls take one of their credentials from.
//!
//! A valid one costs an atomic load. When it has become old, one caller fetches and the others wait for it; when two
//! thirds of its time are over, it is fetched ahead and nobody waits. What is over is not used, whatever the reason.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use keepgate_call::ServerName;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use crate::{
    error::{CredentialError, Fault},
    live::{InUse, Live},
    local,
    material::{Material, Raw},
    reference::Place,
    settings::Use,
    store::Revoker,
    vault::Vault,
};

/// How long a file's content is used before the file is looked at again.
const FILE_AGE: Duration = Duration::from_secs(5);
/// A variable of our own cannot change.
const VARIABLE_AGE: Duration = Duration::from_secs(60);
/// How long it is before it is said again that a secret is overdue.
const TELL_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// So many leases may wait for their own end next to the one in use. Renewal keeps one for as long as its role allows, so there
/// is one besides as a rule; a vault that issues short ones faster than they end must not grow the list.
const MAX_SUPERSEDED: usize = 16;

/// One credential of one server.
pub struct Source {
    server: ServerName,
    wanted: Use,
    vault: Option<Arc<Vault>>,
    revoker: Arc<Revoker>,
    tasks: TaskTracker,
    current: ArcSwapOption<Held>,
    /// Leases that another has replaced. They still open the server until they end by themselves, since calls run with them;
    /// an end revokes them too.
    superseded: std::sync::Mutex<Vec<Superseded>>,
    live: Arc<Live>,
    flight: Mutex<Flight>,
    ahead: AtomicBool,
    /// Counts the times it was ended: what was fetched for an earlier life is not used in a later one.
    epoch: AtomicU64,
    retired: AtomicBool,
    failed: ArcSwapOption<Failure>,
}

/// What only the one who fetches touches.
#[derive(Default)]
struct Flight {
    generation: u64,
    /// The secret of now, and what has it searched for.
    current: Option<(Arc<Material>, InUse)>,
    /// When it was last said that the secret is overdue.
    told: Option<Instant>,
}

/// A fetch that failed: it is not tried again at once.
struct Failure {
    error: CredentialError,
    until: Instant,
}

/// A credential that may be used now.
pub struct Held {
    material: Arc<Material>,
    /// From here on it may not be used.
    over: Instant,
    /// From here on the next caller has it fetched ahead.
    ahead: Instant,
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    renewable: bool,
    /// What it was issued for; when less than a third is left, another is asked for.
    whole: Duration,
    ends: Instant,
}

/// A lease that is out and no longer used for new calls.
struct Superseded {
    lease: Arc<str>,
    ends: Instant,
}

impl Held {
    /// The secret, ready for use.
    pub fn material(&self) -> &Arc<Material> {
        &self.material
    }

    /// How long it may be used without asking the provider.
    pub fn remaining(&self) -> Duration {
        self.over.saturating_duration_since(Instant::now())
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Source {
    pub(crate) fn new(
        server: &ServerName,
        wanted: &Use,
        vault: Option<&Arc<Vault>>,
        revoker: &Arc<Revoker>,
        live: &Arc<Live>,
        tasks: &TaskTracker,
    ) -> Arc<Self> {
        let is_vault = matches!(wanted.reference.place(), Place::Vault { .. });
        Arc::new(Self {
            server: server.clone(),
            wanted: wanted.clone(),
            vault: vault.filter(|_| is_vault).cloned(),
            revoker: Arc::clone(revoker),
            tasks: tasks.clone(),
            current: ArcSwapOption::empty(),
            superseded: std::sync::Mutex::default(),
            live: Arc::clone(live),
            flight: Mutex::default(),
            ahead: AtomicBool::new(false),
            epoch: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            failed: ArcSwapOption::empty(),
        })
    }

    /// The server.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// What the server gets, and how.
    pub fn wanted(&self) -> &Use {
        &self.wanted
    }

    /// Whether the secret is issued with a lease.
    pub fn is_leased(&self) -> bool {
        match (self.wanted.reference.place(), &self.vault) {
            (Place::Vault { path, .. }, Some(vault)) => vault.is_leased(path),
            (
                Place::File(_) | Place::Systemd(_) | Place::Environment(_) | Place::Vault { .. },
                _,
            ) => false,
        }
    }

    /// Whether the secret is in a file or a variable.
    pub(crate) fn is_local(&self) -> bool {
        match self.wanted.reference.place() {
            Place::File(_) | Place::Systemd(_) | Place::Environment(_) => true,
            Place::Vault { .. } => false,
        }
    }

    /// A credential that may be used now.
    ///
    /// # Errors
    /// [`CredentialError`]; also while an earlier failure is too fresh to try again.
    pub async fn acquire(self: &Arc<Self>) -> Result<Arc<Held>, CredentialError> {
        let held = self.current.load();
        if let Some(held) = &*held {
            let now = Instant::now();
            if now < held.over {
                if now >= held.ahead && !self.ahead.swap(true, Ordering::AcqRel) {
                    self.fetch_ahead();
                }
                return Ok(Arc::clone(held));
            }
        }
        drop(held);
        self.wait().await
    }

    /// The server did not accept `held`: the next call fetches anew. A lease is given back.
    pub fn reject(&self, held: &Arc<Held>) {
        let seen = self.current.load();
        let is_current = seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen.material(), held.material()));
        if !is_current {
            return;
        }
        self.current.compare_and_swap(&*seen, None::<Arc<Held>>);
        if let Some(lease) = held.material.lease() {
            self.revoke_later(lease);
        }
    }

    /// Forgets the credential; returns the leases that have to be revoked.
    pub(crate) fn end(&self) -> Vec<Arc<str>> {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.failed.store(None);
        let held = self.current.swap(None);
        let current = held.and_then(|held| held.material.lease().cloned());
        current.into_iter().chain(self.take_superseded()).collect()
    }

    fn take_superseded(&self) -> Vec<Arc<str>> {
        let mut superseded = self
            .superseded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let taken = std::mem::take(&mut *superseded).into_iter();
        taken
            .filter(|old| old.ends > now)
            .map(|old| old.lease)
            .collect()
    }

    /// Remembers the lease of a credential that `held` has replaced.
    fn supersede(&self, replaced: &Held, held: &Held) {
        let (Some(lease), Some(id)) = (replaced.lease, replaced.material.lease()) else {
            return;
        };
        if held.material.lease() == Some(id) {
            return;
        }
        let mut superseded = self
            .superseded
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        superseded.retain(|old| old.ends > now);
        superseded.push(Superseded {
            lease: Arc::clone(id),
            ends: lease.ends,
        });
        if superseded.len() > MAX_SUPERSEDED {
            let oldest = superseded.remove(0);
            self.revoke_later(&oldest.lease);
        }
    }

    /// Forgets the credential for good: its server is gone.
    pub(crate) fn retire(&self) -> Vec<Arc<str>> {
        self.retired.store(true, Ordering::Release);
        self.end()
    }

    pub(crate) fn vault(&self) -> Option<&Arc<Vault>> {
        self.vault.as_ref()
    }

    /// What may be used now without fetching anything.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.current
            .load_full()
            .filter(|held| !held.remaining().is_zero())
    }

    pub(crate) fn failure(&self) -> Option<CredentialError> {
        let failed = self.failed.load();
        failed.as_ref().map(|failure| failure.error.clone())
    }

    /// Whether the secret is older than it may get; `None` where nobody asked, or its age is not known.
    pub(crate) fn overdue(&self) -> Option<bool> {
        let current = self.current.load();
        self.is_overdue(current.as_ref()?.material())
    }

    fn is_overdue(&self, material: &Material) -> Option<bool> {
        let rotation = self.wanted.terms.rotation?;
        let age = material.created()?.elapsed().unwrap_or_default();
        Some(age > rotation)
    }

    /// Says once in a while that a secret should have been changed.
    fn tell_overdue(&self, flight: &mut Flight, material: &Material) {
        let told = flight.told.is_some_and(|told| told.elapsed() < TELL_AGAIN);
        if self.is_overdue(material) == Some(true) && !told {
            flight.told = Some(Instant::now());
            let days = self.wanted.terms.rotation.unwrap_or_default().as_secs() / 86_400;
            tracing::warn!(
                server = %self.server, reference = %self.wanted.reference, rotation_days = days,
                "credential is overdue: nobody has changed it for longer than its definition allows"
            );
        }
    }

    fn revoke_later(&self, lease: &Arc<str>) {
        if let Some(vault) = &self.vault {
            self.revoker
                .later(&self.tasks, vault, lease, &self.wanted.reference.text());
        }
    }

    fn error(&self, fault: Fault) -> CredentialError {
        CredentialError {
            reference: self.wanted.reference.text(),
            fault,
        }
    }

    /// Waits for the one who fetches, or is that one. The fetch goes on when the caller gives up: a lease that was
    /// issued must not be lost.
    async fn wait(self: &Arc<Self>) -> Result<Arc<Held>, CredentialError> {
        if let Some(error) = self.recently_failed() {
            return Err(error);
        }
        let source = Arc::clone(self);
        let fetched = self.tasks.spawn(async move {
            let mut flight = source.flight.lock().await;
            // Another may have fetched, or failed, while we waited.
            if let Some(held) = source.held() {
                return Ok(held);
            }
            if let Some(error) = source.recently_failed() {
                return Err(error);
            }
            // What is over may not be used, but its lease may go on: without another look a new one would be issued after
            // each rest, and the one before would live on unseen.
            let before = source.current.load_full();
            source.fetch(&mut flight, before.as_ref(), false).await
        });
        fetched
            .await
            .unwrap_or_else(|_| Err(self.error(Fault::Ended)))
    }

    fn recently_failed(&self) -> Option<CredentialError> {
        let failed = self.failed.load();
        let failure = failed.as_ref()?;
        (Instant::now() < failure.until).then(|| failure.error.clone())
    }

    fn fetch_ahead(self: &Arc<Self>) {
        let source = Arc::clone(self);
        self.tasks.spawn(async move {
            {
                let mut flight = source.flight.lock().await;
                let before = source.current.load_full();
                // The present one stays in use to its end; then calls are refused.
                if let Err(error) = source.fetch(&mut flight, before.as_ref(), true).await {
                    tracing::warn!(
                        server = %source.server, reference = %error.reference,
                        fault = error.fault.word(), hint = error.fault.hint(),
                        "credential not fetched ahead, the present one is used to its end"
                    );
                    tokio::time::sleep(error.fault.pause()).await;
                }
            }
            source.ahead.store(false, Ordering::Release);
        });
    }

    async fn fetch(
        &self,
        flight: &mut Flight,
        before: Option<&Arc<Held>>,
        ahead: bool,
    ) -> Result<Arc<Held>, CredentialError> {
        if self.retired.load(Ordering::Acquire) {
            return Err(self.error(Fault::Ended));
        }
        let epoch = self.epoch.load(Ordering::Acquire);
        let fetched = self.fetched(flight, before).await;
        let held = match fetched {
            Ok(held) => Arc::new(held),
            Err(fault) => {
                let error = self.error(fault);
                let pause = error.fault.pause();
                if !ahead {
                    tracing::warn!(
                        server = %self.server, reference = %error.reference,
                        fault = error.fault.word(), hint = error.fault.hint(),
                        "no credential: calls of this server are refused"
                    );
                }
                self.failed.store(Some(Arc::new(Failure {
                    error: error.clone(),
                    until: Instant::now() + pause,
                })));
                return Err(error);
            }
        };
        self.failed.store(None);
        let replaced = self.current.swap(Some(Arc::clone(&held)));
        if let Some(replaced) = replaced {
            self.supersede(&replaced, &held);
        }
        if self.epoch.load(Ordering::Acquire) != epoch {
            // Ended while it was on its way.
            self.current.compare_and_swap(&held, None::<Arc<Held>>);
            let own = held.material.lease().cloned();
            for lease in own.into_iter().chain(self.take_superseded()) {
                self.revoke_later(&lease);
            }
            return Err(self.error(Fault::Ended));
        }
        Ok(held)
    }

    async fn fetched(
        &self,
        flight: &mut Flight,
        before: Option<&Arc<Held>>,
    ) -> Result<Held, Fault> {
        if let Some(held) = before
            && let Some(renewed) = self.renewed(held).await?
        {
            return Ok(renewed);
        }
        let (raw, age, lease) = self.read().await?;
        if self.wanted.terms.leased && raw.lease.is_none() {
            return Err(Fault::NotLeased);
        }
        let material = self.made(flight, raw)?;
        self.tell_overdue(flight, &material);
        Ok(held(material, age, lease))
    }

    /// The same lease for longer; `None` where there is none, or not much left of it.
    async fn renewed(&self, held: &Held) -> Result<Option<Held>, Fault> {
        let (Some(lease), Some(id), Some(vault)) = (held.lease, held.material.lease(), &self.vault)
        else {
            return Ok(None);
        };
        let left = match vault.renew(id, lease.renewable).await {
            Ok(left) => left,
            // Gone, or not to be renewed: another one is asked for, and that says what is wrong.
            Err(Fault::NotFound | Fault::Forbidden | Fault::Unexpected { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        };
        if left < lease.whole / 3 {
            return Ok(None);
        }
        let lease = Lease {
            ends: Instant::now() + left,
            ..lease
        };
        let age = vault.max_age().min(left / 2);
        Ok(Some(self::held(
            Arc::clone(&held.material),
            age,
            Some(lease),
        )))
    }

    async fn read(&self) -> Result<(Raw, Duration, Option<Lease>), Fault> {
        let blocking = |read: fn(&Place) -> Result<crate::Secret, Fault>| {
            let place = self.wanted.reference.place().clone();
            // Files can be slow (a mount that hangs).
            tokio::task::spawn_blocking(move || read(&place))
        };
        let plain = |secret, age| {
            let raw = Raw {
                secret,
                user: None,
                lease: None,
                created: None,
            };
            (raw, age, None)
        };
        match self.wanted.reference.place() {
            Place::File(_) | Place::Systemd(_) => {
                let read = blocking(file).await.unwrap_or(Err(Fault::Ended))?;
                Ok(plain(read, FILE_AGE))
            }
            Place::Environment(name) => Ok(plain(local::environment(name)?, VARIABLE_AGE)),
            Place::Vault { path, field } => {
                let vault = self.vault.as_ref().ok_or(Fault::NotFound)?;
                let user = self.wanted.form.user_field();
                let began = Instant::now();
                let read = vault.read(path, field, user).await?;
                let longest = vault.max_age();
                let half = read.duration.map(|duration| duration / 2);
                let age = half.map_or(longest, |half| half.min(longest));
                let whole = read.duration.unwrap_or_default();
                let lease = read.raw.lease.is_some().then_some(Lease {
                    renewable: read.renewable,
                    whole,
                    ends: began + whole,
                });
                Ok((read.raw, age, lease))
            }
        }
    }

    /// The material of `raw`: that of before if nothing has changed, so that nobody takes it for a new one. What is new is
    /// searched for from here on, before anybody uses it.
    fn made(&self, flight: &mut Flight, raw: Raw) -> Result<Arc<Material>, Fault> {
        if let Some((known, _)) = flight
            .current
            .as_ref()
            .filter(|(known, _)| known.is_same(&raw))
        {
            return Ok(Arc::clone(known));
        }
        let lease = raw.lease.clone();
        let made = Material::new(raw, &self.wanted.form, flight.generation + 1);
        let made = made.and_then(|material| {
            let material = Arc::new(material);
            let holder = Arc::clone(&material);
            // No server's name has a space.
            let owner = format!("{} {}", self.server, self.wanted.reference);
            let in_use = self.live.add(&owner, holder)?;
            Ok((material, in_use))
        });
        if made.is_err()
            && let Some(lease) = &lease
        {
            self.revoke_later(lease);
        }
        let (material, in_use) = made?;
        flight.generation += 1;
        if flight.generation > 1 {
            tracing::info!(server = %self.server, reference = %self.wanted.reference, "credential has changed");
        }
        flight.current = Some((Arc::clone(&material), in_use));
        Ok(material)
    }
}

fn held(material: Arc<Material>, age: Duration, lease: Option<Lease>) -> Held {
    let now = Instant::now();
    let over = lease.map_or(now + age, |lease| lease.ends.min(now + age));
    Held {
        material,
        over,
        ahead: now + over.saturating_duration_since(now).mul_f64(2.0 / 3.0),
        lease,
    }
}

fn file(place: &Place) -> Result<crate::Secret, Fault> {
    match place {
        Place::File(path) => local::file(path),
        Place::Systemd(name) => local::systemd(name),
        Place::Environment(_) | Place::Vault { .. } => Err(Fault::FileMissing),
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("server", &self.server)
            .field("reference", &self.wanted.reference)
            .finish_non_exhaustive()
    }
}
