//! Servers of MCP clients' files as servers of a configuration, with a starter policy.
//!
//! A file goes through [`json`] (text to places), [`source`] (where a client keeps servers), [`entry`] (one server, or the
//! reason it cannot be imported), [`yaml`] and [`policy`] (texts), [`write`] (all or nothing). Nothing here asks the network.

pub(crate) mod client;
mod entry;
mod json;
mod names;
pub(crate) mod policy;
mod secrets;
mod source;
#[cfg(test)]
mod tests;
mod variables;
pub(crate) mod write;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use keepgate_credential::Reference;
use zeroize::Zeroizing;

use crate::config::{self, Configuration};
use entry::Scope;
use json::JsonError;
use names::Names;
use policy::Tool;
use secrets::{Origin, Secret};
use source::Source;
use write::NewFile;
pub(crate) use yaml::Named;

/// Names of what is written, below the directory.
const CONFIGURATION: &str = "keepgate.yaml";
const POLICIES: &str = "policies";
const SECRETS: &str = "secrets";

/// Reason a whole file cannot be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// Not JSON, with or without comments.
    #[error("not JSON")]
    Json(#[from] JsonError),
    /// No client keeps servers so.
    #[error("no servers in it: expected `mcpServers`, `servers` or `projects`")]
    Empty,
    /// More than any person has.
    #[error("more than {} servers", source::MAX_SERVERS)]
    TooMany,
    /// A reference cannot name the directory of the secrets.
    #[error(
        "the directory of the secrets has white space or `..` in its path, or is too long: `{0}`"
    )]
    Directory(String),
}

/// A server that is not imported.
#[derive(Debug, Clone)]
pub(crate) struct Skipped {
    pub(crate) written: String,
    pub(crate) reason: String,
}

/// Servers of a file that are imported, and those that are not.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) servers: Vec<Named>,
    pub(crate) skipped: Vec<Skipped>,
}

/// Surroundings of an import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    /// The client's file.
    pub(crate) file: &'a Path,
    /// The directory the configuration goes to, absolute.
    pub(crate) into: &'a Path,
    /// The environment.
    pub(crate) variables: &'a [(OsString, OsString)],
}

/// Reads a client's file.
///
/// # Errors
/// [`ImportError`] where nothing of it can be imported.
pub(crate) fn read(text: &str, around: Surroundings<'_>) -> Result<Import, ImportError> {
    let root = json::parse(text)?;
    let source = source::read(&root, around.file).ok_or(ImportError::Empty)?;
    let mut import = Import {
        servers: Vec::new(),
        skipped: Vec::new(),
    };
    if source.entries.len() > source::MAX_SERVERS {
        return Err(ImportError::TooMany);
    }
    let mut files = Names::default();
    for (found, identity) in source.entries.iter().zip(identities(&source.entries)) {
        let written = found.member.key.as_str();
        let outcome = match identity {
            Identity::New(name) => one(found, &source, around).and_then(|server| {
                let named = named(name, written, server, &mut files);
                check(&named, around).map(|()| named)
            }),
            Identity::Same(_) => {
                Err("is the same as in another project, and imported once".to_owned())
            }
            Identity::Superseded => {
                Err("is there a second time further down, which is what clients take".to_owned())
            }
        };
        match outcome {
            Ok(named) => import.servers.push(named),
            Err(reason) => import.skipped.push(Skipped {
                written: shown(written, found.project),
                reason,
            }),
        }
    }
    let secrets = around.into.join(SECRETS);
    if Reference::parse(&format!("file:{}", secrets.join("x").display())).is_err() {
        return Err(ImportError::Directory(secrets.display().to_string()));
    }
    Ok(import)
}

/// An entry among the others of its file.
#[derive(Debug)]
enum Identity {
    /// The first of its kind, with the name it gets.
    New(String),
    /// One like another entry of the same name.
    Same(String),
    /// The same object has the name again further down.
    Superseded,
}

/// Names for all entries, those that cannot be imported too: so a name does not depend on what this machine has.
fn identities(entries: &[source::Entry<'_>]) -> Vec<Identity> {
    let mut names = Names::default();
    let mut seen: BTreeMap<(String, String), String> = BTreeMap::new();
    let identity = |entry: &source::Entry<'_>| {
        if entry.superseded {
            return Identity::Superseded;
        }
        let written = entry.member.key.as_str();
        let key = (written.to_owned(), entry.member.node.plain().to_string());
        match seen.get(&key) {
            Some(name) => Identity::Same(name.clone()),
            None => {
                let name = names.take(written);
                seen.insert(key, name.clone());
                Identity::New(name)
            }
        }
    };
    entries.iter().map(identity).collect()
}

/// One server of the file.
fn one(
    found: &source::Entry<'_>,
    source: &Source<'_>,
    around: Surroundings<'_>,
) -> Result<entry::Server, String> {
    let project = found.project.map(Path::new);
    let scope = Scope {
        inputs: &source.inputs,
        workspace: project.unwrap_or(&source.workspace),
        variables: around.variables,
    };
    entry::read(&found.member.node, scope)
}

/// Gives a server and its secrets their names.
fn named(name: String, written: &str, server: entry::Server, files: &mut Names) -> Named {
    let file = |secret: &Secret| match secret.origin {
        Origin::Variable(_) => String::new(),
        Origin::Text(_) | Origin::Input(_) => files.take(&format!("{name}-{}", secret.form.name())),
    };
    let files = server.secrets.iter().map(file).collect();
    Named {
        name,
        written: written.to_owned(),
        server,
        files,
    }
}

/// Whether a configuration with this server alone would be valid: what is not is a reason, not a broken file.
fn check(named: &Named, around: Surroundings<'_>) -> Result<(), String> {
    let alone = std::slice::from_ref(named);
    // Not the directory it goes to: definitions of servers there are about others.
    let text = yaml::document(alone, "/", &around.into.join(SECRETS));
    let parsed = config::from_text(
        &text,
        CONFIGURATION,
        Path::new("/"),
        variables(around.variables),
    );
    let Err(error) = parsed else {
        return Ok(());
    };
    let report = error.to_string();
    // As far as the first value: that may be what nobody should see.
    let first = report.lines().next().unwrap_or_default();
    let message = first.split_once(": ").map_or(first, |(_, message)| message);
    let path = format!("servers.{}.", named.name);
    let message = message.strip_prefix(&path).unwrap_or(message);
    let message = message.split(": `").next().unwrap_or_default();
    Err(format!("would not be valid here: {message}"))
}

/// The environment without overrides of a configuration.
fn variables(all: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let foreign = |name: &OsString| !name.as_encoded_bytes().starts_with(b"KEEPGATE_");
    all.iter()
        .filter(|(name, _)| foreign(name))
        .cloned()
        .collect()
}

/// A name of a client's file as messages show it.
fn shown(written: &str, project: Option<&str>) -> String {
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|letter| !letter.is_control())
            .take(80)
            .collect()
    };
    match project {
        Some(project) => format!("{} ({})", plain(written), plain(project)),
        None => plain(written),
    }
}

impl Import {
    /// The configuration in memory, as [`files`](Self::files) writes it, with its policies in `policies`, a directory that is
    /// there.
    ///
    /// # Errors
    /// [`config::ConfigError`] where it is not valid.
    pub(crate) fn configuration(
        &self,
        around: Surroundings<'_>,
        policies: &Path,
    ) -> Result<Configuration, config::ConfigError> {
        let policies = policies.display().to_string();
        let text = yaml::document(&self.servers, &policies, &around.into.join(SECRETS));
        config::from_text(
            &text,
            CONFIGURATION,
            around.into,
            variables(around.variables),
        )
    }

    /// The files to write; the configuration is last, so that there is none before all it names is there.
    pub(crate) fn files(
        &self,
        around: Surroundings<'_>,
        tools: &BTreeMap<String, BTreeSet<Tool>>,
    ) -> Vec<NewFile> {
        let secrets = around.into.join(SECRETS);
        // Whoever keeps the configuration under version control keeps the secrets out of it.
        let mut files = vec![NewFile::public(secrets.join(".gitignore"), "*\n")];
        for named in &self.servers {
            for (secret, file) in named.server.secrets.iter().zip(&named.files) {
                if let Origin::Text(text) = &secret.origin {
                    let bytes = Zeroizing::new(text.as_bytes().to_vec());
                    files.push(NewFile::private(secrets.join(file), bytes));
                }
            }
        }
        let policies = around.into.join(POLICIES);
        let servers: Vec<(&str, &BTreeSet<String>)> = self
            .servers
            .iter()
            .map(|named| (named.name.as_str(), &named.server.disabled_tools))
            .collect();
        let table = policy::table(&servers, tools);
        for (name, text) in [
            ("imported.rego", policy::RULES),
            ("imported_test.rego", policy::TESTS),
            ("data.json", table.as_str()),
        ] {
            files.push(NewFile::public(policies.join(name), text));
        }
        let text = yaml::document(&self.servers, &format!("./{POLICIES}"), &secrets);
        files.push(NewFile::private(
            around.into.join(CONFIGURATION),
            Zeroizing::new(text.into_bytes()),
        ));
        files
    }

    /// Secrets that a person has to write: file and the client's name for the value.
    pub(crate) fn awaited(&self) -> impl Iterator<Item = (&str, &str)> {
        let secrets = self
            .servers
            .iter()
            .flat_map(|named| named.server.secrets.iter().zip(&named.files));
        secrets.filter_map(|(secret, file)| match &secret.origin {
            Origin::Input(id) => Some((file.as_str(), id.as_str())),
            Origin::Text(_) | Origin::Variable(_) => None,
        })
    }
}

impl Named {
    /// Variables with the secrets of a child process that are at hand, to start it once.
    pub(crate) fn secret_variables(
        &self,
        variables: &[(OsString, OsString)],
    ) -> Vec<(String, OsString)> {
        let value = |secret: &Secret| match (&secret.form, &secret.origin) {
            (secrets::Form::Environment(name), Origin::Text(text)) => {
                Some((name.clone(), OsString::from(text.as_str())))
            }
            (secrets::Form::Environment(name), Origin::Variable(variable)) => {
                let found = variables.iter().find(|(known, _)| *known == **variable);
                found.map(|(_, value)| (name.clone(), value.clone()))
            }
            (_, Origin::Text(_) | Origin::Variable(_) | Origin::Input(_)) => None,
        };
        self.server.secrets.iter().filter_map(value).collect()
    }

    /// Program and arguments, or the URL, for a person.
    pub(crate) fn target(&self) -> String {
        match &self.server.reach {
            entry::Reach::Command { command, .. } => {
                let words = command.iter().map(|word| yaml::scalar(word));
                words.collect::<Vec<_>>().join(" ")
            }
            entry::Reach::Url { url, .. } => secrets::without_steps(url),
        }
    }

    /// Remarks for the person.
    pub(crate) fn notes(&self) -> &[String] {
        &self.server.notes
    }
}
