//! The one thread that writes a log, and the one that watches it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::disk::{free_bytes, refusal};
use super::pace::Pace;
use super::shared::{Load, Shared, Span, Turn};
use super::store::Store;
use crate::record::{self, Kind, LogNote, MAX_DIGITS, Record, Stamp};
use crate::settings::{Durability, Settings};

/// A write by a waiting caller that took longer than this: the disk is left to the writer's own thread for a while, so
/// that no more callers are held up.
const PATIENCE: Duration = Duration::from_millis(20);
/// For how long: at first, and at most. It doubles with each slow write that follows, so that a busy machine's one hiccup
/// does not cost every record a switch of threads for long, and a slow disk is soon left alone.
const SHY_FIRST: u64 = 250;
const SHY_MOST: u64 = 10_000;
/// How often the room on the disk is looked at while there is work, or while it is short.
const LOOK: Duration = Duration::from_secs(1);
/// Longest time that publishing may fail before calls are refused: records that are written but not signed prove nothing.
const UNSIGNED_PATIENCE: Duration = Duration::from_secs(3);
/// Interval at which a failure that lasts is repeated in the program's log.
const REPORT: Duration = Duration::from_secs(10);
/// Where the log is written, by one at a time: by its own thread, or by a caller who waits for a record anyway. A caller
/// that writes for all who wait costs no switch to another thread and back.
pub(super) struct Desk {
    shared: Arc<Shared>,
    writer: Mutex<Writer>,
    /// Whether callers write at all.
    open_to_callers: bool,
    /// Until when callers leave it to the thread, in milliseconds after `opened`.
    shy_until: AtomicU64,
    /// How long they left it to the thread last, in milliseconds.
    shy_for: AtomicU64,
    opened: Instant,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Desk")
    }
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        // A disk that is waited for takes its time; that is no work for a caller's thread.
        let open_to_callers = writer.settings.durability == Durability::Written;
        Self {
            shared,
            writer: Mutex::new(writer),
            open_to_callers,
            shy_until: AtomicU64::new(0),
            shy_for: AtomicU64::new(0),
            opened: Instant::now(),
        }
    }

    /// Whether a caller who waits should write.
    pub(super) fn is_open_to_callers(&self) -> bool {
        self.open_to_callers && self.now_ms() >= self.shy_until.load(Ordering::Relaxed)
    }

    /// Calls the thread.
    pub(super) fn call(&self) {
        self.shared.call();
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued on the caller's thread, unless somebody else is at it. Whoever is looks again when done, so
    /// nothing is left lying. A caller writes load by load and looks at the clock after each: others' records keep it no
    /// longer than [`PATIENCE`] and one load.
    pub(super) fn write(&self) {
        let began = Instant::now();
        let mut last = began;
        while self.shared.has_work() {
            let mut writer = match self.writer.try_lock() {
                Ok(writer) => writer,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            writer.write_one();
            drop(writer);
            let now = Instant::now();
            let is_slow = now - last > PATIENCE;
            if is_slow {
                self.shy();
            }
            if is_slow || now - began > PATIENCE {
                if self.shared.has_work() {
                    self.shared.call();
                }
                return;
            }
            last = now;
        }
    }

    /// Leaves the disk to the thread for a while.
    fn shy(&self) {
        let now = self.now_ms();
        let (last, until) = (&self.shy_for, &self.shy_until);
        // Long after the last time, it counts as the first.
        let follows = now < until.load(Ordering::Relaxed).saturating_add(SHY_MOST);
        let before = if follows {
            last.load(Ordering::Relaxed)
        } else {
            0
        };
        let pause = before.saturating_mul(2).clamp(SHY_FIRST, SHY_MOST);
        last.store(pause, Ordering::Relaxed);
        until.store(now.saturating_add(pause), Ordering::Relaxed);
    }

    /// The thread: writes what nobody waits for, and keeps house, until the log is closed.
    pub(super) fn run(&self) {
        let ended = Ended(Arc::clone(&self.shared));
        loop {
            let mut pause = None;
            let mut writer = self.writer();
            let written = writer.write_queued();
            writer.keep_house();
            let due = writer.due();
            if !self.open_to_callers && written > 0 {
                writer.pace.note(written);
                pause = writer.pace.pause(writer.settings.gather);
            }
            drop(writer);
            // A caller that found the desk taken waits for whoever had it: look again, now that it is free.
            if self.shared.has_work() {
                self.shared.call();
            }
            if let Some(pause) = pause {
                thread::sleep(pause);
            }
            if self.shared.rest(due) == Turn::End {
                break;
            }
        }
        self.writer().end();
        drop(ended);
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    load: Load,
    store: Store,
    settings: Settings,
    stamp: Stamp,
    event: u64,
    frame: Vec<u8>,
    scratch: Vec<u8>,
    last_publish: Instant,
    last_heartbeat: Instant,
    last_look: Instant,
    /// Whether the log holds records that its last checkpoint does not cover because publishing failed.
    retry: bool,
    /// Records of what has happened that the disk has not taken, to be written before any other.
    backlog: Load,
    /// The first record of this opening, while the disk does not take it.
    opening: Option<LogNote<'static>>,
    /// Since when publishing fails.
    failing_since: Option<Instant>,
    /// Last failure that the program's log has, and its time.
    reported: Option<(String, Instant)>,
    pace: Pace,
    /// Held for as long as the log is open.
    lock: Option<File>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        store: Store,
        settings: Settings,
        stamp: Stamp,
        event: u64,
        lock: File,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            load: Load::default(),
            store,
            settings,
            stamp,
            event,
            frame: Vec::new(),
            scratch: Vec::new(),
            last_publish: now,
            last_heartbeat: now,
            last_look: now,
            retry: false,
            backlog: Load::default(),
            opening: None,
            failing_since: None,
            reported: None,
            pace: Pace::new(now),
            lock: Some(lock),
        }
    }

    /// Writes what recovery found out and signs it. Before this the log takes no records.
    pub(super) fn begin(&mut self, note: LogNote<'_>) -> io::Result<()> {
        self.look();
        if self.store.size() == 0 {
            // A tail without a checkpoint is damage. An empty log is signed first, so that a start that is killed between
            // its first record and the checkpoint over it leaves what the next one can go on from.
            self.publish()?;
        }
        self.write_own(Kind::LogOpened, Some(note))?;
        self.opening = None;
        self.publish()
    }

    /// Puts [`Self::begin`] off until the disk takes records.
    pub(super) fn begin_later(&mut self, note: LogNote<'_>, error: &io::Error) {
        self.opening = Some(LogNote {
            origin: None,
            ..note
        });
        self.retry = true;
        self.fail(error);
    }

    /// Does what [`Self::begin_later`] put off.
    fn begin_now(&mut self) -> io::Result<()> {
        let Some(note) = self.opening else {
            return Ok(());
        };
        let origin = self.settings.origin.clone();
        self.begin(LogNote {
            origin: Some(&origin),
            ..note
        })
    }

    /// Writes what is queued; tells how many records.
    fn write_queued(&mut self) -> usize {
        let mut written = 0;
        while let Some(records) = self.write_one() {
            written += records;
        }
        written
    }

    /// Writes one load; tells how many records, or `None` when nothing was queued.
    fn write_one(&mut self) -> Option<usize> {
        let mut load = std::mem::take(&mut self.load);
        let written = self.shared.take(&mut load).then(|| {
            self.write_load(&load);
            self.shared.finish();
            load.spans.len()
        });
        load.reset();
        self.load = load;
        written
    }

    /// Writes what is left and signs it all.
    fn end(&mut self) {
        self.write_queued();
        if let Err(error) = self
            .begin_now()
            .and_then(|()| self.write_backlog())
            .and_then(|()| self.write_own(Kind::LogClosed, None))
            .and_then(|()| self.publish())
        {
            tracing::error!(%error, "failed to close the audit log");
            self.fail(&error);
        }
        self.lock = None;
    }

    /// When the writer must be up even if no record comes.
    fn due(&self) -> Instant {
        // Callers write without waking the thread, so it looks by itself whether there is something to sign.
        let mut due = Instant::now() + self.settings.checkpoint_interval;
        due = due.min(self.last_heartbeat + self.settings.heartbeat);
        if self.store.size() != self.store.signed() || self.retry {
            due = due.min(self.last_publish + self.settings.checkpoint_interval);
        }
        let status = &self.shared.status;
        if status.full.load(Ordering::Relaxed)
            || status.unrecorded.load(Ordering::Relaxed) > 0
            || !self.backlog.spans.is_empty()
        {
            due = due.min(self.last_look + LOOK);
        }
        due
    }

    /// Does what time asks for.
    fn keep_house(&mut self) {
        if self.last_look.elapsed() >= LOOK {
            self.look();
            if let Err(error) = self.begin_now().and_then(|()| self.write_backlog()) {
                self.fail(&error);
            }
            self.record_loss();
        }
        if self.last_heartbeat.elapsed() >= self.settings.heartbeat {
            self.last_heartbeat = Instant::now();
            if let Err(error) = self.write_own(Kind::Heartbeat, None) {
                self.fail(&error);
            }
        }
        let changed = self.store.size() != self.store.signed() || self.retry;
        if self.store.at_boundary()
            || changed && self.last_publish.elapsed() >= self.settings.checkpoint_interval
        {
            self.publish_or_fail();
        }
    }

    /// Writes a load, after what is left of earlier ones.
    fn write_load(&mut self, load: &Load) {
        match self.begin_now().and_then(|()| self.write_backlog()) {
            Ok(()) => drop(self.write_spans(load)),
            Err(error) => self.fail_load(&error, load, 0, &load.spans),
        }
    }

    /// Writes what the disk did not take before.
    fn write_backlog(&mut self) -> io::Result<()> {
        if self.backlog.spans.is_empty() {
            return Ok(());
        }
        let backlog = std::mem::take(&mut self.backlog);
        self.write_spans(&backlog)
    }

    /// Writes records, bundle by bundle; a bundle is signed before the next is begun.
    fn write_spans(&mut self, load: &Load) -> io::Result<()> {
        let mut rest = load.spans.as_slice();
        let mut begin = 0;
        let mut done = 0_u32;
        let mut first = None;
        while !rest.is_empty() {
            let room = if self.store.at_boundary() {
                crate::layout::WIDTH
            } else {
                self.store.room()
            };
            let (now, after) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(1)));
            self.build_frame(&load.bytes, begin, now);
            if let Err(error) = self.store.append(&self.frame) {
                self.fail_load(&error, load, begin, rest);
                return Err(error);
            }
            let first = *first.get_or_insert_with(|| self.store.size());
            done += u32::try_from(now.len()).unwrap_or_default();
            load.batch.advance(first, done);
            // The records are acknowledged; the tree follows, before anything is signed.
            self.store.hash(&self.frame);
            self.shared
                .status
                .size
                .store(self.store.size(), Ordering::Relaxed);
            if self.store.at_boundary() {
                self.publish_or_fail();
            }
            begin = now.last().map_or(begin, |span| span.end);
            rest = after;
        }
        self.succeed();
        Ok(())
    }

    /// Reports to whoever waits for the rest of a load, from byte `begin`, that it is not written; keeps what has to be
    /// written later, as much of it as a queue may hold.
    fn fail_load(&mut self, error: &io::Error, load: &Load, mut begin: usize, rest: &[Span]) {
        self.fail(error);
        load.batch.fail(refusal(error));
        let mut lost = 0;
        for span in rest {
            let record = load.bytes.get(begin..span.end).unwrap_or_default();
            let kept = &mut self.backlog;
            if span.kept && kept.bytes.len() + record.len() <= self.settings.queue_bytes {
                let seq_at = kept.bytes.len() + (span.seq_at - begin);
                kept.bytes.extend_from_slice(record);
                kept.spans.push(Span {
                    end: kept.bytes.len(),
                    seq_at,
                    kept: true,
                });
            } else if span.kept {
                lost += 1;
            }
            begin = span.end;
        }
        self.shared.status.lose(lost);
    }

    /// Lays records out as in a bundle, each with its number.
    fn build_frame(&mut self, bytes: &[u8], mut begin: usize, spans: &[Span]) {
        self.frame.clear();
        for (span, seq) in spans.iter().zip(self.store.size()..) {
            let before = bytes.get(begin..span.seq_at).unwrap_or_default();
            let after = bytes.get(span.seq_at..span.end).unwrap_or_default();
            push_record(&mut self.frame, before, seq, after);
            begin = span.end;
        }
    }

    /// Writes a record of the log about itself.
    fn write_own(&mut self, kind: Kind, note: Option<LogNote<'_>>) -> io::Result<()> {
        if kind != Kind::LogOpened {
            self.begin_now()?;
        }
        let record = Record::new(kind, SystemTime::now());
        self.event = self.event.wrapping_add(1);
        self.scratch.clear();
        let seq_at = record::write(
            &record,
            note,
            &self.stamp,
            record::scatter(self.event),
            &mut self.scratch,
        );
        let (before, after) = self.scratch.split_at_checked(seq_at).unwrap_or_default();
        self.frame.clear();
        push_record(&mut self.frame, before, self.store.size(), after);
        self.store.append(&self.frame)?;
        self.store.hash(&self.frame);
        self.shared
            .status
            .size
            .store(self.store.size(), Ordering::Relaxed);
        Ok(())
    }

    /// Says in the log how many records it could not keep.
    fn record_loss(&mut self) {
        let lost = self.shared.status.unrecorded.load(Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        match self.write_own(
            Kind::LogLoss,
            Some(LogNote {
                lost: Some(lost),
                ..LogNote::default()
            }),
        ) {
            Ok(()) => {
                self.shared
                    .status
                    .unrecorded
                    .fetch_sub(lost, Ordering::Relaxed);
                self.succeed();
            }
            Err(error) => self.fail(&error),
        }
    }

    fn publish(&mut self) -> io::Result<()> {
        self.last_publish = Instant::now();
        self.retry = true;
        self.store.publish()?;
        self.retry = false;
        self.shared.set_signed(self.store.signed());
        Ok(())
    }

    fn publish_or_fail(&mut self) {
        match self.publish() {
            Ok(()) => self.succeed(),
            Err(error) => self.fail_to_publish(&error),
        }
    }

    /// Refuses calls when what they leave cannot be read again, or will not be signed for longer than a hiccup.
    fn fail_to_publish(&mut self, error: &io::Error) {
        self.retry = true;
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        if self.store.is_astray() || since.elapsed() >= UNSIGNED_PATIENCE {
            self.shared.status.failing.store(true, Ordering::Relaxed);
            return self.fail(error);
        }
        self.shared.status.set_failure(Some(error.to_string()));
        self.report(
            error,
            "failed to sign the audit log: calls are refused if this lasts",
        );
    }

    /// Looks whether the files are those that were written, and how much room the disk has.
    fn look(&mut self) {
        self.last_look = Instant::now();
        if let Err(error) = self.store.check() {
            return self.fail_to_publish(&error);
        }
        let free = match free_bytes(self.store.directory()) {
            Ok(free) => free,
            Err(error) => return self.fail(&error),
        };
        let reserve = self.settings.min_free_bytes;
        let status = &self.shared.status;
        status.free_bytes.store(free, Ordering::Relaxed);
        if !status.full.swap(free < reserve, Ordering::Relaxed) && free < reserve {
            tracing::error!(free, reserve, "the audit log is full: calls are refused");
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.shared.status.set_failure(Some(error.to_string()));
        self.report(error, "failed to write the audit log: calls are refused");
    }

    /// Says in the program's log what failed: at once when it is news, then every [`REPORT`].
    fn report(&mut self, error: &io::Error, message: &'static str) {
        let text = format!("{message}: {error}");
        let is_news = self
            .reported
            .as_ref()
            .is_none_or(|(last, at)| *last != text || at.elapsed() >= REPORT);
        if is_news {
            tracing::error!(%error, "{message}");
            self.reported = Some((text, Instant::now()));
        }
    }

    fn succeed(&mut self) {
        if self.retry {
            return;
        }
        self.shared.status.set_failure(None);
        if self.failing_since.take().is_some() || self.reported.take().is_some() {
            self.shared.status.failing.store(false, Ordering::Relaxed);
            tracing::info!("the audit log is in order again");
        }
    }
}

/// Adds a record to a frame: its length, then its bytes with the digits of `seq` in their place.
fn push_record(frame: &mut Vec<u8>, before: &[u8], seq: u64, after: &[u8]) {
    let start = frame.len();
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(before);
    record::write_number(seq, frame);
    frame.extend_from_slice(after);
    let length = frame.len() - start - 2;
    debug_assert!(
        length <= record::MAX_RECORD,
        "{MAX_DIGITS} digits were left free"
    );
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = frame.get_mut(start..start + 2) {
        place.copy_from_slice(&length);
    }
}

/// Whatever ends the writer, nobody waits for it for ever.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abandon();
        self.0.status.closed.store(true, Ordering::Relaxed);
    }
}

/// Tells those who wait too long, while the writer itself may hang in a system call. Ends with the writer.
pub(super) fn watch(shared: &Shared, timeout: Duration) {
    let pause = (timeout / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
    while !shared.status.closed.load(Ordering::Relaxed) {
        thread::sleep(pause);
        shared.fail_overdue(timeout);
    }
}
