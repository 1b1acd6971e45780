//! The service: where a request came from, whose it is, then the page or the act.

use std::{
    convert::Infallible,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use keepgate_admin::{Admin, BodyLimits, PeerConnection, Refused, Source, complete, read_body};
use keepgate_approval::ConsoleUrl;
use keepgate_audit::Log;
use tokio::sync::Semaphore;
use tower::Service;

use crate::{
    arrival::{Arrival, Foreign, SessionCookie},
    assets,
    form::Form,
    login::{LoginError, Logins},
    pages::{self, Desk},
    pending::PendingCounts,
    respond::{asset, see},
    route::{Missing, Route, page_after_login},
    sessions::{LoginSessions, Visitor},
};

/// Media type of forms.
const FORM: &str = "application/x-www-form-urlencoded";
/// Bounds of a login's form, which anybody may send: a token and a path.
const LOGIN_BODY: BodyLimits = BodyLimits {
    bytes: 4 * 1024,
    time: Duration::from_secs(3),
};
/// Forms of logins that are read at once. The listener has 128 connections, and one that sends a form is not idle.
const MAX_LOGINS: usize = 16;
/// Pages with arguments that are written at once; each may be megabytes.
const MAX_RENDERING: usize = 4;

/// Settings of the console.
#[derive(Debug, Clone, Default)]
pub struct ConsoleSettings {
    /// Origin operators' browsers use (`admin.public_url`).
    pub public_url: Option<ConsoleUrl>,
    /// Whether the listener speaks TLS (`admin.tls`).
    pub has_tls: bool,
    /// Directory of the audit log, which is searched.
    pub audit: PathBuf,
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
    reading: Semaphore,
    rendering: Semaphore,
    searching: Semaphore,
    pending: PendingCounts,
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
                reading: Semaphore::new(MAX_LOGINS),
                searching: Semaphore::new(1),
                pending: PendingCounts::default(),
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
        let arrival = match self.arrive(&request) {
            Ok(arrival) => arrival,
            Err(early) => return *early,
        };
        let answered = self.answer_or_end(&arrival, request).await;
        let mut response = answered.unwrap_or_else(|early| *early);
        arrival.protect(response.headers_mut());
        response
    }

    async fn answer_or_end<B>(
        &self,
        arrival: &Arrival,
        request: Request<B>,
    ) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let at = request.uri().path_and_query();
        let at = at.map_or("/", |at| at.as_str()).to_owned();
        let route = Route::at(request.method(), request.uri().path());
        if route == Ok(Route::Style) {
            return Ok(asset("text/css; charset=utf-8", assets::STYLE));
        }
        if route == Ok(Route::Script) {
            return Ok(asset("text/javascript; charset=utf-8", assets::SCRIPT));
        }
        arrival.check(&request).map_err(|foreign| {
            Box::new(match (&route, foreign) {
                (Err(missing), _) => missing_page(*missing, None),
                (Ok(_), Foreign::Link) => pages::opening(page_after_login(&at)),
                (Ok(_), Foreign::Sent) => pages::problem(&Refused::Origin),
            })
        })?;
        let query = Form::parse(request.uri().query().unwrap_or_default());
        let query = query.ok_or_else(|| Box::new(pages::problem(&pages::unreadable())))?;
        if route == Ok(Route::LoginPage) {
            let next = page_after_login(query.text("next"));
            return Ok(pages::login(arrival.channel(), next, None));
        }
        if route == Ok(Route::Login) {
            return self.log_in(arrival, request).await;
        }
        // A page that is read again by itself is nobody's presence.
        let is_again = route == Ok(Route::Decisions) && query.given("again").is_some();
        let Some(visitor) = self.visitor(arrival, &request, !is_again)? else {
            return Ok(match route {
                Err(missing) => missing_page(missing, None),
                Ok(Route::Logout) => to_login("/console"),
                Ok(route) if request.method() == Method::POST => {
                    pages::session_ended(&login_path(&route.form_page(request.uri().query())))
                }
                Ok(_) => to_login(&at),
            });
        };
        PeerConnection::note_operator(request.extensions());
        if route == Ok(Route::Logout) {
            return self.log_out(arrival, &visitor, request).await;
        }
        let mut desk = Desk::new(&self.admin, &visitor, self.tools(), query);
        match route {
            Err(missing) => Ok(missing_page(missing, Some(desk.problem_frame().await))),
            Ok(route) if request.method() == Method::POST => {
                self.act(&mut desk, route, request).await
            }
            Ok(route) => Ok(desk.respond(route, &Form::default()).await),
        }
    }

    /// The way a request came: by a name of this listener, and one on which a cookie is safe.
    fn arrive<B>(&self, request: &Request<B>) -> Result<Arrival, Early> {
        let host = self.admin.host_of(request);
        let host = host.map_err(|refused| Box::new(pages::problem(&refused)))?;
        let settings = &self.settings;
        let url = settings.public_url.as_ref();
        let arrival = Arrival::new(&host, request.headers(), settings.has_tls, url);
        if arrival.is_private() {
            Ok(arrival)
        } else {
            Err(Box::new(pages::in_clear()))
        }
    }

    /// The operator whose session the request names, if it lasts.
    fn visitor<B>(
        &self,
        arrival: &Arrival,
        request: &Request<B>,
        is_present: bool,
    ) -> Result<Option<Visitor>, Early> {
        match arrival.session(request.headers()) {
            SessionCookie::Missing => Ok(None),
            SessionCookie::Several(name) => Err(Box::new(pages::two_cookies(name))),
            SessionCookie::Id(id) => {
                let (operators, now) = (self.admin.operators(), Instant::now());
                let channel = arrival.channel();
                Ok(if is_present {
                    self.sessions.find(id, channel, operators, now)
                } else {
                    self.sessions.peek(id, channel, operators, now)
                })
            }
        }
    }

    fn tools(&self) -> pages::Tools<'_> {
        pages::Tools {
            sessions: &self.sessions,
            rendering: &self.rendering,
            audit: &self.settings.audit,
            searching: &self.searching,
            pending: &self.pending,
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
        let channel = arrival.channel();
        let extensions = request.extensions().clone();
        let form = {
            let Ok(_place) = self.reading.try_acquire() else {
                return Ok(pages::login(channel, "/console", Some(LoginError::Busy)));
            };
            let form = read_form(request, LOGIN_BODY).await;
            form.map_err(|refused| Box::new(pages::problem(&refused)))?
        };
        let next = page_after_login(form.text("next"));
        let operators = self.admin.operators();
        let (key, now) = (form.text("key"), Instant::now());
        let begun = self
            .logins
            .by_token(key, operators, &self.sessions, (channel, now))
            .await;
        let id = match begun {
            Ok(id) => id,
            Err(error) => return Ok(pages::login(channel, next, Some(error))),
        };
        PeerConnection::note_operator(&extensions);
        let mut response = see(next);
        if let Some(cookie) = arrival.cookie(&id, channel.max_age().as_secs()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    async fn log_out<B>(
        &self,
        arrival: &Arrival,
        visitor: &Visitor,
        request: Request<B>,
    ) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let path = request.uri().path().to_owned();
        let form = read_form(request, BodyLimits::OPERATOR).await;
        let form = form.map_err(|refused| Box::new(pages::problem(&refused)))?;
        if !visitor.sent_form(&path, form.text("token")) {
            return Ok(pages::problem(&pages::stale_form()));
        }
        self.sessions.end(visitor);
        let mut response = see("/console/login");
        if let Some(cookie) = arrival.cookie("", 0) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// Carries out the act of a form: of this session, and confirmed with the token where a cookie is too little.
    async fn act<B>(
        &self,
        desk: &mut Desk<'_, S>,
        route: Route,
        request: Request<B>,
    ) -> Result<Response<Bytes>, Early>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let path = request.uri().path().to_owned();
        let form = match read_form(request, BodyLimits::OPERATOR).await {
            Ok(form) => form,
            Err(refused) => return Ok(desk.problem(&refused).await),
        };
        let visitor = desk.visitor();
        if !visitor.sent_form(&path, form.text("token")) {
            return Ok(desk.problem(&pages::stale_form()).await);
        }
        if visitor.channel.asks_token() && route.is_act() {
            let (key, operators) = (form.text("key"), self.admin.operators());
            let confirming = self.logins.confirm(key, visitor, operators, Instant::now());
            if confirming.await.is_err() {
                desk.refuse(Refused::Token);
            }
        }
        Ok(desk.respond(route, &form).await)
    }
}

/// The page of a path that leads nowhere.
fn missing_page(missing: Missing, frame: Option<pages::Frame>) -> Response<Bytes> {
    let (refused, allow) = match missing {
        Missing::Path => (Refused::Path, None),
        Missing::Method(allow) => (Refused::Method(allow), Some(allow)),
    };
    let mut response = match frame {
        Some(frame) => pages::problem_in(frame, &refused),
        None => pages::problem(&refused),
    };
    if let Some(allow) = allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Path of the form of a login, which leads back to `at`.
fn login_path(at: &str) -> String {
    let mut path = "/console/login?next=".to_owned();
    keepgate_approval::push_encoded(&mut path, page_after_login(at));
    path
}

fn to_login(at: &str) -> Response<Bytes> {
    see(&login_path(at))
}

/// Reads a form, short and soon.
async fn read_form<B>(request: Request<B>, limits: BodyLimits) -> Result<Form, Refused>
where
    B: Body + Send,
    B::Data: Send,
{
    let bytes = read_body(request, FORM, limits).await?;
    let text = std::str::from_utf8(&bytes).ok();
    text.and_then(Form::parse).ok_or_else(pages::unreadable)
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
        Box::pin(complete(async move { inner.answer(request).await }))
    }
}

#[cfg(test)]
mod tests;
