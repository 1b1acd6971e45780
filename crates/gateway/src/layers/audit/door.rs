//! The door: requests that are refused before they are calls.
//!
//! Anybody can make the gateway refuse, so these records are shared ([`super::repeat`]) and cannot fill the log; the meter
//! counts them all.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use http::{Request, Response};
use hyper::body::Incoming;
use keepgate_audit::{Kind, Reason, Record};
use keepgate_authn::AuthnError;
use keepgate_call::{Code, DecisionId, Refusal};
use keepgate_transport::{Body, http::server::Peer};
use tracing::warn;

use super::{
    Refusals,
    repeat::{Refused, Written},
};
use crate::{around::Around, clock::Ids, metrics::Meters};

/// Writes down who was turned away.
#[derive(Debug)]
pub struct Doorkeeper {
    refusals: Arc<Refusals>,
    ids: Arc<Ids>,
    meters: Arc<Meters>,
}

impl Doorkeeper {
    /// One that writes by `refusals` and feeds `meters`.
    pub fn new(refusals: &Arc<Refusals>, ids: &Arc<Ids>, meters: &Arc<Meters>) -> Self {
        Self {
            refusals: Arc::clone(refusals),
            ids: Arc::clone(ids),
            meters: Arc::clone(meters),
        }
    }

    /// Notes that somebody at `source` was rejected; of a credential, the cause too. Returns the id under which the record is
    /// found, and whether that record is new.
    pub fn note(
        &self,
        code: Code,
        source: Option<IpAddr>,
        cause: Option<&AuthnError>,
    ) -> (DecisionId, bool) {
        self.meters.rejected(code.as_str());
        let now = SystemTime::now();
        let (id, _) = self.ids.next(now);
        let refused = Refused::request(code, source, cause);
        let (answered, named, repeat) = match self.refusals.note(refused, id, now) {
            Written::Own => (id, id, None),
            Written::First(repeat) => (id, id, Some(repeat)),
            Written::Counted(id) => return (id, false),
            Written::Cause {
                answered,
                first,
                repeat,
            } => (answered, first, Some(repeat)),
        };
        let mut record = Record::new(Kind::AuthDenied, now);
        record.decision_id = Some(named.as_str());
        record.source = source;
        record.refusal = Some(code.as_str());
        record.repeat = repeat;
        let message = cause.map(ToString::to_string).unwrap_or_default();
        let key = cause.and_then(AuthnError::key);
        let reasons = cause.map(|cause| Reason {
            code: cause.code(),
            message: &message,
        });
        // The public half alone, and of a key there is: a secret that was sent in its place is in no record.
        let key = key.as_ref().map(|key| Reason {
            code: "key_id",
            message: key.as_str(),
        });
        let reasons: Vec<_> = reasons.into_iter().chain(key).collect();
        record.reasons = &reasons;
        self.refusals.log().post(&record);
        (answered, answered == named)
    }
}

/// Logs a rejection whose cause is as likely a missing key of the configuration as a stranger: a proxy in front may send its
/// own name, and the client sees none of that. As often as there are records, so nobody can fill the log.
fn log(refusal: &Refusal, source: Option<IpAddr>, decision: DecisionId) {
    let key = if refusal.code == Code::HostRefused {
        "hosts"
    } else if refusal.code == Code::OriginRefused {
        "origins"
    } else {
        return;
    };
    let named = refusal.detail.as_deref();
    warn!(code = %refusal.code, named, client = ?source, %decision, "rejected a request: add the name to `{key}` if it is yours");
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
            .and_then(|peer| peer.client)
            .map(|client| client.ip());
        next(request).await.map_err(|refusal| {
            let cause = refusal.source.as_deref();
            let cause = cause.and_then(|cause| cause.downcast_ref::<AuthnError>());
            let (id, is_new) = self.0.note(refusal.code, source, cause);
            if is_new {
                log(&refusal, source, id);
            }
            refusal.decision(id)
        })
    }
}
