//! One call as the endpoint hands it to the stack.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use bytes::Bytes;
use keepgate_mcp::{
    message::{Message, Request},
    method::{Method, Subject},
    revision::Revision,
};

use crate::{
    BesideNote, Caller, Carried, CredentialNote, DecisionId, Handover, HttpTransport, ServerName,
    Trace, UpstreamId, Wait,
};

impl Ask {
    /// The MCP method; for what is none, the HTTP method or `response`.
    pub fn method(&self) -> &str {
        match self {
            Self::Message(Message::Request(request)) => request.method().as_str(),
            Self::Message(Message::Notification(notification)) => notification.method().as_str(),
            Self::Message(Message::Response(_)) => "response",
            Self::Listen => "GET",
            Self::End => "DELETE",
        }
    }
}

/// Who set the call going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A client, over HTTP.
    Client,
    /// The gateway itself, for a client's sake: to learn which tools a server has.
    Gateway,
}

impl Origin {
    /// The word used in audit records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
        }
    }
}

/// The header lines that are read beyond the edge, as they came. None of them travels on: what a server hears is written here.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// `Mcp-Param-*` lines of 2026-07-28 (name in lower case, value), to be compared with the arguments (SEP-2243).
    pub params: Vec<(Box<str>, Bytes)>,
    /// `Last-Event-ID`, for a stream that resumes.
    pub last_event_id: Option<Bytes>,
}

/// What a client asks of the endpoint.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A message was posted.
    Message(Message),
    /// The server's own messages are wanted: `GET`, in the revisions that have it.
    Listen,
    /// The session shall end: `DELETE`, in the revisions that have it.
    End,
}

/// One thing a client asks of one server.
///
/// A batch becomes several calls. A message holds the very bytes that were judged, and they are what goes upstream.
///
/// The layers share it by `Arc`: the outermost still knows it when the innermost has it.
#[derive(Debug)]
pub struct Call {
    /// The decision this call is, from the first layer to the last record.
    pub id: DecisionId,
    /// The id a request goes to its server under.
    pub upstream_id: UpstreamId,
    /// When the message had arrived whole.
    pub received: SystemTime,
    /// Who set it going.
    pub origin: Origin,
    /// Who asks.
    pub caller: Arc<Caller>,
    /// Which server it is for.
    pub server: ServerName,
    /// The revision the message is in.
    pub revision: Revision,
    /// The transport its client uses. A session belongs to one.
    pub transport: HttpTransport,
    /// The session id the client presented, not yet looked up.
    pub session: Option<Bytes>,
    /// What is asked.
    pub ask: Ask,
    /// The header lines that are read beyond the edge.
    pub passed: Passed,
    /// The network address of the client: the peer's, or what trusted proxies say, then with port 0. `None` where they do
    /// not say.
    pub peer: Option<SocketAddr>,
    /// Whether the intent is on record; see [`Call::intend`].
    pub intended: AtomicBool,
    /// Whether it was handed to its server; see [`Call::dispatch`].
    pub dispatched: AtomicBool,
    /// Whether the kill switch cut it; see [`Call::kill`].
    pub killed: AtomicBool,
    /// Whether its client has left; see [`Call::leave`].
    pub left: AtomicBool,
    /// Where it stands in a trace.
    pub trace: Trace,
    /// What credential it was sent with.
    pub credential: CredentialNote,
    /// What the obligations of its decision made of it.
    pub carried: Carried,
    /// What other policies would have decided.
    pub beside: BesideNote,
    /// The call whose stream a `GET` resumes. Set once the event id it presents was opened.
    pub resumes: OnceLock<Arc<Self>>,
    /// The streams that had its answer.
    pub handover: Handover,
    /// Its wait for a person.
    pub wait: Wait,
}

impl Call {
    /// A client's call of Streamable HTTP outside a session, of which nothing is noted yet.
    pub fn new(
        id: DecisionId,
        upstream_id: UpstreamId,
        received: SystemTime,
        caller: Arc<Caller>,
        server: ServerName,
        revision: Revision,
        ask: Ask,
    ) -> Self {
        Self {
            id,
            upstream_id,
            received,
            origin: Origin::Client,
            caller,
            server,
            revision,
            transport: HttpTransport::Streamable,
            session: None,
            ask,
            passed: Passed::default(),
            peer: None,
            intended: AtomicBool::new(false),
            dispatched: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            left: AtomicBool::new(false),
            trace: Trace::default(),
            credential: CredentialNote::default(),
            carried: Carried::default(),
            beside: BesideNote::default(),
            resumes: OnceLock::new(),
            handover: Handover::default(),
            wait: Wait::default(),
        }
    }

    /// The request, if it is one: what asks for an answer.
    pub fn request(&self) -> Option<&Request> {
        match &self.ask {
            Ask::Message(Message::Request(request)) => Some(request),
            Ask::Message(Message::Notification(_) | Message::Response(_))
            | Ask::Listen
            | Ask::End => None,
        }
    }

    /// The call whose answer the stream of this one may bring: itself, or the one whose stream it resumes.
    pub fn owed(&self) -> Option<&Self> {
        match &self.ask {
            Ask::Message(Message::Request(_)) => Some(self),
            Ask::Listen => self.resumes.get().map(|resumed| &**resumed),
            Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::End => None,
        }
    }

    /// Whether it opens a session.
    pub fn opens(&self) -> bool {
        self.request()
            .is_some_and(|request| *request.method() == Method::Initialize)
    }

    /// The tool it calls, or whose answer it resumes: what cuts off the one cuts off the other. Read out of the message each
    /// time.
    pub fn tool(&self) -> Option<Cow<'_, str>> {
        if let Subject::Tool(name) = self.owed()?.request()?.subject() {
            Some(name)
        } else {
            None
        }
    }

    /// Notes that the intent is on its way into the log, so that what follows is an outcome and no refusal, also when a kill
    /// or a client that leaves ends the call before the log has confirmed it.
    pub fn intend(&self) {
        self.intended.store(true, Ordering::Release);
    }

    /// Takes [`Self::intend`] back: the log could not take the intent.
    pub fn renounce(&self) {
        self.intended.store(false, Ordering::Release);
    }

    /// Notes that it goes to its server now, so that whatever refuses it later admits that it may have had its effect.
    pub fn dispatch(&self) {
        self.dispatched.store(true, Ordering::Relaxed);
    }

    /// Whether it was handed to its server.
    pub fn is_dispatched(&self) -> bool {
        self.dispatched.load(Ordering::Relaxed)
    }

    /// Notes that the kill switch cut the call, so that whatever lets go of it tells its server to stop.
    pub fn kill(&self) {
        self.killed.store(true, Ordering::Release);
    }

    /// Whether the kill switch cut the call.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }

    /// Notes that the client has left and the call goes on without it.
    pub fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Whether the client has left.
    pub fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    /// Whether it only listens: it asks for no answer and has no end of its own.
    pub fn listens(&self) -> bool {
        match &self.ask {
            Ask::Listen => true,
            Ask::Message(Message::Request(request)) => {
                *request.method() == Method::SubscriptionsListen
            }
            Ask::Message(Message::Notification(_) | Message::Response(_)) | Ask::End => false,
        }
    }

    /// The message as it was judged: the client's, or the same without undeclared arguments, or with those policy has set. `None` when what is asked
    /// is no message.
    pub fn judged(&self) -> Option<&Message> {
        match (&self.ask, self.carried.changed()) {
            (Ask::Message(_), Some(changed)) => Some(&changed.message),
            (Ask::Message(message), None) => Some(message),
            (Ask::Listen | Ask::End, _) => None,
        }
    }

    /// The message that goes to the server: the judged one, or the same with another trace context. `None` when what is
    /// asked is no message.
    pub fn message(&self) -> Option<&Message> {
        let judged = self.judged()?;
        Some(self.trace.sent().unwrap_or(judged))
    }

    /// The request as policy evaluates it, if it is one.
    pub fn judged_request(&self) -> Option<&Request> {
        match self.judged()? {
            Message::Request(request) => Some(request),
            Message::Notification(_) | Message::Response(_) => None,
        }
    }

    /// The `Mcp-Param-*` lines that mirror the message that is sent. The client's own never travel.
    pub fn mirrored(&self) -> &[(Box<str>, Bytes)] {
        let changed = self.carried.changed();
        changed.map_or(&[], |changed| &changed.params)
    }

    /// Whether the intent is on record, or on its way there.
    pub fn is_intended(&self) -> bool {
        self.intended.load(Ordering::Acquire)
    }
}
