//! Masking of secrets in whatever comes back from a server: its own credential, one a policy chose, another server's. A
//! masked message is judged again like any other.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use keepgate_call::{Answer, Call, Code, Cut, Events, Item, Refusal};
use keepgate_credential::{Live, Tails};
use keepgate_mcp::{
    Limits,
    message::{self, Body, Message},
};
use tracing::warn;

use super::Meters;
use crate::inspection::Inspection;

/// Every answer to one call on its way.
pub(super) struct Echo {
    call: Arc<Call>,
    live: Arc<Live>,
    inspection: Arc<Inspection>,
    meters: Meters,
    tails: Tails,
}

/// A masked message is none we could pass on.
#[derive(Debug)]
struct Unreadable;

impl From<Unreadable> for Refusal {
    fn from(_: Unreadable) -> Self {
        Self::new(Code::UpstreamInvalid).detail("an answer that held a credential")
    }
}

impl From<Unreadable> for Cut {
    fn from(_: Unreadable) -> Self {
        Self::Upstream("a message that held a credential".to_owned())
    }
}

impl Echo {
    pub(super) fn new(
        call: Arc<Call>,
        live: &Arc<Live>,
        inspection: &Arc<Inspection>,
        meters: &Meters,
    ) -> Self {
        Self {
            call,
            live: Arc::clone(live),
            inspection: Arc::clone(inspection),
            meters: meters.clone(),
            tails: Tails::default(),
        }
    }

    /// The answer without secrets.
    pub(super) async fn masked(self, answer: Answer) -> Result<Answer, Refusal> {
        match answer {
            Answer::Accepted => Ok(Answer::Accepted),
            Answer::Message(message) => {
                let (_, message) = self.inspected(message).await?;
                Ok(Answer::Message(message?))
            }
            Answer::Stream(events) => Ok(Answer::Stream(Box::pin(Masked::new(events, self)))),
            Answer::Passed { status, body } => {
                let body = self.passed(body).await??;
                Ok(Answer::Passed { status, body })
            }
        }
    }

    /// Masks a message, where it is if it is small.
    async fn inspected(
        mut self,
        message: Message,
    ) -> Result<(Self, Result<Message, Unreadable>), Refusal> {
        if !self.is_far(message.bytes()) {
            let masked = self.message(message);
            return Ok((self, masked));
        }
        let inspection = Arc::clone(&self.inspection);
        let work = move || {
            let masked = self.message(message);
            (self, masked)
        };
        inspection.run(work).await
    }

    /// The body of a server's own refusal.
    async fn passed(mut self, body: Bytes) -> Result<Result<Bytes, Unreadable>, Refusal> {
        let is_far = self.is_far(&body);
        let inspection = Arc::clone(&self.inspection);
        let work = move || match self.bytes(&body) {
            None => Ok(body),
            Some(masked) => read(masked).map(|message| message.bytes().clone()),
        };
        if is_far {
            inspection.run(work).await
        } else {
            Ok(work())
        }
    }

    /// Whether a message is inspected elsewhere.
    fn is_far(&self, bytes: &Bytes) -> bool {
        Inspection::is_large(bytes.len()) && !self.live.is_empty()
    }

    /// The bytes masked; `None` if there was nothing to mask.
    fn bytes(&mut self, bytes: &Bytes) -> Option<Bytes> {
        // Asked for each message: secrets change while a stream runs.
        let masked = self.live.message(bytes, &mut self.tails)?;
        self.call.credential.masked(masked.places);
        self.meters.masked(&self.call.server);
        warn!(
            server = %self.call.server, decision = %self.call.id, places = masked.places,
            "masked a secret of this gateway in what the server sent"
        );
        Some(masked.bytes)
    }

    fn message(&mut self, message: Message) -> Result<Message, Unreadable> {
        let Some(bytes) = self.bytes(message.bytes()) else {
            return Ok(message);
        };
        let masked = read(bytes)?;
        // A mask in an id or a method would make another message of it.
        let same = masked.id() == message.id() && masked.method() == message.method();
        same.then_some(masked).ok_or(Unreadable)
    }
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

/// An event whose message is inspected elsewhere.
type Inspected = Pin<Box<dyn Future<Output = Result<(Echo, Item), Cut>> + Send>>;

/// A stream's events, each masked as it comes.
struct Masked {
    events: Events,
    at: At,
}

enum At {
    /// The next event is waited for.
    Between(Echo),
    /// One is inspected.
    Inspecting(Inspected),
    Over,
}

impl Masked {
    fn new(events: Events, echo: Echo) -> Self {
        Self {
            events,
            at: At::Between(echo),
        }
    }
}

async fn inspected(echo: Echo, mut item: Item, message: Message) -> Result<(Echo, Item), Cut> {
    let inspected = echo.inspected(message).await;
    let (echo, message) = inspected.map_err(|refusal| Cut::Withheld(Box::new(refusal)))?;
    item.message = Some(message?);
    Ok((echo, item))
}

impl Stream for Masked {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.at {
                At::Over => return Poll::Ready(None),
                At::Inspecting(inspected) => {
                    let done = ready!(inspected.as_mut().poll(context));
                    return Poll::Ready(Some(match done {
                        Ok((echo, item)) => {
                            this.at = At::Between(echo);
                            Ok(item)
                        }
                        Err(cut) => {
                            this.at = At::Over;
                            Err(cut)
                        }
                    }));
                }
                At::Between(echo) => {
                    let Some(item) = ready!(this.events.as_mut().poll_next(context)) else {
                        this.at = At::Over;
                        return Poll::Ready(None);
                    };
                    let mut item = item?;
                    let Some(message) = item.message.take() else {
                        return Poll::Ready(Some(Ok(item)));
                    };
                    if !echo.is_far(message.bytes()) {
                        item.message = Some(echo.message(message)?);
                        return Poll::Ready(Some(Ok(item)));
                    }
                    if let At::Between(echo) = std::mem::replace(&mut this.at, At::Over) {
                        this.at = At::Inspecting(Box::pin(inspected(echo, item, message)));
                    }
                }
            }
        }
    }
}
