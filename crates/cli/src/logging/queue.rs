//! The bounded queue in front of standard error: whoever logs never waits for whoever reads the log.
//!
//! A pipe that nobody reads holds 64 KiB; then a write waits for ever, on whichever thread has something to log. So one
//! thread of its own writes, and lines that find no room are dropped and counted.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes of lines that wait to be written.
const MAX_BYTES: usize = 1 << 20;
/// Bytes each line is charged besides its own, so that short lines are bounded too.
const LINE: usize = 64;
/// Longest time without a look at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes that are written at once.
const BATCH: usize = 32 << 10;

/// Lines on their way to standard error. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a line comes.
    filled: Condvar,
    /// Notified when everything is written.
    drained: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    writing: bool,
    /// Dropped since the last report.
    unreported: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Holders leave the state whole whatever happens.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogQueue {
    /// Queues one line; drops it where there is no room.
    fn push(&self, line: &[u8]) {
        let size = line.len() + LINE;
        let mut state = self.0.state();
        if state.bytes + size > MAX_BYTES {
            state.unreported += 1;
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += size;
        state.lines.push_back(line.to_vec());
        drop(state);
        self.0.filled.notify_one();
    }

    /// Lines dropped since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, at most `patience`. Returns whether it is.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let pending = |state: &mut State| state.writing || !state.lines.is_empty();
        let state = self.0.state();
        let waited = self.0.drained.wait_timeout_while(state, patience, pending);
        let (_state, over) = waited.unwrap_or_else(PoisonError::into_inner);
        !over.timed_out()
    }

    /// Writes what is queued to `out`, for ever. `report` gets the count of lines that were dropped, once there is room again; it
    /// is called about once a [`LOOK`] without lines too.
    pub(super) fn write(&self, mut out: impl Write, report: impl Fn(u64)) {
        let mut batch = Vec::new();
        loop {
            let dropped = self.next(&mut batch);
            // Nobody is left to hear of an error here.
            out.write_all(&batch).and_then(|()| out.flush()).ok();
            batch.clear();
            report(dropped);
        }
    }

    /// Waits for lines and takes as many as are written at once, with the count of those dropped before.
    fn next(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.0.state();
        state.writing = false;
        if state.lines.is_empty() {
            self.0.drained.notify_all();
        }
        let idle = |state: &mut State| state.lines.is_empty();
        let waited = self.0.filled.wait_timeout_while(state, LOOK, idle);
        let (mut state, _over) = waited.unwrap_or_else(PoisonError::into_inner);
        while batch.len() < BATCH
            && let Some(line) = state.lines.pop_front()
        {
            state.bytes = state.bytes.saturating_sub(line.len() + LINE);
            batch.extend_from_slice(&line);
        }
        state.writing = true;
        std::mem::take(&mut state.unreported)
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// Takes one whole line a call, as the formatter of events gives it.
impl Write for &LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
