//! `policy new`: a policy to begin with, in a directory that was not there. It never writes over anything.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::arguments::{NewPolicy, Template};
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Failure;

/// A file of a template: its name and text.
type File = (&'static str, &'static str);

/// The linter's settings, the same for all.
const REGAL: File = (
    ".regal/config.yaml",
    include_str!("../../../../../policies/templates/regal.yaml"),
);

/// One file of one template.
macro_rules! file {
    ($template:literal, $name:literal) => {
        (
            $name,
            include_str!(concat!(
                "../../../../../policies/templates/",
                $template,
                "/",
                $name
            )),
        )
    };
}

const LEAST_PRIVILEGE: [File; 4] = [
    file!("least-privilege", "policy.rego"),
    file!("least-privilege", "policy_test.rego"),
    file!("least-privilege", "data.json"),
    file!("least-privilege", "README.md"),
];
const READ_ONLY: [File; 4] = [
    file!("read-only", "policy.rego"),
    file!("read-only", "policy_test.rego"),
    file!("read-only", "data.json"),
    file!("read-only", "README.md"),
];
const SQL: [File; 4] = [
    file!("sql", "policy.rego"),
    file!("sql", "policy_test.rego"),
    file!("sql", "data.json"),
    file!("sql", "README.md"),
];
const GUARDRAIL: [File; 3] = [
    file!("guardrail", "policy.rego"),
    file!("guardrail", "policy_test.rego"),
    file!("guardrail", "README.md"),
];

/// The files of a template.
fn files(template: Template) -> &'static [File] {
    match template {
        Template::LeastPrivilege => &LEAST_PRIVILEGE,
        Template::ReadOnly => &READ_ONLY,
        Template::Sql => &SQL,
        Template::Guardrail => &GUARDRAIL,
    }
}

/// What was written.
#[derive(Serialize)]
struct Made {
    directory: String,
    files: Vec<String>,
}

/// `policy new`.
pub(super) fn run(wish: &NewPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let directory = &wish.directory;
    vacant(directory)?;
    let mut made = Made {
        directory: directory.display().to_string(),
        files: Vec::new(),
    };
    for (name, text) in files(wish.template).iter().chain([&REGAL]) {
        let path = directory.join(name);
        write(&path, text).map_err(|error| cannot(&path, &error))?;
        made.files.push(path.display().to_string());
    }
    Ok(context.output.print(&made, |made| {
        let list: String = made.files.iter().map(|file| format!("{file}\n")).collect();
        format!("{list}\nnow: keepgate policy test {}\n", made.directory)
    })?)
}

/// Refuses a directory that holds anything.
fn vacant(directory: &Path) -> Result<(), Failure> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(_) => Err(
            Failure::new(Exit::State, format!("not empty: `{}`", directory.display()))
                .hint("name a directory that is not there yet; nothing is ever written over"),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot(directory, &error)),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::State,
        format!("failed to write `{}`: {error}", path.display()),
    )
}
