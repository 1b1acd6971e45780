//! Our own `requestState` in a request: taken out before anything else sees the message, so that no server hears of it. What it is
//! worth is decided where the call waits (`layers/approval.rs`). That of another gateway behind this one is its server's own.

use std::borrow::Cow;

use keepgate_approval::Approvals;
use keepgate_call::{Ask, BroughtState, Code, Refusal};
use keepgate_mcp::message::{Message, Request};

use crate::{object::without, render};

const STATE: &str = "requestState";
const RESPONSES: &str = "inputResponses";

/// The request without a state of ours and the answers that came with it; and that state, where there is one.
///
/// # Errors
/// `internal` if what is left is no message, which cannot be.
pub(super) async fn taken(
    approvals: Option<&Approvals>,
    ask: Ask,
) -> Result<(Ask, Option<BroughtState>), Refusal> {
    let (Some(approvals), Some((request, text))) = (approvals, state(&ask)) else {
        return Ok((ask, None));
    };
    if !approvals.is_own_state(&text).await {
        return Ok((ask, None));
    }
    let brought = BroughtState {
        text: text.into(),
        is_declined: is_declined(request),
    };
    let params = request.params();
    let params = params.map(|params| without(params, &[STATE, RESPONSES]));
    let request = request
        .with_params(&params.unwrap_or_default())
        .map_err(|error| Refusal::new(Code::Internal).source(error))?;
    Ok((Ask::Message(Message::Request(request)), Some(brought)))
}

/// The request that is asked, and the state in it.
fn state(ask: &Ask) -> Option<(&Request, Cow<'_, str>)> {
    let Ask::Message(Message::Request(request)) = ask else {
        return None;
    };
    Some((request, request.param(STATE)?.string()?))
}

/// Whether the client's user does not want to follow the link: then nobody there waits.
fn is_declined(request: &Request) -> bool {
    let answer = request
        .param(RESPONSES)
        .and_then(|all| all.member(render::LINK_REQUEST))
        .and_then(|answer| answer.member("action"));
    answer.is_some_and(|action| !action.is_text("accept"))
}
