//! The service: who may ask, then the page.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::{Serialize, de::DeserializeOwned};
use tower::Service;

use keepgate_approval::{Approvals, without_default_port};

use crate::approvals::{self, ApprovalListing, Desk};
use crate::kills::{KillListing, Kills, parse};
use crate::operators::{ACCOUNT, Operator, Operators};
use crate::page::{Content, Page};
use crate::refused::Refused;
use crate::route::Route;
use crate::source::Source;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Most bytes.
    pub bytes: usize,
    /// Time for all of it.
    pub time: Duration,
}

impl BodyLimits {
    /// Bounds for an operator who is known.
    pub const OPERATOR: Self = Self {
        bytes: 16 * 1024,
        time: Duration::from_secs(10),
    };
}

/// The listener's connection of a request, in the request's extensions. Strangers' connections give way when places get scarce;
/// an operator's does not.
#[derive(Clone)]
pub struct PeerConnection(Arc<dyn Fn() + Send + Sync>);

impl PeerConnection {
    /// A connection whose listener learns by this function that an operator is at its other end.
    pub fn new(authenticated: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(authenticated))
    }

    /// Notes that the connection these extensions belong to is an operator's.
    pub fn note_operator(extensions: &http::Extensions) {
        if let Some(Self(authenticated)) = extensions.get() {
            authenticated();
        }
    }
}

/// What the service answers with.
pub type Response = http::Response<Bytes>;

/// The operators' service. Clones share everything.
#[derive(Debug)]
pub struct Admin<S> {
    pub(crate) inner: Arc<Inner<S>>,
}

impl<S> Clone for Admin<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

/// What clones share.
#[derive(Debug)]
pub(crate) struct Inner<S> {
    pub(crate) source: S,
    pub(crate) operators: Arc<Operators>,
    pub(crate) kills: Kills,
    pub(crate) approvals: Desk,
    hosts: Vec<String>,
}

impl<S: Source> Admin<S> {
    /// A service that shows `source` to `operators` and lets those who may work `kills` and `approvals`. `hosts` are names a `Host` header may carry beside
    /// addresses and `localhost`, lower case, with or without a port.
    pub fn new(
        source: S,
        operators: Arc<Operators>,
        kills: Kills,
        approvals: Option<Approvals>,
        hosts: Vec<String>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                source,
                operators,
                kills,
                approvals: Desk(approvals),
                hosts,
            }),
        }
    }
}

impl<S: Source> Admin<S> {
    /// The name a request is for, which has to be one of this listener.
    ///
    /// # Errors
    /// [`Refused::Host`] for another one: DNS rebinding.
    pub fn host_of<B>(&self, request: &Request<B>) -> Result<Authority, Refused> {
        let host = host(request).ok_or(Refused::Host)?;
        if self.is_ours(&host) {
            Ok(host)
        } else {
            Err(Refused::Host)
        }
    }

    /// The answer to a request: host and origin first, then who asks, and only then whether there is such a page and
    /// whether the asker may.
    async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: Body + Send,
        B::Data: Send,
    {
        let path = request.uri().path().to_owned();
        let answered = match self.admit(&request) {
            Ok(admitted) => self.act(admitted, request).await,
            Err(refused) => Err(refused),
        };
        match answered {
            Ok(content) => respond(content, None),
            Err(refused) => {
                tracing::debug!(path, code = refused.code(), "admin request refused");
                let (content, extra) = refused.content();
                respond(content, extra)
            }
        }
    }

    /// Where a request leads, and who may go there.
    fn admit<B>(&self, request: &Request<B>) -> Result<Admitted, Refused> {
        let host = self.host_of(request)?;
        if !is_same_origin(request.headers(), &host) {
            return Err(Refused::Origin);
        }
        let path = request.uri().path();
        if let Some(page) = Page::at(path).filter(|page| page.is_public()) {
            return match *request.method() {
                Method::GET | Method::HEAD => Ok(Admitted::Public(page)),
                // Who has no token learns nothing of methods.
                _ if self.who(request.headers()).is_none() => Err(Refused::Token),
                _ => Err(Refused::Method("GET, HEAD")),
            };
        }
        let operator = self.who(request.headers()).ok_or(Refused::Token)?;
        PeerConnection::note_operator(request.extensions());
        let route = Route::at(request.method(), path)?;
        match route.needs() {
            Some(permission) if !operator.may(permission) => Err(Refused::Role),
            Some(_) | None => Ok(Admitted::Operator(operator, route)),
        }
    }

    /// Does what was asked.
    async fn act<B>(&self, admitted: Admitted, request: Request<B>) -> Result<Content, Refused>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let (operator, route) = match admitted {
            Admitted::Public(page) => return Ok(page.content(&self.inner.source)),
            Admitted::Operator(operator, route) => (operator, route),
        };
        match route {
            Route::Page(page) => Ok(page.content(&self.inner.source)),
            Route::Kills => {
                let listing = KillListing::parse(request.uri().query());
                let listing = listing.map_err(Refused::Request)?;
                shown(&self.list_kills(&operator, &listing)?)
            }
            Route::Set => {
                let setting = read(request).await?;
                let set = self.set_kill(&operator, &setting).await?;
                Ok(Content::json(StatusCode::CREATED, &set))
            }
            Route::Clear(id) => {
                let clearing = read(request).await?;
                shown(&self.clear_kill(&operator, &id, &clearing).await?)
            }
            Route::Drill => {
                let drill = read(request).await?;
                shown(&self.drill(&operator, &drill).await?)
            }
            Route::Approvals => {
                let listing = ApprovalListing::parse(request.uri().query())?;
                shown(&self.list_approvals(&operator, &listing).await?)
            }
            Route::Approval(id) => {
                let tenant = approvals::tenant(request.uri().query())?;
                shown(&self.show_approval(&operator, &tenant, &id).await?)
            }
            Route::Decide(id) => {
                let tenant = approvals::tenant(request.uri().query())?;
                let decision = read(request).await?;
                let which = (&tenant, &*id);
                shown(&self.decide(&operator, which, &decision).await?)
            }
            Route::Revoke(id) => {
                let tenant = approvals::tenant(request.uri().query())?;
                let revocation = read(request).await?;
                let which = (&tenant, &*id);
                shown(&self.revoke(&operator, which, &revocation).await?)
            }
            Route::TestNotification(target) => {
                shown(&self.test_notification(&operator, &target).await?)
            }
        }
    }

    /// Whether the name is one of this listener. DNS rebinding needs a name an attacker owns; an address is nobody's.
    fn is_ours(&self, host: &Authority) -> bool {
        let name = host.host();
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        bare.parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self
                .inner
                .hosts
                .iter()
                .any(|known| known == name || known == host.as_str())
    }

    /// Who asks: by exactly one `Authorization: Bearer` line with the token of an operator.
    fn who(&self, headers: &HeaderMap) -> Option<Operator> {
        let line = only(headers, &header::AUTHORIZATION)?;
        let (scheme, rest) = line.as_bytes().split_first_chunk::<6>()?;
        let token = rest.strip_prefix(b" ").map(<[u8]>::trim_ascii)?;
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return None;
        }
        let account = only(headers, &HeaderName::from_static(ACCOUNT));
        let account = account.and_then(|account| account.to_str().ok());
        Some(self.inner.operators.who(token)?.claiming(account))
    }
}

/// Who may have what.
enum Admitted {
    /// Everybody this page.
    Public(Page),
    /// An operator, this.
    Operator(Operator, Route),
}

fn shown(value: &impl Serialize) -> Result<Content, Refused> {
    Ok(Content::json(StatusCode::OK, value))
}

/// Reads a body: JSON by its type, short, soon, and nothing in it that is not known.
async fn read<B, T>(request: Request<B>) -> Result<T, Refused>
where
    B: Body + Send,
    B::Data: Send,
    T: DeserializeOwned,
{
    let limits = BodyLimits::OPERATOR;
    let bytes = read_body(request, "application/json", limits).await?;
    parse(&bytes).map_err(Refused::Request)
}

/// Reads a body of the media type `media` within `limits`.
///
/// # Errors
/// [`Refused::Media`] for another type or an encoded body, [`Refused::Body`] for one that is too long or too slow.
pub async fn read_body<B>(
    request: Request<B>,
    media: &str,
    limits: BodyLimits,
) -> Result<Vec<u8>, Refused>
where
    B: Body + Send,
    B::Data: Send,
{
    let expected = media;
    let media = only(request.headers(), &header::CONTENT_TYPE)
        .and_then(|line| line.to_str().ok())
        .and_then(|line| line.split(';').next())
        .map(str::trim);
    let encoded = request.headers().contains_key(header::CONTENT_ENCODING);
    if encoded || !media.is_some_and(|media| media.eq_ignore_ascii_case(expected)) {
        return Err(Refused::Media);
    }
    let mut body = std::pin::pin!(request.into_body());
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_broken| Refused::Body)?;
            if let Ok(mut data) = frame.into_data() {
                if bytes.len() + data.remaining() > limits.bytes {
                    return Err(Refused::Body);
                }
                while data.has_remaining() {
                    let chunk = data.chunk();
                    bytes.extend_from_slice(chunk);
                    let length = chunk.len();
                    data.advance(length);
                }
            }
        }
        Ok(bytes)
    };
    match tokio::time::timeout(limits.time, whole).await {
        Ok(bytes) => bytes,
        Err(_elapsed) => Err(Refused::Body),
    }
}

/// The name the request is for (RFC 9110 §7.2): of the target in HTTP/2, of the one `Host` line in HTTP/1.1.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let lines = request.headers().get_all(header::HOST).iter().count();
    let named = match (request.uri().authority(), lines) {
        (Some(authority), 0) => authority.as_str().to_owned(),
        (target, 1) => {
            let line = only(request.headers(), &header::HOST)?
                .to_str()
                .ok()?
                .to_owned();
            // Two names in one request are one too many.
            if target.is_some_and(|target| !target.as_str().eq_ignore_ascii_case(&line)) {
                return None;
            }
            line
        }
        (Some(_) | None, _) => return None,
    };
    let authority: Authority = named.to_ascii_lowercase().parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether no web page of another site sent the request.
fn is_same_origin(headers: &HeaderMap, host: &Authority) -> bool {
    if !headers.contains_key(header::ORIGIN) {
        return true;
    }
    let origin = only(headers, &header::ORIGIN).and_then(|line| line.to_str().ok());
    let parts = origin.and_then(|origin| origin.split_once("://"));
    parts.is_some_and(|(scheme, authority)| {
        // A proxy may write the port that browsers leave out.
        let plain = |authority| without_default_port(scheme, authority);
        plain(authority).eq_ignore_ascii_case(plain(host.as_str()))
    })
}

/// The value of a header that stands there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then_some(line)
}

/// Builds the response; nothing an operator sees may be kept by caches or read as something else.
fn respond(content: Content, extra: Option<(header::HeaderName, HeaderValue)>) -> Response {
    let mut response = Response::new(Bytes::from(content.body));
    *response.status_mut() = content.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.form));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.extend(extra);
    response
}

impl<S, B> Service<Request<B>> for Admin<S>
where
    S: Source,
    B: Body + Send + 'static,
    B::Data: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let admin = self.clone();
        Box::pin(complete(async move { admin.answer(request).await }))
    }
}

/// Answers a request to its end, also when who sent it has gone: an act must not stop half way. A bug is answered with 500.
pub async fn complete(
    answering: impl Future<Output = Response> + Send + 'static,
) -> Result<Response, Infallible> {
    let answered = tokio::spawn(answering).await;
    Ok(answered.unwrap_or_else(|_bug| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    }))
}

#[cfg(test)]
mod tests;
