//! The client's own file, pointed at the gateway: edits in place, so that comments, order and all else stay.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::Identity;
use super::json::{self, JsonError, Node, Value};
use super::source::{self, Entry};

/// Clients whose files can be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    /// Claude Code, or Claude Desktop if the file is its `claude_desktop_config.json`
    Claude,
    /// VS Code
    Vscode,
    /// Cursor
    Cursor,
}

/// The value VS Code asks for.
const INPUT: &str = "keepgate-key";
/// The variable other clients take the key from.
const VARIABLE: &str = "KEEPGATE_KEY";
/// The file of Claude Desktop, which starts processes and knows no headers.
const DESKTOP: &str = "claude_desktop_config.json";

/// A change of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Bytes that are replaced; empty for an insertion.
    span: Range<usize>,
    /// The new text.
    new: String,
    /// Line the change begins in.
    pub(crate) line: usize,
    /// Old and new, for a person: values of `env` and `headers` and all other texts that may be secret are masked.
    pub(crate) shown: (Vec<String>, Vec<String>),
}

/// The gateway as the client reaches it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) client: Client,
    pub(crate) file: &'a Path,
    /// Scheme, host and port, without a slash at the end.
    pub(crate) gateway: &'a str,
    /// Reference to the key for a bridge: `file:..` or `env:..`.
    pub(crate) key: &'a str,
}

/// The edits that point the servers `is_served` knows at the gateway.
///
/// # Errors
/// [`JsonError`] where the file is no JSON.
pub(crate) fn edits(
    text: &str,
    target: Target<'_>,
    names: &BTreeMap<usize, String>,
) -> Result<Vec<Edit>, JsonError> {
    let root = json::parse(text)?;
    let Some(source) = source::read(&root, target.file) else {
        return Ok(Vec::new());
    };
    let mut edits = Vec::new();
    for entry in &source.entries {
        let Some(name) = names.get(&entry.member.start) else {
            continue;
        };
        let new = definition(target, name);
        if entry.member.node.plain() == new {
            continue;
        }
        edits.push(replace(text, entry, &new));
    }
    if !edits.is_empty() && target.client == Client::Vscode {
        edits.extend(input(text, &root, &source.entries));
    }
    edits.sort_by_key(|edit| edit.span.start);
    Ok(edits)
}

/// The text with all edits.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut edited = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        edited.push_str(text.get(at..edit.span.start).unwrap_or_default());
        edited.push_str(&edit.new);
        at = edit.span.end;
    }
    edited.push_str(text.get(at..).unwrap_or_default());
    edited
}

/// Names of the servers by the place of their entries, as an import gives them.
///
/// # Errors
/// [`JsonError`] where the file is no JSON.
pub(crate) fn names(
    text: &str,
    file: &Path,
    is_served: impl Fn(&str) -> bool,
) -> Result<BTreeMap<usize, String>, JsonError> {
    let root = json::parse(text)?;
    let mut found = BTreeMap::new();
    if let Some(source) = source::read(&root, file) {
        let names = super::identities(&source.entries);
        for (entry, identity) in source.entries.iter().zip(names) {
            let name = match identity {
                Identity::New(name) | Identity::Same(name) => name,
                Identity::Superseded => continue,
            };
            if is_served(&name) {
                found.insert(entry.member.start, name);
            }
        }
    }
    Ok(found)
}

/// The client's definition of a server behind the gateway.
fn definition(target: Target<'_>, name: &str) -> Json {
    let url = format!("{}/{name}/mcp", target.gateway);
    let header = |key: &str| json!({ "Authorization": format!("Bearer {key}") });
    match target.client {
        Client::Claude if is_desktop(target.file) => json!({
            "command": "keepgate",
            "args": ["stdio", url, "--key", target.key],
        }),
        Client::Claude => json!({
            "type": "http",
            "url": url,
            "headers": header(&format!("${{{VARIABLE}}}")),
        }),
        Client::Vscode => json!({
            "type": "http",
            "url": url,
            "headers": header(&format!("${{input:{INPUT}}}")),
        }),
        Client::Cursor => json!({
            "url": url,
            "headers": header(&format!("${{env:{VARIABLE}}}")),
        }),
    }
}

/// Whether the file is Claude Desktop's.
pub(crate) fn is_desktop(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == DESKTOP)
}

fn replace(text: &str, entry: &Entry<'_>, new: &Json) -> Edit {
    let layout = Layout::of(text, entry.member.start);
    let pretty = layout.pretty(new);
    let key = json!(entry.member.key);
    let lines = |pretty: &str| {
        let whole = format!("{key}: {pretty}");
        whole.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    Edit {
        span: entry.member.node.span.clone(),
        line: line(text, entry.member.start),
        shown: (
            lines(&format!("{:#}", masked(&entry.member.node, Hide::None))),
            lines(&format!("{new:#}")),
        ),
        new: pretty,
    }
}

/// The question for the key, where VS Code does not ask it yet.
fn input(text: &str, root: &Node, entries: &[Entry<'_>]) -> Option<Edit> {
    let new = json!({
        "type": "promptString",
        "id": INPUT,
        "description": "Keepgate API key",
        "password": true,
    });
    let shown = |json: &Json| {
        (
            Vec::new(),
            format!("{json:#}").lines().map(str::to_owned).collect(),
        )
    };
    // Next to the servers: at the top, or below `mcp` in settings.
    let parent = [Some(root), root.get("mcp")]
        .into_iter()
        .flatten()
        .find(|node| {
            let servers = node.get("servers").map(|node| &node.span);
            servers.is_some_and(|span| entries.iter().any(|entry| entry.parent.span == *span))
        })?;
    let servers = parent.member("servers")?;
    match parent.get("inputs").map(|node| (&node.value, node)) {
        Some((Value::List(items), list)) => {
            let is_there = |node: &Node| node.get("id").and_then(Node::text) == Some(INPUT);
            if items.iter().any(is_there) {
                return None;
            }
            let (at, new_text) = match items.last() {
                Some(last) => {
                    let layout = Layout::of(text, last.span.start);
                    let new = format!(",{}{}", layout.line_break(), layout.pretty(&new));
                    (last.span.end, new)
                }
                None => (list.span.start + 1, new.to_string()),
            };
            Some(Edit {
                span: at..at,
                new: new_text,
                line: line(text, at),
                shown: shown(&new),
            })
        }
        Some(_) => None,
        None => {
            let layout = Layout::of(text, servers.start);
            let list = json!([new]);
            let at = servers.start;
            Some(Edit {
                span: at..at,
                new: format!(
                    "\"inputs\": {},{}",
                    layout.pretty(&list),
                    layout.line_break()
                ),
                line: line(text, at),
                shown: shown(&json!({ "inputs": list })),
            })
        }
    }
}

/// Indentation around a place, so that new text looks like the old.
struct Layout<'a> {
    indent: &'a str,
    unit: String,
    is_multiline: bool,
}

impl<'a> Layout<'a> {
    fn of(text: &'a str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.get(start..).unwrap_or_default();
        let indent = if line.trim().is_empty() { line } else { "" };
        let unit = if indent.starts_with('\t') {
            "\t".to_owned()
        } else {
            " ".repeat(if indent.len() >= 8 { 4 } else { 2 })
        };
        Self {
            indent,
            unit,
            is_multiline: !indent.is_empty(),
        }
    }

    /// JSON over several lines where the file has several.
    fn pretty(&self, json: &Json) -> String {
        if !self.is_multiline {
            return json.to_string();
        }
        let mut lines = Vec::new();
        for (number, line) in format!("{json:#}").lines().enumerate() {
            let text = line.trim_start();
            let depth = (line.len() - text.len()) / 2;
            let indent = if number == 0 { "" } else { self.indent };
            lines.push(format!("{indent}{}{text}", self.unit.repeat(depth)));
        }
        lines.join("\n")
    }

    fn line_break(&self) -> String {
        if self.is_multiline {
            format!("\n{}", self.indent)
        } else {
            " ".to_owned()
        }
    }
}

fn line(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before.bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// Whether texts below a member are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hide {
    None,
    All,
}

/// A definition for a person: texts that may be secret are replaced.
fn masked(node: &Node, hide: Hide) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(_) | Value::Number(_) | Value::Text(_) if hide == Hide::All => json!("***"),
        Value::Bool(value) => json!(value),
        Value::Number(text) => json!(text),
        Value::Text(text) => json!(text),
        Value::List(items) => {
            let texts: Vec<String> = items.iter().filter_map(Node::scalar).collect();
            let hide = if super::secrets::in_arguments(&texts).is_some() {
                Hide::All
            } else {
                hide
            };
            items.iter().map(|item| masked(item, hide)).collect()
        }
        Value::Map(members) => {
            let member = |member: &json::Member| {
                let hide = hidden(&member.key, &member.node, hide);
                (member.key.clone(), masked(&member.node, hide))
            };
            Json::Object(members.iter().map(member).collect())
        }
    }
}

/// Whether the texts of a member are hidden: all of `env` and `headers`, and what is a secret by its name or look.
fn hidden(key: &str, node: &Node, hide: Hide) -> Hide {
    let text = node.text().unwrap_or_default();
    let in_url = matches!(key, "url" | "serverUrl")
        && (text.contains(['?', '@']) || super::secrets::without_steps(text) != text);
    let is_plain = matches!(
        key,
        "command" | "args" | "type" | "cwd" | "url" | "serverUrl"
    );
    let is_secret = super::secrets::looks_secret(text) || super::secrets::is_secret_name(key);
    if hide == Hide::All || !is_plain || in_url || is_secret {
        Hide::All
    } else {
        Hide::None
    }
}
