//! The pages: each a template, and what it shows.

mod approval;
mod frame;
mod inbox;
mod kills;
mod lists;
mod policy;

use std::time::SystemTime;

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{Admin, Operator, Permission, Refused, Source};
use tokio::sync::Semaphore;

use crate::{
    assets,
    form::Form,
    login::LoginError,
    respond::{page, see},
    route::Route,
    sessions::Visitor,
    text::Hostile,
};
use frame::{Frame, Nav};

type Answered = Result<Response<Bytes>, Refused>;

/// One request of an operator who is logged in.
#[derive(Debug)]
pub(crate) struct Desk<'a, S> {
    admin: &'a Admin<S>,
    visitor: &'a Visitor,
    rendering: &'a Semaphore,
    query: Form,
    now: SystemTime,
    pending: u64,
}

impl<'a, S: Source> Desk<'a, S> {
    /// A request with this query.
    pub(crate) async fn new(
        admin: &'a Admin<S>,
        visitor: &'a Visitor,
        rendering: &'a Semaphore,
        query: Form,
    ) -> Self {
        Self {
            admin,
            visitor,
            rendering,
            query,
            now: SystemTime::now(),
            pending: admin.pending_approvals().await,
        }
    }

    /// The page, or the way to the one an act leads to.
    pub(crate) async fn answer(&self, route: Route, form: &Form) -> Answered {
        match route {
            Route::Home => Ok(see("/console/approvals")),
            Route::Inbox => self.inbox().await,
            Route::Approval(id) => self.approval(&id, None).await,
            Route::Decide(id) => self.decide(&id, form).await,
            Route::Revoke(id) => self.revoke(&id, form).await,
            Route::Kills => self.kills(None, &[]),
            Route::Preview => self.preview(form).await,
            Route::SetKill => self.set_kill(form).await,
            Route::ClearKill(id) => self.clear_kill(&id, form).await,
            Route::Sessions => Ok(self.sessions()),
            Route::Servers => Ok(self.servers()),
            Route::Readiness => Ok(self.readiness()),
            Route::Policy => Ok(self.policy()),
            // Answered before anybody is asked who they are, or with the end of it.
            Route::Style | Route::Script | Route::LoginPage | Route::Login | Route::Logout => {
                Err(Refused::Path)
            }
        }
    }

    fn operator(&self) -> &Operator {
        &self.visitor.operator
    }

    fn may(&self, permission: Permission) -> bool {
        self.operator().may(permission)
    }

    fn frame(&self, current: Nav) -> Frame {
        Frame::new(self.visitor, current, self.pending)
    }
}

/// Reason an act did not happen, on the page it was tried from.
#[derive(Debug)]
struct Problem {
    message: Hostile,
    hint: &'static str,
    code: &'static str,
}

impl Problem {
    fn of(refused: &Refused) -> Self {
        Self {
            message: Hostile::brief(&sentence(&refused.message())),
            hint: hint(refused),
            code: refused.code(),
        }
    }
}

/// A message as a sentence.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!(
        "{}{}.",
        first.unwrap_or_default(),
        letters.as_str().trim_end_matches('.')
    )
}

/// The way out, for a person on a page. Those of the API speak of requests.
fn hint(refused: &Refused) -> &'static str {
    match refused {
        Refused::NotShown => "Read the page again: it shows what waits now.",
        Refused::Closed(_) => "This page shows what was decided.",
        Refused::Ineligible(_) => "The section on decisions names who may.",
        Refused::Unavailable => "Nothing was decided. Readiness and the log have the cause.",
        Refused::OutcomeUnknown => "Open the page again: it shows whether it was decided.",
        Refused::Role => "An admin may give you another role.",
        Refused::Own => "Ask another security_responder, or an admin.",
        Refused::Path | Refused::NoApproval(_) | Refused::Unknown(_) => {
            "It may have ended and been removed, or belong to another tenant."
        }
        Refused::Origin => "Open the console itself and try there.",
        Refused::Host => "Use the address of the listener, or add the name to admin.hosts.",
        Refused::Body => "A form of this console is a few kilobytes.",
        Refused::Over(_)
        | Refused::Method(_)
        | Refused::Media
        | Refused::Token
        | Refused::Request(_) => "Go back and try again.",
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    style: &'static str,
    problem: Option<&'static str>,
    next: &'a str,
}

/// The form of a login, which leads to `next`, a page of ours.
pub(crate) fn login(next: &str, error: Option<LoginError>) -> Response<Bytes> {
    let (status, problem) = match error {
        None => (StatusCode::OK, None),
        Some(LoginError::Token) => (
            StatusCode::UNAUTHORIZED,
            Some("No operator has this token."),
        ),
        Some(LoginError::Limited) => (
            StatusCode::TOO_MANY_REQUESTS,
            Some("Too many logins in the last minute. Wait a minute."),
        ),
        Some(LoginError::Unavailable) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some("No session can begin now. The log has the cause."),
        ),
    };
    let template = LoginPage {
        style: assets::style(),
        problem,
        next,
    };
    page(status, &template)
}

#[derive(Template)]
#[template(path = "opening.html")]
struct OpeningPage<'a> {
    style: &'static str,
    path: &'a str,
}

/// A page that goes on to `path`: the request for it comes from here and has the cookie, which browsers leave out where a link
/// elsewhere was followed.
pub(crate) fn opening(path: &str) -> Response<Bytes> {
    let style = assets::style();
    page(StatusCode::OK, &OpeningPage { style, path })
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    style: &'static str,
    title: &'static str,
    message: Hostile,
    hint: &'static str,
    code: &'static str,
    back: &'static str,
    back_name: &'static str,
}

/// The page of a request that has no other.
pub(crate) fn problem(refused: &Refused) -> Response<Bytes> {
    let status = refused.status();
    let title = match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::SERVICE_UNAVAILABLE => "Not available now",
        _ => "That did not work",
    };
    let template = ProblemPage {
        style: assets::style(),
        title,
        message: Hostile::brief(&sentence(&refused.message())),
        hint: hint(refused),
        code: refused.code(),
        back: "/console",
        back_name: "To the console",
    };
    page(status, &template)
}

/// A form or a query that cannot be read.
pub(crate) fn unreadable() -> Refused {
    Refused::Request("the form has a member twice, or text that cannot be shown".to_owned())
}

/// A form of another session, or of another page.
pub(crate) fn stale_form() -> Refused {
    Refused::Request("this form belongs to a session that has ended".to_owned())
}

/// The page for those who would send a token in clear.
pub(crate) fn in_clear() -> Response<Bytes> {
    let template = ProblemPage {
        style: assets::style(),
        title: "Not over this connection",
        message: Hostile::brief("Anybody on the way could read your token and your session."),
        hint: "Set admin.tls and admin.public_url, or come through a tunnel to localhost.",
        code: "console.plaintext",
        back: "/console",
        back_name: "Try again",
    };
    page(StatusCode::FORBIDDEN, &template)
}

/// A path with a query, of names and values that are given.
fn path_with(path: &str, members: &[(&str, Option<&str>)]) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (name, value) in members {
        if let Some(value) = value {
            out.push(separator);
            separator = '&';
            out.push_str(name);
            out.push('=');
            keepgate_approval::push_encoded(&mut out, value);
        }
    }
    out
}
