//! The servers of a client's file: where the formats keep them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::json::{Member, Node, Value};

/// Most servers of one file.
pub(crate) const MAX_SERVERS: usize = 500;

/// Ways to the servers from the top of a file, and the client that writes it so.
const WAYS: [&[&str]; 4] = [
    // Claude Desktop, Claude Code, Cursor, Windsurf.
    &["mcpServers"],
    // VS Code.
    &["servers"],
    // VS Code, in its settings and in a development container's.
    &["mcp", "servers"],
    &["customizations", "vscode", "mcp", "servers"],
];

/// A server as a client's file has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// Its name and definition.
    pub(crate) member: &'a Member,
    /// The object it is in.
    pub(crate) parent: &'a Node,
    /// The project it belongs to, where Claude Code keeps several in one file.
    pub(crate) project: Option<&'a str>,
    /// Whether the same name comes again further down, which clients take then.
    pub(crate) superseded: bool,
}

/// A value VS Code asks for.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) id: String,
    pub(crate) is_secret: bool,
    pub(crate) default: Option<String>,
}

/// The servers of a file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) entries: Vec<Entry<'a>>,
    pub(crate) inputs: Vec<Input>,
    /// The directory its relative paths are taken from.
    pub(crate) workspace: PathBuf,
}

/// Finds the servers; `None` where the file has no place for any.
pub(crate) fn read<'a>(root: &'a Node, file: &Path) -> Option<Source<'a>> {
    let mut places: Vec<(&Node, Option<&str>)> = Vec::new();
    for way in WAYS {
        let found = way.iter().try_fold(root, |node, key| node.get(key));
        places.extend(found.map(|node| (node, None)));
    }
    for project in root.get("projects").map(Node::members).unwrap_or_default() {
        let found = project.node.get("mcpServers");
        places.extend(found.map(|node| (node, Some(project.key.as_str()))));
    }
    places.retain(|(node, _)| matches!(node.value, Value::Map(_)));
    if places.is_empty() && is_bare(root) {
        places.push((root, None));
    }
    if places.is_empty() {
        return None;
    }
    let mut entries = Vec::new();
    for (parent, project) in places {
        let mut names = HashSet::new();
        let mut found: Vec<Entry<'_>> = Vec::new();
        for member in parent.members().iter().rev() {
            found.push(Entry {
                member,
                parent,
                project,
                superseded: !names.insert(member.key.as_str()),
            });
        }
        entries.extend(found.into_iter().rev());
    }
    Some(Source {
        entries,
        inputs: inputs(root),
        workspace: workspace(file),
    })
}

/// Whether the file is a map of servers without a name around it, as `.mcp.json` of a plugin may be.
fn is_bare(root: &Node) -> bool {
    let is_server = |node: &Node| {
        ["command", "url", "serverUrl"]
            .iter()
            .any(|key| node.get(key).is_some())
    };
    let members = root.members();
    !members.is_empty() && members.iter().all(|member| is_server(&member.node))
}

fn inputs(root: &Node) -> Vec<Input> {
    let lists = [
        root.get("inputs"),
        root.get("mcp").and_then(|node| node.get("inputs")),
    ];
    let items = lists
        .into_iter()
        .flatten()
        .flat_map(|node| match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => &[],
        });
    let input = |node: &Node| {
        let id = node.get("id")?.text()?.to_owned();
        let password = node.get("password").map(|node| &node.value);
        Some(Input {
            is_secret: password == Some(&Value::Bool(true)) || keepgate_policy::is_secret(&id),
            default: node.get("default").and_then(Node::scalar),
            id,
        })
    };
    items.filter_map(input).take(MAX_SERVERS).collect()
}

/// The directory of a file, or the one around the directory in which an editor keeps it.
fn workspace(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let directory = absolute.parent().unwrap_or(&absolute);
    let editors = [".vscode", ".cursor", ".windsurf", ".devcontainer"];
    let is_editors = directory
        .file_name()
        .is_some_and(|name| editors.iter().any(|editor| name == *editor));
    match directory.parent().filter(|_| is_editors) {
        Some(parent) => parent.to_owned(),
        None => directory.to_owned(),
    }
}
