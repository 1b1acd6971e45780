//! One server of a client's file, read: how it is reached, its secrets, or the reason it cannot be imported.

mod command;
mod remote;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::json::{Node, Value};
use super::secrets::{Form, Origin, Secret, is_secret_name};
use super::source::Input;
use super::variables::{Piece, pieces};

/// A server that can be imported.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) reach: Reach,
    pub(crate) secrets: Vec<Secret>,
    /// Remarks for the person.
    pub(crate) notes: Vec<String>,
    /// Tools the client does not use.
    pub(crate) disabled_tools: BTreeSet<String>,
}

/// The way to a server. Texts of a command are written as the configuration reads them: `$$` for `$`.
#[derive(Debug, Clone)]
pub(crate) enum Reach {
    Command {
        command: Vec<String>,
        env: BTreeMap<String, String>,
        variables: BTreeSet<String>,
        directory: Option<PathBuf>,
    },
    Url {
        /// `url` or `sse`.
        form: &'static str,
        url: String,
        headers: BTreeMap<String, String>,
    },
}

/// Surroundings of the server in its file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) inputs: &'a [Input],
    pub(crate) workspace: &'a Path,
    pub(crate) variables: &'a [(OsString, OsString)],
}

/// Reason a server cannot be imported. Never a value of the file.
pub(crate) type Reason = String;

/// Keys of clients that have no meaning for a gateway.
const IGNORED: [&str; 19] = [
    "type",
    "transport",
    "command",
    "args",
    "env",
    "envFile",
    "cwd",
    "url",
    "serverUrl",
    "headers",
    "disabled",
    "enabled",
    "disabledTools",
    "description",
    "gallery",
    "version",
    "$schema",
    "oauth",
    "auth",
];

/// Reads one server.
///
/// # Errors
/// The reason it cannot be imported.
pub(crate) fn read(node: &Node, scope: Scope<'_>) -> Result<Server, Reason> {
    if !matches!(node.value, Value::Map(_)) {
        return Err("is no object".to_owned());
    }
    let flag = |key: &str| node.get(key).map(|node| &node.value);
    if flag("disabled") == Some(&Value::Bool(true)) || flag("enabled") == Some(&Value::Bool(false))
    {
        return Err("is disabled in the client".to_owned());
    }
    let url = node.get("url").or_else(|| node.get("serverUrl"));
    let mut server = match (node.get("command"), url) {
        (Some(_), Some(_)) => return Err("has both a command and a URL".to_owned()),
        (None, None) => return Err("has neither a command nor a URL".to_owned()),
        (Some(command), None) => command::read(node, command, scope)?,
        (None, Some(url)) => remote::read(node, url, scope)?,
    };
    if let Some(Value::List(tools)) = flag("disabledTools") {
        let names = tools.iter().filter_map(Node::text);
        server.disabled_tools = names.map(str::to_owned).collect();
    }
    let members = node.members().iter().map(|member| member.key.as_str());
    let ignored: BTreeSet<&str> = members.filter(|key| !IGNORED.contains(key)).collect();
    let ignored: Vec<String> = ignored
        .into_iter()
        .take(20)
        .map(|key| format!("`{key}`"))
        .collect();
    if !ignored.is_empty() {
        let list = ignored.join(", ");
        server
            .notes
            .push(format!("left out, the gateway has no use for it: {list}"));
    }
    Ok(server)
}

impl Scope<'_> {
    /// A variable of the environment; `None` where it is not set or no text.
    fn variable(&self, name: &str) -> Option<&str> {
        let mut found = self.variables.iter();
        let (_, value) = found.find(|(known, _)| *known == *name)?;
        value.to_str()
    }

    fn input(&self, id: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.id == id)
    }

    /// Whether a part of a text is a secret by its name.
    fn is_secret(&self, piece: &Piece) -> bool {
        match piece {
            Piece::Variable { name, .. } => is_secret_name(name),
            Piece::Input(id) => self.input(id).is_none_or(|input| input.is_secret),
            Piece::Text(_) | Piece::Workspace | Piece::Unknown(_) => false,
        }
    }

    /// A text without variables; those listed in `kept` stay variables of the configuration. For a URL or a header, which have
    /// none, `kept` is `None` and their values are written out.
    fn render(
        &self,
        text: &str,
        mut kept: Option<&mut BTreeSet<String>>,
    ) -> Result<String, Reason> {
        let escape = kept.is_some();
        let literal = |text: &str| {
            if escape {
                text.replace('$', "$$")
            } else {
                text.to_owned()
            }
        };
        let mut rendered = String::new();
        for piece in pieces(text) {
            if self.is_secret(&piece) {
                return Err(
                    "names a secret where everybody can read it: in its command line or URL"
                        .to_owned(),
                );
            }
            match piece {
                Piece::Text(text) => rendered.push_str(&literal(&text)),
                Piece::Workspace => {
                    rendered.push_str(&literal(&self.workspace.display().to_string()));
                }
                Piece::Variable { name, default } => {
                    match (self.variable(&name), kept.as_mut(), default) {
                        (Some(_), Some(kept), _) if !name.starts_with("KEEPGATE_") => {
                            rendered.push_str(&format!("${{{name}}}"));
                            kept.insert(name);
                        }
                        (Some(value), _, _) => rendered.push_str(&literal(value)),
                        (None, _, Some(default)) => rendered.push_str(&literal(&default)),
                        (None, _, None) => {
                            return Err(format!(
                                "needs the variable `{name}`, which is not set here"
                            ));
                        }
                    }
                }
                Piece::Input(id) => match self.input(&id).and_then(|input| input.default.clone()) {
                    Some(default) => rendered.push_str(&literal(&default)),
                    None => return Err(format!("asks a person for `{}`", short(&id))),
                },
                Piece::Unknown(name) => {
                    return Err(format!(
                        "uses `${{{}}}`, which only the client knows",
                        short(&name)
                    ));
                }
            }
        }
        Ok(rendered)
    }

    /// Returns the origin of the secret in a text.
    fn origin(&self, text: &str) -> Result<Origin, Reason> {
        let mut parts = pieces(text).into_iter();
        match (parts.next(), parts.next()) {
            (Some(Piece::Text(text)), None) => Ok(Origin::Text(Zeroizing::new(text))),
            (Some(Piece::Variable { name, .. }), None) => Ok(Origin::Variable(name)),
            (Some(Piece::Input(id)), None) => Ok(Origin::Input(id)),
            (Some(Piece::Unknown(name)), None) => Err(format!(
                "uses `${{{}}}`, which only the client knows",
                short(&name)
            )),
            (Some(_), Some(_)) | (Some(Piece::Workspace), None) | (None, _) => {
                Err("puts a secret together from several parts".to_owned())
            }
        }
    }

    /// A secret in a header: `Authorization: Bearer ..`, or any other.
    fn header_secret(&self, name: &str, value: &str) -> Result<Secret, Reason> {
        let lower = value.get(..7).map(str::to_ascii_lowercase);
        let is_bearer =
            name.eq_ignore_ascii_case("authorization") && lower.as_deref() == Some("bearer ");
        let (form, value) = match value.get(7..).filter(|_| is_bearer) {
            Some(token) => (Form::Bearer, token.trim()),
            None => (Form::Header(name.to_owned()), value.trim()),
        };
        let origin = self.origin(value)?;
        Ok(Secret { form, origin })
    }
}

/// As much of a name as a message shows.
fn short(name: &str) -> String {
    name.chars()
        .filter(|letter| !letter.is_control())
        .take(60)
        .collect()
}
