//! Why an operator does not get what is asked for, in words for people and codes for scripts.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::page::Content;

/// Reason a request is refused, by the API as JSON and by the console as a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The name does not lead here.
    Host,
    /// A page of another site asks.
    Origin,
    /// No operator holds this token.
    Token,
    /// The operator may not do this.
    Role,
    /// Who set a kill does not clear it.
    Own,
    /// There is no such page.
    Path,
    /// The page does not take this method; it takes these.
    Method(&'static str),
    /// The body is not plain JSON.
    Media,
    /// The body is too long or came too slowly.
    Body,
    /// The body, or what it asks for, makes no sense.
    Request(String),
    /// There is no such kill.
    Unknown(String),
    /// The kill is over.
    Over(String),
    /// There is no such approval.
    NoApproval(String),
    /// The approval takes no decision (any more).
    Closed(String),
    /// The operator was shown something else than what waits.
    NotShown,
    /// The operator may not decide over this call.
    Ineligible(String),
    /// The configuration has no such target of notifications; the message has those it has.
    NoTarget(String),
    /// The target did not take the message.
    Undelivered(String),
    /// Approvals cannot be read or written now.
    Unavailable,
    /// The audit log cannot be read now.
    Log,
    /// The store does not answer, and may have done what it was asked.
    OutcomeUnknown,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Problem {
    error: Words,
}

/// What the asker is told.
#[derive(Serialize)]
struct Words {
    code: &'static str,
    message: Cow<'static, str>,
    hint: &'static str,
}

impl Refused {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Host => "admin.host",
            Self::Origin => "admin.origin",
            Self::Token => "admin.token",
            Self::Role => "admin.role",
            Self::Own => "admin.own",
            Self::Path => "admin.path",
            Self::Method(_) => "admin.method",
            Self::Media => "admin.media",
            Self::Body => "admin.body",
            Self::Request(_) => "admin.request",
            Self::Unknown(_) => "admin.unknown",
            Self::Over(_) => "admin.over",
            Self::NoApproval(_) => "approval.unknown",
            Self::Closed(_) => "approval.closed",
            Self::NotShown => "approval.not_shown",
            Self::Ineligible(_) => "approval.ineligible",
            Self::NoTarget(_) => "notification.unknown",
            Self::Undelivered(_) => "notification.undelivered",
            Self::Unavailable => "approval.unavailable",
            Self::Log => "audit.unreadable",
            Self::OutcomeUnknown => "approval.outcome_unknown",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin | Self::Role | Self::Own | Self::Ineligible(_) => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Path | Self::Unknown(_) | Self::NoApproval(_) | Self::NoTarget(_) => {
                StatusCode::NOT_FOUND
            }
            Self::Undelivered(_) => StatusCode::BAD_GATEWAY,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Media => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Over(_) | Self::Closed(_) | Self::NotShown => StatusCode::CONFLICT,
            Self::Unavailable | Self::Log | Self::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Message for people.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Host => "this name does not lead here".into(),
            Self::Origin => "web pages of other sites may not ask".into(),
            Self::Token => "the operator's token is missing or wrong".into(),
            Self::Role => "none of your roles allows this".into(),
            Self::Own => "who set a kill does not clear it alone".into(),
            Self::Path => "there is no such page".into(),
            Self::Method(_) => "this page does not take this method".into(),
            Self::Media => "the body must be plain `application/json`".into(),
            Self::Body => "the body is too long, or did not arrive in time".into(),
            Self::Request(why)
            | Self::Over(why)
            | Self::Closed(why)
            | Self::Ineligible(why)
            | Self::NoTarget(why) => why.clone().into(),
            Self::Undelivered(why) => format!("the target did not take the message: {why}").into(),
            Self::Unknown(id) => format!("no kill has this id: `{id}`").into(),
            Self::NoApproval(id) => format!("no approval has this id: `{id}`").into(),
            Self::NotShown => "what you were shown is not what waits".into(),
            Self::Unavailable => {
                "approvals cannot be read or written now, nothing was decided".into()
            }
            Self::Log => "the audit log cannot be read now".into(),
            Self::OutcomeUnknown => {
                "the store of approvals has not answered: whether it was decided is not known yet"
                    .into()
            }
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Host => "use the address of the listener, or add the name to admin.hosts",
            Self::Origin => "leave the Origin header out",
            Self::Token => {
                "send `Authorization: Bearer` with a token of `keepgate operators add`, or the content of admin-token in the state directory"
            }
            Self::Role => "`keepgate operators list` shows who may",
            Self::Own => "ask another security_responder, or an admin",
            Self::Path => "/api/v1/openapi.json lists the pages",
            Self::Method(_) => "the Allow header names those it takes",
            Self::Media => "send `Content-Type: application/json`",
            Self::Body => "a kill is a few lines of JSON",
            Self::Request(_) => "/api/v1/openapi.json says what is expected",
            Self::Unknown(_) => "GET /api/v1/kills lists them",
            Self::Over(_) => "there is nothing left to clear",
            Self::NoApproval(_) => "GET /api/v1/approvals lists them, by tenant",
            Self::Closed(_) => "GET /api/v1/approvals/{id} shows what was decided",
            Self::NotShown => "look again, and send the `shown` of what you see",
            Self::Ineligible(_) => "the approval names who may: call.requirement.duties",
            Self::NoTarget(_) => "approvals.notify in the configuration has them",
            Self::Undelivered(_) => {
                "check the URL and the secret its references name, and the way there"
            }
            Self::Unavailable => "/readyz and the log have the cause",
            Self::Log => "/readyz and the log have the cause",
            Self::OutcomeUnknown => "GET /api/v1/approvals/{id} shows it once the store answers",
        }
    }

    /// What goes out, with the header line that belongs to it.
    pub(crate) fn content(&self) -> (Content, Option<(HeaderName, HeaderValue)>) {
        let words = Words {
            code: self.code(),
            message: self.message(),
            hint: self.hint(),
        };
        let extra = match self {
            Self::Token => {
                let challenge = HeaderValue::from_static("Bearer realm=\"keepgate-admin\"");
                Some((header::WWW_AUTHENTICATE, challenge))
            }
            Self::Method(allowed) => Some((header::ALLOW, HeaderValue::from_static(allowed))),
            Self::Host
            | Self::Origin
            | Self::Role
            | Self::Own
            | Self::Path
            | Self::Media
            | Self::Body
            | Self::Request(_)
            | Self::Unknown(_)
            | Self::Over(_)
            | Self::NoApproval(_)
            | Self::Closed(_)
            | Self::NotShown
            | Self::Ineligible(_)
            | Self::NoTarget(_)
            | Self::Undelivered(_)
            | Self::Unavailable
            | Self::Log
            | Self::OutcomeUnknown => None,
        };
        (
            Content::json(self.status(), &Problem { error: words }),
            extra,
        )
    }
}
