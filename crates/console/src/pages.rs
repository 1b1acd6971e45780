//! The pages: each a template, and what it shows.

mod approval;
mod audit;
mod frame;
mod inbox;
mod kills;
mod lists;
mod policy;

use std::{path::Path, sync::Arc, time::SystemTime};

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{Admin, Operator, Permission, Refused, Source};
use keepgate_call::Tenant;
use tokio::sync::Semaphore;

use crate::{
    form::Form,
    login::LoginError,
    moment::length,
    pending::{Counts, PendingCounts},
    respond::{page, see},
    route::Route,
    sessions::{Channel, LoginSessions, Visitor},
    text::Hostile,
};
pub(crate) use frame::Frame;
use frame::Nav;

type Answered = Result<Response<Bytes>, Refused>;

/// Parts of the console that its pages work with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools<'a> {
    /// Sessions of operators.
    pub(crate) sessions: &'a LoginSessions,
    /// Turns of pages that may be megabytes.
    pub(crate) rendering: &'a Semaphore,
    /// Directory of the audit log, and turns of searches in it.
    pub(crate) audit: &'a Path,
    pub(crate) searching: &'a Semaphore,
    /// Numbers of approvals that wait.
    pub(crate) pending: &'a PendingCounts,
}

/// One request of an operator who is logged in.
#[derive(Debug)]
pub(crate) struct Desk<'a, S> {
    admin: &'a Admin<S>,
    visitor: &'a Visitor,
    tools: Tools<'a>,
    query: Form,
    now: SystemTime,
    /// Reason no act happens, found before it was tried.
    refused: Option<Refused>,
}

impl<'a, S: Source> Desk<'a, S> {
    /// A request with this query.
    pub(crate) fn new(
        admin: &'a Admin<S>,
        visitor: &'a Visitor,
        tools: Tools<'a>,
        query: Form,
    ) -> Self {
        Self {
            admin,
            visitor,
            tools,
            query,
            now: SystemTime::now(),
            refused: None,
        }
    }

    /// The operator and their session.
    pub(crate) fn visitor(&self) -> &'a Visitor {
        self.visitor
    }

    /// Keeps acts from happening: their pages show the reason, with what was written.
    pub(crate) fn refuse(&mut self, refused: Refused) {
        self.refused = Some(refused);
    }

    /// The response: a page, the way to the one an act leads to, or a page with the reason there is none.
    pub(crate) async fn respond(&self, route: Route, form: &Form) -> Response<Bytes> {
        match self.answer(route, form).await {
            Ok(response) => response,
            Err(refused) => self.problem(&refused).await,
        }
    }

    async fn answer(&self, route: Route, form: &Form) -> Answered {
        match route {
            Route::Home => Ok(see("/console/approvals")),
            Route::Inbox => self.inbox().await,
            Route::Approval(id) => self.approval(&id, None).await,
            Route::Decide(id) => self.decide(&id, form).await,
            Route::Revoke(id) => self.revoke(&id, form).await,
            Route::Kills => self.kills(None).await,
            Route::Preview => self.preview(form).await,
            Route::SetKill => self.set_kill(form).await,
            Route::ClearKill(id) => self.clear_kill(&id, form).await,
            Route::Sessions => Ok(self.sessions().await),
            Route::Servers => Ok(self.servers().await),
            Route::Readiness => Ok(self.readiness().await),
            Route::Policy => Ok(self.policy().await),
            Route::Audit => self.audit().await,
            Route::Decisions => self.decisions().await,
            // Answered before anybody is asked who they are, or with the end of it.
            Route::Style | Route::Script | Route::LoginPage | Route::Login | Route::Logout => {
                Err(Refused::Path)
            }
        }
    }

    /// Does what `act` does, unless something speaks against every act.
    async fn try_act<T>(
        &self,
        act: impl Future<Output = Result<T, Refused>>,
    ) -> Result<T, Refused> {
        match &self.refused {
            Some(refused) => Err(refused.clone()),
            None => act.await,
        }
    }

    /// A page with a reason, and with the way to every other page.
    pub(crate) async fn problem(&self, refused: &Refused) -> Response<Bytes> {
        problem_in(self.problem_frame().await, refused)
    }

    /// The frame of a page with a reason.
    pub(crate) async fn problem_frame(&self) -> Frame {
        self.frame(None).await
    }

    fn operator(&self) -> &Operator {
        &self.visitor.operator
    }

    fn may(&self, permission: Permission) -> bool {
        self.operator().may(permission)
    }

    /// The tenant whose approvals are shown.
    fn tenant(&self) -> Tenant {
        let named = self.query.given("tenant");
        named.map(Tenant::new).unwrap_or_default()
    }

    async fn frame(&self, current: Option<Nav>) -> Frame {
        let counts = self.pending().await;
        // Other pages have queries of their own, in which a tenant is that of a kill.
        let tenant = match current {
            Some(Nav::Approvals) => self.tenant(),
            Some(
                Nav::Kills
                | Nav::Decisions
                | Nav::Audit
                | Nav::Sessions
                | Nav::Servers
                | Nav::Policy
                | Nav::Readiness,
            )
            | None => Tenant::default(),
        };
        Frame::new(self.visitor, current, &tenant, counts, self.now)
    }

    async fn pending(&self) -> Option<Arc<Counts>> {
        let admin = self.admin.clone();
        let read = async move { admin.pending_approvals().await };
        self.tools.pending.latest(read).await
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
        Refused::Unavailable => {
            "Readiness and the log have the cause. The kill switch works without it."
        }
        Refused::Log => {
            "Readiness and the log have the cause; `keepgate audit verify` finds damage."
        }
        Refused::OutcomeUnknown => "Open the page again: it shows whether it was decided.",
        Refused::Role => "An admin may give you another role.",
        Refused::Own => "Ask another security_responder, or an admin.",
        Refused::Path | Refused::NoApproval(_) | Refused::Unknown(_) => {
            "It may have ended and been removed, or belong to another tenant."
        }
        Refused::Origin => "Open the console itself and try there.",
        Refused::Host => "Use the address of the listener, or add the name to admin.hosts.",
        Refused::Body => "A form of this console is a few kilobytes.",
        Refused::Token => "Over http a cookie is too little: every act takes your operator token.",
        Refused::NoTarget(_) | Refused::Undelivered(_) => {
            "The configuration has the targets of notifications, the log has the cause."
        }
        Refused::Over(_) | Refused::Method(_) | Refused::Media | Refused::Request(_) => {
            "Go back and try again."
        }
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    problem: Option<&'static str>,
    next: &'a str,
    idle: String,
    age: String,
    is_plain: bool,
}

/// The form of a login, which leads to `next`, a page of ours.
pub(crate) fn login(channel: Channel, next: &str, error: Option<LoginError>) -> Response<Bytes> {
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
        Some(LoginError::Busy) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Some("Too many logins are being sent at this moment. Try again in a few seconds."),
        ),
    };
    let template = LoginPage {
        problem,
        next,
        idle: length(channel.max_idle().as_secs()),
        age: length(channel.max_age().as_secs()),
        is_plain: channel.asks_token(),
    };
    page(status, &template)
}

#[derive(Template)]
#[template(path = "opening.html")]
struct OpeningPage<'a> {
    path: &'a str,
}

/// A page that goes on to `path`: the request for it comes from here and has the cookie, which browsers leave out where a link
/// elsewhere was followed.
pub(crate) fn opening(path: &str) -> Response<Bytes> {
    page(StatusCode::OK, &OpeningPage { path })
}

/// A page for one who is not logged in, or whose login does not matter.
#[derive(Template)]
#[template(path = "notice.html")]
struct NoticePage<'a> {
    title: &'static str,
    message: Hostile,
    hint: &'static str,
    code: &'static str,
    back: &'a str,
    back_name: &'static str,
}

/// A page with a reason for one who is logged in.
#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    title: &'static str,
    problem: Problem,
}

/// Title of a page with a reason.
fn title(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::SERVICE_UNAVAILABLE => "Not available now",
        _ => "That did not work",
    }
}

/// The page of a request that has no other.
pub(crate) fn problem(refused: &Refused) -> Response<Bytes> {
    let status = refused.status();
    let template = NoticePage {
        title: title(status),
        message: Hostile::brief(&sentence(&refused.message())),
        hint: hint(refused),
        code: refused.code(),
        back: "/console",
        back_name: "To the console",
    };
    page(status, &template)
}

/// The same with the navigation: the kill switch is never further than a click.
pub(crate) fn problem_in(frame: Frame, refused: &Refused) -> Response<Bytes> {
    let status = refused.status();
    let template = ProblemPage {
        frame,
        title: title(status),
        problem: Problem::of(refused),
    };
    page(status, &template)
}

/// A form or a query that cannot be read.
pub(crate) fn unreadable() -> Refused {
    Refused::Request("the form has a member twice, or text that cannot be shown".to_owned())
}

/// A form of another session, or of another page.
pub(crate) fn stale_form() -> Refused {
    Refused::Request("nothing was done: this form is not of this page and this login".to_owned())
}

/// The page for those who would send a token in clear.
pub(crate) fn in_clear() -> Response<Bytes> {
    let template = NoticePage {
        title: "Not over this connection",
        message: Hostile::brief("Anybody on the way could read your token and your session."),
        hint: "Set admin.tls and admin.public_url, come by https where a proxy takes both, or through a tunnel to localhost.",
        code: "console.plaintext",
        back: "/console",
        back_name: "Try again",
    };
    page(StatusCode::FORBIDDEN, &template)
}

/// The page of an act whose session is over: `login` leads back to its form.
pub(crate) fn session_ended(login: &str) -> Response<Bytes> {
    let template = NoticePage {
        title: "Nothing was done",
        message: Hostile::brief("Your session had ended when this form arrived."),
        hint: "Sign in again; the form is where you left it, and has to be filled in again.",
        code: "console.session_ended",
        back: login,
        back_name: "Sign in and go back to the form",
    };
    page(StatusCode::UNAUTHORIZED, &template)
}

/// The page of a request with two cookies of our name: which of them is ours is not known here.
pub(crate) fn two_cookies(name: &str) -> Response<Bytes> {
    let message = format!(
        "This browser sends two cookies called {name}: another program at this host has set one."
    );
    let template = NoticePage {
        title: "Two sessions in one browser",
        message: Hostile::whole(&message),
        hint: "Nothing was done. Delete the cookies of this host in the browser, or open the console in a private window, and sign in again.",
        code: "console.two_cookies",
        back: "/console/login",
        back_name: "Sign in again",
    };
    page(StatusCode::BAD_REQUEST, &template)
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
