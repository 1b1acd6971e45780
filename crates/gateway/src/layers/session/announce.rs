//! Announcements that lists show something else now, on streams that only listen: once a second at most.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use keepgate_call::{Call, Cut, Events, Item, ServerName};
use keepgate_mcp::{
    encode,
    message::{Message, Request, Response},
    method::Method,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{changes::Changes, render, session::Session};

/// Pause between two announcements in one session. Clients answer each with lists.
const PAUSE: Duration = Duration::from_secs(1);

/// Time after which an announcement has arrived, or its stream would have been noticed to be broken.
const ARRIVAL: Duration = Duration::from_secs(30);

/// The lists whose changes a client wants to hear of, as the server declared or the client asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lists {
    tools: bool,
    prompts: bool,
    resources: bool,
}

impl Lists {
    /// The lists an answer to `initialize` declares changes of.
    pub(super) fn declared(response: &Response) -> Self {
        let capabilities = response.result_member("capabilities");
        let declares = |name: &str| {
            let list = capabilities.and_then(|all| all.member(name));
            let changes = list.and_then(|list| list.member("listChanged"));
            changes.is_some_and(|changes| changes.as_str() == "true")
        };
        Self {
            tools: declares("tools"),
            prompts: declares("prompts"),
            resources: declares("resources"),
        }
    }

    /// The lists a `subscriptions/listen` asks for.
    fn asked(request: &Request) -> Self {
        let wanted = request.param("notifications");
        let asks = |name: &str| {
            let wanted = wanted.and_then(|wanted| wanted.member(name));
            wanted.is_some_and(|wanted| wanted.as_str() == "true")
        };
        Self {
            tools: asks("toolsListChanged"),
            prompts: asks("promptsListChanged"),
            resources: asks("resourcesListChanged"),
        }
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// A notification for each; `meta` is what each carries.
    fn notifications(self, meta: Option<&str>) -> Vec<Message> {
        let params = meta.map(|meta| format!(r#"{{"_meta":{meta}}}"#));
        let methods = [
            (self.tools, Method::ToolsChanged),
            (self.prompts, Method::PromptsChanged),
            (self.resources, Method::ResourcesChanged),
        ];
        let methods = methods.iter().filter(|(is_wanted, _)| *is_wanted);
        methods
            .filter_map(|(_, method)| {
                render::decoded(encode::notification(method, params.as_deref()))
            })
            .collect()
    }
}

/// The announcements a session, or a stream without one, has had.
#[derive(Debug, Default)]
pub(crate) struct Announced(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Version of the lists as the client knows them; `None` if that is not known.
    version: Option<u64>,
    last: Option<Instant>,
}

impl Announced {
    /// Notes that the client knows the lists of this version.
    pub(super) fn knows(&self, version: u64) {
        self.state().version = Some(version);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time at which `version` may be announced; `None` if the client knows it.
    fn due(&self, version: u64) -> Option<Instant> {
        let state = self.state();
        let is_news = state.version != Some(version);
        let earliest = state.last.map_or_else(Instant::now, |last| last + PAUSE);
        is_news.then_some(earliest)
    }

    /// Forgets the last announcement if it was made just now; `false` if there is none to make again.
    fn forgets_last(&self) -> bool {
        let mut state = self.state();
        let is_fresh = state.last.is_some_and(|last| last.elapsed() < ARRIVAL);
        if is_fresh {
            state.version = None;
        }
        is_fresh
    }

    /// Takes the announcement of `version`, if no other stream of the session had it.
    fn take(&self, version: u64) -> bool {
        let mut state = self.state();
        let is_news = state.version != Some(version);
        if is_news {
            state.version = Some(version);
            state.last = Some(Instant::now());
        }
        is_news
    }
}

/// The announcements of one stream.
pub(super) struct Announcing {
    changes: Arc<Changes>,
    server: ServerName,
    lists: Lists,
    announced: Arc<Announced>,
    /// The `_meta` of each: that of a subscription, of which this is the only stream.
    meta: Option<String>,
    /// Whether it has made one.
    has_announced: bool,
}

impl Announcing {
    /// The announcements of a stream of a session.
    pub(super) fn of(changes: &Arc<Changes>, session: &Session) -> Self {
        Self {
            changes: Arc::clone(changes),
            server: session.server.clone(),
            lists: session.lists.get().copied().unwrap_or_default(),
            announced: Arc::clone(&session.announced),
            meta: None,
            has_announced: false,
        }
    }

    /// The announcements of a `subscriptions/listen`: those it asks for. `None` for every other call.
    pub(super) fn subscribed(changes: &Arc<Changes>, call: &Call) -> Option<Self> {
        let request = call.request()?;
        let meta = render::subscription_meta(request)?;
        let announced = Announced::default();
        announced.knows(changes.version(&call.server));
        Some(Self {
            changes: Arc::clone(changes),
            server: call.server.clone(),
            lists: Lists::asked(request),
            announced: Arc::new(announced),
            meta: Some(meta),
            has_announced: false,
        })
    }

    /// `events` with the announcements among them, the first of them after `after` events.
    pub(super) fn among(self, events: Events, after: usize) -> Events {
        if self.lists.is_empty() {
            return events;
        }
        Box::pin(Among {
            events,
            own: Box::pin(self.announcements()),
            after,
        })
    }

    fn announcements(self) -> impl Stream<Item = Item> + Send {
        let watch = self.changes.watch();
        let rounds = stream::unfold((self, watch), |(mut own, mut watch)| async move {
            loop {
                // Before it is looked at, so that no change goes unnoticed.
                watch.mark_unchanged();
                let version = own.changes.version(&own.server);
                match own.announced.due(version) {
                    Some(due) if due > Instant::now() => tokio::time::sleep_until(due).await,
                    Some(_) if own.announced.take(version) => {
                        own.has_announced = true;
                        let all = own.lists.notifications(own.meta.as_deref());
                        return Some((stream::iter(all), (own, watch)));
                    }
                    Some(_) => {}
                    None => watch.changed().await.ok()?,
                }
            }
        });
        rounds.flatten().map(Item::from)
    }
}

impl Drop for Announcing {
    fn drop(&mut self) {
        // A connection that breaks takes its last announcement with it: another stream of the session makes it again.
        if self.has_announced && self.meta.is_none() && self.announced.forgets_last() {
            self.changes.look();
        }
    }
}

/// Events with others among them; it ends with the events.
struct Among {
    events: Events,
    own: Pin<Box<dyn Stream<Item = Item> + Send>>,
    /// Events that come before the first of its own.
    after: usize,
}

impl Stream for Among {
    type Item = Result<Item, Cut>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // Its own first, at most one a second for each list: a server that never pauses holds none up.
        if this.after == 0
            && let Poll::Ready(Some(item)) = this.own.as_mut().poll_next(context)
        {
            return Poll::Ready(Some(Ok(item)));
        }
        let polled = this.events.as_mut().poll_next(context);
        if polled.is_ready() && this.after > 0 {
            this.after -= 1;
            // What is its own has to be asked before the next wait.
            context.waker().wake_by_ref();
        }
        polled
    }
}
