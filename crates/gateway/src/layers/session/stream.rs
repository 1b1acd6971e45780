//! Streams of a session: its end is theirs, questions are remembered until they are answered, event ids are sealed.

use std::{future::poll_fn, sync::Arc, task::Poll};

use futures_util::{StreamExt, future::select};
use keepgate_call::{Cut, Events, Item};
use keepgate_mcp::message::{Message, Request};
use tracing::warn;

use super::announce::Announcing;
use crate::session::{InUse, Origin, RunningCall, Session, Sessions, TrackedCall};

/// State of one stream of a session.
pub(super) struct Kept {
    /// Announcements of changed lists, where it only listens.
    pub(super) announcing: Option<Announcing>,
    pub(super) in_use: InUse,
    pub(super) sessions: Arc<Sessions>,
    /// Stream its event ids are sealed to.
    pub(super) origin: Origin,
    /// The call whose answer it may bring.
    pub(super) tracked: Option<Arc<TrackedCall>>,
    /// Whether it resumes another: then it may repeat questions its client did not hear.
    pub(super) is_resumed: bool,
    /// Its number among the streams that had the call's answer.
    pub(super) number: u64,
    /// The place of the call among the running ones, until it is answered.
    pub(super) running: Option<RunningCall>,
    /// Whether the call is remembered, so that its stream can be resumed; asked with the first event id.
    pub(super) is_remembered: Option<bool>,
    /// Whether it was logged that an event id was left out; once is enough.
    pub(super) is_told: bool,
}

impl Kept {
    fn session(&self) -> &Arc<Session> {
        self.in_use.session()
    }

    /// The events of the stream, as they go on.
    pub(super) fn over(mut self, events: Events) -> Events {
        let ended = self.session().ended.clone().cancelled_owned();
        let (tracked, number) = (self.tracked.clone(), self.number);
        let replaced = poll_fn(move |context| match &tracked {
            Some(tracked) => tracked.call.handover.poll_replaced(number, context),
            None => Poll::Pending,
        });
        let announcing = self.announcing.take();
        let kept: Events = Box::pin(events.filter_map(move |item| {
            self.sessions.touch(self.session());
            std::future::ready(self.keep(item).transpose())
        }));
        let kept = match announcing {
            Some(announcing) => announcing.among(kept, 0),
            None => kept,
        };
        Box::pin(kept.take_until(select(Box::pin(ended), replaced)))
    }

    fn keep(&mut self, item: Result<Item, Cut>) -> Result<Option<Item>, Cut> {
        let mut item = item?;
        if item.answer().is_some() {
            self.running = None;
        }
        if let Some(Message::Request(question)) = &item.message
            && !self.may_ask(question)
        {
            warn!(server = %self.session().server, "dropped a question: its id waits for an answer, or too many do");
            if let Some(link) = self.session().link.get() {
                link.decline(question.id())?;
            }
            item.message = None;
        }
        item.id = item.id.and_then(|id| self.seal(&id));
        Ok((item.message.is_some() || item.id.is_some() || item.retry.is_some()).then_some(item))
    }

    /// Whether a question goes on: its id is free, or it was asked before on the stream that is resumed.
    fn may_ask(&self, question: &Request) -> bool {
        let session = self.session();
        session.ask(question) || (self.is_resumed && session.is_asked(question))
    }

    /// The event id as it is handed out.
    fn seal(&mut self, upstream: &bytes::Bytes) -> Option<bytes::Bytes> {
        let is_remembered = *self.is_remembered.get_or_insert_with(|| {
            let (tracked, session) = (self.tracked.as_ref(), self.in_use.session());
            tracked.is_none_or(|tracked| session.calls.remember(tracked))
        });
        let sealed = is_remembered
            .then(|| self.session().seal_event(self.origin, upstream))
            .flatten();
        if sealed.is_none() && !std::mem::replace(&mut self.is_told, true) {
            warn!(server = %self.session().server, "left out an event id: it is too long, or its call too large to be remembered");
        }
        sealed
    }
}

/// The events of a stream that belongs to no session: what comes before the answer, the answer, and nothing after it. There is
/// nothing to resume (2026-07-28 `basic/transports`), so no event id goes on.
pub(super) fn answering(events: Events) -> Events {
    let kept = events.scan(false, move |is_answered, item| {
        if *is_answered {
            return std::future::ready(None);
        }
        let item = item.map(|item| Item { id: None, ..item });
        *is_answered = item.as_ref().is_ok_and(|item| item.answer().is_some());
        std::future::ready(Some(item))
    });
    let is_empty = |item: &Item| item.message.is_none() && item.retry.is_none();
    Box::pin(kept.filter(move |item| std::future::ready(!item.as_ref().is_ok_and(is_empty))))
}
