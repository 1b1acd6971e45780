//! What the handles, the writer and the watch share: the queue and the state of the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::AppendError;
use super::batch::Batch;
use crate::health::{Health, State};

/// For how long after the last wait in vain the log counts as slow, in milliseconds.
const SLOW_FOR: u64 = 10_000;

/// A record in the queue's buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Where it ends in the buffer; it begins where the one before ends.
    pub(super) end: usize,
    /// Where in the buffer the digits of its `seq` belong.
    pub(super) seq_at: usize,
    /// It ends what has happened already: if it cannot be written now, it is written later.
    pub(super) kept: bool,
}

/// Handling of a record on its way to the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handling {
    /// Nobody waits for it.
    pub(super) posted: bool,
    /// Whoever waits for it writes it, so the writer need not be woken.
    pub(super) driven: bool,
    /// See [`Span::kept`].
    pub(super) kept: bool,
}

/// Records waiting for the writer. Swapped whole with an empty one, so that its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: Vec<Span>,
    pub(super) batch: Arc<Batch>,
    /// When its first record came.
    pub(super) since: Option<Instant>,
}

impl Load {
    /// Empties the buffers but keeps their memory, unless a burst made them large.
    pub(super) fn reset(&mut self) {
        const KEEP: usize = 1 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.spans.clear();
        self.spans.shrink_to(KEEP / size_of::<Span>());
        self.batch = Arc::default();
        self.since = None;
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) load: Load,
    /// The writer waits on the condition; only then is waking it worth a system call.
    asleep: bool,
    /// Somebody waits for the writer itself.
    called: bool,
    /// No record is taken any more; the writer ends when the queue is empty.
    pub(super) closing: bool,
}

/// What handles, writer and watch share.
#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// What the writer has in hand.
    in_hand: Mutex<Option<(Instant, Arc<Batch>)>>,
    queue_bytes: usize,
    opened: Instant,
    pub(super) status: Status,
}

/// The state of the log, as the writer and the watch see it.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) full: AtomicBool,
    pub(super) slow: AtomicBool,
    /// Records cannot be kept or signed: nothing new is taken.
    pub(super) failing: AtomicBool,
    pub(super) closed: AtomicBool,
    pub(super) size: AtomicU64,
    pub(super) signed: AtomicU64,
    /// Milliseconds after the opening.
    signed_at: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Losses that do not stand in the log yet.
    pub(super) unrecorded: AtomicU64,
    pub(super) free_bytes: AtomicU64,
    /// When somebody last waited in vain, in milliseconds after the opening; 0 if nobody did.
    overdue_at: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Status {
    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets or clears what failed last.
    pub(super) fn set_failure(&self, failure: Option<String>) {
        *self.failure() = failure;
    }

    /// Counts a record nobody could be told about.
    pub(super) fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.unrecorded.fetch_add(count, Ordering::Relaxed);
    }
}

/// What the writer was woken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There are records, or it is time for something.
    Work,
    /// The queue is empty and closed.
    End,
}

impl Shared {
    pub(super) fn new(queue_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            in_hand: Mutex::default(),
            queue_bytes,
            opened: Instant::now(),
            status: Status::default(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_hand(&self) -> MutexGuard<'_, Option<(Instant, Arc<Batch>)>> {
        self.in_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a record; gives its batch and its place there.
    pub(super) fn push(
        &self,
        record: &[u8],
        seq_at: usize,
        handling: Handling,
    ) -> Result<(Arc<Batch>, u32), AppendError> {
        let Handling {
            posted,
            driven,
            kept,
        } = handling;
        let mut queue = self.queue();
        if queue.closing {
            return Err(AppendError::Closed);
        }
        // Posts tell of what has already happened, so they have room that new calls have not.
        let room = if posted {
            self.queue_bytes.saturating_mul(2)
        } else {
            self.queue_bytes
        };
        // One record always fits: a queue smaller than a record would never take it.
        let queued = queue.load.bytes.len();
        if queued > 0 && queued + record.len() > room {
            return Err(AppendError::Slow);
        }
        if !posted && let Some(failure) = queue.load.batch.failed() {
            return Err(failure);
        }
        let load = &mut queue.load;
        let place = u32::try_from(load.spans.len()).map_err(|_too_many| AppendError::Slow)?;
        if place == 0 {
            load.since = Some(Instant::now());
        }
        let seq_at = load.bytes.len() + seq_at;
        load.bytes.extend_from_slice(record);
        load.spans.push(Span {
            end: load.bytes.len(),
            seq_at,
            kept,
        });
        let batch = Arc::clone(&load.batch);
        queue.called |= !driven;
        let wake = !driven && std::mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.filled.notify_one();
        }
        Ok((batch, place))
    }

    /// Lets the writer sleep until it is called, or until `due`.
    pub(super) fn rest(&self, due: Instant) -> Turn {
        let mut queue = self.queue();
        loop {
            if queue.closing {
                return Turn::End;
            }
            let wait = due.saturating_duration_since(Instant::now());
            if queue.called || wait.is_zero() {
                queue.called = false;
                return Turn::Work;
            }
            queue.asleep = true;
            queue = self
                .filled
                .wait_timeout(queue, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            queue.asleep = false;
        }
    }

    /// Calls the writer: somebody waits who will not write.
    pub(super) fn call(&self) {
        let mut queue = self.queue();
        queue.called = true;
        let wake = std::mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Whether anything waits to be written.
    pub(super) fn has_work(&self) -> bool {
        !self.queue().load.spans.is_empty()
    }

    /// Gives everything queued, in exchange for an empty load; `false` if there is nothing.
    pub(super) fn take(&self, load: &mut Load) -> bool {
        let mut queue = self.queue();
        if queue.load.spans.is_empty() {
            return false;
        }
        std::mem::swap(load, &mut queue.load);
        drop(queue);
        if let Some(since) = load.since {
            *self.in_hand() = Some((since, Arc::clone(&load.batch)));
        }
        true
    }

    /// The writer has finished what it took.
    pub(super) fn finish(&self) {
        *self.in_hand() = None;
        self.status.slow.store(false, Ordering::Relaxed);
    }

    /// Takes no more records and lets the writer end.
    pub(super) fn close(&self) {
        self.queue().closing = true;
        self.filled.notify_one();
    }

    /// Fails whatever waits, for a writer that is no more.
    pub(super) fn abandon(&self) {
        let mut queue = self.queue();
        queue.closing = true;
        queue.load.batch.fail(AppendError::Closed);
        let kept = queue.load.spans.iter().filter(|span| span.kept).count() as u64;
        drop(queue);
        if let Some((_since, batch)) = self.in_hand().take() {
            batch.fail(AppendError::Closed);
        }
        self.status.lose(kept);
    }

    /// Tells those who have waited longer than `timeout` that the log is too slow.
    pub(super) fn fail_overdue(&self, timeout: Duration) {
        let queue = self.queue();
        let waiting = queue
            .load
            .since
            .map(|since| (since, Arc::clone(&queue.load.batch)));
        drop(queue);
        let in_hand = self.in_hand().clone();
        let mut overdue = [in_hand, waiting];
        for slot in &mut overdue {
            slot.take_if(|(since, _batch)| since.elapsed() < timeout);
        }
        // Said before anybody is told, so that whoever was told finds it said.
        let slow = overdue.iter().any(Option::is_some);
        self.status.slow.store(slow, Ordering::Relaxed);
        if slow {
            self.status
                .overdue_at
                .store(self.now_ms().max(1), Ordering::Relaxed);
        }
        for (_since, batch) in overdue.into_iter().flatten() {
            batch.fail(AppendError::Slow);
        }
    }

    /// Notes that a checkpoint over `size` records is in place.
    pub(super) fn set_signed(&self, size: u64) {
        self.status
            .signed_at
            .store(self.now_ms(), Ordering::Relaxed);
        self.status.signed.store(size, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether somebody waited in vain lately. Between two slow writes the log looks well; who looks just then must not
    /// read that calls are taken.
    fn was_slow(&self) -> bool {
        let last = self.status.overdue_at.load(Ordering::Relaxed);
        last > 0 && self.now_ms().saturating_sub(last) < SLOW_FOR
    }

    pub(super) fn health(&self) -> Health {
        let queue = self.queue();
        let (queued, queued_bytes) = (queue.load.spans.len(), queue.load.bytes.len());
        drop(queue);
        let status = &self.status;
        let failure = status.failure().clone();
        let signed_at = Duration::from_millis(status.signed_at.load(Ordering::Relaxed));
        let state = if status.closed.load(Ordering::Relaxed) {
            State::Closed
        } else if status.full.load(Ordering::Relaxed) {
            State::Full
        } else if failure.is_some() || status.unrecorded.load(Ordering::Relaxed) > 0 {
            State::Failing
        } else if self.was_slow()
            || status.slow.load(Ordering::Relaxed)
            || queued_bytes >= self.queue_bytes
        {
            State::Slow
        } else {
            State::Ok
        };
        Health {
            state,
            size: status.size.load(Ordering::Relaxed),
            signed: status.signed.load(Ordering::Relaxed),
            checkpoint_age: self.opened.elapsed().saturating_sub(signed_at),
            queued,
            queued_bytes,
            lost: status.lost.load(Ordering::Relaxed),
            free_bytes: status.free_bytes.load(Ordering::Relaxed),
            failure,
        }
    }
}
