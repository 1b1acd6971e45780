//! The live set: asked by every call, changed by operators.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    watch,
};

use super::{
    Age, Blast, CallEnd, CutStream, Facts, Kill, Running,
    index::Index,
    registry::{Place, Registry, Slot, now},
    remains::{Partial, Remains},
};

/// What is cut off now, and the calls that run. Shared by all; needs no disk and no runtime.
///
/// A call registers first and looks for kills after; a kill is put where calls look first and cuts the registered calls
/// after. Both pass the lock of the call's shard in between, so whichever comes second sees the other: no call slips
/// through.
#[derive(Debug, Default)]
pub struct Switch {
    index: ArcSwap<Index>,
    registry: Registry,
    /// Everything in force, by id; also the lock under which the index is replaced.
    kills: Mutex<BTreeMap<Arc<str>, Arc<Kill>>>,
    generation: AtomicU64,
    cut: AtomicU64,
    listeners: Mutex<Vec<UnboundedSender<Arc<Kill>>>>,
    /// The generation, for whoever waits for the next.
    changed: watch::Sender<u64>,
    /// Kills that are partial.
    partial: Partial,
}

/// What setting a kill did at once.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The kill.
    pub kill: Arc<Kill>,
    /// How many running calls and streams it cut.
    pub cut: usize,
}

impl Switch {
    /// A switch with nothing cut off.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn kills(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Arc<Kill>>> {
        // Holders leave the map whole whatever happens.
        self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes effect before it returns: later calls are refused, running ones are cut.
    pub fn set(&self, kill: Kill) -> Applied {
        let kill = Arc::new(kill);
        let mut kills = self.kills();
        kills.insert(Arc::clone(&kill.id), Arc::clone(&kill));
        self.rebuild(&kills);
        drop(kills);
        let cut = self.registry.cut(&kill);
        self.cut.fetch_add(cut as u64, Ordering::Relaxed);
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !listeners.is_empty() {
            // Before anybody can report on it.
            self.partial.begin(&kill.id);
        }
        listeners.retain(|listener| listener.send(Arc::clone(&kill)).is_ok());
        Applied { kill, cut }
    }

    /// Takes effect for later calls alone: for what was set before the first of them.
    pub fn load(&self, loaded: impl IntoIterator<Item = Arc<Kill>>) {
        let mut kills = self.kills();
        kills.extend(loaded.into_iter().map(|kill| (Arc::clone(&kill.id), kill)));
        self.rebuild(&kills);
    }

    /// Lets go what the kill cut off; what was cut stays cut. `false` when it was not in force.
    pub fn clear(&self, id: &str) -> bool {
        let mut kills = self.kills();
        let known = kills.remove(id).is_some();
        if known {
            self.rebuild(&kills);
        }
        known
    }

    /// Forgets the kills whose time is over, and gives them. They have stopped cutting by themselves before.
    pub fn expire(&self) -> Vec<Arc<Kill>> {
        let now = now();
        let mut kills = self.kills();
        let over: Vec<Arc<Kill>> = kills
            .values()
            .filter(|kill| !kill.is_in_force(now))
            .cloned()
            .collect();
        if !over.is_empty() {
            kills.retain(|_, kill| kill.is_in_force(now));
            self.rebuild(&kills);
        }
        over
    }

    fn rebuild(&self, kills: &BTreeMap<Arc<str>, Arc<Kill>>) {
        self.index.store(Arc::new(Index::new(kills.values())));
        let before = self.generation.fetch_add(1, Ordering::Release);
        self.changed.send_replace(before + 1);
    }

    /// Reports each change of what is cut off from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// How often what is cut off has changed.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Everything in force, oldest first.
    pub fn in_force(&self) -> Vec<Arc<Kill>> {
        let now = now();
        let mut kills: Vec<_> = self.kills().values().cloned().collect();
        kills.retain(|kill| kill.is_in_force(now));
        kills.sort_by_key(|kill| kill.set_at);
        kills
    }

    /// How many calls and streams were cut since the start.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// How many calls and streams run.
    pub fn running(&self) -> usize {
        self.registry.len()
    }

    /// What `kill` would cut now, without cutting anything.
    pub fn blast(&self, kill: &Kill) -> Blast {
        self.registry.blast(kill)
    }

    /// Makes every running call older by `elapsed` and ends those for which `look` gives an end; gives how many. Whoever
    /// calls it regularly is the clock of the calls.
    pub fn expire_calls(
        &self,
        elapsed: Duration,
        look: impl FnMut(&Running, Age) -> Option<CallEnd>,
    ) -> usize {
        self.registry.expire(elapsed, look)
    }

    /// Reports what a kill has not reached; complete, it is forgotten.
    pub fn report(&self, id: &Arc<str>, remains: Remains) {
        self.partial.report(id, remains);
    }

    /// Waits until it is known what a kill has not reached, at most `patience`; gives what is known then.
    pub async fn settled(&self, id: &str, patience: Duration) -> Remains {
        self.partial.settled(id, patience).await
    }

    /// The part of its scope that a kill has not reached.
    pub fn remains(&self, id: &str) -> Remains {
        self.partial.of(id)
    }

    /// Every kill that is partial, by id; also those that are over.
    pub fn partial(&self) -> BTreeMap<Arc<str>, Remains> {
        self.partial.all()
    }

    /// Ends the streams that `kill` has cut and nobody reads: they would linger for as long as their clients like.
    pub fn end_unread(&self, kill: &Kill) {
        self.registry.end_cut(kill);
    }

    /// Calls and streams in the scope of `kill` that were cut and have not ended.
    pub fn lingering(&self, kill: &Kill) -> usize {
        self.registry.lingering(kill)
    }

    /// From now on the receiver gets every kill that is set, after it took effect on calls: for what is more than calls
    /// (sessions, processes, leases).
    pub fn subscribe(&self) -> UnboundedReceiver<Arc<Kill>> {
        let (sender, receiver) = unbounded_channel();
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push(sender);
        receiver
    }

    /// Registers a call that is about to run.
    ///
    /// # Errors
    /// The kill that cuts it off.
    pub fn admit(self: &Arc<Self>, running: Running) -> Result<Ticket, Arc<Kill>> {
        let (slot, place) = self.registry.add(running);
        // From here on the place is given back however this ends.
        let ticket = Ticket {
            switch: Arc::clone(self),
            slot,
            place,
        };
        let index = self.index.load();
        if !index.is_empty()
            && let Some(kill) = index.find(&ticket.slot.running.facts(), now())
        {
            return Err(Arc::clone(kill));
        }
        drop(index);
        Ok(ticket)
    }

    /// The kill that cuts off what `facts` say, if one does.
    pub fn find(&self, facts: &Facts<'_>) -> Option<Arc<Kill>> {
        let index = self.index.load();
        if index.is_empty() {
            return None;
        }
        index.find(facts, now()).cloned()
    }

    /// Whether a credential is killed, for whichever tenant: then it is not sent again, not even in farewell.
    pub fn withholds(&self, reference: &str) -> bool {
        let index = self.index.load();
        !index.is_empty() && index.withholds(reference, now())
    }

    /// Whether lists leave a tool out, because it is cut off by name.
    pub fn hides(&self, server: &str, tool: &str, tenant: &str) -> bool {
        let index = self.index.load();
        !index.is_empty() && index.hides(server, tool, tenant, now())
    }
}

/// A running call's hold on the switch. Dropping it is the end of the call.
#[derive(Debug)]
pub struct Ticket {
    switch: Arc<Switch>,
    slot: Arc<Slot>,
    place: Place,
}

impl Ticket {
    /// Names the stream that holds the ticket from now on, so that a cut does not wait for its reader.
    pub fn held_by(&self, stream: Weak<dyn CutStream>) {
        // Set once: a call has one stream.
        let _first = self.slot.stream.set(stream);
    }

    /// The kill that cut the call, if one did.
    pub fn cut(&self) -> Option<&Arc<Kill>> {
        self.slot.cut.get()
    }

    /// The end of the call that is no kill. Whoever polls [`Self::poll_cut`] before is woken for it too.
    pub fn ended(&self) -> Option<CallEnd> {
        self.slot.ended.get().copied()
    }

    /// Ready with the kill as soon as one cuts the call. Only the last task that asked is woken.
    pub fn poll_cut(&self, context: &mut Context<'_>) -> Poll<Arc<Kill>> {
        if let Some(kill) = self.cut() {
            return Poll::Ready(Arc::clone(kill));
        }
        self.slot.waker.register(context.waker());
        // It may have been cut before the waker stood there.
        self.cut()
            .map_or(Poll::Pending, |kill| Poll::Ready(Arc::clone(kill)))
    }

    /// Runs `work` until it is done or the call is cut; the cut is looked for first, so that nothing gets out after it.
    ///
    /// # Errors
    /// The kill that cut the call; `work` is dropped then.
    pub async fn hold<F: Future>(&self, work: F) -> Result<F::Output, Arc<Kill>> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| {
            if let Poll::Ready(kill) = self.poll_cut(context) {
                return Poll::Ready(Err(kill));
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.switch.registry.remove(self.place);
    }
}

#[cfg(test)]
mod tests;
