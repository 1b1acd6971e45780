//! Authn: from the `Authorization` header to a caller, and from the path to a server the caller's credential reaches.

use std::{collections::BTreeMap, sync::Arc};

use http::{Request, header};
use hyper::body::Incoming;
use keepgate_authn::{Authenticator, AuthnError};
use keepgate_call::{Caller, Code, EndpointPath, HttpTransport, Refusal, ServerName};
use keepgate_transport::http::server::Peer;
use tracing::debug;

use super::location::Paths;
use crate::{gate::Gate, render::challenge, settings::Settings, wall_clock::WallClock};

/// Knows callers and servers.
#[derive(Debug)]
pub struct Identify {
    authn: Arc<Authenticator>,
    clock: Arc<WallClock>,
    paths: Paths,
    /// The servers, and whether each is served over HTTP+SSE.
    servers: BTreeMap<ServerName, bool>,
}

impl Identify {
    /// A gate over the callers known and the servers of the settings.
    pub fn new(authn: &Arc<Authenticator>, settings: &Settings, clock: &Arc<WallClock>) -> Self {
        Self {
            authn: Arc::clone(authn),
            clock: Arc::clone(clock),
            paths: Paths::new(settings),
            servers: settings
                .servers
                .iter()
                .map(|(name, server)| (name.clone(), server.listen_sse))
                .collect(),
        }
    }

    /// Why nobody was made of a credential, and where tokens are taken, how to come by one. The same for every path, so
    /// that nobody learns from it which servers there are.
    fn refused(&self, error: AuthnError, path: &str) -> Refusal {
        let (code, wrong) = match error {
            AuthnError::Missing => (Code::AuthnMissing, None),
            // Only the holder of the right secret could know that a key was one, so nobody is told.
            AuthnError::Invalid
            | AuthnError::Secret(_)
            | AuthnError::Expired(_)
            | AuthnError::Revoked(_) => (Code::AuthnInvalid, Some(AuthnError::Invalid.to_string())),
            AuthnError::Token(error) => (Code::AuthnInvalid, Some(error.to_string())),
            AuthnError::Unavailable => return Refusal::new(Code::AuthnUnavailable).source(error),
        };
        debug!(%error, wrong, "a credential was refused");
        let mut refusal = Refusal::new(code).source(error);
        let resource = self.authn.resource();
        refusal.challenge =
            resource.map(|resource| challenge::token(resource, path, wrong.as_deref()));
        refusal
    }

    /// Whether there is a server of this name that is served over this transport.
    fn serves(&self, server: &ServerName, transport: HttpTransport) -> bool {
        match (self.servers.get(server), transport) {
            (Some(_), HttpTransport::Streamable) => true,
            (Some(listen_sse), HttpTransport::Sse) => *listen_sse,
            (None, _) => false,
        }
    }
}

/// An HTTP request of a known caller for a known server.
#[derive(Debug)]
pub struct Identified {
    /// The request.
    pub request: Request<Incoming>,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// For which server.
    pub server: ServerName,
    /// The transport of the endpoint.
    pub transport: HttpTransport,
    /// Of HTTP+SSE, the id in the address that a message is posted to; `None` for the event stream itself.
    pub channel: Option<Box<str>>,
}

impl Gate<Request<Incoming>> for Identify {
    type Out = Identified;

    async fn pass(&self, request: Request<Incoming>) -> Result<Identified, Refusal> {
        // Whoever asks: clients look for the pages of an authorization server at any server, and take a 401 for one that is
        // there. Only the form of the path counts, so nobody learns which servers there are.
        let whole = request.uri().path();
        let Some((server, endpoint)) = self.paths.endpoint(whole) else {
            return Err(Refusal::new(Code::PathUnknown));
        };
        let (transport, path, channel) = match endpoint {
            EndpointPath::Mcp => (HttpTransport::Streamable, whole, None),
            EndpointPath::Events => (HttpTransport::Sse, whole, None),
            // A token is for the stream and all that is posted for it.
            EndpointPath::Messages(id) => {
                let stream = whole.strip_suffix(id).unwrap_or(whole);
                (HttpTransport::Sse, stream.trim_end_matches('/'), Some(id))
            }
        };
        let mut lines = request.headers().get_all(header::AUTHORIZATION).iter();
        let line = lines.next().map(http::HeaderValue::as_bytes);
        if lines.next().is_some() {
            return Err(self.refused(AuthnError::Invalid, path));
        }
        let now = self.clock.now();
        let known = self.authn.authenticate(line, path, now).await;
        let caller = known.map_err(|error| {
            if error.is_expired() {
                // It stays so, whatever the clock is set to between two looks at it.
                self.clock.pin(now);
            }
            self.refused(error, path)
        })?;
        if let Some(peer) = request.extensions().get::<Peer>() {
            peer.authenticated();
        }
        // Only who is known learns which servers there are; and of those only what its credential reaches.
        let is_reached = self.serves(&server, transport) && caller.reaches(&server);
        if !is_reached || request.uri().query().is_some() {
            return Err(Refusal::new(Code::PathUnknown));
        }
        let channel = channel.map(Into::into);
        Ok(Identified {
            request,
            caller,
            server,
            transport,
            channel,
        })
    }
}
