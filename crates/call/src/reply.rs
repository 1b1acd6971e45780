//! What comes back.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_core::Stream;
use keepgate_mcp::message::{Message, Response};

use crate::Refusal;

/// The reply to one call.
#[derive(Debug)]
pub struct Reply {
    /// What is answered.
    pub answer: Answer,
    /// The session the reply opens: our own id, never the upstream's. Set on the reply to `initialize` alone.
    pub session: Option<Box<str>>,
}

/// The four forms a reply has.
pub enum Answer {
    /// Taken note of; nothing to say (HTTP 202).
    Accepted,
    /// One message: the response (HTTP 200, `application/json`).
    Message(Message),
    /// A stream of events (HTTP 200, `text/event-stream`); the response is among them.
    Stream(Events),
    /// The server's own refusal at the HTTP level: its status and its JSON-RPC body, unchanged, because clients tell
    /// the protocol era by it (2026-07-28 `basic/versioning`).
    Passed {
        /// The server's status, 4xx.
        status: u16,
        /// The server's body: one strict JSON-RPC message, or empty.
        body: Bytes,
    },
}

/// One event of a stream, decoded and matched to its call once, where it arrived.
///
/// A response in it is the answer to the call the stream belongs to, under the id its client gave it: whoever makes a stream
/// (`gateway/src/upstream/matching.rs`) drops all others. So nobody after it compares ids.
#[derive(Debug, Clone)]
pub struct Item {
    /// The event id, if the stream can be resumed after this event.
    pub id: Option<Bytes>,
    /// How many milliseconds a client should wait before it reconnects.
    pub retry: Option<u64>,
    /// The message; `None` for an event that only carries an id (2025-11-25 primes streams so).
    pub message: Option<Message>,
}

impl Item {
    /// The answer to the call the stream belongs to, if this event brings it.
    pub fn answer(&self) -> Option<&Response> {
        match &self.message {
            Some(Message::Response(response)) => Some(response),
            None | Some(Message::Request(_) | Message::Notification(_)) => None,
        }
    }
}

/// A step of a stream, to a layer that waits for its answer.
#[derive(Debug)]
pub enum Step<'a> {
    /// The answer to the call the stream belongs to.
    Answer(&'a Response),
    /// A notification, a question of the server, or an event without a message.
    Other,
    /// The end. After an answer, or where the stream can be resumed, nobody is owed anything.
    End {
        /// Whether a client can resume the stream.
        is_resumable: bool,
        /// Whether the answer has come.
        is_answered: bool,
    },
    /// The end before the end.
    Abort {
        /// Cause.
        cut: &'a Cut,
        /// Whether a client can resume the stream.
        is_resumable: bool,
        /// Whether the answer has come.
        is_answered: bool,
    },
}

/// State of a stream that is followed step by step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Follow {
    is_resumable: bool,
    is_answered: bool,
}

impl Follow {
    /// Follows a stream that itself resumes another: its client can do so again, whatever comes.
    pub fn resumed() -> Self {
        Self {
            is_resumable: true,
            is_answered: false,
        }
    }

    /// The next step.
    pub fn step<'a>(&mut self, next: Option<&'a Result<Item, Cut>>) -> Step<'a> {
        let (is_resumable, is_answered) = (self.is_resumable, self.is_answered);
        match next {
            None => Step::End {
                is_resumable,
                is_answered,
            },
            Some(Err(cut)) => Step::Abort {
                cut,
                is_resumable,
                is_answered,
            },
            Some(Ok(item)) => {
                // An empty id takes the last one back (WHATWG HTML 9.2.6).
                if let Some(id) = &item.id {
                    self.is_resumable = !id.is_empty();
                }
                match item.answer() {
                    Some(response) => {
                        self.is_answered = true;
                        Step::Answer(response)
                    }
                    None => Step::Other,
                }
            }
        }
    }
}

impl From<Message> for Item {
    /// An event that only carries a message.
    fn from(message: Message) -> Self {
        Self {
            id: None,
            retry: None,
            message: Some(message),
        }
    }
}

/// The events of a stream, in order. Dropping it gives up the upstream's part of it.
pub type Events = Pin<Box<dyn Stream<Item = Result<Item, Cut>> + Send>>;

/// Why a stream ended before its end. The text is for the log; clients learn only which side it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cut {
    /// The server's side broke off, timed out, broke the protocol or went over a limit.
    #[error("the upstream stream broke: `{0}`")]
    Upstream(String),
    /// The client cancelled the request the stream answers.
    #[error("the client cancelled the request")]
    Cancelled,
    /// The kill switch cut the stream; the refusal says by which kill.
    #[error("the kill switch cut the stream")]
    Killed(Box<Refusal>),
    /// A limit ended the stream: it has lived too long, or brought too much without a message. The refusal has the limit.
    #[error("a limit ended the stream: `{0}`")]
    Ended(Box<Refusal>),
    /// What the server said is not handed out; the refusal says why.
    #[error("the answer is withheld: `{0}`")]
    Withheld(Box<Refusal>),
    /// The gateway ended the stream: an outcome could not be recorded, a session ended, the gateway drains.
    #[error("the gateway ended the stream: `{0}`")]
    Gateway(String),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            session: None,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("Accepted"),
            Self::Message(_) => f.write_str("Message"),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Passed { status, .. } => write!(f, "Passed({status})"),
        }
    }
}
