//! The calls of a session: those that run, by both their ids, and those whose streams can be resumed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use keepgate_call::{Call, Origin, UpstreamId};
use keepgate_mcp::id::Id;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Session;
use crate::hash::HashMap;
use crate::layers::obligation::Duty;

/// Calls of one session whose streams can be resumed.
const MAX_REMEMBERED: usize = 256;
/// Bytes of the messages of those calls, so that large requests do not add up.
const MAX_REMEMBERED_BYTES: usize = 256 * 1024;

/// A call of a session, as long as something of its answer may come.
#[derive(Debug)]
pub struct TrackedCall {
    /// The call.
    pub call: Arc<Call>,
    /// Obligations of its answer. Set before the call is sent, where there is anything.
    pub(crate) duty: OnceLock<Arc<Duty>>,
    /// When policy ends it, and how long that was. Set before the call is sent.
    pub(crate) limit: OnceLock<(Instant, Duration)>,
    /// Its answer came in time: whoever resumes the stream may have it later.
    pub(crate) is_answered: AtomicBool,
}

impl TrackedCall {
    fn bytes(&self) -> usize {
        self.call
            .request()
            .map_or(0, |request| request.bytes().len())
    }
}

/// The calls of one session.
#[derive(Debug, Default)]
pub(crate) struct SessionCalls {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: HashMap<UpstreamId, Arc<TrackedCall>>,
    /// The running calls of the client, by its own ids, which it may use as often as it likes.
    by_client: HashMap<Id, SmallVec<[UpstreamId; 1]>>,
    /// The calls whose streams can be resumed, the latest last.
    remembered: VecDeque<Arc<TrackedCall>>,
    bytes: usize,
    is_over: bool,
}

/// The running calls a client's id fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// None of this session.
    None,
    /// This one.
    One(UpstreamId),
    /// Several, which cannot be distinguished.
    Several,
}

/// A running call's place in its session; it runs until this is dropped.
#[derive(Debug)]
pub struct RunningCall {
    session: Arc<Session>,
    /// The call.
    pub tracked: Arc<TrackedCall>,
    /// Whether another running call has the same id of the client.
    pub is_reused: bool,
}

impl RunningCall {
    /// Notes that `call` runs in `session`.
    pub fn begin(session: &Arc<Session>, call: &Arc<Call>) -> Self {
        let tracked = Arc::new(TrackedCall {
            call: Arc::clone(call),
            duty: OnceLock::new(),
            limit: OnceLock::new(),
            is_answered: AtomicBool::new(false),
        });
        let is_reused = session.calls.begin(&tracked);
        Self {
            session: Arc::clone(session),
            tracked,
            is_reused,
        }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.session.calls.finish(&self.tracked);
    }
}

/// The client's own id of a call. The gateway's own calls have none that a client could mean.
fn client_id(call: &Call) -> Option<&Id> {
    match call.origin {
        Origin::Client => call.request().map(|request| request.id()),
        Origin::Gateway => None,
    }
}

impl SessionCalls {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, tracked: &Arc<TrackedCall>) -> bool {
        let id = tracked.call.upstream_id;
        let mut inner = self.inner();
        inner.running.insert(id, Arc::clone(tracked));
        let Some(client) = client_id(&tracked.call) else {
            return false;
        };
        let same = inner.by_client.entry(client.clone()).or_default();
        same.push(id);
        same.len() > 1
    }

    fn finish(&self, tracked: &TrackedCall) {
        let id = tracked.call.upstream_id;
        let mut inner = self.inner();
        inner.running.remove(&id);
        if let Some(client) = client_id(&tracked.call)
            && let Some(same) = inner.by_client.get_mut(client)
        {
            same.retain(|known| *known != id);
            if same.is_empty() {
                inner.by_client.remove(client);
            }
        }
    }

    /// The running call with this id of ours.
    pub(crate) fn running(&self, id: UpstreamId) -> Option<Arc<TrackedCall>> {
        self.inner().running.get(&id).cloned()
    }

    /// The running calls a client's id fits.
    pub(crate) fn of_client(&self, id: &Id) -> Running {
        match self.inner().by_client.get(id).map(SmallVec::as_slice) {
            None | Some([]) => Running::None,
            Some([only]) => Running::One(*only),
            Some([_, _, ..]) => Running::Several,
        }
    }

    /// Remembers a call whose stream can be resumed, for as long as no 256 others were resumable after it. `false` when that
    /// cannot be: its session is over, or it is too large.
    pub(crate) fn remember(&self, tracked: &Arc<TrackedCall>) -> bool {
        let mut inner = self.inner();
        if inner.is_over || tracked.bytes() > MAX_REMEMBERED_BYTES {
            return false;
        }
        inner.forget(tracked.call.upstream_id);
        inner.bytes += tracked.bytes();
        inner.remembered.push_back(Arc::clone(tracked));
        while inner.remembered.len() > MAX_REMEMBERED || inner.bytes > MAX_REMEMBERED_BYTES {
            let Some(oldest) = inner.remembered.pop_front() else {
                break;
            };
            inner.bytes = inner.bytes.saturating_sub(oldest.bytes());
        }
        true
    }

    /// The remembered call with this id of ours.
    pub(crate) fn remembered(&self, id: UpstreamId) -> Option<Arc<TrackedCall>> {
        let inner = self.inner();
        let mut all = inner.remembered.iter().rev();
        all.find(|known| known.call.upstream_id == id).cloned()
    }

    /// Lets go of everything: the session is over. Duties know their session, and would keep it for ever.
    pub(crate) fn end(&self) {
        let before = {
            let mut inner = self.inner();
            std::mem::replace(
                &mut *inner,
                Inner {
                    is_over: true,
                    ..Inner::default()
                },
            )
        };
        // Outside the lock: what is dropped may be the last that knows the session.
        drop(before);
    }
}

impl Inner {
    fn forget(&mut self, id: UpstreamId) {
        let found = self
            .remembered
            .iter()
            .position(|known| known.call.upstream_id == id);
        if let Some(before) = found.and_then(|at| self.remembered.remove(at)) {
            self.bytes = self.bytes.saturating_sub(before.bytes());
        }
    }
}
