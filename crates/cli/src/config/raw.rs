//! The configuration as it is written: every key, its form and its default. What the values mean together is decided
//! in `resolve.rs`.
//!
//! This file defines the format; `docs/configuration.md` of this crate explains it key by key.

pub(crate) mod approvals;
mod auth;
pub(crate) mod credentials;
pub(crate) mod egress;
mod limits;
pub(crate) mod policies;
pub(crate) mod sandbox;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use keepgate_audit::Durability;
use keepgate_gateway::settings::{
    HttpTransport, Instructions, Timeouts as GatewayTimeouts, Trust, UndeclaredArguments,
    Validation,
};

pub(crate) use self::auth::{Auth, Issuer};
pub(crate) use self::limits::{Limits, ServerLimits};
pub(crate) use self::tls::{ServerTls, Tls, UpstreamTls};
use super::LogFormat;
use super::decisions::{RawDecisions, RawShadow, RawUpload};
use super::decode::{At, Decode, Fields, OneOrMany, Text, choice, written, wrong};
use super::document::Node;
use super::fault::{Fault, Faults};
use super::telemetry::Telemetry;
use super::tenants::Tenant;

/// The whole file.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) version: Option<At<u64>>,
    pub(crate) listen: OneOrMany<At<String>>,
    pub(crate) public_url: Option<At<String>>,
    pub(crate) tls: Option<At<Tls>>,
    pub(crate) hosts: Vec<At<String>>,
    pub(crate) origins: Vec<At<String>>,
    pub(crate) trusted_proxies: Vec<At<String>>,
    pub(crate) egress: Option<At<egress::Egress>>,
    pub(crate) admin: Admin,
    pub(crate) auth: Auth,
    pub(crate) state: State,
    pub(crate) policies: Vec<policies::Policies>,
    pub(crate) shadow: Option<RawShadow>,
    pub(crate) decisions: RawDecisions,
    pub(crate) status: Option<RawUpload>,
    pub(crate) approvals: approvals::Approvals,
    pub(crate) audit: Audit,
    pub(crate) limits: Limits,
    pub(crate) log: Log,
    pub(crate) telemetry: Telemetry,
    pub(crate) credentials: credentials::Credentials,
    pub(crate) servers: BTreeMap<String, At<Server>>,
    pub(crate) tenants: BTreeMap<String, At<Tenant>>,
    pub(crate) definitions: Option<At<String>>,
}

impl Decode for Raw {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["pins"]);
        let raw = Self {
            version: fields.required("version", "write `version: 1`"),
            listen: fields.or("listen", OneOrMany(vec![standard("listen", "127.0.0.1:8080")])),
            public_url: fields.optional("public_url"),
            tls: fields.optional("tls"),
            hosts: fields.or("hosts", Vec::new()),
            origins: fields.or("origins", Vec::new()),
            trusted_proxies: fields.or("trusted_proxies", Vec::new()),
            egress: fields.optional("egress"),
            admin: fields.section("admin")?,
            auth: fields.section("auth")?,
            state: fields.section("state")?,
            policies: fields
                .required("policies", "name the directories of your policies: `policies: [./policies]`")
                .unwrap_or_default(),
            shadow: fields.optional("shadow"),
            decisions: fields.section("decisions")?,
            status: fields.optional("status"),
            approvals: fields.section("approvals")?,
            audit: fields.section("audit")?,
            limits: fields.section("limits")?,
            log: fields.section("log")?,
            telemetry: fields.section("telemetry")?,
            credentials: fields.section("credentials")?,
            servers: fields
                .required("servers", "name at least one server: `servers: { crm: { url: https://crm.example/mcp } }`")
                .unwrap_or_default(),
            tenants: fields.or("tenants", BTreeMap::new()),
            definitions: fields.optional("definitions"),
        };
        for key in ["listen", "policies", "servers"] {
            fields.refuse_empty(key);
        }
        fields.finish();
        Some(raw)
    }
}

/// `admin`: the operators' listener.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) listen: At<String>,
    pub(crate) public_url: Option<At<String>>,
    pub(crate) tls: Option<At<Tls>>,
    pub(crate) hosts: Vec<At<String>>,
}

impl Decode for Admin {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["auth"]);
        let admin = Self {
            listen: fields.or("listen", standard("admin.listen", "127.0.0.1:9080")),
            public_url: fields.optional("public_url"),
            tls: fields.optional("tls"),
            hosts: fields.or("hosts", Vec::new()),
        };
        fields.finish();
        Some(admin)
    }
}

/// `state`: what must outlive a restart.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) dir: At<String>,
}

impl Decode for State {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["counters"]);
        let state = Self {
            store: fields.or("store", Store::Sqlite),
            dir: fields.or("dir", standard("state.dir", "./keepgate-state")),
        };
        fields.finish();
        Some(state)
    }
}

/// `state.store`: the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// A file in the state directory.
    Sqlite,
}

impl Decode for Store {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let text = written(node).unwrap_or_default();
        if text == "sqlite" {
            return Some(Self::Sqlite);
        }
        faults.push(if text.starts_with("postgres") {
            // Not shown: such an address may hold a password.
            let said = "expected sqlite, found the address of a PostgreSQL";
            Fault::new(node.origin.clone(), path, said)
                .hint("PostgreSQL is not in this version: one gateway on one machine, with sqlite")
        } else {
            wrong(node, path, "sqlite")
        });
        None
    }
}

/// `audit`: the signed record of every call.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) durability: Durability,
    pub(crate) arguments: Arguments,
}

impl Decode for Audit {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["retention", "sinks"]);
        let audit = Self {
            durability: fields.or("durability", Durability::Written),
            arguments: fields.section("arguments")?,
        };
        fields.finish();
        Some(audit)
    }
}

impl Decode for Durability {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(
            node,
            path,
            faults,
            &[("written", Self::Written), ("synced", Self::Synced)],
            &[],
        )
    }
}

/// `audit.arguments`: whose arguments stand in the record as they were.
#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) clear: Vec<At<String>>,
}

impl Decode for Arguments {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let arguments = Self {
            clear: fields.or("clear", Vec::new()),
        };
        fields.finish();
        Some(arguments)
    }
}

/// `log`: what is written to standard error.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: At<String>,
}

impl Decode for Log {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let log = Self {
            format: fields.or("format", LogFormat::Text),
            level: fields.or("level", standard("log.level", "info")),
        };
        fields.finish();
        Some(log)
    }
}

impl Decode for LogFormat {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(
            node,
            path,
            faults,
            &[("text", Self::Text), ("json", Self::Json)],
            &[],
        )
    }
}

/// `servers.<name>`: one server behind the gateway.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) reached: Option<Reached>,
    pub(crate) owner: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) trust: Trust,
    pub(crate) instructions: Option<Instructions>,
    pub(crate) labels: Vec<String>,
    pub(crate) timeouts: Timeouts,
    pub(crate) idle: Option<Duration>,
    pub(crate) credentials: Vec<At<credentials::Credential>>,
    pub(crate) limits: ServerLimits,
    pub(crate) plaintext: Option<Plaintext>,
    pub(crate) arguments: UndeclaredArguments,
    pub(crate) validation: Validation,
    pub(crate) listen_sse: bool,
}

/// `plaintext`: a secret may be sent over http to another machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plaintext {
    /// The network is trusted.
    Allowed,
}

impl Decode for Plaintext {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(node, path, faults, &[("allowed", Self::Allowed)], &[])
    }
}

/// The way to a server: the forms an entry can have.
#[derive(Debug)]
pub(crate) enum Reached {
    /// `url`, or `sse`.
    Url {
        transport: HttpTransport,
        url: At<String>,
        tls: Box<UpstreamTls>,
        egress: Option<Box<At<egress::Egress>>>,
        query: BTreeMap<String, At<String>>,
        headers: BTreeMap<String, At<String>>,
    },
    /// `command`.
    Command {
        command: At<Vec<Text>>,
        env: BTreeMap<String, At<Text>>,
        directory: Option<At<String>>,
        shared: bool,
        sandbox: Option<Box<At<sandbox::Sandbox>>>,
        user: Option<At<String>>,
        variables: Vec<At<String>>,
    },
}

impl Decode for Server {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        fields.later(&["pins"]);
        let server = Self {
            reached: reached(&mut fields, node, path),
            owner: fields.optional("owner"),
            environment: fields.optional("environment"),
            trust: fields.or("trust", Trust::default()),
            instructions: fields.optional("instructions"),
            labels: fields.or("labels", Vec::new()),
            timeouts: fields.section("timeouts")?,
            idle: fields.optional("idle"),
            credentials: credentials::of_server(&mut fields, node, path),
            limits: fields.section("limits")?,
            plaintext: fields.optional("plaintext"),
            arguments: fields.or("arguments", UndeclaredArguments::default()),
            validation: fields.or("validation", Validation::default()),
            listen_sse: fields.or("listen_sse", false),
        };
        fields.finish();
        Some(server)
    }
}

impl Server {
    /// The URL of a server on the network.
    pub(crate) fn url(&self) -> Option<&At<String>> {
        match self.reached.as_ref()? {
            Reached::Url { url, .. } => Some(url),
            Reached::Command { .. } => None,
        }
    }
}

impl Decode for UndeclaredArguments {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(
            node,
            path,
            faults,
            &[
                ("drop", Self::Drop),
                ("refuse", Self::Refuse),
                ("pass", Self::Pass),
            ],
            &[],
        )
    }
}

impl Decode for Validation {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = [("names", Self::Names), ("full", Self::Full)];
        choice(node, path, faults, &words, &[])
    }
}

impl Decode for Trust {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        choice(node, path, faults, &Self::ALL, &[])
    }
}

impl Decode for Instructions {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = [("pass", Self::Pass), ("drop", Self::Drop)];
        choice(node, path, faults, &words, &[])
    }
}

/// Keys that go with `command` only.
const COMMAND_KEYS: [&str; 7] = [
    "env",
    "directory",
    "shared",
    "idle",
    "sandbox",
    "user",
    "variables",
];
/// Keys that go with `url` and `sse` only.
const URL_KEYS: [&str; 5] = ["tls", "egress", "plaintext", "query", "headers"];

/// Notes a fault for each of these keys that is there.
fn refuse_keys(fields: &mut Fields<'_>, keys: &[&str], form: &str, fault: impl Fn(&str) -> Fault) {
    for key in keys {
        if fields.has(key) {
            fields.fault(fault(&format!(
                "has `{key}`, which goes with `{form}` only"
            )));
        }
    }
}

/// Reads the keys that say how the server is reached, and sees to it that they are of one form.
fn reached(fields: &mut Fields<'_>, node: &Node, path: &str) -> Option<Reached> {
    let url: Option<At<String>> = fields.optional("url");
    let sse: Option<At<String>> = fields.optional("sse");
    let tls: Option<UpstreamTls> = fields.optional("tls");
    let egress: Option<At<egress::Egress>> = fields.optional("egress");
    let query: Option<BTreeMap<String, At<String>>> = fields.optional("query");
    let headers: Option<BTreeMap<String, At<String>>> = fields.optional("headers");
    let command: Option<At<Vec<Text>>> = fields.optional("command");
    let env: Option<BTreeMap<String, At<Text>>> = fields.optional("env");
    let directory: Option<At<String>> = fields.optional("directory");
    let shared: Option<bool> = fields.optional("shared");
    let sandbox: Option<At<sandbox::Sandbox>> = fields.optional("sandbox");
    let user: Option<At<String>> = fields.optional("user");
    let variables: Option<Vec<At<String>>> = fields.optional("variables");
    let fault = |message: &str| Fault::new(node.origin.clone(), path, message);
    let forms = ["url", "sse", "command"].into_iter();
    let forms: Vec<&str> = forms.filter(|form| fields.has(form)).collect();
    match forms.as_slice() {
        [] => {
            let hint = "write `url: https://..` for a server on the network, `sse: https://..` for one of 2024-11-05, `command: [..]` for a child process";
            fields.fault(fault("has neither `url`, `sse` nor `command`").hint(hint));
            return None;
        }
        ["command"] => refuse_keys(fields, &URL_KEYS, "url", fault),
        [_] => refuse_keys(fields, &COMMAND_KEYS, "command", fault),
        [one, other, ..] => {
            let fault = fault(&format!("has both `{one}` and `{other}`"));
            fields.fault(fault.hint("a server is reached in one way: remove one"));
            return None;
        }
    }
    let transport = match &sse {
        Some(_) => HttpTransport::Sse,
        None => HttpTransport::Streamable,
    };
    match (url.or(sse), command) {
        (Some(url), None) => Some(Reached::Url {
            transport,
            url,
            tls: Box::new(tls.unwrap_or_default()),
            egress: egress.map(Box::new),
            query: query.unwrap_or_default(),
            headers: headers.unwrap_or_default(),
        }),
        (None, Some(command)) => Some(Reached::Command {
            command,
            env: env.unwrap_or_default(),
            directory,
            shared: shared.unwrap_or(false),
            sandbox: sandbox.map(Box::new),
            user,
            variables: variables.unwrap_or_default(),
        }),
        // The one that is there was wrong and has been noted.
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// `servers.<name>.timeouts`: how long to wait for it.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
    pub(crate) idle: Duration,
}

impl Decode for Timeouts {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let defaults = GatewayTimeouts::default();
        let timeouts = Self {
            connect: fields.or("connect", defaults.connect),
            request: fields.or("request", defaults.request),
            idle: fields.or("idle", defaults.idle),
        };
        fields.finish();
        Some(timeouts)
    }
}

/// A default, as if it had been written down.
fn standard<T>(path: &str, value: impl Into<T>) -> At<T> {
    At {
        value: value.into(),
        origin: Default::default(),
        path: path.to_owned(),
    }
}
