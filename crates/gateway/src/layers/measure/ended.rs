//! How a call ended, in the words of spans and meters.

use std::borrow::Cow;

use keepgate_call::{Answer, Code, Cut, Refusal};
use keepgate_mcp::{
    error,
    message::{Message, Response},
};
use keepgate_telemetry::metrics::OTHER;

use crate::render;

/// How a call ended.
#[derive(Debug)]
pub(super) enum Ended<'a> {
    /// With a response.
    Answered(&'a Response),
    /// There was nothing to answer.
    Noted,
    /// The server refused at the HTTP level.
    Rejected,
    /// The gateway refused.
    Refused(&'a Refusal),
    /// The stream broke before the response.
    Broken(&'a Cut),
    /// Nobody waited for the end.
    Vanished,
}

impl<'a> Ended<'a> {
    /// How a call with this reply ended. A stream's end is seen on the stream.
    pub(super) fn of(answer: &'a Answer) -> Self {
        match answer {
            Answer::Message(Message::Response(response)) => Self::Answered(response),
            Answer::Accepted
            | Answer::Stream(_)
            | Answer::Message(Message::Request(_) | Message::Notification(_)) => Self::Noted,
            Answer::Passed { .. } => Self::Rejected,
        }
    }

    /// The word in `keepgate.result`.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Answered(_) | Self::Noted => "ok",
            Self::Rejected => "upstream_rejected",
            Self::Refused(refusal) => refusal.code.as_str(),
            Self::Broken(cut) => broken(cut).as_str(),
            Self::Vanished => "abandoned",
        }
    }

    /// `error.type` as a label: bounded, whatever numbers a server makes up. Empty if nothing went wrong.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Answered(response) => match response.error_code() {
                Some(code) => number(code),
                None if response.is_tool_error() => "tool_error",
                None => "",
            },
            Self::Noted => "",
            Self::Rejected | Self::Refused(_) | Self::Broken(_) | Self::Vanished => self.result(),
        }
    }

    /// `error.type` of a span.
    pub(super) fn error(&self) -> Option<Cow<'static, str>> {
        let label = self.label();
        match self.status() {
            Some(code) if label == OTHER => Some(code.to_string().into()),
            _ if label.is_empty() => None,
            _ => Some(label.into()),
        }
    }

    /// The code of the JSON-RPC error that was answered.
    pub(super) fn status(&self) -> Option<i64> {
        match self {
            Self::Answered(response) => response.error_code(),
            Self::Refused(refusal) => Some(render::number(refusal.code)),
            Self::Noted | Self::Rejected | Self::Broken(_) | Self::Vanished => None,
        }
    }

    /// Whether the server was reached; `None` if nobody can tell.
    pub(super) fn reached(&self) -> Option<bool> {
        match self {
            Self::Answered(_) | Self::Noted | Self::Rejected => Some(true),
            Self::Refused(refusal) => {
                let lost = [Code::UpstreamUnreachable, Code::UpstreamTimeout];
                lost.contains(&refusal.code).then_some(false)
            }
            Self::Broken(_) | Self::Vanished => None,
        }
    }
}

/// The refusal a broken stream amounts to.
fn broken(cut: &Cut) -> Code {
    match cut {
        Cut::Upstream(_) => Code::UpstreamInvalid,
        Cut::Cancelled => Code::Cancelled,
        Cut::Killed(refusal) | Cut::Withheld(refusal) | Cut::Ended(refusal) => refusal.code,
        Cut::Gateway(_) => Code::Draining,
    }
}

/// The codes JSON-RPC and MCP define; others are told apart in spans only.
fn number(code: i64) -> &'static str {
    match code {
        error::PARSE_ERROR => "-32700",
        error::INVALID_REQUEST => "-32600",
        error::METHOD_NOT_FOUND => "-32601",
        error::INVALID_PARAMS => "-32602",
        error::INTERNAL_ERROR => "-32603",
        error::URL_ELICITATION_REQUIRED => "-32042",
        -32002 => "-32002",
        _ => OTHER,
    }
}
