//! The tools a server has shown: what tells a hidden tool from one that never was, to us and to nobody else.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use keepgate_mcp::list::Listing;
use keepgate_policy::{ToolFacts, ToolFields};

/// How long a list is believed when it does not have the tool that is called.
const FRESH: Duration = Duration::from_secs(5);
/// The most tools kept of one server; the rest stays unknown and so cannot be called.
const TOOLS_MOST: usize = 20_000;

/// The tools of one server as one session, or one caller, has been shown them.
#[derive(Debug, Default)]
pub struct Catalog {
    shown: RwLock<Shown>,
    /// Held while the gateway asks for the list, so that many calls ask once.
    pub asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Shown {
    tools: HashMap<Box<str>, ToolFacts>,
    /// Pages of a list that is not whole yet.
    pages: Option<HashMap<Box<str>, ToolFacts>>,
    whole_since: Option<Instant>,
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
            (Some(facts), _) => Known::Yes(facts.clone()),
            (None, Some(since)) if since.elapsed() < FRESH => Known::No,
            (None, _) => Known::Unsure,
        }
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
            let fields = ToolFields {
                name: &item.key,
                annotations: annotations.map(|raw| raw.as_str()),
                ..ToolFields::default()
            };
            // A tool whose annotations cannot be shown to policy stays unknown.
            if let Ok(facts) = ToolFacts::new(&fields) {
                tools.insert(item.key.as_ref().into(), facts);
            }
        }
        if more {
            // Tools of the pages so far can be called already.
            shown.tools.extend(
                tools
                    .iter()
                    .map(|(name, facts)| (name.clone(), facts.clone())),
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
