//! The tools a server has shown: what tells a hidden tool from one that never was, to us and to nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use keepgate_call::{Code, Refusal};
use keepgate_mcp::{
    json::{Raw, canonical},
    list::{Item, Listing},
    schema::{
        InputSchema,
        values::{Unusable, ValueRules},
    },
};
use keepgate_policy::{ToolFacts, ToolFields};
use keepgate_store::kill::is_nameable;
use keepgate_transport::memory::{Budget, Charge};

use crate::{flight::Flight, hash::HashMap, settings::Validation};

/// How long a list is believed when it does not have the tool that is called.
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// The most tools of one catalog, and the most bytes they take in memory: a list that has more is not handed out.
pub(crate) const TOOLS_MOST: usize = 10_000;
const BYTES_MOST: usize = 16 * 1024 * 1024;
/// Memory of a tool without its own texts: its place in the table and the objects policy is shown.
const TOOL: usize = 1024;
/// Bytes of memory that a byte of annotations may become: a short JSON value is an object of its own.
const ANNOTATIONS: usize = 16;
/// Memory of a name without its bytes.
const NAME: usize = 64;
/// Equal catalogs that are remembered before those nobody holds any more are looked for.
const EQUAL_MOST: usize = 1024;
/// The most arguments of one tool that are known to be declared.
const PARAMETERS_MOST: usize = 1_000;

/// The tools of one server as one session, or one caller, has been shown them.
#[derive(Debug, Default)]
pub struct Catalog {
    shown: RwLock<Shown>,
    /// The gateway's own asking for the list, so that many calls ask once.
    pub asking: Flight<Refusal>,
}

#[derive(Debug, Default)]
struct Shown {
    /// The last list that was whole; shared with everybody who was shown an equal one.
    whole: Option<Arc<Tools>>,
    /// Pages of a list that is not whole yet; its tools can be called already.
    pages: Option<Tools>,
    whole_since: Option<Instant>,
}

impl Shown {
    fn tool(&self, name: &str) -> Option<&CatalogEntry> {
        let of = |tools: &'_ Tools| tools.by_name.contains_key(name);
        match &self.pages {
            Some(pages) if of(pages) => pages.by_name.get(name),
            Some(_) | None => self.whole.as_ref()?.by_name.get(name),
        }
    }
}

/// Tools, and what they are charged for.
#[derive(Debug)]
struct Tools {
    by_name: HashMap<Box<str>, CatalogEntry>,
    charge: Charge,
    /// The same of what catalogs may take together.
    part: Charge,
    /// Over everything they are made of.
    digest: blake3::Hasher,
}

/// Common ground of catalogs: the memory they are charged to, and those that are equal.
#[derive(Debug, Default)]
pub struct Shelves {
    memory: Budget,
    /// Half of it: servers that show each session another list leave room for calls.
    part: Budget,
    equal: Mutex<HashMap<[u8; 32], Weak<Tools>>>,
}

impl Shelves {
    /// For catalogs that are charged to `memory`.
    pub fn new(memory: &Budget) -> Self {
        Self {
            memory: memory.clone(),
            part: memory
                .left()
                .map_or_else(Budget::default, |all| Budget::new(all / 2)),
            equal: Mutex::default(),
        }
    }

    fn tools(&self) -> Tools {
        Tools {
            by_name: HashMap::default(),
            charge: self.memory.charge(),
            part: self.part.charge(),
            digest: blake3::Hasher::new(),
        }
    }

    /// The catalog that equals `tools`, if somebody was shown one; else they are it.
    fn share(&self, tools: Tools) -> Arc<Tools> {
        let digest = *tools.digest.finalize().as_bytes();
        let mut equal = self.equal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = equal.get(&digest).and_then(Weak::upgrade) {
            return known;
        }
        if equal.len() >= EQUAL_MOST {
            equal.retain(|_, known| known.strong_count() > 0);
        }
        let tools = Arc::new(tools);
        equal.insert(digest, Arc::downgrade(&tools));
        tools
    }
}

impl Tools {
    /// Adds a tool as the server lists it. One whose annotations cannot be shown to policy stays unknown, and one whose
    /// schema is too large to be read, and one that no kill could name. Returns whether a kill could.
    fn add(&mut self, item: &Item<'_>, validation: Validation) -> Result<bool, Refusal> {
        if !is_nameable(&item.key) {
            return Ok(false);
        }
        if needs_a_task(item) {
            return Ok(true);
        }
        let annotations = item.raw.member("annotations").filter(|raw| raw.is_object());
        let schema = item.raw.member("inputSchema");
        let declared = parameters(schema);
        let declared: Vec<&str> = declared.iter().map(|name| &**name).collect();
        let arguments = InputSchema::read(schema);
        let rules = match validation {
            Validation::Names => None,
            Validation::Full => Some(Arc::new(ValueRules::read(schema))),
        };
        let of_rules = rules
            .as_ref()
            .and_then(|rules| rules.as_ref().as_ref().ok());
        let size =
            arguments.as_ref().map_or(0, InputSchema::size) + of_rules.map_or(0, ValueRules::size);
        let bytes = weight(&item.key, annotations, &declared, size);
        if self.by_name.len() >= TOOLS_MOST {
            return Err(too_much("the list of tools has more than 10000"));
        }
        if self.charge.bytes().saturating_add(bytes) > BYTES_MOST {
            return Err(too_much("the list of tools takes more than 16 MiB"));
        }
        let charged = self.part.add(bytes).and_then(|()| self.charge.add(bytes));
        charged.map_err(|spent| Refusal::new(Code::MemoryFull).source(spent))?;
        let fingerprint = fingerprint(item.raw);
        self.digest.update(&fingerprint);
        for part in [
            rules.as_ref().map(|_| "full"),
            Some(&*item.key),
            annotations.map(|raw| raw.as_str()),
            schema.map(|raw| raw.as_str()),
        ] {
            let part = part.unwrap_or_default().as_bytes();
            // Lengths first: no part runs into the next.
            self.digest.update(&(part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
        let fields = ToolFields {
            name: &item.key,
            parameters: Some(&declared),
            annotations: annotations.map(|raw| raw.as_str()),
            ..ToolFields::default()
        };
        if let (Ok(facts), Ok(schema)) = (ToolFacts::new(&fields), arguments) {
            let schema = Arc::new(schema);
            let entry = CatalogEntry {
                facts,
                schema,
                rules,
                fingerprint,
            };
            self.by_name.insert(item.key.as_ref().into(), entry);
        }
        Ok(true)
    }
}

/// Digest of a tool's definition, whichever order its members come in. Without `_meta`, which may differ in each list.
fn fingerprint(definition: Raw<'_>) -> [u8; 32] {
    let members = definition
        .members()
        .filter(|(name, _)| !name.is_text("_meta"));
    let mut members: Vec<_> = members
        .map(|(name, value)| (canonical(name), canonical(value)))
        .collect();
    members.sort_unstable();
    let mut digest = blake3::Hasher::new();
    for text in members.iter().flat_map(|(name, value)| [name, value]) {
        digest.update(&(text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    *digest.finalize().as_bytes()
}

/// Whether a tool can be called as a task only: tasks are not passed on yet, so nobody could call it.
fn needs_a_task(item: &Item<'_>) -> bool {
    let execution = item.raw.member("execution");
    let support = execution.and_then(|execution| execution.member("taskSupport"));
    support.is_some_and(|support| support.is_text("required"))
}

/// Bytes that a tool takes in memory, at most. Whatever a catalog keeps of a tool is counted here.
fn weight(name: &str, annotations: Option<Raw<'_>>, parameters: &[&str], schema: usize) -> usize {
    let annotations = annotations.map_or(0, |raw| raw.as_str().len());
    let parameters: usize = parameters.iter().map(|name| NAME + name.len()).sum();
    // Name, key of the table, and what policy is shown: three of them.
    [
        TOOL,
        3 * name.len(),
        annotations.saturating_mul(ANNOTATIONS),
        parameters,
        schema,
    ]
    .into_iter()
    .fold(0, usize::saturating_add)
}

/// A list that is over a limit: it is the server's doing.
fn too_much(what: &'static str) -> Refusal {
    Refusal::new(Code::UpstreamInvalid).detail(what)
}

/// A tool the server has shown: made once, when a list shows it.
#[derive(Debug, Clone)]
pub struct CatalogEntry {
    /// What policy is told of it.
    pub facts: ToolFacts,
    /// The arguments it takes.
    pub schema: Arc<InputSchema>,
    /// Digest of its whole definition.
    pub fingerprint: [u8; 32],
    /// Its schema for validation; `None` if the list was read when none was asked for.
    pub rules: Option<Arc<Result<ValueRules, Unusable>>>,
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

/// Names of the tools of these catalogs, `None` if none of them holds a whole list. Equal ones are looked at once.
pub fn names<'a>(catalogs: impl Iterator<Item = &'a Catalog>) -> Option<BTreeSet<Box<str>>> {
    let lists = catalogs.filter_map(Catalog::whole);
    let lists: BTreeMap<*const Tools, Arc<Tools>> =
        lists.map(|list| (Arc::as_ptr(&list), list)).collect();
    let names = lists.values().flat_map(|list| list.by_name.keys().cloned());
    (!lists.is_empty()).then(|| names.take(TOOLS_MOST).collect())
}

impl Catalog {
    /// What is known of `tool`.
    pub fn knows(&self, tool: &str) -> Known {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        match (shown.tool(tool), shown.whole_since) {
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

    /// Takes in one page of a list: the first if `first`, the last unless `more`. Returns the number of tools that were left out
    /// since no kill could name them.
    ///
    /// # Errors
    /// `upstream_invalid` for a list over a limit, `memory_full` when there is no room for it. What was whole stays.
    pub fn show(
        &self,
        shelves: &Shelves,
        page: &Listing<'_>,
        validation: Validation,
        first: bool,
        more: bool,
    ) -> Result<usize, Refusal> {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        // Let go of before more is charged.
        let before = shown.pages.take().filter(|_| !first);
        let mut tools = before.unwrap_or_else(|| shelves.tools());
        let mut nameless = 0;
        for item in page.items() {
            nameless += usize::from(!tools.add(item, validation)?);
        }
        if more {
            shown.pages = Some(tools);
        } else {
            shown.whole = Some(shelves.share(tools));
            shown.whole_since = Some(Instant::now());
        }
        Ok(nameless)
    }

    /// The last list that was whole.
    fn whole(&self) -> Option<Arc<Tools>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.whole.clone()
    }

    /// Takes the pages shown so far for the whole list: its server would go on without end.
    pub fn complete(&self, shelves: &Shelves) {
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pages) = shown.pages.take() {
            shown.whole = Some(shelves.share(pages));
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
