//! Replies on the way to a client's event stream. The client cannot resume one: where a client of Streamable HTTP would, it is done
//! here, by the same `GET` through the same layers.
//!
//! A stream outlives reloads, so each `GET` goes through the stack of its moment. Each is charged as a client's own, so no server
//! gets more of them than one a second, however short a pause it asks for.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use keepgate_call::{Answer, Ask, Call, Code, Events, Refusal, Reply};
use keepgate_mcp::{Mirrored, revision::Revision};
use tokio::time::Instant;
use tracing::info;

use super::{
    super::{
        Inner,
        answer::{self, Settled},
        held::{self, Begun, HeldRun, Progress},
    },
    Posted, end, refuse,
};
use crate::{layers::kill, render, upstream::http::refused_with};

/// Pauses before a stream is asked for again: the shortest, doubled by each attempt that brings nothing, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Attempts to resume an answer that bring nothing, before it is given up.
const MAX_ATTEMPTS: u32 = 5;

/// The end of a stream that was put on the client's.
#[derive(Default)]
struct Ended {
    /// The id of the last event that can be resumed after.
    last: Option<Bytes>,
    /// The pause the server asks for.
    retry: Option<Duration>,
    /// Whether it brought anything.
    is_fruitful: bool,
    /// Whether the answer was among it.
    is_answered: bool,
}

/// Attempts in a row that brought nothing.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Counts a stream that has ended. Returns the pause before the next attempt.
    fn ended(&mut self, ended: &Ended) -> Duration {
        self.0 = if ended.is_fruitful {
            0
        } else {
            self.0.saturating_add(1)
        };
        pause(ended.retry, self.0)
    }

    /// Counts an attempt that was refused. Returns the pause before the next.
    fn refused(&mut self, refusal: &Refusal) -> Duration {
        self.0 = self.0.saturating_add(1);
        pause(refusal.limit.and_then(|limit| limit.wait), self.0)
    }
}

impl Posted {
    /// Puts the messages of a stream on the client's, as fast as the client reads.
    async fn forward(&self, mut events: Events) -> Ended {
        let mut ended = Ended::default();
        while let Some(item) = events.next().await {
            let Ok(item) = item else { break };
            ended.is_fruitful = true;
            ended.is_answered |= item.answer().is_some();
            if let Some(id) = item.id {
                ended.last = Some(id).filter(|id| !id.is_empty());
            }
            ended.retry = item.retry.map(Duration::from_millis).or(ended.retry);
            if let Some(message) = item.message
                && !self.channel.send(message).await
            {
                break;
            }
        }
        if self.channel.is_stalled() {
            end(&self.shared.sessions, &self.channel.session);
        }
        ended
    }

    /// Whether nothing can be put on the client's stream any more.
    fn is_over(&self) -> bool {
        self.channel.is_closed() || self.channel.is_stalled()
    }

    /// Runs a request in the stack it came to and puts everything that answers it on the stream.
    pub(super) async fn answer(&self, inner: Arc<Inner>, call: &Arc<Call>) {
        let end = Instant::now().checked_add(inner.limits.lives.call);
        let (reply, progress) = match held::begun(inner.begin(call), call, &self.shared.tasks).await
        {
            Begun::Over(reply) => (reply, None),
            Begun::Held(run) => self.held(call, run, inner.limits.keep_alive).await,
        };
        let reply = inner.challenged(call, reply);
        // What follows may take as long as a call may, and the stack may be one of before by then.
        drop(inner);
        let answered = match reply {
            Ok(reply) => self.replied(call, reply, progress, end).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = answered {
            refuse(refusal, call, &self.channel).await;
        }
    }

    /// Reports on the stream that a call is held, until it is not.
    async fn held(
        &self,
        call: &Call,
        run: HeldRun,
        interval: Duration,
    ) -> (Result<Reply, Refusal>, Option<Progress>) {
        if let Some(question) = render::link_question(call) {
            self.channel.send(question).await;
        }
        let (reply, progress) = self.reported(call, run, interval).await;
        if let Some(completed) = render::link_completed(call, &reply) {
            self.channel.send(completed).await;
        }
        (reply, progress)
    }

    async fn reported(
        &self,
        call: &Call,
        mut run: HeldRun,
        interval: Duration,
    ) -> (Result<Reply, Refusal>, Option<Progress>) {
        let Some(mut progress) = Progress::of(call, interval) else {
            return (run.await, None);
        };
        loop {
            let report = tokio::select! {
                biased;
                reply = &mut run => return (reply, Some(progress)),
                report = poll_fn(|context| progress.poll_next(call, context)) => report,
            };
            self.channel.send(report).await;
        }
    }

    async fn replied(
        &self,
        call: &Arc<Call>,
        reply: Reply,
        progress: Option<Progress>,
        end: Option<Instant>,
    ) -> Result<(), Refusal> {
        let events = match answer::settled(reply.answer)? {
            Settled::Stream(events) => events,
            Settled::Message(message) => {
                self.channel.send(message).await;
                return Ok(());
            }
        };
        let events = match progress {
            Some(progress) => progress.before(events),
            None => events,
        };
        let followed = self.followed(call, events);
        let followed = match end {
            Some(end) => tokio::time::timeout_at(end, followed).await,
            None => Ok(followed.await),
        };
        let followed = followed.unwrap_or_else(|_elapsed| Err(expired()));
        if followed.is_err() {
            // Between two streams it is registered nowhere, so nobody else has its server stop.
            kill::unasked(&self.channel.session, call);
        }
        followed
    }

    /// Follows the stream of a call to its answer, however often the server breaks it off.
    async fn followed(&self, call: &Arc<Call>, events: Events) -> Result<(), Refusal> {
        let mut events = answer::finished(call, answer::while_known(&self.shared, call, events));
        let (mut last, mut attempts) = (None, Attempts::default());
        loop {
            let ended = self.forward(events).await;
            if ended.is_answered || self.is_over() {
                return Ok(());
            }
            let mut pause = attempts.ended(&ended);
            let Some(id) = ended.last.or(last) else {
                return Ok(());
            };
            let mut broken = Refusal::new(Code::UpstreamUnreachable)
                .detail("the stream broke before the response");
            events = loop {
                if attempts.0 > MAX_ATTEMPTS {
                    return Err(broken);
                }
                tokio::time::sleep(pause).await;
                match self.open(call.revision, Some(&id)).await {
                    Ok((resumed, more)) => break answer::finished(&resumed, more),
                    Err(refusal) if is_transient(&refusal) => {
                        pause = attempts.refused(&refusal);
                        broken = refusal;
                    }
                    Err(refusal) => return Err(refusal),
                }
            };
            last = Some(id);
        }
    }

    /// Puts the server's own messages on the stream, as long as it has any.
    pub(super) async fn listen(self) {
        tokio::select! {
            () = self.listened() => {}
            () = self.channel.closed() => {}
            () = self.channel.session.ended.cancelled() => {}
        }
    }

    async fn listened(&self) {
        let (mut last, mut attempts) = (None::<Bytes>, Attempts::default());
        loop {
            let revision = self.channel.session.revision();
            let pause = match self.open(revision, last.as_ref()).await {
                Ok((_, events)) => {
                    let ended = self.forward(events).await;
                    let pause = attempts.ended(&ended);
                    last = ended.last.or(last);
                    pause
                }
                Err(refusal) if is_transient(&refusal) => attempts.refused(&refusal),
                Err(refusal) if last.is_some() && is_for_the_event(&refusal) => {
                    // Later messages are worth more than those between.
                    info!(server = %self.arrived.server, "the server does not know the last event of a client's event stream; messages may be missing");
                    last = None;
                    attempts.refused(&refusal)
                }
                Err(refusal) => {
                    let (code, status) = (refusal.code, refusal.upstream_status);
                    info!(server = %self.arrived.server, %code, status, "no messages of the server's own on a client's event stream: it has none, or refuses them");
                    return;
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Opens a stream by the `GET` after the event with the id `last`, in the stack of now.
    async fn open(
        &self,
        revision: Revision,
        last: Option<&Bytes>,
    ) -> Result<(Arc<Call>, Events), Refusal> {
        let current = self.shared.endpoint.current();
        let inner = current.ok_or_else(|| Refusal::new(Code::Draining))?;
        let mirrored = Mirrored {
            session_id: Some(&self.id),
            // Ours: plain text.
            last_event_id: last.and_then(|id| std::str::from_utf8(id).ok()),
            ..Mirrored::default()
        };
        let call = Arc::new(inner.call(&self.arrived, &mirrored, revision, Ask::Listen));
        let reply = inner.run(Arc::clone(&call)).await?;
        match reply.answer {
            Answer::Stream(events) => {
                let events = answer::while_known(&self.shared, &call, events);
                Ok((call, events))
            }
            Answer::Passed { status, .. } => Err(refused_with(status)),
            Answer::Accepted | Answer::Message(_) => Err(Refusal::new(Code::UpstreamInvalid)),
        }
    }
}

/// The refusal of a call whose stream was resumed for as long as a call may run.
fn expired() -> Refusal {
    const LIMIT: &str = "limits.call_life";
    let refusal = Refusal::new(Code::CallExpired).detail(format!("{LIMIT} is over"));
    refusal.over(LIMIT)
}

/// The pause before the next attempt: never shorter than the first, whatever a server wants.
fn pause(wanted: Option<Duration>, attempts: u32) -> Duration {
    let (first, longest) = PAUSES;
    let own = first.saturating_mul(1_u32 << attempts.min(5));
    wanted.map_or(own, |wanted| own.max(wanted)).min(longest)
}

/// Whether what refused a stream may be over by itself.
fn is_transient(refusal: &Refusal) -> bool {
    match refusal.upstream_status {
        Some(status) => matches!(status, 408 | 425 | 429 | 500 | 502..=599),
        None => matches!(
            refusal.code,
            Code::UpstreamUnreachable
                | Code::UpstreamTimeout
                | Code::UpstreamCircuitOpen
                | Code::RateLimited
                | Code::ConcurrencyLimited
                | Code::SessionSuspended
                | Code::MemoryFull
                | Code::Overloaded
                | Code::InspectionOverloaded
                | Code::AuditUnavailable
                | Code::CredentialUnavailable
        ),
    }
}

/// Whether what refused a stream may have been the event id it was asked for with: servers that have forgotten it answer any of
/// these, the reference one 400.
fn is_for_the_event(refusal: &Refusal) -> bool {
    match refusal.upstream_status {
        Some(status) => matches!(status, 400 | 404 | 405 | 409 | 410 | 422),
        None => refusal.code == Code::EventUnknown,
    }
}

#[cfg(test)]
mod tests;
