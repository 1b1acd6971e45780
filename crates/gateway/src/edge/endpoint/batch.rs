//! Batches of 2025-03-26: each message is a call of its own, judged and recorded as such.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures_util::{future::join_all, stream};
use http::{Response, StatusCode};
use keepgate_call::{Answer, Call, Code, Events, Item, Refusal, Reply};
use keepgate_mcp::message::Message;
use keepgate_transport::Body;

use super::{Inner, answer, empty};
use crate::render::{self, Asked};

/// Runs the calls of one batch side by side and puts their replies together.
pub(super) async fn run(inner: &Arc<Inner>, calls: Vec<Call>) -> Result<Response<Body>, Refusal> {
    let calls: Vec<Arc<Call>> = calls.into_iter().map(Arc::new).collect();
    let replies = join_all(calls.iter().map(|call| inner.run(Arc::clone(call)))).await;
    let mut messages = Vec::new();
    let mut streams: Vec<Events> = Vec::new();
    let mut unsaid = None;
    for (call, reply) in calls.iter().zip(replies) {
        match reply {
            Ok(Reply {
                answer: Answer::Accepted,
                ..
            }) => {}
            Ok(Reply {
                answer: Answer::Message(message),
                ..
            }) => messages.push(message),
            Ok(Reply {
                answer: Answer::Stream(events),
                ..
            }) => streams.push(answer::finished(
                call,
                answer::while_known(&inner.shared, call, events),
            )),
            Ok(Reply {
                answer: Answer::Passed { body, .. },
                ..
            }) => messages.extend(render::decoded(body)),
            // Clients begin anew by the status alone, so it is the status of the whole.
            Err(refusal) if matches!(refusal.code, Code::SessionUnknown | Code::SessionMissing) => {
                return Ok(render::over_http(&refusal));
            }
            Err(refusal) => {
                let asked = Asked::of(call);
                match &asked.id {
                    Some(id) => messages.extend(render::said(&refusal, &asked, id)),
                    None => unsaid = Some(refusal),
                }
            }
        }
    }
    if messages.is_empty() && streams.is_empty() {
        // Nothing in it has an id to be answered by, so a refusal can only be a status.
        return Ok(unsaid.map_or_else(
            || empty(StatusCode::ACCEPTED),
            |refusal| render::over_http(&refusal),
        ));
    }
    if streams.is_empty() {
        return Ok(array(&messages));
    }
    let ready = messages.into_iter().map(|message| Ok(Item::from(message)));
    streams.push(Box::pin(stream::iter(ready.collect::<Vec<_>>())));
    Ok(answer::sse_response(
        inner,
        Box::pin(stream::select_all(streams)),
    ))
}

fn array(messages: &[Message]) -> Response<Body> {
    let mut body = BytesMut::new();
    for (at, message) in messages.iter().enumerate() {
        body.put_u8(if at == 0 { b'[' } else { b',' });
        body.put_slice(message.bytes());
    }
    body.put_u8(b']');
    render::json(StatusCode::OK, body.freeze())
}
