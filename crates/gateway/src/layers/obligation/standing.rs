//! Rules of a session: those of its calls so far, which every message that answers nothing must meet.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use keepgate_call::{Code, Refusal};
use keepgate_mcp::message::Message;

use super::duty::{Duty, is_same, read};
use crate::oblige::Rules;

/// The most different rules a session may have; policies have a few.
const RULES_MOST: usize = 64;

/// The rules of one session. Empty, and asked no more than that, where no policy obliges to anything.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    is_used: AtomicBool,
    /// The rules of every call so far, each once.
    rules: Mutex<Vec<Arc<Rules>>>,
}

impl Standing {
    fn rules(&self) -> MutexGuard<'_, Vec<Arc<Rules>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the rules of a call that is about to be made. Returns whether the session has more than before.
    ///
    /// # Errors
    /// `overloaded` when the session has too many.
    pub(super) fn enter(&self, duty: &Duty) -> Result<bool, Refusal> {
        let Some(rules) = &duty.rules else {
            return Ok(false);
        };
        let mut known = self.rules();
        if known.iter().any(|known| known == rules) {
            return Ok(false);
        }
        if known.len() >= RULES_MOST {
            let full = Refusal::new(Code::Overloaded);
            return Err(full.detail("too many obligations in one session"));
        }
        known.push(Arc::clone(rules));
        self.is_used.store(true, Ordering::Release);
        Ok(true)
    }

    /// Takes the rules of a session that an earlier process had.
    pub(crate) fn restore(&self, rules: Vec<Arc<Rules>>) {
        self.is_used.store(!rules.is_empty(), Ordering::Release);
        *self.rules() = rules;
    }

    /// Gives the rules of now to `take`, and lets none be added meanwhile.
    pub(crate) fn with_rules<T>(&self, take: impl FnOnce(&[Arc<Rules>]) -> T) -> T {
        take(&self.rules())
    }

    /// Lets go of everything: the session is over.
    pub(crate) fn end(&self) {
        self.rules().clear();
    }

    /// A message on any stream of the session that answers nothing, with every rule carried out; `None` if nothing is left to
    /// hand out.
    pub(super) fn meet(&self, message: Message) -> Option<Message> {
        if !self.is_used.load(Ordering::Acquire) {
            return Some(message);
        }
        let rules = self.rules().clone();
        rules.iter().try_fold(message, |message, rules| {
            match rules.message(message.bytes()) {
                None => Some(message),
                Some(rewritten) => {
                    read(rewritten.bytes.into()).filter(|changed| is_same(changed, &message))
                }
            }
        })
    }
}
