//! The whole gateway: `keepgate-gateway`'s own stack with nothing left out, behind `transport`'s listener.
//!
//! Callers have API keys, the host is checked, sessions are kept, every call is judged and recorded. What the `keepgate`
//! command adds around it (configuration, reload, admin listener, logging) costs nothing per call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use keepgate_audit::Log;
use keepgate_authn::{ApiKeys, Authenticator, KeyRequest};
use keepgate_call::ServerName;
use keepgate_gateway::limit::Rate;
use keepgate_gateway::settings::{
    ConcurrencyLimits, HttpTransport, HttpWay, Limits, Rates, Server, ServerLimits, Settings,
    Timeouts, Trust, Upstream,
};
use keepgate_gateway::{Gateway, Shared};
use keepgate_policy::Policy;
use keepgate_transport::http::server::{Listener, ListenerSettings, serve as serve_http};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::serve;

/// The server's name in policies and paths.
const SERVER: &str = "bench";

/// Room for a thousand sessions of the one caller the bench has; the default is a hundred.
pub(crate) const SESSIONS_PER_CALLER: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// What the gateway is told.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Where it sends calls.
    pub(crate) upstream: SocketAddr,
    /// The folder of Rego policies.
    pub(crate) policy: PathBuf,
    /// The folder of keys and log.
    pub(crate) state: PathBuf,
}

/// Runs the gateway until the parent is gone. Prints its address, then the API key that opens it.
pub(crate) fn run(start: &Start) -> Result<(), Error> {
    serve::runtime()?.block_on(async {
        let key = create_key(&start.state)?;
        let shared = shared(start)?;
        let gateway = Gateway::new(&settings(start)?, Arc::clone(&shared))
            .map_err(Error::part("build the gateway"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(address, ListenerSettings::default())
            .await
            .map_err(Error::part("listen"))?;
        serve::announce(listener.addr())?;
        serve::say(&key)?;
        let shutdown = CancellationToken::new();
        tokio::select! {
            _ = serve_http(listener, gateway.clone(), shutdown.clone()) => {}
            () = gateway.clone().sweep() => {}
            _ = serve::parent_end() => {}
        }
        shared.log.close();
        Ok(())
    })
}

/// Creates the key of the bench's one caller in the store under `state`.
pub(crate) fn create_key(state: &Path) -> Result<String, Error> {
    let keys = ApiKeys::open(state).map_err(Error::part("open the key store"))?;
    let request = KeyRequest {
        subject: "bench".to_owned(),
        owner: None,
        roles: vec!["analyst".to_owned()],
        scopes: vec!["reports".to_owned()],
        tenant: String::new(),
        servers: Some(vec![SERVER.to_owned()]),
        expires: None,
    };
    let created = keys
        .create(request, SystemTime::now())
        .map_err(Error::part("create an API key"))?;
    Ok(created.secret.to_string())
}

fn shared(start: &Start) -> Result<Arc<Shared>, Error> {
    let log =
        keepgate_audit::Settings::new(start.state.join("audit"), "keepgate.bench/log", "bench");
    let log = Log::open(log).map_err(Error::part("open the audit log"))?;
    let policy = Policy::load(
        std::slice::from_ref(&start.policy),
        &keepgate_policy::Settings::default(),
    )
    .map_err(Error::part("load the policy"))?;
    let authn = Authenticator::keys(&start.state).map_err(Error::part("open the key store"))?;
    let shared = Shared::new(log, Arc::new(policy), Arc::new(authn));
    Ok(Arc::new(
        shared.map_err(Error::part("share what is shared"))?,
    ))
}

/// A rate that counts every call and refuses none.
fn endless() -> Option<Rate> {
    Rate::new(NonZeroU32::MAX, Duration::from_secs(60), NonZeroU32::MAX)
}

fn settings(start: &Start) -> Result<Settings, Error> {
    let unusable = || Error::Reply(format!("an upstream at {}", start.upstream));
    let url = format!("http://{}/bench/mcp", start.upstream);
    let server = Server {
        upstream: Upstream::Http {
            transport: HttpTransport::Streamable,
            url: url.parse().map_err(|_| unusable())?,
            way: HttpWay::default(),
            headers: Vec::new(),
        },
        owner: Some("crm-team".to_owned()),
        environment: Some("production".to_owned()),
        trust: Trust::default(),
        instructions: Trust::default().instructions(),
        labels: Vec::new(),
        timeouts: Timeouts::default(),
        idle: None,
        credentials: Vec::new(),
        limits: ServerLimits {
            rate: endless(),
            concurrency: NonZeroUsize::new(1_000_000),
            ..ServerLimits::default()
        },
        definition: None,
        arguments: Default::default(),
        plaintext: false,
        validation: Default::default(),
        listen_sse: false,
    };
    let name = ServerName::parse(SERVER).ok_or_else(unusable)?;
    Ok(Settings {
        servers: BTreeMap::from([(name, server)]),
        hosts: Vec::new(),
        path: String::new(),
        origins: Vec::new(),
        limits: Limits {
            sessions_per_caller: SESSIONS_PER_CALLER,
            rate: Rates {
                session: endless(),
                caller: endless(),
                opening: endless(),
            },
            concurrency: ConcurrencyLimits {
                session: NonZeroUsize::new(1_000_000),
                caller: NonZeroUsize::new(1_000_000),
                caller_per_server: NonZeroUsize::new(1_000_000),
            },
            ..Limits::default()
        },
        clear_arguments: Vec::new(),
        credentials: Default::default(),
    })
}
