//! Limit: how often and how many at once, by session, by caller (its ceiling), by tool and by server.
//!
//! A session's own budget is asked first, what it shares with others last: a call that one's own limit refuses takes
//! nothing from anybody else. A list that the gateway reads for a call is counted as its call, and each further page as one
//! more, since the server decides how many there are. The end of a session must always be able to pass. Notifications and
//! responses reach the server as calls do, with its credential; they have a budget of their own, so that a session that has
//! exceeded its rate can still cancel and answer.

use std::{
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;
use keepgate_call::{
    Answer, Ask, Call, Code, Cut, Events, Item, Origin, Principal, Refusal, Reply, ServerName,
    Tenant,
};
use keepgate_mcp::message::Message;
use tracing::debug;

use super::session::Bound;
use crate::{
    around::Around,
    hash::HashMap,
    limit::{Budgets, Limiter, Place, SessionPurse},
    settings::Settings,
};

/// What a caller that waits for a place is told to wait.
const PLACE: std::time::Duration = std::time::Duration::from_secs(1);

/// Notifications and responses for each call a session or a caller may make. A call has several at most: progress, a
/// cancellation, answers to the server's questions.
const NOTICES: u32 = 10;

/// Counts calls, and refuses those beyond a limit.
#[derive(Debug)]
pub struct Quota {
    budgets: Arc<Budgets>,
    session: Option<Arc<Limiter<SessionPurse>>>,
    caller: Option<Arc<Limiter<Principal>>>,
    opening: Option<Arc<Limiter<Principal>>>,
    session_notices: Option<Arc<Limiter<SessionPurse>>>,
    caller_notices: Option<Arc<Limiter<Principal>>>,
    running_session: Option<NonZeroUsize>,
    running_caller: Option<NonZeroUsize>,
    running_caller_per_server: Option<NonZeroUsize>,
    servers: HashMap<ServerName, OfServer>,
}

/// The limits of one server.
#[derive(Debug)]
struct OfServer {
    rate: Option<Arc<Limiter<Tenant>>>,
    concurrency: Option<NonZeroUsize>,
    tools: HashMap<Box<str>, Arc<Limiter<Principal>>>,
}

/// The places a call holds until it has ended, with its stream.
#[derive(Debug, Default)]
struct Places {
    _session: Option<Place<SessionPurse>>,
    _caller: Option<Place<Principal>>,
    _caller_server: Option<Place<(Principal, ServerName)>>,
    _server: Option<Place<(Tenant, ServerName)>>,
}

impl Quota {
    /// The limits of the settings over the budgets that outlive them.
    pub fn new(settings: &Settings, budgets: &Arc<Budgets>) -> Self {
        let (rates, concurrency) = (&settings.limits.rate, &settings.limits.concurrency);
        let servers = settings.servers.iter().map(|(name, server)| {
            let limits = &server.limits;
            let tools = limits
                .tools
                .iter()
                .map(|(tool, rate)| (tool.as_str().into(), budgets.tool(name, tool, *rate)));
            let of_server = OfServer {
                rate: limits.rate.map(|rate| budgets.server(name, rate)),
                concurrency: limits.concurrency,
                tools: tools.collect(),
            };
            (name.clone(), of_server)
        });
        Self {
            session: rates.session.map(|rate| budgets.session(rate)),
            caller: rates.caller.map(|rate| budgets.caller(rate)),
            opening: rates.opening.map(|rate| budgets.opening(rate)),
            session_notices: rates
                .session
                .map(|rate| budgets.session_notices(rate.times(NOTICES))),
            caller_notices: rates
                .caller
                .map(|rate| budgets.caller_notices(rate.times(NOTICES))),
            running_session: concurrency.session,
            running_caller: concurrency.caller,
            running_caller_per_server: concurrency.caller_per_server,
            servers: servers.collect(),
            budgets: Arc::clone(budgets),
        }
    }

    /// Takes a call from every rate it falls under.
    fn spend(&self, call: &Call, purse: &SessionPurse) -> Result<(), Refusal> {
        let caller = call.caller.principal();
        if let Some(limiter) = &self.session {
            spend(limiter, purse, "limits.rate.session")?;
        }
        if let Some(limiter) = &self.caller {
            spend(limiter, caller, "limits.rate.caller")?;
        }
        if call.opens()
            && let Some(limiter) = &self.opening
        {
            spend(limiter, caller, "limits.rate.opening")?;
        }
        let Some(server) = self.servers.get(&call.server) else {
            return Ok(());
        };
        if !server.tools.is_empty()
            && let Some(limiter) = call.tool().and_then(|tool| server.tools.get(&*tool))
        {
            spend(limiter, caller, "servers.<name>.limits.tools")?;
        }
        match &server.rate {
            Some(limiter) => spend(limiter, &call.caller.tenant, "servers.<name>.limits.rate"),
            None => Ok(()),
        }
    }

    /// Takes a notification or a response from its budget, and the places it needs until the server has it.
    fn notice(&self, call: &Call, purse: &SessionPurse) -> Result<Places, Refusal> {
        let caller = call.caller.principal();
        let mut places = Places::default();
        if let Some(most) = self.running_session {
            let place = self.budgets.notices_session.enter(purse, most);
            places._session = Some(place.ok_or_else(|| full("limits.concurrency.session"))?);
        }
        if let Some(most) = self.running_caller {
            let place = self.budgets.notices_caller.enter(caller, most);
            places._caller = Some(place.ok_or_else(|| full("limits.concurrency.caller"))?);
        }
        if let Some(limiter) = &self.session_notices {
            spend(limiter, purse, "limits.rate.session")?;
        }
        if let Some(limiter) = &self.caller_notices {
            spend(limiter, caller, "limits.rate.caller")?;
        }
        Ok(places)
    }

    /// Takes a page of a list that the gateway reads for a call, which holds its places and has paid for the first page.
    fn page(&self, bound: &Bound) -> Result<(), Refusal> {
        let request = bound.call.request();
        match request.and_then(|request| request.param("cursor")) {
            Some(_) => self.spend(&bound.call, &purse(bound)),
            None => Ok(()),
        }
    }

    /// Takes the places a call needs.
    fn enter(&self, call: &Call, purse: &SessionPurse) -> Result<Places, Refusal> {
        let mut places = Places::default();
        if let Some(most) = self.running_session {
            let place = self.budgets.running_session.enter(purse, most);
            places._session = Some(place.ok_or_else(|| full("limits.concurrency.session"))?);
        }
        if let Some(most) = self.running_caller {
            let caller = call.caller.principal();
            let place = self.budgets.running_caller.enter(caller, most);
            places._caller = Some(place.ok_or_else(|| full("limits.concurrency.caller"))?);
        }
        if let Some(most) = self.running_caller_per_server {
            let key = (call.caller.principal().clone(), call.server.clone());
            let place = self.budgets.running_caller_server.enter(&key, most);
            let full = || full("limits.concurrency.caller_per_server");
            places._caller_server = Some(place.ok_or_else(full)?);
        }
        if let Some(most) = self
            .servers
            .get(&call.server)
            .and_then(|server| server.concurrency)
        {
            let key = (call.caller.tenant.clone(), call.server.clone());
            let place = self.budgets.running_server.enter(&key, most);
            places._server = Some(place.ok_or_else(|| full("servers.<name>.limits.concurrency"))?);
        }
        Ok(places)
    }
}

/// The rate of callers, for what a caller makes the gateway do without a call.
#[derive(Debug)]
pub(crate) struct CallerRate(Option<Arc<Limiter<Principal>>>);

impl CallerRate {
    /// That of the settings, over the budgets that outlive them.
    pub(crate) fn new(settings: &Settings, budgets: &Budgets) -> Self {
        let rate = settings.limits.rate.caller;
        Self(rate.map(|rate| budgets.caller(rate)))
    }

    /// Takes one call from it.
    ///
    /// # Errors
    /// `rate_limited`.
    pub(crate) fn spend(&self, caller: &Principal) -> Result<(), Refusal> {
        match &self.0 {
            Some(limiter) => spend(limiter, caller, "limits.rate.caller"),
            None => Ok(()),
        }
    }
}

fn full(name: &'static str) -> Refusal {
    Refusal::new(Code::ConcurrencyLimited).limit(name, PLACE)
}

fn spend<K: Eq + std::hash::Hash + Clone>(
    limiter: &Limiter<K>,
    key: &K,
    name: &'static str,
) -> Result<(), Refusal> {
    limiter.take(key).map_err(|wait| {
        debug!(limit = name, "rate limit exceeded");
        Refusal::new(Code::RateLimited)
            .detail(format!("{name} is {}", limiter.rate()))
            .limit(name, wait)
    })
}

/// The session budget a call spends from.
pub(super) fn purse(bound: &Bound) -> SessionPurse {
    let session = bound
        .session
        .session()
        .map(|session| Arc::clone(&session.public));
    (bound.call.caller.session_key().clone(), session)
}

/// The budget a message is taken from.
enum Budget {
    Calls,
    Notices,
    Pages,
    None,
}

fn budget(call: &Call) -> Budget {
    match (&call.ask, call.origin) {
        (_, Origin::Gateway) => Budget::Pages,
        (Ask::End, Origin::Client) => Budget::None,
        (Ask::Message(Message::Request(_)) | Ask::Listen, Origin::Client) => Budget::Calls,
        (Ask::Message(Message::Notification(_) | Message::Response(_)), Origin::Client) => {
            Budget::Notices
        }
    }
}

impl Around<Bound> for Quota {
    type Out = Bound;
    type Reply = Reply;

    async fn run<N, F>(&self, bound: Bound, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Bound) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        match budget(&bound.call) {
            Budget::Calls => {}
            Budget::Notices => {
                let _places = self.notice(&bound.call, &purse(&bound))?;
                return next(bound).await;
            }
            Budget::Pages => {
                self.page(&bound)?;
                return next(bound).await;
            }
            Budget::None => return next(bound).await,
        }
        let purse = purse(&bound);
        // Places first: they are given back when a rate refuses, what a rate took is not.
        let places = self.enter(&bound.call, &purse)?;
        self.spend(&bound.call, &purse)?;
        drop(purse);
        let reply = next(bound).await?;
        Ok(match reply.answer {
            Answer::Stream(events) => Reply {
                answer: Answer::Stream(Box::pin(Holding {
                    events,
                    _places: places,
                })),
                session: reply.session,
            },
            answer @ (Answer::Accepted | Answer::Message(_) | Answer::Passed { .. }) => Reply {
                answer,
                session: reply.session,
            },
        })
    }
}

/// A stream that holds its call's places until it ends.
struct Holding {
    events: Events,
    _places: Places,
}

impl Stream for Holding {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().events.as_mut().poll_next(cx)
    }
}
