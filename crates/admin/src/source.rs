//! What the listener shows, as the binary supplies it.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use keepgate_store::kill::{Kill, Scope};
use serde::Serialize;

use crate::status::PolicyStatus;

/// Where the pages get what they show. Asked on every request, so it must be quick and must not wait.
pub trait Source: Send + Sync + 'static {
    /// The parts that must be in order before calls can be served.
    fn parts(&self) -> Vec<Part>;

    /// All meters in the text format Prometheus scrapes.
    fn metrics(&self) -> String;

    /// The sessions that are open.
    fn sessions(&self) -> Vec<Session>;

    /// The processes that run for servers, oldest first.
    fn processes(&self) -> Vec<Process>;

    /// Whether what a kill names is known. For acts of operators: it may look through all there is.
    fn knows(&self, scope: &Scope) -> Known;

    /// The active kills whose server or credential the configuration does not have: they cut nothing.
    fn stray_kills(&self) -> Vec<Arc<Kill>>;

    /// The servers of the configuration in force, in the order of their names.
    fn servers(&self) -> Vec<Server>;

    /// How the policies and their bundles stand.
    fn policy(&self) -> PolicyStatus;

    /// Sends a test message to a target of notifications, on behalf of an operator. Bounded in time.
    fn test_notification<'a>(&'a self, target: &'a str, by: &'a str) -> TestingNotification<'a>;
}

/// A test message under way.
pub type TestingNotification<'a> = Pin<Box<dyn Future<Output = TestNotification> + Send + 'a>>;

/// Outcome of a test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestNotification {
    /// The target took it.
    Delivered,
    /// It did not, for this reason.
    Failed(String),
    /// The configuration has no such target.
    Unknown {
        /// Those it has.
        known: Vec<String>,
    },
}

/// Whether the gateway knows a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It does, or there is nothing to know.
    Yes,
    /// It does not.
    No {
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// The configuration does not have the server of a tool.
    NoServer {
        /// The known server most like it.
        nearest: Option<String>,
    },
    /// No list of a tool's server is held: none has been read since the start, or the sessions that were shown it have ended.
    Unread,
}

impl Known {
    /// The warning for an operator who has a kill of `scope` set: a name nobody knows is likely misspelt, and may yet come.
    pub fn warning(&self, scope: &Scope) -> Option<String> {
        let target = scope.target().unwrap_or_default();
        let (missing, name, nearest) = match (self, scope) {
            (Self::Yes, _) => return None,
            (Self::Unread, _) => {
                let server = target.split('/').next().unwrap_or_default();
                return Some(format!(
                    "tool `{target}` is not known yet: the list of `{server}` has not been read since the start, or by no session that is open"
                ));
            }
            (Self::NoServer { nearest }, _) => {
                let server = target.split('/').next().unwrap_or_default();
                let missing = "no server of the configuration is called";
                (missing, Cow::Owned(server.to_owned()), nearest)
            }
            (Self::No { nearest }, scope) => (missing(scope)?, target, nearest),
        };
        let hint = match nearest {
            Some(nearest) => format!("; did you mean `{nearest}`?"),
            None => String::new(),
        };
        Some(format!("{missing} `{name}`{hint}"))
    }
}

/// First words of the warning about a name nobody knows.
fn missing(scope: &Scope) -> Option<&'static str> {
    match scope {
        Scope::Everything | Scope::Tenant(_) => None,
        Scope::Server(_) => Some("no server of the configuration is called"),
        Scope::Tool { .. } => Some("no server of the configuration has shown a tool called"),
        Scope::Caller(_) => Some("no session and no API key is of a caller called"),
        Scope::Session(_) => Some("no session is open that is called"),
        Scope::Credential(_) => Some("no server is given, and no caller has, a credential called"),
    }
}

/// One part of the gateway and whether it is in order. Shown to everybody who can reach the listener: few words, no path
/// and no error text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which part: `audit`, `policy`, ..
    pub name: &'static str,
    /// Whether calls can be served as far as this part goes.
    pub ready: bool,
    /// How it is: `ok`, `full`, `draining`, ..
    pub state: Cow<'static, str>,
}

impl Part {
    /// A part with which calls can be served, in this state.
    pub fn ready(name: &'static str, state: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name,
            ready: true,
            state: state.into(),
        }
    }
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// Its public id, as records have it.
    pub id: String,
    /// The caller's tenant.
    pub tenant: String,
    /// The caller's subject.
    pub caller: String,
    /// The OAuth client the caller comes by.
    pub client: Option<String>,
    /// The caller's sign-in.
    pub grant: Option<String>,
    /// The id of the caller's API key.
    pub key: Option<String>,
    /// The server it is with.
    pub server: String,
    /// The references of the secrets the server is given.
    pub credentials: Vec<Arc<str>>,
    /// Seconds since it began.
    pub age_s: u64,
    /// Seconds since it was last used.
    pub idle_s: u64,
}

/// One process of a server: what the gateway has started, which may have started more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The server it belongs to.
    pub server: String,
    /// The tenant of the caller it serves; none for one that all callers share.
    pub tenant: Option<String>,
    /// The caller it serves; none for one that all callers share.
    pub caller: Option<String>,
    /// Its number, and that of its process group; none until it has started.
    pub pid: Option<u32>,
    /// Seconds since it began.
    pub age_s: u64,
    /// Seconds since its last call or stream; none while one runs.
    pub idle_s: Option<u64>,
}

/// One server of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Its name in the configuration.
    pub name: String,
    /// `http`, `sse` or `child`.
    pub kind: &'static str,
    /// Its URL, or the program that is started; no arguments, they may hold secrets.
    pub target: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Production, staging and the like.
    pub environment: Option<String>,
    /// The operator's trust in it: `first_party`, `vetted` or `untrusted`.
    pub trust: &'static str,
    /// Labels for policies.
    pub labels: Vec<String>,
}

impl<S: Source> Source for Arc<S> {
    fn parts(&self) -> Vec<Part> {
        S::parts(self)
    }

    fn metrics(&self) -> String {
        S::metrics(self)
    }

    fn sessions(&self) -> Vec<Session> {
        S::sessions(self)
    }

    fn processes(&self) -> Vec<Process> {
        S::processes(self)
    }

    fn knows(&self, scope: &Scope) -> Known {
        S::knows(self, scope)
    }

    fn stray_kills(&self) -> Vec<Arc<Kill>> {
        S::stray_kills(self)
    }

    fn servers(&self) -> Vec<Server> {
        S::servers(self)
    }

    fn policy(&self) -> PolicyStatus {
        S::policy(self)
    }

    fn test_notification<'a>(&'a self, target: &'a str, by: &'a str) -> TestingNotification<'a> {
        S::test_notification(self, target, by)
    }
}
