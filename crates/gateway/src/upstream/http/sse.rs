//! Servers over HTTP+SSE, the transport of 2024-11-05. A session has an event stream of its own, which ends with it; see
//! [`keepgate_transport::http::sse`].

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use keepgate_call::{Answer, Ask, Code, Refusal, Reply};
use keepgate_mcp::{
    message::{Body, Message},
    repair,
};
use keepgate_transport::{
    Clearance,
    duplex::{CallMode, Connection, Dispatch, DuplexError, Envelope, OwnEnvelope, Owner},
    http::sse::{AddressError, Decode, OpenError, SseSettings},
};
use tokio_util::task::TaskTracker;

use super::{
    super::{
        Link,
        duplex::{self, Attached, Failure, Terms},
    },
    Http, failed, own, refused_with, rejected, repaired, within,
};
use crate::{
    inspection::Inspection,
    layers::{
        credential::Credential,
        session::{Binding, Bound},
    },
    settings::Server,
    shared::Shared,
};

/// A session is the only client of its stream.
const OWNER: Owner = Owner(0);

/// One server.
#[derive(Debug)]
pub struct Sse {
    http: Arc<Http>,
    terms: Terms,
    tasks: TaskTracker,
}

impl Sse {
    pub(in crate::upstream) fn new(http: Arc<Http>, server: &Server, shared: &Shared) -> Self {
        Self {
            http,
            terms: Terms::new(server, Some(shared.memory.clone())),
            tasks: shared.tasks.clone(),
        }
    }

    /// Whether the server can be connected to; nothing is sent.
    pub(in crate::upstream) async fn is_reachable(&self) -> bool {
        self.http.is_reachable().await
    }

    /// Opens a stream for a session.
    async fn open(
        &self,
        envelope: Envelope,
        credential: Option<&Credential>,
    ) -> Result<Connection, Refusal> {
        let settings = SseSettings {
            name: self.http.name.to_string(),
            limits: self.http.bounds.clone(),
            decode: decode(&self.http),
            own: own_envelope(&self.http, credential),
        };
        let opened = Connection::open(&self.http.endpoint, envelope, settings).await;
        opened.map_err(|error| not_opened(error, credential.is_some()))
    }
}

/// Decodes messages of a server; long ones where no other call waits.
fn decode(http: &Arc<Http>) -> Decode {
    let http = Arc::clone(http);
    Arc::new(move |data: Bytes| -> Result<Body, _> {
        let length = data.len();
        let decode = || repair::decode(data, &http.decode, |repair| repaired(&http, repair));
        let decoded = match Inspection::is_long_to_read(length) {
            false => decode(),
            true => http
                .inspection
                .here(length, decode)
                .map_err(|refusal| refusal.code.to_string())?,
        };
        Ok(decoded?)
    })
}

/// Envelope of a message that the gateway sends by itself, with the credentials that are held at that moment.
fn own_envelope(http: &Http, credential: Option<&Credential>) -> OwnEnvelope {
    let credentials = credential.map(|credential| Arc::clone(&credential.set));
    let switch = Arc::clone(&http.switch);
    Arc::new(move || {
        let (headers, credential) = own(None, credentials.as_ref(), &switch)?;
        Some(envelope(headers, credential.as_ref()))
    })
}

fn envelope(headers: HeaderMap, credential: Option<&Credential>) -> Envelope {
    let query = credential.and_then(|credential| credential.held.query());
    Envelope {
        headers,
        query: query.map(|query| Arc::from(&*query)),
        clearance: None,
    }
}

/// Sends a call, once.
pub(in crate::upstream) async fn send(
    sse: Arc<Sse>,
    bound: Bound,
    mut headers: HeaderMap,
    (credential, clearance): (Option<Credential>, Option<Arc<dyn Clearance>>),
) -> Result<Reply, Refusal> {
    within(&bound, &mut headers);
    let credential = credential.as_ref();
    let envelope = Envelope {
        clearance,
        ..envelope(headers, credential)
    };
    let answered = match &bound.session {
        // Clients of both eras begin with `initialize` then.
        Binding::Stateless => {
            return Err(Refusal::new(Code::SessionMissing)
                .detail("the server speaks HTTP+SSE, where everything is in a session"));
        }
        Binding::Opening(opening) => {
            let Some(Message::Request(request)) = bound.call.message() else {
                return Err(Refusal::new(Code::Internal));
            };
            let connection = sse.open(envelope.clone(), credential).await?;
            let sender = Dispatch {
                owner: OWNER,
                envelope,
            };
            let mode = CallMode::KeepOnDrop;
            let first = duplex::first_response(&connection, sender, request, mode);
            sse.terms.within_request(first).await.map(|response| {
                let attached = Attached::new(Arc::new(connection), &sse.tasks);
                // Set once: an opening session makes one call.
                let _first = opening.link.set(Link::Duplex(attached));
                Answer::Message(Message::Response(response))
            })
        }
        Binding::Held(session) => {
            let Some(Link::Duplex(attached)) = session.link.get() else {
                return Err(Refusal::new(Code::SessionUnknown));
            };
            let sender = Dispatch {
                owner: OWNER,
                envelope,
            };
            let answered = attached.send(&bound, sender, &sse.terms).await;
            if matches!(bound.call.ask, Ask::End) {
                attached.end();
            }
            answered
        }
    };
    match answered {
        Ok(answer) => Ok(answer.into()),
        Err(Failure::Connection(DuplexError::Rejected { status: 401, .. }))
            if credential.is_some() =>
        {
            Err(Refusal::new(Code::CredentialRejected))
        }
        Err(Failure::Connection(DuplexError::Rejected { status, body })) => {
            let is_in_session = matches!(bound.session, Binding::Held(_));
            rejected(&sse.http, &bound, is_in_session, status, body).map(Reply::from)
        }
        Err(failure) => Err(failure.into()),
    }
}

fn not_opened(error: OpenError, has_credential: bool) -> Refusal {
    let refusal = match &error {
        OpenError::Upstream(_) => {
            let OpenError::Upstream(error) = error else {
                return Refusal::new(Code::Internal);
            };
            return failed(error);
        }
        OpenError::Rejected { status: 401 } if has_credential => {
            Refusal::new(Code::CredentialRejected)
        }
        OpenError::Rejected { status } => {
            return refused_with(*status);
        }
        OpenError::NotAStream => Refusal::new(Code::UpstreamInvalid)
            .detail("no event stream came: is the server one of HTTP+SSE?"),
        OpenError::Stream(failed) => duplex::stream_refused(failed),
        OpenError::NoAddress => Refusal::new(Code::UpstreamEndpoint)
            .detail("the stream does not begin with an `endpoint` event"),
        OpenError::Address(AddressError::Origin) => {
            Refusal::new(Code::UpstreamEndpoint).detail("the address is on another origin")
        }
        OpenError::Address(AddressError::Malformed) => {
            Refusal::new(Code::UpstreamEndpoint).detail("the address is malformed")
        }
        OpenError::TimedOut { .. } => Refusal::new(Code::UpstreamTimeout),
        OpenError::NoMemory(_) => Refusal::new(Code::MemoryFull),
    };
    refusal.source(error)
}
