//! From a reply to an HTTP response.

use std::{
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use keepgate_call::{Answer, Ask, Call, Code, Cut, Events, Follow, Item, Refusal, Reply, Step};
use keepgate_mcp::{id::Id, message::Message, sse::Event};
use keepgate_transport::{Body, sse::relay};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use super::{Inner, detach::Drained, empty};
use crate::{
    render::{self, Asked, json},
    shared::Shared,
    upstream::http::refused_with,
};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Words a reply.
pub(super) fn respond(inner: &Inner, call: &Call, reply: Reply) -> Response<Body> {
    let Reply { answer, session } = reply;
    let mut response = match answer {
        Answer::Accepted if matches!(call.ask, Ask::End) => empty(StatusCode::OK),
        Answer::Accepted => empty(StatusCode::ACCEPTED),
        Answer::Message(message) => json(StatusCode::OK, message.bytes().clone()),
        Answer::Passed { status, body } => json(
            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            body,
        ),
        Answer::Stream(events) => streamed(inner, call, events),
    };
    // Our ids are plain ASCII; an id that were not would not be handed out.
    if let Some(id) = session.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert(SESSION_ID, id);
    }
    response
}

fn streamed(inner: &Inner, call: &Call, events: Events) -> Response<Body> {
    // A stream that only listens has no end of its own: it does not hold up a drain.
    let events: Events = if call.listens() {
        Box::pin(events.take_until(Box::pin(inner.shared.load.drained())))
    } else {
        events
    };
    sse_response(
        inner,
        finished(call, while_known(&inner.shared, call, events)),
    )
}

/// Answer to a request on a stream.
pub(super) enum Settled {
    /// Its events.
    Stream(Events),
    /// The one message.
    Message(Message),
}

/// The answer to a request as it goes on a stream, where a status means nothing. An error that names no request would leave its
/// client waiting.
pub(super) fn settled(answer: Answer) -> Result<Settled, Refusal> {
    match answer {
        Answer::Stream(events) => Ok(Settled::Stream(events)),
        Answer::Message(message) => Ok(Settled::Message(message)),
        Answer::Passed { status, body } => render::decoded(body)
            .filter(|message| matches!(message, Message::Response(it) if it.id().is_some()))
            .map(Settled::Message)
            .ok_or_else(|| refused_with(status).dispatched()),
        Answer::Accepted => {
            let invalid = Refusal::new(Code::UpstreamInvalid).dispatched();
            Err(invalid.detail("no answer to a request"))
        }
    }
}

/// Keeps the stream of a reply alive when its client goes away, unless it only listens: that goes with its client.
pub(super) fn kept(call: &Arc<Call>, reply: Reply, tasks: TaskTracker) -> Reply {
    match reply {
        Reply {
            answer: Answer::Stream(events),
            session,
        } if !call.listens() => Reply {
            answer: Answer::Stream(Box::pin(Drained::new(call, events, tasks))),
            session,
        },
        other => other,
    }
}

/// A stream ends with the credential it was opened with: in order where it only listens, else with the reason.
pub(super) fn while_known(shared: &Shared, call: &Call, events: Events) -> Events {
    let Some(end) = call.caller.expires else {
        return events;
    };
    let left = end.duration_since(shared.clock.now()).unwrap_or_default();
    let Some(end) = Instant::now().checked_add(left) else {
        return events;
    };
    let events = events.take_until(Box::pin(tokio::time::sleep_until(end)));
    if call.listens() {
        return Box::pin(events);
    }
    let expired = stream::once(async move { Instant::now() >= end });
    let expired =
        expired.filter_map(|expired| std::future::ready(expired.then(ended_with_credential)));
    Box::pin(events.chain(expired))
}

fn ended_with_credential() -> Result<Item, Cut> {
    let refusal = Refusal::new(Code::CallExpired).detail("the credential has expired");
    Err(Cut::Ended(Box::new(refusal)))
}

/// The response of a stream of a reply.
pub(super) fn sse_response(inner: &Inner, events: Events) -> Response<Body> {
    let events = events.filter_map(|item| std::future::ready(item.ok().map(event)));
    event_stream(inner, events)
}

/// The response of a stream of events.
pub(super) fn event_stream(
    inner: &Inner,
    events: impl Stream<Item = Event> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(relay(events, inner.limits.keep_alive));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn event(item: Item) -> Event {
    let data = item.message.as_ref().map(|message| message.bytes().clone());
    Event {
        id: item.id,
        retry: item.retry,
        name: None,
        has_data: true,
        data: data.unwrap_or_default(),
    }
}

/// Gives the stream of a request its proper end, whatever breaks above it.
pub(super) fn finished(call: &Call, events: Events) -> Events {
    let Some(owed) = call.owed() else {
        return events;
    };
    let Some(request) = owed.request() else {
        return events;
    };
    Box::pin(Finished {
        events,
        id: request.id().clone(),
        asked: Asked::of(owed),
        decision: call.id,
        complete: render::subscription_end(call),
        follow: match call.resumes.get() {
            Some(_) => Follow::resumed(),
            None => Follow::default(),
        },
        over: false,
    })
}

/// A stream that owes a response. If it breaks before, the client is told instead of left waiting, unless it can resume.
struct Finished {
    events: Events,
    id: Id,
    asked: Asked,
    decision: keepgate_call::DecisionId,
    /// The end of a subscription whose stream ends without one: in a drain, with the caller's credential, or by a server
    /// that just closes it.
    complete: Option<Message>,
    follow: Follow,
    over: bool,
}

impl Finished {
    fn broken(&self, cut: Option<&Cut>) -> Option<Item> {
        let broken = |code| Refusal::new(code).detail("the stream broke before the response");
        let refusal = match cut {
            Some(Cut::Gateway(_)) => broken(Code::OutcomeUnrecorded),
            Some(Cut::Cancelled) => broken(Code::Cancelled),
            Some(Cut::Killed(refusal) | Cut::Withheld(refusal) | Cut::Ended(refusal)) => {
                refusal.as_ref().clone()
            }
            Some(Cut::Upstream(_)) | None => broken(Code::UpstreamInvalid),
        };
        // Its server had it, else there would be no stream.
        let refusal = refusal.decision(self.decision).dispatched();
        render::said(&refusal, &self.asked, &self.id).map(Item::from)
    }
}

impl Stream for Finished {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let events = &mut this.events;
        let polled = panic::catch_unwind(AssertUnwindSafe(|| events.as_mut().poll_next(cx)));
        let next = match polled {
            Ok(polled) => ready!(polled),
            Err(_panic) => {
                error!(decision = %this.decision, "the stream of an answer ended in a panic");
                this.events = Box::pin(stream::empty());
                Some(Err(Cut::Ended(Box::new(Refusal::new(Code::Internal)))))
            }
        };
        let (cut, is_owed) = match this.follow.step(next.as_ref()) {
            Step::Answer(_) | Step::Other => return Poll::Ready(next),
            Step::End {
                is_resumable,
                is_answered,
            } => (None, !is_answered && !is_resumable),
            Step::Abort {
                cut,
                is_resumable,
                is_answered,
            } => {
                warn!(decision = %this.decision, %cut, "a stream broke");
                let is_ours = matches!(
                    cut,
                    Cut::Gateway(_) | Cut::Killed(_) | Cut::Withheld(_) | Cut::Ended(_)
                );
                (Some(cut), !is_answered && (is_ours || !is_resumable))
            }
        };
        this.over = true;
        if !is_owed {
            return Poll::Ready(None);
        }
        let complete = this.complete.take().filter(|_| cut.is_none());
        let last = complete.map(Item::from).or_else(|| this.broken(cut));
        Poll::Ready(last.map(Ok))
    }
}

#[cfg(test)]
mod tests;
