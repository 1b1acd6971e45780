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
mod known;
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
use output::{Format, Output};
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
    let format = named_format(&arguments);
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return show_failure(&misused(&error, kills), format, stderr);
        }
        Err(help) => {
            // Help and version are a success. When nobody can be told there is only the code left.
            drop(write!(stdout, "{}", help.render()));
            return Exit::Success;
        }
    };
    let format = arguments.output;
    let mut context = Context {
        config: arguments.config_path(&variables),
        variables,
        output: Output::new(arguments.output, stdout),
    };
    match commands::run(arguments.command, &mut context) {
        Ok(()) => Exit::Success,
        // Who reads our output has read enough, `keepgate audit tail | head` for one.
        Err(failure) if failure.is_broken_pipe() => Exit::Success,
        Err(failure) => show_failure(&failure, format, stderr),
    }
}

/// The form of output that arguments ask for, those that make no sense too.
fn named_format(arguments: &[OsString]) -> Format {
    let flags = arguments.split(|word| word == "--").next();
    let flags = flags.unwrap_or_default();
    let is_json = flags.iter().any(|word| word == "--output=json")
        || flags.windows(2).any(|pair| pair == ["--output", "json"]);
    if is_json { Format::Json } else { Format::Text }
}

/// The failure of a command line that makes no sense.
fn misused(error: &clap::Error, kills: bool) -> Failure {
    let text = error.render().to_string();
    let text = text.trim_end();
    if kills {
        return Failure::new(Exit::Usage, format!("{}\n{text}", commands::UNCUT));
    }
    Failure::new(Exit::Usage, text)
}

/// Reports a process that could not begin with its command.
pub fn report(arguments: &[OsString], exit: Exit, message: &str, stderr: &mut dyn Write) -> Exit {
    let failure = Failure::new(exit, message);
    show_failure(&failure, named_format(arguments), stderr)
}

/// Reports what went wrong, as one JSON object where the command's answer would be one.
fn show_failure(failure: &Failure, format: Format, stderr: &mut dyn Write) -> Exit {
    let report = failure.report();
    // Where there is no report the answer has everything. Without a reader there is only the code left.
    if !report.is_empty() {
        drop(match format {
            Format::Text => writeln!(stderr, "{report}"),
            Format::Json => writeln!(stderr, "{}", failure.json()),
        });
    }
    failure.exit()
}

#[cfg(test)]
mod tests;
