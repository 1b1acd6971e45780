//! `servers.d/*.yaml`: the definitions of servers, one `mcp_server` document a file.
//!
//! The form is that of a document other tools write too; what it leaves open (which argument holds a query, how the secret
//! is shown) stands in keys of ours, all of which may be left out: those of `credential` beside the first three, and
//! `mapping`. What the keys do is `policies/lib/definition.rego`; `docs/definitions.md` explains them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::decode::{At, Decode, Fields, choice};
use super::document::{self, Node};
use super::fault::{Fault, Faults, Origin};
use super::raw::credentials::{Credential as Attached, Form};

/// Where definitions lie when nobody says otherwise: beside the configuration file.
pub(crate) const DIRECTORY: &str = "servers.d";
/// Most files read.
const MAX_FILES: usize = 1_000;

/// The words of `permissions.allowed_operations` and of `mapping.tools.<name>.operation`.
pub(crate) const OPERATIONS: [&str; 11] = [
    "read", "query", "create", "insert", "update", "upsert", "write", "delete", "export",
    "execute", "admin",
];

/// One file, with what is wrong in it so far.
#[derive(Debug)]
pub(crate) struct File {
    /// Its path, for reports.
    pub(crate) path: PathBuf,
    text: String,
    pub(crate) faults: Faults,
    pub(crate) definition: Option<Definition>,
}

impl File {
    /// Everything that is wrong with it; `None` when nothing is.
    pub(crate) fn report(self) -> Option<String> {
        let name = self.path.display().to_string();
        (!self.faults.is_empty()).then(|| self.faults.render(&name, &self.text))
    }
}

/// Where the definitions are.
pub(crate) fn directory(written: Option<&At<String>>, beside: &Path) -> PathBuf {
    beside.join(written.map_or(DIRECTORY, |written| written.value.as_str()))
}

/// Reads them. The usual directory need not be there; one that is named must.
pub(crate) fn read(written: Option<&At<String>>, beside: &Path, faults: &mut Faults) -> Vec<File> {
    let directory = directory(written, beside);
    if written.is_none() && !directory.is_dir() {
        return Vec::new();
    }
    found(&directory).unwrap_or_else(|message| {
        let message = format!("{message}: `{}`", directory.display());
        faults.push(match written {
            Some(written) => written.fault(message),
            None => Fault::new(Origin::Whole, "definitions", message),
        });
        Vec::new()
    })
}

/// The definitions in a directory, in the order of their names.
///
/// # Errors
/// A sentence, when the directory cannot be read.
fn found(directory: &Path) -> Result<Vec<File>, String> {
    let failed = |error: std::io::Error| format!("failed to read the directory: {error}");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let yaml = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden {
            paths.push(path);
        }
    }
    if paths.len() > MAX_FILES {
        return Err(format!("more than {MAX_FILES} definitions"));
    }
    paths.sort();
    Ok(paths.into_iter().map(file).collect())
}

fn file(path: PathBuf) -> File {
    let mut faults = Faults::default();
    let text = match text(&path) {
        Ok(text) => text,
        Err(message) => {
            faults.push(Fault::new(Origin::Whole, "", message));
            String::new()
        }
    };
    let definition = if faults.is_empty() {
        document::parse(&text, &mut faults)
            .and_then(|root| Whole::decode(&root, "", &mut faults))
            .and_then(|whole| whole.mcp_server)
    } else {
        None
    };
    File {
        path,
        text,
        faults,
        definition,
    }
}

fn text(path: &Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    keepgate_files::open(path)
        .and_then(|file| {
            file.take(document::MAX_SIZE as u64 + 1)
                .read_to_string(&mut text)
        })
        .map_err(|error| format!("failed to read the definition: {error}"))?;
    Ok(text)
}

/// The whole file.
struct Whole {
    mcp_server: Option<Definition>,
}

impl Decode for Whole {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let whole = Self {
            mcp_server: fields.required(
                "mcp_server",
                "a definition is one document: `mcp_server: { name: .., permissions: .. }`",
            ),
        };
        fields.finish();
        Some(whole)
    }
}

/// `mcp_server`.
#[derive(Debug, Serialize)]
pub(crate) struct Definition {
    #[serde(serialize_with = "value")]
    pub(crate) name: Option<At<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) credential: Option<Credential>,
    permissions: Option<Permissions>,
    access_control: AccessControl,
    pub(crate) audit: Audit,
    mapping: Mapping,
}

fn value<S: serde::Serializer>(name: &Option<At<String>>, to: S) -> Result<S::Ok, S::Error> {
    let name = name.as_ref().map(|name| &name.value);
    name.serialize(to)
}

impl Decode for Definition {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let definition = Self {
            name: fields.required("name", "write the name the server has in `servers`"),
            description: fields.optional("description"),
            credential: fields.optional("credential"),
            permissions: fields.required(
                "permissions",
                "say what may be done: `permissions: { allowed_objects: [..], allowed_operations: [read] }`",
            ),
            access_control: fields.section("access_control")?,
            audit: fields.section("audit")?,
            mapping: fields.section("mapping")?,
        };
        fields.finish();
        Some(definition)
    }
}

/// `mcp_server.credential`.
#[derive(Debug, Serialize)]
pub(crate) struct Credential {
    #[serde(skip)]
    pub(crate) vault_path: Option<At<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rotation_days: Option<u64>,
    pub(crate) dynamic_secret: bool,
    /// How the server gets it; keys of ours.
    #[serde(skip)]
    pub(crate) field: Option<String>,
    #[serde(skip)]
    pub(crate) attached: Attached,
}

impl Decode for Credential {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let credential = Self {
            vault_path: fields.required(
                "vault_path",
                "write where the secret is in the vault, like `secret/mcp/crm`",
            ),
            rotation_days: fields.optional::<Days>("rotation_days").map(|days| days.0),
            dynamic_secret: fields.or("dynamic_secret", false),
            field: fields.optional("field"),
            attached: Attached {
                reference: None,
                form: Some(fields.or("as", Form::Bearer)),
                name: fields.optional("name"),
                user: fields.optional("user"),
                user_field: fields.optional("user_field"),
                user_name: fields.optional("user_name"),
                in_url: fields.or("in_url", false),
            },
        };
        fields.finish();
        Some(credential)
    }
}

/// A number of days, 1 or more.
struct Days(u64);

impl Decode for Days {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let days = u64::decode(node, path, faults)?;
        if !(1..=36_500).contains(&days) {
            let said = "expected a number of days, 1 to 36500";
            faults.push(Fault::new(node.origin.clone(), path, said));
            return None;
        }
        Some(Self(days))
    }
}

/// `mcp_server.permissions`.
#[derive(Debug, Serialize)]
struct Permissions {
    allowed_objects: Vec<String>,
    allowed_operations: Vec<Operation>,
    denied_fields: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_records_per_query: Option<u64>,
}

impl Decode for Permissions {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let permissions = Self {
            allowed_objects: fields
                .required(
                    "allowed_objects",
                    "name the objects or tables; `[\"*\"]` means any",
                )
                .unwrap_or_default(),
            allowed_operations: fields
                .required("allowed_operations", "name the operations: [read, query]")
                .unwrap_or_default(),
            denied_fields: fields.or("denied_fields", Vec::new()),
            max_records_per_query: fields.optional("max_records_per_query"),
        };
        fields.finish();
        Some(permissions)
    }
}

/// A word for what is done.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Operation(&'static str);

impl Decode for Operation {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = OPERATIONS.map(|word| (word, word));
        choice(node, path, faults, &words, &[]).map(Self)
    }
}

/// `mcp_server.access_control`.
#[derive(Debug, Serialize)]
struct AccessControl {
    requires_active_session: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_timeout_minutes: Option<u64>,
    high_risk_approval: bool,
}

impl Decode for AccessControl {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let control = Self {
            requires_active_session: fields.or("requires_active_session", false),
            session_timeout_minutes: fields.optional("session_timeout_minutes"),
            high_risk_approval: fields.or("high_risk_approval", false),
        };
        fields.finish();
        Some(control)
    }
}

/// `mcp_server.audit`.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    pub(crate) log_all_calls: bool,
    log_response_summary: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) siem_forward: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_days: Option<u64>,
}

impl Decode for Audit {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let audit = Self {
            log_all_calls: fields.or("log_all_calls", true),
            log_response_summary: fields.or("log_response_summary", false),
            siem_forward: fields.optional("siem_forward"),
            retention_days: fields.optional::<Days>("retention_days").map(|days| days.0),
        };
        fields.finish();
        Some(audit)
    }
}

/// `mcp_server.mapping`, of ours: where in a call stands what the permissions are about.
#[derive(Debug, Serialize)]
struct Mapping {
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dialect: Option<Word>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Vec<String>>,
    functions: Vec<String>,
    relationships: BTreeMap<String, String>,
    methods: Vec<String>,
    tools: BTreeMap<String, Tool>,
}

impl Decode for Mapping {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let plain = |map: BTreeMap<String, At<String>>| {
            map.into_iter().map(|(key, at)| (key, at.value)).collect()
        };
        let language: Option<Language> = fields.optional("language");
        let dialect: Option<Dialect> = fields.optional("dialect");
        let mapping = Self {
            language: language.map(|language| language.0),
            dialect: dialect.map(|dialect| dialect.0),
            query: fields.optional("query"),
            object: fields.optional("object"),
            functions: fields.or("functions", Vec::new()),
            relationships: plain(fields.or("relationships", BTreeMap::new())),
            methods: fields.or("methods", Vec::new()),
            tools: fields
                .or("tools", BTreeMap::<String, At<Tool>>::new())
                .into_iter()
                .map(|(name, at)| (name, at.value))
                .collect(),
        };
        fields.finish();
        Some(mapping)
    }
}

type Word = &'static str;

/// The language of queries.
struct Language(Word);

impl Decode for Language {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = ["sql", "soql"].map(|word| (word, word));
        choice(node, path, faults, &words, &[]).map(Self)
    }
}

/// The dialect of SQL.
struct Dialect(Word);

impl Decode for Dialect {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let words = keepgate_policy::SQL_DIALECTS.map(|word| (word, word));
        choice(node, path, faults, &words, &[]).map(Self)
    }
}

/// `mcp_server.mapping.tools.<name>`.
#[derive(Debug, Serialize)]
struct Tool {
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<Operation>,
}

impl Decode for Tool {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let tool = Self {
            object: fields.optional("object"),
            operation: fields.optional("operation"),
        };
        fields.finish();
        Some(tool)
    }
}

#[cfg(test)]
mod tests;
