//! `health`: asks a running gateway how it is, for container engines and orchestrators that can start a program but not
//! reach loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use super::Context;
use crate::arguments::Health;
use crate::config;
use crate::exit::Exit;
use crate::failure::Failure;
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
    let address = match health.address {
        Some(address) => address,
        None => address(context)?,
    };
    let path = if health.ready { "/readyz" } else { "/livez" };
    let (status, body) = ask(address, path).map_err(|error| {
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

/// The operators' listener of the gateway that runs with the state directory, else that of the configuration: an address
/// that waits for a restart is not asked.
fn address(context: &Context<'_>) -> Result<SocketAddr, Failure> {
    let state = config::state_directory(&context.config, &context.variables);
    if let Some(Found::Running(run)) = state.map(|state| RunFile::find(&state)) {
        return Ok(run.reachable());
    }
    let configuration = context.configuration();
    let failed =
        |failure: Failure| failure.hint("--address 127.0.0.1:9080 works without a configuration");
    Ok(configuration.map_err(failed)?.admin.listen)
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

#[cfg(test)]
mod tests;
