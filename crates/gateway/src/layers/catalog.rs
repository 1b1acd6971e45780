//! Catalog: a tool call goes on only if the server has shown the tool. So a tool that does not exist and one that policy
//! hides are refused in the same words.

mod arguments;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{Arc, OnceLock, PoisonError, RwLock, Weak},
    time::{Duration, SystemTime},
};

use futures_util::StreamExt;
use keepgate_call::{Answer, Ask, Call, Code, Origin, Refusal, Reply, ServerName, SessionKey};
use keepgate_mcp::{
    Era, encode,
    id::Id,
    json::Raw,
    list::Listing,
    message::{self, Body, Message, Request, Response},
    method::{Method, Subject},
    schema::InputSchema,
};
use keepgate_policy::ToolFacts;
use keepgate_telemetry::{
    metrics::{Counter, Family},
    trace::Tracer,
};
use keepgate_transport::memory::Budget;
use tower::ServiceExt;
use tracing::warn;

use self::arguments::Arguments;
pub(super) use self::arguments::lines;
use super::session::Bound;
use crate::{
    around::Around,
    catalog::{self, Catalog, CatalogEntry, Shelves},
    clock::Ids,
    inspection::Inspection,
    session::Session,
    settings::{Settings, UndeclaredArguments, Validation},
    shared::Shared,
    stack::Calls,
};

/// Pages of a list the gateway reads for itself.
const PAGES_MOST: usize = 50;
/// Catalogs of callers without sessions; beyond it the oldest knowledge is forgotten, and asked for again.
const CATALOGS_MOST: usize = 10_000;

/// The server, and who asks: a renewed token is the same caller.
type Key = (ServerName, SessionKey);

/// The catalogs of callers that have no session. Callers with one keep theirs there.
#[derive(Debug, Default)]
pub struct Catalogs {
    stateless: RwLock<HashMap<Key, Arc<Catalog>>>,
    shelves: Shelves,
}

impl Catalogs {
    /// Catalogs that are charged to `memory`.
    pub fn new(memory: &Budget) -> Self {
        Self {
            stateless: RwLock::default(),
            shelves: Shelves::new(memory),
        }
    }

    /// Takes in one page of a list a server shows the caller of `bound`: the first if `first`, the last unless `more`. Returns the
    /// number of tools that were left out since no kill could name them.
    ///
    /// # Errors
    /// `upstream_invalid` for a list over a limit, `memory_full` when there is no room for it.
    pub fn show(
        &self,
        bound: &Bound,
        page: &Listing<'_>,
        validation: Validation,
        first: bool,
        more: bool,
    ) -> Result<usize, Refusal> {
        let catalog = self.of(bound);
        let shown = catalog.show(&self.shelves, page, validation, first, more);
        if shown
            .as_ref()
            .is_err_and(|refusal| refusal.code == Code::MemoryFull)
        {
            // A caller without a session never signs off; one that is still there asks for its list again.
            let mut all = self
                .stateless
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            all.clear();
        }
        shown
    }

    /// The catalog a call is measured by.
    pub fn of(&self, bound: &Bound) -> Shelf {
        if let Some(session) = bound.session.session() {
            return Shelf::Session(Arc::clone(session));
        }
        let call = &bound.call;
        let key = (call.server.clone(), call.caller.session_key().clone());
        if let Some(catalog) = self
            .stateless
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Shelf::Caller(Arc::clone(catalog));
        }
        let mut all = self
            .stateless
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= CATALOGS_MOST {
            all.clear();
        }
        Shelf::Caller(Arc::clone(all.entry(key).or_default()))
    }
}

impl Catalogs {
    /// Names of the tools a server has shown these sessions, and callers without one; `None` if no list of it is held.
    pub fn names(
        &self,
        server: &ServerName,
        sessions: &[Arc<Session>],
    ) -> Option<BTreeSet<Box<str>>> {
        let all = self
            .stateless
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let stateless = all.iter().filter(|((of, _), _)| of == server);
        let stateless = stateless.map(|(_, catalog)| &**catalog);
        let sessions = sessions.iter().filter(|session| session.server == *server);
        catalog::names(stateless.chain(sessions.map(|session| &session.catalog)))
    }

    /// The fingerprint of the tool of a call, as the server has shown it last.
    pub fn fingerprint(&self, bound: &Bound) -> Option<[u8; 32]> {
        match self.of(bound).knows(&bound.call.tool()?) {
            catalog::Known::Yes(entry) => Some(entry.fingerprint),
            catalog::Known::No | catalog::Known::Unsure => None,
        }
    }

    /// The arguments that the tool of a call takes.
    pub fn schema(&self, bound: &Bound) -> Option<Arc<InputSchema>> {
        match self.of(bound).knows(&bound.call.tool()?) {
            catalog::Known::Yes(entry) => Some(entry.schema),
            catalog::Known::No | catalog::Known::Unsure => None,
        }
    }
}

/// Where a catalog stands.
#[derive(Debug)]
pub enum Shelf {
    /// In a session.
    Session(Arc<Session>),
    /// With a caller.
    Caller(Arc<Catalog>),
}

impl std::ops::Deref for Shelf {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        match self {
            Self::Session(session) => &session.catalog,
            Self::Caller(catalog) => catalog,
        }
    }
}

/// A call whose tool, if it is about one, was looked up.
#[derive(Debug)]
pub struct Known {
    /// The call.
    pub bound: Bound,
    /// The tool's definition.
    pub tool: Option<ToolFacts>,
    /// The refusal its arguments earn. Only who may see the tool may learn of it, so it waits for the policy.
    pub fault: Option<Refusal>,
    /// Whether the server has no such tool. Policy is asked all the same, and the call goes no further.
    pub is_absent: bool,
}

/// Facts of a server that lookups need.
#[derive(Debug)]
struct OfServer {
    undeclared: UndeclaredArguments,
    validation: Validation,
    /// The longest that its list is waited for.
    patience: Duration,
}

/// Looks tools up, and asks the server for its list when it must.
#[derive(Debug)]
pub struct Lookup {
    catalogs: Arc<Catalogs>,
    ids: Arc<Ids>,
    tracer: Arc<Tracer>,
    calls: Arc<OnceLock<Weak<Calls>>>,
    servers: BTreeMap<ServerName, OfServer>,
    inspection: Arc<Inspection>,
    strangers: Family<Counter, 2>,
}

impl Lookup {
    /// A gate over `catalogs`. `calls` is the whole stack, once it stands: the gateway's own list calls pass it like
    /// anybody's, so they are judged and recorded.
    pub fn new(settings: &Settings, shared: &Shared, calls: &Arc<OnceLock<Weak<Calls>>>) -> Self {
        let servers = settings.servers.iter();
        Self {
            catalogs: Arc::clone(&shared.catalogs),
            ids: Arc::clone(&shared.ids),
            tracer: Arc::clone(&shared.tracer),
            calls: Arc::clone(calls),
            servers: servers
                .map(|(name, server)| {
                    let of_server = OfServer {
                        undeclared: server.arguments,
                        validation: server.validation,
                        patience: server.timeouts.request,
                    };
                    (name.clone(), of_server)
                })
                .collect(),
            inspection: Arc::clone(&shared.inspection),
            strangers: shared.meters.registry().counter(
                "keepgate.arguments.undeclared",
                "Arguments and Mcp-Param-* lines that the tool does not declare, by server and kind",
                &["keepgate.server.name", "keepgate.kind"],
            ),
        }
    }

    /// The definition of a tool; `None` for one that the server does not have.
    async fn look_up(
        &self,
        bound: &Bound,
        request: &Request,
        tool: &str,
    ) -> Result<Option<CatalogEntry>, Refusal> {
        let catalog = self.catalogs.of(bound);
        if let catalog::Known::Yes(entry) = catalog.knows(tool) {
            return Ok(Some(entry));
        }
        self.look_again(bound, request).await?;
        match catalog.knows(tool) {
            catalog::Known::Yes(entry) => Ok(Some(entry)),
            catalog::Known::No | catalog::Known::Unsure => Ok(None),
        }
    }

    /// The tool of a call, with the arguments held against its schema; `None` for one that the server does not have.
    async fn settle(
        &self,
        bound: &Bound,
        request: &Request,
        tool: &str,
    ) -> Result<Option<Settled>, Refusal> {
        let call = &bound.call;
        let Some(of_server) = self.servers.get(&call.server) else {
            return Err(Refusal::new(Code::Internal));
        };
        let held = |entry| {
            Arguments::of(
                call,
                request,
                entry,
                (of_server.validation, of_server.undeclared),
                &self.inspection,
            )
        };
        let renewed;
        let Some(known) = self.look_up(bound, request, tool).await? else {
            return Ok(None);
        };
        let arguments = held(&known)?;
        let (entry, arguments) = match arguments.stale_after() {
            // The server may have changed what it declares since it was asked.
            Some(age) if self.renew(bound, request, age).await? => {
                let Some(entry) = self.look_up(bound, request, tool).await? else {
                    return Ok(None);
                };
                renewed = entry;
                (&renewed, held(&renewed)?)
            }
            Some(_) | None => (&known, arguments),
        };
        if call.revision.era() == Era::Stateless && entry.schema.mirrors().is_err() {
            return Ok(None);
        }
        let names = arguments.undeclared();
        for (kind, count) in [
            ("argument", names.len()),
            ("header", arguments.strange_lines()),
        ] {
            if count > 0 {
                let labels = [call.server.as_str(), kind];
                self.strangers
                    .with(labels, |counter| counter.add(count as u64));
            }
        }
        let facts = if names.is_empty() {
            entry.facts.clone()
        } else {
            let facts = entry.facts.with_undeclared(&names);
            call.carried.strange(names);
            facts
        };
        let fault = arguments.settle(call, request, &entry.schema).err();
        Ok(Some((facts, fault)))
    }

    /// Asks for the list once more if it is older than `age`. Many calls ask once.
    async fn renew(
        &self,
        bound: &Bound,
        request: &Request,
        age: Duration,
    ) -> Result<bool, Refusal> {
        if !self.catalogs.of(bound).is_older(age) {
            return Ok(false);
        }
        self.ask_once(bound, request, age).await?;
        Ok(true)
    }

    /// Asks the server for its list, unless that was done a moment ago. Many calls ask once.
    async fn look_again(&self, bound: &Bound, request: &Request) -> Result<(), Refusal> {
        self.ask_once(bound, request, catalog::FRESH).await
    }

    /// Asks for the list if it is older than `age`. Who waits for another's asking shares its failure, and nobody waits longer
    /// than the server has for one answer.
    async fn ask_once(
        &self,
        bound: &Bound,
        request: &Request,
        age: Duration,
    ) -> Result<(), Refusal> {
        let catalog = self.catalogs.of(bound);
        let known = || (!catalog.is_older(age)).then_some(());
        let asked = catalog.asking.run(known, self.ask(bound, request));
        let Some(server) = self.servers.get(&bound.call.server) else {
            return Err(Refusal::new(Code::Internal));
        };
        tokio::time::timeout(server.patience, asked)
            .await
            .unwrap_or_else(|_elapsed| Err(Refusal::new(Code::UpstreamTimeout)))
    }

    /// Reads the whole list. What it shows reaches the catalog on its way back through the stack.
    async fn ask(&self, bound: &Bound, request: &Request) -> Result<(), Refusal> {
        let internal = || Refusal::new(Code::Internal);
        let calls = self
            .calls
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(internal)?;
        let mut cursor: Option<String> = None;
        let mut seen = HashSet::new();
        let mut reason = "it has too many pages";
        for _ in 0..PAGES_MOST {
            let call = self.list_call(bound, request, cursor.as_deref())?;
            let reply = Calls::clone(&calls).oneshot(Arc::new(call)).await?;
            let Some(response) = response(reply.answer).await? else {
                return Ok(());
            };
            let Some(next) = next_cursor(&response).map(|raw| raw.as_str().to_owned()) else {
                return Ok(());
            };
            if !seen.insert(next.clone()) {
                reason = "its server repeats a cursor";
                break;
            }
            cursor = Some(next);
        }
        warn!(server = %bound.call.server, most = PAGES_MOST, "a list of tools was ended: {reason}");
        self.catalogs.of(bound).complete(&self.catalogs.shelves);
        Ok(())
    }

    fn list_call(
        &self,
        bound: &Bound,
        request: &Request,
        cursor: Option<&str>,
    ) -> Result<Call, Refusal> {
        let call = &bound.call;
        let now = SystemTime::now();
        let (decision, random) = self.ids.next(now);
        let params = list_params(call.revision.era(), request, cursor);
        // An id no answer of a client's call could have; the server hears another.
        let id = Id::from_text(decision.as_str()).ok_or_else(|| Refusal::new(Code::Internal))?;
        let bytes = encode::request(&id, &Method::ToolsList, params.as_deref());
        let message = match message::decode(bytes, &keepgate_mcp::Limits::request()) {
            Ok(Body::Single(message)) => message,
            Ok(Body::Batch(_)) => return Err(Refusal::new(Code::Internal)),
            Err(error) => return Err(Refusal::new(Code::Internal).source(error)),
        };
        Ok(Call {
            origin: Origin::Gateway,
            transport: call.transport,
            session: call.session.clone(),
            peer: call.peer,
            trace: self.tracer.inner(&call.trace, random),
            ..Call::new(
                decision,
                self.ids.upstream(),
                now,
                Arc::clone(&call.caller),
                call.server.clone(),
                call.revision,
                Ask::Message(message),
            )
        })
    }
}

/// The definition of a tool, and the refusal the arguments of a call to it earn.
type Settled = (ToolFacts, Option<Refusal>);

/// A call that is for no tool.
fn untooled(bound: Bound) -> Known {
    let request = bound.call.request();
    let prompted = request.filter(|request| matches!(request.subject(), Subject::Prompt(_)));
    let fault = prompted.and_then(|request| arguments::of_prompt(&bound.call, request).err());
    Known {
        bound,
        tool: None,
        fault,
        is_absent: false,
    }
}

/// The name of the tool a call is for.
fn called(bound: &Bound) -> Option<(&Request, Cow<'_, str>)> {
    let request = bound.call.request()?;
    match request.subject() {
        Subject::Tool(name) => Some((request, name)),
        Subject::Prompt(_)
        | Subject::Resource(_)
        | Subject::Completion { .. }
        | Subject::Listing(_)
        | Subject::Task(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

impl Around<Bound> for Lookup {
    type Out = Known;
    type Reply = Reply;

    /// A tool that is hidden and one that is not there take the same way: a fresh look at the list, and policy. So neither
    /// the words nor the time of the refusal show which it was.
    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Known) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let looked_up = match called(&bound) {
            Some((request, name)) => Some(Box::pin(self.settle(&bound, request, &name)).await?),
            None => None,
        };
        let Some(settled) = looked_up else {
            return next(untooled(bound)).await;
        };
        // Only a name the server has shown becomes a label: a client could make up any number of others.
        if settled.is_some() {
            bound.call.trace.list();
        }
        let again = Bound {
            call: Arc::clone(&bound.call),
            session: bound.session.clone(),
            tracked: None,
            resume: None,
        };
        let is_absent = settled.is_none();
        let (tool, fault) = settled.unzip();
        let reply = next(Known {
            bound,
            tool,
            fault: fault.flatten(),
            is_absent,
        })
        .await;
        let hidden = |refusal: &Refusal| refusal.code == Code::NotFound && !is_absent;
        if reply.as_ref().err().is_some_and(hidden)
            && let Some((request, _)) = called(&again)
        {
            // As for one that is absent, a list that cannot be had is the refusal.
            Box::pin(self.look_again(&again, request)).await?;
        }
        reply
    }
}

/// `params` of the gateway's own list call: of a stateless client's `_meta` only what the revision demands.
fn list_params(era: Era, request: &Request, cursor: Option<&str>) -> Option<String> {
    let mut members = Vec::new();
    if let Some(cursor) = cursor {
        members.push(format!("\"cursor\":{cursor}"));
    }
    if era == Era::Stateless {
        const PASSED: [&str; 3] = [
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/clientCapabilities",
        ];
        let meta = request.meta();
        let passed = PASSED
            .iter()
            .filter_map(|key| Some(format!("\"{key}\":{}", meta.member(key)?.as_str())));
        members.push(format!(
            "\"_meta\":{{{}}}",
            passed.collect::<Vec<_>>().join(",")
        ));
    }
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

/// The cursor of the page after this one. Null counts as none: servers whose language has no absent members send it.
pub(super) fn next_cursor(response: &Response) -> Option<Raw<'_>> {
    response
        .result_member("nextCursor")
        .filter(|cursor| !cursor.is_null())
}

/// The response of a list call, whichever way it comes. `None`: the server has no such list.
async fn response(answer: Answer) -> Result<Option<Response>, Refusal> {
    match answer {
        Answer::Message(Message::Response(response)) => {
            Ok(response.result().is_some().then_some(response))
        }
        Answer::Stream(mut events) => {
            while let Some(item) = events.next().await {
                let item = item.map_err(|cut| Refusal::new(Code::UpstreamInvalid).source(cut))?;
                if let Some(Message::Response(response)) = item.message {
                    return Ok(response.result().is_some().then_some(response));
                }
            }
            Err(Refusal::new(Code::UpstreamInvalid).detail("no response to `tools/list`"))
        }
        Answer::Passed { .. } => Ok(None),
        Answer::Accepted | Answer::Message(Message::Request(_) | Message::Notification(_)) => {
            Err(Refusal::new(Code::UpstreamInvalid).detail("no response to `tools/list`"))
        }
    }
}
