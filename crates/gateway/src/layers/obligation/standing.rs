//! What stands over a session: the duties of its calls, and the rules everything else the server says must meet.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use keepgate_call::{Code, Refusal};
use keepgate_mcp::{
    id::Id,
    message::{Message, Response},
};

use super::duty::{Duty, is_same, read};
use crate::{oblige::Rules, session::Session};

/// The most answers with duties a session may wait for.
const AWAITED_MOST: usize = 256;
/// The most different rules a session may have; policies have a few.
const RULES_MOST: usize = 64;

/// The duties of one session. Empty, and asked no more than that, where no policy obliges to anything.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    is_used: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    awaited: HashMap<Id, Arc<Duty>>,
    /// The rules of every call so far, each once.
    rules: Vec<Arc<Rules>>,
    /// Policy was asked about an answer.
    responds: bool,
    /// The least of what policy released.
    max_bytes: Option<u64>,
}

/// A session's knowledge of the duty of a running call; let go of when it is dropped, unless the answer may still come on
/// another stream.
pub(super) struct Held {
    session: Arc<Session>,
    noted: Option<(Id, Arc<Duty>)>,
}

impl Held {
    /// Notes `duty` with the session.
    ///
    /// # Errors
    /// `overloaded` when the session has too many, `message_invalid` for an id that is awaited.
    pub(super) fn new(session: &Arc<Session>, duty: &Arc<Duty>) -> Result<Self, Refusal> {
        let id = session.standing.enter(duty)?;
        Ok(Self {
            session: Arc::clone(session),
            noted: id.map(|id| (id, Arc::clone(duty))),
        })
    }

    /// Leaves the duty with the session: whoever resumes the stream gets the answer there.
    pub(super) fn leave_behind(&mut self) {
        self.noted = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some((id, duty)) = &self.noted {
            self.session.standing.leave(id, duty);
        }
    }
}

/// What a message of the server is to be handed out as.
pub(super) enum Handed {
    /// So.
    As(Message),
    /// It answers this duty's call.
    Answer(Arc<Duty>, Response),
    /// Not at all.
    Dropped,
}

impl Standing {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may be made under `id`. While an answer is awaited under it, a second call of the id would put that
    /// answer under its own, perhaps milder duty; no id is used twice in a session anyway (2025-11-25 `basic`).
    ///
    /// # Errors
    /// `message_invalid`.
    pub(super) fn is_free(&self, id: Option<&Id>) -> Result<(), Refusal> {
        let is_used = self.is_used.load(Ordering::Acquire);
        match id.filter(|_| is_used) {
            Some(id) => free(&self.inner(), id),
            None => Ok(()),
        }
    }

    /// Notes the duty of a call that is about to be made; gives the id under which to let go of it.
    ///
    /// # Errors
    /// `overloaded` when the session has too many, `message_invalid` for an id that is awaited.
    fn enter(&self, duty: &Arc<Duty>) -> Result<Option<Id>, Refusal> {
        if !duty.follows() {
            return Ok(None);
        }
        let full = || Refusal::new(Code::Overloaded).detail("too many obligations in one session");
        let mut inner = self.inner();
        if let Some(rules) = &duty.rules
            && !inner.rules.iter().any(|known| known == rules)
        {
            if inner.rules.len() >= RULES_MOST {
                return Err(full());
            }
            inner.rules.push(Arc::clone(rules));
        }
        let id = duty
            .bound
            .call
            .request()
            .map(|request| request.id().clone());
        if let Some(id) = &id {
            if inner.awaited.len() >= AWAITED_MOST {
                return Err(full());
            }
            free(&inner, id)?;
            inner.awaited.insert(id.clone(), Arc::clone(duty));
        }
        inner.responds |= duty.responds;
        inner.max_bytes = match (inner.max_bytes, duty.max_bytes) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.is_used.store(true, Ordering::Release);
        Ok(id)
    }

    /// Lets go of a duty: its call was answered, or never will be.
    fn leave(&self, id: &Id, duty: &Arc<Duty>) {
        let mut inner = self.inner();
        // Answered on another stream, the id may be another call's by now.
        if inner
            .awaited
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, duty))
        {
            inner.awaited.remove(id);
        }
    }

    /// Lets go of everything: the session is over. Duties know their session, and would keep it for ever.
    pub(crate) fn end(&self) {
        *self.inner() = Inner::default();
    }

    /// A message on any stream of the session. An answer goes to the duty of its call; all else meets every rule.
    pub(super) fn hand(&self, message: Message) -> Handed {
        if !self.is_used.load(Ordering::Acquire) {
            return Handed::As(message);
        }
        let rules = {
            let mut inner = self.inner();
            if let Message::Response(response) = &message {
                if let Some(duty) = response.id().and_then(|id| inner.awaited.remove(id)) {
                    return Handed::Answer(duty, response.clone());
                }
                // An answer nobody awaits: said again, perhaps, after it was withheld.
                let size = response.bytes().len() as u64;
                if inner.responds || inner.max_bytes.is_some_and(|most| size > most) {
                    return Handed::Dropped;
                }
            }
            inner.rules.clone()
        };
        let met = rules.iter().try_fold(message, |message, rules| {
            match rules.message(message.bytes()) {
                None => Some(message),
                Some(rewritten) => {
                    read(rewritten.bytes.into()).filter(|changed| is_same(changed, &message))
                }
            }
        });
        met.map_or(Handed::Dropped, Handed::As)
    }
}

fn free(inner: &Inner, id: &Id) -> Result<(), Refusal> {
    if inner.awaited.contains_key(id) {
        let refused = Refusal::new(Code::MessageInvalid);
        return Err(refused.detail("an answer is still awaited under this id"));
    }
    Ok(())
}
