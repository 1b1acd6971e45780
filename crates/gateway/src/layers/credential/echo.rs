//! What comes back from a server that got a credential: should the server send it back, it is masked before anybody
//! else sees the answer. A masked message is judged again like any other.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use keepgate_call::{Answer, Call, Code, Cut, Events, Item, Refusal};
use keepgate_credential::{Source, Tails};
use keepgate_mcp::{
    Limits,
    id::Id,
    message::{self, Body, Message},
};
use tracing::warn;

use super::Meters;

/// The answer without the credentials of `source`.
pub(super) fn masked(
    answer: Answer,
    call: &Arc<Call>,
    source: &Arc<Source>,
    meters: &Meters,
) -> Result<Answer, Refusal> {
    let mut echo = Echo {
        call: Arc::clone(call),
        source: Arc::clone(source),
        meters: meters.clone(),
        tails: Tails::default(),
    };
    let refused = |_: Unreadable| {
        Refusal::new(Code::UpstreamInvalid).detail("an answer that held a credential")
    };
    match answer {
        Answer::Accepted => Ok(Answer::Accepted),
        Answer::Message(message) => echo.message(message).map(Answer::Message).map_err(refused),
        Answer::Stream(events) => Ok(Answer::Stream(Box::pin(Masked { events, echo }))),
        Answer::Passed { status, body } => {
            let body = match echo.bytes(&body) {
                None => body,
                Some(masked) => read(masked).map_err(refused)?.bytes().clone(),
            };
            Ok(Answer::Passed { status, body })
        }
    }
}

/// A masked message is none we could pass on.
#[derive(Debug)]
struct Unreadable;

/// One answer on its way.
struct Echo {
    call: Arc<Call>,
    source: Arc<Source>,
    meters: Meters,
    tails: Tails,
}

impl Echo {
    /// The bytes masked; `None` if there was nothing to mask.
    fn bytes(&mut self, bytes: &Bytes) -> Option<Bytes> {
        // Asked for each message: the credential may have changed while a stream runs.
        let masked = self.source.mask()?.message(bytes, &mut self.tails)?;
        self.call.credential.masked(masked.places);
        self.meters.masked(&self.call.server);
        warn!(
            server = %self.call.server, decision = %self.call.id, places = masked.places,
            reference = %self.source.wanted().reference,
            "the server sent its credential back: it was masked"
        );
        Some(masked.bytes)
    }

    fn message(&mut self, message: Message) -> Result<Message, Unreadable> {
        let Some(bytes) = self.bytes(message.bytes()) else {
            return Ok(message);
        };
        let masked = read(bytes)?;
        // A mask in an id or a method would make another message of it.
        let same = same_id(masked.id(), message.id()) && masked.method() == message.method();
        same.then_some(masked).ok_or(Unreadable)
    }
}

fn same_id(one: Option<&Id>, other: Option<&Id>) -> bool {
    one == other
}

fn read(bytes: Bytes) -> Result<Message, Unreadable> {
    let limits = Limits {
        // The mask may be longer than what it stands for.
        bytes: bytes.len(),
        ..Limits::reply()
    };
    match message::decode(bytes, &limits) {
        Ok(Body::Single(message)) => Ok(message),
        Ok(Body::Batch(_)) | Err(_) => Err(Unreadable),
    }
}

/// A stream's events, each masked as it comes.
struct Masked {
    events: Events,
    echo: Echo,
}

impl Stream for Masked {
    type Item = Result<Item, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.events.as_mut().poll_next(cx));
        Poll::Ready(next.map(|item| {
            let mut item = item?;
            if let Some(message) = item.message.take() {
                let masked = self
                    .echo
                    .message(message)
                    .map_err(|_| Cut::Upstream("a message that held a credential".to_owned()))?;
                item.message = Some(masked);
            }
            Ok(item)
        }))
    }
}
