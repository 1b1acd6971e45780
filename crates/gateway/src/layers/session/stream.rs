//! What may stand on a stream of a session.

use std::sync::Arc;

use futures_util::StreamExt;
use keepgate_call::{Events, Item};
use keepgate_mcp::{id::Id, message::Message};
use tracing::warn;

use crate::session::{InUse, Session, Sessions};

/// Keeps of a stream what belongs to the session: responses somebody waits for, questions that can be asked, and
/// notifications. Event ids are sealed to the session, and the stream ends with it.
pub(super) fn kept(events: Events, in_use: InUse, sessions: Arc<Sessions>) -> Events {
    let ended = in_use.session().ended.clone().cancelled_owned();
    let kept = events.filter_map(move |item| {
        let session = in_use.session();
        sessions.touch(session);
        let kept = item.map(|item| keep(item, session)).transpose();
        std::future::ready(kept)
    });
    Box::pin(kept.take_until(Box::pin(ended)))
}

/// Keeps of a stream that belongs to no session what answers the request `id`: what comes before the response, the
/// response, and nothing after it. Other responses answer nobody.
pub(super) fn answering(events: Events, id: Id) -> Events {
    let own = |message: &Message, id: &Id| matches!(message, Message::Response(response) if response.id() == Some(id));
    let kept = events.scan(false, move |answered, item| {
        if *answered {
            return std::future::ready(None);
        }
        let message = item.as_ref().ok().and_then(|item| item.message.as_ref());
        *answered = message.is_some_and(|message| own(message, &id));
        let foreign = matches!(message, Some(Message::Response(_))) && !*answered;
        if foreign {
            warn!("dropped a response to what was not asked");
        }
        std::future::ready(Some((!foreign).then_some(item)))
    });
    Box::pin(kept.filter_map(std::future::ready))
}

fn keep(mut item: Item, session: &Session) -> Option<Item> {
    let belongs = match &item.message {
        None | Some(Message::Notification(_)) => true,
        Some(Message::Response(response)) => response.id().is_some_and(|id| session.responded(id)),
        Some(Message::Request(question)) => session.ask(question),
    };
    if !belongs {
        warn!(server = %session.server, "dropped a message that does not belong to the session");
        if let (Some(Message::Request(question)), Some(link)) = (&item.message, session.link.get())
        {
            link.decline(question.id());
        }
        item.message = None;
    }
    item.id = item.id.map(|id| session.seal_event(&id));
    (item.message.is_some() || item.id.is_some() || item.retry.is_some()).then_some(item)
}
