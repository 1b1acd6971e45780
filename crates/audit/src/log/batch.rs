//! Records that are written together, and those who wait for them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{AppendError, Position};

/// The fate of the records of one batch. One allocation for all of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    fate: Mutex<Fate>,
}

#[derive(Debug, Default)]
struct Fate {
    /// Index in the log of the batch's first record, once one is durable.
    first: u64,
    /// Records of the batch that are durable, from its first.
    done: u32,
    /// Why those beyond are not, once that is certain.
    failure: Option<AppendError>,
    /// By place in the batch.
    wakers: Vec<Option<Waker>>,
}

impl Batch {
    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.fate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fate of the record at `place`, if it is known.
    pub(super) fn known(&self, place: u32) -> Option<Result<Position, AppendError>> {
        let fate = self.fate();
        if place < fate.done {
            return Some(Ok(Position {
                index: fate.first + u64::from(place),
            }));
        }
        fate.failure.map(Err)
    }

    /// The fate of the record at `place`; wakes `context` when it is known.
    pub(super) fn poll(
        &self,
        place: u32,
        context: &Context<'_>,
    ) -> Poll<Result<Position, AppendError>> {
        let mut fate = self.fate();
        if place < fate.done {
            return Poll::Ready(Ok(Position {
                index: fate.first + u64::from(place),
            }));
        }
        if let Some(failure) = fate.failure {
            return Poll::Ready(Err(failure));
        }
        let slot = usize::try_from(place).unwrap_or(usize::MAX);
        if fate.wakers.len() <= slot {
            fate.wakers.resize_with(slot + 1, || None);
        }
        if let Some(waker) = fate.wakers.get_mut(slot) {
            match waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        Poll::Pending
    }

    /// The first `done` records are durable; the first of all has index `first`.
    pub(super) fn advance(&self, first: u64, done: u32) {
        let mut fate = self.fate();
        let before = usize::try_from(fate.done).unwrap_or(usize::MAX);
        fate.first = first;
        fate.done = done;
        let until = usize::try_from(done)
            .unwrap_or(usize::MAX)
            .min(fate.wakers.len());
        if until == fate.wakers.len() && before == 0 {
            // Everybody at once, the rule: take the list itself and wake with the lock released.
            let wakers = std::mem::take(&mut fate.wakers);
            drop(fate);
            wakers.into_iter().flatten().for_each(Waker::wake);
            return;
        }
        let ready: Vec<Waker> = fate
            .wakers
            .get_mut(before.min(until)..until)
            .map(|range| range.iter_mut().filter_map(Option::take).collect())
            .unwrap_or_default();
        drop(fate);
        ready.into_iter().for_each(Waker::wake);
    }

    /// What is not durable by now has failed. The first failure stands.
    pub(super) fn fail(&self, failure: AppendError) {
        let mut fate = self.fate();
        fate.failure.get_or_insert(failure);
        let wakers = std::mem::take(&mut fate.wakers);
        drop(fate);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Whether [`Self::fail`] was called.
    pub(super) fn failed(&self) -> Option<AppendError> {
        self.fate().failure
    }
}
