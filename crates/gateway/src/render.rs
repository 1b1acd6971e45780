//! How a refusal is worded. The only place that does; `docs/refusals.md` explains each code to the person who meets it.

pub mod challenge;
mod envelope;
mod table;

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use keepgate_call::{Ask, Call, Code, Refusal, Reply, WaitAnswer};
use keepgate_mcp::{
    Era, EraError, encode, error,
    id::Id,
    message::{Message, Request},
    method::{Method, Reference, Subject},
    revision::Revision,
};
use keepgate_transport::Body;

use self::table::{Way, Wording, wording};

/// The member of `_meta` that names a subscription.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Key of the request for input that has the link of an approval.
pub(crate) const LINK_REQUEST: &str = "approval";

/// What a refused message was, as far as its refusal must be shaped after it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request's id; `None` for a notification, a response, or a stream.
    pub id: Option<Id>,
    /// The method; `None` for a response or a stream.
    pub method: Option<Method>,
    /// The name or URI the request is about, for the wording.
    pub subject: Option<String>,
    /// Stateful or stateless.
    pub era: Era,
}

impl Asked {
    /// What `call` asks.
    pub fn of(call: &Call) -> Self {
        let era = call.revision.era();
        match &call.ask {
            Ask::Message(Message::Request(request)) => Self {
                id: Some(request.id().clone()),
                method: Some(request.method().clone()),
                subject: subject(&request.subject()),
                era,
            },
            Ask::Message(Message::Notification(notification)) => Self {
                id: None,
                method: Some(notification.method().clone()),
                subject: None,
                era,
            },
            Ask::Message(Message::Response(_)) | Ask::Listen | Ask::End => Self {
                id: None,
                method: None,
                subject: None,
                era,
            },
        }
    }
}

fn subject(about: &Subject<'_>) -> Option<String> {
    match about {
        Subject::Tool(name) | Subject::Prompt(name) | Subject::Resource(name) => {
            Some(name.to_string())
        }
        Subject::Completion {
            reference: Reference::Prompt(name) | Reference::Resource(name),
            ..
        } => Some(name.to_string()),
        Subject::Listing(_)
        | Subject::Task(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => None,
    }
}

/// The JSON-RPC code a refusal is answered with.
pub fn number(code: Code) -> i64 {
    wording(code).number
}

/// Words a refusal of something that is no JSON-RPC request yet, or is none at all: by HTTP status, with a JSON-RPC
/// error without id as the body (2025-11-25 `basic/transports` allows it, SDK clients print it).
pub fn over_http(refusal: &Refusal) -> Response<Body> {
    let row = wording(refusal.code);
    let said = text(&row, refusal);
    let body = encode::error(None, row.number, &said, Some(&data(refusal)));
    let mut response = json(row.status, body);
    let headers = response.headers_mut();
    match row.status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, challenge::of(refusal));
        }
        _ => retry_after(refusal, row.status, headers),
    }
    response
}

/// Says when to try again, where a status asks clients to.
fn retry_after(refusal: &Refusal, status: StatusCode, headers: &mut HeaderMap) {
    if matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    ) {
        let wait = refusal.limit.and_then(|limit| limit.wait_s()).unwrap_or(1);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
}

/// Words the refusal of a message that was understood. Requests are answered in band wherever a client would otherwise
/// take the refusal for the end of its session.
pub fn in_band(refusal: &Refusal, asked: &Asked) -> Response<Body> {
    let Some(id) = &asked.id else {
        let mut response = over_http(refusal);
        // To clients a 404 is the end of their session, whatever the message was that it answers.
        if refusal.code == Code::MethodUnknown {
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        return response;
    };
    let row = wording(refusal.code);
    let by_status =
        row.way == Way::Status || (row.way == Way::Revision && asked.era == Era::Stateless);
    let mut response = json(StatusCode::OK, message(refusal, asked, id));
    if by_status {
        *response.status_mut() = row.status;
        retry_after(refusal, row.status, response.headers_mut());
    }
    if refusal.challenge.is_some() {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge::of(refusal));
    }
    response
}

/// The JSON-RPC message that tells a request's sender of its refusal; also the last event of a stream that must end.
pub fn message(refusal: &Refusal, asked: &Asked, id: &Id) -> Bytes {
    let row = wording(refusal.code);
    match row.way {
        Way::Absence => {
            // The same of what is hidden and of what does not exist: only the record has the rule.
            let data = format!("{{{}}}", reference(refusal));
            let number = not_found_number(asked);
            encode::error(Some(id), number, &not_found(asked), Some(&data))
        }
        Way::Result if let Some(round) = round(refusal) => encode::result(id, &round),
        Way::Result if matches!(asked.method, Some(Method::ToolsCall)) => {
            encode::result(id, &tool_refusal(refusal, asked.era))
        }
        Way::Result | Way::Status | Way::Revision | Way::Error => encode::error(
            Some(id),
            row.number,
            &text(&row, refusal),
            Some(&data(refusal)),
        ),
    }
}

/// The same as a message, for a stream or a batch. `None` only for words that are no message, which would be a bug.
pub fn said(refusal: &Refusal, asked: &Asked, id: &Id) -> Option<Message> {
    decoded(message(refusal, asked, id))
}

/// The one message of a body that was judged before or made here.
pub fn decoded(body: Bytes) -> Option<Message> {
    match keepgate_mcp::decode(body, &keepgate_mcp::Limits::reply()) {
        Ok(keepgate_mcp::Body::Single(message)) => Some(message),
        Ok(keepgate_mcp::Body::Batch(_)) | Err(_) => None,
    }
}

/// Progress of a call that is held for an approval: thousandths, so that whatever its server reports later is more.
pub fn progress(call: &Call, token: &Id, thousandths: u32, approval: &str) -> Option<Message> {
    let token = token.as_json();
    // 2024-11-05 has no messages in it.
    let words = match call.revision {
        Revision::V2024_11_05 => String::new(),
        Revision::V2025_03_26
        | Revision::V2025_06_18
        | Revision::V2025_11_25
        | Revision::V2026_07_28 => {
            let words = format!("not executed yet: approval {approval} waits for a person");
            format!(",\"message\":{}", encode::escape(&words))
        }
    };
    let params = format!("{{\"progressToken\":{token},\"progress\":0.{thousandths:03}{words}}}");
    decoded(encode::notification(&Method::Progress, Some(&params)))
}

/// The `_meta` of every message of a subscription (2026-07-28 `basic/patterns/subscriptions`). `None` for every other request.
pub fn subscription_meta(request: &Request) -> Option<String> {
    let subscribes = *request.method() == Method::SubscriptionsListen;
    subscribes.then(|| format!(r#"{{"{SUBSCRIPTION}":{}}}"#, request.id().as_json()))
}

/// The result that ends a subscription in order (2026-07-28 `basic/patterns/subscriptions`). `None` for every other call:
/// the listening stream of a session is owed none.
pub fn subscription_end(call: &Call) -> Option<Message> {
    let request = call.request()?;
    let meta = subscription_meta(request)?;
    let result = format!(r#"{{"resultType":"complete","_meta":{meta}}}"#);
    decoded(encode::result(request.id(), &result))
}

/// The same words for what is hidden and for what does not exist, so that nobody learns which it was.
fn not_found(asked: &Asked) -> String {
    let kind = match &asked.method {
        Some(Method::ToolsCall) => "Unknown tool",
        Some(Method::PromptsGet) => "Unknown prompt",
        _ => "Resource not found",
    };
    // What names several, or none, is not named.
    match asked.subject.as_deref() {
        Some(subject) if !subject.is_empty() => format!("{kind}: {subject}"),
        Some(_) | None => kind.to_owned(),
    }
}

/// Resources have a code of their own before 2026-07-28 (`server/resources`, -32002).
fn not_found_number(asked: &Asked) -> i64 {
    let resource = matches!(
        asked.method,
        Some(Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe)
    );
    if resource && asked.era == Era::Stateful {
        -32002
    } else {
        error::INVALID_PARAMS
    }
}

/// A refused tool call is a tool result with `isError`: the model reads it and can do something else, and no client
/// takes it for a broken connection.
fn tool_refusal(refusal: &Refusal, era: Era) -> String {
    let mut said = text(&wording(refusal.code), refusal);
    if let Some(id) = &refusal.decision {
        // Writing to a String cannot fail.
        let _infallible = write!(said, " (decision {id})");
    }
    let said = encode::escape(&said);
    let kind = if era == Era::Stateless {
        "\"resultType\":\"complete\","
    } else {
        ""
    };
    let (data, envelope) = (data(refusal), envelope::member(refusal));
    format!(
        "{{{kind}\"content\":[{{\"type\":\"text\",\"text\":{said}}}],\"isError\":true,\"_meta\":{{\"dev.keepgate/refusal\":{data}{envelope}}}}}"
    )
}

/// The request for input that has the client of a call that waits make it again (2026-07-28 `basic/patterns/mrtr`).
fn round(refusal: &Refusal) -> Option<String> {
    let approval = refusal.approval.as_deref()?;
    let WaitAnswer::Round { state, link } = &approval.answer else {
        return None;
    };
    let mut result = format!(
        r#"{{"resultType":"input_required","requestState":{}"#,
        encode::escape(state)
    );
    if let Some(link) = link {
        let message = link_text(&approval.id);
        let _infallible = write!(
            result,
            r#","inputRequests":{{"{LINK_REQUEST}":{{"method":"elicitation/create","params":{{"mode":"url","message":{},"url":{}}}}}}}"#,
            encode::escape(&message),
            encode::escape(link)
        );
    }
    let _infallible = write!(
        result,
        r#","_meta":{{"dev.keepgate/refusal":{}{}}}}}"#,
        data(refusal),
        envelope::member(refusal)
    );
    Some(result)
}

/// Text that asks a client's user to follow the link of an approval.
fn link_text(approval: &str) -> String {
    format!(
        "A person has to approve this call before it is made ({approval}): open the page to decide, or to see who may."
    )
}

/// Id of the question that asks the client of a session to show the link of a held call, and of the elicitation.
pub fn link_id(call: &Call) -> Option<Id> {
    Id::from_text(&format!("keepgate-{}", call.id))
}

/// The question that asks the client of a session to show the link of a held call (2025-11-25 `client/elicitation`).
pub fn link_question(call: &Call) -> Option<Message> {
    let (id, approval) = (link_id(call)?, call.wait.held()?);
    let params = format!(
        r#"{{"mode":"url","message":{},"url":{},"elicitationId":{}}}"#,
        encode::escape(&link_text(approval)),
        encode::escape(call.wait.link()?),
        id.as_json()
    );
    decoded(encode::request(
        &id,
        &Method::ElicitationCreate,
        Some(&params),
    ))
}

/// The notice that somebody has decided over a held call whose link was shown. `None` for one that waits still.
pub fn link_completed(call: &Call, reply: &Result<Reply, Refusal>) -> Option<Message> {
    let waits = |refusal: &Refusal| refusal.code == Code::ApprovalPending;
    if call.wait.link().is_none() || reply.as_ref().is_err_and(waits) {
        return None;
    }
    let params = format!(r#"{{"elicitationId":{}}}"#, link_id(call)?.as_json());
    decoded(encode::notification(
        &Method::ElicitationCompleted,
        Some(&params),
    ))
}

/// The sentence: the code's own words, then what the authors of the rules said, or the detail.
fn text(row: &Wording, refusal: &Refusal) -> String {
    let mut said = row.text.to_owned();
    let mut reasons = refusal
        .reasons
        .iter()
        .map(|(_, message)| &**message)
        .filter(|message| !message.is_empty());
    if let Some(first) = reasons.next() {
        said = format!("{said}: {first}");
        for more in reasons {
            said.push_str("; ");
            said.push_str(more);
        }
    } else if let Some(detail) = &refusal.detail {
        said = format!("{said}: {detail}");
    }
    if let Some(approval) = &refusal.approval {
        let seconds = approval.retry.as_secs().max(1);
        let _infallible = write!(
            said,
            "; approval {}: make the same call again, not before {seconds} s have passed",
            approval.id
        );
    }
    if refusal.dispatched {
        said.push_str("; the call may have had its effect");
    }
    if let Some(wait) = refusal.limit.and_then(|limit| limit.wait_s()) {
        let _infallible = write!(said, "; try again in {wait} s");
    }
    said
}

/// Members that every refusal has: the stable code, and the id its record is found by.
fn reference(refusal: &Refusal) -> String {
    let mut members = format!("\"code\":\"{}\"", refusal.code);
    if let Some(id) = &refusal.decision {
        let _infallible = write!(members, ",\"decision_id\":\"{id}\"");
    }
    members
}

/// `data` of a JSON-RPC error: the stable code, the decision, the rules' codes.
fn data(refusal: &Refusal) -> String {
    let mut data = format!("{{{}", reference(refusal));
    if !refusal.reasons.is_empty() {
        let codes: Vec<String> = refusal
            .reasons
            .iter()
            .map(|(code, _)| encode::escape(code))
            .collect();
        let _infallible = write!(data, ",\"reasons\":[{}]", codes.join(","));
    }
    if let Some(limit) = &refusal.limit {
        let _infallible = write!(data, ",\"limit\":\"{}\"", limit.name);
        if let Some(wait) = limit.wait_s() {
            let _infallible = write!(data, ",\"retry_after_s\":{wait}");
        }
    }
    if let Some(approval) = &refusal.approval {
        let (id, seconds) = (&approval.id, approval.retry.as_secs().max(1));
        let _infallible = write!(
            data,
            ",\"approval\":{{\"id\":\"{id}\",\"retry_after_s\":{seconds}}}"
        );
    }
    if refusal.dispatched {
        data.push_str(",\"effect\":\"possible\"");
    }
    if let Code::RevisionUnsupported = refusal.code {
        let known: Vec<String> = Revision::ALL
            .iter()
            .map(|known| format!("\"{}\"", known.as_str()))
            .collect();
        let asked = encode::escape(refusal.detail.as_deref().unwrap_or_default());
        let _infallible = write!(
            data,
            ",\"supported\":[{}],\"requested\":{asked}",
            known.join(",")
        );
    }
    data.push('}');
    data
}

/// Words an error of `mcp::era`, which has its own code, message and data by the specification; ours are added.
pub fn era(error: &EraError, refusal: &Refusal, messages: &[Message]) -> Response<Body> {
    let id = match messages {
        [Message::Request(request)] => Some(request.id()),
        _ => None,
    };
    let own = error.data.as_deref().unwrap_or("{}");
    let own = own
        .trim()
        .strip_prefix('{')
        .and_then(|own| own.strip_suffix('}'));
    let own = own.filter(|own| !own.is_empty());
    let data = own.map_or_else(
        || format!("{{{}}}", reference(refusal)),
        |own| format!("{{{own},{}}}", reference(refusal)),
    );
    let body = encode::error(id, error.code, &error.message, Some(&data));
    json(
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST),
        body,
    )
}

/// A response with a JSON body.
pub fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests;
