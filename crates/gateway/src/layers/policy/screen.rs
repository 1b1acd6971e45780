//! What comes back is judged too: lists are cut to what the caller may see, and the server's questions to the client are
//! allowed or declined.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt;
use keepgate_call::{Answer, Ask, Call, Code, Cut, Item as StreamItem, Refusal, Reply, ServerName};
use keepgate_mcp::{
    Era, error,
    id::Id,
    json::Raw,
    list::Listing,
    message::{Message, Request, Response},
    method::{Direction, ListKind, Method, Subject as About},
    revision::Revision,
};
use keepgate_policy::{Decision, Effect, Item, Phase, Policy, Reason};
use keepgate_store::kill::Switch;
use keepgate_telemetry::metrics::{Counter, Family};
use tracing::warn;

use super::{
    super::{
        audit,
        catalog::{Catalogs, next_cursor},
        session::{Binding, Bound},
    },
    facts::{Located, Side},
    reasons,
};
use crate::{
    around::Around,
    history::{Histories, Past},
    knowledge::Knowledge,
    object::{replaced, without_tasks},
    render::{self, Asked},
    settings::{Settings, Validation},
    shared::Shared,
};

/// Screens replies.
#[derive(Debug)]
pub struct Screen(Arc<Parts>);

/// What every screening needs.
#[derive(Debug)]
struct Parts {
    policy: Arc<Policy>,
    knowledge: Arc<Knowledge>,
    catalogs: Arc<Catalogs>,
    kill: Arc<Switch>,
    history: Arc<Histories>,
    refusals: Arc<audit::Refusals>,
    validation: BTreeMap<ServerName, Validation>,
    nameless: Family<Counter, 1>,
}

impl Screen {
    /// An around over the policy; what lists show goes into the catalogs, what is cut off is left out of them, what servers
    /// ask goes into the log.
    pub fn new(settings: &Settings, shared: &Shared, knowledge: &Arc<Knowledge>) -> Self {
        let servers = settings.servers.iter();
        Self(Arc::new(Parts {
            policy: Arc::clone(&shared.policy),
            knowledge: Arc::clone(knowledge),
            catalogs: Arc::clone(&shared.catalogs),
            kill: Arc::clone(&shared.kill),
            history: Arc::clone(&shared.history),
            refusals: Arc::clone(&shared.refusals),
            validation: servers
                .map(|(name, server)| (name.clone(), server.validation))
                .collect(),
            nameless: shared.meters.registry().counter(
                "keepgate.tools.nameless",
                "Tools left out of lists since no kill could name them",
                &["keepgate.server.name"],
            ),
        }))
    }
}

impl Around<Bound> for Screen {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let screened = Screened {
            parts: Arc::clone(&self.0),
            listing: listing(bound.owed()),
            is_resumed: bound.resume.is_some(),
            bound: bound.of_owed(),
        };
        let Reply { answer, session } = next(bound).await?;
        let answer = match answer {
            Answer::Message(Message::Response(response)) => {
                Answer::Message(Message::Response(screened.response(response)?))
            }
            Answer::Stream(events) => {
                Answer::Stream(Box::pin(events.filter_map(move |item| {
                    std::future::ready(screened.item(item).transpose())
                })))
            }
            other @ (Answer::Accepted
            | Answer::Message(Message::Request(_) | Message::Notification(_))
            | Answer::Passed { .. }) => other,
        };
        Ok(Reply { answer, session })
    }
}

fn listing(call: &Call) -> Option<ListKind> {
    match &call.ask {
        Ask::Message(Message::Request(request)) => match request.subject() {
            About::Listing(kind) => Some(kind),
            About::Tool(_)
            | About::Prompt(_)
            | About::Resource(_)
            | About::Completion { .. }
            | About::Task(_)
            | About::Subscription
            | About::Session
            | About::Client
            | About::Missing
            | About::Unknown => None,
        },
        Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::Listen | Ask::End => {
            None
        }
    }
}

/// The screening of one reply.
struct Screened {
    parts: Arc<Parts>,
    /// Kind of list the answer holds.
    listing: Option<ListKind>,
    /// Whether the answer was asked for on a stream before this one.
    is_resumed: bool,
    /// The call whose answer is owed.
    bound: Bound,
}

impl Screened {
    /// One event of a stream: what goes on, or nothing.
    fn item(&self, item: Result<StreamItem, Cut>) -> Result<Option<StreamItem>, Cut> {
        let mut item = item?;
        let message = item.message.take();
        item.message = match message {
            None => None,
            Some(Message::Notification(notification)) => {
                let method = notification.method();
                if *method == Method::ToolsChanged {
                    self.parts.catalogs.of(&self.bound).forget();
                }
                // A question without an id is a notification by form alone.
                let known = method.is_notification()
                    && *method != Method::TaskStatus
                    && self
                        .bound
                        .call
                        .revision
                        .permits(method, Direction::ToClient);
                if !known {
                    warn!(server = %self.bound.call.server, "dropped a notification the revision does not have");
                }
                known.then_some(Message::Notification(notification))
            }
            Some(Message::Request(question)) => self.question(question)?,
            Some(Message::Response(response)) => Some(Message::Response(self.streamed(response)?)),
        };
        Ok((item.message.is_some() || item.id.is_some() || item.retry.is_some()).then_some(item))
    }

    /// A response on a stream. Its head has gone out, so a refusal takes the response's place.
    fn streamed(&self, response: Response) -> Result<Response, Cut> {
        let id = response.id().cloned();
        match (self.response(response), id) {
            (Ok(response), _) => Ok(response),
            (Err(refusal), Some(id)) => self.instead(&refusal.decision(self.bound.call.id), &id),
            (Err(refusal), None) => Err(Cut::Gateway(refusal.to_string())),
        }
    }

    fn instead(&self, refusal: &Refusal, id: &Id) -> Result<Response, Cut> {
        match render::said(refusal, &Asked::of(&self.bound.call), id) {
            Some(Message::Response(response)) => Ok(response),
            Some(Message::Request(_) | Message::Notification(_)) | None => {
                Err(Cut::Gateway("a refusal could not be worded".to_owned()))
            }
        }
    }

    fn response(&self, response: Response) -> Result<Response, Refusal> {
        if response.result().is_none() {
            return self.failed(response);
        }
        if let Some(kind) = self.listing {
            return self.filtered(&response, kind);
        }
        self.kind(&response)?;
        let response = self.heard(response)?;
        if let Some(questions) = response.result_member("inputRequests") {
            self.input(questions)?;
        }
        Ok(response)
    }

    /// The result of a handshake without what is not passed on: tasks, and the `instructions` of a server that may not give any.
    /// Elsewhere a member of that name is data.
    fn heard(&self, response: Response) -> Result<Response, Refusal> {
        let call = &self.bound.call;
        let introduces = call.request().is_some_and(|request| {
            matches!(
                request.method(),
                Method::Initialize | Method::ServerDiscover
            )
        });
        if !introduces {
            return Ok(response);
        }
        let with = |response: &Response, member: &str, by: Option<&str>| {
            let result = response.result().unwrap_or(Raw::NO_MEMBERS);
            let changed = response.with_result(&replaced(result, member, by));
            changed.map_err(|error| Refusal::new(Code::Internal).source(error))
        };
        let capabilities = response.result_member("capabilities");
        let mut kept = match capabilities.and_then(without_tasks) {
            Some(narrowed) => with(&response, "capabilities", Some(&narrowed))?,
            None => response,
        };
        if self.parts.knowledge.drops_instructions(&call.server) {
            kept = with(&kept, "instructions", None)?;
        }
        Ok(kept)
    }

    /// A stateless result says what it is (2026-07-28 `basic`, `resultType`; absent means complete). A task would have to
    /// be asked after with methods that are not passed on, so it is not handed out.
    fn kind(&self, response: &Response) -> Result<(), Refusal> {
        let Some(kind) = response.result_member("resultType") else {
            return Ok(());
        };
        let known = kind.is_text("complete") || kind.is_text("input_required");
        if known || self.bound.call.revision.era() == Era::Stateful {
            return Ok(());
        }
        Err(Refusal::new(Code::UpstreamInvalid).detail("a result of a kind that is not passed on"))
    }

    /// An error passes, but for one that asks: 2025-11-25 lets servers send a person to a URL by error -32042, and policy
    /// judges each as the `elicitation/create` it stands for.
    fn failed(&self, response: Response) -> Result<Response, Refusal> {
        if response.error_code() == Some(error::URL_ELICITATION_REQUIRED) {
            let data = response.error().and_then(|error| error.member("data"));
            let asked = data.and_then(|data| data.member("elicitations"));
            for elicitation in asked.into_iter().flat_map(Raw::items) {
                self.allows(&Method::ElicitationCreate, Some(elicitation))?;
            }
        }
        Ok(response)
    }

    /// A list, cut to what the caller may see. A list that cannot be read is not handed out.
    fn filtered(&self, response: &Response, kind: ListKind) -> Result<Response, Refusal> {
        let invalid = || Refusal::new(Code::UpstreamInvalid).detail("the list cannot be read");
        let listing = Listing::read(response, kind).ok_or_else(invalid)?;
        if kind == ListKind::Tools {
            let more = next_cursor(response).is_some();
            let validation = self.parts.validation.get(&self.bound.call.server);
            // Newer ones may have come since a resumed one; it adds to what is known.
            let (first, more) = match self.is_resumed {
                true => (false, true),
                false => (self.is_first_page(), more),
            };
            let validation = validation.copied().unwrap_or_default();
            let catalogs = &self.parts.catalogs;
            let nameless = catalogs.show(&self.bound, &listing, validation, first, more)?;
            if nameless > 0 {
                let server = &self.bound.call.server;
                warn!(%server, nameless, "left out tools whose names no kill could name: empty, over 512 bytes or with control characters");
                let counter = &self.parts.nameless;
                counter.with([server.as_str()], |counter| counter.add(nameless as u64));
            }
        }
        let past = self.past();
        let seen = past.facts();
        let side = Side::of(&self.bound, &self.parts.knowledge, &past, &seen)?;
        let located: Vec<Option<Located>> = listing
            .items()
            .iter()
            .map(|item| located(kind, &item.key))
            .collect();
        let shown = self.shown(&side, kind, &listing, &located)?;
        listing
            .keep(&shown, self.bound.call.revision)
            .map_err(|error| invalid().source(error))
    }

    fn shown(
        &self,
        side: &Side<'_>,
        kind: ListKind,
        listing: &Listing<'_>,
        located: &[Option<Located>],
    ) -> Result<Vec<bool>, Refusal> {
        let catalog = self.parts.catalogs.of(&self.bound);
        let method = self.bound.call.ask.method();
        let stateless = self.bound.call.revision.era() == Era::Stateless;
        let mut shown = Vec::with_capacity(listing.items().len());
        for (item, located) in listing.items().iter().zip(located) {
            let ask = |item: Item<'_>| {
                let facts = side.facts(Phase::List, method, Item::None, None);
                let visible = self.parts.policy.visible(&facts, &[item]);
                let shown = visible.shown.first() == Some(&true);
                let beside = &self.parts.knowledge.beside;
                beside.listed(&self.bound.call, &facts, &[item], &[shown]);
                shown
            };
            shown.push(match kind {
                ListKind::Tools if self.is_killed(&item.key) => false,
                ListKind::Tools => match catalog.knows(&item.key) {
                    // 2026-07-28 has clients drop such a tool; it is dropped once, for all of them.
                    crate::catalog::Known::Yes(entry)
                        if stateless && entry.schema.mirrors().is_err() =>
                    {
                        false
                    }
                    crate::catalog::Known::Yes(entry) => ask(Item::Tool {
                        name: &item.key,
                        definition: Some(&entry.facts),
                    }),
                    crate::catalog::Known::No | crate::catalog::Known::Unsure => false,
                },
                ListKind::Prompts => ask(Item::Prompt { name: &item.key }),
                ListKind::Resources | ListKind::ResourceTemplates => located
                    .as_ref()
                    .is_some_and(|located| located.with(|facts| ask(Item::Resource(facts)))),
                ListKind::Tasks | ListKind::Roots => false,
            });
        }
        Ok(shown)
    }

    /// Whether an operator has cut off this very tool: what cannot be called is not offered.
    fn is_killed(&self, tool: &str) -> bool {
        let call = &self.bound.call;
        let tenant = call.caller.tenant.as_str();
        self.parts.kill.hides(call.server.as_str(), tool, tenant)
    }

    fn is_first_page(&self) -> bool {
        match &self.bound.call.ask {
            Ask::Message(Message::Request(request)) => request.param("cursor").is_none(),
            Ask::Message(Message::Notification(_) | Message::Response(_))
            | Ask::Listen
            | Ask::End => true,
        }
    }

    /// A question of the server on a stream: goes on, or is declined in the client's stead.
    ///
    /// # Errors
    /// If so many were declined that the server has not taken the answers yet.
    fn question(&self, question: Request) -> Result<Option<Message>, Cut> {
        let call = &self.bound.call;
        let Binding::Held(session) = &self.bound.session else {
            // 2026-07-28: servers must not put requests on streams.
            warn!(server = %call.server, "dropped a request on a stream that has none");
            return Ok(None);
        };
        let permitted = call.revision.era() == Era::Stateful
            && call
                .revision
                .permits(question.method(), Direction::ToClient)
            && !is_task(question.method())
            && !(asks_for_url(&question) && call.revision < Revision::V2025_11_25);
        let allowed = permitted
            && (*question.method() == Method::Ping
                || self.allows(question.method(), question.params()).is_ok());
        if allowed {
            return Ok(Some(Message::Request(question)));
        }
        warn!(server = %call.server, method = question.method().as_str(), "declined a question of the server");
        if let Some(link) = session.link.get() {
            link.decline(question.id())?;
        }
        Ok(None)
    }

    /// Questions inside a result (2026-07-28 `basic/patterns/mrtr`): all of them, or the result is withheld.
    fn input(&self, questions: Raw<'_>) -> Result<(), Refusal> {
        for (_, question) in questions.members() {
            let method = question.member("method").and_then(|raw| raw.string());
            let method = Method::parse(method.as_deref().unwrap_or_default());
            let askable = matches!(
                method,
                Method::SamplingCreateMessage | Method::ElicitationCreate | Method::RootsList
            );
            if !askable {
                return Err(Refusal::new(Code::UpstreamInvalid)
                    .detail("the server asks for what no client may be asked"));
            }
            self.allows(&method, question.member("params"))?;
        }
        Ok(())
    }

    /// What the session did before.
    fn past(&self) -> Past {
        let key = self.bound.call.caller.session_key();
        self.parts.history.past(&self.parts.policy, key, None)
    }

    fn allows(&self, method: &Method, params: Option<Raw<'_>>) -> Result<(), Refusal> {
        let past = self.past();
        let seen = past.facts();
        let side = Side::of(&self.bound, &self.parts.knowledge, &past, &seen)?;
        let subject = Item::ServerRequest {
            params: params.map(|raw| raw.as_str()),
        };
        let facts = side.facts(Phase::ServerRequest, method.as_str(), subject, None);
        let decision = self.parts.policy.judge(&facts);
        let beside = &self.parts.knowledge.beside;
        beside.judged(&self.bound.call, &facts, &decision);
        // Nothing is done to a question; one that obliges to something is not asked.
        let obliged = decision.obligations.is_some();
        let allowed = decision.effect == Effect::Allow && !obliged;
        let mut why = reasons(&decision);
        if obliged && decision.effect != Effect::Deny {
            why = vec![(Reason::OBLIGATION_UNSUPPORTED.into(), "".into())];
        }
        let Decision { revision, .. } = decision;
        audit::question(
            &self.parts.refusals,
            &self.bound.call,
            method.as_str(),
            allowed,
            &revision,
            &why,
        );
        if allowed {
            return Ok(());
        }
        let mut refusal = Refusal::new(Code::PolicyDenied);
        refusal.reasons = why;
        refusal.policy = Some(revision);
        Err(refusal)
    }
}

/// Sending a person to a URL came with 2025-11-25 (`client/elicitation`).
fn asks_for_url(question: &Request) -> bool {
    *question.method() == Method::ElicitationCreate
        && question
            .param("mode")
            .is_some_and(|mode| mode.is_text("url"))
}

fn is_task(method: &Method) -> bool {
    matches!(
        method,
        Method::TasksGet
            | Method::TasksResult
            | Method::TasksCancel
            | Method::TasksList
            | Method::TasksUpdate
    )
}

/// Where a resource of a list is. `None`, and so hidden, when its address can be read in two ways.
fn located(kind: ListKind, key: &str) -> Option<Located> {
    match kind {
        ListKind::Resources => Located::resource(key).ok(),
        ListKind::ResourceTemplates => Located::template(key),
        ListKind::Tools | ListKind::Prompts | ListKind::Tasks | ListKind::Roots => None,
    }
}
