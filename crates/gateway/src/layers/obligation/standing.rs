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
}

/// A session's knowledge of the duty of a running call; let go of when it is dropped, unless the answer may still come on
/// another stream.
pub(super) struct Held {
    session: Arc<Session>,
    id: Option<Id>,
}

impl Held {
    /// Notes `duty` with the session.
    ///
    /// # Errors
    /// `overloaded` when the session has too many.
    pub(super) fn new(session: &Arc<Session>, duty: &Arc<Duty>) -> Result<Self, Refusal> {
        Ok(Self {
            session: Arc::clone(session),
            id: session.standing.enter(duty)?,
        })
    }

    /// Leaves the duty with the session: whoever resumes the stream gets the answer there.
    pub(super) fn leave_behind(&mut self) {
        self.id = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.session.standing.leave(id);
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

    /// Notes the duty of a call that is about to be made; gives the id under which to let go of it.
    ///
    /// # Errors
    /// `overloaded` when the session has too many.
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
            inner.awaited.insert(id.clone(), Arc::clone(duty));
        }
        self.is_used.store(true, Ordering::Release);
        Ok(id)
    }

    /// Lets go of a duty: its call was answered, or never will be.
    fn leave(&self, id: &Id) {
        self.inner().awaited.remove(id);
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
            if let Message::Response(response) = &message
                && let Some(duty) = response.id().and_then(|id| inner.awaited.remove(id))
            {
                return Handed::Answer(duty, response.clone());
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
