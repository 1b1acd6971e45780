//! Sessions of the stateful revisions: our own ids, each bound to one caller and one server.

mod calls;
mod channel;
mod definition;
mod links;
mod restore;
mod row;
mod seal;
mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use bytes::Bytes;
use keepgate_call::{Caller, Code, HttpTransport, Refusal, ServerName};
use keepgate_mcp::{id::Id, message::Request, method::Method, revision::Revision};
use keepgate_policy::ClientFacts;
use keepgate_store::{kill::Facts, sessions::SessionDigest};
use keepgate_transport::memory::Charge;
use tokio_util::sync::CancellationToken;

use self::{calls::SessionCalls, links::Links, seal::Seal, table::Usage};
pub use self::{
    calls::{Running, RunningCall, TrackedCall},
    channel::{Channel, Messages},
    restore::Restored,
    seal::{EventKey, MAX_SEALED, Origin},
    table::{InUse, Opening, Seat, Sessions},
};
pub(crate) use self::{
    definition::{Definition, destinations},
    restore::Restoring,
};
use crate::{
    catalog::Catalog,
    hash::HashMap,
    layers::{
        obligation::Standing,
        session::{Announced, Lists},
    },
    upstream::Link,
};

/// How many of a server's questions may wait for an answer in one session.
const ASKED_MOST: usize = 64;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Digest of our id, which is 256 random bits and known to the client alone. Never the upstream's.
    pub digest: SessionDigest,
    /// The digest in short, for policy and records.
    pub public: Arc<str>,
    /// Whom it is bound to.
    pub caller: Arc<Caller>,
    /// Which server it is with.
    pub server: ServerName,
    /// The transport its client uses.
    pub transport: HttpTransport,
    /// What the client said of itself at `initialize`.
    pub client: OnceLock<ClientFacts>,
    /// When it began in this process.
    pub began: Instant,
    /// Its age when this process resumed it.
    aged: Duration,
    /// Identity of the server it was opened with.
    pub(crate) definition: Definition,
    /// Whether a restart resumes it.
    is_kept: AtomicBool,
    /// The upstream's side; set when the upstream has accepted `initialize`.
    pub link: OnceLock<Link>,
    /// The tools the server has shown in this session.
    pub catalog: Catalog,
    /// The lists whose changes its server declares. Set when the server has accepted `initialize`.
    pub(crate) lists: OnceLock<Lists>,
    /// The changes of lists its client has heard of.
    pub(crate) announced: Arc<Announced>,
    /// The links its client was asked to show.
    pub(crate) links: Links,
    /// What policy obliges to in this session.
    pub(crate) standing: Standing,
    /// Ends everything that runs in the session.
    pub ended: CancellationToken,
    revision: OnceLock<Revision>,
    usage: Usage,
    asked: Mutex<HashMap<Id, Method>>,
    /// The progress tokens of those questions, by the questions' ids.
    tokens: Mutex<HashMap<Id, Id>>,
    /// The calls that run, and those whose streams can be resumed.
    pub(crate) calls: SessionCalls,
    seal: Seal,
    /// What it is charged for, as long as anybody holds it.
    _charge: Charge,
}

/// Parts of a session that begins.
struct Beginning {
    digest: SessionDigest,
    caller: Arc<Caller>,
    server: ServerName,
    definition: Definition,
    client: Option<ClientFacts>,
    transport: HttpTransport,
    aged: Duration,
}

impl Session {
    fn new(beginning: Beginning, key: &EventKey, charge: Charge) -> Result<Self, Refusal> {
        let Beginning {
            digest,
            caller,
            server,
            definition,
            client,
            transport,
            aged,
        } = beginning;
        let seal = key
            .seal(&digest)
            .ok_or_else(|| Refusal::new(Code::Internal).detail("no key for event ids"))?;
        Ok(Self {
            public: public_id(&digest),
            digest,
            caller,
            server,
            transport,
            client: client.map(OnceLock::from).unwrap_or_default(),
            began: Instant::now(),
            aged,
            definition,
            is_kept: AtomicBool::new(false),
            link: OnceLock::new(),
            catalog: Catalog::default(),
            lists: OnceLock::new(),
            announced: Arc::default(),
            links: Links::default(),
            standing: Standing::default(),
            ended: CancellationToken::new(),
            revision: OnceLock::new(),
            usage: Usage::default(),
            asked: Mutex::default(),
            tokens: Mutex::default(),
            calls: SessionCalls::default(),
            seal,
            _charge: charge,
        })
    }

    /// The session, as far as kills can name it. `credentials` are the references of what its server is given.
    pub fn facts<'a>(&'a self, credentials: &'a [Arc<str>]) -> Facts<'a> {
        Facts {
            tenant: self.caller.tenant.as_str(),
            server: self.server.as_str(),
            tool: None,
            caller: &self.caller.subject,
            client: self.caller.client.as_deref(),
            grant: self.caller.grant.as_deref(),
            key: self.caller.key_id.as_deref(),
            session: Some(&self.public),
            credentials,
        }
    }

    /// Whether it is this caller's, by this client and sign-in, with this server.
    fn belongs_to(&self, caller: &Caller, server: &ServerName) -> bool {
        self.caller.session_key() == caller.session_key() && self.server == *server
    }

    /// The revision agreed on at `initialize`.
    pub fn revision(&self) -> Revision {
        self.revision
            .get()
            .copied()
            .unwrap_or(Revision::V2025_03_26)
    }

    /// Whether its server has accepted `initialize`.
    pub fn is_open(&self) -> bool {
        self.revision.get().is_some()
    }

    /// Marks it as one that a restart resumes.
    fn set_kept(&self) {
        self.is_kept
            .store(true, std::sync::atomic::Ordering::Release);
    }

    /// Time since it began, in this process or an earlier one.
    pub fn age(&self) -> Duration {
        self.aged.saturating_add(self.began.elapsed())
    }

    /// Seconds since it began.
    pub fn age_s(&self) -> u64 {
        self.age().as_secs()
    }

    /// Remembers that the server asked the client something. `false` when too many questions wait, or one with this id
    /// does: the question is then not passed on.
    pub fn ask(&self, question: &Request) -> bool {
        let id = question.id();
        let mut asked = locked(&self.asked);
        if asked.len() >= ASKED_MOST || asked.contains_key(id) {
            return false;
        }
        asked.insert(id.clone(), question.method().clone());
        if let Some(token) = question.meta().progress_token() {
            locked(&self.tokens).insert(id.clone(), token);
        }
        true
    }

    /// Whether this very question waits for an answer already, so that a resumed stream may bring it again.
    pub fn is_asked(&self, question: &Request) -> bool {
        locked(&self.asked).get(question.id()) == Some(question.method())
    }

    /// Whether the server has asked for progress under `token`, of a question that is not answered yet.
    pub fn awaits_progress(&self, token: &Id) -> bool {
        locked(&self.tokens).values().any(|known| known == token)
    }

    /// Takes the question an answer belongs to. `None` for a foreign or a second answer.
    pub fn answered(&self, id: &Id) -> Option<Method> {
        locked(&self.tokens).remove(id);
        locked(&self.asked).remove(id)
    }

    /// Takes an answer back: it was refused before the server heard it, and may be given again.
    pub fn unanswered(&self, id: &Id, method: Method) {
        locked(&self.asked).entry(id.clone()).or_insert(method);
    }

    /// An event id of the server as it is handed out: sealed to the session and to the stream it came on. `None` for one that
    /// is too long.
    pub fn seal_event(&self, origin: Origin, upstream: &Bytes) -> Option<Bytes> {
        // An empty id means that there is nothing to resume from, and nothing else.
        if upstream.is_empty() {
            return Some(Bytes::new());
        }
        self.seal.seal(origin, upstream)
    }

    /// The stream and the server's own event id inside a sealed one; `None` if this session did not seal it.
    pub fn open_event(&self, sealed: &[u8]) -> Option<(Origin, Bytes)> {
        self.seal.open(sealed)
    }
}

/// Digest of a session id.
fn digest(id: &[u8]) -> SessionDigest {
    *blake3::hash(id).as_bytes()
}

/// The public id of the session with this digest: random enough that it gives nothing away.
fn public_id(digest: &SessionDigest) -> Arc<str> {
    let text = blake3::Hash::from_bytes(*digest).to_hex();
    text.as_str().get(..32).unwrap_or_default().into()
}

/// A poisoned lock guards plain data that each holder leaves whole; going on is safe.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
