//! How a refusal is worded. The only place that does; `docs/refusals.md` explains each code to the person who meets it.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use keepgate_call::{Ask, Call, Code, Refusal};
use keepgate_mcp::{
    Era, EraError, encode,
    id::Id,
    message::Message,
    method::{Method, Reference, Subject},
};
use keepgate_transport::Body;

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

/// How one code looks from outside.
struct Wording {
    /// The HTTP status where the refusal is HTTP's business.
    status: StatusCode,
    /// The JSON-RPC error code. Ours lie outside -32768..-32000, which JSON-RPC and MCP keep for themselves.
    number: i64,
    /// What a client is told.
    text: &'static str,
}

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_REVISION: i64 = -32022;

fn wording(code: Code) -> Wording {
    let (status, number, text) = match code {
        Code::PathUnknown => (StatusCode::NOT_FOUND, -31404, "no such endpoint"),
        Code::HttpMethod => (
            StatusCode::METHOD_NOT_ALLOWED,
            -31405,
            "this endpoint does not take this HTTP method",
        ),
        Code::HostRefused => (
            StatusCode::FORBIDDEN,
            -31421,
            "this gateway does not serve the host named",
        ),
        Code::OriginRefused => (
            StatusCode::FORBIDDEN,
            -31403,
            "this origin may not call this gateway",
        ),
        Code::HeaderInvalid => (
            StatusCode::BAD_REQUEST,
            HEADER_MISMATCH,
            "a header is missing, doubled or unreadable",
        ),
        Code::MediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            -31415,
            "the body must be plain `application/json`",
        ),
        Code::NotAcceptable => (
            StatusCode::NOT_ACCEPTABLE,
            -31406,
            "the client must accept `application/json` and `text/event-stream`",
        ),
        Code::BodyTooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            -31413,
            "the body is longer than this gateway takes",
        ),
        Code::BodyIncomplete => (
            StatusCode::REQUEST_TIMEOUT,
            -31408,
            "the body did not arrive in time",
        ),
        Code::JsonInvalid => (
            StatusCode::BAD_REQUEST,
            PARSE_ERROR,
            "the body is not strict JSON",
        ),
        Code::MessageInvalid => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "the body is not an acceptable JSON-RPC message",
        ),
        Code::HeaderMismatch => (
            StatusCode::BAD_REQUEST,
            HEADER_MISMATCH,
            "header mismatch: headers and body differ",
        ),
        Code::RevisionUnsupported => (
            StatusCode::BAD_REQUEST,
            UNSUPPORTED_REVISION,
            "unsupported protocol version",
        ),
        Code::MetaMissing => (
            StatusCode::BAD_REQUEST,
            INVALID_PARAMS,
            "invalid params: a required `_meta` member is missing",
        ),
        Code::MethodUnknown => (StatusCode::NOT_FOUND, METHOD_NOT_FOUND, "method not found"),
        Code::ParamsInvalid => (StatusCode::BAD_REQUEST, INVALID_PARAMS, "invalid params"),
        Code::AuthnMissing => (StatusCode::UNAUTHORIZED, -31401, "a credential is required"),
        Code::AuthnInvalid => (
            StatusCode::UNAUTHORIZED,
            -31402,
            "the credential is not valid",
        ),
        Code::SessionMissing => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "this revision needs a session: send `initialize` first",
        ),
        Code::SessionUnknown => (StatusCode::NOT_FOUND, -31410, "session not found"),
        Code::SessionLimit => (
            StatusCode::TOO_MANY_REQUESTS,
            -31411,
            "too many sessions are open",
        ),
        Code::ResponseForeign => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "nobody in this session asked what this answers",
        ),
        Code::EventUnknown => (
            StatusCode::BAD_REQUEST,
            INVALID_REQUEST,
            "this session has not issued this event id",
        ),
        Code::NotFound => (StatusCode::OK, INVALID_PARAMS, "not found"),
        Code::PolicyDenied => (StatusCode::FORBIDDEN, -31001, "refused by policy"),
        Code::PolicyFailed => (
            StatusCode::FORBIDDEN,
            -31002,
            "refused: policy could not be evaluated",
        ),
        Code::ApprovalRequired => (
            StatusCode::FORBIDDEN,
            -31003,
            "refused: this call needs an approval",
        ),
        Code::AuditUnavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            -31004,
            "refused: the call cannot be recorded now",
        ),
        Code::Overloaded => (
            StatusCode::SERVICE_UNAVAILABLE,
            -31005,
            "the gateway has too many calls at once",
        ),
        Code::Draining => (
            StatusCode::SERVICE_UNAVAILABLE,
            -31006,
            "the gateway is shutting down",
        ),
        Code::UpstreamUnreachable => (
            StatusCode::BAD_GATEWAY,
            -31101,
            "the server cannot be reached",
        ),
        Code::UpstreamTimeout => (
            StatusCode::GATEWAY_TIMEOUT,
            -31102,
            "the server did not answer in time",
        ),
        Code::UpstreamInvalid => (
            StatusCode::BAD_GATEWAY,
            -31103,
            "the server's answer breaks the protocol or a limit",
        ),
        Code::UpstreamRefused => (
            StatusCode::BAD_GATEWAY,
            -31104,
            "the server refused the request",
        ),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, -32603, "internal error"),
    };
    Wording {
        status,
        number,
        text,
    }
}

/// Words a refusal of something that is no JSON-RPC request yet, or is none at all: by HTTP status, with a JSON-RPC
/// error without id as the body (2025-11-25 `basic/transports` allows it, SDK clients print it).
pub fn over_http(refusal: &Refusal) -> Response<Body> {
    let wording = wording(refusal.code);
    let body = encode::error(
        None,
        wording.number,
        &text(&wording, refusal),
        Some(&data(refusal)),
    );
    let mut response = json(wording.status, body);
    let headers = response.headers_mut();
    match refusal.code {
        Code::AuthnMissing | Code::AuthnInvalid => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"keepgate\""),
            );
        }
        Code::Overloaded | Code::Draining | Code::SessionLimit | Code::AuditUnavailable => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// Words the refusal of a message that was understood. Requests are answered in band wherever a client would otherwise
/// take the refusal for the end of its session.
pub fn in_band(refusal: &Refusal, asked: &Asked) -> Response<Body> {
    let Some(id) = &asked.id else {
        return over_http(refusal);
    };
    match refusal.code {
        // These say something about the HTTP exchange or the session; clients act on the status.
        Code::SessionMissing
        | Code::SessionUnknown
        | Code::SessionLimit
        | Code::RevisionUnsupported
        | Code::HeaderInvalid
        | Code::HeaderMismatch
        | Code::MetaMissing => over_http_as(refusal, id),
        Code::MethodUnknown if asked.era == Era::Stateless => over_http_as(refusal, id),
        _ => json(StatusCode::OK, message(refusal, asked, id)),
    }
}

/// The JSON-RPC message that tells a request's sender of its refusal; also the last event of a stream that must end.
pub fn message(refusal: &Refusal, asked: &Asked, id: &Id) -> Bytes {
    let tool_call = matches!(asked.method, Some(Method::ToolsCall));
    match refusal.code {
        Code::NotFound => encode::error(Some(id), not_found_number(asked), &not_found(asked), None),
        Code::PolicyDenied
        | Code::PolicyFailed
        | Code::ApprovalRequired
        | Code::AuditUnavailable
            if tool_call =>
        {
            encode::result(id, &tool_refusal(refusal, asked.era))
        }
        _ => {
            let wording = wording(refusal.code);
            encode::error(
                Some(id),
                wording.number,
                &text(&wording, refusal),
                Some(&data(refusal)),
            )
        }
    }
}

fn over_http_as(refusal: &Refusal, id: &Id) -> Response<Body> {
    let wording = wording(refusal.code);
    let body = encode::error(
        Some(id),
        wording.number,
        &text(&wording, refusal),
        Some(&data(refusal)),
    );
    json(wording.status, body)
}

/// The same words for what is hidden and for what does not exist, so that nobody learns which it was.
fn not_found(asked: &Asked) -> String {
    let kind = match &asked.method {
        Some(Method::ToolsCall) => "Unknown tool",
        Some(Method::PromptsGet) => "Unknown prompt",
        _ => "Resource not found",
    };
    format!("{kind}: {}", asked.subject.as_deref().unwrap_or_default())
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
        INVALID_PARAMS
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
    let data = data(refusal);
    format!(
        "{{{kind}\"content\":[{{\"type\":\"text\",\"text\":{said}}}],\"isError\":true,\"_meta\":{{\"dev.keepgate/refusal\":{data}}}}}"
    )
}

/// The sentence: the code's own words, then what the authors of the rules said, or the detail.
fn text(wording: &Wording, refusal: &Refusal) -> String {
    let mut said = wording.text.to_owned();
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
    said
}

/// `data` of a JSON-RPC error: the stable code, the decision, the rules' codes.
fn data(refusal: &Refusal) -> String {
    let mut data = format!("{{\"code\":\"{}\"", refusal.code);
    if let Some(id) = &refusal.decision {
        let _infallible = write!(data, ",\"decision_id\":\"{id}\"");
    }
    if !refusal.reasons.is_empty() {
        let codes: Vec<String> = refusal
            .reasons
            .iter()
            .map(|(code, _)| encode::escape(code))
            .collect();
        let _infallible = write!(data, ",\"reasons\":[{}]", codes.join(","));
    }
    if let Code::RevisionUnsupported = refusal.code {
        let known: Vec<String> = keepgate_mcp::revision::Revision::ALL
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

/// Words an error of `mcp::era`, which has its own code, message and data by the specification.
pub fn era(error: &EraError, messages: &[Message]) -> Response<Body> {
    let id = match messages {
        [Message::Request(request)] => Some(request.id()),
        _ => None,
    };
    let body = encode::error(id, error.code, &error.message, error.data.as_deref());
    json(
        StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST),
        body,
    )
}

fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
