//! The service: where a request came from, whose it is, then the page or the act.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use keepgate_admin::{Admin, Refused, Source, read_body};
use keepgate_approval::ConsoleUrl;
use keepgate_audit::Log;
use tokio::sync::Semaphore;
use tower::Service;

use crate::{
    arrival::{Arrival, Foreign},
    assets,
    form::Form,
    login::{LoginError, Logins},
    pages::{self, Desk},
    respond::{asset, see},
    route::{Missing, Route, page_after_login},
    sessions::{LoginSessions, MAX_AGE, Visitor},
};

/// Media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";
/// Pages with arguments that are written at once; each may be megabytes.
const MAX_RENDERING: usize = 4;

/// Settings of the console.
#[derive(Debug, Clone, Default)]
pub struct ConsoleSettings {
    /// Origin operators' browsers use (`admin.public_url`).
    pub public_url: Option<ConsoleUrl>,
    /// Whether the listener speaks TLS (`admin.tls`).
    pub has_tls: bool,
}

/// The console. Clones share everything.
#[derive(Debug)]
pub struct Console<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Clone for Console<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

#[derive(Debug)]
struct Inner<S> {
    admin: Admin<S>,
    settings: ConsoleSettings,
    sessions: LoginSessions,
    logins: Logins,
    rendering: Semaphore,
}

impl<S> Console<S> {
    /// Pages over `admin`; logins go on record in `log`.
    pub fn new(admin: Admin<S>, log: Log, settings: ConsoleSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                admin,
                settings,
                sessions: LoginSessions::default(),
                logins: Logins::new(log),
                rendering: Semaphore::new(MAX_RENDERING),
            }),
        }
    }

    /// Whether a request for `path` is the console's; the others are the API's.
    pub fn takes(path: &str) -> bool {
        Route::is_ours(path)
    }
}

/// A response that ends a request early.
type Early = Box<Response<Bytes>>;

impl<S: Source> Inner<S> {
    async fn answer<B>(&self, request: Request<B>) -> Response<Bytes>
    where
        B: Body + Send,
        B::Data: Send,
    {
        match self.answer_or_end(request).await {
            Ok(response) => response,
            Err(early) => *early,
        }
    }

    async fn answer_or_end<B>(&self, request: Request<B>) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let arrival = self.arrive(&request)?;
        let at = request.uri().path_and_query();
        let at = at.map_or("/", |at| at.as_str()).to_owned();
        let route = Route::at(request.method(), request.uri().path()).map_err(|missing| {
            let (refused, allow) = match missing {
                Missing::Path => (Refused::Path, None),
                Missing::Method(allow) => (Refused::Method(allow), Some(allow)),
            };
            let mut response = pages::problem(&refused);
            if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            Box::new(response)
        })?;
        if route == Route::Style {
            return Ok(asset("text/css; charset=utf-8", assets::STYLE));
        }
        if route == Route::Script {
            return Ok(asset("text/javascript; charset=utf-8", assets::SCRIPT));
        }
        arrival.check(&request).map_err(|foreign| match foreign {
            Foreign::Link => Box::new(pages::opening(page_after_login(&at))),
            Foreign::Sent => Box::new(pages::problem(&Refused::Origin)),
        })?;
        let query = Form::parse(request.uri().query().unwrap_or_default());
        let query = query.ok_or_else(|| Box::new(pages::problem(&pages::unreadable())))?;
        if route == Route::LoginPage {
            return Ok(pages::login(page_after_login(query.text("next")), None));
        }
        if route == Route::Login {
            return self.log_in(&arrival, request).await;
        }
        let id = arrival.session_id(request.headers());
        let visitor = id.and_then(|id| {
            let operators = self.admin.operators();
            self.sessions.find(id, operators, Instant::now())
        });
        let Some(visitor) = visitor else {
            return Err(Box::new(to_login(&at)));
        };
        self.visit(&arrival, visitor, route, query, request).await
    }

    /// The way a request came: by a name of this listener, and one on which a cookie is safe.
    fn arrive<B>(&self, request: &Request<B>) -> Result<Arrival, Early> {
        let host = self.admin.host_of(request);
        let host = host.map_err(|refused| Box::new(pages::problem(&refused)))?;
        let settings = &self.settings;
        let arrival = Arrival::new(&host, settings.has_tls, settings.public_url.as_ref());
        if arrival.is_private() {
            Ok(arrival)
        } else {
            Err(Box::new(pages::in_clear()))
        }
    }

    async fn log_in<B>(
        &self,
        arrival: &Arrival,
        request: Request<B>,
    ) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let form = form(request).await?;
        let next = page_after_login(form.text("next"));
        let operators = self.admin.operators();
        let (key, now) = (form.text("key"), Instant::now());
        let begun = self
            .logins
            .by_token(key, operators, &self.sessions, now)
            .await;
        let id = match begun {
            Ok(id) => id,
            Err(error @ (LoginError::Token | LoginError::Limited | LoginError::Unavailable)) => {
                return Ok(pages::login(next, Some(error)));
            }
        };
        let mut response = see(next);
        if let Some(cookie) = arrival.cookie(&id, MAX_AGE.as_secs()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// Answers an operator who is logged in.
    async fn visit<B>(
        &self,
        arrival: &Arrival,
        visitor: Visitor,
        route: Route,
        query: Form,
        request: Request<B>,
    ) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let path = request.uri().path().to_owned();
        let is_act = request.method() == http::Method::POST;
        let form = if is_act {
            let form = form(request).await?;
            if !visitor.sent_form(&path, form.text("token")) {
                return Err(Box::new(pages::problem(&pages::stale_form())));
            }
            form
        } else {
            Form::default()
        };
        if route == Route::Logout {
            self.sessions.end(&visitor);
            let mut response = see("/console/login");
            if let Some(cookie) = arrival.cookie("", 0) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            return Ok(response);
        }
        let desk = Desk::new(&self.admin, &visitor, &self.rendering, query).await;
        let answered = desk.answer(route, &form).await;
        Ok(answered.unwrap_or_else(|refused| pages::problem(&refused)))
    }
}

/// The form of a login, which leads back.
fn to_login(at: &str) -> Response<Bytes> {
    let next = page_after_login(at);
    let mut path = "/console/login?next=".to_owned();
    keepgate_approval::push_encoded(&mut path, next);
    see(&path)
}

/// Reads a form, short and soon.
async fn form<B>(request: Request<B>) -> Result<Form, Early>
where
    B: Body + Send,
    B::Data: Send,
{
    let bytes = read_body(request, FORM).await;
    let bytes = bytes.map_err(|refused| Box::new(pages::problem(&refused)))?;
    let text = std::str::from_utf8(&bytes).ok();
    let form = text.and_then(Form::parse);
    form.ok_or_else(|| Box::new(pages::problem(&pages::unreadable())))
}

impl<S, B> Service<Request<B>> for Console<S>
where
    S: Source,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Bytes>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            // An act goes on when the browser has gone: it must not stop half way.
            let acting = tokio::spawn(async move { inner.answer(request).await });
            Ok(acting.await.unwrap_or_else(|_bug| {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }))
        })
    }
}

#[cfg(test)]
mod tests;
