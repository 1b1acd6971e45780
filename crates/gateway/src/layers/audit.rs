//! Audit: one record before a call leaves, one for every way it can end.

mod credential;
mod describe;
mod door;
mod question;
mod rejected;
mod repeat;
mod shape;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use futures_core::Stream;
use keepgate_audit::{
    AppendError, Decision, Kind, Log, Outcome as Ending, Reason, Record, Repeat, Shadow, Status,
};
use keepgate_call::{
    Answer, Call, Code, Cut, Detail, Events, Fault, Follow, Item, Refusal, Reply, Step,
};
use keepgate_credential::CredentialSet;
use keepgate_mcp::{
    Era,
    message::{Message, Response},
};

use tracing::{debug, warn};

pub(super) use self::question::question;
pub(crate) use self::rejected::rejected;
use self::{
    describe::describe,
    repeat::{Refused, Written},
    shape::Shape,
};
pub use self::{
    door::{Door, Doorkeeper},
    repeat::Refusals,
};
use super::{approval::Release, obligation::Obliged, session::Bound};
use crate::{around::Around, gate::Gate, settings::Settings};

/// The reason under which the intent of a `GET` names the call whose stream it resumes, by its decision id.
const RESUMED: &str = "resumed";

/// Writes what is about to happen, and lets nothing happen before it is durable.
#[derive(Debug)]
pub struct Intent {
    log: Log,
    clear: Arc<[(keepgate_call::ServerName, String)]>,
}

/// A call whose intent is on record. Only this file makes one.
#[derive(Debug)]
pub struct Recorded {
    bound: Bound,
    credential: Option<Arc<CredentialSet>>,
    release: Option<Arc<Release>>,
}

impl Recorded {
    /// The call, the credentials it is to be armed with instead of its server's own, and the use of an approval that lets it
    /// leave.
    pub fn into_parts(self) -> (Bound, Option<Arc<CredentialSet>>, Option<Arc<Release>>) {
        (self.bound, self.credential, self.release)
    }
}

impl Intent {
    /// A gate that writes to `log`.
    pub fn new(settings: &Settings, log: &Log) -> Self {
        Self {
            log: log.clone(),
            clear: settings.clear_arguments.clone().into(),
        }
    }

    fn is_clear(&self, call: &Call, tool: Option<&str>) -> bool {
        let Some(tool) = tool else { return false };
        self.clear
            .iter()
            .any(|(server, name)| *server == call.server && name == tool)
    }
}

impl Gate<Obliged> for Intent {
    type Out = Recorded;

    async fn pass(&self, obliged: Obliged) -> Result<Recorded, Refusal> {
        let (bound, decision, credential, release) = obliged.into_parts();
        let written = {
            let call = &*bound.call;
            let described = describe(call);
            let mut record = described.record(Kind::CallIntent, call.received);
            let arguments = described.arguments();
            let digest = arguments.map(|text| {
                self.log
                    .digest(call.caller.tenant.as_str(), "args", text.as_bytes())
            });
            record.args_digest = digest.as_deref();
            let full = call.carried.detail() == Detail::Full;
            record.input_params =
                arguments.filter(|_| full || self.is_clear(call, record.tool_name));
            record.decision = Some(Decision::Allow);
            record.policy_rev = Some(&decision.revision);
            let resumed = call.resumes.get().map(|resumed| Reason {
                code: RESUMED,
                message: resumed.id.as_str(),
            });
            let reasons: Vec<Reason<'_>> = decision
                .reasons
                .iter()
                .map(|reason| Reason {
                    code: &reason.code,
                    message: &reason.message,
                })
                .chain(resumed)
                .collect();
            record.reasons = &reasons;
            record.session_id = bound.session.session().map(|session| &*session.public);
            self.log.append(&record)
        };
        bound.call.intend();
        // Durable before it can act: a crash must not hide a call.
        if let Err(error) = written.await {
            bound.call.renounce();
            return Err(unavailable(error));
        }
        Ok(Recorded {
            bound,
            credential,
            release,
        })
    }
}

fn unavailable(error: AppendError) -> Refusal {
    Refusal::new(Code::AuditUnavailable).source(error)
}

/// The refusal of an answer whose record could not be written.
fn unrecorded(call: &Call, error: AppendError) -> Refusal {
    let refusal = if call.is_dispatched() {
        Refusal::new(Code::OutcomeUnrecorded)
            .source(error)
            .dispatched()
    } else {
        unavailable(error)
    };
    refusal.decision(call.id)
}

/// Writes how each call ended: answered, refused, failed or abandoned.
#[derive(Debug)]
pub struct Outcome {
    refusals: Arc<Refusals>,
}

impl Outcome {
    /// An around that writes to the log of `refusals`, where equal ones share records.
    pub fn new(refusals: &Arc<Refusals>) -> Self {
        Self {
            refusals: Arc::clone(refusals),
        }
    }
}

impl Around<Arc<Call>> for Outcome {
    type Out = Arc<Call>;
    type Reply = Reply;

    async fn run<N, F>(&self, call: Arc<Call>, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Arc<Call>) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let mut guard = Guard {
            refusals: Arc::clone(&self.refusals),
            call: Arc::clone(&call),
            began: Instant::now(),
            open: true,
        };
        match next(call).await {
            Ok(reply) => {
                let Reply { answer, session } = reply;
                let answer = self.answered(answer, guard).await?;
                Ok(Reply { answer, session })
            }
            Err(refusal) => {
                let refusal = if guard.call.is_dispatched() {
                    refusal.dispatched()
                } else {
                    refusal
                };
                let (refusal, written) = guard.refused(refusal);
                if let Some(written) = written {
                    // The refusal stands whether or not its record can be written; nothing was let through.
                    let _refused_anyway = written.await;
                }
                Err(refusal)
            }
        }
    }
}

impl Outcome {
    async fn answered(&self, answer: Answer, mut guard: Guard) -> Result<Answer, Refusal> {
        let ended = match &answer {
            Answer::Stream(_) => {
                guard
                    .opened()
                    .await
                    .map_err(|error| unrecorded(&guard.call, error))?;
                let Answer::Stream(events) = answer else {
                    return Err(Refusal::new(Code::Internal));
                };
                return Ok(Answer::Stream(Box::pin(Watched::new(events, guard))));
            }
            Answer::Accepted => Ended::Answered {
                status: Status::Ok,
                http: None,
                bytes: 0,
                response: None,
            },
            Answer::Message(message) => {
                let response = match message {
                    Message::Response(response) => Some(response),
                    Message::Request(_) | Message::Notification(_) => None,
                };
                Ended::Answered {
                    status: response.map_or(Status::Ok, status),
                    http: None,
                    bytes: message.bytes().len(),
                    response,
                }
            }
            Answer::Passed { status, body } => Ended::Answered {
                status: Status::Error,
                http: Some(*status),
                bytes: body.len(),
                response: None,
            },
        };
        // On record before it is released: what could not be recorded is not handed out.
        guard
            .end(ended)
            .await
            .map_err(|error| unrecorded(&guard.call, error))?;
        Ok(answer)
    }
}

fn status(response: &Response) -> Status {
    if response.error().is_some() {
        Status::Error
    } else if response.is_tool_error() {
        Status::ToolError
    } else {
        Status::Ok
    }
}

/// Logs a refusal: as a warning if somebody has to look after a server or the gateway, once for equal ones. The cause is
/// nowhere else.
fn told(refusal: &Refusal, call: &Call, is_repeat: bool) {
    let (code, server) = (refusal.code, &call.server);
    let decision = refusal.decision.unwrap_or(call.id);
    // None leaves the field out.
    let cause = refusal
        .source
        .as_ref()
        .map(|source| keepgate_call::chain(source));
    let spans = call.trace.spans.as_ref();
    let trace_id = spans.map(|spans| spans.server.trace_id().to_string());
    match code.fault() {
        Fault::Upstream | Fault::Gateway if !is_repeat => {
            warn!(%code, %server, %decision, trace_id, cause, "refused");
        }
        Fault::Client | Fault::Policy | Fault::Upstream | Fault::Gateway => {
            debug!(%code, %server, %decision, trace_id, cause, "refused");
        }
    }
}

/// How a call ended.
#[derive(Clone, Copy)]
enum Ended<'a> {
    Answered {
        status: Status,
        http: Option<u16>,
        bytes: usize,
        response: Option<&'a Response>,
    },
    Refused(&'a Refusal),
    Vanished,
}

impl<'a> Ended<'a> {
    fn response(self) -> Option<&'a Response> {
        match self {
            Self::Answered { response, .. } => response,
            Self::Refused(_) | Self::Vanished => None,
        }
    }
}

/// Sees to it that a call leaves exactly one last record, also when nobody waits for it any more.
struct Guard {
    refusals: Arc<Refusals>,
    call: Arc<Call>,
    began: Instant,
    open: bool,
}

impl Guard {
    fn end(&mut self, ended: Ended<'_>) -> keepgate_audit::Append {
        self.open = false;
        self.written(ended, None, |log, record| log.append(record))
    }

    /// Ends with a refusal: names the decision it is found by, and writes its record unless an equal one's counts it.
    fn refused(&mut self, refusal: Refusal) -> (Refusal, Option<keepgate_audit::Append>) {
        let noted = self.noted(Some(&refusal));
        let (id, repeat) = match noted {
            Written::Own => (self.call.id, None),
            Written::First(repeat) => (self.call.id, Some(repeat)),
            Written::Counted(id) | Written::Cause { answered: id, .. } => {
                self.open = false;
                let refusal = refusal.decision(id);
                told(&refusal, &self.call, true);
                return (refusal, None);
            }
        };
        let refusal = refusal.decision(id);
        told(&refusal, &self.call, false);
        self.open = false;
        let ended = Ended::Refused(&refusal);
        let written = self.written(ended, repeat, |log, record| log.append(record));
        (refusal, Some(written))
    }

    /// Decides how the end of the call gets on record: what had an intent always has an outcome of its own.
    fn noted(&self, refusal: Option<&Refusal>) -> Written {
        if self.call.is_intended() {
            return Written::Own;
        }
        let described = describe(&self.call);
        let refused = Refused::call(&self.call, described.names(), refusal);
        self.refusals.note(refused, self.call.id, SystemTime::now())
    }

    fn opened(&self) -> keepgate_audit::Append {
        let described = describe(&self.call);
        self.refusals
            .log()
            .append(&described.record(Kind::CallOpen, SystemTime::now()))
    }

    fn written<T>(
        &self,
        ended: Ended<'_>,
        repeat: Option<Repeat>,
        write: impl FnOnce(&Log, &Record<'_>) -> T,
    ) -> T {
        let log = self.refusals.log();
        let described = describe(&self.call);
        let kind = if self.call.is_intended() {
            Kind::CallOutcome
        } else {
            Kind::CallRefused
        };
        let mut record = described.record(kind, SystemTime::now());
        record.repeat = repeat;
        let mut reasons: Vec<Reason<'_>> = Vec::new();
        let shape = Shape::of(&self.call, ended.response());
        let mut ending = match ended {
            Ended::Answered {
                status,
                http,
                bytes,
                ..
            } => Ending {
                http_status: http,
                bytes: u64::try_from(bytes).ok(),
                ..Ending::new(status)
            },
            Ended::Vanished => Ending::new(vanished(&self.call)),
            Ended::Refused(refusal) => {
                record.refusal = Some(refusal.code.as_str());
                record.decision = decision(refusal);
                record.policy_rev = refusal.policy.as_deref();
                reasons.extend(
                    refusal
                        .reasons
                        .iter()
                        .map(|(code, message)| Reason { code, message }),
                );
                Ending::new(match (refusal.code, refusal.code.fault()) {
                    (Code::Cancelled, _) => Status::Cancelled,
                    (Code::Killed, _) if self.call.is_intended() => Status::Killed,
                    (_, Fault::Upstream) => Status::UpstreamFailed,
                    (_, Fault::Client | Fault::Policy | Fault::Gateway) => Status::Withheld,
                })
            }
        };
        let mut digest = None;
        let tenant = self.call.caller.tenant.as_str();
        if self.call.is_intended() {
            ending.upstream = Some(self.began.elapsed());
        } else {
            // The intent would have said it.
            let taken = |text: &str| log.digest(tenant, "args", text.as_bytes());
            digest = described.arguments().map(taken);
        }
        let digest_lease = |id: &[u8]| log.digest(tenant, "lease", id);
        let lease = credential::leases(&self.call.credential, digest_lease);
        record.credential = credential::sent(&self.call.credential, lease.as_deref());
        record.args_digest = digest.as_deref();
        record.reasons = &reasons;
        shape.add(&self.call, &mut ending);
        record.result = Some(ending);
        record.shadow = beside(&self.call);
        write(log, &record)
    }
}

/// What it means that nobody waits for a call any more.
fn vanished(call: &Call) -> Status {
    match call.revision.era() {
        Era::Stateless => Status::Cancelled,
        Era::Stateful => Status::Abandoned,
    }
}

/// What other policies would have decided of a call.
fn beside(call: &Call) -> Option<Shadow<'_>> {
    call.beside.noted().map(|beside| Shadow {
        would: beside.would,
        codes: &beside.codes,
        policy_rev: &beside.revision,
    })
}

fn decision(refusal: &Refusal) -> Option<Decision> {
    // Only policy names its revision; what failed elsewhere was no decision.
    refusal.policy.as_ref()?;
    let asks = matches!(
        refusal.code,
        Code::ApprovalRequired
            | Code::ApprovalPending
            | Code::ApprovalDenied
            | Code::ApprovalUnavailable
    );
    Some(if asks {
        Decision::Approve
    } else {
        Decision::Deny
    })
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.open {
            let repeat = match self.noted(None) {
                Written::Own => None,
                Written::First(repeat) => Some(repeat),
                Written::Counted(_) | Written::Cause { .. } => return,
            };
            self.written(Ended::Vanished, repeat, |log, record| log.post(record));
        }
    }
}

/// A stream whose response, or whose end, is on record before it is released.
struct Watched {
    events: Events,
    guard: Guard,
    follow: Follow,
    bytes: usize,
    held: Option<(Item, keepgate_audit::Append)>,
    over: bool,
}

impl Watched {
    fn new(events: Events, guard: Guard) -> Self {
        let follow = match guard.call.resumes.get() {
            Some(_) => Follow::resumed(),
            None => Follow::default(),
        };
        Self {
            events,
            guard,
            follow,
            bytes: 0,
            held: None,
            over: false,
        }
    }

    /// The stream has ended. If the response has not come, that is the outcome; nobody waits for its record.
    fn unanswered(&mut self, cut: Option<&Cut>, is_resumable: bool) {
        if !self.guard.open {
            return;
        }
        let written = match cut {
            Some(Cut::Upstream(_)) => self
                .guard
                .end(Ended::Refused(&Refusal::new(Code::UpstreamInvalid))),
            Some(Cut::Cancelled) => self
                .guard
                .end(Ended::Refused(&Refusal::new(Code::Cancelled))),
            Some(Cut::Killed(refusal) | Cut::Withheld(refusal) | Cut::Ended(refusal)) => {
                self.guard.end(Ended::Refused(refusal))
            }
            Some(Cut::Gateway(_)) => self
                .guard
                .end(Ended::Refused(&Refusal::new(Code::Draining))),
            None => {
                // A listening stream ends without a response, and one that can be resumed may; another should not.
                let fine = self.guard.call.request().is_none() || is_resumable;
                let status = if fine {
                    Status::Ok
                } else {
                    Status::UpstreamFailed
                };
                self.guard.end(Ended::Answered {
                    status,
                    http: None,
                    bytes: self.bytes,
                    response: None,
                })
            }
        };
        drop(written);
    }
}

impl Stream for Watched {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some((_, written)) = &mut this.held {
                let written = std::task::ready!(Pin::new(written).poll(cx));
                let held = this.held.take();
                this.over = this.over || written.is_err();
                return Poll::Ready(match (written, held) {
                    (Ok(_), Some((item, _))) => Some(Ok(item)),
                    (Ok(_), None) => None,
                    (Err(error), _) => Some(Err(Cut::Gateway(error.to_string()))),
                });
            }
            if this.over {
                return Poll::Ready(None);
            }
            let next = std::task::ready!(this.events.as_mut().poll_next(cx));
            if let Some(Ok(item)) = &next {
                let message = item.message.as_ref();
                this.bytes += message.map_or(0, |message| message.bytes().len());
            }
            match this.follow.step(next.as_ref()) {
                Step::Answer(response) if this.guard.open => {
                    let written = this.guard.end(Ended::Answered {
                        status: status(response),
                        http: None,
                        bytes: this.bytes,
                        response: Some(response),
                    });
                    this.held = next.and_then(Result::ok).map(|item| (item, written));
                    continue;
                }
                Step::Answer(_) | Step::Other => {}
                Step::Abort {
                    cut, is_resumable, ..
                } => {
                    this.over = true;
                    this.unanswered(Some(cut), is_resumable);
                }
                Step::End { is_resumable, .. } => {
                    this.over = true;
                    this.unanswered(None, is_resumable);
                }
            }
            return Poll::Ready(next);
        }
    }
}
