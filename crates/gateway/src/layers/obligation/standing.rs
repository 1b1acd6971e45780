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
    rules: Mutex<Known>,
}

/// The rules of every call so far, each once.
#[derive(Debug, Default)]
struct Known {
    rules: Vec<Arc<Rules>>,
    /// Whether the session has ended: its rules are gone, so nothing passes by them any more.
    is_over: bool,
}

impl Standing {
    fn known(&self) -> MutexGuard<'_, Known> {
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
        let mut known = self.known();
        if known.is_over {
            return Err(Refusal::new(Code::SessionUnknown));
        }
        if known.rules.iter().any(|known| known == rules) {
            return Ok(false);
        }
        if known.rules.len() >= RULES_MOST {
            let full = Refusal::new(Code::Overloaded);
            return Err(full.detail("too many obligations in one session"));
        }
        known.rules.push(Arc::clone(rules));
        self.is_used.store(true, Ordering::Release);
        Ok(true)
    }

    /// Takes the rules of a session that an earlier process had.
    pub(crate) fn restore(&self, rules: Vec<Arc<Rules>>) {
        self.is_used.store(!rules.is_empty(), Ordering::Release);
        self.known().rules = rules;
    }

    /// Gives the rules of now to `take`, and lets none be added meanwhile. `None` once the session is over.
    pub(crate) fn with_rules<T>(&self, take: impl FnOnce(&[Arc<Rules>]) -> T) -> Option<T> {
        let known = self.known();
        (!known.is_over).then(|| take(&known.rules))
    }

    /// Lets go of everything: the session is over, and what still runs in it brings nothing any more.
    pub(crate) fn end(&self) {
        self.is_used.store(true, Ordering::Release);
        *self.known() = Known {
            rules: Vec::new(),
            is_over: true,
        };
    }

    /// A message on any stream of the session that answers nothing, with every rule carried out; `None` if nothing is left to
    /// hand out.
    pub(super) fn meet(&self, message: Message) -> Option<Message> {
        if !self.is_used.load(Ordering::Acquire) {
            return Some(message);
        }
        let rules = self.with_rules(<[_]>::to_vec)?;
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

#[cfg(test)]
mod tests {
    use super::{Standing, read};

    #[test]
    fn nothing_passes_by_the_rules_of_a_session_that_is_over() {
        let message = || {
            let text = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
            read(text.as_bytes().into()).expect("a notification")
        };
        let standing = Standing::default();
        assert!(standing.meet(message()).is_some());
        assert_eq!(standing.with_rules(<[_]>::len), Some(0));
        standing.end();
        assert!(standing.meet(message()).is_none());
        assert_eq!(standing.with_rules(<[_]>::len), None);
    }
}
