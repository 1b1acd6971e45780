//! A bounded queue of messages between the reader of a process and whoever waits for them.
//!
//! The reader serves all callers of a process and so must never wait for one. What does not fit is dropped by a rule.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use keepgate_mcp::Message;

use super::DuplexError;
use crate::memory::{Budget, Charge};

/// The end of a queue.
pub(super) type Ended = Result<(), DuplexError>;

/// Most bytes that wait in one queue; a single message may be longer than that.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// A queue with one reader.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Memory taken for the messages that wait.
    charge: Charge,
    ended: Option<Ended>,
    waker: Option<Waker>,
}

/// Longest answer that is queued though no memory is left. The number of calls bounds how many there are.
const SMALL: usize = 16 * 1024;

impl Queue {
    /// A queue for `limit` messages, the last one of a call not counted. What waits takes of `memory`.
    pub(super) fn new(limit: usize, memory: &Budget) -> Self {
        let inner = Inner {
            messages: VecDeque::new(),
            bytes: 0,
            charge: memory.charge(),
            ended: None,
            waker: None,
        };
        Self {
            limit,
            inner: Mutex::new(inner),
        }
    }

    /// Adds a message. Tells how many had to go for it: the oldest notifications first, then the oldest.
    pub(super) fn push(&self, message: Message) -> usize {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return 1;
        }
        let mut dropped = 0;
        let length = message.bytes().len();
        while !inner.has_room(length, self.limit) || inner.charge.add(length).is_err() {
            dropped += 1;
            if !inner.drop_one() {
                // There is no memory for this one alone.
                return dropped;
            }
        }
        inner.add(message);
        Self::wake(inner);
        dropped
    }

    /// Adds the last message, whatever the limit, and ends the queue. A long one for which no memory is left is an error.
    pub(super) fn finish(&self, message: Message) {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        let length = message.bytes().len();
        match inner.charge.add(length) {
            Err(spent) if length > SMALL => inner.ended = Some(Err(DuplexError::NoMemory(spent))),
            Ok(()) | Err(_) => {
                inner.add(message);
                inner.ended = Some(Ok(()));
            }
        }
        Self::wake(inner);
    }

    /// Ends the queue; what is in it can still be read.
    pub(super) fn end(&self, ended: Ended) {
        let mut inner = self.lock();
        if inner.ended.is_none() {
            inner.ended = Some(ended);
            Self::wake(inner);
        }
    }

    /// The next message, in order; then the error if there was one, once; then nothing.
    pub(super) fn poll(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message, DuplexError>>> {
        let mut inner = self.lock();
        if let Some(message) = inner.messages.pop_front() {
            inner.release(&message);
            return Poll::Ready(Some(Ok(message)));
        }
        match &mut inner.ended {
            Some(ended) => match std::mem::replace(ended, Ok(())) {
                Ok(()) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(error))),
            },
            None => {
                if !inner
                    .waker
                    .as_ref()
                    .is_some_and(|waker| waker.will_wake(context.waker()))
                {
                    inner.waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Wakes the reader outside the lock, so that it does not wait for us.
    fn wake(mut inner: MutexGuard<'_, Inner>) {
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, message: Message) {
        self.bytes += message.bytes().len();
        self.messages.push_back(message);
    }

    /// Whether so many more bytes fit; one message does, however long.
    fn has_room(&self, length: usize, limit: usize) -> bool {
        self.messages.is_empty()
            || (self.messages.len() < limit && self.bytes + length <= MAX_BYTES)
    }

    /// Drops the oldest notification, or the oldest message. Whether there was one.
    fn drop_one(&mut self) -> bool {
        let oldest = self
            .messages
            .iter()
            .position(|message| matches!(message, Message::Notification(_)))
            .unwrap_or(0);
        let dropped = self.messages.remove(oldest);
        dropped
            .as_ref()
            .inspect(|message| self.release(message))
            .is_some()
    }

    fn release(&mut self, message: &Message) {
        let length = message.bytes().len();
        self.bytes -= length;
        self.charge.release(length);
    }
}

#[cfg(test)]
mod tests;
