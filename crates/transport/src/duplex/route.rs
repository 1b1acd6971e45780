//! Owners of the messages of a server: ids out and back, tokens, owners. No IO.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use keepgate_mcp::{
    Id, Message, Method, Notification, Raw, Request, Response,
    skim::{Outline, OutlinedId},
};

use super::{DuplexError, queue::Queue};
use crate::memory::Budget;

/// `_meta` of messages on a `subscriptions/listen` stream names the request that opened it (2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Most calls remembered whose caller has gone while the process still works on them.
const MAX_ABANDONED: usize = 1024;

/// Most requests of the process remembered as unanswered.
const MAX_ASKED: usize = 1024;

/// Time for which a cancelled call of a shared process still owns what may be its own.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Most messages that wait for one call's reader.
const CALL_QUEUE: usize = 256;

/// A client of a process, distinguished from the others by a number that nobody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub u64);

/// The request that a message answers which is too long or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// The one with this id.
    Call(i64),
    /// None: it is a notification or a question.
    Nothing,
    /// It cannot be known.
    Unknown,
}

impl Answers {
    /// Of a text where nothing but messages comes.
    pub(crate) fn among_messages(outline: &Outline) -> Self {
        match outline.may_answer() {
            true => Self::of(&outline.id),
            false => Self::Nothing,
        }
    }

    /// Of a text where lines come that are for people.
    pub(crate) fn among_noise(outline: &Outline) -> Self {
        match outline.may_answer_among_noise() {
            true => Self::of(&outline.id),
            false => Self::Nothing,
        }
    }

    fn of(id: &OutlinedId) -> Self {
        match id {
            // Another id was given to no call.
            OutlinedId::Read(id) => id.spelled_integer().map_or(Self::Nothing, Self::Call),
            OutlinedId::Missing | OutlinedId::Unclear => Self::Unknown,
        }
    }
}

/// The id of a call as we have given it, however the server spells it.
fn wire_of(id: &Id) -> Option<Id> {
    id.spelled_integer().map(Id::from_integer)
}

/// A call on the wire.
#[derive(Debug)]
struct Slot {
    /// The client that made it, which alone may cancel it.
    owner: Owner,
    /// The id the client used.
    client: Id,
    /// The progress token on the wire, and the client's if it was replaced.
    token: Option<(Id, Option<Id>)>,
    /// A `subscriptions/listen`: runs for long, and its messages say that they are its.
    listens: bool,
    /// Queue of its messages; `None` when nobody waits any more.
    queue: Option<Arc<Queue>>,
    /// When its client cancelled it, on a process that is shared.
    cancelled: Option<Instant>,
}

/// Destination of a message.
#[derive(Debug)]
pub(super) enum Routed {
    /// To a call.
    Call,
    /// To no call: for whoever reads what nobody asked for.
    Unsolicited(Message),
    /// Nowhere, and why.
    Dropped(&'static str),
    /// To a call, whose queue was full: another message of it had to go.
    Displaced,
}

/// The calls of one process.
#[derive(Debug, Default)]
pub(super) struct Routes {
    shared: bool,
    last: i64,
    calls: HashMap<Id, Slot>,
    /// Progress tokens on the wire, to the call.
    tokens: HashMap<Id, Id>,
    abandoned: VecDeque<Id>,
    /// Open requests of the process, to the call they went to.
    asked: HashMap<Id, Option<Id>>,
    /// Messages that wait are counted here.
    memory: Budget,
}

/// A call that was added.
pub(super) struct Added {
    /// Its id on the wire.
    pub(super) wire: Id,
    /// The request to send.
    pub(super) request: Request,
    /// Queue of its messages.
    pub(super) queue: Arc<Queue>,
}

impl Routes {
    /// No calls yet. `shared`: the clients of the process do not know of one another.
    pub(super) fn new(shared: bool, memory: Budget) -> Self {
        Self {
            shared,
            memory,
            ..Self::default()
        }
    }

    /// Gives a call its id on the wire, and its token where tokens could collide.
    pub(super) fn add_for(
        &mut self,
        owner: Owner,
        request: &Request,
    ) -> Result<Added, DuplexError> {
        self.last += 1;
        let wire = Id::from_integer(self.last);
        let mut renamed = request.with_id(&wire);
        let mut token = request.meta().progress_token().map(|token| (token, None));
        // One client of a process may be several connections of one caller, so tokens can meet there too.
        if let Some((theirs, None)) = &token
            && (self.shared || self.tokens.contains_key(theirs))
        {
            let ours =
                Id::from_text(&format!("keepgate-{wire}")).ok_or(DuplexError::Unframeable)?;
            renamed = with_token(&renamed, &ours).ok_or(DuplexError::Unframeable)?;
            token = Some((ours, Some(theirs.clone())));
        }
        if let Some((token, _)) = &token {
            self.tokens.insert(token.clone(), wire.clone());
        }
        let queue = Arc::new(Queue::new(CALL_QUEUE, &self.memory));
        let slot = Slot {
            owner,
            client: request.id().clone(),
            token,
            listens: *request.method() == Method::SubscriptionsListen,
            queue: Some(Arc::clone(&queue)),
            cancelled: None,
        };
        self.calls.insert(wire.clone(), slot);
        Ok(Added {
            wire,
            request: renamed,
            queue,
        })
    }

    /// Forgets a call. Tells whether the process had still to answer it.
    pub(super) fn remove(&mut self, wire: &Id) -> bool {
        self.take(wire).is_some()
    }

    /// Nobody waits for the call any more, but the process does not know: what belongs to it must reach no other call.
    pub(super) fn abandon(&mut self, wire: &Id) {
        let Some(slot) = self.calls.get_mut(wire) else {
            return;
        };
        slot.queue = None;
        self.abandoned.push_back(wire.clone());
        // Looked through once per so many, so that the cost per call is small. Entries of calls answered meanwhile go
        // first; only then are live ones forgotten.
        if self.abandoned.len() <= 2 * MAX_ABANDONED {
            return;
        }
        let calls = &self.calls;
        self.abandoned.retain(|wire| calls.contains_key(wire));
        while self.abandoned.len() > MAX_ABANDONED {
            if let Some(oldest) = self.abandoned.pop_front() {
                self.take(&oldest);
            }
        }
    }

    /// Ends all calls with an error.
    pub(super) fn fail(&mut self, error: &DuplexError) {
        self.tokens.clear();
        self.abandoned.clear();
        self.asked.clear();
        for (_, slot) in self.calls.drain() {
            if let Some(queue) = slot.queue {
                queue.end(Err(error.clone()));
            }
        }
    }

    /// Of an answer to nobody known, the one to the only call that runs, or to none.
    pub(super) fn narrowed(&self, answers: Answers) -> Answers {
        match answers {
            Answers::Call(_) | Answers::Nothing => answers,
            Answers::Unknown => {
                let only = self.only_running().and_then(|wire| wire.as_integer());
                only.map_or(Answers::Nothing, Answers::Call)
            }
        }
    }

    /// Ends the call that a message answers which is lost; all that run where it is not known which.
    pub(super) fn fail_answered(&mut self, answers: Answers, error: &DuplexError) -> usize {
        let failed: Vec<Id> = match answers {
            Answers::Nothing => Vec::new(),
            // Otherwise the answer to a call that is over, or that never was.
            Answers::Call(wire) => {
                let wire = Some(Id::from_integer(wire));
                wire.filter(|wire| self.calls.contains_key(wire))
                    .into_iter()
                    .collect()
            }
            Answers::Unknown => {
                let running = self.calls.iter().filter(|(_, slot)| !slot.listens);
                running.map(|(wire, _)| wire.clone()).collect()
            }
        };
        for wire in &failed {
            if let Some(queue) = self.take(wire).and_then(|slot| slot.queue) {
                queue.end(Err(error.clone()));
            }
        }
        failed.len()
    }

    /// A notification of a client, as it goes on the wire; `None` if what it speaks of is over, another client's, or
    /// ambiguous.
    ///
    /// A cancelled call is over: a server owes it no answer (2025-11-25 `basic/utilities/cancellation`), and a call that
    /// nobody answers must not own what the process sends next.
    pub(super) fn translate_for(
        &mut self,
        owner: Owner,
        notification: &Notification,
    ) -> Option<Notification> {
        if *notification.method() != Method::Cancelled {
            return Some(notification.clone());
        }
        let raw = notification.param("requestId")?;
        let id = Id::from_raw(raw)?;
        let mut found = self
            .calls
            .iter()
            .filter(|(_, slot)| slot.owner == owner && slot.client == id && slot.queue.is_some());
        let (wire, _) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        let wire = wire.clone();
        let params = replaced(notification.params()?, raw, &wire)?;
        let translated = notification.with_params(&params).ok()?;
        self.cancel(&wire);
        Some(translated)
    }

    /// Ends a call its client has cancelled. On a shared process its last words could be taken for another client's, so
    /// the call owns them for a while yet.
    fn cancel(&mut self, wire: &Id) {
        let queue = if self.shared {
            self.calls.get_mut(wire).and_then(|slot| {
                slot.cancelled = Some(Instant::now());
                slot.queue.take()
            })
        } else {
            self.take(wire).and_then(|slot| slot.queue)
        };
        if let Some(queue) = queue {
            queue.end(Err(DuplexError::Cancelled));
        }
    }

    /// Whether the process has asked under that id and had no answer; it has one now.
    pub(super) fn answer(&mut self, response: &Response) -> Result<(), DuplexError> {
        let open = response
            .id()
            .is_some_and(|id| self.asked.remove(id).is_some());
        if open {
            return Ok(());
        }
        let id = response
            .id()
            .map_or_else(|| "null".to_owned(), Id::to_string);
        Err(DuplexError::Foreign { id })
    }

    /// Finds the owner of a message of the process and hands it over.
    pub(super) fn route(&mut self, message: Message) -> Routed {
        match message {
            Message::Response(response) => self.route_response(&response),
            Message::Request(request) => self.route_request(request),
            Message::Notification(notification) => self.route_notification(notification),
        }
    }

    fn route_response(&mut self, response: &Response) -> Routed {
        let Some(id) = response.id() else {
            // It could not read what it was sent, and will not answer that once more.
            let only = self.narrowed(Answers::Unknown);
            return match self.fail_answered(only, &DuplexError::Unreadable) {
                0 => Routed::Dropped("an answer without an id"),
                _ => Routed::Dropped("an answer without an id, taken for that to the only call,"),
            };
        };
        let Some(slot) = wire_of(id).and_then(|wire| self.take(&wire)) else {
            return Routed::Dropped("an answer to no open request");
        };
        let Some(queue) = slot.queue else {
            return Routed::Dropped("an answer nobody waits for");
        };
        let mut restored = response.with_id(&slot.client);
        if slot.listens && response.meta().subscription_id().as_ref() == Some(id) {
            let raw = restored.result().zip(restored.meta().member(SUBSCRIPTION));
            let result = raw.and_then(|(result, raw)| replaced(result, raw, &slot.client));
            let Some(fixed) = result.and_then(|result| restored.with_result(&result).ok()) else {
                queue.end(Err(DuplexError::Unframeable));
                return Routed::Dropped("an answer whose subscription id could not be restored");
            };
            restored = fixed;
        }
        queue.finish(Message::Response(restored));
        Routed::Call
    }

    fn route_request(&mut self, request: Request) -> Routed {
        let id = request.id().clone();
        if self.asked.contains_key(&id) {
            return Routed::Dropped("a request under the id of an open one");
        }
        let owner = self.only_running();
        if self.asked.len() >= MAX_ASKED {
            return Routed::Dropped("a request while too many are open");
        }
        self.asked.insert(id, owner.clone());
        self.hand(owner.as_ref(), Message::Request(request))
    }

    fn route_notification(&mut self, notification: Notification) -> Routed {
        if *notification.method() == Method::Progress {
            return self.route_progress(&notification);
        }
        if *notification.method() == Method::Cancelled {
            return self.route_cancelled(notification);
        }
        if let Some(id) = notification.meta().subscription_id() {
            let slot = wire_of(&id).and_then(|wire| Some((self.calls.get(&wire)?, wire)));
            let Some((slot, wire)) = slot else {
                return Routed::Dropped("a notification of no open subscription");
            };
            let raw = notification
                .params()
                .zip(notification.meta().member(SUBSCRIPTION));
            let params = raw.and_then(|(params, raw)| replaced(params, raw, &slot.client));
            return match params.and_then(|params| notification.with_params(&params).ok()) {
                Some(restored) => self.hand(Some(&wire), Message::Notification(restored)),
                None => {
                    Routed::Dropped("a notification whose subscription id could not be restored")
                }
            };
        }
        let owner = self.only_running();
        self.hand(owner.as_ref(), Message::Notification(notification))
    }

    fn route_progress(&self, notification: &Notification) -> Routed {
        let raw = notification.param("progressToken");
        let Some((raw, token)) = raw.and_then(|raw| Some((raw, Id::from_echo(raw)?))) else {
            return Routed::Dropped("progress without a token");
        };
        // Clients have texts of digits as tokens, too: what was given comes before what it may spell.
        let given = self.tokens.get(&token);
        let Some(wire) = given.or_else(|| self.tokens.get(&wire_of(&token)?)) else {
            return Routed::Dropped("progress of no open request");
        };
        let theirs = self
            .calls
            .get(wire)
            .and_then(|slot| slot.token.as_ref()?.1.as_ref());
        let restored = match theirs {
            None => Some(notification.clone()),
            Some(theirs) => notification
                .params()
                .and_then(|params| replaced(params, raw, theirs))
                .and_then(|params| notification.with_params(&params).ok()),
        };
        match restored {
            Some(restored) => self.hand(Some(wire), Message::Notification(restored)),
            None => Routed::Dropped("progress whose token could not be restored"),
        }
    }

    /// The process takes back a request of its own, or ends a subscription.
    fn route_cancelled(&mut self, notification: Notification) -> Routed {
        let raw = notification.param("requestId");
        let Some((raw, id)) = raw.and_then(|raw| Some((raw, Id::from_echo(raw)?))) else {
            return Routed::Dropped("a cancellation without an id");
        };
        if let Some(owner) = self.asked.remove(&id) {
            return self.hand(owner.as_ref(), Message::Notification(notification));
        }
        let slot = wire_of(&id).and_then(|wire| Some((self.calls.get(&wire)?, wire)));
        let Some((slot, wire)) = slot else {
            return Routed::Dropped("a cancellation of no open request");
        };
        let params = notification
            .params()
            .and_then(|params| replaced(params, raw, &slot.client));
        match params.and_then(|params| notification.with_params(&params).ok()) {
            Some(restored) => self.hand(Some(&wire), Message::Notification(restored)),
            None => Routed::Dropped("a cancellation whose id could not be restored"),
        }
    }

    /// Gives a message to a call, or to nobody in particular.
    fn hand(&self, owner: Option<&Id>, message: Message) -> Routed {
        let Some(wire) = owner else {
            return Routed::Unsolicited(message);
        };
        match self.calls.get(wire).and_then(|slot| slot.queue.as_ref()) {
            Some(queue) => match queue.push(message) {
                0 => Routed::Call,
                _ => Routed::Displaced,
            },
            None if self.shared => Routed::Dropped("a message for a call nobody waits for"),
            // The process has one client, whose other streams may want it.
            None => Routed::Unsolicited(message),
        }
    }

    /// The only call running, without those that listen. Abandoned calls count: what is theirs must reach nobody else.
    fn only_running(&self) -> Option<Id> {
        let silent = |slot: &Slot| {
            slot.cancelled
                .is_some_and(|since| since.elapsed() > LAST_WORDS)
        };
        let mut running = self
            .calls
            .iter()
            .filter(|(_, slot)| !slot.listens && !silent(slot));
        let (only, _) = running.next()?;
        running.next().is_none().then(|| only.clone())
    }

    fn take(&mut self, wire: &Id) -> Option<Slot> {
        let slot = self.calls.remove(wire)?;
        if let Some((token, _)) = &slot.token
            && self.tokens.get(token) == Some(wire)
        {
            self.tokens.remove(token);
        }
        Some(slot)
    }
}

/// The request with another progress token.
fn with_token(request: &Request, token: &Id) -> Option<Request> {
    let params = replaced(
        request.params()?,
        request.meta().member("progressToken")?,
        token,
    )?;
    request.with_params(&params).ok()
}

/// The text of `whole` with its part `part` (a view into the same bytes) replaced by an id.
fn replaced(whole: Raw<'_>, part: Raw<'_>, with: &Id) -> Option<String> {
    let start = part
        .as_bytes()
        .as_ptr()
        .addr()
        .checked_sub(whole.as_bytes().as_ptr().addr())?;
    let end = start.checked_add(part.as_bytes().len())?;
    let text = whole.as_str();
    let (before, after) = (text.get(..start)?, text.get(end..)?);
    Some([before, with.as_json(), after].concat())
}

#[cfg(test)]
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it wants and fails on the rest"
)]
mod tests;
