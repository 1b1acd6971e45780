//! Sessions of the stateful revisions: our own ids, each bound to one caller and one server.

mod table;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use keepgate_call::{Caller, Code, Refusal, ServerName};
use keepgate_mcp::{
    id::Id,
    message::Request,
    method::{ListKind, Method},
    revision::Revision,
};
use keepgate_policy::ClientFacts;
use keepgate_store::kill::Facts;
use keepgate_transport::memory::Charge;
use tokio_util::sync::CancellationToken;

use self::table::Usage;
pub use self::table::{InUse, Seat, Sessions};
use crate::{catalog::Catalog, layers::obligation::Standing, upstream::Link};

/// How many of a server's questions may wait for an answer in one session.
const ASKED_MOST: usize = 64;
/// How many requests of one session may wait for a response that a resumed stream could bring.
const AWAITED_MOST: usize = 256;
/// Bytes of the tag before an event id; 64 bits are out of guessing range for an id that lives as long as a session.
const EVENT_TAG: usize = 11;

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
    awaited: Mutex<Awaited>,
    event_key: [u8; 32],
    /// What it is charged for, as long as anybody holds it.
    _charge: Charge,
}

#[derive(Debug, Default)]
struct Awaited {
    /// What is listed, where the response is a list.
    ids: HashMap<Id, Option<ListKind>>,
    order: VecDeque<Id>,
}

impl Session {
    fn new(
        caller: Arc<Caller>,
        server: ServerName,
        client: Option<ClientFacts>,
        charge: Charge,
    ) -> Result<Self, Refusal> {
        let mut random = [0_u8; 64];
        getrandom::fill(&mut random)
            .map_err(|_| Refusal::new(Code::Internal).detail("no randomness"))?;
        let (id, event_key) = random.split_at(32);
        let id = URL_SAFE_NO_PAD.encode(id).into_boxed_str();
        Ok(Self {
            // The id is random enough that its plain digest gives nothing away.
            public: blake3::hash(id.as_bytes())
                .to_hex()
                .as_str()
                .get(..32)
                .unwrap_or_default()
                .into(),
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
            awaited: Mutex::default(),
            event_key: event_key.try_into().unwrap_or([0; 32]),
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

    /// Remembers that the client waits for a response to `id`, on whichever stream of the session it comes, and which list
    /// it will hold.
    pub fn await_response(&self, id: &Id, list: Option<ListKind>) {
        let mut awaited = locked(&self.awaited);
        if awaited.ids.insert(id.clone(), list).is_none() {
            awaited.order.push_back(id.clone());
        }
        if awaited.order.len() > AWAITED_MOST
            && let Some(oldest) = awaited.order.pop_front()
        {
            awaited.ids.remove(&oldest);
        }
    }

    /// The list that the awaited response to `id` holds.
    pub fn awaited_list(&self, id: &Id) -> Option<ListKind> {
        locked(&self.awaited).ids.get(id).copied().flatten()
    }

    /// Takes the wait for a response. `false` when nobody waits for it: it is foreign, or came before.
    pub fn responded(&self, id: &Id) -> bool {
        let mut awaited = locked(&self.awaited);
        let waited = awaited.ids.remove(id).is_some();
        if waited {
            awaited.order.retain(|known| known != id);
        }
        waited
    }

    /// Marks an upstream event id as one of this session, so that nobody resumes another session's stream with it.
    pub fn seal_event(&self, upstream: &Bytes) -> Bytes {
        let mut sealed = BytesMut::with_capacity(EVENT_TAG + upstream.len());
        sealed.put_slice(&self.event_tag(upstream));
        sealed.put_slice(upstream);
        sealed.freeze()
    }

    /// The upstream event id inside a sealed one; `None` if this session did not seal it.
    pub fn open_event(&self, sealed: &Bytes) -> Option<Bytes> {
        if sealed.len() < EVENT_TAG {
            return None;
        }
        let upstream = sealed.slice(EVENT_TAG..);
        let tag: [u8; EVENT_TAG] = sealed.get(..EVENT_TAG)?.try_into().ok()?;
        // A tag found by timing would only reopen a stream of one's own session; plain comparison is enough.
        (self.event_tag(&upstream) == tag).then_some(upstream)
    }

    fn event_tag(&self, upstream: &[u8]) -> [u8; EVENT_TAG] {
        let digest = blake3::keyed_hash(&self.event_key, upstream);
        let mut tag = [b'.'; EVENT_TAG];
        let short = digest.as_bytes().get(..8).unwrap_or_default();
        // Eight bytes are eleven characters; the slice always fits.
        let written = URL_SAFE_NO_PAD
            .encode_slice(short, &mut tag)
            .unwrap_or_default();
        debug_assert_eq!(written, EVENT_TAG);
        tag
    }
}

/// A poisoned lock guards plain data that each holder leaves whole; going on is safe.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
