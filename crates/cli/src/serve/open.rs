//! What a gateway stands on: state directory, audit log, keys, policies, certificate, operators.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use keepgate_admin::{Operators, Token};
use keepgate_audit::{Durability, Log};
use keepgate_authn::{Authenticator, KeyState};
use keepgate_credential::Live;
use keepgate_files::FileError;
use keepgate_gateway::Shared;
use keepgate_net::TlsFiles;
use keepgate_store::approvals as stored;
use keepgate_store::sessions::{self, SessionRow, SessionStore};
use keepgate_store::{DATABASE, kill::KillFile};
use keepgate_transport::http::tls::Tls;

use super::approvals::{self, Around};
use super::bundles::{self, Bundles};
use super::{clock, event_key, shadow, tokens};
use crate::config::{self, AuthMode, Configuration};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::state_format;

/// Where the audit log lies in the state directory.
pub(crate) const AUDIT_DIRECTORY: &str = "audit";

/// Files the database keeps next to it.
const DATABASE_JOURNAL: &str = "keepgate.db-wal";
const DATABASE_INDEX: &str = "keepgate.db-shm";

/// Everything that was opened; lives as long as the process.
pub(super) struct Opened {
    /// What the stacks of the gateway share.
    pub(super) shared: Arc<Shared>,
    /// Who sees the operators' pages, and works the kill switch.
    pub(super) operators: Arc<Operators>,
    /// The certificate of the data listeners.
    pub(super) tls: Option<Tls>,
    /// The certificate of the operators' listener.
    pub(super) admin_tls: Option<Tls>,
    /// Policies that are fetched, or lie in archives.
    pub(super) bundles: Arc<Bundles>,
    /// Sessions of an earlier process.
    pub(super) sessions: Vec<SessionRow>,
    /// Facts that approvals need of the gateway around them.
    pub(super) around: Arc<Around>,
}

impl Opened {
    /// Opens everything, in the order in which an operator would look for what is wrong. Blocks; nothing else runs yet.
    pub(super) async fn open(configuration: &Configuration) -> Result<Self, Failure> {
        check_state(&configuration.state).map_err(|error| Failure::caused(Exit::State, &error))?;
        state_format::migrate(&configuration.state)?;
        let live = Live::new();
        let (bundles, policy) = bundles::open(configuration, &live).await?;
        let state = &configuration.state;
        let tls = load_tls(configuration.tls.as_ref())?;
        let admin_tls = load_tls(configuration.admin.tls.as_ref())?;
        let authn = authenticator(configuration, None)?;
        let token = Token::open(state).map_err(|error| Failure::caused(Exit::State, &error))?;
        let operators = Operators::open(state, Arc::new(token))
            .map_err(|error| Failure::caused(Exit::State, &error))?;
        // Before the log is opened, which is a record of now.
        let clock = clock::open(state);
        report_missing(&authn, &operators);
        let log = open_log(configuration)?;
        // After the log, whose lock keeps other processes out.
        let most = configuration.gateway.limits.sessions.get();
        let (store, sessions) = SessionStore::open(state, most).await;
        let shared = Shared::new(log, Arc::new(policy), Arc::new(authn))
            .map_err(|error| Failure::caused(Exit::Start, &error))?
            .with_memory(configuration.memory)
            .with_secrets(&live)
            .with_clock(clock)
            .with_session_store(event_key::open(state)?, store);
        let operators = Arc::new(operators);
        let around = Around::new(&shared.clock, &operators);
        let approvals = approvals::open(configuration, &shared, &around);
        let shared = Arc::new(shared.with_approvals(approvals));
        let sources = bundles.join(configuration.sources());
        shadow::start(configuration.shadow.as_ref(), sources, &shared).await;
        Ok(Self {
            shared,
            operators,
            tls,
            admin_tls,
            bundles,
            sessions,
            around,
        })
    }
}

/// Reports who cannot get in because a file is missing: nothing else of a start shows it.
fn report_missing(authn: &Authenticator, operators: &Operators) {
    match authn.key_state(SystemTime::now()) {
        Some(KeyState::Gone) => {
            tracing::error!("keys.json is gone: no key lets anybody in until it is restored");
        }
        Some(KeyState::Empty) => {
            tracing::warn!("no key lets anybody in; `keepgate keys create` makes one");
        }
        Some(KeyState::Usable) | None => {}
    }
    if operators.is_gone() {
        tracing::error!("operators.json is gone: nobody but the admin token is known");
    }
}

/// Creates the state directory, or checks that nobody else may change what is in it. Files of keys are checked where they
/// are read.
fn check_state(state: &Path) -> Result<(), FileError> {
    keepgate_files::create_directory(state)?;
    keepgate_files::check_directory(state)?;
    let own = [
        KillFile::FILE,
        DATABASE,
        DATABASE_JOURNAL,
        DATABASE_INDEX,
        clock::FILE,
    ];
    for name in own.into_iter().chain(sessions::FILES).chain(stored::FILES) {
        keepgate_files::check(&state.join(name))?;
    }
    let log = state.join(AUDIT_DIRECTORY);
    if !log.exists() {
        return Ok(());
    }
    keepgate_files::check_directory(&log)?;
    let entries = std::fs::read_dir(&log).into_iter().flatten().flatten();
    // The key to verify with is for everybody to read, also while it is being replaced.
    let public = keepgate_audit::PUBLIC_KEY_FILE.as_bytes();
    let private = entries.filter(|entry| {
        let name = entry.file_name();
        !name.as_encoded_bytes().starts_with(public)
    });
    private
        .map(|entry| entry.path())
        .try_for_each(|path| keepgate_files::check(&path))
}

/// The certificate of a listener, if it has one.
fn load_tls(tls: Option<&config::Tls>) -> Result<Option<Tls>, Failure> {
    let loaded = tls.map(|tls| Tls::load(files(tls)));
    let loaded = loaded.transpose();
    loaded.map_err(|error| Failure::caused(Exit::Start, &error))
}

/// The files of a certificate.
pub(super) fn files(tls: &config::Tls) -> TlsFiles {
    TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
    }
}

/// Makes what knows callers. What it can go on with of the authenticator before it goes on: keys of issuers that are the same.
pub(super) fn authenticator(
    configuration: &Configuration,
    before: Option<(&Configuration, &Authenticator)>,
) -> Result<Authenticator, Failure> {
    match configuration.auth {
        AuthMode::Anonymous => Ok(Authenticator::anonymous()),
        AuthMode::Keys => Authenticator::keys(&configuration.state)
            .map_err(|error| Failure::caused(Exit::State, &error)),
        AuthMode::OAuth => tokens::authenticator(configuration, before),
    }
}

/// Opens the audit log.
fn open_log(configuration: &Configuration) -> Result<Log, Failure> {
    log_of(&configuration.state, Some(configuration.durability))
}

/// Opens the audit log of a state directory, which one process at a time can.
pub(crate) fn log_of(state: &Path, durability: Option<Durability>) -> Result<Log, Failure> {
    let directory = state.join(AUDIT_DIRECTORY);
    let mut settings = keepgate_audit::Settings::new(&directory, origin(&directory)?, node());
    settings.durability = durability.unwrap_or(settings.durability);
    Log::open(settings).map_err(|error| {
        let failure = Failure::caused(Exit::State, &error);
        match error {
            keepgate_audit::OpenError::Locked { .. } => {
                failure.hint("another keepgate runs with this state.dir; end it, or give this one its own")
            }
            keepgate_audit::OpenError::Damaged { .. } => failure.hint(
                "keep the directory as evidence, see `keepgate audit verify`, and start with a new state.dir",
            ),
            keepgate_audit::OpenError::Key(_)
            | keepgate_audit::OpenError::Name { .. }
            | keepgate_audit::OpenError::Origin { .. }
            | keepgate_audit::OpenError::File { .. }
            | keepgate_audit::OpenError::System { .. } => failure,
        }
    })
}

/// The log's name: once made it stays, also when the machine's name changes.
fn origin(directory: &Path) -> Result<String, Failure> {
    let made = keepgate_audit::origin_of(directory);
    if let Some(origin) = made.map_err(|error| Failure::caused(Exit::State, &error))? {
        return Ok(origin);
    }
    // Made after the log at a first start, so without one this is none.
    if directory.parent().is_some_and(keepgate_store::is_in_use) {
        tracing::error!(
            directory = %directory.display(),
            "the audit log is gone although this state directory was in use: a new one begins"
        );
    }
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Failure::new(Exit::Start, format!("failed to read random bytes: {error}"))
    })?;
    Ok(format!("keepgate/{:016x}", u64::from_be_bytes(random)))
}

/// The machine's name, for records.
pub(super) fn node() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let name: String = name.trim().chars().filter(plain).take(64).collect();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name
    }
}
