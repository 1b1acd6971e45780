//! The calls that run, so that a kill can cut them and a drill can count them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use keepgate_call::Call;

use super::{Facts, Kill};

/// Places where calls register; well above the number of workers, each of which has its own.
const SHARDS: usize = 64;

/// A call that runs, and what kills could name beyond the call itself.
#[derive(Debug, Clone)]
pub struct Running {
    /// The call.
    pub call: Arc<Call>,
    /// Its session's public id.
    pub session: Option<Arc<str>>,
    /// The references of the secrets its server is given, if it is given some.
    pub credentials: Option<Arc<[Arc<str>]>>,
}

impl Running {
    /// The call, as far as kills can name it. The tool is read out of the message only here: calls that meet no kill
    /// never pay for it.
    pub fn facts(&self) -> Facts<'_> {
        let call = &*self.call;
        Facts {
            tenant: call.caller.tenant.as_str(),
            server: call.server.as_str(),
            tool: call.tool(),
            caller: &call.caller.subject,
            client: call.caller.client.as_deref(),
            grant: call.caller.grant.as_deref(),
            key: call.caller.key_id.as_deref(),
            session: self.session.as_deref(),
            credentials: self.credentials.as_deref().unwrap_or_default(),
        }
    }
}

/// The stream of a call, which holds its ticket. Only its reader looks whether it was cut, and a client that reads nothing
/// never does.
pub trait CutStream: Send + Sync + fmt::Debug {
    /// Ends the stream if its call was cut or has ended: lets go of its server and of the ticket. Its reader still gets the
    /// reason. Never waits for whoever reads at this moment.
    fn end_cut(&self);
}

/// One registered call.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) running: Running,
    pub(super) cut: OnceLock<Arc<Kill>>,
    /// The end of it that is no kill.
    pub(super) ended: OnceLock<CallEnd>,
    pub(super) waker: AtomicWaker,
    /// Its stream, once it has one.
    pub(super) stream: OnceLock<Weak<dyn CutStream>>,
    /// Milliseconds it has run, and since its client left. Counted by who looks, so that a call reads no clock.
    age: AtomicU64,
    alone: AtomicU64,
}

/// The end of a running call that is no kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// It has reached a limit on its life, named by its key.
    Limit(&'static str),
    /// Its caller is not admitted any more.
    Unadmitted,
    /// Its server is another one under the same name, or gone, and had not got it yet.
    Redefined,
}

/// Age of a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// Since it was registered.
    pub running: Duration,
    /// Since its client left, if it did.
    pub alone: Option<Duration>,
}

impl Slot {
    /// Ends the stream of a call that was cut or has ended.
    fn end_stream(&self) {
        if let Some(stream) = self.stream.get().and_then(Weak::upgrade) {
            stream.end_cut();
        }
    }

    fn cut(&self, kill: &Arc<Kill>) -> bool {
        let first = self.cut.set(Arc::clone(kill)).is_ok();
        self.running.call.kill();
        self.waker.wake();
        first
    }

    /// Makes it older.
    fn grow(&self, elapsed: u64) -> Age {
        let add = |count: &AtomicU64| {
            Duration::from_millis(count.fetch_add(elapsed, Ordering::Relaxed) + elapsed)
        };
        Age {
            running: add(&self.age),
            alone: self.running.call.is_left().then(|| add(&self.alone)),
        }
    }

    fn end(&self, end: CallEnd) -> bool {
        let first = self.ended.set(end).is_ok();
        if first {
            // Whatever drops it cancels it at its server.
            self.running.call.kill();
            self.waker.wake();
        }
        first
    }
}

/// A call's place in the registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    shard: usize,
    at: usize,
}

/// One worker's calls. On a cache line of its own, so that workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

/// Every call that runs.
#[derive(Debug)]
pub(super) struct Registry {
    shards: Box<[Shard]>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

/// Which shard this thread registers in.
fn own() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

impl Registry {
    fn locked(&self, shard: usize) -> Option<MutexGuard<'_, Slots>> {
        // A holder never leaves the slots half changed, so a poisoned lock is as good as any.
        let shard = self.shards.get(shard)?;
        Some(shard.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers a call.
    pub(super) fn add(&self, running: Running) -> (Arc<Slot>, Place) {
        let slot = Arc::new(Slot {
            running,
            cut: OnceLock::new(),
            ended: OnceLock::new(),
            waker: AtomicWaker::new(),
            stream: OnceLock::new(),
            age: AtomicU64::new(0),
            alone: AtomicU64::new(0),
        });
        let shard = own();
        let mut at = 0;
        if let Some(mut slots) = self.locked(shard) {
            let held = Some(Arc::clone(&slot));
            if let Some(free) = slots.free.pop()
                && let Some(place) = slots.slots.get_mut(free)
            {
                *place = held;
                at = free;
            } else {
                at = slots.slots.len();
                slots.slots.push(held);
            }
        }
        (slot, Place { shard, at })
    }

    /// Forgets a call.
    pub(super) fn remove(&self, place: Place) {
        let Some(mut slots) = self.locked(place.shard) else {
            return;
        };
        let taken = slots.slots.get_mut(place.at).and_then(Option::take);
        if taken.is_some() {
            slots.free.push(place.at);
        }
        drop(slots);
        drop(taken);
    }

    /// Cuts every running call that `kill` covers; gives how many.
    pub(super) fn cut(&self, kill: &Arc<Kill>) -> usize {
        let mut cut = 0;
        self.each(|slot| {
            if kill.covers(&slot.running.facts()) && slot.cut(kill) {
                cut += 1;
            }
        });
        cut
    }

    /// Ends the streams of the calls that `kill` has cut.
    pub(super) fn end_cut(&self, kill: &Kill) {
        self.each(|slot| {
            if slot.cut.get().is_some() && kill.covers(&slot.running.facts()) {
                slot.end_stream();
            }
        });
    }

    /// Calls that `kill` covers, were cut and have not ended.
    pub(super) fn lingering(&self, kill: &Kill) -> usize {
        let mut count = 0;
        self.each(|slot| {
            count += usize::from(slot.cut.get().is_some() && kill.covers(&slot.running.facts()));
        });
        count
    }

    /// Makes every running call older by `elapsed` and ends those for which `look` gives an end; gives how many.
    pub(super) fn expire(
        &self,
        elapsed: Duration,
        mut look: impl FnMut(&Running, Age) -> Option<CallEnd>,
    ) -> usize {
        let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let mut over = 0;
        self.each(|slot| {
            // It had the time since the look before: nobody reads it.
            if elapsed > 0 && (slot.ended.get().is_some() || slot.cut.get().is_some()) {
                slot.end_stream();
            }
            let age = slot.grow(elapsed);
            if let Some(end) = look(&slot.running, age)
                && slot.end(end)
            {
                over += 1;
            }
        });
        over
    }

    /// Looks at every running call, one worker's after another's, so that no worker waits for more than its own.
    fn each(&self, mut look: impl FnMut(&Slot)) {
        for shard in 0..self.shards.len() {
            let slots: Vec<Arc<Slot>> = self
                .locked(shard)
                .map(|slots| slots.slots.iter().flatten().cloned().collect())
                .unwrap_or_default();
            for slot in slots {
                look(&slot);
            }
        }
    }

    /// How many calls run.
    pub(super) fn len(&self) -> usize {
        let held = |shard| {
            self.locked(shard)
                .map_or(0, |slots| slots.slots.len() - slots.free.len())
        };
        (0..self.shards.len()).map(held).sum()
    }

    /// What `kill` would cut now.
    pub(super) fn blast(&self, kill: &Kill) -> Blast {
        let mut blast = Blast::default();
        self.each(|slot| {
            let facts = slot.running.facts();
            if !kill.covers(&facts) {
                return;
            }
            blast.running += 1;
            *blast.servers.entry(facts.server.to_owned()).or_default() += 1;
            *blast.callers.entry(facts.caller.to_owned()).or_default() += 1;
            if let Some(tool) = &facts.tool {
                let name = format!("{}/{tool}", facts.server);
                *blast.tools.entry(name).or_default() += 1;
            }
            blast.sessions.extend(facts.session.map(str::to_owned));
        });
        blast
    }
}

/// What a kill cuts, or would cut: the calls that run, by what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blast {
    /// Running calls and streams.
    pub running: usize,
    /// Of these, by server.
    pub servers: BTreeMap<String, usize>,
    /// By caller.
    pub callers: BTreeMap<String, usize>,
    /// By tool, as `server/tool`.
    pub tools: BTreeMap<String, usize>,
    /// The sessions they are in, by public id.
    pub sessions: BTreeSet<String>,
}

/// The moment, for whoever compares it with deadlines.
pub(super) fn now() -> Instant {
    Instant::now()
}
