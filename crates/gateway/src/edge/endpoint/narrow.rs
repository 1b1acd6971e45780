//! A client's request without what is not passed on: tasks, and a revision that nobody here speaks. Narrowed before anything
//! else sees it, so that what is evaluated and recorded is what goes to the server.

use keepgate_call::{Code, Refusal};
use keepgate_mcp::{
    DecodeError, Era,
    message::{Message, Request},
    method::Method,
    revision::Revision,
};

use crate::object::{replaced, without_tasks};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The message as the gateway takes it, in the revision that was agreed on.
///
/// # Errors
/// `internal` if what is left is no message, which cannot be.
pub(super) fn narrowed(message: Message, revision: Revision) -> Result<Message, Refusal> {
    let Message::Request(request) = message else {
        return Ok(message);
    };
    let own = if *request.method() == Method::Initialize {
        initialize(&request, revision)
    } else {
        untasked(&request)
    };
    let request = settled(request, own)?;
    let declared = match revision.era() {
        Era::Stateless => declared(&request),
        Era::Stateful => None,
    };
    settled(request, declared).map(Message::Request)
}

fn settled(
    request: Request,
    narrowed: Option<Result<Request, DecodeError>>,
) -> Result<Request, Refusal> {
    match narrowed {
        None => Ok(request),
        Some(narrowed) => narrowed.map_err(|error| Refusal::new(Code::Internal).source(error)),
    }
}

/// `initialize` names the revision that was agreed on: some servers echo whatever they are asked for.
fn initialize(request: &Request, revision: Revision) -> Option<Result<Request, DecodeError>> {
    let asked = request.param("protocolVersion");
    let is_agreed = asked.is_some_and(|asked| asked.is_text(revision.as_str()));
    let capabilities = request.param("capabilities").and_then(without_tasks);
    if is_agreed && capabilities.is_none() {
        return None;
    }
    let named = format!("\"{}\"", revision.as_str());
    Some(
        request
            .with_param("protocolVersion", &named)
            .and_then(|request| match &capabilities {
                Some(capabilities) => request.with_param("capabilities", capabilities),
                None => Ok(request),
            }),
    )
}

/// A call as it is without the wish that it be a task: who has not declared tasks ignores that (2025-11-25
/// `basic/utilities/tasks`).
fn untasked(request: &Request) -> Option<Result<Request, DecodeError>> {
    let calls = *request.method() == Method::ToolsCall && request.param("task").is_some();
    let params = request.params().filter(|_| calls)?;
    Some(request.with_params(&replaced(params, "task", None)))
}

/// The capabilities that a request of 2026-07-28 declares.
fn declared(request: &Request) -> Option<Result<Request, DecodeError>> {
    let capabilities = request
        .meta()
        .member(CAPABILITIES)
        .filter(|them| them.is_object())?;
    let narrowed = without_tasks(capabilities)?;
    Some(request.with_meta(CAPABILITIES, &narrowed))
}
