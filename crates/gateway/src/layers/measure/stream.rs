//! A stream whose response ends the measurement.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use keepgate_call::{Ask, Cut, Events, Item};
use keepgate_mcp::{id::Id, message::Message};

use super::{Running, ended::Ended};

/// The events as they come; the response, or the end, is noted.
pub(super) struct Timed {
    events: Events,
    running: Running,
    id: Option<Id>,
}

impl Timed {
    pub(super) fn new(events: Events, running: Running) -> Self {
        let id = match &running.call.ask {
            Ask::Message(Message::Request(request)) => Some(request.id().clone()),
            Ask::Message(Message::Notification(_) | Message::Response(_))
            | Ask::Listen
            | Ask::End => None,
        };
        Self {
            events,
            running,
            id,
        }
    }
}

impl Stream for Timed {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.events.as_mut().poll_next(cx));
        match &next {
            Some(Ok(Item {
                message: Some(Message::Response(response)),
                ..
            })) if this.id.is_some() && response.id() == this.id.as_ref() => {
                this.running.end(&Ended::Answered(response));
            }
            Some(Ok(_)) => {}
            Some(Err(cut)) => this.running.end(&Ended::Broken(cut)),
            // Where an answer was owed, none came any more; a resumed stream may bring it, to another call.
            None => this.running.end(&Ended::Noted),
        }
        Poll::Ready(next)
    }
}
