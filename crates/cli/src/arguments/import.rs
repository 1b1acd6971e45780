//! `import` and `stdio`: what goes between clients' files and the gateway.

use std::path::PathBuf;

use clap::Args;

use crate::import::client::Client;

/// Servers to import.
#[derive(Debug, Args)]
pub(crate) struct ImportServers {
    /// The client's file: claude_desktop_config.json, .mcp.json, ~/.claude.json, mcp.json of VS Code or Cursor,
    /// mcp_config.json of Windsurf
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Directory that keepgate.yaml, policies and secrets go to
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) into: PathBuf,
    /// Replace files that are there; they stay as NAME.bak
    #[arg(long)]
    pub(crate) force: bool,
    /// Start each server with a command, in the sandbox and after asking, and name its tools in the policy
    #[arg(long, conflicts_with = "client")]
    pub(crate) probe: bool,
    /// Start them without asking
    #[arg(long, requires = "probe")]
    pub(crate) yes: bool,
    /// Show how the client's file changes so that it reaches these servers through the gateway; imports nothing
    #[arg(long, value_name = "CLIENT", value_enum)]
    pub(crate) client: Option<Client>,
    /// Change the client's file; it stays as FILE.bak
    #[arg(long, requires = "client")]
    pub(crate) write: bool,
    /// Address clients reach the gateway at
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:8080",
        requires = "client"
    )]
    pub(crate) gateway: String,
    /// Reference to the key, for a client that starts `keepgate stdio`: file:/path or env:NAME [default: secrets/keepgate-key]
    #[arg(long, value_name = "REF", requires = "client")]
    pub(crate) key: Option<String>,
}

/// An endpoint to bridge to.
#[derive(Debug, Args)]
pub(crate) struct StdioBridge {
    /// The endpoint of a server behind the gateway, like http://127.0.0.1:8080/files/mcp
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// Reference to the API key or token: file:/path or env:NAME
    #[arg(long, value_name = "REF")]
    pub(crate) key: Option<String>,
    /// PEM file with certificates to trust besides the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}
