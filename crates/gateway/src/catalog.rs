//! The tools a server has shown: what tells a hidden tool from one that never was, to us and to nobody else.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use keepgate_mcp::{json::Raw, list::Listing};
use keepgate_policy::{ToolFacts, ToolFields};

/// How long a list is believed when it does not have the tool that is called.
const FRESH: Duration = Duration::from_secs(5);
/// The most tools kept of one server; the rest stays unknown and so cannot be called.
const TOOLS_MOST: usize = 20_000;
/// The most arguments of one tool that are known to be declared.
const PARAMETERS_MOST: usize = 1_000;
/// The most arguments of one tool that headers repeat, and how deep they stand.
const MIRRORS_MOST: usize = 32;
const MIRRORS_DEEP: usize = 8;

/// The tools of one server as one session, or one caller, has been shown them.
#[derive(Debug, Default)]
pub struct Catalog {
    shown: RwLock<Shown>,
    /// Held while the gateway asks for the list, so that many calls ask once.
    pub asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Shown {
    tools: HashMap<Box<str>, Tool>,
    /// Pages of a list that is not whole yet.
    pages: Option<HashMap<Box<str>, Tool>>,
    whole_since: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Tool {
    facts: ToolFacts,
    /// Most tools have none.
    mirrors: Option<Arc<[Mirror]>>,
}

/// An argument that a header repeats (SEP-2243, `x-mcp-header` in the tool's schema).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The header's name, in lower case.
    pub header: Box<str>,
    /// The names that lead to the argument.
    pub path: Box<[Box<str>]>,
}

/// What a catalog says of a tool.
#[derive(Debug, Clone)]
pub enum Known {
    /// The server has it.
    Yes(ToolFacts),
    /// The server does not have it.
    No,
    /// The list is missing or old: ask again.
    Unsure,
}

impl Catalog {
    /// What is known of `tool`.
    pub fn knows(&self, tool: &str) -> Known {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        match (shown.tools.get(tool), shown.whole_since) {
            (Some(tool), _) => Known::Yes(tool.facts.clone()),
            (None, Some(since)) if since.elapsed() < FRESH => Known::No,
            (None, _) => Known::Unsure,
        }
    }

    /// The arguments of `tool` that headers repeat.
    pub fn mirrors(&self, tool: &str) -> Arc<[Mirror]> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        let mirrors = shown.tools.get(tool).and_then(|tool| tool.mirrors.clone());
        mirrors.unwrap_or_default()
    }

    /// Takes in one page of a list: the first if `first`, the last unless `more`.
    pub fn show(&self, page: &Listing<'_>, first: bool, more: bool) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        let mut tools = if first {
            HashMap::new()
        } else {
            shown.pages.take().unwrap_or_default()
        };
        for item in page.items() {
            if tools.len() >= TOOLS_MOST {
                break;
            }
            let annotations = item.raw.member("annotations").filter(|raw| raw.is_object());
            let schema = item.raw.member("inputSchema");
            let declared = parameters(schema);
            let declared: Vec<&str> = declared.iter().map(|name| &**name).collect();
            let fields = ToolFields {
                name: &item.key,
                parameters: Some(&declared),
                annotations: annotations.map(|raw| raw.as_str()),
                ..ToolFields::default()
            };
            // A tool whose annotations cannot be shown to policy stays unknown.
            if let Ok(facts) = ToolFacts::new(&fields) {
                let mirrors = mirrors(schema);
                tools.insert(item.key.as_ref().into(), Tool { facts, mirrors });
            }
        }
        if more {
            // Tools of the pages so far can be called already.
            shown.tools.extend(
                tools
                    .iter()
                    .map(|(name, tool)| (name.clone(), tool.clone())),
            );
            shown.pages = Some(tools);
        } else {
            shown.tools = tools;
            shown.pages = None;
            shown.whole_since = Some(Instant::now());
        }
    }

    /// The server says its tools have changed.
    pub fn forget(&self) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        *shown = Shown::default();
    }
}

/// The arguments a schema declares: the `properties` of its own. What stands in parts it refers to or joins is not
/// looked at, and so not declared.
fn parameters(schema: Option<Raw<'_>>) -> Vec<Box<str>> {
    let properties = schema.and_then(|schema| schema.member("properties"));
    let names = properties.into_iter().flat_map(Raw::members);
    names
        .filter_map(|(name, _)| name.string())
        .map(|name| name.as_ref().into())
        .take(PARAMETERS_MOST)
        .collect()
}

/// What a schema says headers repeat; `None` for nothing.
fn mirrors(schema: Option<Raw<'_>>) -> Option<Arc<[Mirror]>> {
    let mut found = Vec::new();
    mirrored(schema?, &mut Vec::new(), &mut found);
    (!found.is_empty()).then(|| found.into())
}

fn mirrored(schema: Raw<'_>, path: &mut Vec<Box<str>>, found: &mut Vec<Mirror>) {
    if path.len() > MIRRORS_DEEP || found.len() >= MIRRORS_MOST {
        return;
    }
    let name = schema.member("x-mcp-header").and_then(Raw::string);
    if let Some(name) = name.filter(|_| !path.is_empty()) {
        found.push(Mirror {
            header: format!("mcp-param-{}", name.to_ascii_lowercase()).into(),
            path: path.clone().into(),
        });
    }
    let properties = schema.member("properties");
    for (name, property) in properties.into_iter().flat_map(Raw::members) {
        path.push(name.string().unwrap_or_default().into());
        mirrored(property, path, found);
        path.pop();
    }
}
