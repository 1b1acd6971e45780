//! The handover of a call's stream to a connection that resumes it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Streams of one call that wait to be replaced: the one in use, and one that is being read to its end in its stead.
const MAX_WAITING: usize = 4;

/// Counts the streams that had the answer of one call. Only the newest goes on: most servers refuse a second one, and of a
/// connection that is gone without a word nobody else would learn.
#[derive(Debug, Default)]
pub struct Handover {
    newest: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Handover {
    /// Replaces the streams of before by one that is made now. Returns its number; that of the first is 0.
    pub fn replace(&self) -> u64 {
        let number = self.newest.fetch_add(1, Ordering::AcqRel) + 1;
        for waker in self.waiting().drain(..) {
            waker.wake();
        }
        number
    }

    /// Ready once the stream of this number was replaced.
    pub fn poll_replaced(&self, number: u64, context: &mut Context<'_>) -> Poll<()> {
        if self.is_replaced(number) {
            return Poll::Ready(());
        }
        {
            let mut waiting = self.waiting();
            let own = context.waker();
            if !waiting.iter().any(|waker| waker.will_wake(own)) {
                if waiting.len() >= MAX_WAITING {
                    waiting.remove(0);
                }
                waiting.push(own.clone());
            }
        }
        // It may have happened in between.
        if self.is_replaced(number) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    fn is_replaced(&self, number: u64) -> bool {
        self.newest.load(Ordering::Acquire) > number
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
