//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};

mod approvals;
mod bundle;
mod decisions;
mod import;
mod kill;
mod policy;

pub(crate) use approvals::{
    Approvals, Grants, ListApprovals, NotifyTest, OneApproval, RevokeGrant, Verdict,
    WatchApprovals, Where,
};
pub(crate) use bundle::{BuildBundle, Bundle, Keys as BundleKeys, SignBundle, VerifyBundle};
pub(crate) use decisions::{EvalPolicy, ExplainPolicy, From, RecordPolicy, ReplayPolicy};
pub(crate) use import::{ImportServers, StdioBridge};
pub(crate) use kill::{Api, ClearKill, DrillKill, Kill, ListKills, Operators, SetKill};
pub(crate) use policy::{
    CoveragePolicy, Directories, NewPolicy, Policy, Schema, Template, TestPolicy,
};

use crate::exit::Exit;
use crate::output::Format;

/// The file that is read when none is named.
const DEFAULT_CONFIG: &str = "keepgate.yaml";
/// The file that is read when there is none in the working directory: that of the packages and of the shipped unit.
const SYSTEM_CONFIG: &str = "/etc/keepgate/keepgate.yaml";
/// The variable that names the file.
const CONFIG_VARIABLE: &str = "KEEPGATE_CONFIG";

/// A policy gateway in front of MCP servers.
///
/// Every configuration key can also be set by a variable: admin.listen by KEEPGATE_ADMIN__LISTEN, servers.crm.url by
/// KEEPGATE_SERVERS__CRM__URL. Variables win over the file.
#[derive(Debug, Parser)]
#[command(
    name = "keepgate",
    version,
    styles = Styles::plain(),
    disable_help_subcommand = true,
    term_width = 100,
    after_help = exit_codes()
)]
pub(crate) struct Arguments {
    /// Configuration file [default: what KEEPGATE_CONFIG names, keepgate.yaml, /etc/keepgate/keepgate.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Form of what is printed
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = false
    )]
    pub(crate) output: Format,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The configuration file: the flag, else the variable, else the usual name in the working directory, else the
    /// system's.
    pub(crate) fn config_path(&self, variables: &[(OsString, OsString)]) -> PathBuf {
        let named = || {
            let found = variables
                .iter()
                .find(|(name, value)| name == CONFIG_VARIABLE && !value.is_empty());
            found.map(|(_, value)| PathBuf::from(value))
        };
        self.config
            .clone()
            .or_else(named)
            .unwrap_or_else(|| usual([DEFAULT_CONFIG, SYSTEM_CONFIG].map(PathBuf::from)))
    }
}

/// The second path if only that exists; one that is broken is not passed over.
fn usual([first, second]: [PathBuf; 2]) -> PathBuf {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    if !is_there(&first) && is_there(&second) {
        second
    } else {
        first
    }
}

/// The codes, as the help shows them.
fn exit_codes() -> String {
    let lines = Exit::ALL
        .iter()
        .map(|(exit, meaning)| format!("  {:>2}  {meaning}", exit.code()));
    format!(
        "With --output json an error is one object on standard error, unless the answer on standard output has it:\n\
         {{\"error\":{{\"code\":..,\"exit\":..,\"message\":..,\"hint\":..}}}}\n\nExit codes:\n{}",
        lines.collect::<Vec<_>>().join("\n")
    )
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway
    ///
    /// Reloads configuration, policies, keys and certificates when their files change and on SIGHUP; what cannot be
    /// loaded changes nothing. SIGTERM and SIGINT end it after running calls. A second one ends the
    /// delay before that, a third ends it at once; SIGINT has no delay.
    Serve,
    /// Check configuration and policies, without network
    Check(Check),
    /// Ask a running gateway on this machine how it is
    ///
    /// For container engines and orchestrators: ends with 0 if it answers well, with 1 if not.
    Health(Health),
    /// Import the servers of an MCP client's file, with a starter policy
    ///
    /// Takes the files of Claude Desktop, Claude Code, VS Code, Cursor and Windsurf. Secrets in `env`, `headers` and URLs go
    /// to files of their own and are referred to. All or nothing is written, and nothing over what is there.
    Import(ImportServers),
    /// Serve a gateway's endpoint on stdin and stdout, for clients that speak only stdio
    ///
    /// Ends with standard input, and ends the session then. A call of a tool is sent once, whatever happens.
    Stdio(StdioBridge),
    /// The servers behind the gateway
    #[command(subcommand)]
    Servers(Servers),
    /// Rego policies
    #[command(subcommand)]
    Policy(Policy),
    /// API keys of callers
    #[command(subcommand)]
    Keys(Keys),
    /// The signed record of every call
    #[command(subcommand)]
    Audit(Audit),
    /// Cut off servers, tools, callers, or everything, at once
    #[command(subcommand)]
    Kill(Kill),
    /// Decide over calls that wait for a person
    #[command(subcommand)]
    Approvals(Approvals),
    /// List approvals that may be used, and take them back
    #[command(subcommand)]
    Grants(Grants),
    /// The state directory of a gateway that does not run
    #[command(subcommand)]
    State(StateCommand),
    /// Who may work the kill switch and see the operators' pages
    #[command(subcommand)]
    Operators(Operators),
    /// Print the version
    Version,
    /// Become a child process; what the gateway starts, not people
    #[command(name = keepgate_sandbox::COMMAND, hide = true)]
    Launch(Launch),
    /// End the children a killed gateway leaves; what the gateway starts, not people
    #[command(name = keepgate_transport::stdio::REAPER_COMMAND, hide = true)]
    Reap,
    /// Write a kill into its file; what `kill set` starts, not people
    #[command(name = KILL_ENTRY, hide = true)]
    KillEntry(KillEntry),
}

/// Command of the process that writes a kill into its file.
pub(crate) const KILL_ENTRY: &str = "kill-entry";

/// A kill, as JSON on standard input, and its place.
#[derive(Debug, Args)]
pub(crate) struct KillEntry {
    /// State directory
    pub(crate) state: PathBuf,
    /// Make the directory if it is not there
    #[arg(long)]
    pub(crate) make: bool,
}

/// A child process to become.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    /// Rules of the sandbox, as JSON
    pub(crate) rules: String,
    /// Program and arguments
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

/// How much is checked.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Tell what is missing before production, item by item, and how to mend it; changes nothing
    #[arg(long)]
    pub(crate) readiness: bool,
}

/// What is asked of a running gateway.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Whether it takes calls, not only whether it runs
    #[arg(long)]
    pub(crate) ready: bool,
    /// The operators' listener; the configuration is then not read [default: admin.listen]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<std::net::SocketAddr>,
    /// File of the certificate (`admin.tls`) that the listener at ADDRESS shows [default: it speaks plain HTTP]
    #[arg(long, value_name = "FILE", requires = "address")]
    pub(crate) certificate: Option<std::path::PathBuf>,
}

/// What can be done with servers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Servers {
    /// List the servers of the configuration
    List,
    /// List the processes that run for the servers of a running gateway
    Processes(Api),
}

/// Where the state is.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// State directory [default: that of the configuration, which then need not be valid]
    #[arg(long = "state", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

/// Acts on a state directory.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Change the key that approvals are sealed with; the gateway must not run
    ///
    /// Also the way on after store.key was lost: what it had sealed and still waits is cancelled. A change that is cut off is
    /// brought to its end by the next try or the next start.
    Rekey {
        #[command(flatten)]
        state: State,
    },
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it, this once
    Create(CreateKey),
    /// List the keys, dead ones too
    List {
        #[command(flatten)]
        state: State,
    },
    /// End a key; a running gateway refuses it within seconds
    Revoke {
        /// The key's id, as the list and records show it
        id: String,
        #[command(flatten)]
        state: State,
    },
}

/// What a new key is to be.
#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    /// Who will use it: the caller's name in policies and records
    #[arg(long, value_name = "NAME")]
    pub(crate) subject: String,
    /// Person it belongs to: an operator's name, or ISSUER#SUBJECT of a sign-in; they cannot approve its calls
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// A role that policies see; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<String>,
    /// A scope that policies see; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// A server the key may reach; may be given several times [default: all that policies allow]
    #[arg(long = "server", value_name = "SERVER")]
    pub(crate) servers: Vec<String>,
    /// How long it lasts, like 90d or 12h [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub(crate) expires: Option<std::time::Duration>,
    /// Begin a new key file in place of one that is gone: no earlier key opens anything from then on
    #[arg(long)]
    pub(crate) new_file: bool,
    #[command(flatten)]
    pub(crate) state: State,
}

/// A length of time as the configuration writes it.
fn lifetime(text: &str) -> Result<std::time::Duration, &'static str> {
    crate::config::duration(text).ok_or("write a number and a unit, like 90d, 12h or 30m")
}

/// What can be done with the record.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verify the log offline: every byte, every signature, every intent
    Verify {
        #[command(flatten)]
        place: Place,
        /// Public key, a file or the key itself [default: log.pub in the log, which proves less]
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// A checkpoint kept elsewhere that the log must still agree with; may be given several times
        #[arg(long, value_name = "FILE")]
        against: Vec<PathBuf>,
    },
    /// Print the last records
    Tail {
        #[command(flatten)]
        place: Place,
        /// How many
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
        lines: u64,
        /// Go on with records as they are written
        #[arg(short, long)]
        follow: bool,
    },
    /// Print every record of one decision
    Show {
        /// The decision's id, as refusals and records name it
        decision: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a log is.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The log's directory [default: audit in the state directory of the configuration]
    #[arg(long = "log", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_the_working_directory_first() {
        let home = tempfile::tempdir().unwrap();
        let paths = ["first", "second"].map(|name| home.path().join(name));
        assert_eq!(usual(paths.clone()), paths[0]);
        std::fs::write(&paths[1], "").unwrap();
        assert_eq!(usual(paths.clone()), paths[1]);
        std::fs::write(&paths[0], "").unwrap();
        assert_eq!(usual(paths.clone()), paths[0]);
    }
}
