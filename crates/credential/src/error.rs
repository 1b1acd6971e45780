//! Why a credential cannot be had. Nothing of what a provider answered stands in here, only what it means.

use std::{io, sync::Arc, time::Duration};

use keepgate_files::FileError;
use keepgate_net::ConnectError;

/// A reference that gave no secret. Clones share their cause.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no credential from `{reference}`")]
pub struct CredentialError {
    /// The reference.
    pub reference: Arc<str>,
    /// What is wrong.
    #[source]
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// There is no such file.
    #[error("the file is not there")]
    FileMissing,
    /// The file cannot be read.
    #[error("the file cannot be read")]
    FileUnreadable(#[source] Arc<io::Error>),
    /// It is no plain file.
    #[error("not a plain file")]
    FileKind,
    /// Others may read the file, or change it or its directory.
    #[error("others may read or change the file")]
    FileMode(#[source] Arc<FileError>),
    /// The file or its directory belongs to somebody else.
    #[error("the file belongs to another user")]
    FileOwner(#[source] Arc<FileError>),
    /// The variable is not set.
    #[error("the variable is not set")]
    VariableMissing,
    /// The secret is shorter than what can be masked.
    #[error("the secret is shorter than {} bytes", crate::secret::SHORTEST)]
    TooShort,
    /// The secret is longer than what can be carried.
    #[error("the secret is longer than {} bytes", crate::secret::LONGEST)]
    TooLong,
    /// The secret has no lease, and has to have one.
    #[error("the secret has no lease, and its server's definition asks for one")]
    NotLeased,
    /// The secret has characters that cannot be carried the way the server gets it.
    #[error("the secret has characters that cannot be sent this way")]
    Unsendable,
    /// No connection.
    #[error("the vault cannot be reached")]
    Unreachable(#[source] Arc<ConnectError>),
    /// No answer in time.
    #[error("the vault did not answer in time: `{after:?}`")]
    Slow {
        /// The time it had.
        after: Duration,
    },
    /// The vault is sealed.
    #[error("the vault is sealed")]
    Sealed,
    /// The node is no active one.
    #[error("the vault's node is on standby or points elsewhere")]
    Standby,
    /// The vault has never been set up.
    #[error("the vault is not initialised")]
    Uninitialised,
    /// The vault fails.
    #[error("the vault fails with status `{status}`")]
    Failing {
        /// The HTTP status.
        status: u16,
    },
    /// Too many requests.
    #[error("the vault limits our rate")]
    RateLimited {
        /// How long to wait.
        after: Duration,
    },
    /// The login was refused.
    #[error("the vault refuses our login")]
    LoginRefused,
    /// The wrapping token is not valid: unwrapped already, expired, or none.
    #[error("the vault refuses the wrapping token: it was used already, has expired, or is none")]
    WrappingRefused,
    /// The wrapping token wraps what another path than the configured one created.
    #[error("the wrapping token was not created by the path of `wrapped_by`")]
    WrappingPath,
    /// What the login needs cannot be had.
    #[error("what the login needs cannot be had: `{reference}`")]
    LoginReference {
        /// The reference of role id, secret id or token.
        reference: Arc<str>,
        /// Why.
        #[source]
        source: Arc<Self>,
    },
    /// The policy of our token does not allow it.
    #[error("the vault forbids it")]
    Forbidden,
    /// There is nothing under the path, or its newest version is deleted.
    #[error("the vault has nothing under this path")]
    NotFound,
    /// The field is not among what was read.
    #[error("the vault's answer has no such field, or it is no text")]
    NoField,
    /// The answer broke off.
    #[error("the vault's answer broke off")]
    Broken,
    /// The answer is too long.
    #[error("the vault's answer is too long")]
    TooLarge,
    /// The answer has not the form it should have.
    #[error("the vault's answer has not the form of its API")]
    Invalid,
    /// A status the API does not have.
    #[error("the vault answers with status `{status}`")]
    Unexpected {
        /// The HTTP status.
        status: u16,
    },
    /// A revoked lease is still there.
    #[error("the vault still has the lease, or does not let us see that it is gone")]
    NotRevoked,
    /// The credential was ended while it was fetched, or its server is no longer configured.
    #[error("the credential was ended")]
    Ended,
}

impl Fault {
    /// A stable word, for records and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::FileMissing => "file_missing",
            Self::FileUnreadable(_) => "file_unreadable",
            Self::FileKind => "file_kind",
            Self::FileMode(_) => "file_mode",
            Self::FileOwner(_) => "file_owner",
            Self::VariableMissing => "variable_missing",
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::NotLeased => "not_leased",
            Self::Unsendable => "unsendable",
            Self::Unreachable(_) => "vault_unreachable",
            Self::Slow { .. } => "vault_slow",
            Self::Sealed => "vault_sealed",
            Self::Standby => "vault_standby",
            Self::Uninitialised => "vault_uninitialised",
            Self::Failing { .. } => "vault_failing",
            Self::RateLimited { .. } => "vault_rate_limited",
            Self::LoginRefused => "vault_login_refused",
            Self::WrappingRefused => "vault_wrapping_refused",
            Self::WrappingPath => "vault_wrapping_path",
            Self::LoginReference { .. } => "vault_login_reference",
            Self::Forbidden => "vault_forbidden",
            Self::NotFound => "vault_not_found",
            Self::NoField => "vault_no_field",
            Self::Broken => "vault_broken",
            Self::TooLarge => "vault_too_large",
            Self::Invalid => "vault_invalid",
            Self::Unexpected { .. } => "vault_unexpected",
            Self::NotRevoked => "vault_not_revoked",
            Self::Ended => "ended",
        }
    }

    /// What an operator can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::FileMissing => "create the file, or mount the secret",
            Self::FileUnreadable(_) => "see that the gateway's user may read it",
            Self::FileKind => "name a plain file",
            Self::FileMode(_) => "chmod 0600, or mount it as a systemd or Kubernetes secret",
            Self::FileOwner(_) => "chown it to the gateway's user or root",
            Self::VariableMissing => "set the variable where the gateway is started",
            Self::TooShort => "use a longer secret: short ones cannot be masked",
            Self::TooLong => "a credential is a token or password, not a document",
            Self::NotLeased => {
                "name a path of an engine that issues credentials, or write `dynamic_secret: false`"
            }
            Self::Unsendable => {
                "header lines carry visible ASCII only; see that no line break got in"
            }
            Self::Unreachable(_) => {
                "check credentials.providers.vault.address, its certificate and the network"
            }
            Self::Slow { .. } => {
                "check the vault's load, or raise credentials.providers.vault.timeout"
            }
            Self::Sealed => "unseal the vault: bao operator unseal, vault operator unseal",
            Self::Standby => {
                "point credentials.providers.vault.address at the active node; redirects are not followed"
            }
            Self::Uninitialised => "initialise the vault",
            Self::Failing { .. } => "see the vault's own log",
            Self::RateLimited { .. } => "raise the vault's quota for the gateway",
            Self::LoginRefused => {
                "check role_id and secret_id or role and token, whether they have run out, and the method's mount"
            }
            Self::WrappingRefused => {
                "if the gateway did not unwrap it, somebody else did: revoke what it wrapped; then give the gateway a new wrapping token"
            }
            Self::WrappingPath => {
                "find out who put this token in place; correct credentials.providers.vault.auth.wrapped_by only if it is yours"
            }
            Self::LoginReference { .. } => "give the gateway what its login refers to",
            Self::Forbidden => {
                "grant the policy of the gateway's token read on the path (kv2: <mount>/data/<path>)"
            }
            Self::NotFound => {
                "check mount and path, and that the newest version is not deleted; kv2 paths are written without data/"
            }
            Self::NoField => "check what follows the # in the reference; the field has to be text",
            Self::Broken | Self::TooLarge | Self::Invalid | Self::Unexpected { .. } => {
                "see that the address is a vault and not something in front of it"
            }
            Self::NotRevoked => {
                "grant update on sys/leases/revoke and sys/leases/lookup, and look at the lease in the vault"
            }
            Self::Ended => "nothing to do: the next call fetches anew unless it is cut off",
        }
    }

    /// How long a failed fetch is not tried again.
    pub(crate) fn pause(&self) -> Duration {
        const PAUSE: Duration = Duration::from_secs(1);
        const LONGEST: Duration = Duration::from_secs(30);
        match self {
            Self::RateLimited { after } => (*after).clamp(PAUSE, LONGEST),
            Self::Ended => Duration::ZERO,
            Self::FileMissing
            | Self::FileUnreadable(_)
            | Self::FileKind
            | Self::FileMode(_)
            | Self::FileOwner(_)
            | Self::VariableMissing
            | Self::TooShort
            | Self::TooLong
            | Self::NotLeased
            | Self::Unsendable
            | Self::Unreachable(_)
            | Self::Slow { .. }
            | Self::Sealed
            | Self::Standby
            | Self::Uninitialised
            | Self::Failing { .. }
            | Self::LoginRefused
            | Self::WrappingRefused
            | Self::WrappingPath
            | Self::LoginReference { .. }
            | Self::Forbidden
            | Self::NotFound
            | Self::NoField
            | Self::Broken
            | Self::TooLarge
            | Self::Invalid
            | Self::Unexpected { .. }
            | Self::NotRevoked => PAUSE,
        }
    }
}
