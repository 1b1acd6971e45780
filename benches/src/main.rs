//! `keepgate-bench`: what a call through Keepgate costs on this machine, beside a bare hyper proxy.
//!
//! Without a subcommand it starts an upstream, every proxy of the table and a load generator, each
//! as a process of its own, and prints the table. The subcommands are those processes.

mod arguments;
mod bare;
mod body;
mod drive;
mod error;
mod flat;
mod folder;
mod gateway;
mod kill;
mod layers;
mod process;
mod profile;
mod row;
mod run;
mod saturate;
mod serve;
mod table;
mod traffic;
mod upstream;
mod usage;
mod workload;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::arguments::{Arguments, Part};
use crate::error::Error;

/// The gateway's allocator, so that every proxy of the table runs on the same one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match act(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere to tell that standard error is gone.
            let _untold = tell(&error);
            ExitCode::FAILURE
        }
    }
}

fn act(arguments: &Arguments) -> Result<(), Error> {
    match &arguments.part {
        Some(Part::Upstream { tools }) => upstream::run(*tools),
        Some(Part::Bare { upstream, reading }) => bare::run(*upstream, *reading),
        Some(Part::Layers(settings)) => layers::run(&settings.to_settings()),
        Some(Part::Gateway(start)) => gateway::run(&start.to_start()),
        Some(Part::Judge(judge)) => {
            let measure = Duration::from_millis(judge.measure);
            layers::judge(&judge.policy, judge.workload, measure)
        }
        Some(Part::Kill) => kill::run(),
        Some(Part::Flat) => flat::run(),
        Some(Part::Saturate) => saturate::run(),
        Some(Part::Drive(task)) => drive::run(&task.to_task()),
        Some(Part::Profile(asked)) => {
            let measure = Duration::from_millis(asked.measure);
            profile::run(asked.row, asked.workload, measure)
        }
        None if arguments.perf => serve::say(profile::HELP),
        None => bench(arguments),
    }
}

fn bench(arguments: &Arguments) -> Result<(), Error> {
    let plan = arguments.plan();
    let measured = run::run(&plan, |line| {
        let _untold = writeln!(io::stderr(), "{line}");
    })?;
    let text = if arguments.json {
        table::json(&measured, &plan.rows).to_string()
    } else {
        table::markdown(&measured, &plan.rows)
    };
    writeln!(io::stdout(), "{text}").map_err(error::io("write to standard output"))
}

/// Prints an error and what caused it.
fn tell(error: &Error) -> io::Result<()> {
    let mut err = io::stderr().lock();
    write!(err, "error: {error}")?;
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        write!(err, ": {source}")?;
        cause = source.source();
    }
    writeln!(err)
}
