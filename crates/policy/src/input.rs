//! The input document, `keepgate/v1`: what every rule sees.
//!
//! The published description is `policies/schema/input.schema.json`; a golden test holds the two together. Fields may
//! be added under `keepgate/v1`, never renamed or removed. What outlives a call is shared by reference count; keys
//! and constants live once per thread, so that two threads judging never write to the same cache line for them.

use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;

use crate::facts::{
    CompletionKind, Counts, Facts, HistoryFacts, Phase, RequestFacts, ResourceFacts, ResponseFacts,
    SessionFacts, Subject,
};
use crate::json::{self, JsonError};
use crate::wanted::Wanted;

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
    flow,
    history,
    hour,
    id,
    initiated_by,
    ip,
    is_error,
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
    uri,
    value,
    version,
    weekday,
);

impl Words {
    /// Builds the document of one call, as far as it is `wanted`.
    pub(crate) fn input(&self, facts: &Facts<'_>, wanted: Wanted) -> Result<Value, InputError> {
        let mut input = self.shared(facts, wanted)?;
        self.subject(&mut input, &facts.subject)?;
        if let Some(response) = facts.response.filter(|_| facts.phase == Phase::Response) {
            put(&mut input, &self.response, self.response(&response)?);
        }
        if !wanted.arguments {
            return Ok(done(input));
        }
        match (facts.arguments, &facts.subject) {
            (Some(text), _) => {
                let arguments =
                    json::parse(text).map_err(|source| InputError::Json("arguments", source))?;
                put(&mut input, &self.arguments, arguments);
            }
            // A tool or prompt called without arguments is called with none.
            (None, Subject::Tool { .. } | Subject::Prompt { .. })
                if matches!(facts.phase, Phase::Call | Phase::Response) =>
            {
                put(&mut input, &self.arguments, self.empty.clone());
            }
            (None, _) => {}
        }
        Ok(done(input))
    }

    /// Builds the whole document of one call, for the decision log.
    pub(crate) fn whole(facts: &Facts<'_>) -> Result<Value, InputError> {
        thread_local! {
            static WORDS: Words = Words::new();
        }
        WORDS.with(|words| words.input(facts, Wanted::ALL))
    }

    /// Builds what the items of one list have in common, to be finished by [`Self::item`].
    pub(crate) fn list(&self, facts: &Facts<'_>, wanted: Wanted) -> Result<Object, InputError> {
        let facts = Facts {
            phase: Phase::List,
            ..*facts
        };
        self.shared(&facts, wanted)
    }

    /// Builds the document of one item of a list.
    pub(crate) fn item(&self, shared: &Object, item: &Subject<'_>) -> Result<Value, InputError> {
        let mut input = shared.clone();
        self.subject(&mut input, item)?;
        Ok(done(input))
    }

    fn shared(&self, facts: &Facts<'_>, wanted: Wanted) -> Result<Object, InputError> {
        let phase = match facts.phase {
            Phase::Connect => &self.connect,
            Phase::List => &self.list,
            Phase::Call => &self.call,
            Phase::Response => &self.response,
            Phase::ServerRequest => &self.server_request,
        };
        let mut input = Object::new();
        put(&mut input, &self.version, self.keepgate_v1.clone());
        put(&mut input, &self.phase, phase.clone());
        put(&mut input, &self.caller, facts.caller.value.clone());
        put(&mut input, &self.server, facts.server.value.clone());
        if let Some(definition) = &facts.server.definition {
            put(&mut input, &self.definition, definition.clone());
        }
        if let Some(client) = facts.client {
            put(&mut input, &self.client, client.0.clone());
        }
        if let Some(session) = facts.session.filter(|_| wanted.session) {
            put(&mut input, &self.session, self.session(&session));
        }
        put(&mut input, &self.tenant, Value::from(facts.tenant));
        put(&mut input, &self.method, Value::from(facts.method));
        if wanted.request {
            put(&mut input, &self.request, self.request(&facts.request)?);
        }
        if wanted.history {
            put(&mut input, &self.history, self.history(facts.history));
        }
        if wanted.flow {
            put(&mut input, &self.flow, self.flow(facts.labels));
        }
        if wanted.approval {
            // Nobody can be asked yet, so nobody has agreed.
            let mut approval = Object::new();
            put(&mut approval, &self.present, Value::Bool(false));
            put(&mut input, &self.approval, done(approval));
        }
        Ok(input)
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
        let when = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(facts.unix_nanos))
            .map_err(|_| InputError::Time(facts.unix_nanos))?;
        let text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
            when.year(),
            u8::from(when.month()),
            when.day(),
            when.hour(),
            when.minute(),
            when.second()
        );
        let weekday = self
            .weekdays
            .get(usize::from(when.weekday().number_days_from_monday()));
        let mut request = Object::new();
        put(&mut request, &self.time, Value::from(text));
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
            put(&mut request, &self.ip, Value::from(ip.to_string()));
        }
        put(&mut request, &self.size, Value::from(facts.size));
        Ok(done(request))
    }

    fn subject(&self, input: &mut Object, subject: &Subject<'_>) -> Result<(), InputError> {
        match subject {
            Subject::None => {}
            Subject::Tool { name, definition } => {
                let tool = match definition {
                    Some(definition) if &*definition.name == *name => definition.value.clone(),
                    Some(_) => return Err(InputError::Definition((*name).to_owned())),
                    None => self.unknown_tool(name),
                };
                put(input, &self.tool, tool);
            }
            Subject::Prompt { name } => put(input, &self.prompt, self.named(name)),
            Subject::Resource(resource) => put(input, &self.resource, self.resource(resource)),
            Subject::Completion {
                of,
                argument,
                value,
            } => {
                match of {
                    CompletionKind::Prompt(name) => put(input, &self.prompt, self.named(name)),
                    CompletionKind::Resource(resource) => {
                        put(input, &self.resource, self.resource(resource))
                    }
                }
                let mut about = Object::new();
                put(&mut about, &self.name, Value::from(*argument));
                put(&mut about, &self.value, Value::from(*value));
                let mut completion = Object::new();
                put(&mut completion, &self.argument, done(about));
                put(input, &self.completion, done(completion));
            }
            Subject::Task { id } => {
                let mut task = Object::new();
                put(&mut task, &self.id, Value::from(*id));
                put(input, &self.task, done(task));
            }
            Subject::ServerRequest { params } => {
                if let Some(text) = params {
                    let params =
                        json::parse(text).map_err(|source| InputError::Json("params", source))?;
                    put(input, &self.params, params);
                }
            }
        }
        Ok(())
    }

    /// A tool whose definition no list has shown yet: nothing about it is known but its name.
    fn unknown_tool(&self, name: &str) -> Value {
        let mut tool = Object::new();
        put(&mut tool, &self.name, Value::from(name));
        put(&mut tool, &self.annotations, self.empty.clone());
        put(&mut tool, &self.annotations_trusted, Value::Bool(false));
        put(&mut tool, &self.pinned, Value::Bool(false));
        put(&mut tool, &self.labels, self.empty.clone());
        done(tool)
    }

    fn named(&self, name: &str) -> Value {
        let mut object = Object::new();
        put(&mut object, &self.name, Value::from(name));
        done(object)
    }

    fn resource(&self, facts: &ResourceFacts<'_>) -> Value {
        let mut resource = Object::new();
        put(&mut resource, &self.uri, Value::from(facts.uri));
        put(&mut resource, &self.scheme, Value::from(facts.scheme));
        if let Some(authority) = facts.authority {
            put(&mut resource, &self.authority, Value::from(authority));
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
