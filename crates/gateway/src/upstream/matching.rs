//! Matching: which call each message of a server belongs to. Decided here, once, where a stream or an answer is made, for
//! servers over HTTP and processes alike.
//!
//! A request goes to its server under an id of ours, its progress token is that id as well, and both are used once. So an
//! answer names its call, whatever stream brings it and however clients use ids. On the way back the client's own come in
//! again, byte for byte. A stream may bring one answer: to the call it was opened for, or whose stream it resumes.

use std::sync::Arc;

use bytes::Bytes;
use keepgate_call::{Call, ServerName, UpstreamId};
use keepgate_mcp::{
    Era,
    id::Id,
    message::{Message, Notification, Request, Response},
    method::Method,
};
use tracing::{debug, warn};

use crate::{
    layers::session::{Binding, Bound},
    session::{Running, Session},
};

/// The bytes of a request as they go to the server.
pub(super) fn sent(call: &Call, request: &Request) -> Bytes {
    let id = call.upstream_id.id();
    request.bytes_under(&id, Some(&id))
}

/// A request as it goes to the server.
pub(super) fn renamed(call: &Call, request: &Request) -> Request {
    let id = call.upstream_id.id();
    request.under(&id, Some(&id))
}

/// A notification as it goes to the server; `None` where it means nothing there.
///
/// Of what clients notify, only `notifications/cancelled` names a request: a running one of its own session, or the server must
/// not hear of it. 2026-07-28 clients cancel by closing the stream.
pub(super) fn notified(bound: &Bound, notification: &Notification) -> Option<Notification> {
    if *notification.method() != Method::Cancelled {
        return Some(notification.clone());
    }
    let server = &bound.call.server;
    let client = Id::from_raw(notification.param("requestId")?)?;
    let Binding::Held(session) = &bound.session else {
        debug!(%server, "a cancellation without a session was not passed on");
        return None;
    };
    match session.calls.of_client(&client) {
        Running::One(id) => {
            let running = session.calls.running(id);
            if let Some(waiting) = running.filter(|running| !running.call.is_dispatched()) {
                // The server does not know it yet: held for a person, it ends here.
                waiting.call.carried.cancel();
                return None;
            }
            Some(notification.clone().under("requestId", &id.id()))
        }
        Running::None => {
            debug!(%server, "a cancellation of no running call was not passed on");
            None
        }
        Running::Several => {
            warn!(%server, session = %session.public, "a cancellation fits several running calls: none was ended");
            None
        }
    }
}

/// Kinds of messages of a server.
#[derive(Debug)]
pub(super) enum Matched {
    /// The answer to the call of the stream, under its client's id.
    Answer(Response),
    /// A notification or a question, under the client's ids where it names some.
    Other(Message),
    /// Of no concern to the client: an answer to another call or a second one, progress of none.
    Foreign(&'static str),
}

/// Matches the messages of one stream.
#[derive(Debug)]
pub(super) struct Matching {
    server: ServerName,
    era: Era,
    /// The call whose answer may come.
    owed: Option<Arc<Call>>,
    session: Option<Arc<Session>>,
    is_answered: bool,
    is_told: bool,
}

impl Matching {
    /// For what comes back for `bound`.
    pub(super) fn new(bound: &Bound) -> Self {
        let owed = bound.owed();
        Self {
            server: bound.call.server.clone(),
            era: bound.call.revision.era(),
            owed: owed.request().is_some().then(|| Arc::clone(owed)),
            session: bound.session.session().cloned(),
            is_answered: false,
            is_told: false,
        }
    }

    /// Returns the message as its client sees it; `None` if it is none of its concern, which is logged.
    pub(super) fn passed(&mut self, message: Message) -> Option<Message> {
        match self.matched(message) {
            Matched::Answer(response) => Some(Message::Response(response)),
            Matched::Other(message) => Some(message),
            Matched::Foreign(what) => {
                self.drop(what);
                None
            }
        }
    }

    /// Logs what was dropped; aloud once for each stream, since a server could send it without end.
    pub(super) fn drop(&mut self, what: &str) {
        if std::mem::replace(&mut self.is_told, true) {
            debug!(server = %self.server, "dropped {what}");
        } else {
            warn!(server = %self.server, "dropped {what}");
        }
    }

    /// Sorts one message.
    pub(super) fn matched(&mut self, message: Message) -> Matched {
        match message {
            Message::Response(response) => self.response(response),
            Message::Notification(notification) => self.notification(notification),
            // Its id is the server's own.
            question @ Message::Request(_) => Matched::Other(question),
        }
    }

    fn response(&mut self, response: Response) -> Matched {
        let named = response.id().and_then(UpstreamId::of);
        let owed = self
            .owed
            .as_ref()
            .filter(|owed| Some(owed.upstream_id) == named);
        let Some(request) = owed.and_then(|owed| owed.request()) else {
            return Matched::Foreign("an answer to another call than the stream's");
        };
        if std::mem::replace(&mut self.is_answered, true) {
            return Matched::Foreign("a second answer");
        }
        let subscribes = *request.method() == Method::SubscriptionsListen;
        Matched::Answer(
            if subscribes && names(response.meta().subscription_id().as_ref(), named) {
                response.under_subscription(request.id())
            } else {
                response.under(request.id())
            },
        )
    }

    fn notification(&self, notification: Notification) -> Matched {
        if *notification.method() == Method::Progress {
            return self.progress(notification);
        }
        if self.era == Era::Stateful {
            // `notifications/cancelled` takes back a question of the server's own.
            return Matched::Other(Message::Notification(notification));
        }
        let owed = self.owed.as_ref();
        let own = owed.and_then(|owed| Some((owed.upstream_id, owed.request()?.id())));
        if *notification.method() == Method::Cancelled {
            // The one request a server may end is the subscription (2026-07-28 `basic/patterns/cancellation`).
            let raw = notification.param("requestId").and_then(Id::from_echo);
            return match own {
                Some((id, client)) if names(raw.as_ref(), Some(id)) => Matched::Other(
                    Message::Notification(notification.under("requestId", client)),
                ),
                Some(_) | None => Matched::Foreign("a cancellation of another call"),
            };
        }
        match (notification.meta().subscription_id(), own) {
            (None, _) => Matched::Other(Message::Notification(notification)),
            (Some(named), Some((id, client))) if names(Some(&named), Some(id)) => Matched::Other(
                Message::Notification(notification.under_subscription(client)),
            ),
            (Some(_), _) => Matched::Foreign("a notification of another subscription"),
        }
    }

    /// Progress of the stream's call, or of another one that runs in the session: servers report it on whichever stream they
    /// have.
    fn progress(&self, notification: Notification) -> Matched {
        const FOREIGN: Matched = Matched::Foreign("progress of no running call");
        let token = notification.param("progressToken").and_then(Id::from_echo);
        let Some(id) = token.as_ref().and_then(UpstreamId::of) else {
            return FOREIGN;
        };
        let owed = self.owed.as_ref().filter(|owed| owed.upstream_id == id);
        let other = || Some(Arc::clone(&self.session.as_ref()?.calls.running(id)?.call));
        let Some(call) = owed.cloned().or_else(other) else {
            return FOREIGN;
        };
        match call
            .request()
            .and_then(|request| request.meta().progress_token())
        {
            Some(theirs) => Matched::Other(Message::Notification(
                notification.under("progressToken", &theirs),
            )),
            // It asked for none.
            None => FOREIGN,
        }
    }
}

/// Whether a server names this id of ours.
fn names(named: Option<&Id>, id: Option<UpstreamId>) -> bool {
    id.is_some() && named.and_then(UpstreamId::of) == id
}
