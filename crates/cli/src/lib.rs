//! The keepgate binary: commands, configuration, signals, wiring.
//!
//! [`run`] is the whole program with its surroundings as arguments, so that tests can be in their place. The only crate
//! that reads YAML and environment variables, and the only one that knows all others.

mod arguments;
mod bridge;
mod commands;
pub mod config;
mod exit;
mod failure;
mod import;
mod logging;
mod output;
mod passed;
mod readiness;
mod run_file;
mod serve;
mod state_format;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use arguments::Arguments;
use commands::Context;
pub use exit::Exit;
use failure::Failure;
use output::Output;
pub use passed::variables;

/// What a process finds around itself.
pub struct Surroundings<'a> {
    /// The environment variables.
    pub variables: Vec<(OsString, OsString)>,
    /// Where answers go.
    pub stdout: &'a mut dyn Write,
    /// Where errors go.
    pub stderr: &'a mut dyn Write,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Variables may hold secrets.
        formatter
            .debug_struct("Surroundings")
            .finish_non_exhaustive()
    }
}

/// Runs the command that `arguments` (with the program's name first) ask for, and gives the code to end with.
pub fn run(arguments: impl IntoIterator<Item = OsString>, surroundings: Surroundings<'_>) -> Exit {
    let Surroundings {
        variables,
        stdout,
        stderr,
    } = surroundings;
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let kills = arguments.windows(2).any(|pair| pair == ["kill", "set"]);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            if kills && error.use_stderr() {
                drop(writeln!(stderr, "{}", commands::UNCUT));
            }
            return show_usage(&error, stdout, stderr);
        }
    };
    let mut context = Context {
        config: arguments.config_path(&variables),
        variables,
        output: Output::new(arguments.output, stdout),
    };
    match commands::run(arguments.command, &mut context) {
        Ok(()) => Exit::Success,
        // Who reads our output has read enough, `keepgate audit tail | head` for one.
        Err(failure) if failure.is_broken_pipe() => Exit::Success,
        Err(failure) => show_failure(&failure, stderr),
    }
}

/// Help and version go to standard output and are a success, everything else is wrong usage.
fn show_usage(error: &clap::Error, stdout: &mut dyn Write, stderr: &mut dyn Write) -> Exit {
    // When nobody can be told there is only the code left.
    if error.use_stderr() {
        drop(write!(stderr, "{}", error.render()));
        Exit::Usage
    } else {
        drop(write!(stdout, "{}", error.render()));
        Exit::Success
    }
}

/// Tells what went wrong.
fn show_failure(failure: &Failure, stderr: &mut dyn Write) -> Exit {
    if !failure.report().is_empty() {
        drop(writeln!(stderr, "{}", failure.report()));
    }
    failure.exit()
}

#[cfg(test)]
mod tests;
