//! The session with the gateway: opened by the client's `initialize`, opened again by the bridge when it is gone.

use std::sync::Arc;

use http::HeaderValue;
use keepgate_mcp::{Id, Message, Method, Request, Response, Revision, decode, encode};
use keepgate_transport::http::upstream::{Answer, AnswerHead};
use tokio_util::sync::CancellationToken;

use super::{Bridge, limits, lock, note};

/// A session, or none yet.
#[derive(Default)]
pub(super) struct Session {
    pub(super) id: Option<HeaderValue>,
    /// The line that names the revision, where that has one.
    pub(super) version: Option<HeaderValue>,
    /// The request the client opened it with.
    hello: Option<Arc<Request>>,
    /// Counts the times it was opened.
    pub(super) generation: u64,
    /// Ends the stream of this session.
    pub(super) listener: Option<CancellationToken>,
}

impl Bridge {
    /// Takes note of the answer to an `initialize`.
    pub(super) fn opened(&self, hello: &Arc<Request>, head: &AnswerHead, answer: &Response) {
        let Some(version) = answer.result_member("protocolVersion") else {
            return;
        };
        let version = version.string().unwrap_or_default();
        let has_line = Revision::parse(&version).is_none_or(|it| it.facts().version_header);
        let mut session = lock(&self.session);
        session.id.clone_from(&head.session);
        session.version = HeaderValue::from_str(&version).ok().filter(|_| has_line);
        session.hello = Some(Arc::clone(hello));
        session.generation += 1;
    }

    /// Opens the session again, unless that was done since `generation`. Returns whether there is one.
    pub(super) async fn reopen(self: &Arc<Self>, generation: u64) -> bool {
        let _opening = self.opening.lock().await;
        let hello = {
            let session = lock(&self.session);
            if session.generation != generation {
                return true;
            }
            session.hello.clone()
        };
        let Some(hello) = hello else {
            return false;
        };
        note("the session is gone; opening it again");
        // An id of the bridge's own: the client has had the answer to its own.
        let own =
            hello.with_id(&Id::from_text("keepgate-stdio").unwrap_or_else(|| hello.id().clone()));
        let Some((head, response)) = self.exchange(&own, &[]).await else {
            return false;
        };
        if response.result().is_none() {
            return false;
        }
        self.opened(&hello, &head, &response);
        let ready = encode::notification(&Method::Initialized, None);
        if let Ok(keepgate_mcp::Body::Single(ready @ Message::Notification(_))) =
            decode(ready, &limits())
        {
            self.post(ready).await;
        }
        self.listen();
        true
    }

    /// Ends the session, if there is one.
    pub(super) async fn end_session(&self) {
        if lock(&self.session).id.is_none() {
            return;
        }
        let headers = self.session_headers(true);
        match self.endpoint.delete(headers, &self.limits).await {
            Ok(
                Answer::Rejected { .. }
                | Answer::Accepted
                | Answer::Message { .. }
                | Answer::Stream { .. },
            ) => {}
            Err(error) => note(&crate::failure::chain(&error)),
        }
    }
}
