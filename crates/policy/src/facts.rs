//! What is known about a call, in the shape the rules see it.
//!
//! Facts that outlive a call (caller, client, server, tool) are converted once and then shared by reference count;
//! per call only the rest is built and the arguments are read.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;

use crate::event::TraceIds;
use crate::json;
use crate::load::native::at;

/// Everything known about one call.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What the decision is for.
    pub phase: Phase,
    /// Who calls.
    pub caller: &'a CallerFacts,
    /// The server called, or calling.
    pub server: &'a ServerFacts,
    /// What the client says about itself. Self-asserted: no ground for an allowance.
    pub client: Option<&'a ClientFacts>,
    /// The session or, for stateless revisions, what stands for it.
    pub session: Option<SessionFacts<'a>>,
    /// The tenant; empty when there are none.
    pub tenant: &'a str,
    /// The JSON-RPC method.
    pub method: &'a str,
    /// What the method is about. Ignored by [`crate::Policy::visible`], which asks about its items.
    pub subject: Subject<'a>,
    /// `params.arguments` as it came and will be forwarded: valid JSON without duplicate keys.
    pub arguments: Option<&'a str>,
    /// What the server answered; for [`Phase::Response`] only.
    pub response: Option<ResponseFacts<'a>>,
    /// What the session did before; [`HistoryFacts::NONE`] for nothing. Rules see it where [`crate::Policy::reads_history`].
    pub history: &'a HistoryFacts<'a>,
    /// The labels the session carries so far.
    pub labels: &'a [Arc<str>],
    /// The approval the call is about to use, or has used; none before somebody has agreed.
    pub approval: Option<ApprovalFacts<'a>>,
    /// The request that carried the call.
    pub request: RequestFacts,
    /// The id the decision is recorded under; empty when it is not.
    pub id: &'a str,
}

/// An approval of the very call that is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct ApprovalFacts<'a> {
    /// Groups of the operators who agreed, sorted, without repetition.
    pub groups: &'a [Arc<str>],
    /// Seconds since the last of them agreed.
    pub age_s: u64,
    /// Whether an operator has changed the arguments.
    pub is_edited: bool,
    /// Kind of its grant.
    pub kind: &'a str,
    /// Uses that are left, this one among them.
    pub uses_left: u32,
    /// End of its use, in seconds of Unix time.
    pub until_s: u64,
}

/// What a decision is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// May the caller open a session with this server, or speak with it at all?
    Connect,
    /// May the caller see this item of a list? There are no arguments.
    List,
    /// May the caller make this call?
    Call,
    /// May the caller have what the server answered?
    Response,
    /// May the server send this request to the caller's client (sampling, elicitation, roots)?
    ServerRequest,
}

/// What a server answered.
#[derive(Debug, Clone, Copy)]
pub struct ResponseFacts<'a> {
    /// Whether it is an error, of the protocol or of the tool.
    pub is_error: bool,
    /// Size of the message in bytes.
    pub size: u64,
    /// Records in it: items of the lists in its result.
    pub records: u64,
    /// The `result` object, or the `error` object, as it came: valid JSON without duplicate keys.
    pub json: Option<&'a str>,
}

/// What a session did before the call that is judged.
#[derive(Debug, Clone, Copy)]
pub struct HistoryFacts<'a> {
    /// Since it began.
    pub total: Counts,
    /// In the last minute.
    pub minute: Counts,
    /// In the last hour.
    pub hour: Counts,
    /// In the last day.
    pub day: Counts,
    /// Calls since it began, by the tool's name.
    pub calls_by_tool: &'a [(Arc<str>, u64)],
}

impl HistoryFacts<'static> {
    /// Nothing yet.
    pub const NONE: &'static Self = &Self {
        total: Counts::NONE,
        minute: Counts::NONE,
        hour: Counts::NONE,
        day: Counts::NONE,
        calls_by_tool: &[],
    };
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were let through.
    pub calls: u64,
    /// Calls that policy refused.
    pub denials: u64,
    /// Bytes of the results released.
    pub bytes_out: u64,
    /// Records in the results released.
    pub records_out: u64,
}

impl Counts {
    /// Nothing.
    pub const NONE: Self = Self {
        calls: 0,
        denials: 0,
        bytes_out: 0,
        records_out: 0,
    };
}

/// What a method is about.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    /// Nothing beyond the method itself.
    None,
    /// A tool: `tools/call` and the items of `tools/list`.
    Tool {
        /// The name as the server knows it.
        name: &'a str,
        /// Its definition, when a list has shown it.
        definition: Option<&'a ToolFacts>,
    },
    /// A prompt: `prompts/get` and the items of `prompts/list`.
    Prompt {
        /// The name as the server knows it.
        name: &'a str,
    },
    /// A resource or template: read, subscribe, listen, and the items of the two lists.
    Resource(ResourceFacts<'a>),
    /// An argument to be completed. The rules see the prompt or resource it belongs to as well, so that a rule
    /// against reading it is also one against having its values listed.
    Completion {
        /// What the argument belongs to.
        of: CompletionKind<'a>,
        /// Name of the argument.
        argument: &'a str,
        /// What the user typed so far.
        value: &'a str,
    },
    /// A task of the caller's own.
    Task {
        /// The id.
        id: &'a str,
    },
    /// A request of the server to the client; the method says which.
    ServerRequest {
        /// `params` as it came: valid JSON without duplicate keys.
        params: Option<&'a str>,
    },
}

/// An item of a list: a tool, prompt, resource or template.
pub type Item<'a> = Subject<'a>;

/// A resource or a template of resources, by its address.
#[derive(Debug, Clone, Copy)]
pub struct ResourceFacts<'a> {
    /// Normalised: percent-decoding and dot segments resolved.
    pub uri: &'a str,
    /// Lower case, without the colon.
    pub scheme: &'a str,
    /// Host and port, when the scheme has them.
    pub authority: Option<&'a str>,
    /// The host alone, in its one spelling, and the class of its address; see `keepgate_mcp::host`.
    pub host: Option<(&'a str, &'a str)>,
    /// The port, also where it is the scheme's own.
    pub port: Option<u16>,
    /// Decoded segments of the path, without empty ones.
    pub path: &'a [&'a str],
    /// Whether `uri` is a template (RFC 6570) rather than an address.
    pub template: bool,
}

/// What a completed argument belongs to.
#[derive(Debug, Clone, Copy)]
pub enum CompletionKind<'a> {
    /// A prompt, by name.
    Prompt(&'a str),
    /// A resource or template.
    Resource(ResourceFacts<'a>),
}

/// The session a call belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SessionFacts<'a> {
    /// The gateway's id; `None` for stateless revisions.
    pub id: Option<&'a str>,
    /// Seconds since it began; `None` for stateless revisions.
    pub age_s: Option<u64>,
    /// The protocol revision, for instance `2025-11-25`.
    pub revision: &'a str,
    /// `http`, `sse` or `stdio`.
    pub transport: &'a str,
    /// Who began it: the subject of its first caller; `None` for stateless revisions.
    pub initiated_by: Option<&'a str>,
}

/// The request that carried the call.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts {
    /// When it came: nanoseconds since 1970-01-01T00:00:00Z.
    pub unix_nanos: u64,
    /// Where it came from; `None` for a local pipe.
    pub ip: Option<IpAddr>,
    /// Size of its body in bytes.
    pub size: u64,
    /// The span it is recorded under, for the decision log; no rule sees it.
    pub trace: Option<TraceIds>,
}

/// A fact could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// Raw JSON inside a fact was not JSON.
    #[error("failed to read the JSON of fact `{0}`")]
    Json(&'static str),
}

/// What a [`CallerFacts`] is made from. No token and no secret belongs here.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallerFields<'a> {
    /// Subject: who it is, within the issuer.
    pub subject: &'a str,
    /// Issuer of the identity; empty when there is none.
    pub issuer: &'a str,
    /// `anonymous`, `machine` or `user`.
    pub kind: &'a str,
    /// Roles.
    pub roles: &'a [&'a str],
    /// Groups.
    pub groups: &'a [&'a str],
    /// Scopes of the credential.
    pub scopes: &'a [&'a str],
    /// Verified claims as a JSON object; `None` for none.
    pub claims: Option<&'a str>,
    /// Subject of the agent that acts for the caller, when it is someone else.
    pub actor: Option<&'a str>,
    /// Authentication context class, when known.
    pub acr: Option<&'a str>,
    /// When the caller authenticated: seconds since 1970, when known.
    pub auth_time: Option<u64>,
}

/// A caller, ready to be shared by all its calls.
#[derive(Debug, Clone)]
pub struct CallerFacts {
    pub(crate) value: Value,
    /// Whether it has an access token, and can ask for one with more scopes.
    pub(crate) asks_for_scopes: bool,
}

impl CallerFacts {
    /// Converts a caller once. What is not given of actor, context and time is taken from the claims of those names:
    /// `act.sub` (RFC 8693 §4.1), `acr` and `auth_time` (OpenID Connect Core §2).
    ///
    /// # Errors
    /// [`FactsError::Json`] when `claims` is not a JSON object.
    pub fn new(fields: &CallerFields<'_>) -> Result<Self, FactsError> {
        let claims = object("claims", fields.claims)?;
        let claimed = |path: &[&str]| {
            let path: Vec<Value> = path.iter().map(|step| Value::from(*step)).collect();
            at(&claims, &path).cloned()
        };
        let text = |given: Option<&str>, path: &[&str]| match (given, claimed(path)) {
            (Some(given), _) => Some(Value::from(given)),
            (None, Some(claim @ Value::String(_))) => Some(claim),
            (None, Some(_) | None) => None,
        };
        let mut caller = Record::new();
        caller.text("sub", fields.subject);
        caller.text("iss", fields.issuer);
        caller.text("kind", fields.kind);
        caller.texts("roles", fields.roles);
        caller.texts("groups", fields.groups);
        caller.texts("scopes", fields.scopes);
        if let Some(actor) = text(fields.actor, &["act", "sub"]) {
            let mut acting = Record::new();
            acting.value("sub", actor);
            caller.value("actor", acting.done());
        }
        if let Some(acr) = text(fields.acr, &["acr"]) {
            caller.value("acr", acr);
        }
        let claimed_time = claimed(&["auth_time"]).and_then(|time| time.as_u64().ok());
        if let Some(time) = fields.auth_time.or(claimed_time) {
            caller.value("auth_time", Value::from(time));
        }
        caller.value("claims", claims);
        Ok(Self {
            value: caller.done(),
            asks_for_scopes: !fields.issuer.is_empty(),
        })
    }
}

/// What a [`ServerFacts`] is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerFields<'a> {
    /// Name in the configuration.
    pub name: &'a str,
    /// Owner; empty when not set.
    pub owner: &'a str,
    /// Environment, for instance `production`; empty when not set.
    pub environment: &'a str,
    /// Trust the operator puts in it; empty when not set.
    pub trust: &'a str,
    /// Labels the operator gave it.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its definition, the JSON of the `mcp_server` document; `None` when it has none.
    pub definition: Option<&'a str>,
}

/// A server, ready to be shared by all calls to it.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    pub(crate) name: Box<str>,
    pub(crate) value: Value,
    pub(crate) definition: Option<Value>,
}

impl ServerFacts {
    /// Converts a server once. A definition that is no JSON object is as if it were empty: nothing it could allow is there.
    #[must_use]
    pub fn new(fields: &ServerFields<'_>) -> Self {
        let mut server = Record::new();
        server.text("name", fields.name);
        server.text("owner", fields.owner);
        server.text("environment", fields.environment);
        server.text("trust", fields.trust);
        server.labels(fields.labels);
        let definition = fields
            .definition
            .map(|text| object("definition", Some(text)).unwrap_or_else(|_| Value::new_object()));
        Self {
            name: fields.name.into(),
            value: server.done(),
            definition,
        }
    }
}

/// What a [`ClientFacts`] is made from. All of it is the client's own word.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientFields<'a> {
    /// OAuth client id, when the credential names one.
    pub id: Option<&'a str>,
    /// `clientInfo.name`.
    pub name: &'a str,
    /// `clientInfo.version`.
    pub version: &'a str,
}

/// A client, ready to be shared by all its calls.
#[derive(Debug, Clone)]
pub struct ClientFacts(pub(crate) Value);

impl ClientFacts {
    /// Converts a client once.
    #[must_use]
    pub fn new(fields: &ClientFields<'_>) -> Self {
        let mut client = Record::new();
        if let Some(id) = fields.id {
            client.text("id", id);
        }
        client.text("name", fields.name);
        client.text("version", fields.version);
        Self(client.done())
    }

    /// Name and version, as the client gave them.
    #[must_use]
    pub fn name_and_version(&self) -> (String, String) {
        let text = |member: &str| {
            let members = self.0.as_object().ok();
            let text = members.and_then(|members| members.get(&Value::from(member)));
            let text = text.and_then(|text| text.as_string().ok());
            text.map_or_else(String::new, |text| text.to_string())
        };
        (text("name"), text("version"))
    }
}

/// What a [`ToolFacts`] is made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToolFields<'a> {
    /// The name as the server knows it.
    pub name: &'a str,
    /// `annotations` as the server sent it: a JSON object. The server's own word.
    pub annotations: Option<&'a str>,
    /// Whether the operator trusts this server's annotations.
    pub annotations_trusted: bool,
    /// Whether somebody accepted the definition as it is.
    pub pinned: bool,
    /// Digest of the definition, when taken.
    pub fingerprint: Option<&'a str>,
    /// Labels the operator gave it.
    pub labels: &'a [(&'a str, &'a str)],
    /// Names of the arguments its `inputSchema` declares, at the top; `None` when the schema is not known.
    pub parameters: Option<&'a [&'a str]>,
}

/// A tool's definition, ready to be shared by all calls to it.
#[derive(Debug, Clone)]
pub struct ToolFacts {
    pub(crate) name: Box<str>,
    pub(crate) value: Value,
}

impl ToolFacts {
    /// Converts a tool once.
    ///
    /// # Errors
    /// [`FactsError::Json`] when `annotations` is not a JSON object.
    pub fn new(fields: &ToolFields<'_>) -> Result<Self, FactsError> {
        let mut tool = Record::new();
        tool.text("name", fields.name);
        tool.value("annotations", object("annotations", fields.annotations)?);
        tool.value(
            "annotations_trusted",
            Value::Bool(fields.annotations_trusted),
        );
        tool.value("pinned", Value::Bool(fields.pinned));
        if let Some(fingerprint) = fields.fingerprint {
            tool.text("fingerprint", fingerprint);
        }
        tool.labels(fields.labels);
        if let Some(parameters) = fields.parameters {
            tool.texts("parameters", parameters);
        }
        tool.texts("undeclared", &[]);
        Ok(Self {
            name: fields.name.into(),
            value: tool.done(),
        })
    }
}

impl ToolFacts {
    /// The same tool, called with arguments that its schema does not declare.
    #[must_use]
    pub fn with_undeclared(&self, names: &[Cow<'_, str>]) -> Self {
        let mut tool = match &self.value {
            Value::Object(tool) => Record(Object::clone(tool)),
            // It is made as an object.
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Set(_)
            | Value::Undefined => Record::new(),
        };
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        tool.texts("undeclared", &names);
        Self {
            name: self.name.clone(),
            value: tool.done(),
        }
    }
}

/// An object under construction, off the path of a call.
struct Record(Object);

impl Record {
    fn new() -> Self {
        Self(Object::new())
    }

    fn value(&mut self, key: &str, value: Value) {
        self.0.insert(Value::from(key), value);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.value(key, Value::from(text));
    }

    fn texts(&mut self, key: &str, texts: &[&str]) {
        self.value(
            key,
            Value::from(
                texts
                    .iter()
                    .map(|text| Value::from(*text))
                    .collect::<Vec<_>>(),
            ),
        );
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        let mut record = Self::new();
        for (name, label) in labels {
            record.text(name, label);
        }
        self.value("labels", record.done());
    }

    fn done(self) -> Value {
        self.0.into_value()
    }
}

/// Reads a fact that came as JSON and must be an object; absent is empty.
fn object(fact: &'static str, text: Option<&str>) -> Result<Value, FactsError> {
    let Some(text) = text else {
        return Ok(Value::new_object());
    };
    match json::parse(text) {
        Ok(value) if value.as_object().is_ok() => Ok(value),
        Ok(_) | Err(_) => Err(FactsError::Json(fact)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_what_its_claims_say() {
        let caller = |claims| {
            let fields = CallerFields {
                claims: Some(claims),
                ..CallerFields::default()
            };
            let caller = CallerFacts::new(&fields).unwrap().value;
            ["actor", "acr", "auth_time"].map(|name| caller[name].to_string())
        };
        assert_eq!(
            caller(r#"{"act": {"sub": "agent-7"}, "acr": "mfa", "auth_time": 1795170000}"#),
            [r#"{"sub":"agent-7"}"#, r#""mfa""#, "1795170000"]
        );
        // Of another shape they say nothing.
        let nothing = caller("{}");
        assert_eq!(
            caller(r#"{"act": "agent-7", "acr": 1, "auth_time": "now"}"#),
            nothing
        );
    }
}
