//! `initialize`: a session begins when the server has accepted it in a revision this gateway can police.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;
use keepgate_call::{Answer, Call, Code, Events, HttpTransport, Refusal, Reply, ServerName};
use keepgate_mcp::{
    Era,
    message::{Message, Response},
    revision::Revision,
};
use keepgate_policy::{ClientFacts, ClientFields};
use tracing::debug;

use super::{Binding, Bound, announce::Lists};
use crate::{
    active::StackServers,
    changes::Changes,
    session::{Definition, Opening, Sessions},
    settings::Limits,
};

/// Longest name, version and title of a client, in bytes: they are kept as long as its session.
const CLIENT_MOST: usize = 256;

/// Time a new session may take to be durable before its client learns of it. A disk that hangs holds nobody up longer.
const DURABLE: Duration = Duration::from_secs(1);

/// Makes the session `initialize` asks for and reserves its place; nobody can use it yet.
pub(super) fn begin(
    sessions: &Sessions,
    limits: &Limits,
    definitions: &BTreeMap<ServerName, Definition>,
    call: &Call,
) -> Result<Opening, Refusal> {
    let client = client(call)?;
    let definition = definitions.get(&call.server);
    let definition = *definition.ok_or_else(|| Refusal::new(Code::PathUnknown))?;
    let transport = HttpTransport::Streamable;
    sessions.open(
        limits,
        &call.caller,
        &call.server,
        definition,
        client,
        transport,
    )
}

/// Takes the session that waits for `initialize` on the stream of its client.
pub(super) fn claim(sessions: &Sessions, call: &Call) -> Result<Opening, Refusal> {
    let client = client(call)?;
    let opening = sessions.claim(call)?;
    if let Some(client) = client {
        // Set once: a session is claimed once.
        let _first = opening.session.client.set(client);
    }
    Ok(opening)
}

/// What the client says of itself: shown to policy and in records as its own word. The id alone is its token's word.
///
/// # Errors
/// `params_invalid` when it is longer than what is kept.
fn client(call: &Call) -> Result<Option<ClientFacts>, Refusal> {
    let info = call
        .request()
        .and_then(|initialize| initialize.param("clientInfo"));
    let Some(info) = info else {
        return Ok(None);
    };
    let said = |member: &str, too_long: &'static str| {
        let text = info.member(member).and_then(|text| text.string());
        let text = text.unwrap_or_default();
        if text.len() > CLIENT_MOST {
            return Err(Refusal::new(Code::ParamsInvalid).detail(too_long));
        }
        Ok(text)
    };
    let name = said("name", "clientInfo.name is longer than 256 bytes")?;
    let version = said("version", "clientInfo.version is longer than 256 bytes")?;
    said("title", "clientInfo.title is longer than 256 bytes")?;
    Ok(Some(ClientFacts::new(&ClientFields {
        id: call.caller.client.as_deref(),
        name: &name,
        version: &version,
    })))
}

/// Runs `initialize` and keeps the session if the server accepted it.
pub(super) async fn finish<N, F>(
    (sessions, changes, servers): (&Sessions, &Changes, &StackServers),
    opening: Opening,
    bound: Bound,
    next: N,
) -> Result<Reply, Refusal>
where
    N: FnOnce(Bound) -> F + Send,
    F: Future<Output = Result<Reply, Refusal>> + Send,
{
    debug_assert!(
        matches!(bound.session, Binding::Opening(_)),
        "only an opening session is finished"
    );
    let response = match next(bound).await?.answer {
        Answer::Message(Message::Response(response)) => response,
        // Nothing but the response has business on this stream; the client gets it as one message.
        Answer::Stream(events) => only_response(events).await?,
        passed @ Answer::Passed { .. } => return Ok(passed.into()),
        Answer::Accepted | Answer::Message(Message::Request(_) | Message::Notification(_)) => {
            return Err(Refusal::new(Code::UpstreamInvalid).detail("no response to `initialize`"));
        }
    };
    if response.result().is_none() {
        return Ok(Answer::Message(Message::Response(response)).into());
    }
    let revision = agreed(&response)?;
    let Opening { session, seat, id } = opening;
    // Set once: a session has one answer to `initialize`.
    let _first = session.lists.set(Lists::declared(&response));
    session.announced.knows(changes.version(&session.server));
    if let Some(write) = sessions.keep(&session, seat, revision)
        && !write.is_durable(DURABLE).await
    {
        debug!(server = %session.server, "a session is not durable yet");
    }
    // In the table first, compared after: a reload that made the server another one meanwhile has ended what was there then.
    if let Err(refusal) = servers.check(&session.server) {
        let _write = sessions.end(&session);
        if let Some(link) = session.link.get() {
            link.end();
        }
        return Err(refusal);
    }
    Ok(Reply {
        answer: Answer::Message(Message::Response(response)),
        session: Some(id),
    })
}

async fn only_response(mut events: Events) -> Result<Response, Refusal> {
    while let Some(item) = events.next().await {
        let item = item.map_err(|cut| Refusal::new(Code::UpstreamInvalid).source(cut))?;
        match item.message {
            Some(Message::Response(response)) => return Ok(response),
            None => {}
            Some(Message::Request(_) | Message::Notification(_)) => {
                debug!("dropped a message beside the response to `initialize`");
            }
        }
    }
    Err(Refusal::new(Code::UpstreamInvalid).detail("no response to `initialize`"))
}

/// The revision the server chose. One we cannot police ends the attempt (2025-11-25 `basic/lifecycle`).
fn agreed(response: &Response) -> Result<Revision, Refusal> {
    let chosen = response
        .result_member("protocolVersion")
        .and_then(|version| version.string());
    let known = chosen
        .as_deref()
        .and_then(Revision::parse)
        .filter(|revision| revision.era() == Era::Stateful);
    known.ok_or_else(|| {
        let shown: String = chosen
            .iter()
            .flat_map(|text| text.chars())
            .take(32)
            .collect();
        Refusal::new(Code::UpstreamRevision).detail(format!("the server chose `{shown}`"))
    })
}
