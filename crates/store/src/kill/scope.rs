//! What a kill can cut off, and whether a call is of it.

use std::{borrow::Cow, fmt, sync::Arc};

use keepgate_call::{ServerName, Tenant};

/// Before the id of an OAuth client, as a caller.
pub const CLIENT: &str = "client:";
/// Before the id of a sign-in, as a session.
pub const GRANT: &str = "grant:";
/// Before the id of an API key, as a credential.
pub const KEY: &str = "key:";
/// Longest name in a target, in bytes.
const LONGEST: usize = 512;

/// Whether a kill can name this: what nobody can cut off by its name must not be offered.
pub fn is_nameable(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST && !name.chars().any(char::is_control)
}

/// What is cut off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every call.
    Everything,
    /// Every call of a tenant.
    Tenant(Tenant),
    /// Every call to a server.
    Server(ServerName),
    /// Every call of one tool of a server.
    Tool {
        /// The server.
        server: ServerName,
        /// The tool's own name.
        tool: Box<str>,
    },
    /// Every call of a caller, by subject, whoever vouches for it and whichever credential it shows; or, as `client:` and
    /// an OAuth client's id, every call that comes by this client.
    Caller(Box<str>),
    /// Every call in a session, by its public id, as records name it; or, as `grant:` and an id, every call of one
    /// sign-in (`sid` or grant of the access token).
    Session(Box<str>),
    /// Every call made with a credential: the reference of a secret that a server is given, or `key:` and the id of a
    /// caller's API key.
    Credential(Box<str>),
}

/// Why a scope and a target do not make sense together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// There is no such scope.
    #[error(
        "no such scope, there are everything, tenant, server, tool, caller, session and credential: `{0}`"
    )]
    Unknown(String),
    /// Everything has no target.
    #[error("`everything` takes no target: `{0}`")]
    Superfluous(String),
    /// The scope needs a target.
    #[error("scope `{0}` needs a target")]
    Missing(&'static str),
    /// The target is not one of this scope.
    #[error("not {what}: `{target}`")]
    Target {
        /// What it should be.
        what: &'static str,
        /// What it was.
        target: String,
    },
}

/// A call, as far as kills can name it.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The caller's tenant.
    pub tenant: &'a str,
    /// The server.
    pub server: &'a str,
    /// The tool, of a call to one.
    pub tool: Option<Cow<'a, str>>,
    /// The caller's subject.
    pub caller: &'a str,
    /// The OAuth client the caller comes by.
    pub client: Option<&'a str>,
    /// The caller's sign-in.
    pub grant: Option<&'a str>,
    /// The id of the caller's API key.
    pub key: Option<&'a str>,
    /// The session's public id.
    pub session: Option<&'a str>,
    /// The references of the secrets the server is given.
    pub credentials: &'a [Arc<str>],
}

impl Scope {
    /// Every scope's word, widest first.
    pub const WORDS: [&'static str; 7] = [
        "everything",
        "tenant",
        "server",
        "tool",
        "caller",
        "session",
        "credential",
    ];

    /// Reads a scope as operators and files write it.
    ///
    /// # Errors
    /// [`ScopeError`] for a word there is not, or a target that does not fit it.
    pub fn parse(word: &str, target: Option<&str>) -> Result<Self, ScopeError> {
        let known = Self::WORDS.into_iter().find(|known| *known == word);
        let Some(word) = known else {
            return Err(ScopeError::Unknown(word.to_owned()));
        };
        if word == "everything" {
            return match target {
                None => Ok(Self::Everything),
                Some(target) => Err(ScopeError::Superfluous(target.to_owned())),
            };
        }
        let target = target.ok_or(ScopeError::Missing(word))?;
        let wrong = |what| ScopeError::Target {
            what,
            target: target.to_owned(),
        };
        // The longest tool's name follows its server's.
        let name = match word {
            "tool" => target.split_once('/').map_or(target, |(_, tool)| tool),
            _ => target,
        };
        if !is_nameable(name) || target.chars().any(char::is_control) {
            return Err(wrong("1 to 512 bytes without control characters"));
        }
        let server =
            |name: &str| ServerName::parse(name).ok_or_else(|| wrong("the name of a server"));
        match word {
            "tenant" => Ok(Self::Tenant(Tenant::new(target))),
            "server" => Ok(Self::Server(server(target)?)),
            "tool" => {
                // No server's name has a slash, so the first one ends it, whatever the tool is called.
                let (name, tool) = target
                    .split_once('/')
                    .filter(|(_, tool)| !tool.is_empty())
                    .ok_or_else(|| wrong("a server and its tool, as `server/tool`"))?;
                Ok(Self::Tool {
                    server: server(name)?,
                    tool: tool.into(),
                })
            }
            "caller" => Ok(Self::Caller(target.into())),
            "session" => Ok(Self::Session(target.into())),
            _ => Ok(Self::Credential(target.into())),
        }
    }

    /// Whether there can be any number of such targets: not of tenants, servers and everything, which somebody set up.
    pub fn is_narrow(&self) -> bool {
        match self {
            Self::Everything | Self::Tenant(_) | Self::Server(_) => false,
            Self::Tool { .. } | Self::Caller(_) | Self::Session(_) | Self::Credential(_) => true,
        }
    }

    /// The scope's word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Tenant(_) => "tenant",
            Self::Server(_) => "server",
            Self::Tool { .. } => "tool",
            Self::Caller(_) => "caller",
            Self::Session(_) => "session",
            Self::Credential(_) => "credential",
        }
    }

    /// The target, as [`Scope::parse`] reads it.
    pub fn target(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Everything => None,
            Self::Tenant(tenant) => Some(tenant.as_str().into()),
            Self::Server(server) => Some(server.as_str().into()),
            Self::Tool { server, tool } => Some(format!("{server}/{tool}").into()),
            Self::Caller(name) | Self::Session(name) | Self::Credential(name) => {
                Some((&**name).into())
            }
        }
    }

    /// Whether what `facts` say is of this scope.
    pub fn covers(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Tenant(tenant) => tenant.as_str() == facts.tenant,
            Self::Server(server) => server.as_str() == facts.server,
            Self::Tool { server, tool } => {
                server.as_str() == facts.server && facts.tool.as_deref() == Some(&**tool)
            }
            Self::Caller(name) => **name == *facts.caller || is_of(name, CLIENT, facts.client),
            Self::Session(id) => facts.session == Some(&**id) || is_of(id, GRANT, facts.grant),
            Self::Credential(reference) => {
                let mut given = facts.credentials.iter();
                given.any(|given| **given == **reference) || is_of(reference, KEY, facts.key)
            }
        }
    }
}

/// Whether `target` names `id` with this prefix before it.
fn is_of(target: &str, prefix: &str, id: Option<&str>) -> bool {
    target
        .strip_prefix(prefix)
        .is_some_and(|named| id == Some(named))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target() {
            None => f.write_str(self.word()),
            Some(target) => write!(f, "{} {target}", self.word()),
        }
    }
}

#[cfg(test)]
mod tests;
