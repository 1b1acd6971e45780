//! A server that is a process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Reach, Reason, Scope, Server, short};
use crate::import::json::{Node, Value};
use crate::import::secrets::{Form, Secret, in_arguments, is_secret};
use crate::import::variables::pieces;

/// Reads a server with a command.
pub(super) fn read(node: &Node, command: &Node, scope: Scope<'_>) -> Result<Server, Reason> {
    let mut notes = Vec::new();
    let written = words(node, command, &mut notes)?;
    let program = written
        .first()
        .map(|word| word.rsplit('/').next().unwrap_or(word));
    if program == Some("keepgate") {
        return Err("goes through Keepgate already".to_owned());
    }
    if let Some(place) = in_arguments(&written) {
        return Err(format!(
            "has a secret in its command line (argument {place}), which every user of the machine can read: give it in `env`, if the server takes it there"
        ));
    }
    let mut variables = BTreeSet::new();
    let mut rendered = Vec::new();
    for word in &written {
        rendered.push(scope.render(word, Some(&mut variables))?);
    }
    let mut secrets = Vec::new();
    let mut env = BTreeMap::new();
    for (name, value) in environment(node)? {
        if secret_variable(scope, &name, &value) {
            let origin = scope.origin(&value)?;
            let form = Form::Environment(name);
            secrets.push(Secret { form, origin });
        } else {
            env.insert(name, scope.render(&value, Some(&mut variables))?);
        }
    }
    if node.get("envFile").is_some() {
        notes.push(
            "`envFile` is not read: write its variables under `env` or `credential`".to_owned(),
        );
    }
    let directory = directory(node, &written, scope, &mut notes)?;
    Ok(Server {
        reach: Reach::Command {
            command: rendered,
            env,
            variables,
            directory,
        },
        secrets,
        notes,
        disabled_tools: BTreeSet::new(),
    })
}

/// Program and arguments.
fn words(node: &Node, command: &Node, notes: &mut Vec<String>) -> Result<Vec<String>, Reason> {
    let program = command.text().filter(|text| !text.trim().is_empty());
    let program = program.ok_or("has a command that is no text")?;
    let mut words = vec![program.to_owned()];
    match node.get("args").map(|node| &node.value) {
        None | Some(Value::Null) => {}
        Some(Value::List(items)) => {
            for item in items {
                words.push(item.scalar().ok_or("has an argument that is no text")?);
            }
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_)) => {
            return Err("has arguments that are no list".to_owned());
        }
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("has a NUL in its command".to_owned());
    }
    // Windows starts scripts such as npx through its shell.
    let file = program.rsplit(['/', '\\']).next().unwrap_or(program);
    let is_shell = ["cmd", "cmd.exe"]
        .iter()
        .any(|shell| file.eq_ignore_ascii_case(shell));
    let has_switch = words
        .get(1)
        .is_some_and(|word| word.eq_ignore_ascii_case("/c"));
    if is_shell && has_switch && words.len() > 2 {
        notes.push("`cmd /c` is left out".to_owned());
        words.drain(..2);
    }
    Ok(words)
}

/// The variables of `env`, as text.
fn environment(node: &Node) -> Result<BTreeMap<String, String>, Reason> {
    let mut variables = BTreeMap::new();
    let Some(env) = node.get("env") else {
        return Ok(variables);
    };
    if !matches!(env.value, Value::Map(_) | Value::Null) {
        return Err("has an `env` that is no object".to_owned());
    }
    for member in env.members() {
        if member.node.value == Value::Null {
            // VS Code takes a variable away so; a process of the gateway has none of those.
            continue;
        }
        if !keepgate_credential::is_variable(&member.key) {
            return Err("has a variable whose name is no name of one".to_owned());
        }
        let value = member.node.scalar();
        let value = value
            .ok_or_else(|| format!("has a variable that is no text: `{}`", short(&member.key)))?;
        variables.insert(member.key.clone(), value);
    }
    Ok(variables)
}

fn secret_variable(scope: Scope<'_>, name: &str, value: &str) -> bool {
    let parts = pieces(value);
    is_secret(name, value) || parts.iter().any(|part| scope.is_secret(part))
}

/// The directory the process runs in: that of `cwd`, or the project's where the command is relative to it.
fn directory(
    node: &Node,
    words: &[String],
    scope: Scope<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<PathBuf>, Reason> {
    let written = node.get("cwd").and_then(Node::text);
    let relative = words
        .iter()
        .any(|word| word.starts_with("./") || word.starts_with("../"));
    let directory = match written {
        Some(written) => {
            let rendered = scope.render(written, None)?;
            scope.workspace.join(rendered)
        }
        None if relative => scope.workspace.to_owned(),
        None => return Ok(None),
    };
    let plain: PathBuf = directory
        .components()
        .filter(|part| !matches!(part, std::path::Component::CurDir))
        .collect();
    if !plain.is_dir() {
        return Err("runs in a directory that is not on this machine".to_owned());
    }
    if written.is_none() {
        notes.push("runs in the directory of the file, since its command is relative".to_owned());
    }
    Ok(Some(plain).filter(|path| path != Path::new("/")))
}
