//! What the store of credentials is told: valid values only, made by `cli` from the configuration file.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, Uri, header};
use keepgate_net::Egress;

use crate::reference::{Place, Reference};

/// The providers that need settings; `file:` and `env:` need none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// HashiCorp Vault or OpenBao.
    pub vault: Option<VaultSettings>,
}

/// How Vault is reached and entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultSettings {
    /// `http` or `https`, host and port; no path.
    pub address: Uri,
    /// Sent as `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// How the gateway proves who it is.
    pub login: Login,
    /// Path that must have created what the login's secret wraps, if that is a wrapping token. It is looked up before
    /// the token is used, since a token put in its place would wrap something else.
    pub wrapped_by: Option<String>,
    /// The secret engines the gateway may read, by mount. Engines are named and not guessed: version 1 and version 2 of KV
    /// answer the same path with different things.
    pub mounts: BTreeMap<String, Engine>,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// How long a value is used without asking again; at most [`VaultSettings::LONGEST_AGE`].
    pub max_age: Duration,
}

impl VaultSettings {
    /// The longest [`VaultSettings::max_age`].
    pub const LONGEST_AGE: Duration = Duration::from_secs(60);
    /// The usual [`VaultSettings::timeout`].
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Mount, engine and the path below the mount of what `path` names; `None` if it lies in no mount. The longest mount
    /// wins.
    pub fn mount_of<'a>(&'a self, path: &'a str) -> Option<(&'a str, Engine, &'a str)> {
        let inside = |(mount, engine): (&'a String, &Engine)| {
            let below = path.strip_prefix(mount.as_str())?.strip_prefix('/')?;
            (!below.is_empty()).then_some((mount.as_str(), *engine, below))
        };
        self.mounts
            .iter()
            .filter_map(inside)
            .max_by_key(|(mount, _, _)| mount.len())
    }
}

/// How the gateway proves to Vault who it is. Every secret of it is a `file:` or `env:` reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// A token.
    Token(Reference),
    /// AppRole.
    AppRole {
        /// Where the method is mounted; `approle` as a rule.
        mount: String,
        /// The role's id.
        role_id: Reference,
        /// Its secret id, if the role wants one.
        secret_id: Option<Reference>,
    },
    /// A JSON Web Token that another issuer made: `jwt` and the methods of its form.
    Jwt {
        /// Path at which the method is mounted; `jwt` as a rule.
        mount: String,
        /// Role of the method.
        role: String,
        /// The token. Read again at each login: whoever issues it replaces it in time.
        token: Reference,
    },
}

/// What a mount holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// KV version 1.
    Kv1,
    /// KV version 2.
    Kv2,
    /// An engine that issues credentials with a lease: databases and the like.
    Leased,
}

impl Engine {
    /// Every engine with its word in the configuration.
    pub const WORDS: &'static [(&'static str, Self)] = &[
        ("kv1", Self::Kv1),
        ("kv2", Self::Kv2),
        ("leased", Self::Leased),
    ];
}

/// What a server gets and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Where the secret is.
    pub reference: Reference,
    /// How it is shown to the server.
    pub form: Form,
    /// What else is asked of it.
    pub terms: Terms,
}

/// What is asked of a credential beside that it is there; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Whether it must have a lease: one without is not used.
    pub leased: bool,
    /// How old it may get before somebody is told. It is used all the same: only its owner can change it.
    pub rotation: Option<Duration>,
}

/// How a secret is shown to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// `Authorization: Bearer ..` (RFC 6750).
    Bearer,
    /// A header line of this name.
    Header(HeaderName),
    /// `Authorization: Basic ..` (RFC 7617).
    Basic(User),
    /// A parameter of the query; it ends up in logs, so the configuration has to insist.
    Query(String),
    /// A variable in the environment of a child process.
    Environment {
        /// The variable with the secret.
        name: String,
        /// A variable with the user, and where the user comes from.
        user: Option<(String, User)>,
    },
}

/// Whose password a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// This one.
    Named(String),
    /// The one in another field of the same Vault answer.
    Field(String),
}

/// A place in which a server gets a secret or a user. Two of a server's credentials do not share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot<'a> {
    /// A header line, by its name in lower case.
    Header(&'a str),
    /// A parameter of the query.
    Query(&'a str),
    /// A variable in the environment.
    Variable(&'a str),
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header `{name}`"),
            Self::Query(name) => write!(f, "parameter `{name}`"),
            Self::Variable(name) => write!(f, "variable `{name}`"),
        }
    }
}

impl Form {
    /// The places it fills, that of the secret first.
    pub fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        let (secret, user) = match self {
            Self::Bearer | Self::Basic(_) => (Slot::Header(header::AUTHORIZATION.as_str()), None),
            Self::Header(name) => (Slot::Header(name.as_str()), None),
            Self::Query(name) => (Slot::Query(name), None),
            Self::Environment { name, user } => {
                let user = user.as_ref().map(|(name, _)| Slot::Variable(name));
                (Slot::Variable(name), user)
            }
        };
        std::iter::once(secret).chain(user)
    }

    /// The field of a Vault answer that holds the user, if one does.
    pub(crate) fn user_field(&self) -> Option<&str> {
        match self {
            Self::Basic(User::Field(field))
            | Self::Environment {
                user: Some((_, User::Field(field))),
                ..
            } => Some(field),
            Self::Basic(User::Named(_))
            | Self::Environment {
                user: None | Some((_, User::Named(_))),
                ..
            }
            | Self::Bearer
            | Self::Header(_)
            | Self::Query(_) => None,
        }
    }

    /// Whether it goes to a child process rather than into a request.
    pub fn is_environment(&self) -> bool {
        matches!(self, Self::Environment { .. })
    }
}

/// Why a reference cannot be used with the settings, whatever is behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UseError {
    /// A Vault reference without a Vault.
    #[error("a `vault:` reference needs `credentials.providers.vault`")]
    NoVault,
    /// A Vault reference in no mount that is named.
    #[error(
        "the path lies in none of the mounts of `credentials.providers.vault.mounts`: `{path}`"
    )]
    NoMount {
        /// The path.
        path: Arc<str>,
    },
    /// A KV version 2 path with `data/` in it, which the gateway adds itself.
    #[error("the path of a kv2 secret is written without `data/`: `{path}`")]
    Data {
        /// The path.
        path: Arc<str>,
    },
    /// A user out of a field, from a reference that has none.
    #[error("`user_field` goes with `vault:` references only")]
    NoFields,
}

impl Use {
    /// Whether the reference can be used with `settings`; nothing is read.
    ///
    /// # Errors
    /// [`UseError`].
    pub fn check(&self, settings: &Settings) -> Result<(), UseError> {
        let Place::Vault { path, .. } = self.reference.place() else {
            return match self.form.user_field() {
                Some(_) => Err(UseError::NoFields),
                None => Ok(()),
            };
        };
        let vault = settings.vault.as_ref().ok_or(UseError::NoVault)?;
        match vault.mount_of(path) {
            None => Err(UseError::NoMount {
                path: path.as_str().into(),
            }),
            Some((_, Engine::Kv2, below)) if below.starts_with("data/") => Err(UseError::Data {
                path: path.as_str().into(),
            }),
            Some(_) => Ok(()),
        }
    }
}
