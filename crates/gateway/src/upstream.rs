//! The way to the servers. Takes an [`Armed`] call and nothing less: nobody sends what was not judged, permitted and
//! recorded.

pub mod child;
pub mod duplex;
pub mod http;
mod matching;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ::http::HeaderValue;
use keepgate_call::{Code, Cut, Principal, Refusal, Reply, ServerName, UpstreamId};
use keepgate_credential::CredentialSet;
use keepgate_mcp::{
    encode,
    id::Id,
    message::{Message, Response},
    method::Method,
};
use keepgate_transport::http::client::ClientError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::{
    hash::HashMap,
    layers::credential::Armed,
    processes::ProcessOrigin,
    render,
    settings::{HttpTransport, Server, Settings, Upstream},
    shared::Shared,
};

/// The servers, each with its connections or processes.
#[derive(Debug, Clone)]
pub struct Upstreams(Arc<HashMap<ServerName, Kind>>, u64);

#[derive(Debug, Clone)]
enum Kind {
    Http(Arc<http::Http>),
    Sse(Arc<http::sse::Sse>),
    Child(Arc<child::Children>),
}

/// The settings could not be put into force.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A server could not be set up.
    #[error("failed to set up server `{server}`")]
    Server {
        /// Which.
        server: ServerName,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// The providers of credentials could not be set up.
    #[error("failed to set up credentials")]
    Credentials(#[from] keepgate_credential::SetUpError),
}

impl Upstreams {
    /// Sets up every server of the settings. Nothing is connected or started yet.
    ///
    /// # Errors
    /// [`SetUpError`] for a server whose certificates or address cannot be used.
    pub fn new(settings: &Settings, shared: &Shared) -> Result<Self, SetUpError> {
        let stack = shared.processes.begin_stack();
        let references = settings.references();
        let set_up = |(name, server): (&ServerName, &Server)| {
            let failed = |source| SetUpError::Server {
                server: name.clone(),
                source,
            };
            let kind = match &server.upstream {
                Upstream::Http { transport, .. } => {
                    let http = http::Http::new(name, server, &settings.limits, shared);
                    let http = Arc::new(http.map_err(failed)?);
                    match transport {
                        HttpTransport::Streamable => Kind::Http(http),
                        HttpTransport::Sse => {
                            Kind::Sse(Arc::new(http::sse::Sse::new(http, server, shared)))
                        }
                    }
                }
                Upstream::Child { .. } => {
                    let origin = ProcessOrigin {
                        server: name.clone(),
                        stack,
                        credentials: references.get(name).cloned().unwrap_or_default(),
                    };
                    let limits = &settings.limits;
                    let children = child::Children::new(origin, server, limits, shared);
                    Kind::Child(Arc::new(children))
                }
            };
            Ok((name.clone(), kind))
        };
        settings
            .servers
            .iter()
            .map(set_up)
            .collect::<Result<_, _>>()
            .map(|all| Self(Arc::new(all), stack))
    }

    /// Number of the stack these are of.
    pub(crate) fn stack(&self) -> u64 {
        self.1
    }

    /// Forgets the processes of the callers that `covers` holds for, with the credentials they were started with; whoever ends
    /// processes goes over [`crate::processes::Processes`].
    pub(crate) fn forget_callers(&self, covers: impl Fn(&ServerName, &Principal) -> bool) {
        for (server, kind) in self.0.iter() {
            match kind {
                Kind::Child(children) => children.forget_callers(|caller| covers(server, caller)),
                Kind::Http(_) | Kind::Sse(_) => {}
            }
        }
    }

    /// The side of `server` in a session of an earlier process. `None` for a process.
    pub(crate) fn resume(
        &self,
        server: &ServerName,
        state: LinkState,
        sets: &BTreeMap<ServerName, Arc<CredentialSet>>,
    ) -> Option<Link> {
        let own = sets.get(server);
        // What policy chose instead of the server's own is chosen again by each call; until then the server hears nothing.
        let own = own.filter(|own| state.reference.as_ref() == Some(own.text()));
        match self.0.get(server)? {
            Kind::Http(http) => Some(Link::Http {
                http: Arc::clone(http),
                session: state.session,
                credentials: own.cloned(),
                declines: Declines::default(),
            }),
            // The stream was the session.
            Kind::Sse(_) | Kind::Child(_) => None,
        }
    }

    /// Whether a server can be connected to, without sending it anything. `None` for one that is a process, and for one
    /// that is not configured any more.
    pub async fn is_reachable(&self, server: &ServerName) -> Option<bool> {
        match self.0.get(server)? {
            Kind::Http(http) => Some(http.is_reachable().await),
            Kind::Sse(sse) => Some(sse.is_reachable().await),
            Kind::Child(_) => None,
        }
    }

    /// Ends the processes that were idle for as long as their server allows, and forgets callers without one that have not
    /// called for `idle`.
    pub fn expire(&self, idle: Duration) {
        for kind in self.0.values() {
            match kind {
                Kind::Child(children) => children.expire(idle),
                Kind::Http(_) | Kind::Sse(_) => {}
            }
        }
    }
}

/// A session's side of a server.
#[derive(Debug)]
pub enum Link {
    /// A session of a server over HTTP.
    Http {
        /// The server.
        http: Arc<http::Http>,
        /// The server's own session id, if it gave one. Never leaves the gateway.
        session: Option<HeaderValue>,
        /// What the session was opened with, if the server wants credentials.
        credentials: Option<Arc<CredentialSet>>,
        /// Questions that are declined, each by a request of its own.
        declines: Declines,
    },
    /// A process, or an event stream.
    Duplex(duplex::Attached),
}

impl Link {
    /// Answers a question of the server in the client's stead: no. Nobody waits for it.
    ///
    /// # Errors
    /// If 16 answers before it are still on their way: the stream that brings more is ended.
    pub fn decline(&self, id: &Id) -> Result<(), Cut> {
        let Some(answer) = declined(id) else {
            return Ok(());
        };
        let permit = self.declines().reserve()?;
        match self {
            Self::Http {
                http,
                session,
                credentials,
                ..
            } => http.tell(
                answer.bytes().clone(),
                session.clone(),
                credentials.as_ref(),
                Some(permit),
            ),
            Self::Duplex(attached) => attached.decline(answer, permit),
        }
        Ok(())
    }

    fn declines(&self) -> &Declines {
        match self {
            Self::Http { declines, .. } => declines,
            Self::Duplex(attached) => attached.declines(),
        }
    }

    /// Tells a server over HTTP that nobody waits for its answer to `id` any more: in the revisions that have sessions a
    /// closed connection does not say so. Nobody waits for it. The others learn it from whoever held the call.
    pub fn cancel(&self, id: UpstreamId) {
        let params = format!(r#"{{"requestId":{id}}}"#);
        let bytes = encode::notification(&Method::Cancelled, Some(&params));
        match self {
            Self::Http {
                http,
                session,
                credentials,
                ..
            } => http.tell(bytes, session.clone(), credentials.as_ref(), None),
            Self::Duplex(_) => {}
        }
    }

    /// Kills the session's own process or closes its stream, and waits until that is done.
    ///
    /// Returns how many processes could not be ended.
    pub async fn kill(&self) -> usize {
        match self {
            Self::Duplex(attached) => attached.kill().await,
            Self::Http { .. } => 0,
        }
    }

    /// The part that outlives the gateway; `None` for a process or an event stream, which does not.
    pub(crate) fn state(&self) -> Option<LinkState> {
        match self {
            Self::Http {
                session,
                credentials,
                ..
            } => Some(LinkState {
                session: session.clone(),
                reference: credentials.as_ref().map(|it| Arc::clone(it.text())),
            }),
            Self::Duplex(_) => None,
        }
    }

    /// Tells the server that the session is over. Nobody waits for it.
    pub fn end(&self) {
        match self {
            Self::Http {
                http,
                session,
                credentials,
                ..
            } => http.end(session.clone(), credentials.as_ref()),
            // A process or a stream ends when nobody holds it any more.
            Self::Duplex(_) => {}
        }
    }
}

/// Bound on the declined questions of a session whose answers are on their way. Each takes a connection of its own, so a server
/// that asks without end, and takes no answer, would take every descriptor.
#[derive(Debug)]
pub struct Declines(Arc<Semaphore>);

impl Declines {
    /// Answers on their way at once; a server that asks honestly has one or two.
    const MAX: usize = 16;

    fn reserve(&self) -> Result<OwnedSemaphorePermit, Cut> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_full| {
            let detail = format!(
                "more than {} questions that were declined wait to be answered",
                Self::MAX
            );
            Cut::Ended(Box::new(Refusal::new(Code::UpstreamFlood).detail(detail)))
        })
    }
}

impl Default for Declines {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Self::MAX)))
    }
}

fn declined(id: &Id) -> Option<Response> {
    const REFUSED_BY_POLICY: i64 = -31001;
    let bytes = encode::error(Some(id), REFUSED_BY_POLICY, "refused by policy", None);
    match render::decoded(bytes) {
        Some(Message::Response(response)) => Some(response),
        Some(Message::Request(_) | Message::Notification(_)) | None => None,
    }
}

/// The part of a session's side of a server that outlives the gateway.
#[derive(Debug, Clone)]
pub(crate) struct LinkState {
    /// The server's own session id, if it gave one.
    pub(crate) session: Option<HeaderValue>,
    /// References of the credentials it was opened with, with spaces between.
    pub(crate) reference: Option<Arc<str>>,
}

/// Sends calls to the servers they are for.
#[derive(Debug, Clone)]
pub struct Router {
    upstreams: Upstreams,
}

impl Router {
    /// A router to `upstreams`.
    pub fn new(upstreams: &Upstreams) -> Self {
        Self {
            upstreams: upstreams.clone(),
        }
    }
}

impl Service<Armed> for Router {
    type Response = Reply;
    type Error = Refusal;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, armed: Armed) -> Self::Future {
        let (bound, headers, credential, clearance) = armed.into_parts();
        match self.upstreams.0.get(&bound.call.server) {
            Some(Kind::Http(http)) => {
                let sent = http::send(Arc::clone(http), bound, headers, (credential, clearance));
                Box::pin(sent)
            }
            Some(Kind::Sse(sse)) => {
                let terms = (credential, clearance);
                Box::pin(http::sse::send(Arc::clone(sse), bound, headers, terms))
            }
            Some(Kind::Child(children)) => {
                let terms = (credential, clearance);
                Box::pin(child::send(Arc::clone(children), bound, terms))
            }
            None => Box::pin(std::future::ready(Err(Refusal::new(Code::PathUnknown)))),
        }
    }
}

/// The refusal of a server's message over the limit, in whatever form it came.
fn too_long() -> Refusal {
    Refusal::new(Code::UpstreamInvalid)
        .detail("a message is longer than `limits.result`")
        .over("limits.result")
}
