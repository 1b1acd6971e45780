//! The configuration: one YAML file and `KEEPGATE_*` variables, read strictly, with all errors at once.
//!
//! Text becomes a tree with places (`document.rs`), variables are laid over it (`environment.rs`), the tree becomes
//! the written form (`raw.rs`), and that becomes what the program runs with ([`Configuration`], `resolve.rs`).

mod bundle;
pub(crate) mod decisions;
mod decode;
mod definition;
mod document;
mod egress;
mod environment;
mod expand;
mod fault;
mod nearest;
pub(crate) mod notify;
mod raw;
mod resolve;
mod state;
mod telemetry;
mod tenants;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keepgate_approval::ConsoleUrl;
use keepgate_audit::Durability;
use keepgate_authn::oauth::{IssuerUrl, TokenKind};
use keepgate_gateway::settings::Settings;
use keepgate_jose::SignatureAlgorithm;
use keepgate_net::{Egress, Network};
use keepgate_policy::{Source, Sources};
use keepgate_telemetry::export;

/// This binary, also when another one has taken its name meanwhile.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

pub(crate) use bundle::add;
pub use bundle::{Bundle, Key, KeyFileError, Place, Remote};
pub use decisions::{DecisionFile, Decisions, Shadow, Upload};
use decode::Decode;
pub(crate) use decode::{duration, length};
pub(crate) use fault::printable;
pub(crate) use nearest::nearest;
pub use notify::{NotifyKind, NotifyTarget, NotifyUrl};
pub(crate) use resolve::request::{is_reserved_header, is_secret as is_secret_parameter};
pub(crate) use state::state_directory;

use document::{Node, Value};
use fault::{Fault, Faults, Origin};
use raw::Raw;
use sha2::{Digest, Sha256};

/// Times of the end after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// In which everything is still answered, and only readiness is withdrawn.
    pub delay: Duration,
    /// That running calls have to end after that.
    pub patience: Duration,
}

/// Everything a run is told. Only valid values, paths made absolute to the file's directory.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Addresses of the data listeners, at least one.
    pub listen: Vec<SocketAddr>,
    /// Networks of the proxies in front, whose word on the client's address is taken.
    pub trusted_proxies: Vec<Network>,
    /// Where clients find the gateway, when that is not the address it listens on.
    pub public_url: Option<http::Uri>,
    /// Certificate of the data listeners.
    pub tls: Option<Tls>,
    /// The operators' listener.
    pub admin: Admin,
    /// How callers prove who they are.
    pub auth: AuthMode,
    /// Who gives tokens; only in mode `oauth`.
    pub oauth: Option<OAuth>,
    /// What must outlive a restart.
    pub state: PathBuf,
    /// Times and limits of approvals.
    pub approvals: keepgate_approval::Settings,
    /// Targets of notifications, by name.
    pub notify: BTreeMap<Arc<str>, NotifyTarget>,
    /// Directories with policies; one at least, or a bundle.
    pub policies: Vec<PathBuf>,
    /// Bundles of policies, of all and of tenants.
    pub bundles: Vec<Bundle>,
    /// Directories with the policies of tenants, by the tenant's name.
    pub tenants: BTreeMap<String, Vec<PathBuf>>,
    /// Where the definitions of servers lie; it need not be there.
    pub definitions: PathBuf,
    /// Policies that are tried beside them.
    pub shadow: Option<Shadow>,
    /// Who is told how the policies stand.
    pub status: Option<Upload>,
    /// Where decisions are logged.
    pub decisions: Decisions,
    /// When an audit record counts as written.
    pub durability: Durability,
    /// How long the headers of a request may take to arrive.
    pub header_timeout: Duration,
    /// How many connections clients may hold.
    pub connections: NonZeroUsize,
    /// What messages that are held whole may take together, in bytes.
    pub memory: usize,
    /// The end after SIGTERM.
    pub drain: Drain,
    /// What is written to standard error.
    pub log: Log,
    /// Where traces and metrics go.
    pub telemetry: export::Settings,
    /// What the data plane is told.
    pub gateway: Settings,
    /// The keys whose secret is sent over http to another machine, as the configuration allows.
    pub plaintext: Vec<String>,
    /// Paths the gateway stands on: no child process reaches them.
    pub hidden: Vec<PathBuf>,
    /// What works but is likely not meant, one sentence each.
    pub warnings: Vec<String>,
    /// SHA-256 of the file, hexadecimal, as `sha256sum` prints it: records name the file by it.
    pub digest: String,
}

impl Configuration {
    /// The certificates of our listeners.
    pub fn own_tls(&self) -> impl Iterator<Item = &Tls> {
        self.tls.iter().chain(&self.admin.tls)
    }
}

/// Certificate and key of listeners, PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The operators' listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// Origin of the console in operators' browsers, for links.
    pub public_url: Option<ConsoleUrl>,
    /// Its certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// `admin.hosts`, lower case.
    pub hosts: Vec<String>,
}

impl Admin {
    /// Names that a `Host` header may carry beside addresses and `localhost`: those of `admin.hosts`, and the console's.
    #[must_use]
    pub fn served_hosts(&self) -> Vec<String> {
        let console = self.public_url.iter().map(ConsoleUrl::authority);
        self.hosts
            .iter()
            .map(String::as_str)
            .chain(console)
            .map(str::to_owned)
            .collect()
    }
}

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMode {
    /// Not at all; loopback listeners only.
    Anonymous,
    /// With an API key.
    Keys,
    /// With an access token; with an API key where the configuration says so.
    OAuth,
}

/// The gateway as an OAuth resource server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// What the resource URIs of the endpoints begin with: scheme and authority.
    pub base: String,
    /// Whether API keys are valid beside tokens.
    pub keys: bool,
    /// The scopes clients are told to ask for at first.
    pub scopes: Vec<String>,
    /// Who gives tokens, at least one.
    pub issuers: Vec<Issuer>,
}

/// Who gives tokens, and how they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The name, which is a URL.
    pub url: IssuerUrl,
    /// The audience that stands for the whole gateway.
    pub audience: Option<String>,
    /// Where the keys are, when the issuer has no metadata.
    pub jwks_uri: Option<String>,
    /// Which of its tokens are access tokens.
    pub typ: TokenKind,
    /// The algorithms it may use.
    pub algorithms: Vec<SignatureAlgorithm>,
    /// The tenant its subjects belong to.
    pub tenant: Option<String>,
    /// The claim that holds roles; `None`: its tokens give none.
    pub roles_claim: Option<String>,
    /// The claim that holds groups; `None`: its tokens give none.
    pub groups_claim: Option<String>,
    /// Certificates to trust besides the system's, PEM.
    pub ca: Option<PathBuf>,
    /// The way to other machines.
    pub egress: Egress,
}

impl AuthMode {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Keys => "keys",
            Self::OAuth => "oauth",
        }
    }
}

/// What is written to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is worth writing: a level, or directives like `info,keepgate=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no configuration: the whole report, ready to be shown.
#[derive(Debug, thiserror::Error)]
#[error("{report}")]
pub struct ConfigError {
    report: String,
}

/// Reads the file at `path` and the variables that begin with `KEEPGATE_`. Does no network.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn load(
    path: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Configuration, ConfigError> {
    let name = path.display().to_string();
    let text = read(path).map_err(|report| ConfigError { report })?;
    let directory = std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf));
    from_text(&text, &name, &directory.unwrap_or_default(), variables)
}

/// Reads a configuration from memory: `name` stands in the errors, relative paths are taken from `directory`.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong.
pub fn from_text(
    text: &str,
    name: &str,
    directory: &Path,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Configuration, ConfigError> {
    let variables: Vec<_> = variables.into_iter().collect();
    let mut faults = Faults::default();
    let mut root = document::parse(text, &mut faults);
    if let Some(root) = &mut root {
        environment::overlay(root, variables.clone(), &mut faults);
    }
    let raw = root
        .as_ref()
        .and_then(|root| decode_root(root, &mut faults));
    let mut files = Vec::new();
    let mut warnings = Vec::new();
    let configuration = raw.and_then(|mut raw| {
        warnings = expand::expand(&mut raw, &variables, &mut faults);
        files = definition::read(raw.definitions.as_ref(), directory, &mut faults);
        let file = directory.join(Path::new(name).file_name().unwrap_or_default());
        let places = (directory, file.as_path());
        let abi = keepgate_sandbox::abi(landlock_cap(&variables));
        let variables = (
            telemetry::Variables::of(&variables),
            egress::ProxyVariables::of(&variables),
        );
        resolve::resolve(raw, variables, places, abi, &mut files, &mut faults)
    });
    let mut reports = Vec::new();
    if !faults.is_empty() || configuration.is_none() {
        reports.push(faults.render(name, text));
    }
    reports.extend(files.into_iter().filter_map(definition::File::report));
    match configuration {
        Some(mut configuration) if reports.is_empty() => {
            configuration.warnings.append(&mut warnings);
            configuration.digest = format!("{:x}", Sha256::digest(text));
            Ok(configuration)
        }
        Some(_) | None => Err(ConfigError {
            report: reports.join("\n"),
        }),
    }
}

impl Configuration {
    /// Where policies come from, and whom they are for.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let of = |directories: &Vec<PathBuf>| {
            let sources = directories.iter().cloned().map(Source::Directory);
            sources.collect::<Vec<_>>()
        };
        let tenants = self.tenants.iter();
        Sources {
            platform: of(&self.policies),
            tenants: tenants
                .map(|(name, from)| (name.clone(), of(from)))
                .collect(),
            definitions: self.gateway.definitions(),
        }
    }

    /// Every directory policies come from.
    #[must_use]
    pub fn policy_directories(&self) -> Vec<PathBuf> {
        let tenants = self.tenants.values().flatten();
        self.policies.iter().chain(tenants).cloned().collect()
    }
}

/// The newest version of Landlock to use, where a variable lowers it.
fn landlock_cap(variables: &[(OsString, OsString)]) -> Option<u8> {
    let mut named = variables
        .iter()
        .filter(|(name, _)| name == keepgate_sandbox::ABI_VARIABLE);
    named.next()?.1.to_str()?.parse().ok()
}

/// The written form of the whole file.
fn decode_root(root: &Node, faults: &mut Faults) -> Option<Raw> {
    if root.value == Value::Null {
        let hint = "the smallest useful file names `version`, `servers`, `policies` and `auth`";
        faults.push(Fault::new(Origin::Whole, "", "the file is empty").hint(hint));
        return None;
    }
    Raw::decode(root, "", faults)
}

/// As much of the file as is text; `None` when there is none.
fn read_lossy(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = keepgate_files::open(path).ok()?;
    let read = file.take(document::MAX_SIZE as u64).read_to_end(&mut bytes);
    read.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file's text, or a report of why it cannot be had.
fn read(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = keepgate_files::open(path);
    // One byte more than is allowed tells a file that is too large from one that just fits.
    let cap = document::MAX_SIZE as u64 + 1;
    let outcome = opened.and_then(|file| file.take(cap).read_to_end(&mut bytes));
    if let Err(error) = outcome {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let hint = if missing {
            "\n  hint: name the file with --config or KEEPGATE_CONFIG"
        } else {
            ""
        };
        return Err(format!(
            "failed to read the configuration `{}`: {error}{hint}",
            path.display()
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .get(..valid)
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        format!(
            "{}:{line}: file is not UTF-8 text from this line on",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests;
