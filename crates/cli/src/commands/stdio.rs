//! `stdio`: a gateway's endpoint for a client that speaks only stdio.

use std::io::BufReader;

use http::{HeaderValue, Uri};
use keepgate_credential::{Place, Reference};
use keepgate_net::ConnectorSettings;
use keepgate_transport::http::client::{Client, ClientSettings};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::arguments::StdioBridge;
use crate::bridge;
use crate::exit::Exit;
use crate::failure::Failure;

/// Size of the buffer standard input is read through, in bytes.
const BUFFER: usize = 64 << 10;

/// `stdio`.
pub(super) fn run(wish: &StdioBridge, context: &mut Context<'_>) -> Result<(), Failure> {
    let authorization = wish.key.as_deref().map(authorization).transpose()?;
    let url: Uri = wish.url.parse().map_err(|_error| usage("not a URL"))?;
    if authorization.is_some() && keepgate_gateway::settings::travels_clear(&url) {
        let failure =
            usage("the key would travel in clear: the URL is http, and another machine's");
        return Err(failure.hint("use https"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
    let carried = runtime.block_on(carry(wish, authorization, context));
    // The thread that reads standard input may still wait for a line.
    runtime.shutdown_background();
    carried
}

async fn carry(
    wish: &StdioBridge,
    authorization: Option<HeaderValue>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let agent = concat!("keepgate-stdio/", env!("CARGO_PKG_VERSION"));
    let client = Client::new(ClientSettings {
        connector: ConnectorSettings {
            extra_roots: wish.ca.iter().cloned().collect(),
            ..ConnectorSettings::default()
        },
        headers: vec![(http::header::USER_AGENT, HeaderValue::from_static(agent))],
        ..ClientSettings::default()
    });
    let client = client.map_err(|error| Failure::caused(Exit::Start, &error))?;
    let endpoint = client
        .endpoint(&wish.url)
        .map_err(|error| Failure::caused(Exit::Usage, &error))?;
    let failed = |error: std::io::Error| Failure::caused(Exit::Start, &error);
    let mut ends = [
        signal(SignalKind::terminate()).map_err(failed)?,
        signal(SignalKind::interrupt()).map_err(failed)?,
    ];
    let input = BufReader::with_capacity(BUFFER, std::io::stdin());
    let mut lines = bridge::read_lines(input).map_err(failed)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    // Between the input and the bridge, so that a signal ends it as the end of the input does.
    tokio::spawn(async move {
        let [terminate, interrupt] = &mut ends;
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
            };
            let Some(line) = line else {
                return;
            };
            if sender.send(line).await.is_err() {
                return;
            }
        }
    });
    let mut messages = bridge::start(endpoint, authorization, receiver);
    while let Some(message) = messages.recv().await {
        context.output.raw(&message)?;
    }
    Ok(())
}

/// The line that carries the key.
fn authorization(reference: &str) -> Result<HeaderValue, Failure> {
    let wrong = |message: &str| {
        // Not repeated: it may be the key itself.
        let failure = usage(&format!("--key: {message}"));
        failure.hint("name where the key is, not the key: file:/path or env:NAME")
    };
    let parsed = Reference::parse(reference).map_err(|error| wrong(&error.to_string()))?;
    if matches!(parsed.place(), Place::Vault { .. }) {
        return Err(wrong("a vault is the gateway's, not a client's"));
    }
    let secret = keepgate_credential::read_local(&parsed).map_err(|fault| {
        let message = format!("no key from `{parsed}`: {fault}");
        Failure::new(Exit::Usage, message).hint(fault.hint())
    })?;
    let text = secret.expose_text().unwrap_or_default().trim();
    let line = HeaderValue::from_str(&format!("Bearer {text}"));
    let mut line = line.ok().filter(|_| !text.is_empty());
    if let Some(line) = &mut line {
        line.set_sensitive(true);
    }
    line.ok_or_else(|| wrong("what is there is no key"))
}

fn usage(message: &str) -> Failure {
    Failure::new(Exit::Usage, message)
}
