//! Links of approvals that the client of a session is asked to show its user (2025-11-25 `client/elicitation`, URL mode): questions
//! of the gateway, whose answers no server gets.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use keepgate_call::Call;
use keepgate_mcp::{id::Id, message::Response};

use super::locked;
use crate::render;

/// Links of one session whose answers are known. A user may answer long after the call has ended.
const MAX_LINKS: usize = 64;

/// Links that the client of a session was asked to show.
#[derive(Debug, Default)]
pub(crate) struct Links {
    is_declared: AtomicBool,
    asked: Mutex<VecDeque<(Id, Weak<Call>)>>,
}

impl Links {
    /// Notes whether the client has declared that it shows links.
    pub(crate) fn declare(&self, is_declared: bool) {
        self.is_declared.store(is_declared, Ordering::Release);
    }

    /// Whether the client has declared that it shows links.
    pub(crate) fn is_declared(&self) -> bool {
        self.is_declared.load(Ordering::Acquire)
    }

    /// Notes that the client will be asked to show the link of this call.
    pub(crate) fn ask(&self, call: &Arc<Call>) {
        let Some(id) = render::link_id(call) else {
            return;
        };
        let mut asked = locked(&self.asked);
        if asked.len() >= MAX_LINKS {
            asked.pop_front();
        }
        asked.push_back((id, Arc::downgrade(call)));
    }

    /// Takes the answer to such a question. `false` for the answer to any other. An error is no refusal of the user: the client
    /// could not show the link, and the call goes on waiting.
    pub(crate) fn answered(&self, response: &Response) -> bool {
        let mut asked = locked(&self.asked);
        let at = response
            .id()
            .and_then(|id| asked.iter().position(|(known, _)| known == id));
        let Some((_, call)) = at.and_then(|at| asked.remove(at)) else {
            return false;
        };
        let action = response.result_member("action");
        if let Some(call) = call.upgrade()
            && action.is_some_and(|action| !action.is_text("accept"))
        {
            call.wait.decline();
        }
        true
    }
}
