//! A policy as a picture: callers down, calls across, one sign where they meet.
//!
//! A small description (YAML or JSON) names callers, servers and calls; [`render`] judges each pair and draws the
//! table, which a golden file holds and a reviewer reads in a diff. ✔ allowed, ✘ refused, ? asks for approval, ! the
//! policy failed. In the second table: ✔ shown in the list, ✘ hidden.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::decision::{Effect, Reason};
use crate::facts::{
    CallerFacts, CallerFields, Facts, FactsError, HistoryFacts, Phase, RequestFacts, ResourceFacts,
    ServerFacts, ServerFields, Subject, ToolFacts, ToolFields,
};
use crate::policy::Policy;

/// A Friday morning: rules about time see the same one each time.
const WHEN: u64 = 1_795_170_600_000_000_000;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// A file could not be read.
    #[error("failed to read `{0}`")]
    Read(PathBuf, #[source] std::io::Error),
    /// The description is not YAML or JSON of the known shape.
    #[error("failed to understand the matrix: {0}")]
    Shape(String),
    /// A call names a server that is not described.
    #[error("no such server: `{0}`")]
    Server(String),
    /// A call is about none or several of `tool`, `prompt`, `resource` and `request`.
    #[error("name one of tool, prompt, resource and request in call: `{0}`")]
    Subject(usize),
    /// Something of the description could not become a fact.
    #[error("failed to build the facts")]
    Facts(#[from] FactsError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    callers: BTreeMap<String, Caller>,
    servers: BTreeMap<String, Server>,
    calls: Vec<Call>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Caller {
    sub: String,
    iss: String,
    kind: String,
    roles: Vec<String>,
    groups: Vec<String>,
    scopes: Vec<String>,
    claims: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Server {
    owner: String,
    environment: String,
    trust: String,
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    server: String,
    #[serde(default)]
    label: String,
    tool: Option<String>,
    prompt: Option<String>,
    resource: Option<String>,
    request: Option<String>,
    arguments: Option<serde_json::Value>,
    annotations: Option<serde_json::Value>,
    #[serde(default)]
    annotations_trusted: bool,
    params: Option<serde_json::Value>,
}

/// Draws the matrix of a policy.
///
/// # Errors
/// [`MatrixError`] when the description cannot be understood.
pub fn render(policy: &Policy, description: &str) -> Result<String, MatrixError> {
    let description = parse(description)?;
    let servers = servers(&description);
    let mut calls = String::from("calls\n");
    let mut lists = String::from("lists\n");
    let width = description
        .callers
        .keys()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(6);
    let mut text = String::new();
    for (index, call) in description.calls.iter().enumerate() {
        line(
            &mut text,
            &format!("{:>3}  {}", index + 1, title(call, index)?),
        );
    }
    let numbers: String = (1..=description.calls.len())
        .map(|number| format!("{number:>4}"))
        .collect();
    for table in [&mut calls, &mut lists] {
        line(table, &format!("  {:width$}{numbers}", "caller"));
    }
    for (name, caller) in &description.callers {
        let caller = caller_facts(caller)?;
        calls.push_str(&format!("  {name:width$}"));
        lists.push_str(&format!("  {name:width$}"));
        for (index, call) in description.calls.iter().enumerate() {
            let server = servers
                .get(&call.server)
                .ok_or_else(|| MatrixError::Server(call.server.clone()))?;
            let (called, listed) = Asked::new(call, index)?.signs(policy, &caller, server);
            calls.push_str(&format!("{called:>4}"));
            lists.push_str(&format!("{listed:>4}"));
        }
        calls.push('\n');
        lists.push('\n');
    }
    Ok(format!("{text}\n{calls}\n{lists}"))
}

/// A matrix beside its golden picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// The description.
    pub description: PathBuf,
    /// The golden file: the description's name with `.txt`.
    pub golden: PathBuf,
    /// What the policy draws now.
    pub drawn: String,
    /// What the golden file holds; `None` when there is none.
    pub expected: Option<String>,
}

impl Comparison {
    /// Whether both pictures are the same.
    #[must_use]
    pub fn matches(&self) -> bool {
        self.expected.as_ref() == Some(&self.drawn)
    }
}

/// The descriptions directly in `directories`: `matrix.yaml`, `matrix.yml`, `matrix.json`.
#[must_use]
pub fn find(directories: &[PathBuf]) -> Vec<PathBuf> {
    let names = ["matrix.yaml", "matrix.yml", "matrix.json"];
    let all = directories
        .iter()
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)));
    all.filter(|path| path.is_file()).collect()
}

/// Draws the description at `path` and reads the golden file beside it.
///
/// # Errors
/// [`MatrixError`] when a file cannot be read or understood. A missing golden file is none.
pub fn compare(policy: &Policy, path: &Path) -> Result<Comparison, MatrixError> {
    let description =
        std::fs::read_to_string(path).map_err(|error| MatrixError::Read(path.to_owned(), error))?;
    let golden = path.with_extension("txt");
    let expected = match std::fs::read_to_string(&golden) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(MatrixError::Read(golden, error)),
    };
    Ok(Comparison {
        description: path.to_owned(),
        golden,
        drawn: render(policy, &description)?,
        expected,
    })
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn parse(description: &str) -> Result<Description, MatrixError> {
    let shape = |error: String| MatrixError::Shape(error);
    let value =
        regorus::Value::from_yaml_str(description).map_err(|error| shape(error.to_string()))?;
    let json = value
        .to_json_str()
        .map_err(|error| shape(error.to_string()))?;
    serde_json::from_str(&json).map_err(|error| shape(error.to_string()))
}

fn servers(description: &Description) -> BTreeMap<String, ServerFacts> {
    let facts = |(name, server): (&String, &Server)| {
        let labels: Vec<(&str, &str)> = server
            .labels
            .iter()
            .map(|(key, label)| (&**key, &**label))
            .collect();
        let fields = ServerFields {
            name,
            owner: &server.owner,
            environment: &server.environment,
            trust: &server.trust,
            labels: &labels,
            definition: None,
        };
        (name.clone(), ServerFacts::new(&fields))
    };
    description.servers.iter().map(facts).collect()
}

fn caller_facts(caller: &Caller) -> Result<CallerFacts, FactsError> {
    fn texts(texts: &[String]) -> Vec<&str> {
        texts.iter().map(String::as_str).collect()
    }
    let claims = caller.claims.as_ref().map(ToString::to_string);
    CallerFacts::new(&CallerFields {
        subject: &caller.sub,
        issuer: &caller.iss,
        kind: &caller.kind,
        roles: &texts(&caller.roles),
        groups: &texts(&caller.groups),
        scopes: &texts(&caller.scopes),
        claims: claims.as_deref(),
        ..CallerFields::default()
    })
}

fn title(call: &Call, index: usize) -> Result<String, MatrixError> {
    let mut title = match (&call.tool, &call.prompt, &call.resource, &call.request) {
        (Some(tool), None, None, None) => format!("{} tool {tool}", call.server),
        (None, Some(prompt), None, None) => format!("{} prompt {prompt}", call.server),
        (None, None, Some(resource), None) => format!("{} resource {resource}", call.server),
        (None, None, None, Some(request)) => format!("{} asks {request}", call.server),
        (_, _, _, _) => return Err(MatrixError::Subject(index + 1)),
    };
    if let Some(arguments) = &call.arguments {
        title.push_str(&format!(" {arguments}"));
    }
    if let Some(annotations) = &call.annotations {
        title.push_str(&format!(" annotated {annotations}"));
    }
    if !call.label.is_empty() {
        title.push_str(&format!(" ({})", call.label));
    }
    Ok(title)
}

/// A call of the description, with the texts its facts borrow from.
struct Asked<'a> {
    call: &'a Call,
    tool: Option<ToolFacts>,
    arguments: Option<String>,
    params: Option<String>,
    path: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn new(call: &'a Call, index: usize) -> Result<Self, MatrixError> {
        title(call, index)?;
        let annotations = call.annotations.as_ref().map(ToString::to_string);
        let tool = match &call.tool {
            Some(name) => Some(ToolFacts::new(&ToolFields {
                name,
                annotations: annotations.as_deref(),
                annotations_trusted: call.annotations_trusted,
                ..ToolFields::default()
            })?),
            None => None,
        };
        let path = call
            .resource
            .as_deref()
            .and_then(|uri| uri.split_once("://"))
            .map_or("", |(_, path)| path);
        Ok(Self {
            call,
            tool,
            arguments: call.arguments.as_ref().map(ToString::to_string),
            params: call.params.as_ref().map(ToString::to_string),
            path: path
                .split('/')
                .filter(|segment| !segment.is_empty())
                .collect(),
        })
    }

    fn signs(&self, policy: &Policy, caller: &CallerFacts, server: &ServerFacts) -> (char, char) {
        let call = self.call;
        let (phase, method, list) = match (&call.tool, &call.prompt, &call.request) {
            (Some(_), _, _) => (Phase::Call, "tools/call", "tools/list"),
            (_, Some(_), _) => (Phase::Call, "prompts/get", "prompts/list"),
            (_, _, Some(method)) => (Phase::ServerRequest, method.as_str(), ""),
            (None, None, None) => (Phase::Call, "resources/read", "resources/list"),
        };
        let subject = self.subject();
        let facts = Facts {
            phase,
            caller,
            server,
            client: None,
            session: None,
            tenant: "",
            method,
            subject,
            arguments: self.arguments.as_deref(),
            response: None,
            history: HistoryFacts::NONE,
            labels: &[],
            approval: None,
            id: "",
            request: RequestFacts {
                unix_nanos: WHEN,
                ip: None,
                size: 0,
                trace: None,
            },
        };
        let decision = policy.judge(&facts);
        let failed = decision.reasons.iter().any(is_failure);
        let called = match decision.effect {
            Effect::Allow => '✔',
            Effect::Approve(_) => '?',
            Effect::Deny if failed => '!',
            Effect::Deny => '✘',
        };
        if list.is_empty() {
            return (called, '-');
        }
        let visible = policy.visible(
            &Facts {
                method: list,
                ..facts
            },
            &[subject],
        );
        let listed = match (visible.failure, visible.shown.first()) {
            (Some(_), _) => '!',
            (None, Some(true)) => '✔',
            (None, Some(false) | None) => '✘',
        };
        (called, listed)
    }

    fn subject(&self) -> Subject<'_> {
        let call = self.call;
        if let Some(name) = &call.tool {
            return Subject::Tool {
                name,
                definition: self.tool.as_ref(),
            };
        }
        if let Some(name) = &call.prompt {
            return Subject::Prompt { name };
        }
        let Some(uri) = &call.resource else {
            return Subject::ServerRequest {
                params: self.params.as_deref(),
            };
        };
        let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
        Subject::Resource(ResourceFacts {
            uri,
            scheme,
            authority: None,
            host: None,
            port: None,
            path: &self.path,
            template: uri.contains('{'),
        })
    }
}

/// A refusal that says more about the policy than about the call.
fn is_failure(reason: &Reason) -> bool {
    let failures = [
        Reason::POLICY_UNDEFINED,
        Reason::POLICY_ERROR,
        Reason::POLICY_TIMEOUT,
        Reason::POLICY_PANIC,
        Reason::POLICY_INVALID_RESULT,
        Reason::OBLIGATION_UNSUPPORTED,
    ];
    failures.contains(&&*reason.code)
}

#[cfg(test)]
mod tests;
