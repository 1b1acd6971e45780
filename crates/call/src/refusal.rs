//! The one way a call is turned away.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use crate::DecisionId;

/// Whose doing a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The client sent something that cannot be accepted.
    Client,
    /// A rule said no.
    Policy,
    /// The server behind Keepgate failed.
    Upstream,
    /// Keepgate could not do its part, so it refused.
    Gateway,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $fault:ident;)+) => {
        /// Why a call was refused. The text form is stable: clients, alerts and records key on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $name,)+ }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// Whose doing it is.
            pub fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)+ }
            }
        }
    };
}

codes! {
    /// The path names no server of this installation.
    PathUnknown = "path_unknown", Client;
    /// The endpoint does not take this HTTP method.
    HttpMethod = "http_method", Client;
    /// The `Host` header names a host this gateway does not serve.
    HostRefused = "host_refused", Client;
    /// The `Origin` header names a site that may not call this gateway.
    OriginRefused = "origin_refused", Client;
    /// A header line is missing, doubled or unreadable.
    HeaderInvalid = "header_invalid", Client;
    /// The body is not `application/json`, or carries a content encoding.
    MediaType = "media_type", Client;
    /// The client accepts neither of the two answers the protocol has.
    NotAcceptable = "not_acceptable", Client;
    /// The body is longer than the limit.
    BodyTooLarge = "body_too_large", Client;
    /// The body did not arrive in time or broke off.
    BodyIncomplete = "body_incomplete", Client;
    /// The body is not strict JSON.
    JsonInvalid = "json_invalid", Client;
    /// The body is JSON, but not a JSON-RPC message this gateway accepts.
    MessageInvalid = "message_invalid", Client;
    /// Headers and body speak of different things.
    HeaderMismatch = "header_mismatch", Client;
    /// The protocol revision is not supported.
    RevisionUnsupported = "revision_unsupported", Client;
    /// A member that the revision demands is missing from `_meta`.
    MetaMissing = "meta_missing", Client;
    /// The method is unknown, or the revision does not have it.
    MethodUnknown = "method_unknown", Client;
    /// The parameters cannot be judged: a name or URI is missing, or can be read in two ways.
    ParamsInvalid = "params_invalid", Client;
    /// No credential came with the request.
    AuthnMissing = "authn_missing", Client;
    /// The credential is not valid.
    AuthnInvalid = "authn_invalid", Client;
    /// The credential cannot be checked now.
    AuthnUnavailable = "authn_unavailable", Gateway;
    /// The revision needs a session, and the request names none.
    SessionMissing = "session_missing", Client;
    /// The session is unknown, has ended, or belongs to another caller.
    SessionUnknown = "session_unknown", Client;
    /// The caller, or the gateway, holds as many sessions as it may.
    SessionLimit = "session_limit", Client;
    /// As many processes run for the caller or the server as may, and none is idle.
    ProcessLimit = "process_limit", Client;
    /// A rate is spent.
    RateLimited = "rate_limited", Client;
    /// As many calls run as may run at once for this session, caller or server.
    ConcurrencyLimited = "concurrency_limited", Client;
    /// The session was denied too often in a row: its circuit breaker is open.
    SessionSuspended = "session_suspended", Client;
    /// The answer does not belong to a request this session was asked.
    ResponseForeign = "response_foreign", Client;
    /// The client cancelled the request.
    Cancelled = "cancelled", Client;
    /// The event id was not issued to this session.
    EventUnknown = "event_unknown", Client;
    /// The tool, prompt or resource does not exist for this caller.
    NotFound = "not_found", Policy;
    /// A rule denied the call, or none allowed it.
    PolicyDenied = "policy_denied", Policy;
    /// The access token lacks scopes that a rule demands.
    InsufficientScope = "insufficient_scope", Policy;
    /// Policy could not be evaluated.
    PolicyFailed = "policy_failed", Gateway;
    /// The call needs an approval that cannot be asked for here.
    ApprovalRequired = "approval_required", Policy;
    /// The call waits for a person's approval.
    ApprovalPending = "approval_pending", Policy;
    /// The state that came with the call is not one of this gateway for this call, or is over.
    RequestStateInvalid = "request_state_invalid", Client;
    /// A person has denied this very call a short time ago.
    ApprovalDenied = "approval_denied", Policy;
    /// The approval a call waited for ended before the call could use it.
    ApprovalEnded = "approval_ended", Policy;
    /// Approvals cannot be looked up or recorded now.
    ApprovalUnavailable = "approval_unavailable", Gateway;
    /// The result is larger than a rule allows.
    ResultTooLarge = "result_too_large", Policy;
    /// An operator has cut this off with the kill switch.
    Killed = "killed", Policy;
    /// The record of the call could not be written.
    AuditUnavailable = "audit_unavailable", Gateway;
    /// The call was made, and the record of its end could not be written.
    OutcomeUnrecorded = "outcome_unrecorded", Gateway;
    /// The credential the server wants cannot be had.
    CredentialUnavailable = "credential_unavailable", Gateway;
    /// The server does not accept the gateway's credential.
    CredentialRejected = "credential_rejected", Upstream;
    /// As many calls are running as may run at once.
    Overloaded = "overloaded", Gateway;
    /// The answer does not fit into the memory that is left.
    MemoryFull = "memory_full", Gateway;
    /// Too many large answers wait for their inspection.
    InspectionOverloaded = "inspection_overloaded", Gateway;
    /// The gateway is shutting down.
    Draining = "draining", Gateway;
    /// The server behind the gateway cannot be reached.
    UpstreamUnreachable = "upstream_unreachable", Upstream;
    /// The server behind the gateway failed repeatedly: its circuit breaker is open.
    UpstreamCircuitOpen = "upstream_circuit_open", Upstream;
    /// The server behind the gateway did not answer in time.
    UpstreamTimeout = "upstream_timeout", Upstream;
    /// The server behind the gateway broke the protocol or its limits.
    UpstreamInvalid = "upstream_invalid", Upstream;
    /// The server behind the gateway chose a revision of the protocol that the gateway cannot enforce rules in.
    UpstreamRevision = "upstream_revision", Upstream;
    /// The server behind the gateway named no address for messages that may be used (HTTP+SSE).
    UpstreamEndpoint = "upstream_endpoint", Upstream;
    /// The server behind the gateway sent too many bytes that bring no message.
    UpstreamFlood = "upstream_flood", Upstream;
    /// The call has run as long as a call may.
    CallExpired = "call_expired", Upstream;
    /// The server behind the gateway refused the HTTP request.
    UpstreamRefused = "upstream_refused", Upstream;
    /// A bug in the gateway.
    Internal = "internal", Gateway;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A limit that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its name, stable: as in the configuration.
    pub name: &'static str,
    /// Time before another attempt may pass; `None` where waiting does not help.
    pub wait: Option<Duration>,
}

impl Limit {
    /// The wait in whole seconds, rounded up, at least one: the form of `Retry-After` (RFC 9110 §10.2.3).
    pub fn wait_s(&self) -> Option<u64> {
        let wait = self.wait?;
        let more = u64::from(wait.subsec_nanos() > 0);
        Some(wait.as_secs().saturating_add(more).max(1))
    }
}

/// The approval a refused call waits for, or was denied by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalNote {
    /// Its id.
    pub id: Arc<str>,
    /// Time before another attempt may pass.
    pub retry: Duration,
    /// Form of the answer.
    pub answer: WaitAnswer,
}

/// Form of the answer to a call that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitAnswer {
    /// A result that reports an error, or an error.
    Plain,
    /// A request for input: the client makes the call again by itself, with this state (2026-07-28 `basic/patterns/mrtr`).
    Round {
        /// The sealed state.
        state: Box<str>,
        /// The page its user can follow meanwhile.
        link: Option<Box<str>>,
    },
}

/// A call that was turned away. Its parts are read through it, as its fields.
///
/// One pointer wide: every layer returns it in a `Result`, and a wide error makes each of their futures wide.
#[derive(Clone)]
pub struct Refusal(Box<Parts>);

/// Why a call was turned away, what may be said of it, and what only the log may know.
#[derive(Clone)]
pub struct Parts {
    /// Why, by stable code.
    pub code: Code,
    /// What the client may be told beyond the wording of the code: the name it asked for, an author's deny message.
    /// Never a rule's text, a secret or an upstream's error.
    pub detail: Option<Cow<'static, str>>,
    /// The rules that spoke, by their authors' codes and messages.
    pub reasons: Vec<(Arc<str>, Arc<str>)>,
    /// The revision of the policy that decided, if one did.
    pub policy: Option<Arc<str>>,
    /// The limit that was met, and how long to wait where waiting helps.
    pub limit: Option<Limit>,
    /// The approval it waits for, or was denied by.
    pub approval: Option<Box<ApprovalNote>>,
    /// The scopes an access token needs for this call, all of them; only for `insufficient_scope`.
    pub scopes: Vec<Arc<str>>,
    /// How the client can come by a credential that would do: the value of `WWW-Authenticate`.
    pub challenge: Option<Box<str>>,
    /// The decision the refusal belongs to; set once a call has one.
    pub decision: Option<DecisionId>,
    /// Whether the call had been sent to its server: then it may have had its effect.
    pub dispatched: bool,
    /// The HTTP status its server refused it with, if it did.
    pub upstream_status: Option<u16>,
    /// The cause, for the log alone.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Deref for Refusal {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl DerefMut for Refusal {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl Refusal {
    /// A refusal that says no more than its code, and the limit that is always the one met where there is one.
    pub fn new(code: Code) -> Self {
        let limit = (code == Code::MemoryFull).then_some(Limit {
            name: "limits.memory",
            wait: None,
        });
        Self(Box::new(Parts {
            code,
            detail: None,
            reasons: Vec::new(),
            policy: None,
            limit,
            approval: None,
            scopes: Vec::new(),
            challenge: None,
            decision: None,
            dispatched: false,
            upstream_status: None,
            source: None,
        }))
    }

    /// Adds what the client may be told.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds the limit that was met.
    #[must_use]
    pub fn limit(mut self, name: &'static str, wait: Duration) -> Self {
        self.0.limit = Some(Limit {
            name,
            wait: Some(wait),
        });
        self
    }

    /// Names the limit that something is over, where waiting does not help.
    #[must_use]
    pub fn over(mut self, name: &'static str) -> Self {
        self.0.limit = Some(Limit { name, wait: None });
        self
    }

    /// Says that the call had been sent to its server.
    #[must_use]
    pub fn dispatched(mut self) -> Self {
        self.0.dispatched = true;
        self
    }

    /// Adds the HTTP status its server refused it with.
    #[must_use]
    pub fn upstream_status(mut self, status: u16) -> Self {
        self.0.upstream_status = Some(status);
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Adds the decision, unless one is named already.
    #[must_use]
    pub fn decision(mut self, id: DecisionId) -> Self {
        self.0.decision.get_or_insert(id);
        self
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("code", &self.code)
            .field("detail", &self.detail)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())
    }
}

impl Error for Refusal {}
