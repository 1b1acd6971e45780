//! The command line.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use keepgate_demo::connect::{ConnectError, Era, Target};
use keepgate_demo::crm::Crm;
use keepgate_demo::fixture::Fixture;
use keepgate_demo::notes::Notes;
use keepgate_demo::serve::{self, ServeError};
use keepgate_demo::{driver, explain, signal};
use rmcp::model::ProtocolVersion;
use tokio::net::TcpListener;

/// Keepgate's demo: two MCP servers, an agent, and the gate between them.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the demo's support desk over Streamable HTTP.
    Crm {
        /// Port on 127.0.0.1; 0 for any free one. The address is printed.
        #[arg(long, default_value_t = 0)]
        port: u16,
        /// End when standard input closes, that is, with the process that started this one.
        #[arg(long)]
        with_parent: bool,
    },
    /// Serve the demo's notebook on stdin and stdout.
    Notes,
    /// Serve one of everything, for tests.
    Fixture(FixtureArguments),
    /// Try everything the fixture offers and report as JSON.
    RmcpClient(ClientArguments),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct FixtureArguments {
    /// Serve over Streamable HTTP on this port of 127.0.0.1; 0 for any free one. The address is printed.
    #[arg(long, value_name = "PORT")]
    http: Option<u16>,
    /// Serve on stdin and stdout.
    #[arg(long)]
    stdio: bool,
}

#[derive(Debug, Args)]
struct ClientArguments {
    /// The endpoint, `http://…/mcp`.
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    url: Option<String>,
    /// With a session or without.
    #[arg(long, value_enum)]
    era: Era,
    /// An older stateful revision to speak, for example 2025-06-18.
    #[arg(long)]
    revision: Option<String>,
    /// A header to send on every request, `Name: value`; may be given more than once.
    #[arg(long, value_name = "LINE")]
    header: Vec<String>,
    /// Instead of `--url`: a stdio server to start, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Arguments {
    /// Does what was asked and says on standard error why it could not.
    pub(crate) async fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Crm { port, with_parent } => crm(port, with_parent).await,
            Command::Notes => notes().await,
            Command::Fixture(arguments) => fixture(&arguments).await,
            Command::RmcpClient(arguments) => drive(arguments).await,
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                // There is nowhere left to report a failure to write this line.
                writeln!(std::io::stderr(), "keepgate-demo: {}", explain(&error)).ok();
                ExitCode::FAILURE
            }
        }
    }
}

/// Why a subcommand could not do its work.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("the server ended")]
    Serve(#[from] ServeError),
    #[error("cannot use these arguments")]
    Arguments(#[from] ConnectError),
    #[error("no such revision: `{revision}`")]
    Revision {
        revision: String,
        source: serde_json::Error,
    },
    #[error("failed to write the output")]
    Output(#[from] std::io::Error),
}

/// Whether all went well, or why it did not get that far.
type Done = Result<bool, CommandError>;

async fn crm(port: u16, with_parent: bool) -> Done {
    let crm = Crm::new();
    let listener = announced(port).await?;
    let stop = signal::stop();
    if with_parent {
        signal::stop_with_stdin(stop.clone());
    }
    serve::http(move || crm.clone(), listener, stop).await?;
    Ok(true)
}

async fn notes() -> Done {
    serve::stdio(Notes::new()).await?;
    Ok(true)
}

async fn fixture(arguments: &FixtureArguments) -> Done {
    let fixture = Fixture::new();
    match arguments.http {
        None => serve::stdio(fixture).await?,
        Some(port) => {
            let listener = announced(port).await?;
            serve::http(move || fixture.session(), listener, signal::stop()).await?;
        }
    }
    Ok(true)
}

/// Listens on `port` of the loopback address and prints the endpoint on a line of its own.
async fn announced(port: u16) -> Result<TcpListener, CommandError> {
    let listener = serve::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let address = listener.local_addr()?;
    let mut out = std::io::stdout();
    writeln!(out, "http://{address}/mcp")?;
    out.flush()?;
    Ok(listener)
}

async fn drive(arguments: ClientArguments) -> Done {
    let mut target = match arguments.url {
        Some(url) => Target::http(url, None)?,
        None => Target::Stdio {
            command: arguments.command,
        },
    };
    for line in &arguments.header {
        target = target.with_header(line)?;
    }
    let revision = match arguments.revision {
        Some(name) => revision(name)?,
        None => arguments.era.revision(),
    };
    let report = driver::run(&target, arguments.era, revision).await;
    writeln!(std::io::stdout(), "{report}")?;
    Ok(report.is_good())
}

fn revision(name: String) -> Result<ProtocolVersion, CommandError> {
    serde_json::from_value(serde_json::Value::String(name.clone())).map_err(|source| {
        CommandError::Revision {
            revision: name,
            source,
        }
    })
}
