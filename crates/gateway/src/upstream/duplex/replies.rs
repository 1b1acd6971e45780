//! Messages of a server, as the events of a call or of a listening stream.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use keepgate_call::{Answer, Call, Code, Cut, Events, Item, Refusal};
use keepgate_mcp::message::Message;
use keepgate_transport::{
    duplex::{DuplexError, Replies},
    memory::Budget,
};

use super::{
    super::{http::broken, matching::Matching},
    Failure, Terms,
};

/// The replies of a call. A client that goes away leaves its call running; one that is cut off does not.
pub(super) struct Cuttable {
    pub(super) replies: Replies,
    pub(super) call: Arc<Call>,
    pub(super) matching: Matching,
    /// Answers are counted here.
    pub(super) memory: Option<Budget>,
}

impl Cuttable {
    /// The next event of the call.
    async fn next(&mut self) -> Option<Result<Item, DuplexError>> {
        loop {
            match self.replies.next().await? {
                Ok(message) => {
                    if let Some(message) = self.matching.passed(message) {
                        return Some(self.counted(message).map(Into::into));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Cuttable {
    /// The message, an answer tied to its share of the memory.
    fn counted(&self, message: Message) -> Result<Message, DuplexError> {
        match (message, &self.memory) {
            (Message::Response(response), Some(memory)) => {
                let mut share = memory.share();
                let taken = share.fit(response.bytes().len());
                taken.map_err(DuplexError::NoMemory)?;
                let response = response.held(|bytes| share.hold(bytes));
                Ok(Message::Response(response))
            }
            (message, _) => Ok(message),
        }
    }
}

impl Drop for Cuttable {
    fn drop(&mut self) {
        if self.call.is_killed() {
            self.replies.cut();
        }
    }
}

/// One message if the response comes first, else a stream.
pub(super) async fn requested(terms: &Terms, mut cuttable: Cuttable) -> Result<Answer, Failure> {
    let first = tokio::time::timeout(terms.request, cuttable.next())
        .await
        .map_err(|_elapsed| Refusal::new(Code::UpstreamTimeout))?;
    match first {
        Some(Ok(Item {
            message: Some(response @ Message::Response(_)),
            ..
        })) => Ok(Answer::Message(response)),
        Some(Ok(other)) => {
            let rest = unfolded(cuttable, terms.idle);
            Ok(Answer::Stream(Box::pin(
                stream::iter([Ok(other)]).chain(rest),
            )))
        }
        Some(Err(error)) => Err(error.into()),
        None => Err(Refusal::new(Code::UpstreamInvalid)
            .detail("no answer to a request")
            .into()),
    }
}

/// The rest of a stream; a server that is silent for `idle` has broken it.
fn unfolded(cuttable: Cuttable, idle: Duration) -> Events {
    let rest = stream::unfold(Some(cuttable), move |cuttable| async move {
        let mut cuttable = cuttable?;
        match tokio::time::timeout(idle, cuttable.next()).await {
            Ok(item) => Some((item?.map_err(cut), Some(cuttable))),
            Err(_elapsed) => {
                let silent = Cut::Upstream(format!("nothing came for `{idle:?}`"));
                Some((Err(silent), None))
            }
        }
    });
    Box::pin(rest)
}

/// The event a message of a server is; none if it is of no concern to the client.
pub(super) fn item(
    matching: &mut Matching,
    message: Result<Message, DuplexError>,
) -> Result<Option<Item>, Cut> {
    let message = message.map_err(cut)?;
    Ok(matching.passed(message).map(Item::from))
}

fn cut(error: DuplexError) -> Cut {
    match error {
        DuplexError::Cancelled => Cut::Cancelled,
        DuplexError::Stream(error) => broken(&error),
        error @ (DuplexError::Spawn { .. }
        | DuplexError::BackingOff { .. }
        | DuplexError::Exited { .. }
        | DuplexError::Silent
        | DuplexError::Pipe(_)
        | DuplexError::NotCleared
        | DuplexError::Closed
        | DuplexError::LineTooLong { .. }
        | DuplexError::Unframeable
        | DuplexError::Full { .. }
        | DuplexError::TooLarge { .. }
        | DuplexError::Foreign { .. }
        | DuplexError::Post(_)
        | DuplexError::Rejected { .. }
        | DuplexError::StreamEnded
        | DuplexError::Moved
        | DuplexError::Unreadable
        | DuplexError::NoMemory(_)) => Cut::Upstream(error.to_string()),
    }
}
