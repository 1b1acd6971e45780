//! Replies on the way to a client's event stream. The client cannot resume one: where a client of Streamable HTTP would, it is done
//! here, by the same `GET` through the same layers.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use keepgate_call::{Answer, Ask, Call, Code, Events, Refusal, Reply};
use keepgate_mcp::{Mirrored, revision::Revision};
use tracing::debug;

use super::{
    super::{
        Inner,
        answer::{self, Settled},
        held::{self, Begun, Progress},
        run::Run,
    },
    Posted, refuse,
};
use crate::session::Channel;

/// Pauses before a stream is asked for again: the first, doubled until something comes, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Attempts to resume an answer that bring nothing, before it is given up.
const MAX_ATTEMPTS: u32 = 5;

/// The end of a stream that was put on the client's.
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

/// Puts the messages of a stream on the client's, as fast as the client reads.
async fn forward(channel: &Channel, mut events: Events) -> Ended {
    let mut ended = Ended {
        last: None,
        retry: None,
        is_fruitful: false,
        is_answered: false,
    };
    while let Some(item) = events.next().await {
        let Ok(item) = item else { break };
        ended.is_fruitful = true;
        ended.is_answered |= item.answer().is_some();
        if let Some(id) = item.id {
            ended.last = Some(id).filter(|id| !id.is_empty());
        }
        ended.retry = item.retry.map(Duration::from_millis).or(ended.retry);
        if let Some(message) = item.message
            && !channel.send(message).await
        {
            break;
        }
    }
    ended
}

impl Inner {
    /// Runs a request and puts everything that answers it on the stream.
    pub(super) async fn answer(self: &Arc<Self>, posted: &Posted, call: &Arc<Call>) {
        let channel = &posted.channel;
        let (reply, progress) = match held::begun(self.begin(call), call).await {
            Begun::Over(reply) => (reply, None),
            Begun::Held(run) => self.held(posted, call, run).await,
        };
        let answered = match self.challenged(call, reply) {
            Ok(reply) => self.replied(posted, call, reply, progress).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = answered {
            refuse(&refusal, call, channel).await;
        }
    }

    /// Reports on the stream that a call is held, until it is not.
    async fn held(
        &self,
        posted: &Posted,
        call: &Call,
        mut run: Run,
    ) -> (Result<Reply, Refusal>, Option<Progress>) {
        let Some(mut progress) = Progress::of(call, self.limits.keep_alive) else {
            return (run.await, None);
        };
        loop {
            let report = tokio::select! {
                biased;
                reply = &mut run => return (reply, Some(progress)),
                report = poll_fn(|context| progress.poll_next(call, context)) => report,
            };
            posted.channel.send(report).await;
        }
    }

    async fn replied(
        self: &Arc<Self>,
        posted: &Posted,
        call: &Arc<Call>,
        reply: Reply,
        progress: Option<Progress>,
    ) -> Result<(), Refusal> {
        match answer::settled(reply.answer)? {
            Settled::Stream(events) => {
                let events = match progress {
                    Some(progress) => progress.before(events),
                    None => events,
                };
                self.followed(posted, call, events).await
            }
            Settled::Message(message) => {
                posted.channel.send(message).await;
                Ok(())
            }
        }
    }

    /// Follows the stream of a call to its answer, however often the server breaks it off.
    async fn followed(
        self: &Arc<Self>,
        posted: &Posted,
        call: &Arc<Call>,
        events: Events,
    ) -> Result<(), Refusal> {
        let channel = &posted.channel;
        let mut events = answer::finished(call, answer::while_known(self, call, events));
        let (mut last, mut attempts) = (None, 0);
        loop {
            let ended = forward(channel, events).await;
            if ended.is_answered || channel.is_closed() {
                return Ok(());
            }
            attempts = if ended.is_fruitful { 0 } else { attempts + 1 };
            let Some(id) = ended.last.or(last) else {
                return Ok(());
            };
            if attempts > MAX_ATTEMPTS {
                return Err(Refusal::new(Code::UpstreamUnreachable)
                    .detail("the stream broke before the response")
                    .dispatched());
            }
            tokio::time::sleep(pause(ended.retry, attempts)).await;
            let resumed = self.listening(posted, call.revision, Some(&id))?;
            let reply = self.run(Arc::clone(&resumed)).await?;
            let Answer::Stream(more) = reply.answer else {
                return Err(Refusal::new(Code::UpstreamRefused).dispatched());
            };
            events = answer::finished(&resumed, answer::while_known(self, &resumed, more));
            last = Some(id);
        }
    }

    /// Puts the server's own messages on the stream, as long as it has any.
    pub(super) async fn listen(self: Arc<Self>, posted: Posted) {
        tokio::select! {
            () = self.listened(&posted) => {}
            () = posted.channel.closed() => {}
            () = posted.channel.session.ended.cancelled() => {}
        }
    }

    async fn listened(self: &Arc<Self>, posted: &Posted) {
        let (mut last, mut attempts) = (None::<Bytes>, 0);
        loop {
            let mut wanted = None;
            match self.open_listening(posted, last.as_ref()).await {
                Ok(Answer::Stream(events)) => {
                    let ended = forward(&posted.channel, events).await;
                    attempts = if ended.is_fruitful { 0 } else { attempts + 1 };
                    (last, wanted) = (ended.last.or(last), ended.retry);
                }
                // It has none.
                Ok(Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => return,
                Err(refusal) if passes(refusal.code) => attempts += 1,
                Err(refusal) => {
                    debug!(server = %posted.arrived.server, code = %refusal.code, "a client's stream has nothing of the server's own");
                    return;
                }
            }
            tokio::time::sleep(pause(wanted, attempts)).await;
        }
    }

    async fn open_listening(
        self: &Arc<Self>,
        posted: &Posted,
        last: Option<&Bytes>,
    ) -> Result<Answer, Refusal> {
        let revision = posted.channel.session.revision();
        let call = self.listening(posted, revision, last)?;
        let reply = self.run(Arc::clone(&call)).await?;
        Ok(match reply.answer {
            Answer::Stream(events) => Answer::Stream(answer::while_known(self, &call, events)),
            none @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => none,
        })
    }

    /// The `GET` of a stream, after the event with the id `last`.
    fn listening(
        &self,
        posted: &Posted,
        revision: Revision,
        last: Option<&Bytes>,
    ) -> Result<Arc<Call>, Refusal> {
        let mirrored = Mirrored {
            session_id: Some(&posted.id),
            // Ours: plain text.
            last_event_id: last.and_then(|id| std::str::from_utf8(id).ok()),
            ..Mirrored::default()
        };
        let call = self.call(&posted.arrived, &mirrored, revision, Ask::Listen)?;
        Ok(Arc::new(call))
    }
}

/// The pause before the next attempt.
fn pause(wanted: Option<Duration>, attempts: u32) -> Duration {
    let (first, longest) = PAUSES;
    let own = first.saturating_mul(1_u32 << attempts.min(5));
    match wanted {
        // A server that ends its streams to be asked again names the pause.
        Some(wanted) if attempts == 0 => wanted.clamp(Duration::from_millis(10), longest),
        Some(wanted) => own.max(wanted).min(longest),
        None => own.min(longest),
    }
}

/// Whether what refused a stream may be over by itself.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::UpstreamUnreachable
            | Code::UpstreamTimeout
            | Code::UpstreamCircuitOpen
            | Code::RateLimited
            | Code::ConcurrencyLimited
            | Code::MemoryFull
            | Code::Overloaded
    )
}
