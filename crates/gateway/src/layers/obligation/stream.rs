//! A stream on its way back: each event meets what was obliged to before the next is asked for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use keepgate_call::{Cut, Events, Item, Refusal};
use keepgate_mcp::message::{Message, Response};
use tokio::time::Sleep;
use tracing::warn;

use super::{super::kill::refused, Way, duty::Duty, late, standing::Handed, unasked};
use crate::render::{self, Asked};

/// The events of a reply.
pub(super) struct Carried {
    events: Events,
    way: Way,
    timer: Option<Pin<Box<Sleep>>>,
    resumable: bool,
    bytes: u64,
    over: bool,
}

impl Carried {
    pub(super) fn new(events: Events, way: Way) -> Self {
        Self {
            events,
            timer: way
                .limit
                .map(|(at, _)| Box::pin(tokio::time::sleep_until(at))),
            way,
            resumable: false,
            bytes: 0,
            over: false,
        }
    }

    /// One message: what is handed out of it.
    fn message(&mut self, message: Message) -> Result<Option<Message>, Cut> {
        let withheld = |refusal: Refusal| Cut::Withheld(Box::new(refusal));
        if let Message::Response(response) = &message
            && self.way.own.is_some()
            && response.id() == self.way.own.as_ref()
        {
            self.way.held = None;
            self.timer = None;
            let Some(duty) = &self.way.duty else {
                return Ok(Some(message));
            };
            let released = duty.released(response.clone()).map_err(withheld)?;
            return Ok(Some(Message::Response(released)));
        }
        let message = match (&self.way.session, &self.way.duty) {
            (Some(session), _) => match session.standing.hand(message) {
                Handed::As(message) => message,
                Handed::Answer(duty, response) => other(&duty, response)?,
                Handed::Dropped => return Ok(dropped()),
            },
            (None, Some(duty)) => match &duty.rules {
                Some(rules) => match duty.message(rules, message) {
                    Some(message) => message,
                    None => return Ok(dropped()),
                },
                None => message,
            },
            (None, None) => message,
        };
        Ok(Some(message))
    }

    /// What the whole stream may say, the answer included.
    fn fits(&mut self, message: &Message) -> Result<(), Cut> {
        let Some(duty) = &self.way.duty else {
            return Ok(());
        };
        self.bytes = self.bytes.saturating_add(message.bytes().len() as u64);
        duty.fits(self.bytes, duty.max_bytes)
            .map_err(|refusal| Cut::Withheld(Box::new(refusal)))
    }

    fn item(&mut self, mut item: Item) -> Result<Option<Item>, Cut> {
        self.resumable = self.resumable || item.id.is_some();
        if let Some(message) = item.message.take() {
            item.message = self.message(message)?;
        }
        if let Some(message) = &item.message {
            self.fits(message)?;
        }
        Ok((item.message.is_some() || item.id.is_some() || item.retry.is_some()).then_some(item))
    }
}

fn dropped() -> Option<Message> {
    warn!("dropped a message that could not be redacted");
    None
}

/// The answer to another call of the session, which was asked for on another stream. Refused, it is answered all the same.
fn other(duty: &Duty, response: Response) -> Result<Message, Cut> {
    let call = &duty.bound.call;
    match (duty.released(response), call.request()) {
        (Ok(response), _) => Ok(Message::Response(response)),
        (Err(refusal), Some(request)) => {
            let refusal = refusal.decision(call.id);
            render::said(&refusal, &Asked::of(call), request.id())
                .ok_or_else(|| Cut::Gateway("a refusal could not be worded".to_owned()))
        }
        (Err(refusal), None) => Err(Cut::Withheld(Box::new(refusal))),
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if self.resumable
            && let Some(held) = &mut self.way.held
        {
            held.leave_behind();
        }
    }
}

impl Stream for Carried {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(ticket) = &this.way.ticket
                && let Poll::Ready(kill) = ticket.poll_cut(context)
            {
                this.over = true;
                unasked(&this.way.call, &this.way.binding);
                return Poll::Ready(Some(Err(Cut::Killed(Box::new(refused(&kill))))));
            }
            if let (Some(timer), Some((_, limit))) = (&mut this.timer, this.way.limit)
                && timer.as_mut().poll(context).is_ready()
            {
                this.over = true;
                unasked(&this.way.call, &this.way.binding);
                return Poll::Ready(Some(Err(Cut::Withheld(Box::new(late(limit))))));
            }
            let Some(item) = ready!(this.events.as_mut().poll_next(context)) else {
                this.over = true;
                return Poll::Ready(None);
            };
            match item.and_then(|item| this.item(item)) {
                Ok(None) => {}
                Ok(Some(item)) => return Poll::Ready(Some(Ok(item))),
                Err(cut) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(cut)));
                }
            }
        }
    }
}
