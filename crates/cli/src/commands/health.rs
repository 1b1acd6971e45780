//! `health`: asks a running gateway how it is, for container engines and orchestrators that can start a program but not
//! reach loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use keepgate_net::{ConnectorSettings, OneShot, Target, exchange};
use serde::Serialize;

use super::Context;
use crate::arguments::Health;
use crate::config;
use crate::exit::Exit;
use crate::failure::{Failure, chain};
use crate::run_file::{Found, RunFile};

/// How long each step may take: connecting, asking, hearing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most of the answer that is read; its first line is what counts.
const LONGEST: u64 = 4096;

/// What the gateway said.
#[derive(Serialize)]
struct Said {
    address: String,
    path: &'static str,
    status: u16,
}

/// `health`.
pub(super) fn run(health: &Health, context: &mut Context<'_>) -> Result<(), Failure> {
    let (address, certificate) = match health.address {
        Some(address) => (address, health.certificate.clone()),
        None => listener(context)?,
    };
    let path = if health.ready { "/readyz" } else { "/livez" };
    let asked = match &certificate {
        None => ask(address, path),
        Some(certificate) => ask_over_tls(address, path, certificate),
    };
    let (status, body) = asked.map_err(|error| {
        let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        let why = match late {
            true => format!("for {} s", PATIENCE.as_secs()),
            false => error.to_string(),
        };
        Failure::new(Exit::Negative, format!("no answer: {why}: `{address}`"))
    })?;
    if status != 200 {
        let body = body.trim_end();
        let body = if body.is_empty() {
            String::new()
        } else {
            format!("\n{body}")
        };
        let said = format!("the gateway answers {status}: `{address}{path}`{body}");
        return Err(Failure::new(Exit::Negative, said));
    }
    let said = Said {
        address: address.to_string(),
        path,
        status,
    };
    Ok(context.output.print(&said, |_| "ok\n".to_owned())?)
}

/// The operators' listener of the gateway that runs with the state directory, else that of the configuration, and the file of
/// its certificate: an address that waits for a restart is not asked.
fn listener(context: &Context<'_>) -> Result<(SocketAddr, Option<PathBuf>), Failure> {
    let state = config::state_directory(&context.config, &context.variables);
    if let Some(Found::Running(run)) = state.map(|state| RunFile::find(&state)) {
        return Ok((run.reachable(), run.certificate));
    }
    let configuration = context.configuration();
    let failed =
        |failure: Failure| failure.hint("--address 127.0.0.1:9080 works without a configuration");
    let admin = configuration.map_err(failed)?.admin;
    Ok((admin.listen, admin.tls.map(|tls| tls.certificate)))
}

/// The status of the answer (RFC 9112 §4), and its body.
fn ask(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    let line = answer
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let status = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other("what answers does not speak HTTP"))?;
    let body = String::from_utf8_lossy(&answer);
    let body = body.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok((status, body.unwrap_or_default().to_owned()))
}

/// Status and body of the answer of a listener that shows this certificate.
fn ask_over_tls(
    address: SocketAddr,
    path: &str,
    certificate: &Path,
) -> std::io::Result<(u16, String)> {
    let other = |error: &(dyn std::error::Error + 'static)| std::io::Error::other(chain(error));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connector = OneShot::new(ConnectorSettings {
        timeout: PATIENCE,
        native_roots: false,
        pinned: Some(certificate.to_path_buf()),
        ..ConnectorSettings::default()
    })
    .map_err(|error| other(&error))?;
    let target = Target::parse(&format!("https://{address}"));
    let target = target.ok_or_else(|| std::io::Error::other("not an address"))?;
    let request = Request::get(path).body(Full::default());
    let request = request.map_err(|error| other(&error))?;
    let cap = usize::try_from(LONGEST).unwrap_or(usize::MAX);
    let answered = exchange(&connector, &target, request, cap, PATIENCE * 2);
    let answer = runtime.block_on(answered).map_err(|error| other(&error))?;
    let body = String::from_utf8_lossy(answer.body()).into_owned();
    Ok((answer.status().as_u16(), body))
}

#[cfg(test)]
mod tests;
