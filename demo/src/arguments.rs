//! The command line.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use keepgate_demo::agent::{self, AgentError, Place};
use keepgate_demo::connect::{ConnectError, Era, Target};
use keepgate_demo::console::Console;
use keepgate_demo::crm::Crm;
use keepgate_demo::fixture::Fixture;
use keepgate_demo::notes::Notes;
use keepgate_demo::scene::attend::AttendError;
use keepgate_demo::scene::{self, SceneError};
use keepgate_demo::serve::{self, ServeError};
use keepgate_demo::{driver, explain, signal};
use rmcp::model::ProtocolVersion;
use tokio::net::TcpListener;

/// Keepgate's demo: two MCP servers, an agent, and the gate between them.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    scene: SceneArguments,
}

/// Without a subcommand: play the whole demo.
#[derive(Debug, Args)]
struct SceneArguments {
    /// Stay up afterwards and say how to connect a client of your own.
    #[arg(long)]
    stay: bool,
    /// Approve the deletion of an account without waiting for somebody at the terminal.
    #[arg(long)]
    yes: bool,
    /// Port agents connect to [default: 8080, or any free one].
    #[arg(long)]
    port: Option<u16>,
    /// Port operators connect to [default: 9080, or any free one].
    #[arg(long)]
    admin_port: Option<u16>,
    /// Where the demo keeps its files; emptied first if a demo made it.
    #[arg(long, value_name = "DIRECTORY", default_value = "demo-state")]
    state: PathBuf,
    /// The `keepgate` program [default: the one beside this program].
    #[arg(long, value_name = "PROGRAM", env = "KEEPGATE_BIN")]
    keepgate: Option<PathBuf>,
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
        /// Let in only who shows this token.
        #[arg(long, env = "DEMO_CRM_TOKEN", hide_env_values = true)]
        token: Option<String>,
    },
    /// Serve the demo's notebook on stdin and stdout.
    Notes,
    /// Do a support agent's work and say how it went.
    Agent(AgentArguments),
    /// Run a command that ends when standard input closes.
    #[command(hide = true)]
    Attend {
        /// The command, after `--`.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Serve one of everything, for tests.
    Fixture(FixtureArguments),
    /// Try everything the fixture offers and report as JSON.
    RmcpClient(ClientArguments),
    /// Open, list and call at each server of a list, and print a line for each.
    RmcpWalk {
        /// JSON: `[[name, url or [command, argument...]], ...]`.
        list: PathBuf,
    },
}

#[derive(Debug, Args)]
#[group(id = "place", required = true, multiple = false)]
struct PlaceArguments {
    /// Where Keepgate is, `http://host:port`: work through it.
    #[arg(long, value_name = "URL")]
    gate: Option<String>,
    /// Where the support desk itself is, `http://…/mcp`: work without a gate, with a notebook of its own.
    #[arg(long, value_name = "URL")]
    direct: Option<String>,
}

#[derive(Debug, Args)]
struct AgentArguments {
    #[command(flatten)]
    place: PlaceArguments,
    /// The key to show at the gate.
    #[arg(long, env = "KEEPGATE_DEMO_KEY", hide_env_values = true)]
    key: Option<String>,
    /// With a session or without; both if not given.
    #[arg(long, value_enum)]
    era: Option<Era>,
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
            None => play(self.scene).await,
            Some(Command::Crm {
                port,
                with_parent,
                token,
            }) => crm(port, with_parent, token.as_deref()).await,
            Some(Command::Notes) => notes().await,
            Some(Command::Agent(arguments)) => agent(&arguments).await,
            Some(Command::Attend { command }) => attend(&command).await,
            Some(Command::Fixture(arguments)) => fixture(&arguments).await,
            Some(Command::RmcpClient(arguments)) => drive(arguments).await,
            Some(Command::RmcpWalk { list }) => walk(&list).await,
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
    #[error("the demo did not come to its end")]
    Scene(#[from] SceneError),
    #[error("failed to attend a command")]
    Attend(#[from] AttendError),
    #[error("the agent gave up")]
    Agent(#[from] AgentError),
    #[error("the system refused")]
    System(#[from] std::io::Error),
}

/// Whether all went well, or why it did not get that far.
type Done = Result<bool, CommandError>;

async fn play(arguments: SceneArguments) -> Done {
    let options = scene::Options {
        directory: arguments.state,
        port: arguments.port,
        admin_port: arguments.admin_port,
        stay: arguments.stay,
        yes: arguments.yes,
        keepgate: arguments.keepgate,
    };
    Ok(scene::play(&options, &signal::stop()).await?)
}

async fn crm(port: u16, with_parent: bool, token: Option<&str>) -> Done {
    let crm = Crm::new();
    let listener = announced(port).await?;
    let stop = signal::stop();
    if with_parent {
        signal::stop_with_stdin(stop.clone());
    }
    serve::http(move || crm.clone(), listener, token, stop).await?;
    Ok(true)
}

async fn notes() -> Done {
    serve::stdio(Notes::new()).await?;
    Ok(true)
}

async fn agent(arguments: &AgentArguments) -> Done {
    let key = arguments.key.as_deref();
    let place = match (&arguments.place.gate, &arguments.place.direct) {
        (Some(gate), _) => {
            let gate = gate.trim_end_matches('/');
            Place {
                crm: Target::http(format!("{gate}/crm/mcp"), key)?,
                notes: Target::http(format!("{gate}/notes/mcp"), key)?,
                gated: true,
            }
        }
        (None, direct) => Place {
            crm: Target::http(direct.clone().unwrap_or_default(), None)?,
            notes: Target::Stdio {
                command: vec![own_path()?, "notes".to_owned()],
            },
            gated: false,
        },
    };
    let console = Console::new();
    let eras = arguments
        .era
        .map_or_else(|| vec![Era::Stateful, Era::Stateless], |era| vec![era]);
    let mut surprises = 0;
    for era in eras {
        surprises += agent::work(&place, era, &console).await?;
    }
    surprises += agent::hurry(&place, &console).await?;
    Ok(surprises == 0)
}

/// Where this program is.
fn own_path() -> Result<String, CommandError> {
    Ok(std::env::current_exe()?.to_string_lossy().into_owned())
}

async fn attend(command: &[String]) -> Done {
    let ended = scene::attend::attend(command, signal::stop()).await?;
    Ok(ended.success())
}

async fn fixture(arguments: &FixtureArguments) -> Done {
    let fixture = Fixture::new();
    match arguments.http {
        None => serve::stdio(fixture).await?,
        Some(port) => {
            let listener = announced(port).await?;
            serve::http(move || fixture.session(), listener, None, signal::stop()).await?;
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

async fn walk(list: &Path) -> Done {
    let targets = serde_json::from_slice(&std::fs::read(list)?).map_err(std::io::Error::from)?;
    let mut out = std::io::stdout();
    for line in driver::walk(targets).await {
        writeln!(out, "{line}")?;
    }
    Ok(true)
}

fn revision(name: String) -> Result<ProtocolVersion, CommandError> {
    serde_json::from_value(serde_json::Value::String(name.clone())).map_err(|source| {
        CommandError::Revision {
            revision: name,
            source,
        }
    })
}
