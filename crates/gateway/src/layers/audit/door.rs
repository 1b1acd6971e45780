//! The door: requests that are refused before they are calls.
//!
//! Anybody can make the gateway refuse, so these records have a rate of their own and cannot fill the log; the meter
//! counts them all.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Instant, SystemTime},
};

use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_audit::{Kind, Log, Record};
use keepgate_call::Refusal;
use keepgate_transport::{Body, http::server::Peer};

use crate::{around::Around, metrics::Meters};

/// Records a second.
const RATE: u64 = 10;

/// Records who was turned away.
#[derive(Debug)]
pub struct Door {
    log: Log,
    meters: std::sync::Arc<Meters>,
    epoch: Instant,
    /// The second of `epoch` in the high half, the records written in it in the low.
    spent: AtomicU64,
}

impl Door {
    /// An around that writes to `log` and feeds `meters`.
    pub fn new(log: &Log, meters: &std::sync::Arc<Meters>) -> Self {
        Self {
            log: log.clone(),
            meters: std::sync::Arc::clone(meters),
            epoch: Instant::now(),
            spent: AtomicU64::new(0),
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
            self.meters.turned_away(refusal.code.as_str());
            if self.may_write() {
                let mut record = Record::new(Kind::AuthDenied, SystemTime::now());
                record.source = source;
                record.refusal = Some(refusal.code.as_str());
                self.log.post(&record);
            }
        }
        answered
    }
}
