//! Problems of policies, for machines.

use keepgate_policy::{LoadErrors, Problem};
use serde::Serialize;

use super::invalid;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;

/// One problem.
#[derive(Serialize)]
pub(super) struct Told {
    file: String,
    /// From 1; 0 when the whole file is meant.
    line: u32,
    /// In characters from 1; 0 when the whole line is meant.
    column: u32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The line itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl From<&Problem> for Told {
    fn from(problem: &Problem) -> Self {
        Self {
            file: problem.file.display().to_string(),
            line: problem.line,
            column: problem.column,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            text: problem.excerpt.as_ref().map(|excerpt| excerpt.text.clone()),
        }
    }
}

/// What a command says of policies that cannot come into force.
#[derive(Serialize)]
struct Refused {
    ok: bool,
    problems: Vec<Told>,
}

/// Tells why policies cannot come into force: people by a report, machines by a value on standard output.
pub(super) fn refused(errors: &LoadErrors, context: &mut Context<'_>) -> Failure {
    match context.output.format() {
        Format::Text => invalid(errors),
        Format::Json => {
            let refused = Refused {
                ok: false,
                problems: errors.problems.iter().map(Told::from).collect(),
            };
            match context.output.print(&refused, |_| String::new()) {
                Ok(()) => Failure::told(Exit::Policy),
                Err(error) => Failure::from(error),
            }
        }
    }
}
