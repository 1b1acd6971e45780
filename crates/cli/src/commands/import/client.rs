//! `import --client`: the difference that points a client's file at the gateway, or the file itself with `--write`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keepgate_files::{FileError, Replacement};
use serde::Serialize;

use crate::arguments::ImportServers;
use crate::commands::Context;
use crate::config;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::import::client::{self, Client, Edit, Target};
use crate::import::write::backup;

/// Changes to a client's file.
#[derive(Serialize)]
struct Changed {
    file: String,
    changes: Vec<Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
}

#[derive(Serialize)]
struct Change {
    line: usize,
    old: Vec<String>,
    new: Vec<String>,
}

/// `import FILE --client`.
pub(super) fn run(
    wish: &ImportServers,
    client: Client,
    text: &str,
    into: &Path,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let path = into.join("keepgate.yaml");
    let configuration = config::load(&path, context.variables.clone()).map_err(|error| {
        let failure = Failure::caused(Exit::Configuration, &error);
        failure
            .hint("import the file first, without --client; --into names the directory it went to")
    })?;
    let failed = |error: &(dyn std::error::Error + 'static)| super::unreadable(&wish.file, error);
    let is_served = |name: &str| {
        let mut servers = configuration.gateway.servers.keys();
        servers.any(|known| known.as_str() == name)
    };
    let names = client::names(text, &wish.file, is_served).map_err(|error| failed(&error))?;
    let default = format!("file:{}", into.join("secrets/keepgate-key").display());
    let target = Target {
        client,
        file: &wish.file,
        gateway: wish.gateway.trim_end_matches('/'),
        key: wish.key.as_deref().unwrap_or(&default),
    };
    let edits = client::edits(text, target, &names).map_err(|error| failed(&error))?;
    let mut changed = Changed {
        file: wish.file.display().to_string(),
        changes: edits.iter().map(change).collect(),
        backup: None,
    };
    if wish.write && !edits.is_empty() {
        let edited = client::apply(text, &edits);
        let kept = replace(&wish.file, text, &edited)
            .map_err(|error| Failure::caused(Exit::State, &error))?;
        changed.backup = Some(kept);
    }
    Ok(context
        .output
        .print(&changed, |changed| super::harmless(&shown(changed, target)))?)
}

fn change(edit: &Edit) -> Change {
    let (old, new) = edit.shown.clone();
    Change {
        line: edit.line,
        old,
        new,
    }
}

/// A client's file that was not written.
#[derive(Debug, thiserror::Error)]
enum ReplaceError {
    /// Its client, or somebody in an editor, wrote it after it was read.
    #[error("changed while it was edited, nothing was written; run this again: `{0}`")]
    Changed(String),
    /// The disk did not take it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Puts the new text in place of the file, with its mode; the old one stays as `FILE.bak`, for its owner alone. A file that is
/// not as it was read stays as it is: clients write theirs whenever they like, and no lock is agreed on with them.
fn replace(file: &Path, old: &str, new: &str) -> Result<String, ReplaceError> {
    // A link is followed: people keep such files elsewhere and link to them.
    let file = fs::canonicalize(file).map_err(FileError::io("find", file))?;
    let mode = fs::metadata(&file).map_err(FileError::io("inspect", &file))?;
    // Never one that is there: the first has what the client had before Keepgate.
    let mut numbered = (2..1000_u32)
        .map(|number| file.with_file_name(format!("{}.{number}", name(&backup(&file)))));
    let first = std::iter::once(backup(&file));
    let mut free = first
        .chain(&mut numbered)
        .filter(|path| path.symlink_metadata().is_err());
    let kept = free.next().unwrap_or_else(|| backup(&file));
    let mut replacement = Replacement::begin(&file)?;
    replacement.write(new.as_bytes())?;
    let mode = Permissions::from_mode(mode.permissions().mode() & 0o777);
    let set = replacement.file().set_permissions(mode);
    set.map_err(FileError::io("set the mode of", &file))?;
    keepgate_files::replace(&kept, old.as_bytes())?;
    // As late as can be: what is left is the time of a rename.
    let now = fs::read(&file).map_err(FileError::io("read", &file))?;
    if now != old.as_bytes() {
        fs::remove_file(&kept).map_err(FileError::io("remove", &kept))?;
        return Err(ReplaceError::Changed(file.display().to_string()));
    }
    replacement.commit()?;
    Ok(kept.display().to_string())
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn shown(changed: &Changed, target: Target<'_>) -> String {
    if changed.changes.is_empty() {
        return format!(
            "{}: nothing to change: no server in it is in the configuration and not behind the gateway yet\n",
            changed.file
        );
    }
    let mut text = format!("--- {0}\n+++ {0}\n", changed.file);
    for change in &changed.changes {
        text.push_str(&format!("@@ line {} @@\n", change.line));
        for (sign, lines) in [('-', &change.old), ('+', &change.new)] {
            for line in lines {
                text.push_str(&format!("{sign}{line}\n"));
            }
        }
    }
    text.push('\n');
    match &changed.backup {
        Some(kept) => text.push_str(&format!(
            "written; the file as it was is {kept}, with its secrets in clear: delete it when the client works\n"
        )),
        None => text.push_str("values that may be secret are masked; --write changes the file\n"),
    }
    text.push_str(match target.client {
        Client::Claude if client::is_desktop(target.file) => {
            "Claude Desktop starts `keepgate stdio` with the key in that file: `keepgate keys create` makes one\n"
        }
        Client::Claude | Client::Cursor => {
            "the client takes the key from the variable KEEPGATE_KEY: `keepgate keys create` makes one\n"
        }
        Client::Vscode => "VS Code asks for the key once: `keepgate keys create` makes one\n",
    });
    text
}

#[cfg(test)]
mod tests;
