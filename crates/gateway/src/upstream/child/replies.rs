//! Messages of a process, as the events of a call or of a listening stream.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use keepgate_call::{Answer, Call, Code, Cut, Events, Item, Refusal};
use keepgate_mcp::message::Message;
use keepgate_transport::stdio::{Replies, StdioError};

use super::{
    super::{matching::Matching, process_failed},
    Children,
};

/// The replies of a call. A client that goes away leaves its call running; one that is cut off does not.
pub(super) struct Cuttable {
    pub(super) replies: Replies,
    pub(super) call: Arc<Call>,
    pub(super) matching: Matching,
}

impl Cuttable {
    /// The next event of the call.
    async fn next(&mut self) -> Option<Result<Item, StdioError>> {
        loop {
            match self.replies.next().await? {
                Ok(message) => {
                    if let Some(message) = self.matching.passed(message) {
                        return Some(Ok(message.into()));
                    }
                }
                Err(error) => return Some(Err(error)),
            }
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
pub(super) async fn requested(
    children: &Children,
    mut cuttable: Cuttable,
) -> Result<Answer, Refusal> {
    let first = tokio::time::timeout(children.request, cuttable.next())
        .await
        .map_err(|_elapsed| Refusal::new(Code::UpstreamTimeout))?;
    match first {
        Some(Ok(Item {
            message: Some(response @ Message::Response(_)),
            ..
        })) => Ok(Answer::Message(response)),
        Some(Ok(other)) => {
            let rest = unfolded(cuttable, children.idle);
            Ok(Answer::Stream(Box::pin(
                stream::iter([Ok(other)]).chain(rest),
            )))
        }
        Some(Err(error)) => Err(process_failed(error)),
        None => Err(Refusal::new(Code::UpstreamInvalid).detail("no answer to a request")),
    }
}

/// The rest of a stream; a process that is silent for `idle` has broken it.
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

/// The event a message of a process is; none if it is of no concern to the client.
pub(super) fn item(
    matching: &mut Matching,
    message: Result<Message, StdioError>,
) -> Result<Option<Item>, Cut> {
    let message = message.map_err(cut)?;
    Ok(matching.passed(message).map(Item::from))
}

fn cut(error: StdioError) -> Cut {
    match error {
        StdioError::Cancelled => Cut::Cancelled,
        error @ (StdioError::Spawn { .. }
        | StdioError::BackingOff { .. }
        | StdioError::Exited { .. }
        | StdioError::Silent
        | StdioError::Pipe(_)
        | StdioError::Closed
        | StdioError::LineTooLong { .. }
        | StdioError::Unframeable
        | StdioError::Full { .. }
        | StdioError::TooLarge { .. }
        | StdioError::Foreign { .. }) => Cut::Upstream(error.to_string()),
    }
}
