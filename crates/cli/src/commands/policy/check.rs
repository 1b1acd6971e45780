//! `policy check`: can these policies come into force, what is wrong with them, and what deserves a second look.

use std::path::PathBuf;

use keepgate_policy::lint;
use serde::Serialize;

use super::problem::{Told, refused};
use super::try_load;
use crate::commands::Context;
use crate::failure::Failure;

/// What a check found.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    files: usize,
    revision: String,
    warnings: Vec<Told>,
}

/// `policy check`.
pub(super) fn run(directories: &[PathBuf], context: &mut Context<'_>) -> Result<(), Failure> {
    let policy = try_load(directories).map_err(|errors| refused(&errors, context))?;
    let warnings = lint::warnings(directories).map_err(|errors| refused(&errors, context))?;
    let generation = policy.generation();
    let checked = Checked {
        ok: true,
        files: generation.files,
        revision: generation.revision.to_string(),
        warnings: warnings.iter().map(Told::from).collect(),
    };
    let text = |checked: &Checked| {
        let list: String = warnings
            .iter()
            .map(|warning| format!("warning: {warning:#}\n\n"))
            .collect();
        let count = match warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            more => format!(", {more} warnings"),
        };
        format!(
            "{list}policies ok: {} files, revision {}{count}\n",
            checked.files, checked.revision
        )
    };
    Ok(context.output.print(&checked, text)?)
}
