//! `policy check`: can these policies come into force, what is wrong with them, and what deserves a second look.

use std::path::PathBuf;

use keepgate_policy::{Problem, Sources, lint};
use serde::Serialize;

use super::problem::{Told, refused};
use super::{sources, try_load};
use crate::arguments::Directories;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// What a check found.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    files: usize,
    revision: String,
    warnings: Vec<Told>,
}

/// What is checked: everything as it would come into force, and the directories of each layer for the second look.
fn chosen(
    context: &Context<'_>,
    named: Directories,
) -> Result<(Sources, Vec<Vec<PathBuf>>), Failure> {
    let named = named.directories;
    if named.is_empty() {
        let configuration = context.configuration().map_err(|failure| {
            failure.hint("name the directories to do without a configuration")
        })?;
        let (sources, _remote) = configuration
            .local_sources()
            .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
        let tenants = configuration.tenants.into_values();
        return Ok((
            sources,
            [configuration.policies]
                .into_iter()
                .chain(tenants)
                .collect(),
        ));
    }
    let sources = sources(context, &named)?;
    let plain = named
        .into_iter()
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "rego"));
    Ok((sources, vec![plain.collect()]))
}

/// The warnings of every layer.
fn warnings(layers: &[Vec<PathBuf>], context: &mut Context<'_>) -> Result<Vec<Problem>, Failure> {
    let mut found = Vec::new();
    for directories in layers.iter().filter(|layer| !layer.is_empty()) {
        let warned = lint::warnings(directories).map_err(|errors| refused(&errors, context))?;
        found.extend(warned);
    }
    Ok(found)
}

/// `policy check`.
pub(super) fn run(named: Directories, context: &mut Context<'_>) -> Result<(), Failure> {
    let (sources, layers) = chosen(context, named)?;
    let policy = try_load(sources).map_err(|errors| refused(&errors, context))?;
    let warnings = warnings(&layers, context)?;
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
