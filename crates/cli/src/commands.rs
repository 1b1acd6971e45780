//! The commands: each does one thing with what it is given, and prints through one place.

mod api;
mod approvals;
mod audit;
mod check;
mod health;
mod import;
mod keys;
mod kill;
mod operators;
mod policy;
mod presence;
mod readiness;
mod servers;
mod state;
mod stdio;

pub(crate) use kill::UNCUT;

use std::ffi::OsString;
use std::path::PathBuf;

use serde::Serialize;

use crate::arguments::{Command, Servers};
use crate::config::{self, Configuration};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::serve;
use crate::state_format;

/// What every command is given.
pub(crate) struct Context<'a> {
    /// The configuration file.
    pub(crate) config: PathBuf,
    /// The environment variables.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Where answers go.
    pub(crate) output: Output<'a>,
}

impl Context<'_> {
    /// Reads the configuration.
    fn configuration(&self) -> Result<Configuration, Failure> {
        config::load(&self.config, self.variables.clone())
            .map_err(|error| Failure::caused(Exit::Configuration, &error))
    }

    /// The state directory: the one named, else that of the configuration.
    fn state(&self, named: Option<PathBuf>) -> Result<PathBuf, Failure> {
        named.map_or_else(
            || {
                let configuration = self.configuration();
                let failed =
                    |failure: Failure| failure.hint("--state DIR works without a configuration");
                Ok(configuration.map_err(failed)?.state)
            },
            Ok,
        )
    }
}

impl Context<'_> {
    /// The state directory, for a command that reads or changes more of it than the kill file: not that of a newer version.
    fn known_state(&self, named: Option<PathBuf>) -> Result<PathBuf, Failure> {
        let state = self.state(named)?;
        state_format::check(&state)?;
        Ok(state)
    }
}

/// Does what was asked.
pub(crate) fn run(command: Command, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Command::Serve => serve::run(context.config.clone(), context.variables.clone()),
        Command::Check(wish) => check::run(&wish, context),
        Command::Health(wish) => health::run(&wish, context),
        Command::Import(wish) => import::run(&wish, context),
        Command::Stdio(wish) => stdio::run(&wish, context),
        Command::Servers(Servers::List) => servers::list(context),
        Command::Servers(Servers::Processes(api)) => servers::processes(&api, context),
        Command::Policy(command) => policy::run(command, context),
        Command::Keys(command) => keys::run(command, context),
        Command::Audit(command) => audit::run(command, context),
        Command::Kill(command) => kill::run(command, context),
        Command::Approvals(command) => approvals::run(command, context),
        Command::Grants(command) => approvals::grants(command, context),
        Command::State(command) => state::run(command, context),
        Command::Operators(command) => operators::run(command, context),
        Command::Version => version(context),
        Command::Launch(launch) => {
            let error = keepgate_sandbox::launch(&launch.rules, &launch.command);
            Err(Failure::caused(Exit::Start, &error))
        }
        Command::Reap => keepgate_transport::stdio::reap_children()
            .map_err(|error| Failure::caused(Exit::Start, &error)),
        Command::KillEntry(wish) => kill::enter(&wish),
    }
}

/// What the program is.
#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// `version`.
fn version(context: &mut Context<'_>) -> Result<(), Failure> {
    let version = Version {
        name: "keepgate",
        version: env!("CARGO_PKG_VERSION"),
    };
    Ok(context.output.print(&version, |version| {
        format!("{} {}\n", version.name, version.version)
    })?)
}
