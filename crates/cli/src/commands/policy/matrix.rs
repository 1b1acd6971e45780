//! The matrices of a policy, each beside its golden picture.

use std::path::{Path, PathBuf};

use keepgate_policy::matrix;
use serde::Serialize;

use super::load;
use crate::exit::Exit;
use crate::failure::Failure;

/// One matrix beside its golden picture.
#[derive(Serialize)]
pub(super) struct Picture {
    pub(super) file: String,
    pub(super) golden: String,
    pub(super) outcome: &'static str,
    #[serde(skip)]
    pub(super) difference: String,
}

impl Picture {
    /// Whether the picture is as it was accepted.
    pub(super) fn is_right(&self) -> bool {
        matches!(self.outcome, "same" | "updated")
    }
}

/// Draws every matrix and compares it with, or writes it over, its golden file.
pub(super) fn pictures(directories: &[PathBuf], update: bool) -> Result<Vec<Picture>, Failure> {
    let found = matrix::find(directories);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let policy = load(directories)?;
    found
        .iter()
        .map(|path| picture(&policy, path, update))
        .collect()
}

fn picture(
    policy: &keepgate_policy::Policy,
    path: &Path,
    update: bool,
) -> Result<Picture, Failure> {
    let compared = matrix::compare(policy, path).map_err(|error| {
        let failure = Failure::caused(Exit::Policy, &error);
        Failure::new(
            Exit::Policy,
            format!("{}: {}", path.display(), failure.report()),
        )
    })?;
    let outcome = match (compared.matches(), update, &compared.expected) {
        (true, _, _) => "same",
        (false, true, _) => {
            std::fs::write(&compared.golden, &compared.drawn).map_err(|error| {
                Failure::new(
                    Exit::State,
                    format!("failed to write `{}`: {error}", compared.golden.display()),
                )
            })?;
            "updated"
        }
        (false, false, Some(_)) => "differs",
        (false, false, None) => "missing",
    };
    Ok(Picture {
        file: path.display().to_string(),
        golden: compared.golden.display().to_string(),
        outcome,
        difference: difference(
            compared.expected.as_deref().unwrap_or_default(),
            &compared.drawn,
        ),
    })
}

/// The lines that differ, expected with `-`, found with `+`.
fn difference(expected: &str, drawn: &str) -> String {
    let (mut old, mut new) = (expected.lines(), drawn.lines());
    let mut text = String::new();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return text,
            (left, right) if left == right => {}
            (left, right) => {
                let signed = [("-", left), ("+", right)];
                let lines = signed
                    .into_iter()
                    .filter_map(|(sign, line)| Some(format!("    {sign} {}\n", line?)));
                text.extend(lines);
            }
        }
    }
}

/// A picture as a person reads it.
pub(super) fn told(picture: &Picture) -> String {
    let remark = match picture.outcome {
        "differs" => "differs from the golden matrix, accept it with --update",
        "missing" => "has no golden matrix, make it with --update",
        other => other,
    };
    let difference = if picture.is_right() {
        ""
    } else {
        &picture.difference
    };
    format!("{}: {remark}\n{difference}", picture.golden)
}
