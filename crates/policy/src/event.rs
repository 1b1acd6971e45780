//! The decision log: one event for each decision, in the format OPA gives it, ready for whoever keeps such logs.
//!
//! The thread that judged hands over a [`Judged`]: a few reference counts, no text. Whoever keeps the log turns it into
//! an event with an [`EventWriter`], which asks the policies in force what to leave out
//! (`data.system.log.drop`, `data.system.log.mask`). When they cannot say, the event has neither input nor result.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use regorus::Value;
use regorus::value::Object;

use crate::decision::{ApprovalDuty, Decision, Effect, Risk};
use crate::log_rules::LogRules;
use crate::mask::{self, Changed};
use crate::obligations::{Obligations, Redact, Redaction};
use crate::policy::Policy;

/// What was asked, as the log names it.
pub(crate) const PATH: &str = "mcp/authz/decision";
/// The name under which the policies stand in `bundles`.
pub(crate) const BUNDLE: &str = "keepgate";
/// How long `drop` and `mask` may take.
pub(crate) const LIMIT: Duration = Duration::from_millis(250);
/// What an event costs beside its input's text, in bytes; an estimate for whoever bounds a queue.
const BESIDE: usize = 2_048;

/// A decision just made, with what the rules saw.
#[derive(Debug, Clone)]
pub struct Judged {
    pub(crate) id: Box<str>,
    pub(crate) at: SystemTime,
    pub(crate) input: Value,
    pub(crate) decision: Decision,
    pub(crate) trace: Option<TraceIds>,
    /// Bytes of the texts callers and servers sent.
    pub(crate) text: usize,
}

impl Judged {
    /// What it takes in memory, in bytes; an estimate.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.saturating_mul(2).saturating_add(BESIDE)
    }
}

/// The span a decision belongs to (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceIds {
    /// The trace.
    pub trace: [u8; 16],
    /// The span.
    pub span: [u8; 8],
}

/// Which gateway decided.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Differs at each start of a gateway.
    pub id: String,
    /// The gateway's version.
    pub version: String,
    /// The machine's name.
    pub node: String,
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// One JSON object, without a line's end.
    Event(String),
    /// The same, but without input and result: the policies could not say what to leave out.
    Bare(String),
    /// The policies want no event of it.
    Dropped,
}

/// Turns decisions into events. Belongs to one thread.
#[derive(Debug)]
pub struct EventWriter {
    policy: Arc<Policy>,
    labels: Value,
    /// Whether events hold what callers and servers said.
    content: bool,
    rules: Option<Kept>,
    count: u64,
}

/// The rules on the log, of one revision of the policies.
#[derive(Debug)]
struct Kept {
    revision: Arc<str>,
    /// The evaluator, or why there is none. No rules, no evaluator.
    asked: Result<Option<LogRules>, String>,
}

impl EventWriter {
    /// A writer that masks as `policy` says; `content` lets events hold arguments and what servers answered, secrets
    /// masked.
    #[must_use]
    pub fn new(policy: Arc<Policy>, labels: &Labels, content: bool) -> Self {
        let mut named = Members::default();
        named.text("id", &labels.id);
        named.text("version", &labels.version);
        named.text("node", &labels.node);
        Self {
            policy,
            labels: named.done(),
            content,
            rules: None,
            count: 0,
        }
    }

    /// The event of a decision.
    pub fn write(&mut self, judged: &Judged) -> Written {
        self.count += 1;
        let mut event = event(judged, &self.labels, self.count);
        let mut changed = Changed::default();
        let answered = self.ask(&event);
        let kept = answered.and_then(|(dropped, answer)| {
            if dropped {
                return Ok(false);
            }
            mask::apply(&mut event, &answer, &mut changed).map_err(|error| error.to_string())?;
            Ok(true)
        });
        match kept {
            Ok(false) => Written::Dropped,
            Ok(true) => {
                if self.content {
                    mask::mask_secrets(&mut event, &mut changed);
                } else {
                    mask::erase_content(&mut event, &mut changed);
                }
                note(&mut event, "erased", &changed.erased);
                note(&mut event, "masked", &changed.masked);
                Written::Event(text(&event))
            }
            Err(why) => {
                tracing::error!(%why, "the rules on the decision log failed: the event has neither input nor result");
                if let Ok(members) = event.as_object_mut() {
                    members.remove(&Value::from("input"));
                    members.remove(&Value::from("result"));
                    members.insert(Value::from("mask_failed"), Value::Bool(true));
                }
                Written::Bare(text(&event))
            }
        }
    }

    /// Whether the rules want no such event, and what they say is to be masked.
    fn ask(&mut self, event: &Value) -> Result<(bool, Value), String> {
        let revision = self.policy.revision();
        if self
            .rules
            .as_ref()
            .is_none_or(|rules| rules.revision != revision)
        {
            let asked = self.policy.log_rules();
            self.rules = Some(Kept { revision, asked });
        }
        let evaluator = match self.rules.as_mut().map(|rules| &mut rules.asked) {
            Some(Ok(Some(evaluator))) => evaluator,
            Some(Ok(None)) | None => return Ok((false, Value::Undefined)),
            Some(Err(why)) => return Err(why.clone()),
        };
        let asked = evaluator.ask(event, Instant::now() + LIMIT);
        if asked.is_err() {
            // One that failed inside is not used again.
            self.rules = None;
        }
        asked
    }
}

/// The event as the log's rules see it.
fn event(judged: &Judged, labels: &Value, count: u64) -> Value {
    let decision = &judged.decision;
    let mut event = Members::default();
    event.value("labels", labels.clone());
    event.text("decision_id", &judged.id);
    if let Some(ids) = judged.trace {
        event.text("trace_id", &hexadecimal(&ids.trace));
        event.text("span_id", &hexadecimal(&ids.span));
    }
    let mut bundle = Members::default();
    bundle.text("revision", &decision.revision);
    let mut bundles = Members::default();
    bundles.value(BUNDLE, bundle.done());
    event.value("bundles", bundles.done());
    event.text("path", PATH);
    event.value("input", judged.input.clone());
    event.value("result", result(decision));
    let from = ["request", "ip"].map(str::to_owned);
    if let Some(Value::String(ip)) = mask::at(&judged.input, &from) {
        event.text("requested_by", ip);
    }
    event.text("timestamp", &timestamp(judged.at));
    let mut metrics = Members::default();
    let nanoseconds = u64::try_from(decision.elapsed.as_nanos()).unwrap_or(u64::MAX);
    metrics.value("timer_rego_query_eval_ns", Value::from(nanoseconds));
    event.value("metrics", metrics.done());
    event.value("req_id", Value::from(count));
    event.done()
}

/// A decision as `result`.
pub(crate) fn result(decision: &Decision) -> Value {
    let mut result = Members::default();
    result.text("effect", effect(&decision.effect));
    let reason = |reason: &crate::decision::Reason| {
        let mut members = Members::default();
        members.text("code", &reason.code);
        members.text("message", &reason.message);
        members.done()
    };
    result.value(
        "reasons",
        Value::from(decision.reasons.iter().map(reason).collect::<Vec<_>>()),
    );
    if !decision.scopes.is_empty() {
        result.value("scopes", texts(&decision.scopes));
    }
    if let Effect::Approve(approval) = &decision.effect {
        let mut members = Members::default();
        members.value("approvers", texts(&approval.approvers));
        members.value("quorum", Value::from(u64::from(approval.quorum)));
        if let Some(ttl) = approval.ttl {
            members.value("ttl_s", Value::from(ttl.as_secs()));
        }
        let duty = |duty: &ApprovalDuty| {
            let mut members = Members::default();
            members.value("approvers", texts(&duty.approvers));
            members.value("quorum", Value::from(u64::from(duty.quorum)));
            if duty.step > 1 {
                members.value("step", Value::from(u64::from(duty.step)));
            }
            members.done()
        };
        // One is what stands above already.
        if approval.duties.len() > 1 {
            let duties: Vec<_> = approval.duties.iter().map(duty).collect();
            members.value("duties", Value::from(duties));
        }
        if approval.uses > 1 {
            members.value("uses", Value::from(u64::from(approval.uses)));
        }
        if let Some(valid_for) = approval.valid_for {
            members.value("valid_for_s", Value::from(valid_for.as_secs()));
        }
        if approval.is_session_bound {
            members.value("session_bound", Value::Bool(true));
        }
        if !approval.windows.is_empty() {
            let windows = approval.windows.iter();
            let windows = windows.map(|window| Value::from(window.to_string()));
            members.value("windows", Value::from(windows.collect::<Vec<_>>()));
        }
        if approval.risk == Risk::Low {
            members.text("risk", approval.risk.as_str());
        }
        result.value("approval", members.done());
    }
    if let Some(obligations) = &decision.obligations {
        result.value("obligations", obliged(obligations));
    }
    result.done()
}

/// The word of an effect.
pub(crate) fn effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Allow => "allow",
        Effect::Approve(_) => "approve",
        Effect::Deny => "deny",
    }
}

/// Obligations, each under its name, as authors write them.
fn obliged(obligations: &Obligations) -> Value {
    let mut members = Members::default();
    let mut list = |name: &str, entries: Vec<Value>| {
        if !entries.is_empty() {
            members.value(name, Value::from(entries));
        }
    };
    let redactions = obligations.redact.iter().map(redaction);
    list("redact", redactions.collect());
    let caps = obligations.max_records.iter().map(|cap| {
        let mut entry = Members::default();
        entry.value("max", Value::from(cap.max));
        if let Some(place) = &cap.result {
            entry.text("result", place);
        }
        entry.done()
    });
    list("max_records", caps.collect());
    let limits = obligations.limits.iter().map(|limit| {
        let mut entry = Members::default();
        entry.text("name", &limit.name);
        entry.text("rate", &format!("{}/{}s", limit.count, limit.per.as_secs()));
        entry.text("by", limit_by(limit.by));
        entry.done()
    });
    list("limit", limits.collect());
    let arguments = obligations.set_arguments.iter().map(|(path, value)| {
        let mut entry = Members::default();
        entry.text("path", path);
        entry.value("value", crate::json::parse(value).unwrap_or(Value::Null));
        entry.done()
    });
    list("set_arguments", arguments.collect());
    let labels = obligations.labels.iter();
    list(
        "labels",
        labels.map(|label| Value::from(&**label)).collect(),
    );
    let targets = obligations.notify.iter();
    list(
        "notify",
        targets.map(|target| Value::from(&**target)).collect(),
    );
    if let Some(most) = obligations.max_bytes {
        members.value("max_bytes", Value::from(most));
    }
    if let Some(timeout) = obligations.timeout {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        members.value("timeout_ms", Value::from(milliseconds));
    }
    if obligations.audit != crate::obligations::AuditLevel::default() {
        members.text("audit", obligations.audit.word());
    }
    if let Some(reference) = &obligations.credential {
        members.text("credential", reference);
    }
    members.done()
}

fn redaction(redaction: &Redaction) -> Value {
    let mut entry = Members::default();
    match &redaction.what {
        Redact::Result(pointer) => entry.text("result", pointer),
        Redact::Field(field) => entry.text("field", field),
        Redact::Pattern(class) => entry.text("pattern", class.word()),
    }
    if redaction.remove {
        entry.value("remove", Value::Bool(true));
    }
    entry.done()
}

fn limit_by(by: crate::obligations::LimitBy) -> &'static str {
    use crate::obligations::LimitBy;
    match by {
        LimitBy::Session => "session",
        LimitBy::Caller => "caller",
        LimitBy::Server => "server",
        LimitBy::Tool => "tool",
    }
}

/// RFC 3339 with nanoseconds, UTC.
fn timestamp(at: SystemTime) -> String {
    let at = time::OffsetDateTime::from(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.nanosecond()
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(texts: &[Arc<str>]) -> Value {
    Value::from(
        texts
            .iter()
            .map(|text| Value::String(Arc::clone(text)))
            .collect::<Vec<_>>(),
    )
}

/// Adds a list of pointers to an event, if there are any.
fn note(event: &mut Value, name: &str, pointers: &[String]) {
    if pointers.is_empty() {
        return;
    }
    if let Ok(members) = event.as_object_mut() {
        let pointers = pointers.iter().map(|text| Value::from(text.as_str()));
        members.insert(Value::from(name), Value::from(pointers.collect::<Vec<_>>()));
    }
}

/// An event's JSON. What cannot be written would be a bug; then at least nothing slips out.
fn text(event: &Value) -> String {
    serde_json::to_string(event).unwrap_or_default()
}

/// An object under construction.
#[derive(Default)]
pub(crate) struct Members(Object);

impl Members {
    pub(crate) fn value(&mut self, name: &str, value: Value) {
        self.0.insert(Value::from(name), value);
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.value(name, Value::from(text));
    }

    pub(crate) fn done(self) -> Value {
        self.0.into_value()
    }
}

#[cfg(test)]
mod tests;
