//! Responses of calls that are held for a person: the stream begins before the answer is there, and shows meanwhile that the call
//! lives. Comments come of themselves where a stream is silent; progress is for clients that asked for it.
//!
//! The call itself runs in a task of its own: a body is polled only as fast as its client reads, and the time of a hold, a drain,
//! a kill and the way from a yes to the server must not wait for that.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http::Response;
use keepgate_call::{Call, Cut, Events, Item, Refusal, Reply};
use keepgate_mcp::{
    id::Id,
    message::{Message, Notification},
    method::Method,
};
use keepgate_transport::Body;
use tokio::{
    sync::oneshot,
    task::AbortHandle,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tokio_util::task::TaskTracker;

use super::{
    Inner,
    answer::{self, Settled},
    run::{Run, panicked},
};
use crate::render::{self, Asked};

/// A call that was begun.
pub(super) enum Begun {
    /// It is over.
    Over(Result<Reply, Refusal>),
    /// It is held, and its client may see that.
    Held(HeldRun),
}

/// A held call, in its task. Dropped before its end, it is cancelled where a closed connection means that; else it learns that
/// its client has left.
pub(super) struct HeldRun {
    /// A place for one: what comes before the reply is made by whoever reads this.
    reply: oneshot::Receiver<Result<Reply, Refusal>>,
    task: AbortHandle,
    call: Arc<Call>,
    is_over: bool,
}

impl HeldRun {
    fn new(run: Run, call: &Arc<Call>, tasks: &TaskTracker) -> Self {
        let (sender, reply) = oneshot::channel();
        let task = tasks.spawn(async move {
            // A reply that nobody takes is dropped, and with it whatever reads it to its end.
            drop(sender.send(run.await));
        });
        Self {
            reply,
            task: task.abort_handle(),
            call: Arc::clone(call),
            is_over: false,
        }
    }
}

impl Future for HeldRun {
    type Output = Result<Reply, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(context));
        self.is_over = true;
        Poll::Ready(reply.unwrap_or_else(|_gone| Err(panicked(&self.call))))
    }
}

impl Drop for HeldRun {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.call.revision.facts().disconnect_cancels {
            self.task.abort();
        } else {
            self.call.leave();
        }
    }
}

/// Runs a call until it is over or held.
pub(super) async fn begun(mut run: Run, call: &Arc<Call>, tasks: &TaskTracker) -> Begun {
    let over = poll_fn(|context| match Pin::new(&mut run).poll(context) {
        Poll::Ready(reply) => Poll::Ready(Some(reply)),
        // The layer that holds it runs within this very poll, so nobody else has to wake this.
        Poll::Pending if call.wait.held().is_some() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match over.await {
        Some(reply) => Begun::Over(reply),
        None => Begun::Held(HeldRun::new(run, call, tasks)),
    }
}

/// Progress of a held call.
pub(super) struct Progress {
    token: Id,
    count: u32,
    ticks: Interval,
}

impl Progress {
    /// The highest count: a thousandth each, so that nearly all that a server reports later is more.
    const MAX_COUNT: u32 = 999;

    /// Progress at each interval, for a client that has asked for it.
    pub(super) fn of(call: &Call, interval: Duration) -> Option<Self> {
        let token = call.request()?.meta().progress_token()?;
        let mut ticks = interval_at(Instant::now() + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self {
            token,
            count: 0,
            ticks,
        })
    }

    /// Ready with the next report.
    pub(super) fn poll_next(&mut self, call: &Call, context: &mut Context<'_>) -> Poll<Message> {
        loop {
            ready!(self.ticks.poll_tick(context));
            if self.count == Self::MAX_COUNT {
                continue;
            }
            self.count += 1;
            let held = call.wait.held().unwrap_or_default();
            if let Some(message) = render::progress(call, &self.token, self.count, held) {
                return Poll::Ready(message);
            }
        }
    }

    /// The events of the answer, without progress that is not more than what was reported (2025-11-25 `basic/utilities/progress`:
    /// it must increase).
    pub(super) fn before(self, events: Events) -> Events {
        if self.count == 0 {
            return events;
        }
        let kept = events.filter(move |item| std::future::ready(self.is_less(item)));
        Box::pin(kept)
    }

    fn is_less(&self, item: &Result<Item, Cut>) -> bool {
        let Ok(Item {
            message: Some(Message::Notification(note)),
            ..
        }) = item
        else {
            return true;
        };
        let token = note.param("progressToken").and_then(Id::from_raw);
        let is_own = *note.method() == Method::Progress && token.as_ref() == Some(&self.token);
        !is_own || reported(note).is_none_or(|value| value > f64::from(self.count) / 1000.0)
    }
}

fn reported(note: &Notification) -> Option<f64> {
    note.param("progress")?.as_str().trim().parse().ok()
}

/// The response of a call that is held.
pub(super) fn respond(inner: &Arc<Inner>, call: &Arc<Call>, run: HeldRun) -> Response<Body> {
    let events = Held {
        inner: Some(Arc::clone(inner)),
        call: Arc::clone(call),
        stage: Stage::Waiting {
            run,
            question: render::link_question(call),
            progress: Progress::of(call, inner.limits.keep_alive),
        },
    };
    answer::sse_response(inner, Box::pin(events))
}

/// Events of a call that is held, to its end.
struct Held {
    /// The stack it runs in, until it is over: the stream of its answer outlives reloads.
    inner: Option<Arc<Inner>>,
    call: Arc<Call>,
    stage: Stage,
}

enum Stage {
    Waiting {
        run: HeldRun,
        /// The link that the client is to show, until it was sent.
        question: Option<Message>,
        progress: Option<Progress>,
    },
    Answering(Events),
}

impl Held {
    /// The events of the answer.
    fn answer(&mut self, reply: Result<Reply, Refusal>) -> Events {
        let call = &*self.call;
        let Some(inner) = self.inner.take() else {
            return one(None);
        };
        let reply = inner.challenged(call, reply);
        let refusal = match reply.and_then(|reply| answer::settled(reply.answer)) {
            Ok(Settled::Stream(events)) => {
                return answer::finished(call, answer::while_known(&inner.shared, call, events));
            }
            Ok(Settled::Message(message)) => return one(Some(message)),
            Err(refusal) => refusal,
        };
        let asked = Asked::of(call);
        let id = asked.id.as_ref();
        one(id.and_then(|id| render::said(&refusal, &asked, id)))
    }
}

fn one(message: Option<Message>) -> Events {
    Box::pin(stream::iter(message.map(|message| Ok(Item::from(message)))))
}

impl Stream for Held {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let (reply, progress) = match &mut this.stage {
                Stage::Answering(events) => return events.as_mut().poll_next(context),
                Stage::Waiting {
                    run,
                    question,
                    progress,
                } => match Pin::new(run).poll(context) {
                    Poll::Ready(reply) => (reply, progress.take()),
                    Poll::Pending => {
                        if let Some(question) = question.take() {
                            return Poll::Ready(Some(Ok(Item::from(question))));
                        }
                        let Some(progress) = progress else {
                            return Poll::Pending;
                        };
                        let report = ready!(progress.poll_next(&this.call, context));
                        return Poll::Ready(Some(Ok(Item::from(report))));
                    }
                },
            };
            let completed = one(render::link_completed(&this.call, &reply));
            let events = this.answer(reply);
            let events = match progress {
                Some(progress) => progress.before(events),
                None => events,
            };
            this.stage = Stage::Answering(Box::pin(completed.chain(events)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::{Duration, SystemTime},
    };

    use keepgate_call::{
        Answer, Ask, Call, Caller, CallerKind, DecisionId, Proof, ServerName, Tenant, UpstreamId,
    };
    use keepgate_mcp::revision::Revision;
    use tokio::time::sleep;
    use tokio_util::task::TaskTracker;

    use super::{HeldRun, Run};

    /// Time the call takes.
    const TIME: Duration = Duration::from_secs(50);

    fn call(revision: Revision) -> Arc<Call> {
        let proof = Proof::new(Tenant::new("a"), CallerKind::Machine, "agent");
        Arc::new(Call::new(
            DecisionId::new(0, 0),
            UpstreamId::new(1),
            SystemTime::now(),
            Arc::new(Caller::new(proof)),
            ServerName::parse("crm").unwrap(),
            revision,
            Ask::Listen,
        ))
    }

    /// A held call, and whether it has run to its end.
    fn held(call: &Arc<Call>) -> (HeldRun, Arc<AtomicBool>) {
        let ran = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&ran);
        let running = async move {
            sleep(TIME).await;
            mark.store(true, Ordering::Relaxed);
            Ok(Answer::Accepted.into())
        };
        let run = Run::tied(call, Box::pin(running));
        (HeldRun::new(run, call, &TaskTracker::new()), ran)
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_call_goes_on_while_nobody_reads_and_ends_with_its_client_where_that_cancels() {
        for (revision, is_dropped, goes_on) in [
            (Revision::LATEST_STATEFUL, false, true),
            (Revision::LATEST_STATEFUL, true, true),
            (Revision::V2024_11_05, true, true),
            (Revision::V2026_07_28, false, true),
            (Revision::V2026_07_28, true, false),
        ] {
            let call = call(revision);
            let (run, ran) = held(&call);
            // Never polled: its client reads nothing.
            let mut run = Some(run);
            if is_dropped {
                tokio::task::yield_now().await;
                run = None;
            }
            sleep(TIME * 2).await;
            let what = format!("{revision:?} {is_dropped}");
            assert_eq!(ran.load(Ordering::Relaxed), goes_on, "{what}");
            assert_eq!(call.is_left(), is_dropped && goes_on, "{what}");
            if let Some(run) = run {
                assert!(run.await.is_ok(), "{what}");
                assert!(!call.is_left(), "{what}");
            }
        }
    }
}
