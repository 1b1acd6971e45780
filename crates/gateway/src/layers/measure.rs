//! Measure: counts and times every call.

use std::{sync::Arc, time::Instant};

use keepgate_call::{Answer, Call, Refusal, Reply};

use crate::{around::Around, metrics::Meters};

/// Feeds the meters.
#[derive(Debug)]
pub struct Measure {
    meters: Arc<Meters>,
}

impl Measure {
    /// An around that feeds `meters`.
    pub fn new(meters: &Arc<Meters>) -> Self {
        Self {
            meters: Arc::clone(meters),
        }
    }
}

impl Around<Arc<Call>> for Measure {
    type Out = Arc<Call>;
    type Reply = Reply;

    async fn run<N, F>(&self, call: Arc<Call>, next: N) -> Result<Reply, Refusal>
    where
        N: FnOnce(Arc<Call>) -> F + Send,
        F: Future<Output = Result<Reply, Refusal>> + Send,
    {
        let began = Instant::now();
        let server = call.server.clone();
        let reply = next(call).await;
        let result = match &reply {
            Ok(Reply {
                answer: Answer::Passed { .. },
                ..
            }) => "upstream_rejected",
            Ok(_) => "ok",
            Err(refusal) => refusal.code.as_str(),
        };
        self.meters.call(&server, result, began.elapsed());
        reply
    }
}
