//! What the gateway is told: valid values only, made by `cli` from the configuration file.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use keepgate_call::HttpTransport;
use keepgate_call::ServerName;
use keepgate_credential::Use;
use keepgate_net::{Egress, TlsFiles, is_loopback};
use keepgate_sandbox::Rules;
use keepgate_store::kill::{Age, CallEnd};

use crate::limit::{Breaker, Rate};

/// Everything the data plane is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers behind the gateway, by name.
    pub servers: BTreeMap<ServerName, Server>,
    /// The hosts (lower case, with or without port) that a `Host` header may name. Loopback names are always accepted
    /// on loopback listeners; see `edge/origin.rs`.
    pub hosts: Vec<String>,
    /// The path under which clients find the gateway, without a slash at its end; empty for the root.
    pub path: String,
    /// The origins (`scheme://host[:port]`, lower case) that an `Origin` header may name. Empty: none but loopback.
    pub origins: Vec<String>,
    /// What may be held and for how long.
    pub limits: Limits,
    /// Whose arguments stand in clear in audit records, as (server, tool).
    pub clear_arguments: Vec<(ServerName, String)>,
    /// The providers of credentials.
    pub credentials: keepgate_credential::Settings,
}

impl Settings {
    /// The references of each server's credentials, of those that have some.
    pub fn references(&self) -> BTreeMap<ServerName, Arc<[Arc<str>]>> {
        let servers = self.servers.iter();
        let servers = servers.filter(|(_, server)| !server.credentials.is_empty());
        servers
            .map(|(name, server)| {
                let used = server.credentials.iter();
                (name.clone(), used.map(|it| it.reference.text()).collect())
            })
            .collect()
    }

    /// The certificate each server is shown, of those that are shown one.
    pub fn identities(&self) -> impl Iterator<Item = (&ServerName, &TlsFiles)> {
        self.servers
            .iter()
            .filter_map(|(name, server)| match &server.upstream {
                Upstream::Http { way, .. } => Some((name, way.identity.as_ref()?)),
                Upstream::Child { .. } => None,
            })
    }

    /// The definition of each server, of those that have one, as JSON.
    pub fn definitions(&self) -> BTreeMap<String, Arc<str>> {
        let defined = |(name, server): (&ServerName, &Server)| {
            Some((name.to_string(), server.definition.clone()?))
        };
        self.servers.iter().filter_map(defined).collect()
    }
}

/// Bounds of the edge and of sessions. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request body.
    pub body: usize,
    /// The longest message of a server, in whatever form it comes.
    pub result: usize,
    /// How deep JSON may nest.
    pub depth: usize,
    /// How many calls may run at once; one more is refused, never queued.
    pub in_flight: NonZeroUsize,
    /// How many streams may be open at once; then new requests are refused until one ends.
    pub streams: NonZeroUsize,
    /// How long a request body may take to arrive.
    pub read_deadline: Duration,
    /// How long a session may rest before it ends.
    pub session_idle: Duration,
    /// How many sessions may exist.
    pub sessions: NonZeroUsize,
    /// How many sessions one caller may hold.
    pub sessions_per_caller: NonZeroUsize,
    /// Maximum number of processes of servers.
    pub processes: ProcessLimits,
    /// The silence after which a stream carries a keep-alive comment.
    pub keep_alive: Duration,
    /// How often calls may come.
    pub rate: Rates,
    /// How many calls may run at once.
    pub concurrency: ConcurrencyLimits,
    /// Longest lives of calls and streams.
    pub lives: Lives,
    /// When a server rests that does not answer.
    pub breaker: Option<Breaker>,
    /// When a session rests that policy refuses again and again.
    pub denial_breaker: Option<Breaker>,
}

/// Longest lives. Their ends are no failure of a server: breakers do not count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lives {
    /// Of a call, with the stream that answers it.
    pub call: Duration,
    /// Of a call of the stateful revisions after its client left: it goes on, and keeps its places.
    pub abandoned: Duration,
    /// Of a stream that only listens.
    pub stream: Duration,
}

impl Default for Lives {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            call: 60 * MINUTE,
            abandoned: 5 * MINUTE,
            stream: 24 * 60 * MINUTE,
        }
    }
}

impl Lives {
    /// The limit a call of this age has reached, by its key in the configuration.
    pub(crate) fn reached(&self, call: &keepgate_call::Call, age: Age) -> Option<CallEnd> {
        if call.listens() {
            let old = age.running >= self.stream;
            return old.then_some(CallEnd::Limit("limits.stream_life"));
        }
        let alone = age.alone.is_some_and(|alone| alone >= self.abandoned);
        let old = age.running >= self.call;
        match (alone, old) {
            (true, _) => Some(CallEnd::Limit("limits.abandoned_call_life")),
            (false, true) => Some(CallEnd::Limit("limits.call_life")),
            (false, false) => None,
        }
    }
}

/// How often calls may come. `None` is without limit.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    /// In one session.
    pub session: Option<Rate>,
    /// From one caller, in all its sessions.
    pub caller: Option<Rate>,
    /// From one caller, to open sessions.
    pub opening: Option<Rate>,
}

/// How many calls may run at once, each until the end of its stream. `None` is without limit.
#[derive(Debug, Clone, Default)]
pub struct ConcurrencyLimits {
    /// In one session.
    pub session: Option<NonZeroUsize>,
    /// From one caller, in all its sessions.
    pub caller: Option<NonZeroUsize>,
    /// Of these, with one server: what one server holds up must not lock a caller out of the others.
    pub caller_per_server: Option<NonZeroUsize>,
}

/// Maximum number of processes that are started for servers and not gone yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Of one server, whomever they serve.
    pub server: NonZeroUsize,
    /// Of one caller, at all servers.
    pub caller: NonZeroUsize,
}

impl Default for ProcessLimits {
    /// A server started by `npx` is three processes of the system and 160 MiB: 16 places are 2.5 GiB.
    fn default() -> Self {
        Self {
            server: NonZeroUsize::new(32).unwrap_or(NonZeroUsize::MIN),
            caller: NonZeroUsize::new(16).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

/// The limits of one server. `None` is without limit.
#[derive(Debug, Clone, Default)]
pub struct ServerLimits {
    /// How often it may be called by all callers together.
    pub rate: Option<Rate>,
    /// How many calls may run at once for all callers together.
    pub concurrency: Option<NonZeroUsize>,
    /// How often each caller may call a tool, by the tool's name.
    pub tools: BTreeMap<String, Rate>,
}

/// Memory of an idle process with a few servers, in bytes: code, policies, tables that are made once.
const IDLE: usize = 60 * 1024 * 1024;

impl Limits {
    /// Most memory the process takes, in bytes, with `memory` for what peers have it hold and `connections` of clients.
    /// `docs/operations.md` has the formula in words; child processes are extra.
    #[must_use]
    pub fn memory_bound(&self, memory: usize, connections: NonZeroUsize) -> usize {
        // A buffer of unannounced length is held twice for a moment as it grows.
        let held = memory.saturating_mul(2);
        // Clients' connections, and those to servers: one for each call and each stream.
        let count = [connections, self.in_flight, self.streams];
        let count = count
            .iter()
            .fold(0_usize, |sum, count| sum.saturating_add(count.get()));
        IDLE.saturating_add(held)
            .saturating_add(count.saturating_mul(keepgate_transport::http::BUFFER))
    }
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        const MINUTE: Duration = Duration::from_secs(60);
        let whole = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            body: MIB,
            result: 16 * MIB,
            depth: 64,
            in_flight: NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN),
            streams: NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN),
            read_deadline: Duration::from_secs(30),
            session_idle: Duration::from_secs(30 * 60),
            sessions: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            sessions_per_caller: NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN),
            processes: ProcessLimits::default(),
            keep_alive: Duration::from_secs(15),
            rate: Rates {
                session: Rate::new(whole(600), MINUTE, whole(600)),
                caller: Rate::new(whole(3_000), MINUTE, whole(3_000)),
                opening: Rate::new(whole(300), MINUTE, whole(300)),
            },
            concurrency: ConcurrencyLimits {
                session: NonZeroUsize::new(64),
                caller: NonZeroUsize::new(256),
                caller_per_server: NonZeroUsize::new(128),
            },
            lives: Lives::default(),
            breaker: Some(Breaker {
                failures: whole(5),
                open_for: Duration::from_secs(10),
            }),
            denial_breaker: Some(Breaker {
                failures: whole(50),
                open_for: MINUTE,
            }),
        }
    }
}

/// One server behind the gateway.
#[derive(Debug, Clone)]
pub struct Server {
    /// How it is reached.
    pub upstream: Upstream,
    /// Who answers for it; shown in the inventory and to policy.
    pub owner: Option<String>,
    /// Production, staging and the like; shown in the inventory and to policy.
    pub environment: Option<String>,
    /// The operator's trust in it.
    pub trust: Trust,
    /// Whether its `instructions` reach clients.
    pub instructions: Instructions,
    /// Free labels for policy.
    pub labels: Vec<String>,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// Time without a call or a stream after which a process of it ends; `None`: only when its place is needed.
    pub idle: Option<Duration>,
    /// What the server gets so that it lets the gateway in: all of it, each in a place of its own.
    pub credentials: Vec<Use>,
    /// How much may be asked of it.
    pub limits: ServerLimits,
    /// Its definition, as JSON, for policy; `None` when it has none.
    pub definition: Option<Arc<str>>,
    /// Treatment of arguments that a tool's schema does not declare.
    pub arguments: UndeclaredArguments,
    /// Whether its credentials may be sent where it can be read on the way.
    pub plaintext: bool,
    /// Extent to which arguments are validated against a tool's schema.
    pub validation: Validation,
    /// Whether clients may use HTTP+SSE, the transport of 2024-11-05, besides Streamable HTTP.
    pub listen_sse: bool,
}

/// Validation of arguments against a tool's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validation {
    /// Their names only; their values are the server's to validate.
    #[default]
    Names,
    /// Names and values. A tool whose schema cannot be evaluated whole cannot be called.
    Full,
}

/// Treatment of arguments that a tool's schema neither declares nor lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UndeclaredArguments {
    /// Dropped before policy sees the call; refused where the schema has `additionalProperties: false`.
    #[default]
    Drop,
    /// The call is refused.
    Refuse,
    /// Evaluated and sent like any other.
    Pass,
}

/// The operator's trust in a server; shown in the inventory and to policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// Written and run by the operator's own organization.
    FirstParty,
    /// Written by others, and reviewed.
    #[default]
    Vetted,
    /// Nobody has reviewed it.
    Untrusted,
}

impl Trust {
    /// All of them, with their words.
    pub const ALL: [(&'static str, Self); 3] = [
        ("first_party", Self::FirstParty),
        ("vetted", Self::Vetted),
        ("untrusted", Self::Untrusted),
    ];

    /// The word of the configuration, of policy input and of the inventory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstParty => "first_party",
            Self::Vetted => "vetted",
            Self::Untrusted => "untrusted",
        }
    }

    /// Whether instructions reach clients where the configuration does not say.
    pub fn instructions(self) -> Instructions {
        match self {
            Self::FirstParty | Self::Vetted => Instructions::Pass,
            Self::Untrusted => Instructions::Drop,
        }
    }
}

/// Treatment of the `instructions` in a server's answer to `initialize` or `server/discover`. Clients put them before
/// everything the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// They reach the client.
    Pass,
    /// They stay here.
    Drop,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    /// HTTP.
    Http {
        /// The transport of MCP.
        transport: HttpTransport,
        /// The endpoint, `http` or `https`, without user or fragment. Its query holds nothing secret.
        url: http::Uri,
        /// Connections to it.
        way: HttpWay,
        /// Header lines that every request carries, none of them secret or of the protocol.
        headers: Vec<(http::HeaderName, http::HeaderValue)>,
    },
    /// A child process that speaks over its standard input and output.
    Child {
        /// The program.
        program: String,
        /// Its arguments.
        arguments: Vec<String>,
        /// Its environment beyond the minimum every child gets.
        environment: BTreeMap<String, String>,
        /// Where it runs.
        directory: Option<PathBuf>,
        /// Whether one process serves all callers. Otherwise each caller (each session, in the revisions that have
        /// sessions) has its own.
        shared: bool,
        /// Launcher that confines the process. `None` starts the program with all rights of this process.
        launch: Option<Launch>,
    },
}

/// Connections to a server on the network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpWay {
    /// Certificates (PEM) that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// The certificate shown to a server that asks for one.
    pub identity: Option<TlsFiles>,
    /// The proxy they go through, if any.
    pub egress: Egress,
}

impl HttpWay {
    /// The files that are read when connections are set up.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let identity = self.identity.iter();
        let identity = identity.flat_map(|files| [&files.certificate, &files.key]);
        self.ca.iter().chain(identity)
    }
}

impl Upstream {
    /// Whether what is sent to it can be read on the way.
    pub fn travels_clear(&self) -> bool {
        match self {
            Self::Http { url, .. } => travels_clear(url),
            Self::Child { .. } => false,
        }
    }
}

/// Whether what is sent to this URL can be read on the way: it is http, and not to this machine.
pub fn travels_clear(url: &http::Uri) -> bool {
    url.scheme_str() == Some("http") && !is_loopback(url.host().unwrap_or_default())
}

/// The launcher of a child process, and what it leaves the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The binary, which starts itself.
    pub launcher: PathBuf,
    /// The rules it carries out.
    pub rules: Arc<Rules>,
    /// Variables that name the user the process runs as.
    pub variables: Vec<(String, OsString)>,
}

/// How long to wait for a server.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the first byte of an answer.
    pub request: Duration,
    /// For the next event of a stream.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(120),
            idle: Duration::from_secs(15 * 60),
        }
    }
}
