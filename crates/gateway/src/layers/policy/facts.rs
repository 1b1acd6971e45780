//! From a bound call to the facts policy judges.

use std::sync::Arc;

use keepgate_call::{Approved, Caller, Code, Refusal};
use keepgate_mcp::{Era, host::Host, method::Reference, uri};
use keepgate_policy::{
    ApprovalFacts, ClientFacts, CompletionKind, Facts, HistoryFacts, Item, Phase, RequestFacts,
    ResourceFacts, ServerFacts, SessionFacts,
};

use super::super::session::Bound;
use crate::{
    history::Past,
    knowledge::{Knowledge, Told},
};

/// Everything about a call that does not depend on what it is about.
pub(super) struct Side<'a> {
    bound: &'a Bound,
    told: Told,
    server: &'a ServerFacts,
    transport: &'static str,
    request: RequestFacts,
    history: &'a HistoryFacts<'a>,
    labels: &'a [Arc<str>],
    approved: Option<&'a Approved>,
}

impl<'a> Side<'a> {
    /// The call.
    pub(super) fn call(&self) -> &'a keepgate_call::Call {
        &self.bound.call
    }

    /// The call with its session.
    pub(super) fn bound(&self) -> &'a Bound {
        self.bound
    }

    /// Looks caller and server up. `past` is what the session did before, as `seen` shows it.
    pub(super) fn of(
        bound: &'a Bound,
        knowledge: &'a Knowledge,
        past: &'a Past,
        seen: &'a HistoryFacts<'a>,
    ) -> Result<Self, Refusal> {
        let (server, transport) = knowledge.server(&bound.call.server)?;
        let size = match &bound.call.ask {
            keepgate_call::Ask::Message(message) => message.bytes().len(),
            keepgate_call::Ask::Listen | keepgate_call::Ask::End => 0,
        };
        Ok(Self {
            bound,
            told: knowledge.caller(&bound.call.caller)?,
            server,
            transport,
            request: knowledge.request(&bound.call, size),
            history: seen,
            labels: past.labels(),
            approved: bound.call.carried.approved(),
        })
    }

    /// The same call with the approval that it is about to use.
    pub(super) fn with(self, approved: Option<&'a Approved>) -> Self {
        Self { approved, ..self }
    }

    /// Who asks.
    pub(super) fn caller(&self) -> &'a Caller {
        &self.bound.call.caller
    }

    /// The facts of one question to policy.
    pub(super) fn facts<'b>(
        &'b self,
        phase: Phase,
        method: &'b str,
        subject: Item<'b>,
        arguments: Option<&'b str>,
    ) -> Facts<'b> {
        let call = &self.bound.call;
        let session = self.bound.session.session();
        let stateful = call.revision.era() == Era::Stateful;
        let client: Option<&ClientFacts> = session.and_then(|session| session.client.get());
        Facts {
            phase,
            caller: &self.told.caller,
            server: self.server,
            client: client.or(self.told.client.as_ref()),
            // Lists of 2026-07-28 may vary with who asks, and with nothing that was asked before (`server/tools`).
            session: (stateful || phase != Phase::List).then_some(SessionFacts {
                id: session.map(|session| &*session.public),
                age_s: session.filter(|_| stateful).map(|session| session.age_s()),
                revision: call.revision.as_str(),
                transport: self.transport,
                initiated_by: session.map(|session| session.caller.subject.as_ref()),
            }),
            tenant: call.caller.tenant.as_str(),
            method,
            subject,
            arguments,
            response: None,
            history: self.history,
            labels: self.labels,
            approval: self.approved.map(approval_facts),
            id: call.id.as_str(),
            request: self.request,
        }
    }
}

fn approval_facts(approved: &Approved) -> ApprovalFacts<'_> {
    ApprovalFacts {
        groups: &approved.groups,
        age_s: approved.age_s,
        is_edited: approved.is_edited,
        kind: approved.kind,
        uses_left: approved.uses_left,
        until_s: approved.until_s,
    }
}

/// A resource's address, taken apart.
pub(super) struct Located {
    text: String,
    scheme: String,
    authority: String,
    host: Option<Host>,
    port: Option<u16>,
    segments: Vec<String>,
    template: bool,
}

impl Located {
    /// Normalises the URI of a resource. One that can be read in two ways is refused.
    pub(super) fn resource(text: &str) -> Result<Self, Refusal> {
        let uri = uri::normalise(text).map_err(|error| {
            Refusal::new(Code::ParamsInvalid).detail(format!("the URI is refused: {error}"))
        })?;
        Ok(Self {
            text: uri.text,
            scheme: uri.scheme,
            authority: uri.authority,
            host: uri.host,
            port: uri.port,
            segments: uri.segments,
            template: false,
        })
    }

    /// Takes a URI template apart (RFC 6570): its text is judged as it stands, since it is no address yet. `None` for a
    /// text with encoded characters or dot segments, which no honest template needs.
    pub(super) fn template(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let segments: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect();
        let dots = segments
            .iter()
            .any(|segment| segment == "." || segment == "..");
        (!text.contains('%') && !text.contains('\\') && !dots).then(|| Self {
            text: text.to_owned(),
            scheme: scheme.to_ascii_lowercase(),
            authority: authority.to_ascii_lowercase(),
            // It is no address yet.
            host: None,
            port: None,
            segments,
            template: true,
        })
    }

    /// Lends the address to a question.
    pub(super) fn with<T>(&self, ask: impl FnOnce(ResourceFacts<'_>) -> T) -> T {
        let path: Vec<&str> = self.segments.iter().map(String::as_str).collect();
        ask(ResourceFacts {
            uri: &self.text,
            scheme: &self.scheme,
            authority: Some(&*self.authority).filter(|authority| !authority.is_empty()),
            host: self
                .host
                .as_ref()
                .map(|host| (&*host.name, host.class.as_str())),
            port: self.port,
            path: &path,
            template: self.template,
        })
    }
}

/// Asks about a completion as about what it belongs to.
pub(super) fn completion<T>(
    reference: &Reference<'_>,
    argument: &str,
    value: &str,
    ask: impl FnOnce(Item<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    match reference {
        Reference::Prompt(name) => ask(Item::Completion {
            of: CompletionKind::Prompt(name),
            argument,
            value,
        }),
        Reference::Resource(text) => {
            let located = if text.contains('{') {
                Located::template(text).ok_or_else(|| {
                    Refusal::new(Code::ParamsInvalid).detail("the URI template is refused")
                })?
            } else {
                Located::resource(text)?
            };
            located.with(|facts| {
                ask(Item::Completion {
                    of: CompletionKind::Resource(facts),
                    argument,
                    value,
                })
            })
        }
    }
}
