//! Sessions of the stateful revisions: our own ids, each bound to one caller and one server.

mod calls;
mod seal;
mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use keepgate_call::{Caller, Code, Refusal, ServerName};
use keepgate_mcp::{id::Id, message::Request, method::Method, revision::Revision};
use keepgate_policy::ClientFacts;
use keepgate_store::kill::Facts;
use keepgate_transport::memory::Charge;
use tokio_util::sync::CancellationToken;

use self::{calls::SessionCalls, seal::Seal, table::Usage};
pub use self::{
    calls::{Running, RunningCall, TrackedCall},
    seal::{EventKey, MAX_SEALED, Origin},
    table::{InUse, Seat, Sessions},
};
use crate::{catalog::Catalog, hash::HashMap, layers::obligation::Standing, upstream::Link};

/// How many of a server's questions may wait for an answer in one session.
const ASKED_MOST: usize = 64;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Our id: 256 random bits, base64url. Never the upstream's.
    pub id: Box<str>,
    /// A digest of the id, for policy and records; the id itself is a key to the session.
    pub public: Arc<str>,
    /// Whom it is bound to.
    pub caller: Arc<Caller>,
    /// Which server it is with.
    pub server: ServerName,
    /// What the client said of itself at `initialize`.
    pub client: Option<ClientFacts>,
    /// When it began.
    pub began: Instant,
    /// The upstream's side; set when the upstream has accepted `initialize`.
    pub link: OnceLock<Link>,
    /// The tools the server has shown in this session.
    pub catalog: Catalog,
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

impl Session {
    fn new(
        caller: Arc<Caller>,
        server: ServerName,
        client: Option<ClientFacts>,
        key: &EventKey,
        charge: Charge,
    ) -> Result<Self, Refusal> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random)
            .map_err(|_| Refusal::new(Code::Internal).detail("no randomness"))?;
        let id = URL_SAFE_NO_PAD.encode(random).into_boxed_str();
        let seal = key
            .seal(&id)
            .ok_or_else(|| Refusal::new(Code::Internal).detail("no key for event ids"))?;
        Ok(Self {
            public: public_id(&id),
            id,
            caller,
            server,
            client,
            began: Instant::now(),
            link: OnceLock::new(),
            catalog: Catalog::default(),
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

    /// The session, as far as kills can name it. `credential` is the reference of what its server is given.
    pub fn facts<'a>(&'a self, credential: Option<&'a str>) -> Facts<'a> {
        Facts {
            tenant: self.caller.tenant.as_str(),
            server: self.server.as_str(),
            tool: None,
            caller: &self.caller.subject,
            client: self.caller.client.as_deref(),
            grant: self.caller.grant.as_deref(),
            key: self.caller.key_id.as_deref(),
            session: Some(&self.public),
            credential,
        }
    }

    /// The revision agreed on at `initialize`.
    pub fn revision(&self) -> Revision {
        self.revision
            .get()
            .copied()
            .unwrap_or(Revision::V2025_03_26)
    }

    /// Seconds since it began.
    pub fn age_s(&self) -> u64 {
        self.began.elapsed().as_secs()
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

/// The public id of the session with this id, which is random enough that its plain digest gives nothing away.
fn public_id(id: &str) -> Arc<str> {
    let digest = blake3::hash(id.as_bytes()).to_hex();
    digest.as_str().get(..32).unwrap_or_default().into()
}

/// A poisoned lock guards plain data that each holder leaves whole; going on is safe.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
