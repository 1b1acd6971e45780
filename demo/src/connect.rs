//! Opens an rmcp client to a server, over HTTP or stdio, with a session or without.

use std::collections::HashMap;
use std::process::Stdio;

use http::{HeaderName, HeaderValue};
use rmcp::model::ProtocolVersion;
use rmcp::service::{ClientInitializeError, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient};

/// Which way a client talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Era {
    /// `initialize` and a session (2025-03-26, 2025-06-18, 2025-11-25).
    Stateful,
    /// Every request on its own (2026-07-28).
    Stateless,
}

impl Era {
    /// The newest revision that talks this way.
    #[must_use]
    pub fn revision(self) -> ProtocolVersion {
        match self {
            Self::Stateful => ProtocolVersion::LATEST_WITH_INITIALIZE,
            Self::Stateless => ProtocolVersion::V_2026_07_28,
        }
    }

    /// How rmcp is told to open the connection in `revision`.
    fn lifecycle(self, revision: ProtocolVersion) -> ClientLifecycleMode {
        match self {
            Self::Stateful => ClientLifecycleMode::Initialize,
            Self::Stateless => ClientLifecycleMode::Discover {
                preferred_versions: vec![revision],
            },
        }
    }
}

/// Where the server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// A Streamable HTTP endpoint, with headers to send on every request.
    Http {
        /// The endpoint; `http` only, rmcp is built without TLS here.
        url: String,
        /// Sent on every request, names in lower case.
        headers: HashMap<HeaderName, HeaderValue>,
    },
    /// A program that speaks MCP on stdin and stdout.
    Stdio {
        /// The program and its arguments.
        command: Vec<String>,
    },
}

impl Target {
    /// An HTTP endpoint. With a `key`, requests carry `Authorization: Bearer <key>`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Header`] if the key cannot stand in a header.
    pub fn http(url: impl Into<String>, key: Option<&str>) -> Result<Self, ConnectError> {
        let mut headers = HashMap::new();
        if let Some(key) = key {
            headers.insert(
                http::header::AUTHORIZATION,
                value(&format!("Bearer {key}"))?,
            );
        }
        Ok(Self::Http {
            url: url.into(),
            headers,
        })
    }

    /// Adds the header `line`, written `Name: value`. Without effect on stdio.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Header`] if it is not a header.
    pub fn with_header(mut self, line: &str) -> Result<Self, ConnectError> {
        let broken = || ConnectError::Header {
            line: line.to_owned(),
        };
        let (name, text) = line.split_once(':').ok_or_else(broken)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| broken())?;
        let text = value(text.trim())?;
        if let Self::Http { headers, .. } = &mut self {
            headers.insert(name, text);
        }
        Ok(self)
    }
}

fn value(text: &str) -> Result<HeaderValue, ConnectError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ConnectError::Header {
        line: "(value not shown)".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a header.
    #[error("not a header: `{line}`")]
    Header {
        /// What was given.
        line: String,
    },
    /// The command line of a stdio server is empty.
    #[error("no command to start")]
    NoCommand,
    /// The program could not be started.
    #[error("failed to start `{program}`")]
    Start {
        /// What was to be started.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The server did not take the client.
    #[error("failed to open the connection")]
    Open(#[source] Box<ClientInitializeError>),
}

/// Opens a connection. `handler` answers what the server asks, and its `get_info` must name
/// `revision` for a session.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect<H: ClientHandler>(
    handler: H,
    target: &Target,
    era: Era,
    revision: ProtocolVersion,
) -> Result<RunningService<RoleClient, H>, ConnectError> {
    let lifecycle = era.lifecycle(revision);
    let opened = match target {
        Target::Http { url, headers } => {
            let config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                .custom_headers(headers.clone());
            let transport = StreamableHttpClientTransport::from_config(config);
            handler.serve_with_lifecycle(transport, lifecycle).await
        }
        Target::Stdio { command } => {
            let transport = child(command)?;
            handler.serve_with_lifecycle(transport, lifecycle).await
        }
    };
    opened.map_err(|error| ConnectError::Open(Box::new(error)))
}

fn child(command: &[String]) -> Result<TokioChildProcess, ConnectError> {
    let (program, arguments) = command.split_first().ok_or(ConnectError::NoCommand)?;
    let mut process = tokio::process::Command::new(program);
    process.args(arguments).kill_on_drop(true);
    TokioChildProcess::builder(process)
        .stderr(Stdio::inherit())
        .spawn()
        .map(|(transport, _)| transport)
        .map_err(|source| ConnectError::Start {
            program: program.clone(),
            source,
        })
}
