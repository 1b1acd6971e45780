//! The input document, `keepgate/v1`: what every rule sees.
//!
//! The published description is `policies/schema/input.schema.json`; a golden test holds the two together. Fields may
//! be added under `keepgate/v1`, never renamed or removed. What outlives a call is shared by reference count; keys
//! and constants live once per thread, so that two threads judging never write to the same cache line for them.

use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;
use time::OffsetDateTime;

use crate::facts::{
    ApprovalFacts, CompletionKind, Counts, Facts, HistoryFacts, Phase, RequestFacts, ResourceFacts,
    ResponseFacts, SessionFacts, Subject,
};
use crate::json::{self, JsonError};

mod document;
mod part;

pub(crate) use document::Document;
pub(crate) use part::{Part, Wanted};

/// Version of the document.
pub(crate) const VERSION: &str = "keepgate/v1";

/// Why there is no input.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Raw JSON handed over was not what it was promised to be.
    #[error("failed to read `{0}`")]
    Json(&'static str, #[source] JsonError),
    /// A tool's definition belongs to another tool.
    #[error("definition of another tool than `{0}`")]
    Definition(String),
    /// A time no calendar has.
    #[error("time out of range: `{0}`")]
    Time(u64),
}

/// The approval, in the phases that are about the call itself: whoever may see a tool may do so before anybody has agreed.
fn approval_of<'a>(facts: &'a Facts<'_>) -> Option<&'a ApprovalFacts<'a>> {
    match facts.phase {
        Phase::Call | Phase::Response => facts.approval.as_ref(),
        Phase::Connect | Phase::List | Phase::ServerRequest => None,
    }
}

/// The time at these nanoseconds of Unix time.
fn moment(unix_nanos: u64) -> Result<OffsetDateTime, InputError> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_nanos))
        .map_err(|_| InputError::Time(unix_nanos))
}

fn rfc3339(when: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        when.year(),
        u8::from(when.month()),
        when.day(),
        when.hour(),
        when.minute(),
        when.second()
    )
}

macro_rules! words {
    ($($name:ident),* $(,)?) => {
        /// Keys and constants of the document, made once per thread.
        pub(crate) struct Words {
            $($name: Value,)*
            keepgate_v1: Value,
            empty: Value,
            weekdays: [Value; 7],
        }

        impl Words {
            pub(crate) fn new() -> Self {
                Self {
                    $($name: Value::from(stringify!($name)),)*
                    keepgate_v1: Value::from(VERSION),
                    empty: Value::new_object(),
                    weekdays: ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
                        .map(Value::from),
                }
            }
        }
    };
}

words!(
    address_class,
    age_s,
    annotations,
    annotations_trusted,
    approval,
    argument,
    arguments,
    authority,
    bytes_out,
    call,
    caller,
    calls,
    calls_by_tool,
    client,
    completion,
    connect,
    day,
    definition,
    denials,
    edited,
    flow,
    grant,
    groups,
    history,
    host,
    hour,
    id,
    initiated_by,
    ip,
    is_error,
    kind,
    labels,
    list,
    message,
    method,
    minute,
    name,
    params,
    path,
    phase,
    pinned,
    port,
    present,
    prompt,
    records,
    records_out,
    request,
    resource,
    response,
    revision,
    scheme,
    server,
    server_request,
    session,
    size,
    task,
    template,
    tenant,
    time,
    time_ns,
    tool,
    transport,
    undeclared,
    until,
    until_ns,
    uri,
    uses_left,
    value,
    version,
    weekday,
);

impl Words {
    /// Builds one part of the document of a call about `subject`; `None` where it has no such part.
    fn part(
        &self,
        facts: &Facts<'_>,
        subject: &Subject<'_>,
        part: Part,
    ) -> Result<Option<Value>, InputError> {
        Ok(match part {
            Part::Version => Some(self.keepgate_v1.clone()),
            Part::Phase => Some(self.phase_of(facts.phase).clone()),
            Part::Caller => Some(facts.caller.value.clone()),
            Part::Server => Some(facts.server.value.clone()),
            Part::Definition => facts.server.definition.clone(),
            Part::Client => facts.client.map(|client| client.0.clone()),
            Part::Session => facts.session.as_ref().map(|session| self.session(session)),
            Part::Tenant => Some(Value::from(facts.tenant)),
            Part::Method => Some(Value::from(facts.method)),
            Part::Request => Some(self.request(&facts.request)?),
            // A list without a session is the same after whatever was asked before.
            Part::History | Part::Flow | Part::Approval | Part::Grant
                if facts.phase == Phase::List && facts.session.is_none() =>
            {
                None
            }
            Part::History => Some(self.history(facts.history)),
            Part::Flow => Some(self.flow(facts.labels)),
            Part::Approval => Some(self.approval(approval_of(facts))),
            Part::Grant => approval_of(facts)
                .map(|approval| self.grant(approval))
                .transpose()?,
            Part::Arguments => self.arguments(facts, subject)?,
            Part::Response => match facts.response {
                Some(response) if facts.phase == Phase::Response => Some(self.response(&response)?),
                Some(_) | None => None,
            },
            Part::Tool => self.tool(subject)?,
            Part::Prompt | Part::Resource | Part::Completion | Part::Task | Part::Params => {
                self.subject(subject, part)?
            }
        })
    }

    /// Builds the whole document of one call, for the decision log.
    pub(crate) fn whole(facts: &Facts<'_>) -> Result<Value, InputError> {
        thread_local! {
            static WORDS: Words = Words::new();
        }
        WORDS.with(|words| Document::new(words, facts).value(Wanted::ALL))
    }

    fn key(&self, part: Part) -> &Value {
        match part {
            Part::Approval => &self.approval,
            Part::Arguments => &self.arguments,
            Part::Caller => &self.caller,
            Part::Client => &self.client,
            Part::Completion => &self.completion,
            Part::Definition => &self.definition,
            Part::Flow => &self.flow,
            Part::Grant => &self.grant,
            Part::History => &self.history,
            Part::Method => &self.method,
            Part::Params => &self.params,
            Part::Phase => &self.phase,
            Part::Prompt => &self.prompt,
            Part::Request => &self.request,
            Part::Resource => &self.resource,
            Part::Response => &self.response,
            Part::Server => &self.server,
            Part::Session => &self.session,
            Part::Task => &self.task,
            Part::Tenant => &self.tenant,
            Part::Tool => &self.tool,
            Part::Version => &self.version,
        }
    }

    fn phase_of(&self, phase: Phase) -> &Value {
        match phase {
            Phase::Connect => &self.connect,
            Phase::List => &self.list,
            Phase::Call => &self.call,
            Phase::Response => &self.response,
            Phase::ServerRequest => &self.server_request,
        }
    }

    fn approval(&self, facts: Option<&ApprovalFacts<'_>>) -> Value {
        let mut approval = Object::new();
        put(&mut approval, &self.present, Value::Bool(facts.is_some()));
        if let Some(facts) = facts {
            let groups = facts.groups.iter();
            let groups = groups.map(|group| Value::String(Arc::clone(group)));
            let groups = Value::from(groups.collect::<Vec<_>>());
            put(&mut approval, &self.groups, groups);
            put(&mut approval, &self.age_s, Value::from(facts.age_s));
            put(&mut approval, &self.edited, Value::Bool(facts.is_edited));
        }
        done(approval)
    }

    fn grant(&self, facts: &ApprovalFacts<'_>) -> Result<Value, InputError> {
        let until_ns = facts.until_s.saturating_mul(1_000_000_000);
        let mut grant = Object::new();
        put(&mut grant, &self.kind, Value::from(facts.kind));
        let uses_left = Value::from(u64::from(facts.uses_left));
        put(&mut grant, &self.uses_left, uses_left);
        put(
            &mut grant,
            &self.until,
            Value::from(rfc3339(moment(until_ns)?)),
        );
        put(&mut grant, &self.until_ns, Value::from(until_ns));
        Ok(done(grant))
    }

    /// The parts that one kind of subject has.
    fn subject(&self, subject: &Subject<'_>, part: Part) -> Result<Option<Value>, InputError> {
        let text = |name: &Value, text: &str| {
            let mut object = Object::new();
            put(&mut object, name, Value::from(text));
            Some(done(object))
        };
        Ok(match (subject, part) {
            (
                Subject::Prompt { name }
                | Subject::Completion {
                    of: CompletionKind::Prompt(name),
                    ..
                },
                Part::Prompt,
            ) => text(&self.name, name),
            (
                Subject::Resource(resource)
                | Subject::Completion {
                    of: CompletionKind::Resource(resource),
                    ..
                },
                Part::Resource,
            ) => Some(self.resource(resource)),
            (
                Subject::Completion {
                    argument, value, ..
                },
                Part::Completion,
            ) => Some(self.completion(argument, value)),
            (Subject::Task { id }, Part::Task) => text(&self.id, id),
            (Subject::ServerRequest { params: Some(text) }, Part::Params) => {
                Some(json::parse(text).map_err(|source| InputError::Json("params", source))?)
            }
            (_, _) => None,
        })
    }

    fn arguments(
        &self,
        facts: &Facts<'_>,
        subject: &Subject<'_>,
    ) -> Result<Option<Value>, InputError> {
        match (facts.phase, facts.arguments, subject) {
            (Phase::Connect | Phase::List, ..) => Ok(None),
            (_, Some(text), _) => json::parse(text)
                .map(Some)
                .map_err(|source| InputError::Json("arguments", source)),
            // A tool or prompt called without arguments is called with none.
            (
                Phase::Call | Phase::Response,
                None,
                Subject::Tool { .. } | Subject::Prompt { .. },
            ) => Ok(Some(self.empty.clone())),
            (_, None, _) => Ok(None),
        }
    }

    fn tool(&self, subject: &Subject<'_>) -> Result<Option<Value>, InputError> {
        let Subject::Tool { name, definition } = subject else {
            return Ok(None);
        };
        match definition {
            Some(definition) if &*definition.name == *name => Ok(Some(definition.value.clone())),
            Some(_) => Err(InputError::Definition((*name).to_owned())),
            None => Ok(Some(self.unknown_tool(name))),
        }
    }

    fn completion(&self, argument: &str, value: &str) -> Value {
        let mut about = Object::new();
        put(&mut about, &self.name, Value::from(argument));
        put(&mut about, &self.value, Value::from(value));
        let mut completion = Object::new();
        put(&mut completion, &self.argument, done(about));
        done(completion)
    }

    fn history(&self, facts: &HistoryFacts<'_>) -> Value {
        let mut history = self.counts(&facts.total);
        for (key, counts) in [
            (&self.minute, &facts.minute),
            (&self.hour, &facts.hour),
            (&self.day, &facts.day),
        ] {
            put(&mut history, key, done(self.counts(counts)));
        }
        let mut by_tool = Object::new();
        for (tool, calls) in facts.calls_by_tool {
            by_tool.insert(Value::String(Arc::clone(tool)), Value::from(*calls));
        }
        put(&mut history, &self.calls_by_tool, done(by_tool));
        done(history)
    }

    fn counts(&self, facts: &Counts) -> Object {
        let mut counts = Object::new();
        put(&mut counts, &self.calls, Value::from(facts.calls));
        put(&mut counts, &self.denials, Value::from(facts.denials));
        put(&mut counts, &self.bytes_out, Value::from(facts.bytes_out));
        put(
            &mut counts,
            &self.records_out,
            Value::from(facts.records_out),
        );
        counts
    }

    fn flow(&self, labels: &[Arc<str>]) -> Value {
        let labels = labels.iter().map(|label| Value::String(Arc::clone(label)));
        let mut flow = Object::new();
        put(
            &mut flow,
            &self.labels,
            Value::from(labels.collect::<Vec<_>>()),
        );
        done(flow)
    }

    fn response(&self, facts: &ResponseFacts<'_>) -> Result<Value, InputError> {
        let mut response = Object::new();
        put(&mut response, &self.is_error, Value::Bool(facts.is_error));
        put(&mut response, &self.size, Value::from(facts.size));
        put(&mut response, &self.records, Value::from(facts.records));
        if let Some(text) = facts.json {
            let message =
                json::parse(text).map_err(|source| InputError::Json("response", source))?;
            put(&mut response, &self.message, message);
        }
        Ok(done(response))
    }

    fn session(&self, facts: &SessionFacts<'_>) -> Value {
        let mut session = Object::new();
        if let Some(id) = facts.id {
            put(&mut session, &self.id, Value::from(id));
        }
        if let Some(age_s) = facts.age_s {
            put(&mut session, &self.age_s, Value::from(age_s));
        }
        put(&mut session, &self.revision, Value::from(facts.revision));
        put(&mut session, &self.transport, Value::from(facts.transport));
        if let Some(subject) = facts.initiated_by {
            put(&mut session, &self.initiated_by, Value::from(subject));
        }
        done(session)
    }

    fn request(&self, facts: &RequestFacts) -> Result<Value, InputError> {
        let when = moment(facts.unix_nanos)?;
        let weekday = self
            .weekdays
            .get(usize::from(when.weekday().number_days_from_monday()));
        let mut request = Object::new();
        put(&mut request, &self.time, Value::from(rfc3339(when)));
        put(&mut request, &self.time_ns, Value::from(facts.unix_nanos));
        put(
            &mut request,
            &self.weekday,
            weekday.cloned().ok_or(InputError::Time(facts.unix_nanos))?,
        );
        put(
            &mut request,
            &self.hour,
            Value::from(u64::from(when.hour())),
        );
        if let Some(ip) = facts.ip {
            // A listener for both families has IPv4 peers in the form of IPv6: rules compare one form.
            put(
                &mut request,
                &self.ip,
                Value::from(ip.to_canonical().to_string()),
            );
        }
        put(&mut request, &self.size, Value::from(facts.size));
        Ok(done(request))
    }

    /// A tool whose definition no list has shown yet: nothing about it is known but its name.
    fn unknown_tool(&self, name: &str) -> Value {
        let mut tool = Object::new();
        put(&mut tool, &self.name, Value::from(name));
        put(&mut tool, &self.annotations, self.empty.clone());
        put(&mut tool, &self.annotations_trusted, Value::Bool(false));
        put(&mut tool, &self.pinned, Value::Bool(false));
        put(&mut tool, &self.labels, self.empty.clone());
        put(&mut tool, &self.undeclared, Value::from(Vec::new()));
        done(tool)
    }

    fn resource(&self, facts: &ResourceFacts<'_>) -> Value {
        let mut resource = Object::new();
        put(&mut resource, &self.uri, Value::from(facts.uri));
        put(&mut resource, &self.scheme, Value::from(facts.scheme));
        if let Some(authority) = facts.authority {
            put(&mut resource, &self.authority, Value::from(authority));
        }
        if let Some((host, class)) = facts.host {
            put(&mut resource, &self.host, Value::from(host));
            put(&mut resource, &self.address_class, Value::from(class));
        }
        if let Some(port) = facts.port {
            put(&mut resource, &self.port, Value::from(u64::from(port)));
        }
        let path = facts
            .path
            .iter()
            .map(|segment| Value::from(*segment))
            .collect::<Vec<_>>();
        put(&mut resource, &self.path, Value::from(path));
        put(&mut resource, &self.template, Value::Bool(facts.template));
        done(resource)
    }
}

fn put(object: &mut Object, key: &Value, value: Value) {
    object.insert(key.clone(), value);
}

fn done(object: Object) -> Value {
    Value::Object(Arc::new(object))
}

#[cfg(test)]
mod tests;
