//! `import`: servers of an MCP client's file, as a configuration with a starter policy.

mod client;
mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Context;
use crate::arguments::ImportServers;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::import::{self, Import, Surroundings, write};

/// Largest client's file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// Report of an import.
#[derive(Serialize)]
struct Imported {
    files: Vec<String>,
    servers: Vec<Server>,
    skipped: Vec<Skipped>,
    /// Files a person has to write a secret into.
    awaited: Vec<Awaited>,
    probed: bool,
}

#[derive(Serialize)]
struct Server {
    name: String,
    written: String,
    target: String,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<usize>,
}

#[derive(Serialize)]
struct Skipped {
    written: String,
    reason: String,
}

#[derive(Serialize)]
struct Awaited {
    file: String,
    id: String,
}

/// `import`.
pub(super) fn run(wish: &ImportServers, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = read(&wish.file)?;
    let into = std::path::absolute(&wish.into).unwrap_or_else(|_| wish.into.clone());
    let into: PathBuf = into
        .components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect();
    if let Some(client) = wish.client {
        return client::run(wish, client, &text, &into, context);
    }
    let variables = context.variables.clone();
    let around = Surroundings {
        file: &wish.file,
        into: &into,
        variables: &variables,
    };
    let import = import::read(&text, around).map_err(|error| unreadable(&wish.file, &error))?;
    if import.servers.is_empty() {
        return Err(Failure::new(
            Exit::Negative,
            harmless(&nothing(&import)).trim_end(),
        ));
    }
    let mut tools = BTreeMap::new();
    let mut problems = Vec::new();
    if wish.probe {
        (tools, problems) = probe::tools(&import, around, wish.yes)?;
    }
    let files = import.files(around, &tools);
    write::write(&files, wish.force).map_err(|error| {
        let failure = Failure::caused(Exit::State, &error);
        match error {
            write::WriteError::Exists(_) => failure.hint(
                "nothing was written; --into names another directory, --force moves these to NAME.bak",
            ),
            write::WriteError::File(_) => failure.hint("nothing was changed"),
        }
    })?;
    let files = files
        .iter()
        .map(|file| file.path.display().to_string())
        .collect();
    let mut done = done(&import, &into, files, wish.probe);
    for server in &mut done.servers {
        server.tools = tools.get(&server.name).map(BTreeSet::len);
        let own = problems.iter().filter(|(name, _)| *name == server.name);
        server.notes.extend(own.map(|(_, problem)| problem.clone()));
    }
    Ok(context
        .output
        .print(&done, |done| harmless(&shown(done, &into)))?)
}

/// Reads the client's file.
fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let message = format!("failed to read `{}`: {error}", path.display());
        Failure::new(Exit::Usage, message)
    };
    let file = keepgate_files::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_FILE + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|_error| failed(&"it is not UTF-8"))
}

fn unreadable(file: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    let failure = Failure::caused(Exit::Usage, error);
    failure.before(&format!("cannot import `{}`", file.display()))
}

/// A text of which no line writes to the terminal: parts of it are from the client's file.
fn harmless(text: &str) -> String {
    let lines = text.lines().map(crate::config::printable);
    lines.map(|line| line + "\n").collect()
}

/// Returns the reason nothing is left.
fn nothing(import: &Import) -> String {
    let mut text = "no server can be imported, nothing was written".to_owned();
    for skipped in &import.skipped {
        text.push_str(&format!("\n  {}: {}", skipped.written, skipped.reason));
    }
    text
}

fn done(import: &Import, into: &Path, files: Vec<String>, probed: bool) -> Imported {
    let server = |named: &import::Named| Server {
        name: named.name.clone(),
        written: named.written.clone(),
        target: named.target(),
        notes: named.notes().to_vec(),
        tools: None,
    };
    let awaited = import.awaited().map(|(file, id)| Awaited {
        file: into.join("secrets").join(file).display().to_string(),
        id: id.to_owned(),
    });
    let skipped = import.skipped.iter().map(|skipped| Skipped {
        written: skipped.written.clone(),
        reason: skipped.reason.clone(),
    });
    Imported {
        files,
        servers: import.servers.iter().map(server).collect(),
        skipped: skipped.collect(),
        awaited: awaited.collect(),
        probed,
    }
}

/// The report for a person.
fn shown(done: &Imported, into: &Path) -> String {
    let mut text = String::new();
    for file in &done.files {
        text.push_str(&format!("{file}\n"));
    }
    text.push_str(&format!("\nimported: {}\n", done.servers.len()));
    for server in &done.servers {
        let renamed = if server.name == server.written {
            String::new()
        } else {
            format!(" (was {:?})", server.written)
        };
        let tools = server.tools.map(|count| format!(", {count} tools"));
        let tools = tools.unwrap_or_default();
        text.push_str(&format!(
            "  {}{renamed}: {}{tools}\n",
            server.name, server.target
        ));
        for note in &server.notes {
            text.push_str(&format!("    {note}\n"));
        }
    }
    if !done.skipped.is_empty() {
        text.push_str(&format!("not imported: {}\n", done.skipped.len()));
        for skipped in &done.skipped {
            text.push_str(&format!("  {}: {}\n", skipped.written, skipped.reason));
        }
    }
    text.push('\n');
    for awaited in &done.awaited {
        text.push_str(&format!(
            "write `{}` into {} (mode 0600): the client asked for it\n",
            awaited.id, awaited.file
        ));
    }
    let config = into.join("keepgate.yaml");
    let config = config.display();
    let table = into.join("policies/data.json");
    let table = table.display();
    text.push_str(if done.probed {
        "granted to role `user`: tools their servers call read-only. "
    } else {
        "granted: nothing yet, since no server was asked for its tools (--probe does). "
    });
    text.push_str(&format!("The table is {table}\n"));
    text.push_str(&format!(
        "now: keepgate --config {config} check\n     keepgate --config {config} keys create --subject NAME --role user\n     keepgate --config {config} serve\n"
    ));
    text
}
