//! One task's turn on the runtime: how much of a peer's bytes it works through before it lets others run.
//!
//! A peer that sends as fast as it is read never makes its reader wait, and a task that never waits keeps its worker. The
//! runtime's own budget counts operations and not bytes: 128 reads of 128 KiB are 16 MiB a turn.

use std::{future::Future, pin::pin, task::Context};

/// Bytes of a turn: about fifty microseconds of reading. With four times as much, eight floods made the calls of others take
/// forty times as long on two cores (`keepgate-bench saturate`).
pub(crate) const TURN: usize = 64 * 1024;
/// Charged for a chunk beyond its bytes, so that chunks of one byte do not make a turn long.
pub(crate) const CHUNK: usize = 64;
/// Charged for a message beyond its bytes: 64 small ones a turn, since each costs far more than its bytes.
pub(crate) const MESSAGE: usize = TURN / 64;

/// Counts what is left of a turn.
#[derive(Debug)]
pub(crate) struct Turn {
    left: usize,
}

impl Default for Turn {
    fn default() -> Self {
        Self { left: TURN }
    }
}

impl Turn {
    /// Begins another turn: the task waits for its peer, so others run anyway.
    pub(crate) fn restart(&mut self) {
        self.left = TURN;
    }

    /// Takes work from the turn.
    pub(crate) fn charge(&mut self, cost: usize) {
        self.left = self.left.saturating_sub(cost);
    }

    /// Whether the turn is over. The task must then return `Pending`; it is woken when the others had theirs.
    pub(crate) fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if self.left > 0 {
            return false;
        }
        self.restart();
        // Unlike waking the task it lets the runtime look for IO and timers too before it comes back.
        let yielded = pin!(tokio::task::yield_now());
        yielded.poll(context).is_pending()
    }

    /// [`Self::is_over`] for what is written as `async`: waits for the others where it is.
    pub(crate) async fn pass(&mut self) {
        if self.left == 0 {
            self.restart();
            tokio::task::yield_now().await;
        }
    }
}
