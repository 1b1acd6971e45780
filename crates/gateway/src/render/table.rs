//! Every code and how it looks from outside. `docs/refusals.md` has a section for each.

use http::StatusCode;
use keepgate_call::Code;

/// How one code looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wording {
    pub(super) code: Code,
    /// How a request is told of it.
    pub(super) way: Way,
    /// The HTTP status where the refusal is HTTP's business.
    pub(super) status: StatusCode,
    /// The JSON-RPC error code. Ours lie outside -32768..-32000, which JSON-RPC and MCP keep for themselves.
    pub(super) number: i64,
    /// What a client is told.
    pub(super) text: &'static str,
}

/// How a refused request is told so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By HTTP status: clients act on it.
    Status,
    /// By HTTP status where the revision is stateless, in band where it is not.
    Revision,
    /// By a JSON-RPC error with HTTP 200: the session goes on.
    Error,
    /// By a tool result with `isError` where a tool was called, by a JSON-RPC error elsewhere: the model reads it.
    Result,
    /// As the server would say that there is no such thing.
    Absence,
}

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const INTERNAL_ERROR: i64 = -32603;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_REVISION: i64 = -32022;

/// A row, so that the table reads as one.
const fn row(code: Code, way: Way, status: StatusCode, number: i64, text: &'static str) -> Wording {
    Wording {
        code,
        way,
        status,
        number,
        text,
    }
}

#[rustfmt::skip]
pub(super) const TABLE: &[Wording] = &[
    row(Code::PathUnknown, Way::Status, StatusCode::NOT_FOUND, -31404, "no such endpoint"),
    row(Code::HttpMethod, Way::Status, StatusCode::METHOD_NOT_ALLOWED, -31405, "this endpoint does not take this HTTP method"),
    row(Code::HostRefused, Way::Status, StatusCode::FORBIDDEN, -31421, "this gateway does not serve the host named"),
    row(Code::OriginRefused, Way::Status, StatusCode::FORBIDDEN, -31403, "this origin may not call this gateway"),
    row(Code::HeaderInvalid, Way::Status, StatusCode::BAD_REQUEST, HEADER_MISMATCH, "a header is missing, doubled or unreadable"),
    row(Code::MediaType, Way::Status, StatusCode::UNSUPPORTED_MEDIA_TYPE, -31415, "the body must be plain `application/json`"),
    row(Code::NotAcceptable, Way::Status, StatusCode::NOT_ACCEPTABLE, -31406, "the client must accept `application/json` and `text/event-stream`"),
    row(Code::BodyTooLarge, Way::Status, StatusCode::PAYLOAD_TOO_LARGE, -31413, "the body is longer than this gateway takes"),
    row(Code::BodyIncomplete, Way::Status, StatusCode::REQUEST_TIMEOUT, -31408, "the body did not arrive in time"),
    row(Code::JsonInvalid, Way::Status, StatusCode::BAD_REQUEST, PARSE_ERROR, "the body is not strict JSON"),
    row(Code::MessageInvalid, Way::Status, StatusCode::BAD_REQUEST, INVALID_REQUEST, "the body is not an acceptable JSON-RPC message"),
    row(Code::HeaderMismatch, Way::Status, StatusCode::BAD_REQUEST, HEADER_MISMATCH, "header mismatch: headers and body differ"),
    row(Code::RevisionUnsupported, Way::Status, StatusCode::BAD_REQUEST, UNSUPPORTED_REVISION, "unsupported protocol version"),
    row(Code::MetaMissing, Way::Status, StatusCode::BAD_REQUEST, INVALID_PARAMS, "invalid params: a required `_meta` member is missing"),
    row(Code::MethodUnknown, Way::Revision, StatusCode::NOT_FOUND, METHOD_NOT_FOUND, "method not found"),
    row(Code::ParamsInvalid, Way::Error, StatusCode::BAD_REQUEST, INVALID_PARAMS, "invalid params"),
    row(Code::AuthnMissing, Way::Status, StatusCode::UNAUTHORIZED, -31401, "a credential is required"),
    row(Code::AuthnInvalid, Way::Status, StatusCode::UNAUTHORIZED, -31402, "the credential is not valid"),
    row(Code::AuthnUnavailable, Way::Status, StatusCode::SERVICE_UNAVAILABLE, -31407, "the credential cannot be checked now"),
    row(Code::SessionMissing, Way::Status, StatusCode::BAD_REQUEST, INVALID_REQUEST, "this revision needs a session: send `initialize` first"),
    row(Code::SessionUnknown, Way::Status, StatusCode::NOT_FOUND, -31410, "session not found"),
    row(Code::SessionLimit, Way::Status, StatusCode::TOO_MANY_REQUESTS, -31411, "too many sessions are open"),
    row(Code::ProcessLimit, Way::Result, StatusCode::TOO_MANY_REQUESTS, -31417, "refused: too many processes run"),
    row(Code::RateLimited, Way::Result, StatusCode::TOO_MANY_REQUESTS, -31412, "refused: rate limit exceeded"),
    row(Code::ConcurrencyLimited, Way::Result, StatusCode::TOO_MANY_REQUESTS, -31414, "refused: concurrency limit exceeded"),
    row(Code::SessionSuspended, Way::Result, StatusCode::TOO_MANY_REQUESTS, -31416, "refused: denied too often in a row, the circuit breaker of this session is open"),
    row(Code::ResponseForeign, Way::Status, StatusCode::BAD_REQUEST, INVALID_REQUEST, "response does not match any pending request in this session"),
    row(Code::Cancelled, Way::Error, StatusCode::OK, -31499, "the client cancelled this request"),
    row(Code::EventUnknown, Way::Status, StatusCode::BAD_REQUEST, INVALID_REQUEST, "this session has not issued this event id"),
    row(Code::NotFound, Way::Absence, StatusCode::NOT_FOUND, INVALID_PARAMS, "not found"),
    row(Code::PolicyDenied, Way::Result, StatusCode::FORBIDDEN, -31001, "refused by policy"),
    row(Code::InsufficientScope, Way::Status, StatusCode::FORBIDDEN, -31012, "refused: the access token lacks a scope"),
    row(Code::PolicyFailed, Way::Result, StatusCode::FORBIDDEN, -31002, "refused: policy could not be evaluated"),
    row(Code::ApprovalRequired, Way::Result, StatusCode::FORBIDDEN, -31003, "refused: this call needs an approval"),
    row(Code::ApprovalPending, Way::Result, StatusCode::FORBIDDEN, -31014, "not executed: the call waits for a person's approval"),
    row(Code::RequestStateInvalid, Way::Result, StatusCode::BAD_REQUEST, -31017, "not executed: `requestState` is not one for this call, or is over: make the call again without it"),
    row(Code::ApprovalDenied, Way::Result, StatusCode::FORBIDDEN, -31015, "not executed: a person has denied this call"),
    row(Code::ApprovalEnded, Way::Result, StatusCode::CONFLICT, -31018, "not executed: the approval this call waited for is over"),
    row(Code::ApprovalUnavailable, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31016, "not executed: approvals cannot be asked for now"),
    row(Code::ResultTooLarge, Way::Result, StatusCode::FORBIDDEN, -31009, "withheld by policy: the result is too large"),
    row(Code::Killed, Way::Result, StatusCode::FORBIDDEN, -31007, "refused: an operator has cut this off"),
    row(Code::AuditUnavailable, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31004, "refused: the call cannot be recorded now"),
    row(Code::OutcomeUnrecorded, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31013, "withheld: the outcome of the call cannot be recorded now"),
    row(Code::CredentialUnavailable, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31010, "refused: the server's credential cannot be had now"),
    row(Code::CredentialRejected, Way::Error, StatusCode::BAD_GATEWAY, -31108, "the server does not accept the gateway's credential"),
    row(Code::Overloaded, Way::Status, StatusCode::SERVICE_UNAVAILABLE, -31005, "the gateway has too many calls at once"),
    row(Code::MemoryFull, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31008, "refused: there is no memory left for the answer"),
    row(Code::InspectionOverloaded, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31011, "withheld: too many large answers wait for inspection"),
    row(Code::Draining, Way::Status, StatusCode::SERVICE_UNAVAILABLE, -31006, "the gateway is shutting down"),
    row(Code::UpstreamUnreachable, Way::Error, StatusCode::BAD_GATEWAY, -31101, "the server cannot be reached"),
    row(Code::UpstreamCircuitOpen, Way::Result, StatusCode::SERVICE_UNAVAILABLE, -31105, "refused: the server failed repeatedly, its circuit breaker is open"),
    row(Code::UpstreamTimeout, Way::Error, StatusCode::GATEWAY_TIMEOUT, -31102, "the server did not answer in time"),
    row(Code::UpstreamRevision, Way::Error, StatusCode::BAD_GATEWAY, INVALID_PARAMS, "the server speaks no protocol revision that this gateway supports"),
    row(Code::UpstreamInvalid, Way::Error, StatusCode::BAD_GATEWAY, -31103, "the server's answer breaks the protocol or a limit"),
    row(Code::UpstreamEndpoint, Way::Error, StatusCode::BAD_GATEWAY, -31109, "the server names no address for messages on its own origin"),
    row(Code::UpstreamFlood, Way::Error, StatusCode::BAD_GATEWAY, -31106, "the server sent too many bytes that bring no message"),
    row(Code::CallExpired, Way::Error, StatusCode::GATEWAY_TIMEOUT, -31107, "the call has run as long as a call may"),
    row(Code::UpstreamRefused, Way::Error, StatusCode::BAD_GATEWAY, -31104, "the server refused the request"),
    row(Code::Internal, Way::Error, StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR, "internal error"),
];

/// What stands for a code the table has forgotten; a test sees to it that there is none.
const FORGOTTEN: Wording = row(
    Code::Internal,
    Way::Error,
    StatusCode::INTERNAL_SERVER_ERROR,
    INTERNAL_ERROR,
    "internal error",
);

/// The row of a code.
pub(super) fn wording(code: Code) -> Wording {
    TABLE
        .iter()
        .find(|row| row.code == code)
        .copied()
        .unwrap_or(FORGOTTEN)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use keepgate_call::Code;

    use super::{TABLE, wording};

    #[test]
    fn every_code_has_one_row() {
        for code in Code::ALL {
            assert_eq!(
                TABLE.iter().filter(|row| row.code == *code).count(),
                1,
                "{code}"
            );
        }
        assert_eq!(TABLE.len(), Code::ALL.len());
    }

    #[test]
    fn our_numbers_stay_out_of_the_reserved_range() {
        for row in TABLE {
            let of_the_specification =
                matches!(row.number, -32700 | -32603..=-32600 | -32020 | -32022);
            assert!(
                of_the_specification || !(-32768..=-32000).contains(&row.number),
                "{}",
                row.code
            );
        }
    }

    #[test]
    fn no_two_codes_share_a_number_of_ours() {
        let mut numbers = std::collections::BTreeMap::new();
        for row in TABLE.iter().filter(|row| row.number > -32000) {
            let other = numbers.insert(row.number, row.code);
            assert_eq!(other, None, "{} has the number of another code", row.code);
        }
    }

    /// The whole table for a reviewer; `UPDATE_EXPECT=1` rewrites it.
    #[test]
    fn refusals() {
        let mut table = String::new();
        for code in Code::ALL {
            let row = wording(*code);
            let fault = format!("{:?}", code.fault()).to_lowercase();
            let way = format!("{:?}", row.way).to_lowercase();
            writeln!(
                table,
                "{code:<21} {fault:<9} {way:<9} {} {:>6}  {}",
                row.status.as_u16(),
                row.number,
                row.text
            )
            .unwrap();
        }
        expect_test::expect_file!["../../tests/golden/refusals.txt"].assert_eq(&table);
    }
}
