//! What one decision asks to be done with what comes back.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use keepgate_call::{Answer, Code, Refusal};
use keepgate_mcp::{
    Limits,
    message::{self, Body, Message, Response},
};
use keepgate_policy::{Obligations, ToolFacts};

use super::{super::session::Bound, Parts, detail, rules};
use crate::oblige::{self, Rewritten, Rules};

/// The obligations of a call towards its answer.
#[derive(Debug)]
pub(crate) struct Duty {
    pub(super) parts: Arc<Parts>,
    pub(super) bound: Bound,
    pub(super) tool: Option<ToolFacts>,
    /// Policy is asked about the answer.
    pub(super) responds: bool,
    /// What is released is counted.
    pub(super) counts: bool,
    pub(super) rules: Option<Arc<Rules>>,
    pub(super) max_bytes: Option<u64>,
    pub(super) labels: Option<BTreeSet<Arc<str>>>,
    pub(super) revision: Arc<str>,
}

impl Duty {
    /// Labels the session, before anything of the answer is released.
    pub(super) fn label(&self) -> Result<(), Refusal> {
        match &self.labels {
            Some(labels) if !labels.is_empty() => self.labelled(labels),
            Some(_) | None => Ok(()),
        }
    }

    fn labelled(&self, labels: &BTreeSet<Arc<str>>) -> Result<(), Refusal> {
        let key = self.bound.call.caller.session_key();
        self.parts.history.label(key, labels)
    }

    /// The answer as it may be released.
    ///
    /// # Errors
    /// The refusal that takes its place.
    pub(super) fn released(&self, response: Response) -> Result<Response, Refusal> {
        let bytes = response.bytes().len();
        let inspection = &self.parts.inspection;
        inspection.here(bytes, || self.inspected(response))?
    }

    fn inspected(&self, response: Response) -> Result<Response, Refusal> {
        let more = if self.responds {
            self.parts
                .respond
                .judge(&self.bound, self.tool.as_ref(), &response)?
        } else {
            None
        };
        let mut max_bytes = self.max_bytes;
        let mut response = match &self.rules {
            Some(rules) => self.rewritten(rules, response)?,
            None => response,
        };
        if let Some(more) = more.as_deref() {
            response = self.more(more, response)?;
            max_bytes = match (max_bytes, more.max_bytes) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        let size = response.bytes().len() as u64;
        self.fits(size, max_bytes)?;
        if self.counts {
            let said = response.result().or_else(|| response.error());
            let records = said.map_or(0, oblige::records);
            let key = self.bound.call.caller.session_key();
            self.parts.history.released(key, size, records);
        }
        Ok(response)
    }

    /// What policy asked for when it saw the answer.
    fn more(&self, more: &Obligations, response: Response) -> Result<Response, Refusal> {
        let call = &self.bound.call;
        call.carried.record(detail(more.audit));
        self.parts.spend(call, &more.limits, &self.revision)?;
        if !more.labels.is_empty() {
            self.labelled(&more.labels)?;
        }
        match rules(more, &self.revision)? {
            Some(rules) => self.rewritten(&rules, response),
            None => Ok(response),
        }
    }

    /// Whether so many bytes may be released.
    pub(super) fn fits(&self, size: u64, max_bytes: Option<u64>) -> Result<(), Refusal> {
        match max_bytes {
            Some(most) if size > most => Err(Refusal::new(Code::ResultTooLarge)
                .detail(format!("{size} bytes, policy releases {most}"))),
            Some(_) | None => Ok(()),
        }
    }

    fn rewritten(&self, rules: &Rules, response: Response) -> Result<Response, Refusal> {
        let Some(rewritten) = rules.message(response.bytes()) else {
            return Ok(response);
        };
        let id = response.id().cloned();
        match self.read(rewritten) {
            Some(Message::Response(changed)) if changed.id() == id.as_ref() => Ok(changed),
            Some(_) | None => Err(unreadable()),
        }
    }

    /// A message of the server that is not the answer, with the rules carried out; `None` if nothing is left to pass on.
    pub(super) fn message(&self, rules: &Rules, message: Message) -> Option<Message> {
        let bytes = message.bytes().len();
        let inspection = &self.parts.inspection;
        let rewritten = inspection.here(bytes, || rules.message(message.bytes()));
        match rewritten.ok()? {
            None => Some(message),
            Some(rewritten) => self
                .read(rewritten)
                .filter(|changed| is_same(changed, &message)),
        }
    }

    /// A message that was rewritten: judged again like any other.
    fn read(&self, rewritten: Rewritten) -> Option<Message> {
        let carried = &self.bound.call.carried;
        carried.took(rewritten.redacted as u64, rewritten.cut);
        read(rewritten.bytes.into())
    }

    /// The server's own refusal, which holds an error like any other answer.
    pub(super) fn passed(&self, status: u16, body: Bytes) -> Result<Answer, Refusal> {
        if body.is_empty() {
            return Ok(Answer::Passed { status, body });
        }
        match read(body) {
            Some(Message::Response(response)) => {
                let body = self.released(response)?.bytes().clone();
                Ok(Answer::Passed { status, body })
            }
            Some(Message::Request(_) | Message::Notification(_)) | None => Err(unreadable()),
        }
    }
}

/// Whether a message is still the one it was, but for what it says.
pub(super) fn is_same(changed: &Message, message: &Message) -> bool {
    changed.id() == message.id() && changed.method() == message.method()
}

pub(super) fn read(bytes: Bytes) -> Option<Message> {
    let limits = Limits {
        // What stands for something may be longer than it.
        bytes: bytes.len(),
        ..Limits::reply()
    };
    match message::decode(bytes, &limits) {
        Ok(Body::Single(message)) => Some(message),
        Ok(Body::Batch(_)) | Err(_) => None,
    }
}

fn unreadable() -> Refusal {
    Refusal::new(Code::UpstreamInvalid).detail("an answer that could not be redacted")
}
