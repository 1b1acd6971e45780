//! The listeners: data and admin, each with its service and its own end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use keepgate_admin::{Admin, Kills, PeerConnection};
use keepgate_console::{Console, ConsoleSettings};
use keepgate_gateway::Gateway;
use keepgate_transport::Body;
use keepgate_transport::http::server::{Drained, Listener, ListenerSettings, Peer, serve};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::{ServiceExt, service_fn};

use super::descriptors::Descriptors;
use super::open::{AUDIT_DIRECTORY, Opened};
use super::source::View;
use crate::config::Configuration;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::run_file::{Announced, RunFile};

/// Most connections of operators and their probes.
pub(super) const ADMIN_CONNECTIONS: usize = 128;
/// What requests of operators get to end.
const ADMIN_DRAIN: Duration = Duration::from_secs(2);

/// Binds all data listeners, then serves `gateway` on them until `stop`.
pub(super) async fn data(
    configuration: &Configuration,
    opened: &Opened,
    gateway: &Gateway,
    descriptors: Descriptors,
    stop: &CancellationToken,
) -> Result<JoinSet<Drained>, Failure> {
    let connections = descriptors.connections(configuration);
    let tls = opened.tls.clone();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let settings = ListenerSettings {
        tls,
        header_timeout: configuration.header_timeout,
        max_connections: connections,
        trusted_proxies: configuration.trusted_proxies.clone().into(),
        drain: configuration.drain.patience,
        ..ListenerSettings::default()
    };
    let mut listeners = Vec::new();
    for address in &configuration.listen {
        listeners.push(bind(*address, "listen", settings.clone()).await?);
    }
    let mut serving = JoinSet::new();
    for listener in listeners {
        let address = listener.addr();
        let base = configuration.public_url.as_ref().map_or_else(
            || format!("{scheme}://{address}"),
            |url| url.to_string().trim_end_matches('/').to_owned(),
        );
        tracing::info!(%address, "listening for clients");
        for (server, settings) in &configuration.gateway.servers {
            tracing::info!(%server, url = format!("{base}/{server}/mcp"), "serving");
            if settings.listen_sse {
                tracing::info!(%server, url = format!("{base}/{server}/sse"), "serving HTTP+SSE");
            }
        }
        serving.spawn(serve(listener, gateway.clone(), stop.clone()));
    }
    Ok(serving)
}

/// Binds the operators' listener and serves it until `stop`; announces it as long as the second part is kept.
pub(super) async fn admin(
    configuration: &Configuration,
    view: &Arc<View>,
    opened: &Opened,
    kills: &Kills,
    stop: &CancellationToken,
) -> Result<(JoinSet<Drained>, Option<Announced>), Failure> {
    let operators = &opened.operators;
    let settings = ListenerSettings {
        tls: opened.admin_tls.clone(),
        max_connections: ADMIN_CONNECTIONS,
        drain: ADMIN_DRAIN,
        ..ListenerSettings::default()
    };
    let listener = bind(configuration.admin.listen, "admin.listen", settings).await?;
    let address = listener.addr();
    tracing::info!(%address, token = %operators.bootstrap().path().display(), "listening for operators");
    let admin = Admin::new(
        Arc::clone(view),
        Arc::clone(operators),
        kills.clone(),
        opened.shared.approvals.clone(),
        configuration.admin.served_hosts(),
    );
    let console = ConsoleSettings {
        public_url: configuration.admin.public_url.clone(),
        has_tls: opened.admin_tls.is_some(),
        audit: configuration.state.join(AUDIT_DIRECTORY),
    };
    let console = Console::new(admin.clone(), opened.shared.log.clone(), console);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (admin, console) = (admin.clone(), console.clone());
        if let Some(peer) = request.extensions().get::<Peer>().cloned() {
            let connection = PeerConnection::new(move || peer.authenticated());
            request.extensions_mut().insert(connection);
        }
        async move {
            let response = if Console::<Arc<View>>::takes(request.uri().path()) {
                console.oneshot(request).await
            } else {
                admin.oneshot(request).await
            };
            response.map(|response| response.map(Body::full))
        }
    });
    let tls = configuration.admin.tls.as_ref();
    let certificate = tls.map(|tls| tls.certificate.as_path());
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, service, stop.clone()));
    Ok((
        serving,
        RunFile::announce(&configuration.state, address, certificate),
    ))
}

/// Binds one address.
async fn bind(
    address: SocketAddr,
    key: &str,
    settings: ListenerSettings,
) -> Result<Listener, Failure> {
    Listener::bind(address, settings).await.map_err(|error| {
        let hint = format!("is another process on it? `ss -ltnp` tells; `{key}` sets the address");
        Failure::new(Exit::Start, chain(&error)).hint(&hint)
    })
}
