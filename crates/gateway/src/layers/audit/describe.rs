//! What a record says of a call, taken from the call field by field: the record's form is a contract of its own.

use std::time::SystemTime;

use keepgate_audit::{Caller, Kind, Record};
use keepgate_call::{Ask, Call};
use keepgate_mcp::{
    message::Message,
    method::{Reference, Subject},
};

/// Name of the item a call is about: at most one of them.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(super) struct Names<'a> {
    pub(super) tool: Option<&'a str>,
    pub(super) prompt: Option<&'a str>,
    pub(super) resource: Option<&'a str>,
}

/// A call, taken apart for its records.
pub(super) struct Described<'a> {
    call: &'a Call,
    method: &'a str,
    subject: Subject<'a>,
}

/// Takes a call apart.
pub(super) fn describe(call: &Call) -> Described<'_> {
    // Of a stream that is resumed, what its call was about.
    let owed = call.owed().and_then(|owed| owed.request());
    let subject = owed.map_or(Subject::Session, |request| request.subject());
    Described {
        call,
        method: call.ask.method(),
        subject,
    }
}

impl Described<'_> {
    /// The record of `kind`, with everything that is known before anything was decided.
    pub(super) fn record(&self, kind: Kind, at: SystemTime) -> Record<'_> {
        let call = self.call;
        let mut record = Record::new(kind, at);
        record.decision_id = Some(call.id.as_str());
        record.approval = call.carried.approval();
        record.tenant = Some(call.caller.tenant.as_str());
        record.caller = Some(who(&call.caller));
        record.server = Some(call.server.as_str());
        record.method = Some(self.method);
        record.protocol_version = Some(call.revision.as_str());
        let names = self.names();
        record.tool_name = names.tool;
        record.prompt = names.prompt;
        record.resource = names.resource;
        // The outcome is found by its decision; only the first record of a call says where it came from.
        if kind != Kind::CallOutcome && kind != Kind::CallOpen {
            record.source = call.peer.map(|peer| peer.ip());
            record.initiated_by = Some(call.origin.as_str());
            record.undeclared = call.carried.undeclared();
            if let Ask::Message(message) = &call.ask {
                record.request_bytes = u64::try_from(message.bytes().len()).ok();
            }
        }
        record
    }

    /// The item the call is about.
    pub(super) fn names(&self) -> Names<'_> {
        named(&self.subject)
    }

    /// The arguments, as they were judged.
    pub(super) fn arguments(&self) -> Option<&str> {
        match self.call.judged()? {
            Message::Request(request) => request.param("arguments").map(|raw| raw.as_str()),
            Message::Notification(_) | Message::Response(_) => None,
        }
    }
}

/// A caller, as records name it.
pub(super) fn who(caller: &keepgate_call::Caller) -> Caller<'_> {
    Caller {
        kind: caller.kind.as_str(),
        user_id: &caller.subject,
        issuer: caller.issuer.as_deref(),
        client_id: caller.client.as_deref(),
        key_id: caller.key_id.as_deref(),
    }
}

fn named<'a>(subject: &'a Subject<'_>) -> Names<'a> {
    let none = Names::default();
    match subject {
        Subject::Tool(name) => Names {
            tool: Some(&**name),
            ..none
        },
        Subject::Prompt(name)
        | Subject::Completion {
            reference: Reference::Prompt(name),
            ..
        } => Names {
            prompt: Some(&**name),
            ..none
        },
        Subject::Resource(uri)
        | Subject::Completion {
            reference: Reference::Resource(uri),
            ..
        } => Names {
            resource: Some(&**uri),
            ..none
        },
        Subject::Listing(_)
        | Subject::Task(_)
        | Subject::Subscription
        | Subject::Session
        | Subject::Client
        | Subject::Missing
        | Subject::Unknown => none,
    }
}
