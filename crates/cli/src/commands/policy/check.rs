//! `policy check`: can these policies come into force, and what is wrong with them.

use std::path::PathBuf;

use serde::Serialize;

use super::load;
use crate::commands::Context;
use crate::failure::Failure;

/// What a check found.
#[derive(Serialize)]
struct Checked {
    files: usize,
    revision: String,
}

/// `policy check`.
pub(super) fn run(directories: &[PathBuf], context: &mut Context<'_>) -> Result<(), Failure> {
    let generation = load(directories)?.generation();
    let checked = Checked {
        files: generation.files,
        revision: generation.revision.to_string(),
    };
    let text = |checked: &Checked| {
        format!(
            "policies ok: {} files, revision {}\n",
            checked.files, checked.revision
        )
    };
    Ok(context.output.print(&checked, text)?)
}
