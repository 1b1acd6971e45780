//! A stream whose response ends the measurement.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use keepgate_call::{Cut, Events, Follow, Item, Step};

use super::{Running, ended::Ended};

/// The events as they come; the response, or the end, is noted.
pub(super) struct Timed {
    events: Events,
    running: Running,
    follow: Follow,
}

impl Timed {
    pub(super) fn new(events: Events, running: Running) -> Self {
        Self {
            events,
            running,
            follow: Follow::default(),
        }
    }
}

impl Stream for Timed {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.events.as_mut().poll_next(cx));
        match this.follow.step(next.as_ref()) {
            Step::Answer(response) => this.running.end(&Ended::Answered(response)),
            Step::Other => {}
            Step::Abort { cut, .. } => this.running.end(&Ended::Broken(cut)),
            // Where an answer was owed, none came any more; a resumed stream may bring it, to another call.
            Step::End { .. } => this.running.end(&Ended::Noted),
        }
        Poll::Ready(next)
    }
}
