//! One request and its answer, over whatever becomes of the connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use keepgate_mcp::error::INTERNAL_ERROR;
use keepgate_mcp::{Body, Message, Method, Request, Response, decode};
use keepgate_transport::http::upstream::{Answer, AnswerHead, Events, UpstreamError};

use super::headers::is_stateless;
use super::listen::{Cursor, LAST_EVENT_ID};
use super::{Bridge, limits, lock, note};

/// Attempts to connect, for what may be sent again.
const ATTEMPTS: u32 = 5;
/// Pause before the second; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// Attempts to resume a stream.
const MAX_RESUMES: u32 = 8;

/// Outcome of a request that got no answer.
enum Failed {
    /// For the client, as it is.
    Message(String),
    /// The session is gone.
    Session,
}

impl Bridge {
    /// Sends a request and gives the client its answer, or an error under its id.
    pub(super) async fn answer(self: &Arc<Self>, request: &Arc<Request>) {
        let generation = lock(&self.session).generation;
        let stateless = is_stateless(&Message::Request((**request).clone()));
        let repeated = if stateless {
            self.repeated(request).await
        } else {
            Vec::new()
        };
        let mut outcome = self.attempt(request, &repeated).await;
        if matches!(outcome, Err(Failed::Session)) {
            outcome = self.again(request, generation).await;
        }
        match outcome {
            Ok((head, response)) => {
                if *request.method() == Method::Initialize {
                    self.opened(request, &head, &response);
                }
                if stateless {
                    self.learn(request, &response);
                }
                self.deliver(response.bytes()).await;
            }
            Err(Failed::Message(message)) => {
                self.refuse(Some(request.id()), INTERNAL_ERROR, &message)
                    .await;
            }
            Err(Failed::Session) => {
                let message = "the session with the gateway is gone, and no other could be opened";
                self.refuse(Some(request.id()), INTERNAL_ERROR, message)
                    .await;
            }
        }
    }

    /// Opens the session again; then the request, unless it calls a tool.
    async fn again(
        self: &Arc<Self>,
        request: &Arc<Request>,
        generation: u64,
    ) -> Result<(AnswerHead, Response), Failed> {
        if !self.reopen(generation).await {
            return Err(Failed::Session);
        }
        if *request.method() == Method::ToolsCall {
            let message = "the session with the gateway was gone and is open again; the call was not repeated";
            return Err(Failed::Message(message.to_owned()));
        }
        self.attempt(request, &[]).await
    }

    /// A request of the bridge's own: its answer, if there is one.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        request: &Request,
        repeated: &[(String, String)],
    ) -> Option<(AnswerHead, Response)> {
        match self.attempt(request, repeated).await {
            Ok(answer) => Some(answer),
            Err(Failed::Message(message)) => {
                note(&message);
                None
            }
            Err(Failed::Session) => None,
        }
    }

    async fn attempt(
        &self,
        request: &Request,
        repeated: &[(String, String)],
    ) -> Result<(AnswerHead, Response), Failed> {
        let message = Message::Request(request.clone());
        match self.sent(&message, repeated).await {
            Ok(Answer::Message { head, body }) => {
                let (body, _share) = body.apart();
                let Ok(Body::Single(Message::Response(response))) = decode(body, &limits()) else {
                    return Err(Failed::Message(
                        "the gateway's answer is no response".to_owned(),
                    ));
                };
                Ok((head, response))
            }
            Ok(Answer::Stream { head, events }) => {
                let response = self.follow(request, events).await?;
                Ok((head, response))
            }
            Ok(Answer::Accepted) => Err(Failed::Message("the gateway sent no answer".to_owned())),
            Ok(Answer::Rejected { status, body }) => self.rejected(request, status, body),
            Err(error) => Err(Failed::Message(crate::failure::chain(&error))),
        }
    }

    /// Posts a request: once if it calls a tool, else until there is a connection, for a while.
    async fn sent(
        &self,
        message: &Message,
        repeated: &[(String, String)],
    ) -> Result<Answer, UpstreamError> {
        let may_repeat = message.method() != Some(&Method::ToolsCall);
        let mut pause = PAUSE;
        let mut left = ATTEMPTS;
        loop {
            left -= 1;
            let headers = self.headers(message, repeated);
            let posted = self
                .endpoint
                .post(headers, message.bytes().clone(), &self.limits);
            match posted.await {
                Err(error) if left > 0 && may_repeat && error.is_before_sending() => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Passes on what a stream brings, up to the response; resumes it when it breaks.
    async fn follow(&self, request: &Request, mut events: Events) -> Result<Response, Failed> {
        let mut cursor = Cursor::default();
        loop {
            while let Some(Ok(event)) = events.next().await {
                cursor.note(&event);
                if !event.is_message() || event.data.is_empty() {
                    continue;
                }
                match decode(event.data.clone(), &limits()) {
                    Ok(Body::Single(Message::Response(response)))
                        if response.id() == Some(request.id()) =>
                    {
                        return Ok(response);
                    }
                    Ok(Body::Single(_) | Body::Batch(_)) => self.deliver(&event.data).await,
                    Err(error) => note(&crate::failure::chain(&error)),
                }
            }
            events = self.resumed(&mut cursor).await?;
        }
    }

    /// The stream again, from where it broke.
    async fn resumed(&self, cursor: &mut Cursor) -> Result<Events, Failed> {
        let lost = || {
            let message = "the connection to the gateway was lost before the answer: whether the request was carried out is not known";
            Err(Failed::Message(message.to_owned()))
        };
        let Some(last) = cursor.last.clone() else {
            return lost();
        };
        while cursor.pause().await <= MAX_RESUMES {
            let mut headers = self.session_headers(true);
            headers.insert(LAST_EVENT_ID, last.clone());
            match self.endpoint.get(headers, &self.limits).await {
                Ok(Answer::Stream { events, .. }) => return Ok(events),
                Ok(Answer::Rejected { .. } | Answer::Accepted | Answer::Message { .. }) => {
                    return lost();
                }
                Err(error) => note(&crate::failure::chain(&error)),
            }
        }
        lost()
    }

    /// A 4xx: the gateway's own words where it has some, under the id of the request.
    fn rejected(
        &self,
        request: &Request,
        status: u16,
        body: Option<Bytes>,
    ) -> Result<(AnswerHead, Response), Failed> {
        let decoded = body.map(|body| decode(body, &limits()));
        let response = match decoded {
            Some(Ok(Body::Single(Message::Response(response)))) => Some(response),
            Some(Ok(Body::Single(_) | Body::Batch(_)) | Err(_)) | None => None,
        };
        let code = response.as_ref().and_then(Response::error_code);
        let within =
            lock(&self.session).id.is_some() && !is_stateless(&Message::Request(request.clone()));
        if status == 404
            && within
            && code != Some(-32601)
            && *request.method() != Method::Initialize
        {
            return Err(Failed::Session);
        }
        match response {
            Some(response) => Ok((AnswerHead::default(), response.with_id(request.id()))),
            None if matches!(status, 401 | 403) => Err(Failed::Message(format!(
                "the gateway refuses the key (status {status}): `--key file:/path` or `--key env:NAME` names one"
            ))),
            None => Err(Failed::Message(format!(
                "the gateway answered with status {status}"
            ))),
        }
    }
}
