//! The door: requests that are refused before they are calls.
//!
//! Anybody can make the gateway refuse, so these records have a rate of their own and cannot fill the log; the meter
//! counts them all.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_audit::{Kind, Log, Record};
use keepgate_call::{Code, Refusal};
use keepgate_transport::{Body, http::server::Peer};

use crate::{around::Around, metrics::Meters};

/// Records a second.
const RATE: u64 = 10;

/// Writes down who was turned away.
#[derive(Debug)]
pub struct Doorkeeper {
    log: Log,
    meters: Arc<Meters>,
    epoch: Instant,
    /// The second of `epoch` in the high half, the records written in it in the low.
    spent: AtomicU64,
}

impl Doorkeeper {
    /// One that writes to `log` and feeds `meters`.
    pub fn new(log: &Log, meters: &Arc<Meters>) -> Self {
        Self {
            log: log.clone(),
            meters: Arc::clone(meters),
            epoch: Instant::now(),
            spent: AtomicU64::new(0),
        }
    }

    /// Notes that somebody at `source` was turned away.
    pub fn note(&self, code: Code, source: Option<IpAddr>) {
        self.meters.rejected(code.as_str());
        if self.may_write() {
            let mut record = Record::new(Kind::AuthDenied, SystemTime::now());
            record.source = source;
            record.refusal = Some(code.as_str());
            self.log.post(&record);
        }
    }

    fn may_write(&self) -> bool {
        let second = self.epoch.elapsed().as_secs();
        let spend = |spent: u64| {
            let (at, written) = (spent >> 32, spent & 0xffff_ffff);
            match (at == second, written < RATE) {
                (true, true) => Some(spent + 1),
                (true, false) => None,
                (false, _) => Some(second << 32 | 1),
            }
        };
        self.spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

/// Has the doorkeeper note every refusal of the edge.
#[derive(Debug)]
pub struct Door(Arc<Doorkeeper>);

impl Door {
    /// An around for the edge.
    pub fn new(keeper: &Arc<Doorkeeper>) -> Self {
        Self(Arc::clone(keeper))
    }
}

impl Around<Request<Incoming>> for Door {
    type Out = Request<Incoming>;
    type Reply = Response<Body>;

    async fn run<N, F>(
        &self,
        request: Request<Incoming>,
        next: N,
    ) -> Result<Response<Body>, Refusal>
    where
        N: FnOnce(Request<Incoming>) -> F + Send,
        F: Future<Output = Result<Response<Body>, Refusal>> + Send,
    {
        let source = request
            .extensions()
            .get::<Peer>()
            .map(|peer| peer.addr.ip());
        let answered = next(request).await;
        if let Err(refusal) = &answered {
            self.0.note(refusal.code, source);
        }
        answered
    }
}
