//! What the obligations of its decision made of a call.

use std::borrow::Cow;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
};

use bytes::Bytes;
use keepgate_mcp::message::Message;

use crate::Approved;

/// Noted on the way down and back; read by who sends the call and who records it.
#[derive(Debug, Default)]
pub struct Carried {
    settled: OnceLock<Box<Changed>>,
    changed: OnceLock<Box<Changed>>,
    undeclared: OnceLock<Box<[Cow<'static, str>]>>,
    approval: OnceLock<Arc<str>>,
    approved: OnceLock<Box<Approved>>,
    is_cancelled: AtomicBool,
    detail: AtomicU8,
    redacted: AtomicU64,
    cut: AtomicU64,
}

/// A call as it is sent: with other arguments than the client's, or with header lines that mirror them.
#[derive(Debug)]
pub struct Changed {
    /// The message.
    pub message: Message,
    /// The `Mcp-Param-*` lines that mirror it (2026-07-28).
    pub params: Vec<(Box<str>, Bytes)>,
}

/// How much of a call is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// Who, what and how it ended.
    #[default]
    Metadata,
    /// The shape of the result as well.
    Summary,
    /// Arguments and result as they were.
    Full,
}

impl Carried {
    /// Notes the message that is judged instead of the client's: without what its tool does not declare. Once.
    pub fn settle(&self, settled: Changed) {
        let _first = self.settled.set(Box::new(settled));
    }

    /// Notes the names of arguments that the tool does not declare. Once.
    pub fn strange(&self, undeclared: Box<[Cow<'static, str>]>) {
        let _first = self.undeclared.set(undeclared);
    }

    /// The names of arguments that the tool does not declare.
    pub fn undeclared(&self) -> &[Cow<'static, str>] {
        self.undeclared.get().map_or(&[], |names| names)
    }

    /// Notes what is sent instead of the client's message. Once: a call is judged for its last time once.
    pub fn change(&self, changed: Changed) {
        let _first = self.changed.set(Box::new(changed));
    }

    /// The message that is evaluated instead of the client's.
    pub fn settled(&self) -> Option<&Message> {
        self.settled.get().map(|settled| &settled.message)
    }

    /// The call with the arguments that policy has set.
    pub fn set_by_policy(&self) -> Option<&Changed> {
        self.changed.get().map(|changed| &**changed)
    }

    /// Notes that its client has cancelled it before it was sent.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// Whether its client has cancelled it before it was sent.
    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Notes the approval it uses, or waits for. Once.
    pub fn note_approval(&self, id: &Arc<str>) {
        let _first = self.approval.set(Arc::clone(id));
    }

    /// The approval it uses, or waits for.
    pub fn approval(&self) -> Option<&str> {
        self.approval.get().map(|id| &**id)
    }

    /// Notes the approval it was permitted by, as policy saw it. Once.
    pub fn permit(&self, approved: Approved) {
        let _first = self.approved.set(Box::new(approved));
    }

    /// The approval it was permitted by; none until then.
    pub fn approved(&self) -> Option<&Approved> {
        self.approved.get().map(|approved| &**approved)
    }

    /// What is sent instead of the client's message.
    pub fn changed(&self) -> Option<&Changed> {
        let changed = self.changed.get().or_else(|| self.settled.get());
        changed.map(|changed| &**changed)
    }

    /// Asks for a record of at least this detail.
    pub fn record(&self, detail: Detail) {
        self.detail.fetch_max(detail as u8, Ordering::AcqRel);
    }

    /// How much of the call is recorded.
    pub fn detail(&self) -> Detail {
        match self.detail.load(Ordering::Acquire) {
            0 => Detail::Metadata,
            1 => Detail::Summary,
            _ => Detail::Full,
        }
    }

    /// Notes that so many places of the answer were redacted and so many records cut.
    pub fn took(&self, redacted: u64, cut: u64) {
        self.redacted.fetch_add(redacted, Ordering::AcqRel);
        self.cut.fetch_add(cut, Ordering::AcqRel);
    }

    /// How many places were redacted.
    pub fn redacted(&self) -> u64 {
        self.redacted.load(Ordering::Acquire)
    }

    /// How many records were cut.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Acquire)
    }
}
