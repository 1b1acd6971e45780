//! The tools a server has shown: what tells a hidden tool from one that never was, to us and to nobody else.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use keepgate_mcp::{json::Raw, list::Listing, schema::InputSchema};
use keepgate_policy::{ToolFacts, ToolFields};

/// How long a list is believed when it does not have the tool that is called.
const FRESH: Duration = Duration::from_secs(5);
/// The most tools kept of one server; the rest stays unknown and so cannot be called.
const TOOLS_MOST: usize = 20_000;
/// The most arguments of one tool that are known to be declared.
const PARAMETERS_MOST: usize = 1_000;

/// The tools of one server as one session, or one caller, has been shown them.
#[derive(Debug, Default)]
pub struct Catalog {
    shown: RwLock<Shown>,
    /// Held while the gateway asks for the list, so that many calls ask once.
    pub asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Shown {
    tools: HashMap<Box<str>, CatalogEntry>,
    /// Pages of a list that is not whole yet.
    pages: Option<HashMap<Box<str>, CatalogEntry>>,
    whole_since: Option<Instant>,
}

/// A tool the server has shown: made once, when a list shows it.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// What policy is told of it.
    pub facts: ToolFacts,
    /// The arguments it takes.
    pub schema: Arc<InputSchema>,
}

/// What a catalog says of a tool.
#[derive(Debug, Clone)]
pub enum Known {
    /// The server has it.
    Yes(CatalogEntry),
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
            (Some(tool), _) => Known::Yes(tool.clone()),
            (None, Some(since)) if since.elapsed() < FRESH => Known::No,
            (None, _) => Known::Unsure,
        }
    }

    /// Whether the whole list is older than `age`, or was never seen.
    pub fn is_older(&self, age: Duration) -> bool {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.whole_since.is_none_or(|since| since.elapsed() >= age)
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
            // A tool whose annotations cannot be shown to policy stays unknown, and one whose schema is too large to be read.
            if let (Ok(facts), Ok(schema)) = (ToolFacts::new(&fields), InputSchema::read(schema)) {
                let schema = Arc::new(schema);
                tools.insert(item.key.as_ref().into(), CatalogEntry { facts, schema });
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
