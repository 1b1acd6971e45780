//! A stream on its way back: each event meets what was obliged to before the next is asked for.

use std::{
    pin::Pin,
    sync::atomic::Ordering,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use keepgate_call::{Cut, Events, Item};
use keepgate_mcp::message::{Message, Response};
use tokio::time::Sleep;
use tracing::warn;

use super::{super::kill::refused, Way, late, unasked};

/// The events of a reply.
pub(super) struct Carried {
    events: Events,
    way: Way,
    timer: Option<Pin<Box<Sleep>>>,
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
            bytes: 0,
            over: false,
        }
    }

    /// One message: what is handed out of it.
    fn message(&mut self, message: Message) -> Result<Option<Message>, Cut> {
        let message = match message {
            Message::Response(answer) => return self.answer(answer).map(Some),
            other @ (Message::Request(_) | Message::Notification(_)) => other,
        };
        let met = match (&self.way.session, &self.way.duty) {
            (Some(session), _) => session.standing.meet(message),
            (None, Some(duty)) => match &duty.rules {
                Some(rules) => duty.message(rules, message),
                None => Some(message),
            },
            (None, None) => Some(message),
        };
        if met.is_none() {
            warn!("dropped a message that could not be redacted");
        }
        Ok(met)
    }

    /// The answer to the call.
    fn answer(&mut self, answer: Response) -> Result<Message, Cut> {
        self.timer = None;
        if let Some(tracked) = &self.way.tracked {
            tracked.is_answered.store(true, Ordering::Release);
        }
        let Some(duty) = &self.way.duty else {
            return Ok(Message::Response(answer));
        };
        let released = duty.released(answer);
        let released = released.map_err(|refusal| Cut::Withheld(Box::new(refusal)))?;
        Ok(Message::Response(released))
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
        if let Some(message) = item.message.take() {
            item.message = self.message(message)?;
        }
        if let Some(message) = &item.message {
            self.fits(message)?;
        }
        Ok((item.message.is_some() || item.id.is_some() || item.retry.is_some()).then_some(item))
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
